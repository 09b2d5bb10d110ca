"""Loads of a block come before its stores, where no store can change what they find."""

from __future__ import annotations

import numpy as np
import pytest

from jit.loops.early_loads import MOST, early_loads
from jit.loops.interpret import interpret
from jit.loops.ir import INDEX, Buffer, Kernel, Load, Store, Var, index
from jit.loops.verify import verify
from jit.loops.writer import Writer
from jit.types import float32, int64

X, Y = Buffer("x", float32), Buffer("y", float32, access="out")
Z, AT = Buffer("z", float32, access="inout"), Buffer("at", int64)


def kernel_of(build):
    w, item = Writer(), Var(INDEX, "item")
    build(w, item)
    kernel = Kernel("k", (X, Y, Z, AT), (), 3, item, tuple(w.body))
    verify(kernel)
    return kernel


def order(kernel):
    """Loads and stores, as letters."""
    kinds = {Load: "l", Store: "s"}
    return "".join(kinds.get(type(s), "") for s in kernel.statements())


def copies(w, item):
    for k in range(3):
        at = w.let("add", w.let("multiply", item, index(3)), index(k))
        w.store(Y, at, w.load(X, at))


def in_place(w, item):
    for k in range(3):
        at = w.let("add", w.let("multiply", item, index(3)), index(k))
        x = w.load(Z, at)
        w.store(Z, at, w.let("add", x, x))


def running(w, item):
    """Each turn needs what the one before has stored."""
    for k in range(2):
        at = w.let("add", w.let("multiply", item, index(3)), index(k))
        w.store(Z, w.let("add", at, index(1)), w.let("add", w.load(Z, at), w.load(X, at)))


def by_table(w, item):
    """Places that are loaded may be any."""
    for k in range(2):
        at = w.load(AT, w.let("add", w.let("multiply", item, index(3)), index(k)))
        w.store(Z, at, w.let("add", w.load(Z, at), w.load(X, at)))


def inside_of_a_loop(w, item):
    room = w.alloc("sum", float32, 1)
    w.store(room, index(0), w.load(X, item))
    with w.loop(index(0), index(2), hint="k"):
        copies(w, item)
        w.store(room, index(0), w.let("add", w.load(room, index(0)), w.load(X, index(0))))
    w.store(Z, item, w.load(room, index(0)))


@pytest.mark.parametrize(
    ("build", "wanted"),
    [
        (copies, "lllsss"),
        (in_place, "lllsss"),
        (running, "lllsls"),
        (by_table, "lllllsls"),
        (inside_of_a_loop, "lslllslsssls"),
    ],
)
def test_order(build, wanted):
    before = kernel_of(build)
    after = early_loads(before)
    verify(after)
    if build is not inside_of_a_loop:
        assert order(after) == wanted
    assert order(after).count("l") == order(before).count("l")
    found = []
    for kernel in (before, after):
        rng = np.random.default_rng(0)
        x, y, z = (rng.normal(size=12).astype("f") for _ in range(3))
        assert interpret(kernel, [x, y, z, rng.integers(0, 12, 9)])
        found.append([y.tolist(), z.tolist()])
    assert found[0] == found[1]


def test_only_as_many_as_registers_hold():
    def build(w, item):
        for k in range(MOST + 5):
            w.store(Y, index(k), w.load(X, index(k)))

    text = order(early_loads(kernel_of(build)))
    assert text.startswith("l" * MOST + "s")
    assert text.endswith("lslslslsls")
