"""Transformations of transformed functions: all ordered pairs, and random triples, are exact."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

import dualflow as df
from tests.autodiff.transformations import PAIRS, composed

TRIPLES = random.Random(0).sample(list(itertools.product(PAIRS, repeat=3)), 200)
FAST = 6  # triples that are not slow
MET = [("value_and_grad", "function", "custom_gradient"), ("grad", "vmap", "custom_jvp")]
POINTS = ([0.7, 0.4], [0.7, 0.4], [-0.3, 0.9])  # a function is recorded at the first

pytestmark = pytest.mark.filterwarnings("ignore:.*differentiated from outside")


def marked(compositions, usual):
    """The compositions, those that are not `usual` marked slow."""
    return [pytest.param(c, marks=() if c in usual else pytest.mark.slow) for c in compositions]


def usual_pairs():
    """With a function, in both orders; and what else one default run should see."""
    return [p for p in itertools.product(PAIRS, repeat=2) if "function" in p] + [
        ("grad", "custom_gradient"),
        ("hessian", "vmap"),
        ("batch_jacobian", "hvp"),
    ]


@pytest.mark.parametrize(
    "names", marked(itertools.product(PAIRS, repeat=2), usual_pairs()), ids="-".join
)
def test_pairs(names):
    check(names)


@pytest.mark.parametrize("names", marked([*MET, *TRIPLES], [*MET, *TRIPLES[:FAST]]), ids="-".join)
def test_triples(names):
    check(names)


def check(names):
    ours, exact = composed(names)
    for x in POINTS:
        found = ours(df.asarray(np.array(x))).numpy()
        np.testing.assert_allclose(found, exact(x), rtol=1e-9, atol=1e-12)


def test_there_are_all():
    words = "grad value_and_grad vjp jvp vmap jacobian batch_jacobian hessian hvp"
    words += " custom_gradient custom_jvp function scan while_loop cond recompute"
    assert set(words.split()) <= set(PAIRS)
    assert len(set(TRIPLES)) == 200


def test_gradients_are_recorded_where_nothing_else_is():
    x = df.asarray([1.0, 2.0])
    with df.no_grad():
        assert df.grad(lambda x: df.sum(x * x))(x).tolist() == [2.0, 4.0]
        assert df.vjp(df.square, x)[1](x)[0].tolist() == [2.0, 8.0]
        assert df.jacobian(df.square)(x).tolist() == [[2.0, 0.0], [0.0, 4.0]]
