"""Random words of 32 bits as numbers: one kernel each, also where nothing is recorded.

Words stand along the last axis, as many as a number needs.
"""

from __future__ import annotations

import math
from typing import Any

from dualflow.core.define import composite
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.ops.elementwise import astype
from dualflow.ops.philox import UINT64
from dualflow.ops.power import sqrt
from dualflow.ops.special import cos, log, sin
from jit.types import float32, float64


@composite(accepts=None, public=False, vjps=(None,))
def joined_words(pairs: Tensor) -> Tensor:
    """Pairs of words of 32 bits as words of 64."""
    high, low = (astype(pairs[..., k], UINT64) for k in range(2))
    return (high << 32) | low


@composite(accepts=None, public=False, vjps=(None,))
def within_range(pairs: Tensor, *, low: int, count: int, dtype: Any) -> Tensor:
    """Pairs of words as integers from `low` on, of which there are `count`."""
    words = joined_words(pairs)
    if count == 2**64:  # whatever 64 bits may be, which uint64 does not count
        return astype(words, dtype) + low
    return astype(words % count, dtype) + low


@composite(accepts=None, public=False, vjps=(None,))
def unit64(pairs: Tensor) -> Tensor:
    """Pairs of words as multiples of 2**-53 below 1."""
    high, low = pairs[..., 0] >> 5, pairs[..., 1] >> 6
    return (astype(high, float64) * 2.0**26 + astype(low, float64)) * 2.0**-53


@composite(accepts=None, public=False, vjps=(None,))
def normals(words: Tensor, *, dtype: Any) -> Tensor:
    """Two words, or in float64 two pairs, as two normally distributed numbers (Box and Muller)."""
    if dtype == float64:
        above, turns = unit64(words[:, 0]) + 2.0**-54, unit64(words[:, 1])
    else:
        first, second = (astype(words[:, k], float32) for k in range(2))
        above, turns = (first + 0.5) * 2.0**-32, second * 2.0**-32
    radius, angle = sqrt(log(above) * -2.0), turns * (2 * math.pi)
    return functions["stack"]([radius * cos(angle), radius * sin(angle)], axis=1)
