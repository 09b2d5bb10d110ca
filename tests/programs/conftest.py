"""Every graph that these programs make runs as one call into native code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import jit


@pytest.fixture(autouse=True)
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Looks at what a test compiled, forward and backward graphs included, when it is over."""
    made, compiled = [], jit.compile

    def keep(*args, **options):
        made.append(compiled(*args, **options))
        return made[-1]

    monkeypatch.setattr(jit, "compile", keep)
    yield
    split = {
        f"{each.graph.name}: {each.mode}, {part.label} at {part.source}"
        for each in made
        for part in each.host_steps
    }
    assert made
    assert split == set(), "host steps split the foreign call"
    assert {each.foreign_calls for each in made} <= {1}
