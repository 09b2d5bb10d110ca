"""Tensors without elements between others: nothing writes them, so nothing may read them."""

from __future__ import annotations

import itertools

import pytest

import dualflow as df
from tests.modes import bits

X = df.reshape(df.arange(6, dtype=df.float64), (3, 2)) - 2.5

MAKE = {
    "input": lambda x, none: none,
    "slice": lambda x, none: x[3:],
    "pointwise": lambda x, none: x[:0] * 2 + none,
    "product": lambda x, none: none @ x[:2] + none,
    "sum": lambda x, none: df.sum(x[None, :0] * none, axis=0) + none,
    "running sum": lambda x, none: df.cumulative_sum(x[3:] + none, axis=1),
    "sort": lambda x, none: df.sort(x[:0] - none, axis=1),
    "rows": lambda x, none: df.take(x, df.arange(0), axis=0) + none,
    "host step": lambda x, none: df.linalg.svd(x)[2][2:] + none,
    "scatter": lambda x, none: (x[:0] * 1).at[:, 0].add(none[:, 1]),
}
READ = {
    "pad": lambda x, y: df.pad(y, ((0, 3), (0, 0))).mT,
    "pad in front": lambda x, y: df.pad(y, ((3, 0), (0, 0)), constant_values=2.0) * x,
    "join": lambda x, y: df.concat([x, y, x]).mT * 2,
    "join, folded": lambda x, y: df.sum(df.concat([y, x, y]) * 3, axis=0),
    "product": lambda x, y: df.pad(y, ((0, 3), (0, 0))) @ x.mT,
    "sum": lambda x, y: df.sum(y, axis=0) + x,
    "gather": lambda x, y: df.take(df.concat([y, x]), df.asarray([2, 0]), axis=0),
    "scatter": lambda x, y: x.at[:0].add(y) + df.pad(y, ((1, 2), (0, 0))),
    "scan": lambda x, y: df.cumulative_sum(df.concat([x, y]), axis=0),
    "nothing": lambda x, y: df.concat([y, y], axis=1),
}


@pytest.mark.parametrize(("make", "read"), [*itertools.product(MAKE, READ)])
def test_nothing_reads_what_has_no_elements(make, read):
    def function(x, none):
        y = MAKE[make](x, none)
        return READ[read](x, y), READ[read](x * 2, y - 1)

    none = df.zeros((0, 2), dtype=df.float64)
    recorded = df.function(function)
    for _ in range(2):
        found, wanted = recorded(X, none), function(X, none)
        assert [*map(bits, found)] == [*map(bits, wanted)]
