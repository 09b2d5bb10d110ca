"""Samples of what the core itself needs, as far as it is public."""

from __future__ import annotations

import numpy as np

from tests.samples.sample import Refused, Sample, bools, integers, normal

SAMPLES: dict[str, list[Sample]] = {
    "stop_gradient": [
        Sample((x,), reference=lambda x: x, numeric=False)
        for x in (
            normal(2, 3),
            normal(),
            normal(0, 2),
            integers(3),
            bools(2),
            np.complex64([1 + 2j]),
        )
    ],
}

REFUSED: dict[str, list[Refused]] = {
    "stop_gradient": [Refused(("text",), "DTypeError", "cannot become a tensor")],
}
