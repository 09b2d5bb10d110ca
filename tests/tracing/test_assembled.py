"""Eager gradients of nets whose shape is that of their input: parts of sweeps are compiled."""

from __future__ import annotations

import gc
import math
import weakref

import numpy as np
import pytest

import dualflow as df
from dualflow.autodiff.sweep import Sweep
from dualflow.tracing import assembled, sweeps
from jit.config import configure

F = df.nn.functional
WIDTH = 3


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """A part is compiled when it has come twice; what is put together stays so."""
    monkeypatch.setattr(sweeps, "SECONDS_A_RECORD", 1e-9)
    monkeypatch.setattr(sweeps, "PARTLY", 1e12)
    unknown(monkeypatch)
    with configure(target="cpu"):
        yield


def unknown(monkeypatch):
    """No sweep has come before."""
    for name in ("forms", "by_kind", "by_walk"):
        monkeypatch.setattr(sweeps, name, {})
    monkeypatch.setattr(assembled, "parts", {})


class Cells:
    """A net over trees, with the gradients of its parameters."""

    def __init__(self):
        generator = np.random.default_rng(5)
        shapes = ((WIDTH, 2 * WIDTH), (2 * WIDTH,), (2 * WIDTH, 3 * WIDTH), (3 * WIDTH,))
        self.params = [df.Variable(generator.standard_normal(s, dtype="f")) for s in shapes]
        self.x = df.asarray(generator.standard_normal((40, 1, WIDTH), dtype="f"))

    def state(self, tree):
        """Two vectors for a tree: a number of a row, or a tuple of trees."""
        w_leaf, b_leaf, w_node, b_node = self.params
        if isinstance(tree, int):
            i, u = df.split(self.x[tree] @ w_leaf + b_leaf, 2, axis=1)
            c = F.sigmoid(i) * df.tanh(u)
            return df.tanh(c), c
        (left, left_c), (right, right_c) = map(self.state, tree)
        joined = df.concat([left, right], axis=1)
        f, g, u = df.split(joined @ w_node + b_node, 3, axis=1)
        c = F.sigmoid(f) * left_c + F.sigmoid(g) * right_c + u
        return df.tanh(c), c

    def gradients(self, tree):
        """By tape, of a loss."""
        with df.GradientTape() as tape:
            loss = (self.state(tree)[0] ** 2).sum()
        return [g.numpy() for g in tape.gradient(loss, self.params)]


def grown(generator, leaves):
    """A random tree."""
    if leaves == 1:
        return int(generator.integers(40))
    left = int(generator.integers(1, leaves))
    return grown(generator, left), grown(generator, leaves - left)


def alike(found, wanted):
    return all(a.tobytes() == b.tobytes() for a, b in zip(found, wanted, strict=True))


def op_by_op(monkeypatch):
    """From here on nothing is compiled."""
    monkeypatch.setattr(sweeps, "SECONDS_A_RECORD", 1e9)
    unknown(monkeypatch)


def pulled(monkeypatch):
    """A list that grows by one for each record that is pulled by Python."""
    seen, pull = [], Sweep._pull

    def watched(self, record, *rest):
        if self.targets[0].raw is not None:  # not on symbolic tensors, to be compiled
            seen.append(record)
        return pull(self, record, *rest)

    monkeypatch.setattr(Sweep, "_pull", watched)
    return seen


def test_trees_that_are_new_are_made_of_parts_that_are_not(monkeypatch):
    cells, generator = Cells(), np.random.default_rng(1)
    trees = [grown(generator, leaves) for leaves in (9, 11, 13, 14, 15, 16, 17, 18)]
    seen, found, by_python = pulled(monkeypatch), [], []
    for tree in trees:
        found.append(cells.gradients(tree))
        by_python.append(len(seen))
    assert by_python[-1] == by_python[3] > 0  # the last ones have new shapes, and no new parts
    assert all(form.compiled is None for form in sweeps.forms.values())
    op_by_op(monkeypatch)
    assert all(map(alike, found, map(cells.gradients, trees)))
    assert len(seen) > 3 * by_python[-1]


def test_who_comes_again_is_known_by_the_walk(monkeypatch):
    cells, generator = Cells(), np.random.default_rng(2)
    for leaves in (8, 9, 10):
        cells.gradients(grown(generator, leaves))
    tree = grown(generator, 12)
    first = cells.gradients(tree)
    monkeypatch.setattr(sweeps, "Outline", None)  # nobody looks at its records any more
    assert alike(cells.gradients(tree), first)


def test_parts_that_come_in_one_form_only_are_compiled_with_the_whole():
    cells, tree = Cells(), grown(np.random.default_rng(9), 9)
    first = cells.gradients(tree)
    assert alike(cells.gradients(tree), first)
    (form,) = sweeps.forms.values()
    assert form.compiled is not None
    assert len(assembled.parts) > 1
    assert all(part.compiled is None for part in assembled.parts.values())


def test_a_form_that_keeps_coming_is_compiled_as_a_whole_in_the_end(monkeypatch):
    cells, generator = Cells(), np.random.default_rng(3)
    for leaves in (7, 9, 10):
        cells.gradients(grown(generator, leaves))
    tree = grown(generator, 8)
    first = cells.gradients(tree)
    form = list(sweeps.forms.values())[-1]
    assert form.assembled is not None
    assert form.spent > 0.0
    monkeypatch.setattr(sweeps, "PARTLY", 0.0)
    for again in sweeps.by_walk.values():
        again.allowance = 0.0  # it has cost what it may
    for _ in range(2):
        assert alike(cells.gradients(tree), first)
        assert form.compiled is not None
        assert form.assembled is None


def test_cotangents_are_added_up_in_the_order_of_the_records(monkeypatch):
    w = df.Variable([1.0])
    scales = [df.Variable([s]) for s in (1.0, 1e8, -1e8, 1.0, 3e7, -3e7)]

    def slope(count):
        with df.GradientTape() as tape:
            total = df.zeros(1)
            for scale in scales[-count:]:
                total = (total + df.tanh(w * 0.0) + w * scale) * 1.0
            loss = total.sum()
        return [g.numpy() for g in tape.gradient(loss, [w, *scales[-count:]])]

    for count in (3, 4, 5):
        slope(count)
    seen = pulled(monkeypatch)
    first = slope(6)
    assert not seen
    assert first[0].tolist() == [1.0]  # from the last to the first; the other way round it is 0
    op_by_op(monkeypatch)
    assert alike(slope(6), first)


def test_transposed_arrays_and_several_results_are_taken(monkeypatch):
    generator = np.random.default_rng(4)
    x = df.asarray(generator.standard_normal((4, 6), dtype="f").T)
    w = [df.Variable(generator.standard_normal((4, 4), dtype="f")) for _ in range(7)]

    def slope(count):
        with df.GradientTape() as tape:
            tape.watch(x)
            y = x
            for v in w[:count]:
                y = df.matrix_transpose(df.matrix_transpose(y @ v))
                high, low = df.split(y, 2)
                y = df.concat([low * high, high]) + y[::-1]
            loss = (y * y).mean()
        return [g.numpy() for g in tape.gradient(loss, [x, *w[:count]])]

    for count in (4, 5, 6):
        slope(count)
    seen, found = pulled(monkeypatch), [slope(7) for _ in range(2)]
    assert not seen
    op_by_op(monkeypatch)
    assert all(alike(slope(7), each) for each in found)


def test_a_source_in_the_middle_is_asked_op_by_op(monkeypatch):
    w = [df.Variable([float(k)]) for k in range(1, 8)]

    def slope():
        with df.GradientTape() as tape:
            y = df.ones(1)
            between = None
            for v in w:
                y = df.tanh(y * v)
                between = y if v is w[3] else between
        return [g.numpy() for g in tape.gradient(y, [between, *w[4:]])]

    first = slope()
    assert alike(slope(), first)
    assert not assembled.parts


def test_results_that_nobody_wants_and_ways_that_end_are_left_out(monkeypatch):
    w = [df.Variable([0.5, 2.0]) for _ in range(10)]

    def slope(count):
        with df.GradientTape() as tape:
            y = df.ones(2)
            for k, v in enumerate(w[:count]):
                y = df.where(y > 0.6, y, 0.1) * v + (df.stop_gradient(y) if k % 2 else 1.0)
                df.exp(y)
            loss = y.max()
        return [g.numpy() for g in tape.gradient(loss, w[:count:2])]

    for count in (4, 6, 8):
        slope(count)
    seen = pulled(monkeypatch)
    first = slope(10)
    assert not seen
    op_by_op(monkeypatch)
    assert alike(slope(10), first)


def test_nothing_that_a_sweep_was_about_is_kept():
    cells, generator = Cells(), np.random.default_rng(6)
    for leaves in (7, 8, 9, 10):
        cells.gradients(tree := grown(generator, leaves))
    with df.GradientTape() as tape:
        h, c = cells.state(tree)
        loss = (h * c).sum()
    tape.gradient(loss, cells.params)
    array = weakref.ref(h.raw)
    del h, c, loss, tape
    gc.collect()
    assert array() is None


def test_parts_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(assembled, "KEPT", 3)
    cells, generator = Cells(), np.random.default_rng(7)
    for leaves in range(5, 12):
        cells.gradients(grown(generator, leaves))
        assert len(assembled.parts) <= 3


def test_a_part_is_compiled_only_when_it_has_cost_as_much(monkeypatch):
    monkeypatch.setattr(sweeps, "SECONDS_A_RECORD", 1e9)
    cells = Cells()
    for leaves in (6, 7):
        cells.gradients(grown(np.random.default_rng(8), leaves))
    forms = assembled.parts.values()
    assert all(form.compiled is None and 0.0 < form.spent < math.inf for form in forms)


def test_long_runs_of_records_are_cut():
    x = df.asarray([1.0])
    with df.GradientTape() as tape:
        tape.watch(x)
        y = x
        for _ in range(2 * assembled.LONGEST):
            y = df.tanh(y)
    records = sorted(Sweep([y], lambda record: True).records, key=lambda record: record.tick)
    pieces = assembled.cut(records)
    assert [len(piece) for piece in pieces] == [assembled.LONGEST] * 2
    assert [record for piece in pieces for record in piece] == records
    del tape
