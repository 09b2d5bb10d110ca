"""`import dualflow.compat.torch as torch`: PyTorch's names for dualflow's tensors and functions.

Tensors that require a gradient are Variables. `dim`, `keepdim` and sizes given one by one work
here; methods of tensors are dualflow's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dualflow as df
from dualflow.compat.torch import amp, arrays, nn, optim, utils
from dualflow.compat.torch.files import load, save
from dualflow.compat.translate import hints, namespace
from jit.types import dtypes

SAME = """
abs add all any arange argmax argmin asin acos atan ceil cos cosh digamma einsum equal erf erfc
erfinv exp exp2 expm1 eye floor greater greater_equal isfinite isinf isnan less less_equal
linspace log log1p logical_and logical_not logical_or logsumexp matmul maximum mean minimum
multiply not_equal ones_like pow prod reshape round sign sin sinh sqrt square subtract sum tan
tanh tril triu where zeros_like
"""
RENAMED = """
sub mul div neg mm bmm clamp permute manual_seed randperm relu sigmoid softmax log_softmax
compile
"""
OURS = """
allclose chunk cumsum dot flip full_like gather index_select norm numel outer rand_like randn_like
sort split topk
"""
COMPARED = """
eq=equal ne=not_equal lt=less le=less_equal gt=greater ge=greater_equal mv=matmul
"""
DTYPES = """
float=float32 double=float64 half=float16 short=int16 int=int32 long=int64 bool=bool
"""

globals().update(namespace("PyTorch", SAME, RENAMED))
globals().update(dtypes)
globals().update(
    {alias: getattr(df, dtype) for alias, dtype in (pair.split("=") for pair in DTYPES.split())}
)
globals().update({name: getattr(arrays, name) for name in OURS.split()})
globals().update(
    {alias: getattr(df, name) for alias, name in (pair.split("=") for pair in COMPARED.split())}
)
Tensor = df.Tensor
no_grad, autocast = df.no_grad, amp.autocast
device = str


def sizes(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """A shape that came as one tuple or one by one."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], tuple | list) else given


def creation(name: str) -> Callable[..., Any]:
    """PyTorch's form of a creation function: sizes one by one."""
    function = getattr(df, name)

    def create(*size: Any, **options: Any) -> Any:
        return function(sizes(size), **options)

    create.__name__ = name
    create.__doc__ = f"`df.{name}`, with the extents one by one or as a tuple."
    return create


zeros, ones = creation("zeros"), creation("ones")


def randn(*size: Any, **options: Any) -> Any:
    """Numbers from the standard normal distribution."""
    return df.randn(*sizes(size), **options)


def rand(*size: Any, **options: Any) -> Any:
    """Numbers between 0 and 1, uniformly."""
    return df.random.uniform(sizes(size), **options)


def randint(low: int, high: Any, size: Any = None, **options: Any) -> Any:
    """Integers in [low, high); [0, low) when only one bound is given."""
    if size is None:
        low, high, size = 0, low, high
    return df.random.randint(tuple(size), low, high, **options)


def full(size: Any, fill_value: Any, **options: Any) -> Any:
    """A tensor filled with one number."""
    return df.full(tuple(size), fill_value, **options)


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    """A tensor with a copy of `data`; a Variable when it requires a gradient."""
    value = df.asarray(data, dtype=dtype, device=device)
    return df.Variable(value) if requires_grad else value


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
    """A tensor of `data`."""
    return df.asarray(data, dtype=dtype, device=device)


def from_numpy(array: Any) -> Any:
    """A tensor with the values of a NumPy array; a copy, unlike PyTorch's."""
    return df.asarray(array)


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a tensor."""
    return isinstance(obj, Tensor)


def cat(tensors: Any, dim: int = 0) -> Any:
    """Tensors joined along a dimension that exists."""
    return df.concat(list(tensors), axis=dim)


def stack(tensors: Any, dim: int = 0) -> Any:
    """Tensors joined along a new dimension."""
    return df.stack(list(tensors), axis=dim)


def unsqueeze(input: Any, dim: int) -> Any:
    """`input` with a dimension of extent 1 at `dim`."""
    return df.expand_dims(input, axis=dim)


def squeeze(input: Any, dim: Any = None) -> Any:
    """`input` without a dimension of extent 1; left as it is where the extent is another."""
    if dim is not None and input.shape[dim] != 1:
        return input
    return input.squeeze(dim)


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """`input` with two dimensions swapped."""
    axes = list(range(input.ndim))
    axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
    return df.permute_dims(input, tuple(axes))


def flatten(input: Any, start_dim: int = 0) -> Any:
    """`input` with the dimensions from `start_dim` on as one."""
    return df.reshape(input, (*input.shape[:start_dim], -1))


def extreme(name: str) -> Callable[..., Any]:
    """`max` or `min`: of all elements, or with `dim` the pair of values and indices."""
    values, indices = getattr(df, name), getattr(df, f"arg{name}")

    def reduce(input: Any, dim: Any = None, *, keepdim: bool = False) -> Any:
        if dim is None:
            return values(input)
        return values(input, axis=dim, keepdims=keepdim), indices(input, axis=dim, keepdims=keepdim)

    reduce.__name__ = name
    reduce.__doc__ = f"The {name}imum, or with `dim` the pair of values and indices."
    return reduce


max, min = extreme("max"), extreme("min")


def std(input: Any, dim: Any = None, *, correction: float = 1, keepdim: bool = False) -> Any:
    """Standard deviation, with PyTorch's correction of 1."""
    return df.std(input, axis=dim, correction=correction, keepdims=keepdim)


def var(input: Any, dim: Any = None, *, correction: float = 1, keepdim: bool = False) -> Any:
    """Variance, with PyTorch's correction of 1."""
    return df.var(input, axis=dim, correction=correction, keepdims=keepdim)


__getattr__ = hints("torch")
__all__ = ["amp", "load", "nn", "optim", "save", "utils"]
