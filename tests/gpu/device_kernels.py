"""Kernels on a GPU: the same bits as on the CPU, and how fast they are.

    python -m tests.gpu.device_kernels [--large] [NAME...]

On a machine with a device it runs each program of `tests.gpu.workloads` at its small size and, if
asked, at its large one, compares the bits with the CPU's, and prints what each launch costs. It
needs NumPy, ml_dtypes, llvmlite and CuPy.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback

os.environ.setdefault("JIT_CACHE", tempfile.mkdtemp(prefix="jit-device-"))

import jit
from jit.forms.native import lower_for_code
from jit.planner import plan
from tests.gpu.device import OnDevice, available, device
from tests.gpu.workloads import WORKLOADS
from tests.jit.loops.whole import bits


def check(name: str, *, large: bool) -> bool:
    """Runs a program on both devices; whether all bits are the same."""
    work = WORKLOADS[name]
    graph, arrays = work.graph(large=large), work.arrays(large=large)
    executable = jit.compile(graph)
    start = time.perf_counter()
    target = device()
    program = plan(name, lower_for_code(executable.graph, target.units), target).program
    running = OnDevice(program, arrays)
    found = running.run()
    spent = time.perf_counter() - start
    wanted = executable(arrays)
    same = [bits(ours) == bits(theirs) for ours, theirs in zip(found, wanted, strict=True)]
    said = "same bits" if all(same) else f"OTHER BITS in {same.count(False)} of {len(same)}"
    print(f"{name}, {'large' if large else 'small'}: {said}, first call {spent:.2f} s", flush=True)
    for cost in running.costs() if large else ():
        print(f"  {cost}", flush=True)
    return all(same)


def main() -> int:
    """Everything that is asked for; 0 if all is well."""
    if not available():
        print("no CuPy, or no device")
        return 2
    names = [x for x in sys.argv[1:] if not x.startswith("-")] or list(WORKLOADS)
    good = True
    for large in (False, True) if "--large" in sys.argv else (False,):
        for name in names:
            try:
                good &= check(name, large=large)
            except Exception:
                traceback.print_exc(limit=8)
                good = False
    print("all is well" if good else "SOMETHING IS WRONG")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
