"""Kernels for NVIDIA GPUs, without one: each becomes a cubin, and computes the bits of the CPU.

The interpreter runs what a GPU would: thread by thread, and it refuses races.
"""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.bench.programs import WORKLOADS as WORKLOADS_OF_BENCH
from dualflow.bench.runner import seeded
from dualflow.core import doors
from jit import planner
from jit.codegen.llvm import emit
from jit.dims import symbol
from jit.errors import KernelError
from jit.forms import contraction, sums
from jit.loops import gpu_tiles
from jit.loops.expand import expand
from jit.loops.gpu_tiles import BLOCKS
from jit.loops.heuristics import scheduled
from jit.loops.ir import INDEX, Buffer, Kernel, Load, Store, Var, index
from jit.loops.verify import verify
from jit.loops.writer import Writer
from jit.runtime import cubin
from jit.runtime.cubin import linker
from jit.runtime.gpu_code import gpu_code
from jit.target import gpu
from jit.types import TensorType, bfloat16, float32
from tests.gpu.workloads import WORKLOADS, Workload, product
from tests.jit.examples import EXAMPLES, example
from tests.jit.loops.side_by_side import run_all
from tests.jit.loops.whole import graph_of
from tests.jit.stages import Stages, bits
from tests.jit.test_programs import DATA, MOST, STEPS, watching
from tests.ops import laws
from tests.samples import SAMPLES

SM90 = gpu("sm_90")
ELF = b"\x7fELF"
# What the interpreter takes more than a second for.
LONG = ("two_layers", "convolution", "convolution_backward", "attention", "attention_backward")
FEW = ("tanh", "astype", "take")
LARGE = ("product", "turned_product", "convolution")  # whose kernels take a second each
needs_linker = pytest.mark.skipif(linker() is None, reason="nvidia-nvjitlink is not installed")


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    """The one warning about float64 is not what this is about."""
    monkeypatch.setattr(doors, "_told", {"before"})


def check_cubins(made):
    """Every kernel, as it is scheduled and expanded, is valid and becomes machine code."""
    for kernel in made.kernels:
        direct = expand(scheduled(kernel, made.target))
        verify(direct)
        assert direct.threads > 1
        assert gpu_code(kernel, made.target).image.startswith(ELF)


def check_bits(made, inputs):
    """The interpreter gives what the machine code of this machine gives."""
    assert list(map(bits, made.run("direct", inputs))) == list(
        map(bits, made.run("native", inputs))
    )


def check_bits_of_all(made, inputs):
    """The same for kernels of many steps: all threads at once compute them."""

    def run(kernel, arrays, sizes):
        return run_all(expand(scheduled(kernel, made.target)), arrays, sizes)

    found = made.run_kernels(inputs, run)
    assert list(map(bits, found)) == list(map(bits, made.run("native", inputs)))


def named(names, slow):
    """Parameters, some of them slow."""
    return [pytest.param(x, marks=[pytest.mark.slow] * (x in slow)) for x in names]


@needs_linker
@pytest.mark.parametrize("program", EXAMPLES)
def test_examples_cubin(program):
    check_cubins(Stages(example(program).graph, SM90))


@pytest.mark.slow
@needs_linker
@pytest.mark.parametrize("program", named(EXAMPLES, LONG))
def test_large_examples_cubin(program):
    check_cubins(Stages(example(program, large=True).graph, SM90))


@needs_linker
@pytest.mark.parametrize("name", named(WORKLOADS, LARGE))
def test_workloads_cubin(name):
    check_cubins(Stages(WORKLOADS[name].graph(large=True), SM90))


@needs_linker
@pytest.mark.parametrize("name", ["sm_80", "sm_89", "sm_100", "sm_120"])
def test_other_machines_cubin(name):
    check_cubins(Stages(example("softmax").graph, gpu(name)))


def test_rooms_that_threads_share_fit_into_the_machine():
    """Of 8 KB a block holds four; one of 64 KB is a thread's own."""
    for size, threads in ((2048, 128), (1 << 14, 128)):
        w, item = Writer(), Var(INDEX, "item")
        room = w.alloc("room", float32, size, "stack")
        x, y = Buffer("x", float32), Buffer("y", float32, access="out")
        with w.loop(index(0), index(size), hint="lane") as t:
            w.store(room, t, w.load(x, t))
        with w.loop(index(0), index(size), hint="lane2") as t:
            mirrored = w.load(room, w.let("subtract", index(size - 1), t))
            w.store(y, w.let("add", w.let("multiply", item, index(size)), t), mirrored)
        made = scheduled(Kernel("k", (x, y), (), 1 << 12, item, tuple(w.body)), SM90)
        verify(made)
        assert made.threads == threads
        assert made.items == (4 if size == 2048 else 128)


@pytest.mark.parametrize("program", named(EXAMPLES, LONG))
def test_examples(program):
    call = example(program)
    check_bits(Stages(call.graph, SM90), call.inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads(name):
    work = WORKLOADS[name]
    check_bits(Stages(work.graph(large=False), SM90), work.arrays(large=False))


@needs_linker
@pytest.mark.parametrize("op", named(sorted(SAMPLES), SAMPLES.keys() - {*FEW}))
def test_samples_cubin(op):
    for case in laws.cases(op, None, *laws.HALVES):
        call = laws.traced(op, case.number, case.dtype)
        made = Stages(call.graph, SM90)
        check_cubins(made)
        check_bits(made, call.inputs)


@needs_linker
@pytest.mark.parametrize("dtype", ["int32", "float64", "float16"])
def test_what_threads_exchange_cubin(dtype):
    check_cubins(Stages(laws.traced("max", 0, dtype).graph, SM90))


@needs_linker
@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS_OF_BENCH)
def test_training_steps_cubin(name):
    training, data = seeded(WORKLOADS_OF_BENCH[name].make), DATA[name]()
    with watching() as found:
        step = df.function(training.step, strict=True)
        for _ in range(STEPS):
            for arguments in data:
                step(*arguments)
    different = {str(each.graph): each for each in found if each.inputs is not None}
    assert different
    for each in [*different.values()][:MOST]:
        check_cubins(Stages(each.graph, SM90))


@pytest.mark.parametrize(("inner", "teams"), [(19, (2,)), (32, ())])
@pytest.mark.parametrize("block", named(BLOCKS, BLOCKS[:-1]), ids=lambda block: str(block.shape))
def test_products(monkeypatch, block, inner, teams):
    """Two chains of the canonical order: side by side, with a rest; and one after the other."""
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", 16)
    monkeypatch.setattr(planner, "_kernels", {})
    monkeypatch.setattr(gpu_tiles, "BLOCKS", (block,))
    monkeypatch.setattr(gpu_tiles, "TEAMS", teams)
    work = Workload(product, [(3, inner), (inner, 2), (2,)], [])
    check_bits(Stages(work.graph(large=False), SM90), work.arrays(large=False))


def filter_gradient(form, x, y):
    """Of a 3 x 3 convolution with a margin, and what is done with it."""
    n, h, wide, channels = x.shape

    def place(b, i, j, u, v, c):
        return b, i + u - 1, j + v - 1, c

    windows = form.view(x, (n, h, wide, 3, 3, channels), place, fill=0)
    total = form.contract("bijuvc,bijo->uvco", windows, y)
    return form.pointwise("multiply", total, total)


@needs_linker
def test_long_sums_are_computed_chain_by_chain(monkeypatch):
    """Two kernels: the chains side by side, and their sums with what follows."""
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", 4)
    monkeypatch.setattr(sums, "CHAINS", 2)
    monkeypatch.setattr(gpu_tiles, "BLOCKS", BLOCKS[-1:])
    monkeypatch.setattr(planner, "_kernels", {})
    work = Workload(filter_gradient, [(1, 2, 4, 1), (1, 2, 4, 1)], [])
    made = Stages(work.graph(large=False), SM90)
    *_, chains, fold = made.kernels
    assert (chains.grid, fold.grid) == (2, 9)
    check_cubins(made)
    check_bits_of_all(made, work.arrays(large=False))


def windows(form, x, w):
    """A convolution without a margin, channels first."""
    n, channels, h, wide = x.shape
    _, _, u, v = w.shape
    shape = n, channels, h - u + 1, wide - v + 1, u, v
    seen = form.view(x, shape, lambda b, c, i, j, p, q: (b, c, i + p, j + q))
    return form.pointwise("abs", form.contract("bcijuv,ocuv->boij", seen, w))


TILED = {
    "matrices": Workload(product, [(5, 70), (70, 37), (37,)], []),
    "windows": Workload(windows, [(2, 6, 5, 7), (3, 6, 3, 3)], []),
}


@pytest.mark.parametrize("name", TILED)
@pytest.mark.parametrize("block", named(BLOCKS, BLOCKS[:2]), ids=lambda block: str(block.shape))
def test_every_tile(monkeypatch, block, name):
    """Rows and columns of all tiles, several chains, and rests of all of these."""
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", 30)
    monkeypatch.setattr(planner, "_kernels", {})
    monkeypatch.setattr(gpu_tiles, "BLOCKS", (block,))
    work = TILED[name]
    check_bits_of_all(Stages(work.graph(large=False), SM90), work.arrays(large=False))


@needs_linker
@pytest.mark.parametrize("shapes", [[(3, 16, 40, 2), (3, 16, 40, 3)]])
def test_filter_gradients(shapes):
    """Of a size that has chains of its own, all threads at once."""
    work = Workload(filter_gradient, shapes, [])
    made, arrays = Stages(work.graph(large=False), SM90), work.arrays(large=False)
    check_cubins(made)
    check_bits_of_all(made, arrays)


SIZES = {
    "transpose": [{"m": 5, "n": 10}, {"m": 9, "n": 3}],
    "add": [{"n": 131}, {"n": 4}, {"n": 3}],
    "bias": [{"m": 3, "n": 10}, {"m": 2, "n": 4}],
    "rows": [{"m": 5, "n": 100}, {"m": 3, "n": 33}],
    "softmax": [{"m": 2, "n": 40}],
    "columns": [{"m": 600, "n": 3}, {"m": 255, "n": 2}],
    "turned_product": [{"k": 19, "m": 2, "n": 3}],
}
SHAPES = {
    "transpose": ["mn"],
    "add": ["n", "n"],
    "bias": ["mn", "n"],
    "rows": ["mn"],
    "softmax": ["mn"],
    "columns": ["mn"],
    "turned_product": ["km", "nk"],
}


@pytest.mark.parametrize("name", named(SIZES, ["turned_product"]))
def test_kernels_for_any_size(monkeypatch, name):
    monkeypatch.setattr(gpu_tiles, "BLOCKS", BLOCKS[-1:])
    monkeypatch.setattr(gpu_tiles, "TEAMS", ())
    monkeypatch.setattr(planner, "_kernels", {})
    hint = {"m": 600, "n": 200, "k": 20}
    types = [
        TensorType(tuple([symbol(d, hint=hint[d]) for d in shape]), float32)
        for shape in SHAPES[name]
    ]
    made = Stages(graph_of(WORKLOADS[name].build, types), SM90)
    if linker() is not None:
        check_cubins(made)
    rng = np.random.default_rng(3)
    for sizes in SIZES[name]:
        shapes = [[sizes[d] for d in shape] for shape in SHAPES[name]]
        check_bits(made, [rng.normal(size=shape).astype("f") for shape in shapes])


# ----- code -----


def test_floats_are_rounded_as_ieee_says():
    """No contraction, no flushing of small numbers, no approximate division.

    An inverse of what is neither large nor small starts from the machine's, and is exact after a
    step of Newton's.
    """
    (kernel,) = Stages(WORKLOADS["chain"].graph(large=True), SM90).kernels
    text = cubin.ptx(emit(expand(scheduled(kernel, SM90)), SM90), SM90).decode()
    assert "mul.rn.f32" in text
    assert "add.rn.f32" in text
    assert "div.rn.f32" in text
    assert text.count("rcp.approx.ftz.f32") == 4
    text = text.replace("rcp.approx.ftz.f32", "")
    for word in (".ftz", ".approx", "mul.f32", "add.f32", "mad.f32"):
        assert word not in text, word


def test_threads_load_sixteen_bytes():
    for name in ("add", "chain", "bias"):
        (kernel,) = Stages(WORKLOADS[name].graph(large=True), SM90).kernels
        text = cubin.ptx(emit(expand(scheduled(kernel, SM90)), SM90), SM90).decode()
        assert "ld.global.nc.v4.b32" in text
        assert "st.global.v4.b32" in text


def test_rounding_to_bfloat16_is_an_instruction():
    """The machine's, of two numbers each; interpreters compute it from integers, as before."""
    types = [TensorType((1 << 20,), float32)]
    graph = graph_of(lambda form, x: form.pointwise("astype", x, dtype=bfloat16), types)
    (kernel,) = Stages(graph, SM90).kernels
    text = cubin.ptx(emit(expand(scheduled(kernel, SM90)), SM90), SM90).decode()
    assert text.count("cvt.rn.bf16x2.f32") == 2
    assert "setp.nan" not in text


@needs_linker
def test_nvjitlink_says_what_is_wrong():
    with pytest.raises(KernelError, match="nvJitLink refuses a kernel"):
        cubin.cubin(b".version 8.0\n.target sm_90\nnonsense", SM90)


def test_without_nvjitlink_the_driver_takes_ptx(monkeypatch):
    monkeypatch.setattr(cubin, "linker", lambda: None)
    cubin.version.cache_clear()
    (kernel,) = Stages(WORKLOADS["add"].graph(large=False), SM90).kernels
    code = gpu_code(kernel, SM90)
    cubin.version.cache_clear()
    assert b".target sm_90" in code.image
    assert f".entry {code.symbol}(".encode() in code.image


def test_blocks_of_a_launch():
    (kernel,) = Stages(WORKLOADS["add"].graph(large=True), SM90).kernels
    code = gpu_code(kernel, SM90)
    assert code.threads == (128, 1, 1)
    assert code.blocks(()) == (np.prod(WORKLOADS["add"].large[0]) // 4 // 128, 1, 1)
    assert code is gpu_code(kernel, SM90)


def read_and_written(*dtypes):
    """The lanes of each access of a map of values of 64 x 320, of a vector for the last dtype."""

    def build(form, *xs):
        *wide, row = [form.pointwise("astype", x, dtype=xs[0].dtype) for x in xs]
        total = form.broadcast(row, wide[0].shape)
        for x in wide:
            total = form.pointwise("add", total, x)
        return total

    shapes = [*[(64, 320)] * (len(dtypes) - 1), (320,)]
    types = [TensorType(*x) for x in zip(shapes, dtypes, strict=True)]
    (kernel,) = Stages(graph_of(build, types), SM90).kernels
    made = scheduled(kernel, SM90)
    verify(made)
    found = [s for s in made.statements() if isinstance(s, Load | Store)]
    return [s.var.type.lanes if isinstance(s, Load) else s.value.type.lanes for s in found]


@pytest.mark.parametrize(
    ("dtypes", "lanes"),
    [
        ((bfloat16, bfloat16, float32), 8),  # the vector is read from a cache
        ((bfloat16, bfloat16), 8),
        ((bfloat16, float32, bfloat16), 4),
        ((float32, float32), 4),
    ],
)
def test_a_thread_moves_16_bytes(dtypes, lanes):
    assert {*read_and_written(*dtypes)} == {lanes}


# ----- text -----


@pytest.mark.parametrize("name", ["bias", "rows", "columns", "product_small"])
def test_schedules(name, golden):
    (kernel,) = Stages(WORKLOADS[name].graph(large=False), SM90).kernels
    golden(f"gpu/{name}", f"{kernel}\n\nbecomes\n\n{scheduled(kernel, SM90)}")


def test_a_kernel_down_to_llvm(golden):
    (kernel,) = Stages(laws.traced("exp", 0, None).graph, SM90).kernels
    golden("gpu/llvm", emit(expand(scheduled(kernel, SM90)), SM90))
