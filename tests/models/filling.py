"""Weights that follow from their names, so that two frameworks have the same without a file."""

from __future__ import annotations

import math
import zlib

import numpy as np


def values_for(name, shape, dtype):
    """Random numbers of a size that keeps what flows through a net about as large as it was."""
    if dtype == "int64":
        return np.zeros(shape, np.int64)
    random = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    values = random.standard_normal(shape, np.float32)
    if name.endswith("running_var"):
        return np.abs(values) + 0.5
    if len(shape) < 2:
        centre = 1.0 if name.endswith("weight") else 0.0
        return centre + 0.1 * values
    return values * np.float32(math.sqrt(1.5 / math.prod(shape[1:])))


def image(size):
    """Two images of noise, (2, 3, size, size)."""
    random = np.random.Generator(np.random.PCG64(5))
    return random.standard_normal((2, 3, size, size), np.float32)
