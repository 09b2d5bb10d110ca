"""Twenty-six small programs that other frameworks were measured on, and what we make of them.

Each stands for something that goes wrong elsewhere: a retrace for each number, a stale global, an
effect that is lost, an answer that is wrong without a word. Four of them (22 to 25) are about time.
How long they take is measured by `dualflow bench`; what is held here is what the time follows from:
how often Python is recorded, how many calls go into machine code, what is compiled.
"""

from __future__ import annotations

import gc
import sys
import warnings
import weakref

import numpy as np
import pytest

import dualflow as df
from dualflow.core import kernels
from dualflow.errors import FunctionWarning
from jit.runtime.library import library
from tests.modes import bits, graphs_only
from tests.test_disk_cache import RUN, run
from tests.tracing.both import agree, vector

SQUARE = df.asarray(np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8))


def same(f, calls):
    """Runs calls with and without the decorator: equal results, to the bit."""
    return agree(lambda: (f, None), calls)


def floats(*shape, dtype=np.float32):
    """Numbers that are the same in each run."""
    return df.asarray(np.random.default_rng(0).normal(size=shape).astype(dtype))


# ----- retracing -----


@graphs_only
def test_fact_01_ten_ints_are_two_traces():
    f = same(lambda x, n: x + n, [(vector(1), n) for n in range(10)])
    assert (len(f.entries), f.from_graph) == (2, 8)


@graphs_only
@pytest.mark.parametrize("shape", [(), (3,)])
def test_fact_02_extents_are_two_traces_and_one_for_size_1(shape):
    def f(x):
        return x * 2.0 / x.shape[0]

    assert len(same(f, [(df.ones((n, *shape)),) for n in range(2, 9)]).entries) == 2
    assert len(same(f, [(df.ones((n, *shape)),) for n in range(1, 9)]).entries) == 3


class Scale:
    factor = 2.0


FACTOR = 2.0


@graphs_only
def test_fact_03_a_global_or_an_attribute_that_changes_is_seen(monkeypatch):
    scale = Scale()
    f = df.function(lambda x: x * FACTOR + scale.factor, strict=True)
    assert [f(vector(1)).item() for _ in range(2)] == [4.0, 4.0]
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert [f(vector(1)).item() for _ in range(2)] == [5.0, 5.0]
    scale.factor = 5.0
    assert [f(vector(1)).item() for _ in range(2)] == [8.0, 8.0]
    assert f.from_graph == 3
    monkeypatch.setattr(Scale, "factor", 7.0)  # the object has its own
    assert f(vector(1)).item() == 8.0


@graphs_only
def test_fact_04_appends_and_numpys_random_numbers_are_not_frozen():
    log = []

    def f(x):
        log.append(1)
        return x * np.random.rand()

    np.random.seed(3)
    wanted = [f(vector(1)).item() for _ in range(5)]
    log.clear()
    np.random.seed(3)
    g = df.function(f)
    with pytest.warns(FunctionWarning, match="random numbers from np.random") as told:
        found = [g(vector(1)).item() for _ in range(5)]
    assert (found, len(set(found)), len(log), len(told)) == (wanted, 5, 5, 1)


# ----- control flow -----


@graphs_only
def test_fact_05_a_branch_on_a_value_is_compiled():
    def f(x):
        if x.sum() > 0:
            return x * 2.0
        return x - 1.0

    g = same(f, [(vector(k, k),) for k in (1, -1, 2, -2, 3, -3)])
    assert (g.mode, g.from_graph, len(g.graphs)) == ("compiled", 4, 2)


@graphs_only
def test_fact_06_collatz_is_compiled_and_returns_a_python_int():
    def f(x):
        steps = 0
        while x > 1:
            x = x // 2 if x % 2 == 0 else 3 * x + 1
            steps += 1
        return steps

    numbers = [1, 2, 3, 6, 7, 27]
    g = same(f, [(df.asarray(n),) for n in numbers * 2])
    assert g.mode == "compiled"
    assert g.from_graph >= len(numbers)
    assert type(g(df.asarray(27))) is int


@graphs_only
def test_fact_07_no_source_is_needed():
    namespace = {}
    exec("def f(x):\n    if x.sum() > 0:\n        return x * 2.0\n    return x - 1.0", namespace)
    g = same(namespace["f"], [(vector(k),) for k in (1, -1, 2, -2)])
    assert (g.mode, g.from_graph) == ("compiled", 2)


@graphs_only
def test_fact_08_recursion_that_a_value_ends():
    def f(x):
        return x if x < 1 else f(x / 2.0) + 1.0

    depths = [0.5, 1.5, 3.0, 6.0]
    g = same(f, [(df.asarray(x),) for x in depths * 4])
    assert g.mode == "compiled"
    assert g.from_graph >= len(depths)
    assert len(g.graphs) <= 2 * len(depths)  # paths, or stretches that they have in common


@graphs_only
def test_fact_09_a_list_that_a_loop_over_a_tensor_fills():
    def f(x, n):
        out = []
        for i in df.arange(4):
            out.append(i * x)
        for i in range(int(n)):
            out.append(df.asarray(i))
        return out

    g = same(f, [(vector(k), df.asarray(n)) for k, n in ((1, 2), (2, 2), (3, 1), (4, 1))])
    assert (g.mode, g.from_graph) == ("compiled", 2)


@graphs_only
def test_fact_10_branches_that_return_different_structures():
    def f(x):
        if x.sum() > 0:
            return x
        return {"a": x, "b": (x + 1.0, 1)}

    g = same(f, [(vector(k),) for k in (1, -1, 2, -2)])
    assert (g.mode, g.from_graph) == ("compiled", 2)


TREES = [
    1.0,
    (1.0, 2.0),
    ((1.0, 2.0), 3.0),
    (1.0, (2.0, 3.0)),
    ((1.0, 2.0), (3.0, 4.0)),
    (((1.0, 2.0), 3.0), 4.0),
    (1.0, (2.0, (3.0, 4.0))),
]


@graphs_only
def test_fact_11_a_recursive_net_costs_a_trace_for_each_tree_and_says_so_once():
    def net(x, tree):
        return df.tanh(sum(net(x, t) for t in tree)) if isinstance(tree, tuple) else x * tree

    f, x = df.function(net, strict=True), floats(3)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for tree in TREES * 3:
            assert bits(f(x, tree)) == bits(net(x, tree))
    assert len(f.entries) <= len(TREES)
    assert f.from_graph >= 2 * len(TREES)
    (said,) = told
    assert "net (test_facts.py" in str(said.message)
    assert "the structure of the arguments changed" in str(said.message)
    assert " s so far" in str(said.message)


# ----- gradients, random numbers, bits -----


@graphs_only
def test_fact_12_a_second_derivative_through_a_compiled_function():
    f = df.function(lambda x: (df.sin(x) * x**3).sum(), strict=True)
    x = floats(4, dtype=np.float64)
    for _ in range(2):
        with df.GradientTape() as outer:
            outer.watch(x)
            with df.GradientTape() as inner:
                inner.watch(x)
                y = f(x)
            slope = inner.gradient(y, x)
        found = outer.gradient(slope, x).numpy()
        v = x.numpy()
        wanted = 6 * v * np.sin(v) + 6 * v**2 * np.cos(v) - v**3 * np.sin(v)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert f.from_graph == 1


@graphs_only
def test_fact_13_a_seed_gives_the_same_numbers_in_both_modes():
    def f(x):
        return df.nn.functional.dropout(x, 0.5) + df.random.normal((8,))

    x, g = df.ones(8), df.function(f, strict=True)
    found = []
    for call in (f, g):
        df.random.seed(7)
        found.append([bits(call(x)) for _ in range(4)])
    assert found[0] == found[1]
    assert (len(set(found[0])), g.from_graph) == (4, 3)


@graphs_only
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_fact_14_a_fused_sum_of_narrow_floats_has_eagers_bits(dtype):
    x = floats(4, 1000).astype(dtype)
    f = same(lambda x: ((x * 1.1 + 0.3) * x).sum(axis=-1), [(x,)] * 3)
    assert (f.mode, f.from_graph) == ("compiled", 2)


@graphs_only
def test_fact_15_softmax_log1p_sin_have_eagers_bits():
    def f(x):
        return df.nn.functional.softmax(x, axis=-1) * df.log1p(df.abs(x)) * df.sin(x)

    g = same(f, [(floats(16, 100) * k,) for k in (1.0, 2.0, 30.0)])
    assert (g.mode, g.from_graph) == ("compiled", 2)


# ----- errors, memory, names -----


def test_fact_16_an_index_out_of_range_is_the_same_error_in_both_modes():
    def f(x, i):
        return x[i] * 2.0

    g, x = df.function(f, strict=True), vector(1, 2, 3)
    for k in range(2):
        g(x, df.asarray(k))
    texts = []
    for call in (f, g):
        with pytest.raises(IndexError) as caught:
            call(x, df.asarray(7))
        texts.append(str(caught.value))
    line = f.__code__.co_firstlineno + 1
    assert texts[0] == texts[1]
    assert "index 7 is out of bounds for axis 0 with extent 3" in texts[0]
    assert texts[0].endswith(f"at test_facts.py:{line}: return x[i] * 2.0")


@graphs_only
def test_fact_17_results_of_earlier_calls_stay():
    f = df.function(lambda x: x * 1.0, strict=True)
    kept = [f(df.full(5, float(k))) for k in range(6)]
    assert [x.tolist() for x in kept] == [[float(k)] * 5 for k in range(6)]
    assert f.from_graph == 5


@graphs_only
def test_fact_18_traces_are_bounded_and_given_back():
    def f(x, name):
        return x * len(name) + 1.0

    g = df.function(f, max_traces=4, on_limit="replace", strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(16):
            g(vector(1), "n" * k)
    assert len(g.entries) == 4
    paths = [weakref.ref(path) for entry in g.entries.values() for path in entry.paths]
    del g
    gc.collect()
    assert [path() for path in paths] == [None] * 4


def test_fact_19_a_compiled_module_keeps_the_names_of_its_parameters():
    net = df.nn.Linear(3, 2)
    names = list(net.state_dict())
    compiled = df.function(net)
    for _ in range(2):
        compiled(df.ones((1, 3)))
    assert list(compiled.state_dict()) == list(net.state_dict()) == names == ["weight", "bias"]


ALONE = """
import os, sys
os.environ["PATH"] = ""
started = []
sys.addaudithook(lambda event, args: started.append(event) if event.startswith(
    ("subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system")) else None)
"""


@pytest.fixture(scope="module")
def first_process(tmp_path_factory):
    """A disk cache, filled by a process with an empty PATH that starts no other; what it found."""
    cache = tmp_path_factory.mktemp("facts") / "kernels"
    return cache, run(cache, ALONE + RUN + "\nassert started == [], started")


def test_fact_20_no_compiler_is_needed(first_process):
    _, (_, compiled, read) = first_process
    assert compiled > 0
    assert read == 0


# ----- what time follows from -----


@graphs_only
def test_fact_21_a_thousand_unrolled_steps_are_one_trace_of_few_kernels():
    def f(x):
        for _ in range(1000):
            x = df.tanh(x) * 0.9
        return x

    g = same(f, [(vector(k, 2 * k),) for k in range(3)])
    assert (g.mode, len(g.graphs), g.from_graph) == ("compiled", 1, 2)
    explanation = g.explain()
    assert explanation.foreign_calls == 1
    assert len(explanation.kernels) <= 50
    assert explanation.host_steps == []


def test_fact_22_a_small_eager_op_makes_no_code():
    """Seconds belong to the benchmark. NumPy adds: nothing is compiled, looked up, or recorded."""
    kernels.forget()
    before = {way: tally.count for way, tally in library().tallies.items()}
    with df.GradientTape() as tape:
        y = SQUARE + SQUARE
    assert y.record is None
    assert tape.watched_variables() == ()
    assert {way: tally.count for way, tally in library().tallies.items()} == before


@graphs_only
def test_fact_23_a_compiled_add_is_one_foreign_call_found_without_a_key():
    """Seconds belong to the benchmark."""
    f = df.function(lambda x: x + x, strict=True)
    assert [bits(f(SQUARE)) for _ in range(4)] == [bits(SQUARE + SQUARE)] * 4
    explanation = f.explain()
    assert (f.mode, len(f.entries), f.from_graph) == ("compiled", 1, 3)
    assert (explanation.foreign_calls, len(explanation.kernels)) == (1, 1)
    (entry,) = f.entries.values()
    assert entry.shortcut is not None
    assert entry.shortcut.match((SQUARE,)) is not None


def mlp_step():
    """A step of SGD on 64-128-10 with a batch of 64."""
    df.random.seed(0)
    net = df.nn.Sequential(df.nn.Linear(64, 128), df.nn.ReLU(), df.nn.Linear(128, 10))
    optimizer = df.optim.SGD(net.parameters(), lr=0.1)

    def step(x, labels):
        loss = df.nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step, list(net.parameters())


@graphs_only
def test_fact_24_a_training_step_is_one_trace_and_one_foreign_call():
    """Seconds belong to the benchmark."""
    batch = floats(64, 64), df.asarray(np.arange(64) % 10)
    f = agree(mlp_step, [batch] * 5)
    explanation = f.explain()
    assert (f.mode, len(f.entries), len(f.graphs), f.from_graph) == ("compiled", 1, 1, 4)
    assert (explanation.foreign_calls, explanation.host_steps) == (1, [])
    assert explanation.events == []


def test_fact_25_the_next_process_compiles_nothing(first_process):
    """Seconds belong to the benchmark."""
    cache, (bits_of_first, compiled, _) = first_process
    assert run(cache) == (bits_of_first, 0, compiled)


def test_fact_26_an_error_of_shapes_names_op_shapes_and_line_and_nothing_else():
    def f(a, b):
        return a @ b

    texts = set()
    for call in (f, df.function(f)):
        for _ in range(2):
            with pytest.raises(df.errors.ShapeError) as caught:
                call(df.ones((2, 3)), df.ones((2, 3)))
            texts.add(str(caught.value))
    (text,) = texts
    assert len(text.splitlines()) == 4
    assert text.startswith("matmul: (2, 3) @ (2, 3): inner sizes 3 and 2 differ.")
    assert text.endswith(f"at test_facts.py:{f.__code__.co_firstlineno + 1}: return a @ b")
    assert not any(name in text for name in (sys.prefix, "dualflow/", "jit/"))
