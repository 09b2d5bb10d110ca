"""The closed list of Tensor's named methods, each the public function of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Never

from dualflow.core.registry import functions, refused

if TYPE_CHECKING:
    from dualflow.core.tensor import Tensor

Axis = int | tuple[int, ...] | None


class Methods:
    """Mixed into Tensor. Whatever is not here is a function: `df.name(x)`."""

    __slots__ = ()

    def abs(self) -> Tensor:
        """Absolute value of each element."""
        return functions["abs"](self)

    def exp(self) -> Tensor:
        """The number e to the power of each element."""
        return functions["exp"](self)

    def log(self) -> Tensor:
        """Natural logarithm of each element."""
        return functions["log"](self)

    def sqrt(self) -> Tensor:
        """Square root of each element."""
        return functions["sqrt"](self)

    def tanh(self) -> Tensor:
        """Hyperbolic tangent of each element."""
        return functions["tanh"](self)

    def pow(self, exponent: Any) -> Tensor:
        """Each element to the power of `exponent`."""
        return functions["pow"](self, exponent)

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """Each element, or the bound that it exceeds."""
        return functions["clip"](self, min, max)

    def mm(self, other: Any) -> Tensor:
        """Matrix product of two matrices."""
        return functions["matmul"](self, other)

    def matmul(self, other: Any) -> Tensor:
        """Matrix product over the last two dimensions."""
        return functions["matmul"](self, other)

    def sum(
        self, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False, **foreign: Never
    ) -> Tensor:
        """Sum of elements over `axis`; over all when it is None."""
        if foreign:
            raise refused("sum", foreign)
        return functions["sum"](self, axis=axis, dtype=dtype, keepdims=keepdims)

    def mean(self, axis: Axis = None, *, keepdims: bool = False, **foreign: Never) -> Tensor:
        """Arithmetic mean over `axis`."""
        if foreign:
            raise refused("mean", foreign)
        return functions["mean"](self, axis=axis, keepdims=keepdims)

    def prod(
        self, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False, **foreign: Never
    ) -> Tensor:
        """Product of elements over `axis`."""
        if foreign:
            raise refused("prod", foreign)
        return functions["prod"](self, axis=axis, dtype=dtype, keepdims=keepdims)

    def max(self, axis: Axis = None, *, keepdims: bool = False, **foreign: Never) -> Tensor:
        """Largest element over `axis`."""
        if foreign:
            raise refused("max", foreign)
        return functions["max"](self, axis=axis, keepdims=keepdims)

    def min(self, axis: Axis = None, *, keepdims: bool = False, **foreign: Never) -> Tensor:
        """Smallest element over `axis`."""
        if foreign:
            raise refused("min", foreign)
        return functions["min"](self, axis=axis, keepdims=keepdims)

    def argmax(
        self, axis: int | None = None, *, keepdims: bool = False, **foreign: Never
    ) -> Tensor:
        """Index of the first largest element over `axis`."""
        if foreign:
            raise refused("argmax", foreign)
        return functions["argmax"](self, axis=axis, keepdims=keepdims)

    def argmin(
        self, axis: int | None = None, *, keepdims: bool = False, **foreign: Never
    ) -> Tensor:
        """Index of the first smallest element over `axis`."""
        if foreign:
            raise refused("argmin", foreign)
        return functions["argmin"](self, axis=axis, keepdims=keepdims)

    def any(self, axis: Axis = None, *, keepdims: bool = False, **foreign: Never) -> Tensor:
        """Whether any element is true over `axis`."""
        if foreign:
            raise refused("any", foreign)
        return functions["any"](self, axis=axis, keepdims=keepdims)

    def all(self, axis: Axis = None, *, keepdims: bool = False, **foreign: Never) -> Tensor:
        """Whether all elements are true over `axis`."""
        if foreign:
            raise refused("all", foreign)
        return functions["all"](self, axis=axis, keepdims=keepdims)

    def var(
        self,
        axis: Axis = None,
        *,
        correction: float = 0.0,
        keepdims: bool = False,
        **foreign: Never,
    ) -> Tensor:
        """Variance over `axis`."""
        if foreign:
            raise refused("var", foreign)
        return functions["var"](self, axis=axis, correction=correction, keepdims=keepdims)

    def std(
        self,
        axis: Axis = None,
        *,
        correction: float = 0.0,
        keepdims: bool = False,
        **foreign: Never,
    ) -> Tensor:
        """Standard deviation over `axis`."""
        if foreign:
            raise refused("std", foreign)
        return functions["std"](self, axis=axis, correction=correction, keepdims=keepdims)

    def cumulative_sum(self, axis: int | None = None, **foreign: Never) -> Tensor:
        """Running sum along `axis`."""
        if foreign:
            raise refused("cumulative_sum", foreign)
        return functions["cumulative_sum"](self, axis=axis)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; one extent may be -1."""
        first = shape[0] if len(shape) == 1 else 0
        whole = first is None or isinstance(first, tuple | list)
        return functions["reshape"](self, first if whole else shape)

    def flatten(self) -> Tensor:
        """All elements in one dimension."""
        return functions["reshape"](self, (-1,))

    def squeeze(self, axis: Axis = None, **foreign: Never) -> Tensor:
        """Without the dimensions `axis` of extent 1; without all such when it is None."""
        if foreign:
            raise refused("squeeze", foreign)
        if axis is None:
            axis = tuple(k for k, extent in enumerate(self.shape) if extent == 1)  # type: ignore[attr-defined]
        return functions["squeeze"](self, axis)

    def transpose(self, *axes: Any) -> Tensor:
        """Dimensions in the order `axes`; reversed when none are given."""
        if not axes or axes[0] is None:
            axes = tuple(range(self.ndim))[::-1]  # type: ignore[attr-defined]
        elif len(axes) == 1 and not _is_int(axes[0]):
            axes = tuple(axes[0])
        return functions["permute_dims"](self, axes)

    if TYPE_CHECKING:  # attached by the ops' records, so that `x + y` is the op's door itself

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __lshift__(self, other: Any) -> Tensor: ...
        def __rshift__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __round__(self, ndigits: int | None = None) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]


def _is_int(x: Any) -> bool:
    return not isinstance(x, tuple | list) and x is not None
