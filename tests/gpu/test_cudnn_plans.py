"""Plans of cuDNN itself, which needs no device for them: where its frontend is installed."""

from __future__ import annotations

import json

import pytest

from jit.ir.convolution import FILTERS, FORWARD, IMAGES, Convolution
from jit.runtime import cudnn
from jit.runtime.cudnn import Convolve, Convolving

pytestmark = pytest.mark.skipif(
    cudnn.frontend() is None,
    reason="there is no cuDNN frontend with its library (jit.runtime.cudnn.frontend)",
)
H100 = {  # as the library describes one
    "maxGridSize": [2147483647, 65535, 65535],
    "maxBlockSize": [1024, 1024, 64],
    "regsPerBlock": 65536,
    "multiProcessorCount": 132,
    "warpSize": 32,
    "maxSharedMemoryPerBlock": 49152,
    "maxSharedMemoryPerBlockOptin": 232448,
    "reservedSharedMemoryPerBlock": 1024,
    "maxRegistersPerSM": 65536,
    "maxCtasPerSM": 32,
    "maxThreadsPerBlock": 1024,
    "maxThreadsPerSM": 2048,
    "pciDeviceId": 0,
    "isTccDriver": 0,
    "supportCoopLaunch": 1,
    "totalGlobalMem": 85027192832,
    "smClockRateKHz": 1980000,
    "memClockRateKHz": 2619000,
    "l2CacheSize": 52428800,
    "cudaDeviceId": 0,
    "deviceVer": 900,
    "driverVer": 13000,
    "deviceName": "NVIDIA H100 80GB HBM3",
}
# Batch, channels, extent of an image, channels of results, extent of a window, zeros around.
VGG16 = [
    (32, 3, 224, 64, 3, 1),
    (32, 64, 224, 64, 3, 1),
    (32, 64, 112, 128, 3, 1),
    (32, 128, 112, 128, 3, 1),
    (32, 128, 56, 256, 3, 1),
    (32, 256, 56, 256, 3, 1),
    (32, 256, 28, 512, 3, 1),
    (32, 512, 28, 512, 3, 1),
    (32, 512, 14, 512, 3, 1),
]
LENET = [(64, 1, 28, 6, 5, 2), (64, 6, 14, 16, 5, 0)]
KINDS = FORWARD, IMAGES, FILTERS
DTYPES = [("float32", "tf32"), ("float32", "float32"), ("bfloat16", ""), ("float16", "")]


def properties():
    """The library's description of an H100."""
    return cudnn.frontend().create_device_properties(json.dumps(H100))


def layer(kind, n, c, extent, k, window, around):
    """A layer of a net."""
    made = extent + 2 * around - window + 1
    shapes = (n, extent, extent, c), (k, window, window, c), (n, made, made, k)
    return Convolution(kind, *shapes, (1, 1), (1, 1), (around, around))


def plans(convolution, dtype, precision, epilogue=""):
    """What the library proposes for an H100."""
    job = Convolving(convolution, dtype, precision, epilogue)
    found = Convolve(job, 0, properties()).plans()
    assert len({plan.name for plan in found}) == len(found)
    assert all(plan.workspace <= cudnn.WORKSPACE for plan in found)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "precision"), DTYPES)
@pytest.mark.parametrize("sizes", VGG16 + LENET)
def test_layers_have_plans(kind, dtype, precision, sizes):
    found = plans(layer(kind, *sizes), dtype, precision)
    assert len(found) >= (1 if precision == "float32" else 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", VGG16[1:])
def test_layers_need_little_beside_them(kind, sizes):
    """With channels last nothing is turned around before: that would take hundreds of megabytes."""
    for dtype, precision in (DTYPES[0], *DTYPES[2:]):
        assert plans(layer(kind, *sizes), dtype, precision)[0].workspace <= 4 << 20


@pytest.mark.parametrize("epilogue", ["bias", "bias_relu"])
@pytest.mark.parametrize("sizes", VGG16 + LENET)
def test_layers_have_plans_with_an_epilogue(epilogue, sizes):
    assert plans(layer(FORWARD, *sizes), "float32", "tf32", epilogue)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shapes",
    [
        ((8, 256, 64), (32, 3, 64), (8, 128, 32), (2,), (1,), (1,)),  # a line
        ((2, 8, 9, 10, 16), (32, 3, 3, 3, 16), (2, 8, 9, 10, 32), (1,) * 3, (1,) * 3, (1,) * 3),
        ((8, 32, 32, 64), (64, 3, 3, 16), (8, 32, 32, 64), (1, 1), (1, 1), (1, 1)),  # groups
        ((8, 32, 32, 64), (64, 3, 3, 64), (8, 32, 32, 64), (1, 1), (2, 2), (2, 2)),  # gaps
        ((8, 33, 33, 64), (64, 2, 2, 64), (8, 16, 16, 64), (2, 2), (1, 1), (0, 0)),  # a rest
    ],
)
def test_other_convolutions_have_plans(kind, shapes):
    assert plans(Convolution(kind, *shapes), "float32", "tf32")


def test_a_plan_is_found_again_by_its_name():
    job = Convolving(layer(FORWARD, *VGG16[5]), "bfloat16", "")
    _, second, *_ = Convolve(job, 0, properties()).plans()
    assert Convolve(job, 0, properties()).plans(second.name) == [second]
    assert Convolve(job, 0, properties()).plans("another") == []
