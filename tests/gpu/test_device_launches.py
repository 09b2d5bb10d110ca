"""Eager ops on a real GPU by native code: the results of calls that come again, from any thread."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import dualflow as df
from dualflow.core import gpu_kernels
from jit.runtime import gpu_launches
from jit.runtime.cuda import cupy
from tests.gpu.device import available
from tests.gpu.test_eager import GAPS
from tests.gpu.test_native_launches import PROGRAMS
from tests.modes import bits

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not available(), reason="there is no CuPy, or no device"),
]


def random(seed, shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_native_code_reads_the_arrays_of_this_cupy():
    assert gpu_launches.launches() is not None


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_gradients_that_come_again(name):
    gradient = df.value_and_grad(lambda x, y: df.sum(PROGRAMS[name](x, y)), argnums=(0, 1))
    given = [random(k, (5, 3)) for k in range(2)]
    value, slopes = gradient(*map(df.asarray, given))
    there = [df.asarray(a, device="gpu") for a in given]
    seen = set()
    for _ in range(5):
        found, flows = gradient(*there)
        seen.add((bits(found.numpy()), *[bits(x.numpy()) for x in flows]))
        for ours, theirs in zip((found, *flows), (value, *slopes), strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5)
    assert len(seen) == 1
    assert gpu_kernels.quick


@pytest.mark.parametrize("name", GAPS)
def test_arrays_with_gaps_before_and_after_they_are_read_as_they_are(name):
    call, shape = GAPS[name]
    a = random(0, shape)
    wanted, x = call(df.asarray(a)).numpy(), df.asarray(a, device="gpu")
    found = [call(x).numpy() for _ in range(gpu_kernels.OFTEN + 3)]
    assert len(set(map(bits, found))) == 1
    np.testing.assert_allclose(found[0], wanted, rtol=1e-5, atol=1e-5)


def test_threads_and_streams():
    x, y = (df.asarray(random(k, (64, 64)), device="gpu") for k in range(2))
    wanted = bits(((x + y) @ x).numpy())
    found = []

    def work():
        with cupy().cuda.Stream(non_blocking=True) as stream:
            for _ in range(50):
                made = (x + y) @ x
            stream.synchronize()
            found.append(bits(made.numpy()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 4
