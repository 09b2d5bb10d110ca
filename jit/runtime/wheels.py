"""Shared libraries that come in wheels of their own, found where pip has put them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator


def libraries(wheels: Iterable[str], name: re.Pattern[str]) -> Iterator[str]:
    """The paths of libraries with such a name, of those wheels that are installed."""
    import importlib.metadata  # and with it fifty other modules

    for wheel in wheels:
        try:
            files = importlib.metadata.files(wheel) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        yield from (str(file.locate()) for file in files if name.fullmatch(file.name))
