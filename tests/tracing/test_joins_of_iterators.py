"""Ways join inside of loops over lists, dicts and others, whatever the loop has kept so far."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from tests.modes import graphs_only
from tests.tracing.both import agree
from tests.tracing.test_joins import needs_operands

ROWS = 8


def inputs(count):
    generator = np.random.default_rng(3)
    return [(df.asarray(generator.normal(size=(ROWS, 2)) + 0.3),) for _ in range(count)]


def chosen_rows(x):
    kept = []
    for row in x:
        if row.sum() > 0.5:
            kept.append(row)
    return kept


def chosen_backwards(x):
    kept = {}
    for k, row in enumerate(reversed(list(x))):
        if row.sum() > 0.5:
            kept["last"] = k, row
    return kept


def chosen_pairs(x):
    kept = ()
    for a, b in zip(x, (x * 2.0,) * ROWS, strict=True):
        if a.sum() > 0.5:
            kept = a, b
    return kept


def items_of_a_dict(x):
    parts, total = {str(k): x[k] for k in range(ROWS)}, x.sum()
    for name, part in parts.items():
        if part.sum() > 0.5:
            total = total + part.sum() * int(name)
    return total


def values_and_keys(x):
    parts, total = {str(k): x[k] for k in range(ROWS)}, x.sum()
    for part in parts.values():
        if part.sum() > 0.5:
            total = total * 0.5 + part.sum()
    for name in parts:
        if parts[name].sum() < 0.5:
            total = total * 0.25 - parts[name].sum()
    return total


JOINING = [chosen_rows, chosen_backwards, chosen_pairs, items_of_a_dict, values_and_keys]


@graphs_only
@needs_operands
@pytest.mark.parametrize("program", JOINING, ids=lambda p: p.__name__)
def test_r20_r22_loops_over_items_join(program):
    """Kept items do not tell states apart more than by how many there are."""
    f = agree(lambda: (program, None), inputs(120), max_paths=80)
    assert f.mode == "compiled"
    assert f.from_graph >= 60


def lists_that_grow_meanwhile(x):
    rows, total = list(x), x.sum()
    for row in rows:
        if row.sum() > 1.5 and len(rows) < 2 * ROWS:
            rows.append(row * 0.5)
        total = total + row.sum()
    return total, len(rows)


def items_that_are_compared(x):
    rows, kept, same = list(x), [], 0
    for row in rows:
        if row.sum() > 0.5:
            kept.append(row)
    for row in rows:
        if kept and kept[0] is row:
            same += 1
    return same, len(kept)


def two_iterators_over_one_list(x):
    rows = list(x)
    a, b = iter(rows), iter(rows)
    del rows
    total = x.sum()
    for row in a:
        if row.sum() > 0.5:
            total = total + next(b).sum()
    return total, [*b]


def iterators_that_are_over(x):
    rest = iter(list(x[:2]))
    total = x.sum()
    for row in rest:
        if row.sum() > 0.5:
            total = total + row.sum()
    if total > 0.0:
        total = total * 2.0
    return total, next(rest, None)


def dicts_in_another_order(x):
    parts, total = {k: x[k] for k in range(3)}, x.sum()
    for k, part in parts.items():
        if part.sum() > 0.5 and k < 3:
            parts[1] = parts.pop(1)
        total = total * 0.5 + part.sum()
        if len(parts) != 3 or total > 100.0:
            break
    return total, list(parts)


def dicts_that_grow_meanwhile(x):
    parts, total = {k: x[k] for k in range(3)}, x.sum()
    for k, part in parts.items():
        if part.sum() > 1.5:
            parts[k + 10] = part
        if total > 0.0:
            total = total + part.sum()
    return total


def text_and_ranges(x):
    total = x.sum()
    for word in "".join(["ab", "ba"]):
        for k in range(2):
            if x[k].sum() > 0.5:
                total = total * 0.5 + (1.0 if word == "a" else k)
    return total


CAREFUL = [
    lists_that_grow_meanwhile,
    items_that_are_compared,
    two_iterators_over_one_list,
    iterators_that_are_over,
    dicts_in_another_order,
    dicts_that_grow_meanwhile,
    text_and_ranges,
]


@pytest.mark.parametrize("program", CAREFUL, ids=lambda p: p.__name__)
def test_r20_what_iterators_share_counts(program):
    agree(lambda: (program, None), inputs(50), strict=False)
