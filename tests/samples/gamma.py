"""Samples of the gamma function's kin, of the other error functions, and of roots and powers."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from tests.samples.elementwise import EDGES, F, between, cplx
from tests.samples.sample import Refused, Sample, normal, positive

AWAY = between(2.5, 9.0, 6)  # from the zeros and the poles
REFLECTED = np.array([-0.25, -1.5, -3.75, 0.25], F)
POLES = np.array([0.0, -1.0, np.inf, np.nan, 1e-15], F)
TRIGAMMA_EDGES = np.array([0.0, -0.0, -2.0, np.inf, np.nan, 1e-15, 1e30], F)


def few(values: Any, reference: Any = None, edges: Any = EDGES, rtol: float = 2e-6) -> list[Sample]:
    """At usual values and at edges; the laws try them in other dtypes, too."""
    return [
        Sample((values,), reference=reference, rtol=rtol),
        Sample((edges,), reference=reference, rtol=rtol, numeric=False),
    ]


SAMPLES: dict[str, list[Sample]] = {
    "exp2": few(normal(3, 4)),
    "cbrt": few(np.append(positive(5), REFLECTED)),
    "erfc": few(normal(3, 4), special.erfc, rtol=4e-6),
    "erfinv": few(between(-0.9, 0.9, 3, 4), special.erfinv),
    "gammaln": few(np.append(AWAY, REFLECTED), special.gammaln, POLES, rtol=1e-5),
    "digamma": few(np.append(AWAY, REFLECTED), special.digamma, POLES, rtol=1e-5),
    "polygamma": [
        Sample((2, np.append(AWAY, REFLECTED)), reference=special.polygamma, rtol=1e-5),
        Sample((1, TRIGAMMA_EDGES), numeric=False, reference=special.polygamma),
    ],
}

REFUSED: dict[str, list[Refused]] = {
    "gammaln": [Refused((cplx(3),), "DTypeError", "gammaln: does not take complex64")],
    "erfinv": [Refused((cplx(3),), "DTypeError", "erfinv: does not take complex64")],
    "polygamma": [
        Refused((-1, AWAY), "ValueError", "polygamma: n=-1, expected an integer from 0 to 150"),
        Refused((1.5, AWAY), "ValueError", "polygamma: n=1.5"),
        Refused((1, cplx(3)), "DTypeError", "polygamma: does not take complex64"),
    ],
}
