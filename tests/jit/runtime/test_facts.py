"""Why code is not found on the disk: the part of its key that differs is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jit.runtime import library as libraries
from jit.runtime.cache import DiskCache
from jit.runtime.cpu import host_target
from jit.runtime.facts import NEW, facts_of, known_facts, note, reason
from jit.runtime.library import Library
from tests.jit.loops.kernels import column_sums, product_tile


@pytest.fixture
def disk(tmp_path, monkeypatch):
    cache = DiskCache(tmp_path / "cache")
    monkeypatch.setattr(libraries, "disk_cache", lambda: cache)
    return cache


def test_r31_the_part_of_the_key_that_differs_is_named(disk):
    kernel, target = product_tile(2, 16), host_target()
    library = Library()
    library.address(kernel, target)
    (why,) = library.reasons.values()
    assert why == NEW

    tools = libraries.toolchain()

    def asked(kernel=kernel, target=target, tools=tools):
        return reason(disk, kernel, facts_of(kernel, target, tools))

    assert asked() == "its entry is gone, or was damaged"
    assert "the features of the processor differ" in asked(target=replace(target, features="+x"))
    assert "the processor differ" in asked(target=replace(target, cpu="other"))
    assert "versions of jit" in asked(tools="jit 0")
    assert "shapes, sizes or attrs differ" in asked(kernel=product_tile(4, 16))
    assert asked(kernel=replace(column_sums(), name="unheard")) == NEW
    two = asked(target=replace(target, cpu="other"), tools="jit 0")
    assert two.startswith("the processor and the versions of jit")


def test_r31_what_is_found_needs_no_reason(disk):
    kernel, target = column_sums(), host_target()
    Library().address(kernel, target)
    library = Library()
    library.address(kernel, target)
    assert library.reasons == {}
    assert library.tallies["from disk"].count == 1


def test_facts_are_few_and_each_is_there_once(disk):
    kernel, target = column_sums(), host_target()
    for k in [*range(30), *range(30)]:
        note(disk, kernel, facts_of(kernel, target, f"jit {k}"))
    assert len(known_facts(disk, kernel)) == 16
    assert "off" in reason(None, kernel, facts_of(kernel, target, ""))
