"""Samples of Fourier transforms."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.samples.sample import Refused, Sample, integers, normal

Z = (normal(2, 5) + 1j * normal(2, 5, seed=1)).astype(np.complex64)


def one(name: str, *xs: Any) -> list[Sample]:
    """Samples of a transform along one axis, of numbers of points below and above those there."""
    variations: list[dict[str, Any]] = [
        {},
        {"axis": 0, "norm": "ortho"},
        {"n": 3, "norm": "forward"},
    ]
    reference = getattr(np.fft, name)
    return [Sample((x,), kwargs, reference, rtol=1e-5) for x in xs for kwargs in variations]


def many(name: str, *xs: Any) -> list[Sample]:
    """Samples of a transform along several axes."""
    variations: list[dict[str, Any]] = [
        {},
        {"axes": (0,), "norm": "ortho"},
        {"s": (3, 6), "axes": (1, 0), "norm": "forward"},
    ]
    reference = getattr(np.fft, name)
    return [Sample((x,), kwargs, reference, rtol=1e-5) for x in xs for kwargs in variations]


def shift(name: str) -> list[Sample]:
    """Samples of fftshift and its inverse."""
    reference = getattr(np.fft, name)
    return [
        Sample((normal(2, 5),), {}, reference, rtol=0.0),
        Sample((integers(4, 3),), {"axes": 1}, reference, rtol=0.0),
    ]


def frequencies(name: str) -> list[Sample]:
    """Samples of fftfreq and rfftfreq, which take no tensors."""

    def reference(n: int, *, d: float = 1.0, dtype: Any = np.float32) -> Any:
        return getattr(np.fft, name)(n, d).astype(dtype)

    return [
        Sample((5,), {}, reference),
        Sample((4,), {"d": 0.5, "dtype": "float64"}, reference),
        Sample((1,), {}, reference),
    ]


NO_POINTS = [Refused((normal(2, 3),), "ShapeError", "n=0 points", {"n": 0})]
WRONG_NORM = [Refused((normal(3),), "ValueError", "none of backward", {"norm": "both"})]
WRONG_AXIS = [Refused((normal(3),), "AxisError", "axis 1 of a tensor", {"axis": 1})]

SAMPLES: dict[str, list[Sample]] = {
    "fft": [*one("fft", Z), Sample((normal(4),), {}, np.fft.fft, rtol=1e-5)],
    "ifft": one("ifft", Z),
    "fftn": many("fftn", Z),
    "ifftn": many("ifftn", Z),
    "rfft": [*one("rfft", normal(2, 5)), Sample((normal(4),), {"n": 8}, np.fft.rfft, rtol=1e-5)],
    "irfft": one("irfft", Z),
    "rfftn": many("rfftn", normal(2, 5)),
    "irfftn": many("irfftn", np.concatenate([Z, Z[:1]])),
    "hfft": one("hfft", Z),
    "ihfft": one("ihfft", normal(2, 5)),
    "fftfreq": frequencies("fftfreq"),
    "rfftfreq": frequencies("rfftfreq"),
    "fftshift": shift("fftshift"),
    "ifftshift": shift("ifftshift"),
}
SAMPLES["ihfft"] += [Sample((integers(4),), {}, np.fft.ihfft, rtol=1e-5)]

REFUSED: dict[str, list[Refused]] = {
    **{name: [*NO_POINTS, *WRONG_NORM, *WRONG_AXIS] for name in ("fft", "rfft", "hfft")},
    "irfft": [Refused((normal(2, 1),), "ShapeError", "irfft: n=0 points")],
    "rfft": [Refused((Z,), "DTypeError", "rfft: does not take complex64")],
    "fftn": [Refused((Z,), "ShapeError", "fftn: 1 sizes for 2 axes", {"s": (2,), "axes": (0, 1)})],
    "fftfreq": [Refused((0,), "ShapeError", "fftfreq: n=0 points")],
}
