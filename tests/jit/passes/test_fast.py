"""Every row of the table that gives bits up: near enough, and no NaN or infinity goes elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from jit.compiler import compile as compiled
from jit.compiler import pipeline
from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.passes import fast
from jit.passes.algebra import FILLERS
from jit.passes.rewrite import rewrite
from jit.types import TensorType, dtypes, float32, float64
from tests.jit.toy import OPS, apply, same_bits

SHAPE = (6, 8)


def of(*ops, dtype=float32):
    """A graph of ops one after the other; each has a number, a shape or attrs besides."""
    graph = Graph("f")
    x = value = graph.input(TensorType(SHAPE, dtype), "x")
    for name, other in ops:
        if isinstance(other, dict):
            value = apply(graph, name, value, **other)
        elif isinstance(other, tuple):
            value = apply(graph, name, value, graph.input(TensorType(other, dtype), "y"))
        else:
            value = apply(graph, name, value, graph.constant(np.asarray(other, dtype)))
    assert x is not value
    graph.outputs = [value]
    return graph


SUM = ("sum", {"axes": (1,), "keepdims": False})
APPLIED = {
    "a reciprocal": (0, of(("divide", 3.0))),
    "few divisors": (1, of(("divide", (6, 1)))),
    "one factor": (2, of(("multiply", 1.1), ("multiply", 0.7))),
    "one term": (3, of(("add", 1.1), ("add", 0.7))),
    "a third power": (4, of(("pow", 3.0))),
    "a seventh power": (4, of(("pow", 7.0))),
    "one over x": (4, of(("pow", -1.0))),
    "a factor behind a sum": (5, of(("multiply", 0.3), SUM)),
    "no term": (6, of(("add", 0.0))),
}
REFUSED = {
    "the reciprocal is no normal number": of(("divide", 1e38)),
    "the factor is too large": of(("multiply", 1e38), ("multiply", 1e38)),
    "as many divisors": of(("divide", SHAPE)),
    "a power that is no product": of(("pow", 2.5)),
    "a sum that may overflow": of(("multiply", 0.25), SUM, dtype=dtypes["float16"]),
}


def rewritten(graph):
    return rewrite(graph, fast.TABLE, OPS, FILLERS)


def test_every_row_is_tried():
    assert {row for row, _ in APPLIED.values()} == set(range(len(fast.TABLE)))


@pytest.mark.parametrize("name", APPLIED)
@pytest.mark.parametrize("wild", [False, True])
def test_results_are_near_and_nan_and_infinity_stay(name, wild):
    row, graph = APPLIED[name]
    new, applied = rewritten(graph)
    assert applied[fast.TABLE[row]] == 1
    generator = np.random.default_rng(0)
    arrays = [generator.normal(1, 0.3, x.type.shape).astype(np.float32) for x in graph.inputs]
    if wild:
        arrays[0][0, :4] = np.inf, -np.inf, np.nan, 0.0
        arrays[0][1, 0], arrays[0][2, 0] = np.inf, np.nan
    with np.errstate(all="ignore"):
        (wanted,), (found,) = Program(graph)(arrays), Program(new)(arrays)
    np.testing.assert_allclose(found, wanted, rtol=2e-6)


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_another_number_is_left(name):
    assert not rewritten(REFUSED[name])[1]


def test_only_who_asks_gives_bits_up():
    graph = of(("divide", 3.0), ("divide", 7.0), dtype=float64)  # NumPy rounds them right
    names = [[each.name for each in pipeline(OPS, fast=flag)] for flag in (False, True)]
    assert [name for name in names[1] if name not in names[0]] == ["fast"]
    arrays = [np.random.default_rng(0).normal(size=SHAPE)]
    with np.errstate(all="ignore"):
        exact, wanted = compiled(graph, ops=OPS)(arrays), Program(graph)(arrays)
    assert same_bits(exact, wanted)
    near = compiled(graph, ops=OPS, fast=True)(arrays)
    assert not same_bits(near, wanted)
    np.testing.assert_allclose(near[0], wanted[0], rtol=1e-14)
