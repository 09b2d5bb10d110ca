"""Products by the library: what it is asked for, the choice of algorithms, both modes alike."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from dualflow.errors import DeviceError, TraceError
from jit.config import config, configure
from jit.runtime import cublas_choice, cublas_trial
from jit.runtime.cublas import Multiply, Product
from tests.modes import compiled_only, graphs_only

pytestmark = graphs_only
RNG = np.random.default_rng(0)


def random(*shape, dtype=np.float32):
    return RNG.normal(size=shape).astype(dtype)


def both(function, *arrays):
    """What both modes give on a device, with the same bits; the function and its arguments."""
    given = [df.asarray(x, device="gpu") for x in arrays]
    eager = function(*given).numpy()
    compiled = df.function(function)
    for _ in range(3):
        assert compiled(*given).numpy().tobytes() == eager.tobytes()
    assert compiled.mode == "compiled"
    return eager, compiled, given


@compiled_only
def test_a_product_is_captured_with_what_stands_around_it(blas, machine):
    x, w, b = random(6, 20), random(20, 12), random(12)
    found, f, given = both(lambda x, w, b: df.tanh((x + 1.0) @ w + b), x, w, b)
    wanted = np.tanh((x + 1).astype(np.float64) @ w + b)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    path = next(iter(f.entries.values())).parts[0]
    assert path.executable.code.found == {"for the GPU": 2}  # the product needs no code
    machine.counts.clear()
    f(*given)
    assert machine.counts["replayed"] == 1
    assert machine.counts["multiplied"] == machine.counts["launched"] == 0


# Functions with the shapes of their arguments; how each operand is read: as it lies, turned; and
# how many copies are made before.
FORMS = {
    "plain": (lambda a, b: a @ b, [(5, 8), (8, 6)], "nn", 0),
    "left turned": (lambda a, b: a.T @ b, [(8, 5), (8, 6)], "tn", 0),
    "right turned": (lambda a, b: a @ b.T, [(5, 8), (6, 8)], "nt", 0),
    "both turned": (lambda a, b: a.T @ b.T, [(8, 5), (6, 8)], "tt", 0),
    "with itself": (lambda a: a @ a.T, [(5, 8)], "nt", 0),
    "batched": (lambda a, b: a @ b, [(3, 5, 8), (3, 8, 6)], "nn", 0),
    "batched, turned": (lambda a, b: a @ b.mT, [(3, 5, 8), (3, 6, 8)], "nt", 0),
    "two batches": (lambda a, b: a @ b, [(2, 3, 5, 8), (2, 3, 8, 6)], "nn", 0),
    "one for all": (lambda a, b: a @ b, [(3, 5, 8), (8, 6)], "nn", 0),
    "all for one": (lambda a, b: a @ b, [(5, 8), (3, 8, 6)], "nn", 0),
    "slices": (lambda a, b: a[1] @ b[2], [(2, 5, 8), (3, 8, 6)], "nn", 0),
    "columns": (lambda a, b: a[:, 2:10] @ b, [(5, 12), (8, 6)], "nn", 1),
    "unaligned": (lambda a, b: a[1] @ b, [(2, 5, 3), (3, 6)], "nn", 1),
    "heads": (
        lambda a, b: a.transpose((0, 2, 1, 3)) @ b.transpose((0, 2, 3, 1)),
        [(2, 5, 3, 8), (2, 6, 3, 8)],
        "nt",
        1,  # launch, which makes both
    ),
    "rows of two axes": (lambda a, b: df.einsum("abk,kn->abn", a, b), [(2, 3, 8), (8, 6)], "nn", 0),
    "the other way round": (lambda a, b: df.einsum("mk,kn->nm", a, b), [(5, 8), (8, 6)], "tt", 0),
    "in between": (lambda a, b: df.einsum("bmk,bkn->mbn", a, b), [(2, 5, 8), (2, 8, 6)], "nn", 1),
    "repeated rows": (
        lambda a, b: df.broadcast_to(a, (4, 5, 8)) @ b,
        [(5, 8), (4, 8, 6)],
        "nn",
        0,
    ),
}


@compiled_only
@pytest.mark.parametrize("name", FORMS)
def test_how_operands_are_read(name, blas, machine):
    function, shapes, read, copies = FORMS[name]
    arrays = [random(*shape) for shape in shapes]
    f = df.function(function)
    given = [df.asarray(x, device="gpu") for x in arrays]
    for _ in range(2):
        f(*given)
    blas.calls.clear()
    machine.log.clear()
    found = f(*given).numpy()
    wanted = function(*[df.asarray(x.astype(np.float64)) for x in arrays]).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    (call,) = blas.calls
    told = call["told"]  # of the library's first matrix, which is our right one
    assert "".join("nt"[told.get(k, 0)] for k in (4, 3)) == read
    launched = [name for kind, name, *_ in machine.log if kind == "launch"]
    assert len([name for name in launched if name != "cublasLtMatmul"]) == copies


@pytest.mark.parametrize("name", FORMS)
def test_both_modes_have_the_same_bits(name, blas):
    function, shapes, *_ = FORMS[name]
    both(function, *[random(*shape) for shape in shapes])
    assert blas.calls


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_dtypes(dtype, blas):
    a, b = random(4, 16, dtype=dtype), random(16, 6, dtype=dtype)
    found, *_ = both(lambda a, b: a @ b, a, b)
    assert found.dtype == dtype
    rtol = {2: 2e-2, 8: 1e-12}[np.dtype(dtype).itemsize]
    wanted = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=rtol, atol=rtol)
    sums = {np.dtype(np.float64): 70}.get(np.dtype(dtype), 68)
    assert {call["told"]["sums"] for call in blas.calls} == {sums}


def integers(*shape):
    return RNG.integers(-9, 9, shape)


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        (lambda a, b: a @ b, (integers(4, 8), integers(8, 6))),
        (nn.functional.conv2d, (random(2, 3, 8, 8), random(4, 3, 3, 3))),
        (lambda a, b: a @ b, (random(1, 8), random(8, 6))),
        (lambda a, b: df.einsum("mk,kn->m", a, b), (random(4, 8), random(8, 6))),
    ],
)
def test_what_the_library_does_not_do(function, arrays, blas):
    both(function, *arrays)
    assert blas.calls == []


def test_sizes_that_vary(blas):
    @df.function
    def f(x, w):
        return df.tanh(x @ w)

    w = df.asarray(random(8, 6), device="gpu")
    for rows in (3, 4, 5, 7, 1, 4):
        x = df.asarray(random(rows, 8), device="gpu")
        found, calls = f(x, w).numpy(), len(blas.calls)
        assert found.tobytes() == df.tanh(x @ w).numpy().tobytes()
        assert (len(blas.calls) > calls) is (rows > 1)  # one row is a kernel's, in both modes
    assert len(f.graphs) == 3  # four rows, any number of them, one


def test_a_loop(blas):
    def f(x, w):
        for _ in range(12):
            x = df.tanh(x @ w) + 0.25
        return x

    both(f, random(6, 8), random(8, 8) / 4)


def test_gradients(blas):
    def f(x, w):
        with df.GradientTape() as tape:
            tape.watch(w)
            y = (df.tanh(x @ w) ** 2).sum()
        return tape.gradient(y, w)

    x, w = random(6, 8), random(8, 4)
    found = df.function(f)
    given = [df.asarray(a, device="gpu") for a in (x, w)]
    made = [found(*given).numpy() for _ in range(3)][-1]
    np.testing.assert_allclose(made, f(df.asarray(x), df.asarray(w)).numpy(), rtol=1e-3, atol=1e-5)
    turned = {tuple(call["told"].get(k, 0) for k in (4, 3)) for call in blas.calls}
    assert turned == {(0, 0), (1, 0)}


# ----- the choice -----


def time_as(monkeypatch, *seconds):
    """Lets the candidates take so long; gives how many were timed."""
    timed = []

    def seconds_of(trial, multiply, algorithm):
        timed.append(algorithm)
        return seconds[algorithm.words[0] - 1]

    monkeypatch.setattr(cublas_trial.Trial, "seconds", seconds_of)
    return timed


def product(rows=5):
    return df.asarray(random(rows, 8), device="gpu") @ df.asarray(random(8, 6), device="gpu")


@pytest.mark.parametrize(
    ("seconds", "wanted"), [((3, 1, 2), 2), ((3, 2.95, 2.99), 1), ((float("inf"), 2, 1), 3)]
)
def test_the_fastest_is_taken_once_and_for_all(seconds, wanted, blas, monkeypatch, tmp_path):
    with configure(cache=tmp_path):
        timed = time_as(monkeypatch, *seconds)
        product()
        cublas_choice.forget()  # as in another process
        product()
    assert [call["algorithm"] for call in blas.calls][-2:] == [wanted] * 2  # after trials, once
    assert len(timed) == 3


def test_without_timing_the_first_is_taken(blas, monkeypatch):
    timed = time_as(monkeypatch, 3, 2, 1)
    with configure(timing=False):
        product()
    assert ([call["algorithm"] for call in blas.calls], timed) == ([1, 1], [])  # one is the trial


def test_timing_is_of_graphs_on_the_device(blas, machine):
    with configure(cache="off"):
        product()
    assert machine.counts["captured"] == machine.counts["replayed"] / 2 == 3
    assert {call["algorithm"] for call in blas.calls} == {1, 2, 3}


def test_an_algorithm_has_a_workspace_of_its_own(blas, monkeypatch):
    time_as(monkeypatch, 3, 2, 1)
    x, w = random(6, 8), random(8, 8)
    with configure(cache="off"):
        both(lambda x, w: (x @ w) @ w + df.tanh(x @ w), x, w)
    assert {call["algorithm"] for call in blas.calls[-3:]} == {3}


@pytest.mark.parametrize(("wrong", "taken"), [({1}, 2), ({1, 2}, 3)])
def test_what_computes_wrongly_is_not_taken(wrong, taken, blas, monkeypatch):
    time_as(monkeypatch, 1, 2, 3)
    blas.wrong = wrong
    with configure(cache="off"):
        both(lambda x, w: x @ w, random(6, 8), random(8, 8))
    assert blas.calls[-1]["algorithm"] == taken


@pytest.mark.parametrize("trouble", [{"wrong": {1, 2, 3}}, {"fails": 14}])
def test_kernels_compute_what_the_library_cannot(trouble, blas):
    """A warning says so, once."""
    vars(blas).update(trouble)
    x, w = random(6, 8), random(8, 8)
    with configure(cache="off"), pytest.warns(RuntimeWarning, match="cuBLASLt has no algorithm"):
        found, *_ = both(lambda x, w: df.tanh(x @ w), x, w)
    np.testing.assert_allclose(found, np.tanh(x @ w), rtol=1e-5)
    blas.fails, tried = 0, len(blas.calls)
    both(lambda x, w: x @ w, x, w)
    assert len(blas.calls) == tried


def test_every_dtype_and_form_passes_its_trial(blas):
    """Trials find what the library computes right, however its operands lie."""
    for dtype in ("float32", "float64", "float16", "bfloat16"):
        precision = "tf32" if dtype == "float32" else ""
        for turned in ((False, False), (True, False), (False, True), (True, True)):
            for shared in ((False, False), (True, False), (False, True)):
                product = Product(dtype, precision, (3, 7, 5, 300), turned, shared)
                multiply = Multiply(product, 0)
                algorithm, *_ = multiply.algorithms()
                trial = cublas_trial.Trial(product, algorithm.workspace)
                assert trial.is_right(multiply, algorithm)
                blas.wrong = {1}
                assert not trial.is_right(multiply, algorithm)
                blas.wrong = set()


def test_a_product_that_the_library_does_not_know(blas):
    blas.proposed = 0
    both(lambda x, w: x @ w, random(6, 8), random(8, 8))
    assert blas.calls == []


def test_without_the_library(small):
    found, *_ = both(lambda x, w: df.tanh(x @ w), random(6, 8), random(8, 8))
    assert found.shape == (6, 8)


def test_an_error_is_told_at_its_line(blas):
    f = df.function(lambda x, w: df.tanh(x @ w) @ w)
    x, w = df.asarray(random(8, 8), device="gpu"), df.asarray(random(8, 8), device="gpu")
    for _ in range(2):
        f(x, w)
    blas.fails = 13
    path = next(iter(f.entries.values())).parts[0]
    y = df.asarray(random(8, 8), device="gpu")
    with pytest.raises(DeviceError, match=r"matmul[\s\S]*status 13[\s\S]*test_products\.py"):
        path.executable([y.raw, w.raw])
    with pytest.raises(DeviceError, match="status 13"):
        df.matmul(x, w)


# ----- precision -----


def sums(blas):
    """What the sums of the products since then ran in."""
    found = {call["told"]["sums"] for call in blas.calls}
    blas.calls.clear()
    return found


def test_one_precision_for_both_modes(blas):
    x, w = df.asarray(random(6, 8), device="gpu"), df.asarray(random(8, 8), device="gpu")
    f = df.function(lambda x, w: df.tanh(x @ w) + 1.0)
    for _ in range(3):
        for precision, number in (("float32", 68), ("tf32", 77)):
            with df.set_matmul_precision(precision):
                found = f(x, w).numpy()
                assert found.tobytes() == (df.tanh(x @ w) + 1.0).numpy().tobytes()
            assert sums(blas) == {number}
    assert len(f.graphs) == 2
    with df.set_matmul_precision("tf32"):
        df.matmul(df.astype(x, df.float64), df.astype(w, df.float64))
    assert sums(blas) == {70}


def test_a_precision_holds_until_another_comes():
    before = config().precision
    with df.set_matmul_precision("tf32"):
        assert config().precision == "tf32"
        df.set_matmul_precision("float32")
        assert config().precision == "float32"
    assert config().precision == before
    with pytest.raises(ValueError, match="float32 or tf32"):
        df.set_matmul_precision("half")


def test_a_graph_has_one_precision():
    @df.function(strict=True)
    def f(x):
        with df.set_matmul_precision("tf32"):
            return x @ x

    with pytest.raises(TraceError, match=r"set it around the call[\s\S]*test_products\.py"):
        f(df.ones((2, 2)))
