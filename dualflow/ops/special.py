"""Exponentials, logarithms, trigonometric and hyperbolic functions, the error function."""

from __future__ import annotations

import math
from typing import Any

from dualflow.core.backend import by_host
from dualflow.core.define import elementwise
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import where
from dualflow.ops.elementwise import equal, isinf, signbit
from jit.forms import special


def _function(name: str, derivative: Any, doc: str, accepts: str = "inexact", **extra: Any) -> Any:
    return elementwise(name, derivative, accepts=accepts, doc=doc, **extra)


def _root(x: Any) -> Any:
    return functions["sqrt"](x)


# ----- exponentials and logarithms -----
exp = _function(
    "exp",
    lambda y, x: y,
    "e to the power of each element.",
    example="[0.0, 1.0] -> [1.0, 2.7182...]",
)
expm1 = _function(
    "expm1",
    lambda y, x: y + 1,
    "exp(x) - 1, accurate for small elements.",
    evaluate=lambda xp, x: special.expm1(x, xp),
    example="[0.0, 1.0] -> [0.0, 1.7182...]",
)
exp2 = _function(
    "exp2",
    lambda y, x: y * math.log(2),
    "2 to the power of each element.",
    example="[0.0, 1.0] -> [1.0, 2.0]",
)
log = _function(
    "log",
    lambda y, x: 1 / x,
    "Natural logarithm of each element.",
    example="[1.0, 2.0] -> [0.0, 0.6931...]",
)
log1p = _function(
    "log1p",
    lambda y, x: 1 / (1 + x),
    "log(1 + x), accurate for small elements.",
    example="[1.0, 2.0] -> [0.6931..., 1.0986...]",
)
log2 = _function(
    "log2",
    lambda y, x: (1 / math.log(2)) / x,
    "Logarithm to base 2 of each element.",
    example="[1.0, 2.0] -> [0.0, 1.0]",
)
log10 = _function(
    "log10",
    lambda y, x: (1 / math.log(10)) / x,
    "Logarithm to base 10 of each element.",
    example="[1.0, 2.0] -> [0.0, 0.3010...]",
)


def _logaddexp_partial(a: Any, b: Any) -> Any:
    alike = isinf(a) & equal(a, b)  # inf - inf would be NaN
    return 1 / (1 + exp(where(alike, 0, b - a)))


logaddexp = elementwise(
    "logaddexp",
    lambda y, a, b: _logaddexp_partial(a, b),
    lambda y, a, b: _logaddexp_partial(b, a),
    accepts="floating",
    doc="log(exp(x1) + exp(x2)), without overflow.",
    example="[0.0]; [0.0] -> [0.6931...]",
)

# ----- trigonometric functions and their inverses -----
sin = _function(
    "sin",
    lambda y, x: cos(x),
    "Sine of each element, in radians.",
    example="[0.0, 1.0] -> [0.0, 0.8414...]",
)
cos = _function(
    "cos",
    lambda y, x: -sin(x),
    "Cosine of each element, in radians.",
    example="[0.0, 1.0] -> [1.0, 0.5403...]",
)
tan = _function(
    "tan",
    lambda y, x: 1 + y * y,
    "Tangent of each element, in radians.",
    example="[0.0, 1.0] -> [0.0, 1.5574...]",
)
asin = _function(
    "asin",
    lambda y, x: 1 / _root(1 - x * x),
    "Inverse sine, in [-pi/2, pi/2].",
    example="[0.0, 0.5] -> [0.0, 0.5235...]",
)
acos = _function(
    "acos",
    lambda y, x: -1 / _root(1 - x * x),
    "Inverse cosine, in [0, pi].",
    example="[0.0, 0.5] -> [1.5707..., 1.0471...]",
)
atan = _function(
    "atan",
    lambda y, x: 1 / (1 + x * x),
    "Inverse tangent, in [-pi/2, pi/2].",
    example="[0.0, 0.5] -> [0.0, 0.4636...]",
)
atan2 = elementwise(
    "atan2",
    lambda y, a, b: b / _nonzero(a * a + b * b),
    lambda y, a, b: -a / _nonzero(a * a + b * b),
    accepts="floating",
    doc="The angle of the point (x2, x1), in [-pi, pi]. The gradient at (0, 0) is 0.",
    example="[3.0]; [4.0] -> [0.6435...]",
)

# ----- hyperbolic functions and their inverses -----
sinh = _function(
    "sinh",
    lambda y, x: cosh(x),
    "Hyperbolic sine of each element.",
    example="[0.0, 1.0] -> [0.0, 1.1752...]",
)
cosh = _function(
    "cosh",
    lambda y, x: sinh(x),
    "Hyperbolic cosine of each element.",
    example="[0.0, 1.0] -> [1.0, 1.5430...]",
)
tanh = _function(
    "tanh",
    lambda y, x: 1 - y * y,
    "Hyperbolic tangent of each element.",
    example="[0.0, 1.0] -> [0.0, 0.7615...]",
)
asinh = _function(
    "asinh",
    lambda y, x: 1 / _root(x * x + 1),
    "Inverse hyperbolic sine.",
    example="[0.0, 1.0] -> [0.0, 0.8813...]",
)
acosh = _function(
    "acosh",
    lambda y, x: 1 / (_root(x - 1) * _root(x + 1)),
    "Inverse hyperbolic cosine.",
    example="[1.0, 2.0] -> [0.0, 1.3169...]",
)
atanh = _function(
    "atanh",
    lambda y, x: 1 / (1 - x * x),
    "Inverse hyperbolic tangent.",
    example="[0.0, 0.5] -> [0.0, 0.5493...]",
)

# ----- lengths and signs -----


def _nonzero(x: Tensor) -> Tensor:
    """`x` with 1 for 0, to divide by."""
    return where(x == 0, 1, x)


hypot = elementwise(
    "hypot",
    lambda y, a, b: a / _nonzero(y),
    lambda y, a, b: b / _nonzero(y),
    accepts="floating",
    doc="sqrt(x1**2 + x2**2), without overflow. The gradient at (0, 0) is 0.",
    example="[3.0]; [4.0] -> [5.0]",
)


def _copysign_partial(y: Any, a: Any, b: Any) -> Any:
    return where(equal(signbit(a), signbit(b)), functions["ones_like"](y), -1)


copysign = elementwise(
    "copysign",
    _copysign_partial,
    None,
    accepts="floating",
    doc="The absolute value of `x1` with the sign of `x2`.",
    example="[1.0, 2.0]; [-3.0, 3.0] -> [-1.0, 2.0]",
)
nextafter = elementwise(
    "nextafter",
    accepts="floating",
    arity=2,
    doc="The number next to `x1` on the way to `x2`. No gradient flows.",
    example="[1.0]; [2.0] -> [1.0000...]",
)

cbrt = elementwise(
    "cbrt",
    lambda y, x: 1 / (3 * (y * y)),
    accepts="floating",
    doc="Cube root of each element, which has its sign.",
    example="[8.0, -27.0] -> [2.0, -3.0]",
)

# ----- the error function -----
erf = elementwise(
    "erf",
    lambda y, x: (2 / math.sqrt(math.pi)) * exp(-(x * x)),
    accepts="floating",
    evaluate=by_host(lambda xp, x: special.erf(x)),  # NumPy has none
    doc="The error function of each element: the integral of 2/sqrt(pi) exp(-t**2) from 0.",
    example="[0.0, 1.0] -> [0.0, 0.8427...]",
)
erfc = elementwise(
    "erfc",
    lambda y, x: (-2 / math.sqrt(math.pi)) * exp(-(x * x)),
    accepts="floating",
    evaluate=by_host(lambda xp, x: special.erfc(x)),
    doc="1 - erf(x) of each element, accurate where that is small.",
    example="[0.0, 1.0] -> [1.0, 0.1572...]",
)
erfinv = elementwise(
    "erfinv",
    lambda y, x: (0.5 * math.sqrt(math.pi)) * exp(y * y),
    accepts="floating",
    evaluate=by_host(lambda xp, x: special.erfinv(x)),
    doc="The inverse of the error function: infinite at 1 and -1, NaN outside of them.",
    example="[0.0, 0.5] -> [0.0, 0.4769...]",
)
