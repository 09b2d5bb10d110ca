"""Fourier transforms: `df.fft`, the array API's extension."""

from __future__ import annotations

from typing import Any

from dualflow import names
from dualflow.ops.spectrum import (
    fft,
    fftfreq,
    fftn,
    fftshift,
    hfft,
    ifft,
    ifftn,
    ifftshift,
    ihfft,
    irfft,
    irfftn,
    rfft,
    rfftfreq,
    rfftn,
)


def __getattr__(name: str) -> Any:
    raise AttributeError(names.missing_function(name, "fft"))


__all__ = [
    "fft",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfftn",
    "rfft",
    "rfftfreq",
    "rfftn",
]
