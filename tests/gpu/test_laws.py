"""The laws of ops by CuPy's functions: a sample gives what the CPU gives, and so do gradients.

The device in force is the CPU's throughout: an op computes where its tensors lie, and what it makes
for itself it makes there.
"""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.core import doors
from tests.ops import laws
from tests.ops.laws import same_bits
from tests.samples import SAMPLES

NAMES = sorted(SAMPLES)
DEVICE = "gpu:1"
MOST = 5  # samples of a function
LEAST = np.array([1e-2])  # below it rounding counts as if it were so large


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    """The one warning about float64 is not what this is about."""
    monkeypatch.setattr(doors, "_told", {"before"})


def on(device, case):
    """The results of a case whose arrays lie on a device; those without arrays are made there."""
    laws.seed()
    tensors = [x.to(device) for x in case.tensors()]
    if tensors:
        return laws.tensors_of(case.call(*tensors))
    with df.device(device):
        return laws.tensors_of(case.call())


def derived(device, case):
    """Cotangents and the tangent of a case, computed on a device."""
    primals = [x.to(device) for x in case.primals()]

    def function(*wanted):
        values = [x.to(device) for x in case.tensors()]
        for k, x in zip(case.wanted, wanted, strict=True):
            values[k] = x
        laws.seed()
        return laws.flat(case.call(*values))

    pull = df.vjp(function, *primals)[1]
    tangents = [df.ones_like(x) for x in primals]
    return [*pull(laws.cotangent(case).to(device)), df.jvp(function, primals, tangents)[1]]


def check(ours, theirs, case, rtol=64):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.device == DEVICE, case
        a, b = a.numpy(), b.numpy()
        if laws.kind(a.dtype) in ("bool", "integer"):
            assert same_bits(a, b), case
        else:  # the functions of NumPy are not those of compiled kernels
            inner = [x.dtype for x in case.arrays if laws.kind(x.dtype) in ("floating", "complex")]
            rounding = max(map(laws.rounding, (a.dtype, *inner)))
            laws.assert_close(a, b, rtol * rounding, case, [LEAST.astype(b.dtype)])


@pytest.mark.parametrize("name", NAMES)
def test_results(name, by_cupy):
    for dtype, count in ((None, MOST), ("bfloat16", 1), ("complex64", 1)):
        for case in list(laws.cases(name, dtype))[:count]:
            check(on(DEVICE, case), on("cpu", case), case)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_gradients(name, by_cupy):
    for case in list(laws.differentiable(name, None))[:1]:
        check(derived(DEVICE, case), derived("cpu", case), case, 1e3)
