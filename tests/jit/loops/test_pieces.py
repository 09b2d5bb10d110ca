"""Pieces: values computed together that make up a larger one, apart or interleaved."""

from __future__ import annotations

import numpy as np
import pytest

from jit.loops.heuristics import scheduled
from jit.loops.ir import Store
from jit.types import TensorType, float32
from tests.jit.loops.whole import graph_of, numbers
from tests.jit.stages import Stages, bits

LENGTHS = (1, 7, 16, 28, 56)


def turned(form, x, count):
    """Of each row sums of `count` neighbours with one number each: what the pieces share."""
    rows, columns = x.shape[0], x.shape[1] // count
    parts = [
        form.view(x, (rows, columns), lambda i, j, k=k: (i, j * count + k)) for k in range(count)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = form.pointwise("add", total, part)
    return [form.pointwise("multiply", total, part) for part in parts]


def interleaved(form, x, count):
    """The pieces where the numbers were."""
    return form.pieces(turned(form, x, count), x.shape, lambda k, i, j: (i, j * count + k))


def apart(form, x, count):
    """The pieces one after the other."""
    shape = (count, x.shape[0], x.shape[1] // count)
    return form.pieces(turned(form, x, count), shape, lambda k, i, j: (k, i, j))


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("build", [interleaved, apart])
def test_pieces_are_what_numpy_computes(build, length, count):
    given = TensorType((5, length * count), float32)
    made = Stages(graph_of(lambda form, x: build(form, x, count), [given]))
    (x,) = arrays = [numbers(float32, given.shape, np.random.default_rng(0))]
    parts = [x[:, k::count] for k in range(count)]
    with np.errstate(all="ignore"):
        total = sum(parts[1:], start=parts[0])
        wanted = np.stack([total * part for part in parts], -1 if build is interleaved else 0)
    shape = given.shape if build is interleaved else (count, 5, length)
    for stage in ("lowered", "scheduled", "native"):
        (found,) = made.run(stage, arrays)
        assert bits(found) == bits(wanted.reshape(shape))


@pytest.mark.parametrize("length", [16, 28])
def test_what_lies_beside_each_other_is_stored_together(length):
    made = Stages(
        graph_of(lambda form, x: interleaved(form, x, 4), [TensorType((5, 4 * length), float32)])
    )
    (kernel,) = made.kernels  # what pieces share lies nowhere
    stores = [s for s in scheduled(kernel, made.target).statements() if isinstance(s, Store)]
    assert all(s.index.type.lanes == 1 and s.mask is None for s in stores)
