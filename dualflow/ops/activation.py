"""Activations: functions of each element that nets put between layers, under PyTorch's names."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from dualflow.core.batching import aligned
from dualflow.core.define import composite, elementwise_type, finish, lower_definition
from dualflow.core.doors import unary_door
from dualflow.core.op import Op
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import where
from dualflow.ops.elementwise import astype
from dualflow.ops.power import square
from dualflow.ops.special import erf, exp, expm1, logaddexp, tanh
from jit.types import float32

PLACE = "df.nn.functional"


def of_halves(function: Callable[..., Any], cast: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of one array or tensor; of half precision in float32, rounded once."""

    def wide(x: Any) -> Any:
        if x.dtype.itemsize > 2:
            return function(x)
        return cast(function(cast(x, float32)), x.dtype)

    return wide


def flow_of_halves(flow: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """What flows through a function: of half precision in float32, rounded once."""

    def wide(*given: Tensor, **attrs: Any) -> Tensor:
        dtype = given[0].dtype
        if dtype.itemsize > 2:
            return flow(*given, **attrs)
        return astype(flow(*[astype(x, float32) for x in given], **attrs), dtype)

    return wide


def activation(
    name: str,
    definition: Callable[..., Any],
    derivative: Callable[..., Any],
    evaluate: Callable[..., Any],
    *,
    accepts: str = "floating",
    doc: str,
    example: str,
) -> Callable[..., Tensor]:
    """Declares an activation without parameters: as quick as an elementwise op.

    In half precision, which holds few of the numbers on the way, it is computed in float32.

    Args:
        name: PyTorch's.
        definition: Its meaning in ops, from which the lowering follows.
        derivative: `(y, x) -> dy/dx` in ops.
        evaluate: `(xp, array)`, the definition on arrays.
        accepts: A row of `ACCEPTS`.
        doc: First line of the public docstring.
        example: What it shows, as `finish` takes it.
    """

    def on_arrays(xp: Any, array: Any) -> Any:
        return of_halves(partial(evaluate, xp), lambda x, dtype: x.astype(dtype))(array)

    flow = flow_of_halves(lambda g, y, x: g * derivative(y, x))
    op = Op(
        name=name,
        evaluate=on_arrays,
        infer=elementwise_type(name, accepts, "same"),
        lower=lower_definition(of_halves(definition, astype)),
        vjps=(flow,),
        jvp=lambda tangents, y, x: flow(tangents[0], y, x),
        batch=aligned(),
    )
    door = unary_door(op, partial(on_arrays, np), accepts)
    return finish(door, op, None, doc, accepts, 1, example, PLACE)


def _relu_flow(g: Any, y: Any, x: Any) -> Tensor:
    return where(y > 0, g, 0)


_relu = Op(
    name="relu",
    evaluate=lambda xp, x: xp.maximum(x, 0),
    infer=elementwise_type("relu", "real", "same"),
    lower=lambda form, x: form.pointwise("maximum", x, form.constant(0, x.dtype)),
    vjps=(_relu_flow,),
    batch=aligned(),
    jvp=lambda tangents, y, x: _relu_flow(tangents[0], y, x),
)
relu = finish(
    unary_door(_relu, lambda x: np.maximum(x, 0), "real"),
    _relu,
    None,
    "Each element, or 0 where it is negative; the gradient at 0 is 0.",
    "real",
    1,
    "[-2.0, 0.0, 3.0] -> [0.0, 0.0, 3.0]",
    PLACE,
)


sigmoid = activation(
    "sigmoid",
    lambda x: 1 / (1 + exp(-x)),
    lambda y, x: y * (1 - y),
    lambda xp, x: 1 / (1 + xp.exp(-x)),
    doc="1 / (1 + exp(-x)): each element squeezed into (0, 1).",
    example="[0.0, 1.0] -> [0.5, 0.7310...]",
)


def _silu_slope(y: Any, x: Any) -> Tensor:
    s = sigmoid(x)
    return s * (1 + x * (1 - s))


silu = activation(
    "silu",
    lambda x: x / (1 + exp(-x)),
    _silu_slope,
    lambda xp, x: x / (1 + xp.exp(-x)),
    doc="x * sigmoid(x) of each element.",
    example="[0.0, 1.0] -> [0.0, 0.7310...]",
)


@composite(
    accepts="floating",
    vjps=(lambda g, y, x, *, negative_slope: where(x > 0, g, g * negative_slope),),
)
def leaky_relu(x: Any, /, negative_slope: float = 0.01) -> Tensor:
    """Each element, or `negative_slope` times it where it is negative.

    Args:
        x: Tensor of any shape; integers become float32.
        negative_slope: The slope below 0, and the gradient at 0.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.leaky_relu(df.asarray([-1.0, 2.0]), 0.5).tolist()
        [-0.5, 2.0]
    """
    return where(x > 0, x, x * negative_slope)


@composite(
    accepts="floating",
    vjps=(lambda g, y, x, *, alpha: where(x > 0, g, g * (y + alpha)),),
)
def elu(x: Any, /, alpha: float = 1.0) -> Tensor:
    """Each element, or `alpha * (exp(x) - 1)` where it is negative.

    Args:
        x: Tensor of any shape; integers become float32.
        alpha: Minus the limit at minus infinity.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.elu(df.asarray([0.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    return where(x > 0, x, alpha * expm1(where(x > 0, 0, x)))  # no overflow on the side not taken


@flow_of_halves
def _gelu_flow(g: Any, y: Any, x: Any, *, approximate: str) -> Tensor:
    if approximate == "none":
        density = exp(square(x) * -0.5) * (1 / math.sqrt(2 * math.pi))
        return g * (0.5 * (1 + erf(x * math.sqrt(0.5))) + x * density)
    t = tanh(_gelu_inner(x))
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * square(x))
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - square(t)) * slope)


def _gelu_inner(x: Any) -> Tensor:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * (square(x) * x))


@composite(accepts="floating", vjps=(_gelu_flow,))
def gelu(x: Any, /, approximate: str = "none") -> Tensor:
    """X times the probability that a normal number lies below x (Hendrycks and Gimpel, 2016).

    In half precision it is computed in float32, and rounded once.

    Args:
        x: Tensor of any shape; integers become float32.
        approximate: "none", or "tanh" for the paper's approximation.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ValueError: `approximate` is another word.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.gelu(df.asarray([0.0])).tolist()
        [0.0]
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f'gelu: approximate={approximate!r}, expected "none" or "tanh"')
    return of_halves(partial(_gelu, approximate=approximate), astype)(x)


def _gelu(x: Any, *, approximate: str) -> Tensor:
    if approximate == "tanh":
        return 0.5 * x * (1 + tanh(_gelu_inner(x)))
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


@composite(accepts="floating", vjps=(lambda g, y, x, *, beta: g * sigmoid(x * beta),))
def softplus(x: Any, /, beta: float = 1.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta of each element, a smooth relu; without overflow.

    Args:
        x: Tensor of any shape; integers become float32.
        beta: Sharpness of the bend.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.softplus(df.asarray([1000.0])).tolist()
        [1000.0]
    """
    return logaddexp(x * beta, 0.0) / beta


__all__ = ["elu", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "softplus"]
