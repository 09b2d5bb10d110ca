"""Nests: trees of tensors, taken apart and compared, as carries and rows are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dualflow.core import tree
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from jit.dataclass import dataclass
from jit.errors import DTypeError, ShapeError
from jit.types import format_shape, same_shape


class Star:
    """Stands for a tensor where a structure is shown."""

    def __repr__(self) -> str:
        return "*"


@dataclass(frozen=True)
class Nest:
    """A tree of tensors. None is no tensor: it stays where it is.

    Attributes:
        tensors: The leaves that are not None.
        spec: The structure, None among its leaves.
        places: For each leaf whether it is a tensor.
        name: What people call the tree.
    """

    tensors: list[Tensor]
    spec: Any
    places: tuple[bool, ...]
    name: str

    @classmethod
    def of(cls, nest: Any, name: str) -> Nest:
        """Takes a tree apart; numbers and arrays in it become tensors."""
        leaves, spec = tree.flatten(nest)
        places = tuple([x is not None for x in leaves])
        return cls([as_tensor(x) for x in leaves if x is not None], spec, places, name)

    def build(self, tensors: Sequence[Any]) -> Any:
        """The tree with other leaves in the place of the tensors."""
        rest = iter(tensors)
        return tree.unflatten(self.spec, [next(rest) if there else None for there in self.places])

    @property
    def paths(self) -> list[str]:
        """What Python would write for each tensor: `carry['h']`."""
        paths = tree.leaf_paths(tree.unflatten(self.spec, [0] * len(self.places)))
        return [
            f"{self.name}{path}" for path, there in zip(paths, self.places, strict=True) if there
        ]

    def is_like(self, other: Nest) -> bool:
        """Whether both have tensors at the same places."""
        return self.spec == other.spec and self.places == other.places

    def __str__(self) -> str:
        return repr(self.build([Star()] * len(self.tensors)))


def agreed(what: str, first: Nest, nest: Any, when: tuple[str, str]) -> list[Tensor]:
    """The tensors of a tree, which must be like an earlier one in structure, shapes and dtypes.

    Args:
        what: The function, for messages.
        first: The earlier one.
        nest: The tree.
        when: When it was like the first one, and when like this.

    Raises:
        ShapeError: The structure differs, or a shape.
        DTypeError: A dtype differs.
    """
    new = Nest.of(nest, first.name)
    if not first.is_like(new):
        raise ShapeError(
            f"{what}: {first.name} is {first} {when[0]} and {new} {when[1]}",
            f"one structure of {first.name}",
            "return what came in, with other values",
        )
    for path, a, b in zip(first.paths, first.tensors, new.tensors, strict=True):
        if not same_shape(a.shape, b.shape):
            raise ShapeError(
                f"{what}: {path} has shape {format_shape(a.shape)} {when[0]} "
                f"and {format_shape(b.shape)} {when[1]}",
                "one shape all the time",
                "start with the shape that it comes to have, such as df.zeros(shape)",
            )
        if a.dtype != b.dtype:
            raise DTypeError(
                f"{what}: {path} is {a.dtype} {when[0]} and {b.dtype} {when[1]}",
                "one dtype all the time",
                f"start with {b.dtype}, or convert: x.astype(df.{a.dtype})",
            )
    return new.tensors
