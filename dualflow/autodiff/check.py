"""`check_gradients`: gradients held against finite differences, for one's own ops and functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dualflow.autodiff.functional import jvp, vjp
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from jit.types import kind


def check_gradients(
    function: Callable[..., Any],
    *args: Any,
    order: int = 2,
    modes: tuple[str, ...] = ("reverse", "forward"),
    eps: float = 1e-5,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    seed: int = 0,
) -> None:
    """Checks gradients of `function` against central differences in random directions, in float64.

    Args:
        function: Takes tensors, returns one tensor.
        *args: Where to check: tensors or arrays of floating dtype; they are converted to float64.
        order: 1 checks gradients, 2 also gradients of gradients.
        modes: "reverse" and "forward".
        eps: Step of the central difference.
        rtol: Relative bound.
        atol: Absolute bound.
        seed: Of the random directions.

    Raises:
        AssertionError: They differ; the message tells order, mode and both numbers.

    Example:
        >>> import dualflow as df
        >>> df.testing.check_gradients(lambda x: df.tanh(x) * x, df.asarray([0.3, -1.2]))
    """
    primals = [as_tensor(np.asarray(_numpy(x), np.float64)) for x in args]
    for level in range(1, order + 1):
        generator = np.random.default_rng(seed)
        y = function(*primals)
        if kind(y.dtype) != "floating":
            raise AssertionError(
                f"check_gradients: the function returns {y.dtype}, not a floating tensor"
            )
        g = as_tensor(generator.normal(size=y.shape))
        directions = [generator.normal(size=x.shape) for x in primals]
        expected = _central_difference(function, primals, directions, g, eps)
        for mode in modes if level == 1 else ("reverse",):
            found = _derivative(function, primals, directions, g, mode)
            scale = 10 ** (level - 1)
            if not np.isclose(found, expected, rtol=rtol * scale, atol=atol * scale):
                raise AssertionError(
                    f"check_gradients: order {level}, {mode} mode gives {found!r}, "
                    f"central differences give {expected!r}"
                )
        if "reverse" not in modes:
            return
        function = _slope(function, directions, g)


def _central_difference(
    function: Callable[..., Any],
    primals: list[Tensor],
    directions: list[Any],
    g: Tensor,
    eps: float,
) -> float:
    def along(step: float) -> float:
        moved = [as_tensor(x.numpy() + step * d) for x, d in zip(primals, directions, strict=True)]
        return float((function(*moved) * g).sum().item())

    return (along(eps) - along(-eps)) / (2 * eps)


def _slope(function: Callable[..., Any], directions: list[Any], g: Tensor) -> Callable[..., Any]:
    """The derivative in one direction, as a function that is differentiated in its turn."""

    def slope(*primals: Any) -> Any:
        cotangents = vjp(function, *primals)[1](g)
        terms = [(c * as_tensor(d)).sum() for c, d in zip(cotangents, directions, strict=True)]
        return sum(terms[1:], terms[0])

    return slope


def _derivative(
    function: Callable[..., Any], primals: list[Tensor], directions: list[Any], g: Tensor, mode: str
) -> float:
    if mode == "forward":
        t = jvp(function, primals, [as_tensor(d) for d in directions])[1]
        return float((t * g).sum().item())
    cotangents = vjp(function, *primals)[1](g)
    return float(
        sum((c * as_tensor(d)).sum().item() for c, d in zip(cotangents, directions, strict=True))
    )  # type: ignore[misc]


def _numpy(x: Any) -> Any:
    return x.numpy() if isinstance(x, Tensor) else x
