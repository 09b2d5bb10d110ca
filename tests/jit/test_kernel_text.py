"""Kernels of typical programs as text, for one machine whatever this one is."""

from __future__ import annotations

import zlib

import pytest

import dualflow as df
from dualflow.core.op import registry
from jit import planner
from jit.codegen.llvm import emit
from jit.dims import Symbol, symbol
from jit.ir.graph import Graph
from jit.loops.expand import expand
from jit.loops.heuristics import scheduled
from jit.loops.text import format_kernel
from jit.target import LEVELS, Target, gpu
from jit.types import TensorType, float32
from tests.jit.examples import example
from tests.jit.stages import Stages
from tests.ops import laws

CPU, *SIZES = LEVELS["avx2"]
AVX2 = Target("x86_64-unknown-linux-gnu", CPU, "", *SIZES)
LARGE = {"softmax": True, "product": False, "cumulative_sum": True, "gather": True}


def stages(*texts):
    """A text after the other."""
    return "\n\nbecomes\n\n".join(map(str, texts))


@pytest.mark.parametrize("name", LARGE)
def test_kernels_and_their_schedules(name, golden):
    kernels = Stages(example(name, large=LARGE[name]).graph, AVX2).kernels
    texts = [stages(kernel, scheduled(kernel, AVX2)) for kernel in kernels]
    golden(f"kernels/{name}", "\n\n".join(texts))


def test_a_kernel_down_to_llvm(golden):
    (kernel,) = Stages(laws.traced("exp", 0, None).graph, AVX2).kernels
    made = scheduled(kernel, AVX2)
    direct = expand(made)
    golden("kernels/exp", stages(kernel, made, direct, emit(direct, AVX2)))


@pytest.mark.parametrize(
    ("move", "op"), [(df.flip, "slice"), (df.matrix_transpose, "permute_dims")]
)
def test_what_only_moves_is_named_after_the_op(move, op):
    (kernel,) = Stages(laws.recorded(move, [df.ones((3, 4))]).graph, AVX2).kernels
    assert kernel.name == op


def test_kernels_have_one_text_in_all_processes(monkeypatch):
    """Python hashes strings otherwise in each, and what is on the disk is found by the text."""
    found = set()
    for salt in "abcdefghijklmnop":
        hashes = property(lambda self, salt=salt: zlib.crc32(f"{self.name} {salt}".encode()))
        monkeypatch.setattr(Symbol, "_hash", hashes)
        planner.forget()
        graph = Graph("scaled")
        type_ = TensorType((symbol(f"first_{salt}"), symbol(f"second_{salt}")), float32)
        x, factor = map(graph.input, (type_, TensorType((), float32)))
        graph.outputs = list(graph.add(registry["multiply"], [x, factor], {}, (type_,)))
        (kernel,) = Stages(graph, gpu("sm_90")).kernels
        sizes = [x.hint for x in kernel.sizes]
        text = f"{kernel.grid} {sizes} {format_kernel(kernel, named=False)}"
        found.add(text.replace(f"_{salt}", ""))
    assert len(found) == 1
