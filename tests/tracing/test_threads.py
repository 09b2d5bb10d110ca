"""Threads: functions recorded and run at the same time stay right afterwards."""

from __future__ import annotations

import sys
import threading
import time
import warnings
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import dualflow as df
from dualflow.core.context import context
from dualflow.errors import FunctionWarning
from dualflow.tracing import segments
from tests.modes import graphs_only, not_audited
from tests.tracing.both import vector


@pytest.fixture(autouse=True)
def _switching_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def at_once(*works):
    """Runs callables in threads that start together; raises what one of them raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work):
        try:
            start.wait()
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]


def adding(v):
    """A function that reads and assigns a Variable many times."""

    def f(x):
        for _ in range(8):
            v.assign_add(x)
        return v * 1.0

    return df.function(f, strict=True)


def test_recordings_that_share_a_variable_freeze_nothing():
    for _ in range(15):
        v = df.Variable([0.0, 0.0, 0.0])
        fs = [adding(v) for _ in range(4)]
        at_once(*(lambda f=f: f(df.ones(3)) for f in fs))
        for f in fs:
            for start in (0.0, 5.0):
                v.assign(np.full(3, start, np.float32))
                assert f(df.ones(3)).tolist() == [start + 8.0] * 3 == v.tolist()


@graphs_only
def test_an_assignment_between_is_no_path():
    """Another thread assigns while a call is recorded: its value is not the graph's."""
    v = df.Variable([1.0])

    def f(x):
        y = v * x
        if context.trace is not None and not f_recorded:
            f_recorded.append(True)
            at_once(lambda: v.assign([5.0]))
        return y + v

    f_recorded: list[bool] = []
    g = df.function(f, strict=True)
    assert g(vector(1)).tolist() == [6.0]
    assert g.graphs == []
    for value in (2.0, 3.0):
        v.assign([value])
        assert g(vector(1)).tolist() == [2.0 * value]
    assert g.from_graph == 1


@graphs_only
def test_one_function_in_many_threads_records_each_path_once():
    f = df.function(lambda x: x * 2.0 if x.sum() > 3 else -x, strict=True)

    def work(seed):
        for k in np.random.default_rng(seed).integers(1, 7, size=20):
            x = np.arange(k, dtype=np.float32)
            wanted = x * 2.0 if x.sum() > 3 else -x
            assert f(df.asarray(x)).tolist() == wanted.tolist()

    at_once(*(lambda k=k: work(k) for k in range(4)))
    work(4)  # a call that comes while another is recorded runs in Python: what is left is recorded
    # One for size 1, one for the first of the others, two paths for all others.
    assert (len(f.explain().traces), len(f.graphs)) == (3, 4)


def test_tapes_and_explanations_while_others_work():
    f = df.function(lambda x: x * 2.0, on_limit="grow", strict=True)

    def differentiate():
        for _ in range(100):
            w = df.Variable([1.0, 2.0])
            with df.GradientTape() as tape:
                y = (w * w).sum()
            assert tape.gradient(y, w).tolist() == [2.0, 4.0]
            (w * w).sum().backward()

    def look():
        for _ in range(50):
            assert f.explain().name == "<lambda>"
            assert "Function" in df.status()

    at_once(differentiate, differentiate, look, lambda: [f(df.ones(k)) for k in range(1, 40)])


def test_code_that_is_recorded_may_wait_for_a_thread_that_calls():
    """A thread with a lock of the user's calls what another one records, which wants that lock."""
    lock, held, inside = threading.RLock(), threading.Event(), threading.Event()

    def python(x):
        if not inside.is_set():
            inside.set()
        with lock:
            return x * 2.0

    f = df.function(python)

    def holder():
        with lock:
            held.set()
            assert inside.wait(60)
            assert f(vector(3)).tolist() == [6.0]  # the other one is inside, and waits for us

    def caller():
        assert held.wait(60)
        assert f(vector(1)).tolist() == [2.0]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        at_once(holder, caller)


def test_recorded_code_may_call_by_another_thread():
    f = df.function(lambda x: x * 2.0, strict=True)

    def python(x):
        if context.trace is not None:
            at_once(lambda: found.append(g(x.detach().numpy() * 1.0).tolist()))
        return f(x) + 1.0

    found: list[list[float]] = []
    g = df.function(python)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert g(vector(1)).tolist() == [3.0]
    assert found in ([[3.0]], [])  # nothing is recorded where compilation is off


@pytest.mark.parametrize("kind", [threading.Lock, threading.RLock, threading.Condition])
def test_what_a_lock_protects_is_counted_rightly(kind):
    class Box:
        count = 0

    box, lock = Box(), kind()

    def python(x):
        with lock:
            box.count += 1
        return x * 2.0

    f = df.function(python)

    def work():
        for k in range(25):
            assert f(vector(k)).tolist() == [2.0 * k]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        at_once(*[work] * 4)
    assert box.count == 100


# ----- laws: whatever threads do at the same time, each call gives what Python gives -----


def same_calls(f, python):
    """A piece of work: calls that are all of one kind."""

    def work(seed):
        for k in range(20):
            x = vector(seed, k)
            assert f(x).tolist() == python(x).tolist()

    return work


def kinds(f, python):
    """Calls of many kinds: sizes, numbers, dtypes that vary, and both ways through."""

    def work(seed):
        random = np.random.default_rng(seed)
        for _ in range(15):
            size, number = int(random.integers(1, 4)), float(random.integers(1, 4))
            dtype = str(random.choice(["float32", "float64"]))
            x = df.asarray(random.integers(-3, 4, size=size).astype(dtype))
            got, wanted = f(x, number), python(x, number)
            assert (got.tolist(), got.dtype) == (wanted.tolist(), wanted.dtype)

    return work


def branching(x, number):
    y = x * number + x.shape[0]
    return y if y.sum() > 3 else df.tanh(y)


def looping(x):
    while abs(x).sum() > 1.0:
        x = x / 2.0
    return x


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(
    ("calls", "python"), [(same_calls, df.tanh), (same_calls, looping), (kinds, branching)]
)
def test_calls_and_recordings_at_once(calls, python, background):
    for _ in range(2):
        f = df.function(
            lambda *args: python(*args), on_limit="grow", strict=True, background=background
        )
        at_once(*(partial(calls(f, python), k) for k in range(4)))


@pytest.mark.parametrize("background", [False, True])
def test_functions_in_functions_and_gradients_through_them(background):
    options = {"strict": True, "background": background}
    for _ in range(3):
        w = df.Variable([2.0, 3.0])
        inner = df.function(lambda x, w=w: (w**2 * x).sum(), **options)
        outer = df.function(lambda x, inner=inner: inner(x) + inner(x + 1.0), **options)

        def work(f, slope, w=w):
            for k in range(8):
                x = vector(k, 1)
                with df.GradientTape() as tape:
                    y = f(x)
                assert tape.gradient(y, w).tolist() == slope(k)

        at_once(
            *[lambda inner=inner: work(inner, lambda k: [4.0 * k, 6.0])] * 2,
            *[lambda outer=outer: work(outer, lambda k: [8.0 * k + 4.0, 18.0])] * 2,
        )


@not_audited
@pytest.mark.parametrize("background", [False, True])
def test_state_that_changes_while_calls_are_recorded(background):
    """No call gives what the state never was, and no recording keeps what it was."""
    box = SimpleNamespace(factor=1.0)
    f = df.function(lambda x: x * box.factor, on_limit="grow", background=background)
    over = []

    def change():
        for k in range(40):
            box.factor = float(k % 4)
            time.sleep(1e-4)
        over.append(True)

    def work():
        while not over:
            assert f(vector(1)).item() in (0.0, 1.0, 2.0, 3.0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FunctionWarning)  # of segments: state that always changes
        at_once(change, work, work)
        for k in range(8):
            box.factor = float(k % 4)
            assert f(vector(1)).item() == k % 4


def test_numbers_that_vary_come_from_several_threads_at_once(request):
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-6)
    scaled = df.function(lambda x, k: x * k, strict=True)
    x = vector(1, 2)
    for k in (1.0, 2.0, 3.0):
        scaled(x, k)

    def work():
        for k in range(3000):
            scaled(x, float(k))
        assert scaled(x, 7.0).tolist() == [7.0, 14.0]

    at_once(work, work, work)


@graphs_only
def test_each_thread_runs_in_segments(monkeypatch):
    """Also where segments are forgotten all the time."""
    monkeypatch.setattr(segments, "KEPT", 2)
    log = []

    def python(x):
        y = x * 2.0
        log.append(y.sum().item())
        return df.tanh(y + 1.0) if x.shape[0] > 1 else y - 1.0

    f = df.function(python)
    with pytest.warns(FunctionWarning, match="segments"):
        assert [f(df.ones(k)).shape for k in (1, 2, 3)] == [(1,), (2,), (3,)]
    del log[:]

    def work(seed):
        for k in range(20):
            x = df.asarray(np.full(1 + (seed + k) % 3, float(k), np.float32))
            assert f(x).tolist() == python(x).tolist()

    at_once(*(lambda k=k: work(k) for k in range(4)))
    assert len(log) == 2 * 4 * 20
    assert f.mode.startswith("segments")


def test_traces_that_are_dropped_while_others_use_them():
    for _ in range(3):
        f = df.function(
            lambda x, word: x * len(word), on_limit="replace", max_traces=2, strict=True
        )

        def work(seed, f=f):
            random = np.random.default_rng(seed)
            for k in random.integers(1, 6, size=15):
                assert f(vector(1), "a" * int(k)).tolist() == [k]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # threads share these filters
            at_once(*(lambda k=k: work(k) for k in range(4)))


def test_extents_that_turn_out_not_to_vary():
    """Each thread may find out first; the traces for all sizes go, and calls go on."""
    for _ in range(5):
        w = df.Variable(1.0)
        f = df.function(
            lambda x, w=w: (df.nn.functional.softmax(x * w) ** 2).sum(),
            on_limit="grow",
            strict=True,
        )

        def work(seed, f=f, w=w):
            for k in range(2, 8):
                x = df.asarray(np.arange(k, dtype=np.float32) + seed)
                with df.GradientTape() as tape:
                    y = f(x)
                wanted = tape.gradient(y, w)
                assert np.isfinite(wanted.item())

        at_once(*(lambda k=k: work(k) for k in range(3)))


def test_the_user_says_how_many_threads_compute_and_no_bit_depends_on_it():
    x, before = vector(*np.sin(np.arange(60_000))).reshape(200, 300), df.num_threads()
    f = df.function(lambda x: df.tanh(x @ x.T).sum(axis=1))
    found = set()
    try:
        for count in (1, 3, 2):
            df.set_num_threads(count)
            assert df.num_threads() == count
            found.update(f(x).numpy().tobytes() for _ in range(3))
    finally:
        df.set_num_threads(before)
    assert len(found) == 1
