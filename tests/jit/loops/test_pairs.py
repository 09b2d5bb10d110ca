"""Products of bfloat16 two at a time: the bits of fused multiply-adds, whatever the numbers are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jit.codegen.llvm import emit
from jit.dims import symbol
from jit.forms import contraction
from jit.ir.graph import Graph
from jit.loops import interpret, pair_tiles
from jit.loops.expand import expand
from jit.loops.fma import fma
from jit.loops.heuristics import scheduled
from jit.loops.ir import Let
from jit.loops.values import apply
from jit.runtime.cpu import assembly, host_target
from jit.target import LEVELS, Target
from jit.types import TensorType, bfloat16, dtypes
from tests.jit.loops.test_products import ALONG, MATMUL, TURNED
from tests.jit.stages import Stages, bits
from tests.jit.toy import OPS

CPU, *SIZES = LEVELS["avx512"]
TARGET = Target("x86_64-unknown-linux-gnu", CPU, "+avx512bf16", *SIZES)
LAYOUTS = {  # of a product: its op, and how the operands lie in memory
    "rows": (MATMUL, lambda x, y: (x, y)),
    "turned": (TURNED, lambda x, y: (x.T, y)),
    "along": (ALONG, lambda x, y: (x, y.T)),
}


def product(shape, layout="rows", dtype=bfloat16, *, epilogue=False):
    """A graph of one product of a layout, and one op behind it where that is asked for."""
    op, lay = LAYOUTS[layout]
    m, k, n = shape
    graph = Graph("product")
    x, y = [
        graph.input(TensorType(tuple(extents), dtype), name)
        for extents, name in zip(lay(Extents(m, k), Extents(k, n)), "xy", strict=True)
    ]
    value = graph.add(op, (x, y), {})[0]
    graph.outputs = [graph.add(OPS["tanh"], (value,), {})[0] if epilogue else value]
    return graph


class Extents(tuple):
    """A shape that is turned as an array is."""

    def __new__(cls, *extents):
        return super().__new__(cls, extents)

    @property
    def T(self):
        return Extents(*reversed(self))


def chained(x, y, chain):
    """Fused multiply-adds along `k` in chains, which are added up: the order that is promised."""
    x, y, total = x.astype(np.float32), y.astype(np.float32), None
    with np.errstate(all="ignore"):
        for first in range(0, x.shape[1], chain):
            acc = np.zeros((x.shape[0], y.shape[1]), np.float32)
            for k in range(first, min(first + chain, x.shape[1])):
                acc = fma(x[:, k : k + 1], y[k : k + 1], acc)
            total = acc if total is None else total + acc
        return total.astype(bfloat16)


def numbers(generator, shape, kind):
    """Elements: usual ones, ones whose products are subnormal, or anything there is."""
    if kind == "any":
        return generator.integers(0, 2**16, shape).astype(np.uint16).view(bfloat16)
    exponents = {"usual": (-8, 8), "tiny": (-72, -54), "zeros": (-30, 1)}[kind]
    found = generator.normal(size=shape) * 2.0 ** generator.integers(*exponents, shape)
    if kind == "zeros":
        found[generator.random(shape) < 0.5] = 0.0
    return found.astype(bfloat16)


def ops(kernel):
    return {s.op for s in kernel.statements() if isinstance(s, Let)}


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_products_of_pairs_are_the_chains_of_any_product(monkeypatch, data):
    """In short chains and small items, so that small products have several of both."""
    smaller = {"COLUMNS": 32, "SHARED": 8, "LEAST_ROWS": 1, "LEAST_COLUMNS": 17, "LEAST_INNER": 1}
    for name, value in smaller.items():
        monkeypatch.setattr(pair_tiles, name, value)
    chain = data.draw(st.sampled_from([5, 6, 36, 256]))
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", chain)
    layout = data.draw(st.sampled_from([*LAYOUTS]))
    m, k, n = [data.draw(st.integers(low, high)) for low, high in ((7, 40), (2, 75), (17, 50))]
    varies = [data.draw(st.booleans()) for _ in "mk"]
    extents = [
        symbol(s, hint=max(2, x)) if v and x > 1 else x for s, x, v in zip("mk", (m, k), varies)
    ]
    kinds = [data.draw(st.sampled_from(["usual", "tiny", "zeros", "any"])) for _ in "xy"]
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x, y = numbers(generator, (m, k), kinds[0]), numbers(generator, (k, n), kinds[1])
    given = [np.ascontiguousarray(a) for a in LAYOUTS[layout][1](x, y)]
    made = Stages(product((*extents, n), layout), TARGET)
    assert "pairs" in ops(made.kernels[0])
    wanted = bits(chained(x, y, chain))
    for stage in ("scheduled", "native"):
        (found,) = made.run(stage, given)
        assert bits(found) == wanted, (stage, layout, kinds)


@pytest.mark.parametrize(("exponent", "taken"), [(-56, "pairs"), (-57, "fma")])
def test_pairs_are_taken_where_no_sum_can_be_subnormal(monkeypatch, exponent, taken):
    """Elements from 2**e have last places of 2**(e - 7), their products those of both."""
    done = set()

    def noted(op, *rest):
        done.add(op)
        return apply(op, *rest)

    monkeypatch.setattr(interpret, "apply", noted)
    x, y = [np.full(s, 1.5 * 2.0**exponent, bfloat16) for s in ((20, 34), (34, 48))]
    y[::2] *= bfloat16.type(-1.25)
    (found,) = Stages(product((20, 34, 48)), TARGET).run("scheduled", [x, y])
    assert bits(found) == bits(chained(x, y, 256))
    assert done & {"pairs", "fma"} == {taken}


def test_subnormal_numbers_are_never_paired():
    """One factor is too small to be normal, the other one makes up for it."""
    x, y = [np.full(s, v, bfloat16) for s, v in (((20, 34), 1e-39), ((34, 48), 1e30))]
    (found,) = Stages(product((20, 34, 48)), TARGET).run("scheduled", [x, y])
    assert bits(found) == bits(chained(x, y, 256))
    assert found.all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_machine_code_of_a_processor_that_has_pairs(layout):
    """On any processor: its code is looked at, not run."""
    (kernel,) = Stages(product((64, 300, 100), layout, epilogue=True), TARGET).kernels
    text = emit(expand(scheduled(kernel, TARGET)), TARGET)
    assert "@llvm.x86.avx512bf16.dpbf16ps.512(" in text
    code = assembly(text, TARGET)
    assert "vdpbf16ps" in code
    # Words are halves that change places: that takes one instruction, not ten.
    assert ("vprold" in code) == (layout != "turned")


@pytest.mark.parametrize(
    ("target", "shape", "dtype"),
    [
        (replace(TARGET, features=""), (64, 300, 100), "bfloat16"),
        (TARGET, (64, 300, 100), "float16"),
        (TARGET, (64, 300, 100), "float32"),
        (TARGET, (8, 300, 100), "bfloat16"),
        (TARGET, (64, 300, 8), "bfloat16"),
        (TARGET, (64, 20, 100), "bfloat16"),
    ],
    ids=str,
)
def test_other_products_have_no_pairs(target, shape, dtype):
    made = Stages(product(shape, dtype=dtypes[dtype]), target)
    assert all("pairs" not in ops(kernel) for kernel in made.kernels)


@pytest.mark.skipif(not host_target().pairs, reason="the processor multiplies no pairs of bfloat16")
def test_products_of_this_machine_have_pairs():
    assert "pairs" in ops(Stages(product((64, 300, 100))).kernels[0])


def test_caches_tell_processors_apart_that_have_pairs():
    assert TARGET.pairs
    assert TARGET.key != replace(TARGET, features="").key


@pytest.mark.parametrize("kind", ["usual", "tiny", "any"])
@pytest.mark.parametrize(("m", "k", "n"), [(200, 513, 130), (97, 300, 33)])
def test_large_products_have_the_bits_of_other_processors(m, k, n, kind):
    """The same graph for a processor without pairs, as machine code: several items and chains."""
    generator = np.random.default_rng(1)
    x, y = numbers(generator, (m, k), kind), numbers(generator, (k, n), kind)
    for layout, (_, lay) in LAYOUTS.items():
        given = [np.ascontiguousarray(a) for a in lay(x, y)]
        graph = product((m, k, n), layout, epilogue=True)
        plain = Stages(graph, replace(host_target(), features=without_pairs()))
        (ours,), (theirs,) = Stages(graph).run("native", given), plain.run("machine", given)
        assert bits(ours) == bits(theirs), layout


def without_pairs():
    """The features of this machine, but one."""
    return host_target().features.replace("+avx512bf16", "-avx512bf16")
