"""Generators made of generators: reproducible, independent, alike in both modes and under vmap."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from tests.modes import if_graphs

fold_in, split, Generator = df.random.fold_in, df.random.split, df.random.Generator


def drawn(generator, count=2):
    return df.random.uniform((count,), generator=generator)


def test_split_moves_on_and_fold_in_does_not():
    g, same = Generator(7), Generator(7)
    first, second = split(g), split(g)
    assert [x.state.tolist() for x in first] == [x.state.tolist() for x in split(same)]
    assert g.state.tolist() == [7, 2]
    folded = [fold_in(g, k).state.tolist() for k in (-1, 0, 3, df.asarray(3))]
    assert folded[2] == folded[3]
    assert g.state.tolist() == [7, 2]
    seeds = [x.state.tolist()[0] for x in (*first, *second)] + [seed for seed, _ in folded[:3]]
    assert len({7, *seeds}) == 8
    drawn(g)
    assert fold_in(g, 3).state.tolist() != folded[2]
    assert split(g, 0) == ()


def test_words_of_children_are_nobody_elses():
    g = Generator(5)
    children = [g, *split(g, 3), fold_in(g, 0), fold_in(g, 1), *split(fold_in(g, 0))]
    words = [
        x for c in children for x in df.random.uniform(200, dtype="float64", generator=c).tolist()
    ]
    assert len(set(words)) == len(words)
    pairs = np.corrcoef([df.random.normal(2000, generator=c).numpy() for c in children])
    assert np.abs(pairs - np.eye(len(children))).max() < 0.1


def test_both_modes_and_vmap_agree():
    g = Generator(3)

    def draw(k):
        child = fold_in(g, k)
        return df.stack([drawn(child), drawn(split(child)[1])])

    eager = [draw(k).tolist() for k in (4, 5, 6)]
    recorded = df.function(lambda k: draw(k))
    assert [recorded(df.asarray(k)).tolist() for k in (4, 5, 6)] == eager
    assert len(recorded.graphs) == if_graphs(1)
    assert df.vmap(draw)(df.arange(4, 7)).tolist() == eager


def test_a_function_moves_a_generator_that_it_splits():
    def twice(g):
        return [drawn(child).tolist() for _ in range(2) for child in split(g)]

    ours, theirs = Generator(1), Generator(1)
    recorded = df.function(lambda: df.stack([drawn(child) for child in split(ours)]))
    assert [*recorded().tolist(), *recorded().tolist()] == twice(theirs)
    assert ours.state.tolist() == theirs.state.tolist() == [1, 2]


def test_a_child_is_state_that_a_function_captures():
    child, same = fold_in(Generator(2), 1), fold_in(Generator(2), 1)
    recorded = df.function(lambda: drawn(child))
    assert [recorded().tolist() for _ in range(3)] == [drawn(same).tolist() for _ in range(3)]


def test_the_default_generator_is_meant_by_none():
    df.random.seed(4)
    assert fold_in(None, 1).state.tolist() == fold_in(Generator(4), 1).state.tolist()
    assert split(None)[0].state.tolist() == split(Generator(4))[0].state.tolist()


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (1.5, df.errors.DTypeError, "float32"),
        (df.arange(3), df.errors.ShapeError, r"shape \(3,\)"),
    ],
)
def test_refused(data, error, words):
    with pytest.raises(error, match=words):
        fold_in(Generator(0), data)
    with pytest.raises(ValueError, match="negative"):
        split(Generator(0), -1)
