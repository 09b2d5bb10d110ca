"""The benchmark of kernels: what it counts, and its table from start to end."""

from __future__ import annotations

import numpy as np
import pytest

from dualflow.__main__ import main
from dualflow.bench import kernels
from dualflow.bench.kernels import Limits, Row, Workload, multiply_adds, workloads


def test_a_row_tells_the_speed_and_its_share():
    limits = Limits(flops=100e9, bandwidth=20e9)
    product = Workload("a product", lambda x: x, ((1,),), flops=8e8)
    assert Row(product, 2, 0.01).line(limits) == (
        "a product                                2    10.00   80.0 GFLOP/s    80%"
    )
    copy = Workload("a copy", lambda x: x, ((1,),), bytes=1e8)
    assert Row(copy, 1, 0.01).line(limits).split()[-3:] == ["10.0", "GB/s", "50%"]


def test_the_multiply_adds_are_those_that_are_counted():
    run, operations = multiply_adds()
    (sums,) = run()
    assert operations == 2 * sums.size * kernels.STEPS
    np.testing.assert_allclose(sums, kernels.STEPS * 0.25)


def test_every_letter_has_a_row():
    rows = list(workloads(quick=True))
    assert sorted({row.name[0] for row in rows}) == list("abcdefgh")
    assert all((row.flops > 0) != (row.bytes > 0) for row in rows)
    assert max(len(row.name) for row in workloads(quick=False)) <= 34


@pytest.mark.slow
def test_the_table(capsys, monkeypatch):
    monkeypatch.setattr(kernels, "TRIAD", 1 << 16)
    monkeypatch.setattr(kernels, "STEPS", 100)
    multiply_adds.cache_clear()
    try:
        assert main(["bench", "kernels", "--quick"]) == 0
    finally:
        multiply_adds.cache_clear()
    lines = capsys.readouterr().out.splitlines()
    names = [row.name for row in workloads(quick=True)]
    assert [line[:34].rstrip() for line in lines[-len(names) :]] == names
    assert all(line.endswith("%") for line in lines[-len(names) :])
    assert max(map(len, lines)) <= 80
