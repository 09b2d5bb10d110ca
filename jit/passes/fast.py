"""Rewrites of real numbers: equal on paper, rounded elsewhere. They run where somebody asks.

`algebra` keeps every bit; this table gives some of them up for time. NaN and infinities of what a
graph is given go where they went. What may change: the last bits, the sign of a zero, and results
near the ends of the range, as 1/y of a denormal y is infinite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

import numpy as np

from jit.dataclass import dataclass
from jit.ir.builtin import constant
from jit.ir.graph import Graph, Value
from jit.ir.op import OpDef
from jit.passes.algebra import FILLERS, FLOATING, K, X, Y
from jit.passes.base import GraphPass
from jit.passes.rewrite import Match, Rule, Uniform, call, rewrite

L = Uniform(name="l")
POWERS = range(3, 17)  # that are products: at most six of them
FEWER = 4  # times as many quotients as divisors, so that reciprocals pay
WIDE = 4  # bytes of a float whose sums stay in its range where they did before


def _reciprocal(match: Match) -> Value | None:
    """x/k -> x*(1/k), where that is a normal number."""
    return _times(match, 1 / np.float64(match.number("k")))


def _one_factor(match: Match) -> Value | None:
    """(x*k)*l -> x*(k*l)."""
    return _times(match, np.float64(match.number("k")) * np.float64(match.number("l")))


def _times(match: Match, factor: float) -> Value | None:
    limits = np.finfo(match.type.dtype) if match.type.dtype.kind == "f" else None
    if limits is None or not limits.tiny <= abs(factor) <= limits.max:
        return None
    return match.call("multiply", match["x"], match.constant(factor))


def _one_term(match: Match) -> Value | None:
    """(x+k)+l -> x+(k+l)."""
    term = np.float64(match.number("k")) + np.float64(match.number("l"))
    return match.call("add", match["x"], match.constant(term)) if np.isfinite(term) else None


def _products(match: Match) -> Value | None:
    """x**5 -> x*((x*x)*(x*x)), x**-1 -> 1/x."""
    exponent = float(match.number("k"))
    if exponent == -1.0:
        return match.call("divide", match.constant(1), match["x"])
    if exponent not in POWERS:
        return None
    square: Value | None = match["x"]
    power: Value | None = None
    rest = int(exponent)
    while rest and square is not None:
        if rest % 2:
            power = square if power is None else match.call("multiply", power, square)
        rest //= 2
        square = match.call("multiply", square, square) if rest else square
    return power if square is not None else None


def _factor_behind(match: Match) -> Value | None:
    """sum(x*k) -> sum(x)*k: one product for each sum."""
    if (
        match.type.dtype.itemsize < WIDE
        or match["x"].type.shape != match.inner.outputs[0].type.shape
    ):
        return None
    total = match.same(match["x"], **match.node.attrs)
    return match.call("multiply", total, match.constant(match.number("k")))


def _few_divisors(match: Match) -> Value | None:
    """x/y -> x*(1/y), where a y divides many x."""
    many, few = match["x"].type.size, match["y"].type.size
    known = isinstance(many, int) and isinstance(few, int)
    if not known or FEWER * few > many or is_constant(match["y"]):
        return None
    one = match.call("divide", match.constant(1), match["y"])
    return one and match.call("multiply", match["x"], one)


def is_constant(value: Value) -> bool:
    """Whether a value is a constant of the graph."""
    return value.node is not None and value.node.op is constant


TABLE: tuple[Rule, ...] = (
    Rule(call("divide", X, K), _reciprocal, FLOATING),
    Rule(call("divide", X, Y), _few_divisors, FLOATING),
    Rule(call("multiply", call("multiply", X, K), L), _one_factor, FLOATING),
    Rule(call("add", call("add", X, K), L), _one_term, FLOATING),
    Rule(call("pow", X, K), _products, FLOATING),
    Rule(call("sum", call("multiply", X, K)), _factor_behind, FLOATING),
    Rule(call("add", X, Uniform(0.0)), X, FLOATING),  # x + 0 -> x, though -0 + 0 is 0
)


@dataclass(frozen=True)
class Fast(GraphPass):
    """Applies TABLE until no rule applies; results may differ in the last bits.

    Attributes:
        ops: Op records by name, for the ops that replacements have and patterns have not.
    """

    ops: Mapping[str, OpDef] = field(default_factory=dict)

    name = "fast"

    def run(self, graph: Graph) -> Graph:
        """The rewritten graph; dead nodes are left to DeadCode."""
        return rewrite(graph, TABLE, self.ops, FILLERS)[0]
