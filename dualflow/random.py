"""Random numbers: `df.random`. The same seed gives the same numbers in both modes.

Samplers take the shape first, draw from a `Generator` (the default one, if none is named), and
return tensors; `requires_grad=True` makes a trainable Variable of what was drawn.
"""

from __future__ import annotations

from typing import Any

from dualflow import names
from dualflow.ops.distributions import categorical, gumbel, laplace, permutation
from dualflow.ops.drawing import choice, dirichlet, multinomial
from dualflow.ops.random import (
    Generator,
    bernoulli,
    default_generator,
    exponential,
    get_state,
    normal,
    randint,
    randn,
    seed,
    set_state,
    truncated_normal,
    uniform,
)
from dualflow.ops.rejection import beta, binomial, gamma, poisson
from dualflow.ops.streams import fold_in, split


def __getattr__(name: str) -> Any:
    raise AttributeError(names.missing_function(name, "random"))


__all__ = [
    "Generator",
    "bernoulli",
    "beta",
    "binomial",
    "categorical",
    "choice",
    "default_generator",
    "dirichlet",
    "exponential",
    "fold_in",
    "gamma",
    "get_state",
    "gumbel",
    "laplace",
    "multinomial",
    "normal",
    "permutation",
    "poisson",
    "randint",
    "randn",
    "seed",
    "set_state",
    "split",
    "truncated_normal",
    "uniform",
]
