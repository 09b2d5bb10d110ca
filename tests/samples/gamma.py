"""Samples of the gamma function's kin, of the other error functions, and of roots and powers."""

from __future__ import annotations

import numpy as np
from scipy import special

from tests.samples.elementwise import F, between, cplx, unary
from tests.samples.sample import Refused, Sample, positive

AWAY = between(2.5, 9.0, 3, 4)  # from the zeros and the poles
REFLECTED = np.array([-0.25, -1.5, -3.75, 0.25], F)
POLES = np.array([0.0, -1.0, np.inf, np.nan, 1e-15], F)
TRIGAMMA_EDGES = np.array([0.0, -0.0, -2.0, np.inf, np.nan, 1e-15, 1e30], F)

SAMPLES: dict[str, list[Sample]] = {
    "exp2": unary(),
    "cbrt": [*unary(positive(3, 4), complex_=False), Sample((REFLECTED,))],
    "erfc": unary(complex_=False, reference=special.erfc, rtol=4e-6),
    "erfinv": unary(
        between(-0.9, 0.9, 3, 4), complex_=False, integer=False, reference=special.erfinv
    ),
    "gammaln": [
        *unary(AWAY, complex_=False, edges=False, integer=False, reference=special.gammaln),
        Sample((REFLECTED,), reference=special.gammaln, rtol=1e-5),
        Sample((POLES,), numeric=False, reference=special.gammaln),
        Sample((np.array([3, 7]),), reference=special.gammaln),
    ],
    "digamma": [
        *unary(AWAY, complex_=False, edges=False, reference=special.digamma),
        Sample((REFLECTED,), reference=special.digamma, rtol=1e-5),
        Sample((POLES,), numeric=False, reference=special.digamma),
    ],
    "polygamma": [
        Sample((1, AWAY), reference=special.polygamma),
        Sample((2, REFLECTED), reference=special.polygamma, rtol=1e-5),
        Sample((1, TRIGAMMA_EDGES), numeric=False, reference=special.polygamma),
        Sample((3, AWAY[0, 0]), reference=special.polygamma),
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
