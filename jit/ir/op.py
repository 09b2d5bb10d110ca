"""OpDef: all that the compiler needs to know about an op.

The set of ops is open. Whoever builds graphs brings op records; passes and forms ask a record for
its traits and rules and never compare names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jit.dataclass import dataclass
from jit.types import TensorType

JIT = Path(__file__).parents[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class OpDef:
    """One op.

    Attributes:
        name: Unique, as printed in graph text.
        evaluate: `(xp, *arrays, **attrs) -> array | tuple`; the op on NumPy or CuPy arrays.
        infer: `(*types, **attrs) -> TensorType | tuple`; the type rule, which checks the arguments.
        lower: `(form, *xs, **attrs) -> form value(s)`; the op as forms.
        pure: Same inputs, same outputs, no effects: may be merged, folded, dropped.
        commutative: The first two inputs may be swapped without changing any bit of the result.
        adds: The result is the sum of both inputs, element by element.
        pads: The only input lies in an array of `shape`, from `starts` on by `steps`, with `value`
            around it: attrs of these names.
        joins: The inputs follow each other in the result, along the dimension that `axis` says.
        convolves: The result is the convolution of (N, C, ...) with (O, C / groups, ...), as attrs
            `stride`, `padding` (pairs), `lhs_dilation`, `rhs_dilation` and `groups` say.
        multiplies: The result is the product of both inputs, matrices or stacks of them.
        permutes: The dimensions of the only input come in the order that the attr `axes` says.
        splits: The results are the rows of the only input, one after the other.
        reshapes: The result has the elements of the only input, in their order, in another shape.
        calls: It is a call as in `jit.ir.call`.
        repeats: It is a loop as in `jit.ir.loop`, with attrs of these names.
        moves: It is a copy of its input on the device that its attr `device` names.
        package: The folder whose modules tell all that its rules do; None: nobody can tell, as
            they may come from anywhere.
    """

    name: str
    evaluate: Callable[..., Any]
    infer: Callable[..., TensorType | tuple[TensorType, ...]]
    lower: Callable[..., Any]
    pure: bool = True
    commutative: bool = False
    adds: bool = False
    pads: bool = False
    joins: bool = False
    convolves: bool = False
    multiplies: bool = False
    permutes: bool = False
    splits: bool = False
    reshapes: bool = False
    calls: bool = False
    repeats: bool = False
    moves: bool = False
    package: Path | None = None

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def infer_all(
        self, types: tuple[TensorType, ...], attrs: dict[str, Any]
    ) -> tuple[TensorType, ...]:
        """The types of all outputs, always as a tuple."""
        out = self.infer(*types, **attrs)
        return out if isinstance(out, tuple) else (out,)
