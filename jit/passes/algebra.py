"""The table of algebraic rules: every row gives the same result in every bit, or it is not here.

The tests hold each row, for each dtype of the kinds that it names, against NaNs with payloads,
infinities, zeros of both signs, denormals and the ends of the integer ranges. (Which of its NaNs
bfloat16 arithmetic gives is no promise: it drops payloads.) Ops go by the array API's names.

Refused, because floating point (or arithmetic modulo 2**n) says no:

    x + 0 -> x          -0 + 0 is 0 (x + (-0) -> x is a row)
    0 - x -> -x         0 - 0 is 0, -(0) is -0
    x - x -> 0          infinity and NaN give NaN
    x * 0 -> 0          infinity and NaN give NaN, negative numbers -0
    x / x -> 1          0, infinity and NaN give NaN
    x * -1 -> -x        a NaN keeps its sign in a product
    a + (-b) -> a - b   a NaN in b changes its sign in the negation only
    (a + b) + c -> a + (b + c), a*b + a*c -> a*(b + c), x / k -> x * (1/k)   round elsewhere
    z * 1 -> z, z / 1 -> z, z + (-0) -> z   complex: the parts mix, infinity * 1 has a NaN
    x**1 -> x           pow gives another NaN; x**k -> x*x*x... rounds elsewhere
    max(x, -inf) -> x   the NaN of a comparison may be another one
    abs(-x) -> abs(x)   unsigned: -x wraps around
    int -> float -> int, float -> int -> float   not every integer is a float, nor the reverse
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np

from jit.dataclass import dataclass
from jit.dims import Dim
from jit.ir.graph import Graph, Node, Value
from jit.ir.op import OpDef
from jit.passes.base import GraphPass
from jit.passes.rewrite import Filler, Match, Rule, Uniform, Var, call, rewrite
from jit.types import exact_reciprocal, kind

X, Y, C = Var("x"), Var("y"), Var("c")
K = Uniform()

BOOL = ("bool",)
SIGNED = ("signed",)
INTEGER = ("signed", "unsigned")
FLOATING = ("floating",)
REAL = (*INTEGER, *FLOATING)
NUMBER = (*REAL, "complex")
ANY = (*BOOL, *NUMBER)


def _inner_alone(match: Match) -> Value:
    return match.node.inputs[0]


def _square(match: Match) -> Value | None:
    """NumPy squares where the exponent is a scalar 2; its general pow may round otherwise."""
    if match["k"].type.ndim != 0 or match.number("k") != 2:
        return None
    return match.call("multiply", match["x"], match["x"])


def _is_natural_order(match: Match) -> Value | None:
    return match["x"] if match.node.attrs["axes"] == tuple(range(match["x"].type.ndim)) else None


def _one_permutation(match: Match) -> Value:
    axes = tuple([match.inner.attrs["axes"][axis] for axis in match.node.attrs["axes"]])
    return match.same(match["x"], axes=axes)


def _outer_alone(match: Match) -> Value:
    return match.same(match["x"], **match.node.attrs)


def _outer_cast_alone(match: Match) -> Value | None:
    """A cast to a wider dtype of the same kind loses nothing, so it need not happen on the way."""
    first, middle, last = match["x"].type.dtype, match.inner.attrs["dtype"], match.type.dtype
    exact = np.can_cast(first, middle, "safe") and kind(first) == kind(middle)
    if not exact or kind(last) != kind(first):
        return None
    return match.same(match["x"], dtype=last)


def _times_reciprocal(match: Match) -> Value | None:
    inverse = exact_reciprocal(match.number("k"), match.type.dtype)
    if inverse is None:
        return None
    return match.call("multiply", match["x"], match.constant(inverse))


TABLE: tuple[Rule, ...] = (
    # ----- arithmetic -----
    Rule(call("multiply", X, Uniform(1)), X, REAL),  # x*1 -> x
    Rule(call("divide", X, Uniform(1)), X, FLOATING),  # x/1 -> x
    Rule(call("divide", X, K), _times_reciprocal, FLOATING),  # x/4 -> x*0.25
    Rule(call("floor_divide", X, Uniform(1)), X, INTEGER),  # x//1 -> x
    Rule(call("add", X, Uniform(-0.0)), X, REAL),  # x + (-0) -> x
    Rule(call("subtract", X, Uniform(0.0)), X, NUMBER),  # x - 0 -> x
    Rule(call("negative", call("negative", X)), X, NUMBER),  # -(-x) -> x
    Rule(call("positive", X), X, NUMBER),  # +x -> x
    Rule(call("pow", X, K), _square, REAL),  # x**2 -> x*x
    Rule(call("abs", X), X, ("unsigned",)),  # abs(x) -> x
    Rule(call("abs", call("abs", X)), _inner_alone, REAL),  # abs(abs(x)) -> abs(x)
    Rule(call("abs", call("negative", X)), _outer_alone, (*SIGNED, *FLOATING)),  # abs(-x) -> abs(x)
    Rule(call("maximum", X, X), X, REAL),  # max(x, x) -> x
    Rule(call("minimum", X, X), X, REAL),  # min(x, x) -> x
    # ----- logic -----
    Rule(call("logical_not", call("logical_not", X)), X, BOOL),  # not not x -> x
    Rule(call("logical_and", X, X), X, BOOL),  # x and x -> x
    Rule(call("logical_and", X, Uniform(1)), X, BOOL),  # x and True -> x
    Rule(call("logical_or", X, X), X, BOOL),  # x or x -> x
    Rule(call("logical_or", X, Uniform(0)), X, BOOL),  # x or False -> x
    Rule(call("where", C, X, X), X, ANY),  # where(c, x, x) -> x
    Rule(call("where", Uniform(1), X, Y), X, ANY),  # where(True, x, y) -> x
    Rule(call("where", Uniform(0), X, Y), Y, ANY),  # where(False, x, y) -> y
    # ----- moving data -----
    Rule(call("identity", X), X, ANY),  # identity(x) -> x
    Rule(call("astype", X), X, ANY),  # astype(x, its own dtype) -> x
    Rule(call("astype", call("astype", X)), _outer_cast_alone, ANY),  # narrow(widen(x)) -> cast(x)
    Rule(call("permute_dims", X), _is_natural_order, ANY),  # permute_dims(x, (0, 1)) -> x
    Rule(call("permute_dims", call("permute_dims", X)), _one_permutation, ANY),  # x.T.T -> x
    Rule(call("reshape", X), X, ANY),  # reshape(x, its own shape) -> x
    Rule(call("reshape", call("reshape", X)), _outer_alone, ANY),  # the outer one alone
    Rule(call("broadcast_to", X), X, ANY),  # broadcast_to(x, its own shape) -> x
    Rule(call("broadcast_to", call("broadcast_to", X)), _outer_alone, ANY),  # the outer one alone
)


def _full_element(node: Node, _: list[Any]) -> Any:
    value = node.attrs["value"]
    return None if isinstance(value, Dim) else np.asarray(value, node.attrs["dtype"])[()]


# Ops that fill an array with one element, and what element that is.
FILLERS: Mapping[str, Filler] = {
    "full": _full_element,
    "broadcast_to": lambda node, elements: elements[0],
    "reshape": lambda node, elements: elements[0],
    "permute_dims": lambda node, elements: elements[0],
}


@dataclass(frozen=True)
class Algebra(GraphPass):
    """Applies TABLE until no rule applies.

    Attributes:
        ops: Op records by name, for the rules whose result has an op that their pattern has not.
    """

    ops: Mapping[str, OpDef] = field(default_factory=dict)

    name = "algebra"

    def run(self, graph: Graph) -> Graph:
        """The rewritten graph; dead nodes are left to DeadCode."""
        return rewrite(graph, TABLE, self.ops, FILLERS)[0]
