"""Products of matrices and vectors; diagonals."""

from __future__ import annotations

from typing import Any, Never

from numpy import matmul as numpy_matmul
from numpy import ndarray

from dualflow.core import results
from dualflow.core.axes import canonical_axis
from dualflow.core.backend import on_gpu
from dualflow.core.batching import aligned
from dualflow.core.context import context
from dualflow.core.convert import as_tensor, read
from dualflow.core.define import attach, broadcast, composite, conjugated
from dualflow.core.devices import placed
from dualflow.core.doors import DTYPES_OF, meet
from dualflow.core.gpu_kernels import launched, quick
from dualflow.core.hints import name_of, other_operand
from dualflow.core.kernels import calls, computed, laid_in, view
from dualflow.core.op import Op, bind
from dualflow.core.orders import order_of
from dualflow.core.precision import HALVES, regions
from dualflow.core.record import NO_ATTRS
from dualflow.core.registry import api, refused
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.create import arange
from dualflow.ops.gather import gather
from dualflow.ops.reduce import sum
from dualflow.ops.shape import expand_dims, matrix_transpose, moveaxis, reshape
from jit.config import scoped
from jit.errors import AxisError, DTypeError, ShapeError
from jit.types import TensorType, float32, format_shape, product


def matmul_type(a: TensorType, b: TensorType) -> TensorType:
    """(..., m, k) @ (..., k, n) -> (..., m, n)."""
    if a.dtype != b.dtype:
        raise DTypeError(
            f"matmul: does not take {a.dtype} and {b.dtype}", "one dtype", "x.astype(...)"
        )
    if min(a.ndim, b.ndim) < 2 or a.shape[-1] != b.shape[-2]:
        raise inner_sizes_differ(a.shape, b.shape)
    batch = broadcast("matmul", a.shape[:-2], b.shape[:-2])
    return TensorType((*batch, a.shape[-2], b.shape[-1]), a.dtype)


def inner_sizes_differ(a: Any, b: Any, hint: str = "") -> ShapeError:
    """The error of two shapes that do not multiply."""
    inner, outer = a[-1], b[-2] if len(b) > 1 else b[0]
    return ShapeError(
        f"matmul: {format_shape(a)} @ {format_shape(b)}: "
        f"inner sizes {inner} and {outer} differ.{hint}",
        "the last extent on the left equals the next to last on the right",
        "transpose one of them with .mT, or check the sizes",
    )


def did_you_mean(x1: Any, x2: Any) -> str:
    """A product that would have worked, in the user's words."""
    inner = x1.shape[-1]
    left, right = name_of(x1) or "x1", name_of(x2)
    if x2.ndim > 1 and x2.shape[-1] == inner and right:
        return f" Did you mean {left} @ {right}.mT?"
    found = other_operand(
        x1, x2, lambda w: w.ndim == x2.ndim and w.shape[-2 if w.ndim > 1 else 0] == inner
    )
    return f" Did you mean {left} @ {found}?" if found else ""


def matmul_lower(form: Any, a: Any, b: Any) -> Any:
    """A contraction over the inner extent; batch extents of 1 are read where the other's vary.

    A row times a column is a sum of products, as where einsum multiplies rows by rows.
    """
    batch = broadcast("matmul", tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    letters = "abcdefghij"[: len(batch)]
    a, b = stretched(form, a, batch), stretched(form, b, batch)
    if is_one(a.shape[-2]) and is_one(b.shape[-1]):
        row = form.view(b, (*batch, 1, b.shape[-2]), lambda *at: (*at[:-2], at[-1], 0))
        return summed_products(form, a, row, (len(batch) + 1,), keepdims=True)
    return form.contract(f"{letters}mk,{letters}kn->{letters}mn", a, b)


def summed_products(
    form: Any, a: Any, b: Any, axes: tuple[int, ...], *, keepdims: bool = False
) -> Any:
    """Of rows with rows: nothing is read twice, and a chain would wait for itself."""
    wide = float32 if a.dtype in HALVES else a.dtype
    left, right = (form.pointwise("astype", x, dtype=wide) for x in (a, b))
    total = form.reduce("sum", form.pointwise("multiply", left, right), axes, keepdims=keepdims)
    return form.pointwise("astype", total, dtype=a.dtype)


def is_one(extent: Any) -> bool:
    """Whether an extent is known to be 1."""
    return isinstance(extent, int) and extent == 1


def stretched(form: Any, x: Any, batch: tuple[Any, ...]) -> Any:
    """A view of matrices `x` that has the extents `batch` in front."""
    missing = len(batch) - (len(x.shape) - 2)

    def index_map(*loop: Any) -> tuple[Any, ...]:
        own = loop[missing : len(batch)]
        return (*(0 if d == 1 else i for d, i in zip(x.shape[:-2], own, strict=True)), *loop[-2:])

    shape = (*batch, *x.shape[-2:])
    return x if tuple(x.shape) == shape else form.view(x, shape, index_map)


def matrix_product(xp: Any, a: Any, b: Any) -> Any:
    """`a @ b` of arrays of one dtype; half precision is summed in float32."""
    if a.dtype.kind == "c":  # BLAS sums in another order where matrices lie transposed
        a, b = xp.ascontiguousarray(a), xp.ascontiguousarray(b)
    if a.dtype not in HALVES:
        return xp.matmul(a, b)
    return xp.matmul(a.astype(float32), b.astype(float32)).astype(a.dtype)


def of_right(g: Tensor, y: Any, a: Tensor, b: Tensor) -> Tensor:
    """The cotangent of a product's right factor; one matrix that meets many sums over all rows."""
    if b.ndim == 2 < a.ndim:  # one product with long sums, and no product of each to add up
        rows = product(a.shape[:-1])
        a, g = reshape(a, (rows, a.shape[-1])), reshape(g, (rows, g.shape[-1]))
    return matmul(conjugated(matrix_transpose(a)), g)


MATMUL_VJPS = (lambda g, y, a, b: matmul(g, conjugated(matrix_transpose(b))), of_right)
_matmul = Op(
    name="matmul",
    evaluate=matrix_product,
    infer=matmul_type,
    lower=matmul_lower,
    vjps=MATMUL_VJPS,
    jvp="bilinear",
    batch=aligned(2),
    precision="low",
    multiplies=True,
)


class OfVectors:
    """The op in records of eager products with vectors: of matrices, when a gradient asks for it.

    A recording has four nodes for such a product, and a reader of eager code waits for one.

    Attributes:
        lasting: There is nothing to know of a record besides its arguments.
    """

    name = "matmul"
    differentiable = lasting = True
    vjps = definition = None

    def pullback(
        self, g: Tensor, y: Any, args: tuple[Any, ...], attrs: dict[str, Any], needed: Any
    ) -> list[Tensor | None]:
        """The cotangents of the matrices in the shapes of the arguments."""
        rows, columns = matrices = as_matrices(*args)
        g = reshape(g, (rows.shape[0], columns.shape[1]))
        return [
            reshape(vjp(g, None, *matrices), x.shape) if flag else None
            for vjp, x, flag in zip(MATMUL_VJPS, args, needed)
        ]

    def jvp(self, tangents: tuple[Any, ...], y: Any, a: Tensor, b: Tensor) -> Tensor:
        """The products with each tangent."""
        left, right = tangents
        if left is None or right is None:
            return matmul(a, right) if left is None else matmul(left, b)
        return matmul(left, b) + matmul(a, right)


OF_VECTORS = OfVectors()
QUICK = DTYPES_OF["floating"] - {*HALVES}
known_products = calls.setdefault(_matmul, {})


def as_matrices(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two arguments of a product as matrices: a vector on the left is a row, else a column."""
    return (
        a if a.ndim > 1 else reshape(a, (1, a.shape[0])),
        b if b.ndim > 1 else reshape(b, (b.shape[0], 1)),
    )


def recorded_as(x1: Tensor, x2: Tensor) -> Any:
    """The op in the record of an eager product; None where nothing is watched."""
    if x1.record is None and x2.record is None:
        return None
    return _matmul if x1.raw.ndim == x2.raw.ndim == 2 else OF_VECTORS


def takes_order(x1: Tensor, x2: Tensor) -> bool:
    """Whether cotangents would be summed in another order than those of a recording's four nodes.

    They would where both factors are one tensor, and where gradients have gradients in turn.
    """
    tapes = context.tapes
    if x1.record is x2.record or len(tapes) > 1:
        return True
    return bool(tapes) and tapes[0].persistent


def known_product(x1: Tensor, x2: Tensor) -> Tensor | None:
    """The product of concrete tensors, by a kernel that was called with arrays like theirs."""
    a, b = x1.raw, x2.raw
    if not (a.__class__ is b.__class__ is ndarray):
        return product_there(x1, x2) if quick else None
    key = a.dtype, a.shape, b.dtype, b.shape
    call = known_products.get(key)
    if scoped.get().target != "cpu":
        return None
    op = _matmul if x1.record is x2.record is None else recorded_as(x1, x2)
    if op is OF_VECTORS and (a.ndim > 2 or b.ndim > 2 or takes_order(x1, x2)):
        return None
    found = None if call is None else call(a, b)
    if found is None and (found := turned_product(key, a, b)) is None:
        return None
    return results.result(op, (x1, x2), NO_ATTRS, found[0])


def turned_product(key: tuple[Any, ...], a: Any, b: Any) -> list[Any] | None:
    """The product of arrays of which one lies in another order, by a kernel that is known."""
    orders = order_of(a), order_of(b)
    call = known_products.get((*key, orders))
    return None if call is None else call(laid_in(a, orders[0]), laid_in(b, orders[1]))


def product_there(x1: Tensor, x2: Tensor) -> Tensor | None:
    """The same on a GPU, of tensors that need not be turned into matrices."""
    a, b = x1.raw, x2.raw
    if not (a.__class__ is b.__class__ in on_gpu and a.ndim > 1 and b.ndim > 1):
        return None
    found = launched(_matmul, [a, b])
    return None if found is None else results.result(_matmul, (x1, x2), NO_ATTRS, found[0])


def quick_product(x1: Tensor, x2: Tensor) -> Tensor | None:
    """The product of concrete matrices or vectors that need no conversion; None for all others."""
    a, b = x1.raw, x2.raw
    if not (a.__class__ is b.__class__ is ndarray and 1 <= a.ndim <= 2 and 1 <= b.ndim <= 2):
        return None
    if a.dtype is not b.dtype or a.dtype not in QUICK or a.shape[-1] != b.shape[0]:
        return None
    op, shape = recorded_as(x1, x2), None
    if a.ndim == 1 or b.ndim == 1:
        shape = (*a.shape[:-1], *b.shape[1:])
        if op is not None and takes_order(x1, x2):
            product = quick_product(*as_matrices(x1, x2))
            return None if product is None else reshape(product, shape)
        rows = a.shape if a.ndim == 2 else (1, a.size)
        columns = b.shape if b.ndim == 2 else (b.size, 1)
        view(_matmul, (a, b), (rows, columns), shape)  # the next time it is known
        a, b = a.reshape(rows), b.reshape(columns)
    found = computed(_matmul, (a, b), NO_ATTRS)
    try:
        data = context.run(numpy_matmul, a, b) if found is None else found[0]
    except ValueError:  # what follows says what is wrong
        return None
    data = data if shape is None else data.reshape(shape)
    return results.result(op or _matmul, (x1, x2), NO_ATTRS, data)


@api
def matmul(x1: Any, x2: Any, /) -> Tensor:
    """Matrix product over the last two dimensions; the others broadcast.

    Args:
        x1: Tensor of shape (..., m, k), or a vector (k,).
        x2: Tensor of shape (..., k, n), or a vector (k,).

    Returns:
        Tensor of shape (..., m, n), without m or n where a vector was given.

    Raises:
        ShapeError: The inner extents differ, or one of the two is a number.

    Example:
        >>> import dualflow as df
        >>> (df.ones((2, 3)) @ df.ones((3, 4))).shape
        (2, 4)
    """
    if context.trace is None and not regions:
        a = x1 if x1.__class__ is Tensor else read(x1) if isinstance(x1, Variable) else None
        b = x2 if x2.__class__ is Tensor else read(x2) if isinstance(x2, Variable) else None
        if a is not None and b is not None:
            product = known_product(a, b)
            if product is None:
                product = quick_product(a, b)
            if product is not None:
                return product
    a, b = meet("matmul", (x1, x2), "numeric")
    if getattr(a, "ndim", 0) == 0 or getattr(b, "ndim", 0) == 0:
        raise ShapeError(
            "matmul: a number has no rows", "one dimension or more on both sides", "x * y"
        )
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise inner_sizes_differ(a.shape, b.shape, did_you_mean(x1, x2))
    if a.ndim > 1 and b.ndim > 1:
        return bind(_matmul, (a, b))
    with context.aside():  # no code of the user's is called here
        y = bind(_matmul, as_matrices(a, b))
        kept = (
            *y.shape[:-2],
            *(() if a.ndim == 1 else y.shape[-2:-1]),
            *(() if b.ndim == 1 else y.shape[-1:]),
        )
        return reshape(y, kept)


attach("matmul", matmul, 2)


# ----- products of vectors -----


@composite(
    tensors=2,
    accepts=None,
    public=False,
    vjps=(
        lambda g, y, x1, x2, *, axis: conjugated(expand_dims(g, axis)) * x2,
        lambda g, y, x1, x2, *, axis: expand_dims(g, axis) * x1,
    ),
)
def sum_of_products(x1: Any, x2: Any, axis: int) -> Tensor:
    """The sum of `conj(x1) * x2` along an axis, which is counted from the end."""
    products = conjugated(x1) * x2
    return sum(products, axis=axis, dtype=products.dtype)


_sum_of_products: Op = sum_of_products.op  # type: ignore[attr-defined]


@api
def vecdot(x1: Any, x2: Any, /, axis: int = -1, **foreign: Never) -> Tensor:
    """Sum of the products along an axis, `x1` conjugated; the other axes broadcast.

    Args:
        x1: Tensor with one dimension or more.
        x2: Tensor with the same extent along `axis`.
        axis: Counted from the end in both.

    Returns:
        Tensor of the broadcast shape without `axis`.

    Raises:
        ShapeError: The extents differ, or the other axes do not broadcast.
        AxisError: There is no such axis.

    Example:
        >>> import dualflow as df
        >>> df.vecdot(df.asarray([1.0, 2.0]), df.asarray([3.0, 4.0])).item()
        11.0
    """
    if foreign:
        raise refused("vecdot", foreign)
    x1, x2 = meet("vecdot", (as_tensor(x1), as_tensor(x2)), "numeric")
    ranks = (x1.ndim, x2.ndim)
    if axis >= 0 and ranks[0] == ranks[1]:
        axis = canonical_axis("vecdot", axis, ranks[0]) - ranks[0]
    if not -min(ranks) <= axis < 0:
        raise AxisError(
            f"vecdot: axis {axis} of tensors with {ranks[0]} and {ranks[1]} dimensions",
            "a negative axis of both",
            "axis=-1",
        )
    if x1.shape[axis] != x2.shape[axis]:
        raise ShapeError(
            f"vecdot: vectors of {x1.shape[axis]} and of {x2.shape[axis]} elements",
            "equal extents",
            "check axis=",
        )
    return bind(_sum_of_products, (x1, x2), {"axis": axis})


@api
def outer(x1: Any, x2: Any, /) -> Tensor:
    """The products of every element of one vector with every element of another.

    Args:
        x1: Tensor of shape (m,).
        x2: Tensor of shape (n,).

    Returns:
        Tensor of shape (m, n).

    Raises:
        ShapeError: One of them is no vector.

    Example:
        >>> import dualflow as df
        >>> df.linalg.outer(df.asarray([1, 2]), df.asarray([3, 4])).tolist()
        [[3, 4], [6, 8]]
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if (x1.ndim, x2.ndim) != (1, 1):
        raise ShapeError(
            f"outer: shapes {format_shape(x1.shape)} and {format_shape(x2.shape)}",
            "two vectors",
            "x.flatten()",
        )
    return expand_dims(x1, 1) * x2


# ----- diagonals -----


@placed
def diagonal_of(x: Tensor, offset: int, axis1: int, axis2: int) -> Tensor:
    """Elements whose index along `axis2` is `offset` more than along `axis1`; the last axis."""
    down, right = max(-offset, 0), max(offset, 0)
    room = (x.shape[axis1] - down, x.shape[axis2] - right)
    count = max(0, room[0] if room[0] < room[1] else room[1])
    steps = arange(count)
    y = gather(x, (steps + down, steps + right), (axis1, axis2))
    return moveaxis(y, axis1 if axis2 == axis1 + 1 else 0, -1)


@api
def diagonal(x: Any, /, *, offset: int = 0) -> Tensor:
    """A diagonal of each matrix.

    Args:
        x: Tensor of shape (..., m, n).
        offset: Above the main diagonal when positive, below it when negative.

    Returns:
        Tensor of shape (..., k).

    Raises:
        AxisError: `x` has fewer than two dimensions.

    Example:
        >>> import dualflow as df
        >>> df.linalg.diagonal(df.asarray([[1, 2], [3, 4]])).tolist()
        [1, 4]
    """
    x = as_tensor(x)
    if x.ndim < 2:
        raise AxisError(
            f"diagonal: a tensor of shape {format_shape(x.shape)}", "two dimensions or more", ""
        )
    return diagonal_of(x, offset, x.ndim - 2, x.ndim - 1)


@api
def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sum of a diagonal of each matrix.

    Args:
        x: Tensor of shape (..., m, n).
        offset: Above the main diagonal when positive, below it when negative.
        dtype: Of the sum, as for `df.sum`.

    Returns:
        Tensor of shape (...).

    Raises:
        AxisError: `x` has fewer than two dimensions.

    Example:
        >>> import dualflow as df
        >>> df.linalg.trace(df.asarray([[1, 2], [3, 4]])).item()
        5
    """
    return sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)
