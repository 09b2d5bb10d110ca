"""Samples of every public op, by family; the laws run over all of them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.samples.sample import Refused, Sample

SAMPLES: dict[str, list[Sample]] = {}
REFUSED: dict[str, list[Refused]] = {}

for path in sorted(Path(__file__).parent.glob("*.py")):
    if path.stem not in ("__init__", "sample"):
        family = import_module(f"tests.samples.{path.stem}")
        SAMPLES.update(family.SAMPLES)
        REFUSED.update(family.REFUSED)
