"""Nontemporal stores: which results go past the caches, and that no bit depends on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit.codegen.llvm import emit
from jit.codegen.ptx import PtxCode
from jit.dims import symbol
from jit.loops.heuristics import scheduled
from jit.loops.interpret import interpret
from jit.loops.ir import INDEX, Buffer, Kernel, Store, Var, index
from jit.loops.nontemporal import LINE, is_large, of_whole_lines
from jit.loops.writer import Writer
from jit.planner import plan
from jit.runtime.cpu import assembly
from jit.runtime.cpu import host_target as host
from jit.target import Target, gpu
from jit.types import TensorType, dtypes, float32
from tests.jit.loops.native import run_native
from tests.jit.loops.whole import graph_of, numbers
from tests.jit.stages import Stages, bits

Array = np.ndarray[Any, Any]
AVX2 = Target("x86_64-unknown-linux-gnu", "x86-64-v3", "", 32, 16, cache=1)
AVX512 = Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 64, 32, cache=1)


def past(build: Any, types: Sequence[TensorType], target: Target) -> list[Store]:
    """The nontemporal stores of what forms become."""
    made = plan("whole", Stages(graph_of(build, types)).forms, target)
    kernels = [scheduled(launch.kernel, target) for launch in made.program.launches()]
    stores = [s for kernel in kernels for s in kernel.statements() if isinstance(s, Store)]
    return [s for s in stores if s.nontemporal]


def f32(*shape: Any) -> TensorType:
    return TensorType(shape, float32)


def doubled(form: Any, x: Any) -> Any:
    return form.pointwise("add", x, x)


def turned(form: Any, x: Any) -> Any:
    rows, columns = x.shape
    return doubled(form, form.view(x, (columns, rows), lambda i, j: (j, i)))


# ----- the rule -----


def test_a_result_as_large_as_the_cache_goes_past_it():
    for target in (AVX2, AVX512):
        cache = 1 << 20
        large, small = replace(target, cache=cache), replace(target, cache=cache + 1)
        assert past(doubled, [f32(cache // 4)], large)
        assert not past(doubled, [f32(cache // 4)], small)
        assert not past(doubled, [f32(cache // 4)], replace(target, cache=0))


@given(st.integers(1, 1 << 40), st.lists(st.integers(1, 1 << 12), max_size=4))
def test_the_rule_is_of_bytes(cache, shape):
    count = math.prod(shape)
    for itemsize in (1, 4, 16):
        assert is_large(shape, itemsize, cache) == (itemsize * count >= cache)
    assert not is_large(shape, 4, 0)


def test_sizes_that_vary_have_to_be_large_in_any_case():
    n, many = symbol("n", hint=1 << 30), symbol("m", hint=1 << 20, lo=1 << 20)
    assert not is_large([n], 4, 1 << 20)
    assert is_large([many], 4, 1 << 22)
    assert is_large([many, n], 4, 1 << 23)  # n is at least 2
    assert not is_large([many], 4, (1 << 22) + 1)


def test_only_whole_lines_go_past_the_caches():
    assert past(doubled, [f32(64, 80)], AVX512)  # rows of 5 lines: they are one
    assert past(turned, [f32(64, 64)], AVX512)
    assert not past(turned, [f32(69, 64)], AVX512)  # rows of which few begin with a line
    assert not past(turned, [f32(64, 64)], AVX2)  # half a line of each row, then of the next one


def test_parts_of_lines_go_past_the_caches_one_after_the_other():
    def greater(form: Any, x: Any, y: Any) -> Any:
        return form.pointwise("less", x, y)

    (store,) = past(greater, [f32(4096)] * 2, AVX512)
    assert store.value.type.lanes * store.value.type.dtype.itemsize < LINE


def streamed(step: int, lanes: int, start: int = 0, dtype: Any = float32) -> Kernel:
    """Copies lanes of X to Y, past the caches."""
    w, n = Writer(), Var(INDEX, "n")
    x, y = Buffer("X", dtype), Buffer("Y", dtype, access="out")
    with w.loop(index(start), n, step, hint="lane") as i:
        w.body.append(Store(y, i, w.load(x, i, lanes), None, nontemporal=True))
    return Kernel("copy", (x, y), (n,), 1, Var(INDEX, "item"), tuple(w.body))


@pytest.mark.parametrize(
    ("step", "lanes", "start", "kept"),
    [(16, 16, 0, True), (32, 32, 0, True), (8, 8, 0, True), (16, 8, 0, False), (16, 16, 4, False)],
)
def test_which_stores_stay_nontemporal(step, lanes, start, kept):
    kernel = of_whole_lines(streamed(step, lanes, start))
    assert [s.nontemporal for s in kernel.statements() if isinstance(s, Store)] == [kept]
    assert (" nontemporal\n" in str(kernel)) == kept


# ----- machine code -----


def room(size: int, dtype: Any, offset: int) -> Array:
    """Memory that begins `offset` bytes behind a line."""
    memory = np.zeros(size * dtype.itemsize + 2 * LINE, np.uint8)
    start = -memory.ctypes.data % LINE + offset
    return memory[start : start + size * dtype.itemsize].view(dtype)


@given(
    st.sampled_from(["float32", "float64", "bfloat16", "uint8"]),
    st.sampled_from([1, 2, 4, 8, 16, 32, 64]),
    st.integers(0, 20),
    st.integers(0, 15),
    st.booleans(),
)
def test_results_lie_anywhere(name, lanes, count, offset, in_place):
    dtype = dtypes[name]
    kernel, size = streamed(lanes, lanes, dtype=dtype), lanes * count
    made = of_whole_lines(kernel)
    x = room(size, dtype, offset * dtype.itemsize % LINE)
    x[...] = numbers(dtype, (size,), np.random.default_rng(0))
    wanted, y = x.copy(), x if in_place else room(size, dtype, offset * dtype.itemsize % LINE)
    assert run_native(made, [x, y], [size])
    assert bits(y) == bits(wanted)
    y[...] = 0
    assert interpret(made, [wanted, y], [size])
    assert bits(y) == bits(wanted)


@pytest.mark.parametrize("build", [doubled, turned])
@pytest.mark.parametrize("shape", [(64, 64), (37, 129), (5, 1000)])
def test_no_bit_depends_on_it(build, shape):
    arrays = [numbers(float32, shape, np.random.default_rng(1))]
    graph, target = graph_of(build, [f32(*shape)]), host()
    before = Stages(graph, replace(target, cache=0)).run("machine", arrays)
    for stage in ("naive", "scheduled", "direct", "machine"):
        after = Stages(graph, replace(target, cache=1)).run(stage, arrays)
        assert bits(after[0]) == bits(before[0])


def test_others_see_what_went_past_the_caches_when_the_function_returns():
    kernel = of_whole_lines(streamed(16, 16))
    text = emit(kernel, AVX512)
    body = text[text.index("define internal void @past(") :]
    assert body.index("!nontemporal") < body.index("sfence") < body.index("ret void\n}")
    code = assembly(text, AVX512)
    assert "vmovntps" in code
    assert code.index("vmovntps") < code.index("sfence")


def test_other_machines():
    kernel = of_whole_lines(streamed(16, 16))
    arm = Target("aarch64-unknown-linux-gnu", "generic", "", 16, 32)
    assert "fence seq_cst" in emit(kernel, arm)
    assert assembly(emit(kernel, arm), arm)
    assert "nontemporal" not in PtxCode(kernel).text(gpu("sm_90"))
