"""`python -m tests.gpu.predicted [TEXT ...]`: what steps should take on an H100, without one.

The loss and the gradients of each workload whose name has one of the texts are planned for the GPU.
A launch takes as long as its bytes at the speed of a copy, or its operations at what products were
seen to reach, whichever is longer, and never less than a node of a graph: the least time, if no
kernel waited for anything else. Temporaries are the bytes of the block that they share. Launches
are counted before independent ones become one; those of the optimiser are not among them.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import dualflow as df
from dualflow.bench import gpu_workloads
from dualflow.bench.gpu_data import WORKS, Work, parameters
from jit.compiler import compile
from jit.forms.native import lower_for_code
from jit.loops.ir import Mma
from jit.planner import plan
from jit.runtime.memory import layout, timeline
from jit.runtime.program import Launch, Program, Repeat
from jit.runtime.tables import byte_size
from jit.target import gpu

NODE = 1.35e-6  # seconds of a node of a CUDA graph (measured on an H100)
COPY = 3.0e12  # bytes a second (measured)
LIBRARY = {"tf32": 250e12, "bfloat16": 550e12, "float32": 45e12}  # operations a second
OWN = {"tf32": 170e12, "bfloat16": 300e12, "": 30e12}  # of our products: what is hoped for


def gradients_of(work: Work) -> Any:
    """The graph of a step's loss and gradients."""
    gpu_workloads.DEVICE = "cpu"
    net = gpu_workloads.net_of(work, quick=False)
    gpu_workloads.fill(net, parameters(work, quick=False))
    x, y = gpu_workloads.there(work, quick=False)
    low = df.autocast(work.precision) if work.precision == "bfloat16" else nullcontext()

    def step(x: Any, y: Any) -> Any:
        with df.GradientTape() as tape, low:
            loss = gpu_workloads.LOSSES[work.kind](net, x, y)
        return loss, tape.gradient(loss, list(net.parameters()))

    function: Any = df.function(step)
    return function.concrete(x, y).graph


def seconds_of(program: Program, launch: Launch, precision: str) -> float:
    """The least time of a launch."""
    size = sum(byte_size(program, slot, {}) for slot in launch.buffers)
    units = any(isinstance(s, Mma) for s in launch.kernel.statements())
    rate = OWN[precision if units else ""] if launch.matrices is None else LIBRARY[precision]
    operations = launch.operations if isinstance(launch.operations, int) else 0
    return max(NODE, size / COPY, operations / rate)


def predicted(work: Work) -> SimpleNamespace:
    """Launches, their least time, and the bytes of temporaries."""
    graph = compile(gradients_of(work)).graph
    target = replace(gpu("sm_90"), products="tf32" if work.precision == "tf32" else "float32")
    program = plan(graph.name, lower_for_code(graph, target.units), target).program
    launches = [(1, x) for x in program.steps if isinstance(x, Launch)]
    for x in program.steps:
        if isinstance(x, Repeat):
            assert isinstance(x.count, int)
            launches += [(x.count, each) for each in x.steps]
    times, given = timeline(program), {*program.outputs}
    lasting = {k for k, slot in enumerate(program.slots) if slot.role in ("input", "constant")}
    own = [slot for slot in times.births if slot not in given | lasting]
    room = layout(times, {slot: byte_size(program, slot, {}) for slot in own})
    return SimpleNamespace(
        launches=sum(n for n, _ in launches),
        seconds=sum(n * seconds_of(program, x, work.precision) for n, x in launches),
        bytes=room.size,
    )


def main() -> None:
    """Prints a table."""
    print("| loss and gradients | launches | at least, ms | temporaries, MB |")
    print("|---|---|---|---|")
    for work in WORKS:
        if work.kind in gpu_workloads.LOSSES and any(x in work.name for x in sys.argv[1:] or [""]):
            found = predicted(work)
            milliseconds, megabytes = found.seconds * 1e3, found.bytes / 1e6
            print(f"| {work.name} | {found.launches} | {milliseconds:.3f} | {megabytes:.0f} |")


if __name__ == "__main__":
    main()
