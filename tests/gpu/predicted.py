"""`python -m tests.gpu.predicted [TEXT ...]`: what steps should take on an H100, without one.

The loss and the gradients of each workload whose name has one of the texts are planned for the GPU.
A launch takes as long as its bytes at the speed of a copy, its operations at what products were
seen to reach, or the instructions of its warps where each quarter of a processor begins one a
cycle, whichever is longest, and never less than a node of a graph: the least time, if no kernel
waited for anything else. Temporaries are the bytes of the block that they share. Launches are
counted before independent ones become one; those of the optimiser are not among them.
With `--cudnn` the library computes convolutions, as quickly as it was seen to.
`--launches` lists those that take longest, alike ones together, with the types of their buffers.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import dualflow as df
from dualflow.bench import gpu_workloads
from dualflow.bench.gpu_data import WORKS, Work, parameters
from jit.compiler import compile
from jit.forms.native import lower_for_code
from jit.ir.convolution import FILTERS
from jit.loops.heuristics import scheduled
from jit.loops.ir import Kernel, Mma
from jit.planner import plan
from jit.runtime.memory import layout, timeline
from jit.runtime.program import Launch, Program, Repeat
from jit.runtime.tables import byte_size
from jit.target import Target, gpu
from tests.gpu.instructions import instructions

CLOCK, PROCESSORS, QUARTERS = 1.755e9, 132, 4  # of an H100: what begins instructions, how often
LIST, LISTED, CUDNN = "--launches", 40, "--cudnn"
NODE = 1.35e-6  # seconds of a node of a CUDA graph (measured on an H100)
COPY = 3.0e12  # bytes a second (measured)
LIBRARY = {"tf32": 250e12, "bfloat16": 550e12, "float32": 45e12}  # operations a second
CONVOLVED = {  # of convolutions (measured, VGG16): forwards and to images; to filters
    "tf32": (340e12, 170e12),
    "bfloat16": (650e12, 600e12),
    "float32": (40e12, 80e12),
}
OWN = {"tf32": 170e12, "bfloat16": 300e12, "": 30e12}  # of our products: what is hoped for


def gradients_of(work: Work) -> Any:
    """The graph of a step's loss and gradients."""
    if work.kind == "norm":
        return gradients_of_rows(work)
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


def gradients_of_rows(work: Work) -> Any:
    """Likewise, of a layer norm with a loss: no numbers are needed."""
    shape = work.sizes["rows"], work.sizes["width"]
    shapes = [(shape, "float32"), *[(shape[1:], "float32")] * 2, (shape[:1], "int64")]
    step: Any = df.value_and_grad(gpu_workloads.row_loss, argnums=(0, 1, 2))
    return df.function(step).concrete(*[df.TensorSpec(*x) for x in shapes]).graph


def issue_seconds(kernel: Kernel, target: Target) -> float:
    """What the instructions of a kernel take where none waits for another one."""
    made = scheduled(kernel, target)
    if not isinstance(made.grid, int):
        return 0.0
    return instructions(made) / (min(made.grid, PROCESSORS) * QUARTERS * CLOCK)


def seconds_of(program: Program, launch: Launch, precision: str, target: Target) -> float:
    """The least time of a launch."""
    size = sum(byte_size(program, slot, {}) for slot in launch.buffers)
    units = any(isinstance(s, Mma) for s in launch.kernel.statements())
    rate = OWN[precision if units else ""] if launch.matrices is None else LIBRARY[precision]
    if launch.convolved is not None:
        rate = CONVOLVED[precision][launch.convolved.convolution.kind == FILTERS]
    operations = launch.operations if isinstance(launch.operations, int) else 0
    own = launch.matrices is None and launch.convolved is None and not units
    issue = issue_seconds(launch.kernel, target) if own else 0.0
    return max(NODE, size / COPY, operations / rate, issue)


def predicted(work: Work, *, cudnn: bool = False) -> SimpleNamespace:
    """Launches, their least time, and the bytes of temporaries."""
    graph = compile(gradients_of(work)).graph
    precision = "tf32" if work.precision == "tf32" else "float32"
    target = replace(gpu("sm_90"), products=precision, convolutions=precision if cudnn else "")
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
        seconds=sum(n * seconds_of(program, x, work.precision, target) for n, x in launches),
        bytes=room.size,
        longest=longest(program, launches, work.precision, target),
    )


def longest(
    program: Program, launches: list[tuple[int, Launch]], precision: str, target: Target
) -> list[tuple[float, int, str]]:
    """Of launches that are alike: their seconds together, how many there are, what they are."""
    counts, seconds = Counter[str](), Counter[str]()
    for times, launch in launches:
        types = ", ".join([str(program.slots[slot].type) for slot in launch.buffers])
        library = " by the library" if launch.matrices is not None else ""
        line = f" ({launch.source})" if launch.source else ""
        what = f"{launch.label}{library}{line}: {types}"
        counts[what] += times
        seconds[what] += times * seconds_of(program, launch, precision, target)  # type: ignore[assignment]
    return [(taken, counts[what], what) for what, taken in seconds.most_common(LISTED)]


def main() -> None:
    """Prints a table."""
    print("| loss and gradients | launches | at least, ms | temporaries, MB |")
    print("|---|---|---|---|")
    names = [x for x in sys.argv[1:] if x not in (LIST, CUDNN)] or [""]
    for work in WORKS:
        of_rows = work.kind == "norm"
        if (of_rows or work.kind in gpu_workloads.LOSSES) and (any(x in work.name for x in names)):
            found = predicted(work, cudnn=CUDNN in sys.argv)
            milliseconds, megabytes = found.seconds * 1e3, found.bytes / 1e6
            print(f"| {work.name} | {found.launches} | {milliseconds:.3f} | {megabytes:.0f} |")
            for seconds, count, what in found.longest if LIST in sys.argv else []:
                print(f"    {seconds * 1e3:.3f} ms in {count} of {what}")


if __name__ == "__main__":
    main()
