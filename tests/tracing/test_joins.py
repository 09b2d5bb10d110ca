"""Ways through a function that come to the same point go on as one, and do what eager does."""

from __future__ import annotations

import decimal
import functools
import inspect
import linecache

import pytest

import dualflow as df
from dualflow.tracing.joins import frames
from dualflow.tracing.joins.code import code_of
from dualflow.tracing.joins.joined import Joined
from tests.modes import graphs_only
from tests.tracing.both import agree
from tests.tracing.joining import PROGRAMS, vectors

pytestmark = graphs_only  # of calls from graphs

FEW = {"lists and dicts": 80}  # stretches of a program; lists of other lengths are other states
needs_operands = pytest.mark.skipif(
    not frames.READABLE, reason="operands of frames cannot be read on this version of Python"
)


def joined(f) -> list[Joined]:
    """What serves the calls of a function where ways join."""
    return [x for entry in f.entries.values() for x in entry.paths if isinstance(x, Joined)]


@pytest.mark.parametrize(
    "count", [200, pytest.param(1000, marks=pytest.mark.slow)], ids="{} inputs".format
)
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "rejection sampling"])
def test_r22_equal_to_eager_on_random_inputs(name, count):
    program, calls = PROGRAMS[name]
    f = agree(program, calls(count))
    assert f.mode == "compiled"
    assert len(f.graphs) <= FEW.get(name, 30)
    if count == 1000:
        assert f.from_graph / f.calls >= 0.95
    else:
        assert f.recordings <= 40


def test_r22_random_numbers_are_drawn_alike():
    program, calls = PROGRAMS["rejection sampling"]
    plain, _ = program()
    f = df.function(plain)
    given = calls(1000)
    df.random.seed(3)
    wanted = [(point.tolist(), tries) for point, tries in (plain(*args) for args in given)]
    df.random.seed(3)
    found = [(point.tolist(), tries) for point, tries in (f(*args) for args in given)]
    assert found == wanted
    assert f.from_graph >= 950


@needs_operands
def test_r22_independent_branches_make_as_many_stretches_as_there_are():
    def f(x):
        for k in range(20):
            if x[k] > 0:
                x = x * 0.5
            else:
                x = x + 0.25
        return x

    f = agree(lambda g=f: (g, None), vectors(120, 20))
    assert joined(f)
    assert len(f.graphs) <= 3 * 20
    assert f.from_graph >= 90


def test_a_loop_closes_after_one_recording_more():
    def f(x):
        steps = 0
        while x.sum() > 1.0:
            x = x * 0.5
            steps += 1
        return x, steps

    f = agree(lambda g=f: (g, None), vectors(30, 4, scale=100.0))
    assert len(f.graphs) <= 6
    assert f.recordings <= 5


# ----- what goes over a join -----


def assigned():
    w = df.Variable([1.0, -1.0], name="w")

    def f(x):
        k = 0
        while (w * x).sum() < 3.0:
            w.assign_add(df.abs(x) * 0.5)
            if w[1] > 0.5:
                w.assign(w * 0.75)
            k += 1
            if k == 9:
                break
        return w * 1.0

    return f, w


def module_with_a_branch():
    df.random.seed(0)
    net = df.nn.Sequential(df.nn.Linear(2, 3), df.nn.Tanh(), df.nn.Linear(3, 2))

    def f(x):
        for _ in range(4):
            y = net(x)
            if y.sum() > x.sum():
                x = y
            else:
                x = x * 0.5 - y
        return x

    return f, list(net.parameters())


def closures_made_inside():
    def f(x):
        def scaled(factor):
            return lambda t: t * factor

        step = scaled(2.0) if x.sum() > 0 else scaled(0.5)
        k = 0
        while df.abs(x).max() < 4.0 and k < 6:
            x = step(x) + 1.0
            if x[0] > 2.0:
                step = scaled(3.0)
            k += 1
        return x

    return f, None


def lists_that_change():
    def f(x):
        kept = [x[0]]
        k = 0
        while len(kept) < 4:
            if x[k % 2] > 0:
                kept.append(kept[-1] * 2.0)
            else:
                kept[-1] = kept[-1] - 1.0
                kept.append(x[1])
            k += 1
        return kept

    return f, None


def objects_made_inside():
    class Walker:
        def __init__(self, at):
            self.at = at
            self.steps = 0

        def step(self, x):
            self.at = self.at + x
            self.steps += 1

    def f(x):
        walker = Walker(x * 0.0)
        while df.abs(walker.at).sum() < 3.0:
            walker.step(x)
            if walker.steps > 5:
                break
        return walker.at, walker.steps

    return f, None


def one_tensor_under_two_names():
    def f(x):
        a, b = x, x
        k = 0
        while a.sum() < 5.0:
            a = a + df.abs(x) + 0.5
            if b[0] > 1.0:
                b = a
            k += 1
        return a, b, k

    return f, None


def operands_below():
    def f(x):
        y = x.sum() + sum_of(x) * 2.0
        return [y, sum_of(x) if x[0] > 0 else x[1], max(float(k) for k in range(2))]

    def sum_of(x):
        total = x * 0.0
        for row in x:
            total = total + row if row > 0 else total - row
        return total.sum()

    return f, None


def called_from_c():
    def f(x):
        def positive(k):
            return bool(x[k] > 0)

        kept = sorted(range(4), key=lambda k: (positive(k), k))
        found = list(map(positive, kept))
        return x[kept[0]], found, functools.reduce(lambda a, k: a + 1 if x[k] > a else a, kept, 0)

    return f, None


def generators():
    def f(x):
        def positive():
            for k in range(4):
                if x[k] > 0:
                    yield x[k] * 2.0

        total = x[0] * 0.0
        for y in positive():
            total = total + y
            if total > 3.0:
                break
        return total

    return f, None


def exceptions():
    w = df.Variable([0.0])

    def f(x):
        k = 0
        while True:
            w.assign_add([1.0])
            if x[k] < 0:
                raise ValueError(f"element {k}")
            k += 1
            if k == 4:
                return x * w

    return f, w


def without_gradients():
    def f(x):
        while x.sum() < 3.0:
            with df.no_grad():
                if x[0] > 0:
                    x = x + 1.0
            x = x + 0.5
        return x

    return f, None


def tape_inside():
    w = df.Variable([1.0, 2.0], name="w")

    def f(x):
        k = 0
        while k < 3:
            with df.GradientTape() as tape:
                y = (w * x).sum()
                loss = y * y if y > 0 else -y
            slope = tape.gradient(loss, w)
            if df.abs(slope).max() > 2.0:
                slope = slope * 0.5
            w.assign_sub(0.1 * slope)
            k += 1
        return loss

    return f, w


STATEFUL = [
    assigned,
    module_with_a_branch,
    closures_made_inside,
    lists_that_change,
    objects_made_inside,
    one_tensor_under_two_names,
    operands_below,
    called_from_c,
    generators,
    exceptions,
    without_gradients,
    tape_inside,
]


def width_of(program):
    """How long a program's vectors are."""
    return 2 if program in (assigned, module_with_a_branch, tape_inside) else 4


SLOW = {exceptions: pytest.mark.slow}  # a minute in a process that holds many objects
MARKED = [pytest.param(x, marks=SLOW.get(x, ())) for x in STATEFUL]


@pytest.mark.parametrize("program", MARKED, ids=lambda p: p.__name__)
def test_r20_what_is_handed_over(program):
    agree(program, vectors(150, width_of(program)), strict=False)


def test_python_state_changes_between_calls():
    class Settings:
        flip = False

    def program():
        settings = Settings()
        calls = iter(range(1000))

        def g(x):
            while x.sum() < 4.0:
                x = x + 1.0 if x[0] > 0 else x + 2.0
                if settings.flip:
                    x = x * 1.5
            return x

        def f(x):
            settings.flip = next(calls) % 7 > 3
            return g(x)

        g = df.function(g) if program.decorated else g
        program.decorated = True
        program.made = g
        return f, settings

    program.decorated = False
    agree_plain(program, vectors(120, 3))
    assert program.made.from_graph > 90


def agree_plain(program, calls):
    """The same for a program that decorates what it wants to."""
    (eager, _), (mixed, _) = program(), program()
    for args in calls:
        assert eager(*args).tolist() == mixed(*args).tolist()


@pytest.mark.parametrize("order", [1, 2])
def test_r13_gradients_from_outside_go_through_a_tree_of_branches(order):
    def program():
        w = df.Variable([0.5, -0.25], name="w")

        def f(x):
            y, k = w * x, 0
            while (y * y).sum() < 2.0:
                y = y * 1.5 + x if y[0] > 0 else y - 0.5 * x
                k += 1
                if k == 8:
                    break
            return (y**3).sum() if y[1] > 0 else (y * w).sum()

        return f, w

    plain, w = program()
    python, v = program()
    f = df.function(python)
    for (x,) in vectors(60, 2):
        wanted, found = slopes(plain, w, x, order), slopes(f, v, x, order)
        assert [g.tolist() for g in found] == [g.tolist() for g in wanted]
    assert joined(f)
    assert f.from_graph >= 40


def slopes(f, w, x, order):
    with df.GradientTape(persistent=True) as outer:
        with df.GradientTape() as inner:
            y = f(x)
        (slope,) = inner.gradient(y, [w])
        if order == 1:
            return [y, slope]
        total = (slope * slope).sum()
    return [y, slope, *outer.gradient(total, [w])]


def test_r30_stretches_are_compiled_in_the_background():
    program, calls = PROGRAMS["collatz"]
    plain, _ = program()
    f = df.function(plain, background=True, strict=True)
    for args in calls(60):
        steps, n = f(*args)
        assert (steps, n.item()) == (plain(*args)[0], 1)
        if len(f.graphs) < 8:  # the next recording wants to know what this one has found
            f.wait()
    assert joined(f)
    assert f.from_graph >= 30


def test_code_that_wants_plain_numbers_gets_them():
    def f(x):
        steps = 0
        while x.sum() > 1.0:
            x = x * 0.5
            steps += 1
        return x, str(decimal.Decimal(steps) + 1)

    agree(lambda: (f, None), vectors(40, 4, scale=30.0))

    def g(x):
        steps = 0
        while x.sum() > 1.0:
            x = x * 0.5
            steps += 1
        return x, type(steps) is int

    agree(lambda: (g, None), vectors(40, 4, scale=30.0))


# ----- without source, on other versions -----


def test_r21_no_source_is_read(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no source")

    monkeypatch.setattr(inspect, "getsource", refuse)
    monkeypatch.setattr(linecache, "getline", lambda *args: "")
    text = inspect.cleandoc("""
        def f(n):
            k = 0
            while n > 1:
                n = 3 * n + 1 if n % 2 == 1 else n // 2
                k += 1
            return k
    """)

    def program():
        scope = {"__name__": "typed_in"}
        exec(compile(text, "<stdin>", "exec"), scope)
        return scope["f"], None

    f = agree(program, [(df.asarray(k),) for k in range(1, 40)])
    assert f.from_graph >= 30


@pytest.mark.slow  # a minute in a process that holds many objects
def test_where_operands_cannot_be_read(monkeypatch):
    monkeypatch.setattr(frames, "READABLE", False)
    for name in ("collatz", "tree-RNN", "beam search"):
        program, calls = PROGRAMS[name]
        agree(program, calls(60))
    for program in STATEFUL:
        agree(
            program,
            vectors(30, 4 if program not in (assigned, module_with_a_branch, tape_inside) else 2),
            strict=False,
        )


# ----- bytecode -----


def test_depths_and_variables_that_live_on():
    def f(x, n):
        s = 0
        for k in range(n):
            z = k if x > 3 else n
            try:
                s += z
            except ValueError:
                s = 2
        return x, s

    code = code_of(f.__code__)
    points = [code.point(offset) for offset in range(0, len(f.__code__.co_code), 2)]
    asked = [p for p in points if p.name.startswith("POP_JUMP")]
    assert asked
    assert asked[0].depth == 2  # the iterator lies below
    assert asked[0].live == {"x", "n", "s", "k"}
    assert max(p.depth or 0 for p in points) <= f.__code__.co_stacksize
