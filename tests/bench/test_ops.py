"""The benchmark of ops: both sides of each row compute the same, and its table."""

from __future__ import annotations

import json

import numpy as np
import pytest

import dualflow as df
from dualflow.__main__ import main
from dualflow.bench import ops
from dualflow.bench.ops import Ratio, Timed, ratio, rows

ROWS = list(rows(400))
FAMILIES = (
    "element complex float64 float16 int64 int32 uint8 bool astype fold scan move index order "
    "linear fft nn"
)


def test_there_is_a_row_for_each_family():
    families = {row.family for row in ROWS}
    assert families == {*FAMILIES.split(), "create", "random"}
    assert len({(row.family, row.name) for row in ROWS}) == len(ROWS) > 100
    assert max(len(f"{row.family}  {row.name}") for row in ROWS) <= 26


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(f, marks=pytest.mark.slow if f in ("element", "fold", "float16") else ())
        for f in sorted({row.family for row in ROWS})
    ],
)
def test_both_sides_compute_the_same(family):
    for row in (row for row in ROWS if row.family == family):
        ours = df.tree.flatten(row.ours(*map(df.asarray, row.arrays)))[0]
        theirs = df.tree.flatten(row.theirs(*row.arrays))[0]
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape, row
            if row.name not in ("eigh", "svd", "qr") and not row.random:
                rtol = 3e-3 if b.dtype == np.float16 else 1e-4  # NumPy adds up in float16
                np.testing.assert_allclose(a.numpy(), b, rtol=rtol, atol=1e-5, err_msg=row.name)


def test_a_line_tells_what_is_slow_and_what_is_unsure():
    found = ratio(np.array([1.0, 1.5, 2.0, 2.5]), np.ones(4))
    assert (found.value, found.slow, found.unsure) == (1.0, False, False)
    line = str(Timed("fold", "sum", 0.5, Ratio(1.5, 1.4, 1.6), Ratio(1.1, 1.0, 1.3)))
    assert line == "fold  sum                      0.500   1.50!    1.10 ?"


@pytest.mark.slow
def test_the_table(capsys, monkeypatch, tmp_path):
    few = [row for row in ROWS if row.family in ("bool", "create")]
    monkeypatch.setattr(ops, "rows", lambda size: few)
    path = tmp_path / "figures.json"
    assert main(["bench", "ops", "--quick", "--json", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("logical_and" in line or "arange" in line for line in lines) == 2
    assert lines[-1].startswith("all took")
    assert max(map(len, lines)) <= 80
    assert len(json.loads(path.read_text())) == len(few)
