"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from dualflow.core.context import no_grad
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.arrange import concat
from dualflow.ops.elementwise import astype
from dualflow.ops.shape import reshape
from jit.errors import ShapeError


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters, one after the other; gradients flow back to them.

    Args:
        parameters: One at least.

    Example:
        >>> import dualflow as df
        >>> df.nn.utils.parameters_to_vector(df.nn.Linear(3, 2).parameters()).shape
        (8,)
    """
    return concat([reshape(p, (-1,)) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Variable]) -> None:
    """Sets parameters to the elements of a vector, in place.

    Args:
        vec: As many elements as all parameters have.
        parameters: They keep their shapes and dtypes.

    Raises:
        ShapeError: There are more elements, or fewer.
    """
    found, vec = list(parameters), as_tensor(vec)
    total = sum(int(p.size) for p in found)
    if vec.shape != (total,):
        raise ShapeError(f"vector_to_parameters: vec has shape {vec.shape}", f"({total},)")
    start = 0
    with no_grad():
        for p in found:
            part = vec[start : start + int(p.size)]
            p.assign(astype(reshape(part, p.shape), p.dtype))
            start += int(p.size)
