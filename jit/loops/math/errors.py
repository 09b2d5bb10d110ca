"""The error function, its complement and its inverse.

erf near 0 is x times a polynomial in x**2. Further out erfc(x) exp(x**2) (1 + 2 x) is a polynomial
in (x - 4) / (x + 4): M. M. Shepherd and J. G. Laframboise, "Chebyshev approximation of
(1 + 2x) exp(x**2) erfc x in 0 <= x < infinity", Mathematics of Computation 36 (1981) 249-253. The
inverse takes the variables of M. Giles, "Approximating the erfinv function", GPU Computing Gems
(2011), and a step of Halley's method. Coefficients: weighted minimax fits.
"""

from __future__ import annotations

import math

from jit.loops.math.doubled import fast_two_sum, product, ratio, two_product, two_sum
from jit.loops.math.exponential import MARK, exp, exp_pair, power, raised, scaled
from jit.loops.math.logarithm import log
from jit.loops.math.notation import Notation, Value
from jit.types import float32, float64

# erf(x) = x + x P(x**2) for x <= 0.9 or 1: relative error 2**-26.1, 2**-56.2.
ERF = {
    float32: (
        0.12837915122509003, -0.37612515687942505, 0.11282084882259369, -0.026777273043990135,
        0.005009894259274006, -0.0006080909515731037,
    ),
    float64: (
        0.1283791670955126, -0.3761263890318409, 0.1128379167097081, -0.026866170647982524,
        0.005223977652305561, -0.0008548328519263963, 0.00012055385810619149,
        -1.4926877657754914e-05, 1.6481084109603386e-06, -1.6558299094184722e-07,
        1.6027029586227944e-08, -1.6540413371647034e-09, 1.4508177828789528e-10,
    ),
}  # fmt: skip
# erf(x) = 1 - exp(-x P(x)) from 0.85 to 4: relative error 2**-29.6.
ERF_FAR = (
    1.1286089420318604, 0.6353158354759216, 0.10595854371786118, -0.02351715974509716,
    0.003524343017488718, -0.00029321329202502966, 8.224040357163176e-06,
)  # fmt: skip
# erfc(x) exp(x**2) (1 + 2 x) = C + t P(t), t = (x - 4) / (x + 4), x from 0.45 to 28: 2**-59.4.
ERFC_START = (1.2329951186255526, -4.625318921008717e-17)
ERFC = (
    -0.1396211168405625, 0.015379652102619856, 0.06809705425468944, -0.10103906603630756,
    0.0937328349985059, -0.06633036581220346, 0.03716751553421365, -0.01619773405731488,
    0.005031970014901149, -0.0007577732965441484, -0.00019925694526222465, 0.00015062173304788285,
    -2.4398130168132985e-05, -1.1222269258967689e-05, 5.70666369514561e-06, 2.944253143254827e-07,
    -8.1975230707125e-07, 7.368647992936354e-08, 1.0345521482955392e-07, -1.7123430298866134e-08,
    -9.721831159358785e-09, 1.5594575390050724e-09,
)  # fmt: skip
# erfinv(x) = x P(v): v = -log(1 - x**2) up to 6, then sqrt(v) - 4; 2**-21.6, 2**-25.6.
INVERSE_NEAR = (
    0.886226635323317, 0.23202280025834424, 0.011503340476870145, -0.0022479580827878196,
    -0.0002087832335787383, 8.716921380249253e-05, -9.048178472132532e-06, 3.372451479798382e-07,
)  # fmt: skip
INVERSE_FAR = (
    3.839783871325469, 1.0094931872734807, 0.0012579077718040538, -0.000868495798544326,
    0.0003290178584308997, -0.00011982810690193559, 4.336911630661221e-05,
    -2.8610892871500486e-05, 2.7068037330466496e-05, -1.2576169082286376e-05,
    6.369067264537831e-07, 1.1633955543262455e-06, -2.464169858012862e-07,
)  # fmt: skip


def erf(w: Notation, x: Value) -> Value:
    """The error function."""
    size = abs(x)
    square = x * x
    near = w.fma(x, w.horner(square, ERF[x.dtype]), x)
    if x.dtype == float64:
        far = 1.0 - _erfc_far(w, size)
        return w.where(size > 1.0, far.copysign(x), near)
    inside = w.at_most(size, 4.0)
    exponent = -(inside * w.paired(inside, inside * inside, ERF_FAR))
    far = 1.0 - raised(*power(w, exponent, MARK))  # of a normal number
    return w.where(size > 0.9, far.copysign(x), near)


def erfc(w: Notation, x: Value) -> Value:
    """1 - erf(x), accurate where that is small."""
    wide = x.astype(float64)
    size = abs(wide)
    far = _erfc_far(w, size)
    far = w.where(wide < 0.0, 2.0 - far, far)
    high, low = two_sum(-wide, 1.0)
    near = high + (low - wide * w.horner(wide * wide, ERF[float64]))
    # Of several NaNs in one instruction it depends on their order which is passed on.
    return w.where(x.ne(x), x, w.where(size > 0.5, far, near).astype(x.dtype))


def _erfc_far(w: Notation, size: Value) -> Value:
    """The complement of a float64 from 0.5 on."""
    x = w.at_most(size, 28.0)
    t = (x - 4.0) / (x + 4.0)
    start, start_low = ERFC_START
    high, low = fast_two_sum(start, t * w.paired(t, t * t, ERFC))
    square, lost = two_product(w, x, x)
    marked, power = exp_pair(w, -square, -lost)
    above = product(w, power, (high, low + start_low))
    total, rest = ratio(w, above, two_sum(x * 2.0, 1.0))
    return scaled(total + rest, marked)


def erfinv(w: Notation, y: Value) -> Value:
    """The x with erf(x) = y."""
    size = abs(y.astype(float64))
    missing = 1.0 - size
    v = -log(w, missing * (size + 1.0))
    near = w.horner(v, INVERSE_NEAR)
    far = w.horner(v.sqrt() - 4.0, INVERSE_FAR)
    x = size * w.where(v > 6.0, far, near)
    x = _halley(w, x, size, missing)
    found = w.where(size.eq(1.0), float("inf"), x)
    found = w.where(size > 1.0, float("nan"), found)
    return found.astype(y.dtype).copysign(y)


def _halley(w: Notation, x: Value, y: Value, missing: Value) -> Value:
    """A step towards erf(x) = y, or erfc(x) = missing where that tells more."""
    error = w.where(y < 0.5, erf(w, x) - y, missing - erfc(w, x))
    step = error * exp(w, x * x) * (math.sqrt(math.pi) / 2)
    return x - step / w.fma(x, step, 1.0)
