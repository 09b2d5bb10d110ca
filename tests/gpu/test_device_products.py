"""Products by cuBLASLt on a GPU: both modes have the same bits, which are near those of float64."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from jit.config import configure
from jit.forms import matrices
from jit.runtime import cublas, cublas_choice
from jit.runtime.trials import SPECIAL
from jit.types import dtypes
from tests.gpu.device import available
from tests.gpu.test_epilogues import AT_ONCE
from tests.gpu.test_products import FORMS, random

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not available(), reason="there is no CuPy, or no device"),
    pytest.mark.skipif(cublas.library() is None, reason="there is no cuBLASLt"),
]
NEAR = {"float32": 1e-5, "float64": 1e-13, "float16": 1e-2, "bfloat16": 5e-2}
SIZES = [  # products, rows, columns, inner indices; which operands lie transposed
    (1, 64, 100, 1000, ""),
    (1, 333, 77, 129, "a"),
    (1, 512, 256, 1024, "b"),
    (1, 256, 512, 300, "ab"),
    (24, 100, 60, 64, "b"),
    (24, 64, 64, 96, "a"),
]


@pytest.fixture
def every(monkeypatch):
    """Products of any size from 2 rows and columns on are for the library; no op is known."""
    from dualflow.core import gpu_kernels, kernels

    monkeypatch.setattr(matrices, "LARGE", 1)
    monkeypatch.setattr(matrices, "MANY", 1)
    monkeypatch.setattr(matrices, "NARROW", 2)
    monkeypatch.setattr(gpu_kernels, "calls", {})
    monkeypatch.setattr(kernels, "families", {})


def check(function, arrays, near):
    """Compares both modes with each other, and with float64 on the CPU."""
    given = [df.asarray(x, device="gpu") for x in arrays]
    f = df.function(function)
    made = [f(*given).numpy() for _ in range(3)][-1]
    assert made.tobytes() == function(*given).numpy().tobytes()
    wanted = function(*[df.asarray(x.astype(np.float64)) for x in arrays]).numpy()
    assert np.abs(made.astype(np.float64) - wanted).max() <= near * np.abs(wanted).max()


@pytest.mark.parametrize("name", FORMS)
def test_forms(name, every):
    function, shapes, *_ = FORMS[name]
    check(function, [random(*shape) for shape in shapes], NEAR["float32"])


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("size", SIZES)
def test_sizes(size, dtype, every):
    batch, rows, columns, inner, turned = size
    shapes = [(rows, inner), (inner, columns)]
    a, b = [
        random(batch, *(shape[::-1] if name in turned else shape), dtype=dtypes[dtype])
        for name, shape in zip("ab", shapes)
    ]

    def product(a, b):
        return (a.mT if "a" in turned else a) @ (b.mT if "b" in turned else b)

    check(product, [a, b], NEAR[dtype])


@pytest.mark.parametrize(("precision", "least"), [("float32", 0.0), ("tf32", 1e-5)])
def test_precisions(precision, least):
    a, b = random(512, 512), random(512, 512)
    with df.set_matmul_precision(precision):
        check(lambda a, b: df.tanh(a @ b / 64.0), [a, b], 1e-6 if least == 0 else 5e-3)
        found = (df.asarray(a, device="gpu") @ df.asarray(b, device="gpu")).numpy()
    wanted = a.astype(np.float64) @ b.astype(np.float64)
    assert np.abs(found - wanted).max() >= least * np.abs(wanted).max()


@pytest.mark.parametrize("precision", ["float32", "tf32"])
@pytest.mark.parametrize("name", AT_ONCE)
def test_epilogues(name, precision, every):
    """Whether the library computes both at once or not: the bits are those of eager execution."""
    function, _ = AT_ONCE[name]
    x, w, b = random(6, 20), random(20, 12), random(12)
    with df.set_matmul_precision(precision):
        check(function, [x, w, b], NEAR["float32"] if precision == "float32" else 5e-3)
        b[: len(SPECIAL)], x[1] = SPECIAL, 0
        given = [df.asarray(a, device="gpu") for a in (x, w, b)]
        f = df.function(function)
        made = [f(*given).numpy() for _ in range(3)][-1]
        np.testing.assert_array_equal(made, function(*given).numpy())


def test_epilogues_are_in_use(every):
    """The library adds a bias with the algorithm of the product, and has the same bits."""
    product = cublas.Product("float32", "tf32", (1, 512, 1024, 2048), epilogue="bias")
    with configure(cache="off", timing=False):
        assert cublas_choice.chosen(product, 0) is not None
