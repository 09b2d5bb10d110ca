"""What docs/parity.md says is so: some rows are measured anew, and all of it keeps the bounds."""

from __future__ import annotations

import re

import pytest

from tests.parity import page
from tests.parity.exact import TABLE
from tests.parity.measure import of_errors, sampled

SOME = ("exp", "tanh", "atan2", "sigmoid", "maximum")
OTHERS = ("softmax", "sort", "cumulative_sum")
TEXT = page.PATH.read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w[\w.]*)` \| (.*) \|$", re.MULTILINE)
FIGURES = {name: figures.split(" | ") for name, figures in ROW.findall(TEXT)}


def is_on_the_page(name, cells, best):
    """Whether the page says of a function what was measured."""
    said = FIGURES.get(name)
    return said[: len(cells)] == cells if said else set(cells) <= best and f"`{name}`" in TEXT


@pytest.mark.parametrize("name", SOME)
def test_functions_of_each_element(name):
    cells, found = page.element_cells(name)
    assert is_on_the_page(name, cells, page.elements().exact), cells
    assert not any(f.apart or f.odd for f in found), found


@pytest.mark.parametrize("name", OTHERS)
def test_other_functions(name):
    cells, found = page.sample_cells(name)
    assert is_on_the_page(name, cells, page.others().exact), cells
    assert not any(f.apart for f in found), found


def test_every_function_is_on_the_page():
    missing = [n for n in (*TABLE, *sampled()) if f"`{n}`" not in TEXT]
    assert missing == [], "python -m tests.parity --write"


def test_all_keep_their_bounds():
    for name, exact in TABLE.items():
        if name in FIGURES:
            *errors, bound = map(float, FIGURES[name])
            assert max(errors) <= bound == exact.bound, name
    others = [x for n in sampled() for x in FIGURES.get(n, []) if x != "-"]
    assert others
    assert max(map(float, others)) <= 8, "a sum's error grows slowly with its length"
    assert TEXT.count("Eagerly and from a graph the results have the same bits") == 2
    assert "differ" not in TEXT.split("## Functions")[1]


def test_errors_are_alike():
    for name in ("matmul", "top_k", "concat"):
        same, total = of_errors(name)
        assert same == total > 0, name
    assert re.search(r"^(\d+) of \1 are alike\.$", TEXT, re.MULTILINE)


@pytest.mark.slow
def test_the_page_is_what_is_measured():
    assert page.page() == TEXT, "python -m tests.parity --write"
