"""Transformations as functions of functions from vectors to vectors, so that any may follow any.

Each has a counterpart on lists of mpmath's numbers, where derivatives are differences: with some
hundred digits these are exact to twenty, whatever the order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpmath import mp, mpf

import dualflow as df

Function = Callable[[Any], Any]
DIGITS, STEP = 160, mpf(10) ** -18


def total(f: Function) -> Function:
    """The sum of a function's results."""
    return lambda x: df.sum(f(x))


# ----- dualflow's -----


def gradient(f: Function) -> Function:
    return df.grad(total(f))


def value_and_gradient(f: Function) -> Function:
    def both(x: Any) -> Any:
        value, slope = df.value_and_grad(total(f))(x)
        return value + slope

    return both


def pulled(f: Function) -> Function:
    def pull(x: Any) -> Any:
        y, back = df.vjp(f, x)
        (slope,) = back(y)
        return slope

    return pull


def pushed(f: Function) -> Function:
    return lambda x: df.jvp(f, [x], [x])[1]


def mapped(f: Function) -> Function:
    return lambda x: df.sum(df.vmap(f)(df.stack([x, x * 0.5])), axis=0)


def jacobian(f: Function) -> Function:
    return lambda x: df.sum(df.jacobian(f)(x), axis=-1)


def batch_jacobian(f: Function) -> Function:
    def rows(x: Any) -> Any:
        examples = df.stack([x, x * 0.5])
        with df.GradientTape() as tape:
            tape.watch(examples)
            y = df.vmap(f)(examples)
        return df.sum(tape.batch_jacobian(y, examples), axis=(0, -1))

    return rows


def hessian(f: Function) -> Function:
    return lambda x: df.sum(df.hessian(total(f))(x), axis=0)


def hvp(f: Function) -> Function:
    return lambda x: df.hvp(total(f), [x], [x])[0]


def custom_gradient(f: Function) -> Function:
    @df.custom_gradient
    def own(x: Any) -> Any:
        return f(x), lambda g: df.vjp(f, x)[1](g)

    return own


def custom_jvp(f: Function) -> Function:
    @df.custom_jvp
    def own(x: Any) -> Any:
        return f(x), lambda t: df.jvp(f, [x], [t])[1]

    return own


def scanned(f: Function) -> Function:
    return lambda x: df.scan(lambda _, row: (f(row), None), x, df.stack([x, x]))[0]


def looped(f: Function) -> Function:
    def once(x: Any) -> Any:
        def step(state: Any) -> Any:
            return state[0] + 1, f(state[1])

        return df.while_loop(lambda state: state[0] < 1, step, (0, x), maximum_iterations=2)[1]

    return once


def chosen(f: Function) -> Function:
    return lambda x: df.cond(x[0] > 0.2, f, lambda x: f(x), x)


# ----- mpmath's -----

Numbers = list[Any]


def moved(f: Function, x: Numbers, direction: Numbers) -> Numbers:
    """The derivative in a direction, by differences."""
    above, below = (f([a + s * STEP * d for a, d in zip(x, direction)]) for s in (1, -1))
    return [(a - b) / (2 * STEP) for a, b in zip(above, below)]


def along(f: Function, x: Numbers) -> list[Numbers]:
    """The derivatives by each argument."""
    return [moved(f, x, [mpf(k == j) for j in range(len(x))]) for k in range(len(x))]


def exact_gradient(f: Function) -> Function:
    return lambda x: [sum(row) for row in along(f, x)]


def exact_value_and_gradient(f: Function) -> Function:
    def both(x: Numbers) -> Numbers:
        value = sum(f(x))
        return [value + slope for slope in exact_gradient(f)(x)]

    return both


def exact_pulled(f: Function) -> Function:
    return lambda x: [sum(a * b for a, b in zip(row, f(x))) for row in along(f, x)]


def exact_mapped(f: Function) -> Function:
    return lambda x: [a + b for a, b in zip(f(x), f([v / 2 for v in x]))]


def exact_jacobian(f: Function) -> Function:
    return lambda x: moved(f, x, [mpf(1)] * len(x))


def exact_hvp(f: Function) -> Function:
    return lambda x: moved(exact_gradient(f), x, x)


def same(f: Function) -> Function:
    return f


Transformation = Callable[[Function], Function]
PAIRS: dict[str, tuple[Transformation, Transformation]] = {
    "grad": (gradient, exact_gradient),
    "value_and_grad": (value_and_gradient, exact_value_and_gradient),
    "vjp": (pulled, exact_pulled),
    "jvp": (pushed, lambda f: lambda x: moved(f, x, x)),
    "vmap": (mapped, exact_mapped),
    "jacobian": (jacobian, exact_jacobian),
    "batch_jacobian": (batch_jacobian, lambda f: exact_mapped(exact_jacobian(f))),
    "hessian": (hessian, lambda f: exact_jacobian(exact_gradient(f))),
    "hvp": (hvp, exact_hvp),
    "custom_gradient": (custom_gradient, same),
    "custom_jvp": (custom_jvp, same),
    "function": (df.function, same),
    "scan": (scanned, same),
    "while_loop": (looped, same),
    "cond": (chosen, same),
    "recompute": (df.recompute, same),
}


def start(x: Any) -> Any:
    """What is transformed: two numbers to two, with every derivative."""
    a, b = x[0], x[1]
    return df.stack([df.sin(a) * b, df.exp(0.25 * b) * a + b * b])


def exact_start(x: Numbers) -> Numbers:
    a, b = x
    return [mp.sin(a) * b, mp.exp(b / 4) * a + b * b]


def composed(names: tuple[str, ...]) -> tuple[Function, Function]:
    """The transformations, the last one applied first: ours, and the exact function."""
    ours, exact = start, exact_start
    for name in reversed(names):
        ours, exact = PAIRS[name][0](ours), PAIRS[name][1](exact)

    def wanted(x: list[float]) -> list[float]:
        with mp.workdps(DIGITS):
            return [float(y) for y in exact([mpf(v) for v in x])]

    return ours, wanted
