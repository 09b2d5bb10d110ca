"""TensorSpec: what a user promises to pass to a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dualflow.core.tensor import Tensor
from jit.dataclass import dataclass
from jit.dims import Dim, symbol
from jit.errors import DTypeError
from jit.types import TensorType, as_dtype, float32, format_shape


@dataclass(frozen=True)
class TensorSpec:
    """Shape and dtype of an argument.

    Args:
        shape: Extents; None stands for one that may vary (at least 2), a string names such an
            extent, and the same name means the same extent.
        dtype: The dtype.
        name: The argument's name in the graph.

    Example:
        >>> import dualflow as df
        >>> df.TensorSpec((None, 4)).accepts((7, 4), df.float32)
        True
    """

    shape: tuple[int | str | None, ...]
    dtype: Any = float32
    name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "dtype", as_dtype(self.dtype))

    def accepts(self, shape: tuple[int | Dim, ...], dtype: np.dtype[Any]) -> bool:
        """Whether a tensor of this shape and dtype fits."""
        return (
            dtype == self.dtype
            and len(shape) == len(self.shape)
            and all(
                not isinstance(want, int) or want == have
                for want, have in zip(self.shape, shape, strict=True)
            )
        )

    def type(self, scope: dict[str, Dim]) -> TensorType:
        """The type, with a symbol for each extent that may vary; `scope` holds the named ones."""
        extents: list[int | Dim] = []
        for extent in self.shape:
            if isinstance(extent, int):
                extents.append(extent)
                continue
            name = extent if isinstance(extent, str) else f"d{len(scope)}"
            extents.append(scope.setdefault(name, symbol(name)))
        return TensorType(tuple(extents), self.dtype)

    def __str__(self) -> str:
        return f"{self.dtype.name} {format_shape(self.shape)}"  # type: ignore[arg-type]


def check_signature(name: str, specs: Sequence[TensorSpec], tensors: Sequence[Tensor]) -> None:
    """Refuses tensors that are not as an input signature says.

    Args:
        name: Of the function.
        specs: The signature.
        tensors: The arguments of a call.

    Raises:
        DTypeError: There are more or fewer of them, or one has another type.
    """
    if len(specs) != len(tensors):
        raise DTypeError(
            f"{name}: {len(tensors)} tensors came, input_signature has {len(specs)}",
            "a tensor for each spec",
            "pass tensors as the signature says",
        )
    for k, (spec, tensor) in enumerate(zip(specs, tensors, strict=True)):
        if not spec.accepts(tensor.shape, tensor.dtype):
            raise DTypeError(
                f"{name}: argument {k} is {tensor.type}",
                f"{spec}, as input_signature says",
                "convert it, or widen the signature with None",
            )
