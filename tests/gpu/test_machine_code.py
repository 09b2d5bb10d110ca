"""Every kernel that eager execution on a GPU has for the samples of ops becomes machine code.

Nothing is launched: a kernel is planned and compiled for an H100, and CuPy's stand-in computes.
"""

from __future__ import annotations

import pytest

from dualflow.autodiff import sweep
from dualflow.core import doors, gpu_kernels
from jit import native
from jit.codegen.ptx_verify import verify
from jit.errors import KernelError
from jit.runtime import cubin, gpu_code
from jit.target import gpu
from tests.gpu import test_laws
from tests.gpu.standin_driver import state
from tests.gpu.test_laws import DEVICE, on
from tests.ops import laws
from tests.samples import SAMPLES

SM90 = gpu("sm_90")
ELF = b"\x7fELF"
CODE = gpu_code.gpu_code  # which the stand-in replaces
DTYPES = (None, "float64", *laws.OTHERS)
FEW = ("concat", "logical_and", "add")  # lanes known to lie outside, small elements, all dtypes
needs_linker = pytest.mark.skipif(
    cubin.linker() is None, reason="nvidia-nvjitlink is not installed"
)


@pytest.fixture
def compiling(machine, monkeypatch):
    """Ops have their kernels made, which are kept in the list given, and are computed without.

    So are gradients, op by op: code of several ops together would be launched.
    """
    made, new_way = [], gpu_kernels.new_way

    def compiled(kernel, target):
        made.append(CODE(kernel, target))
        state.parameters[made[-1].symbol] = len(kernel.buffers) + len(kernel.sizes) + 1
        return made[-1]

    def call(*args):
        new_way(*args)

    monkeypatch.setattr(native, "gpu_target", lambda number: SM90)
    monkeypatch.setattr(gpu_code, "gpu_code", compiled)
    monkeypatch.setattr(gpu_kernels, "calls", {})
    monkeypatch.setattr(gpu_kernels, "new_way", call)
    monkeypatch.setattr(sweep, "run_eagerly", [sweep.op_by_op])
    monkeypatch.setattr(doors, "_told", {"before"})
    return made


@needs_linker
@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[pytest.mark.slow] * (x not in FEW)) for x in sorted(SAMPLES)]
)
def test_samples(name, compiling):
    for case in laws.cases(name, *DTYPES):
        on(DEVICE, case)
    assert all(code.image.startswith(ELF) for code in compiling)
    assert compiling or name not in FEW


@needs_linker
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_gradients(name, compiling):
    for case in laws.differentiable(name, None):
        test_laws.derived(DEVICE, case)
    assert all(code.image.startswith(ELF) for code in compiling)


# ----- what would end the process -----

MODULE = """target triple = "nvptx64-nvidia-cuda"
define ptx_kernel void @entry(ptr addrspace(1) %a.g, <4 x i1> %m) {{
start:
%a = addrspacecast ptr addrspace(1) %a.g to ptr
{}
ret void
}}
"""


@pytest.mark.parametrize(
    "line",
    [
        "%x = call float @llvm.log.f32(float 1.0)",
        "%x = call <4 x float> @llvm.masked.load(ptr align 4 %a, <4 x i1> %m, "
        "<4 x float> zeroinitializer)",
        "%x = frem float 1.0, 2.0",
        "%x = add i128 1, 2",
        "%x = call float @sinf(float 1.0)",
    ],
)
def test_what_llvm_may_end_the_process_over_is_refused(line):
    with pytest.raises(KernelError, match="not known to make PTX"):
        cubin.ptx(MODULE.format(line), SM90)


def test_older_machines_lack_instructions():
    line = "call void @llvm.nvvm.cp.async.wait.group(i32 0)"
    verify(MODULE.format(line), SM90)
    with pytest.raises(KernelError):
        verify(MODULE.format(line), gpu("sm_75"))


def test_masked_loads_go_through():
    line = (
        "%x = call <4 x float> @llvm.masked.load(ptr align 4 %a, <4 x i1> %m, <4 x float> poison)"
    )
    assert b".target sm_90" in cubin.ptx(MODULE.format(line), SM90)
