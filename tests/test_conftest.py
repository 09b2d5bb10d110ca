"""The golden files' own rules, and the seeds."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.conftest import check_golden


def test_a_golden_file_is_written_then_compared(tmp_path):
    path = tmp_path / "folder" / "graph.txt"
    with pytest.raises(pytest.fail.Exception, match=r"graph\.txt is missing"):
        check_golden(path, "one", update=False)
    check_golden(path, "one", update=True)
    assert path.read_text(encoding="utf-8") == "one\n"
    check_golden(path, "one\n", update=False)
    with pytest.raises(AssertionError, match="make golden"):
        check_golden(path, "two", update=False)
    check_golden(path, "two", update=True)
    check_golden(path, "two", update=False)


@pytest.mark.parametrize("turn", [1, 2])
def test_every_test_starts_from_the_same_seed(turn):
    drawn = (random.random(), np.random.uniform())
    random.seed(0)
    np.random.seed(0)
    assert drawn == (random.random(), np.random.uniform())
