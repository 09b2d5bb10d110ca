"""The eight forms, and the leaves they start from, as frozen records."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from jit.dataclass import dataclass
from jit.dims import Extent
from jit.forms.combine import Combiner
from jit.forms.index import IndexMap
from jit.forms.scalar import Scalar
from jit.ir.convolution import Convolution
from jit.types import TensorType


class FormValue:
    """One result of a form.

    Attributes:
        type: Shape and dtype.
        form: The form that computes it.
        index: Which result of that form it is.
        name: As printed, such as "%3"; given by the builder.
    """

    __slots__ = ("_limits", "form", "index", "name", "type")

    def __init__(self, type: TensorType, form: Form, index: int) -> None:
        self.type = type
        self.form = form
        self.index = index
        self.name = "%?"
        self._limits: tuple[int | None, int | None] | None = None

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """The least and the greatest number that an element may be, as far as forms tell."""
        if self._limits is None:
            from jit.forms.limits import limits_of  # which needs what stands below

            self._limits = limits_of(self)
        return self._limits

    @property
    def shape(self) -> tuple[Extent, ...]:
        return self.type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<FormValue {self.name}: {self.type}>"


@dataclass(frozen=True, eq=False)
class Form:
    """How some values are computed from others.

    Attributes:
        inputs: Every value that is read; tables of an index map come last.
        types: The types of the results.
    """

    inputs: tuple[FormValue, ...]
    types: tuple[TensorType, ...]

    @cached_property
    def outputs(self) -> tuple[FormValue, ...]:
        """The results, one value per type."""
        return tuple([FormValue(type_, self, index) for index, type_ in enumerate(self.types)])


@dataclass(frozen=True, eq=False)
class Source(Form):
    """An array that the caller passes."""


@dataclass(frozen=True, eq=False)
class Constant(Form):
    """One number everywhere (`value` has shape ()), or an array."""

    value: np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Index(Form):
    """out[i...] = the one coordinate of map(i...)."""

    map: IndexMap


@dataclass(frozen=True, eq=False)
class Pointwise(Form):
    """out[i...] = scalar(x[i...], ...); all operands have the shape of the result."""

    scalar: Scalar


@dataclass(frozen=True, eq=False)
class View(Form):
    """out[i...] = x[map(i...)], or `fill` where the map leaves x (None: it promises not to)."""

    map: IndexMap
    fill: Any


@dataclass(frozen=True, eq=False)
class Reduce(Form):
    """Tuples folded over `axes`, which disappear."""

    combiner: Combiner
    axes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Scan(Form):
    """Running folds of tuples along `axis`, from its end if `reverse`, without the element itself
    if `exclusive`.
    """  # noqa: D205

    combiner: Combiner
    axis: int
    reverse: bool
    exclusive: bool


@dataclass(frozen=True, eq=False)
class Contract(Form):
    """Sum of products; `spec` is einsum's, such as "mk,kn->mn"."""

    spec: str
    apart = False


@dataclass(frozen=True, eq=False)
class ContractApart(Contract):
    """A sum of contractions: those of each index of the first letter that is summed over.

    Each has sums of one chain; they are added in their order.
    """

    apart = True


@dataclass(frozen=True, eq=False)
class Convolve(Form):
    """A convolution with channels last, which a library may compute: `jit.forms.convolutions`.

    Attributes:
        convolution: What is computed.
        contract: The same of the inputs.
        own: The same of values in the order of the op, for kernels of our own.
        copies: Each of these values, and where its elements are in the input.
    """

    convolution: Convolution
    contract: Contract
    own: Contract
    copies: tuple[tuple[FormValue, IndexMap], ...]


@dataclass(frozen=True, eq=False)
class Attention(Form):
    """Means of values, weighted by the softmax of scaled products of queries and keys.

    Inputs are queries (.., L, E), keys and values (.., S, E) in half precision. Results are the
    means (.., L, E), and for each of their rows the logarithm of its sum of exponentials, float32.

    Attributes:
        is_causal: Row i sees the keys up to i.
        scale: What products are multiplied by, positive.
    """

    is_causal: bool
    scale: float


@dataclass(frozen=True, eq=False)
class AttentionFlow(Form):
    """What flows back to queries, keys and values of `Attention`.

    Further inputs are what flows to the means, the means, and the logarithms.
    """

    is_causal: bool
    scale: float


@dataclass(frozen=True, eq=False)
class Scatter(Form):
    """A copy of inputs[0] where at map(i...) is combined with inputs[1][i...], for every i.

    Where indices meet, `set` keeps the last in row-major order of i. An index outside is an error,
    unless `dropped`.
    """

    combine: str
    map: IndexMap
    dropped: bool


@dataclass(frozen=True, eq=False)
class Pieces(Form):
    """out[maps[k](i)] = inputs[k][i...], for all inputs, which have one shape.

    No place is met twice. All inputs are computed by one kernel, so that what several of them are
    made of need not lie in memory.
    """

    maps: tuple[IndexMap, ...]


@dataclass(frozen=True, eq=False)
class Extern(Form):
    """A step that is never fused: `host(*arrays)` in Python, or hand-written code for `symbol`."""

    symbol: str
    host: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Loop(Form):
    """`program` runs `count` times; `carried`, `stacked` and `going` as in `jit.ir.loop`."""

    program: Any
    count: Extent | None
    carried: tuple[int, ...]
    stacked: tuple[bool, ...]
    going: int | None = None


@dataclass(frozen=True, eq=False)
class Call(Form):
    """`program`, which others run too, runs once."""

    program: Any


@dataclass(frozen=True, eq=False)
class Guard(Form):
    """The program goes on only if the one number in inputs[0] is `expected`.

    A bool asks for truth, an int for the integer.
    """

    expected: bool | int
