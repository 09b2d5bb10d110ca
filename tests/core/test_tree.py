"""Nested structures as flat lists and back."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

from hypothesis import given
from hypothesis import strategies as st

from dualflow.core import tree

Point = namedtuple("Point", "x y")

leaves = st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
nests = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=12,
)


@given(nests)
def test_flatten_then_unflatten(nest):
    flat, spec = tree.flatten(nest)
    assert tree.unflatten(spec, flat) == nest
    assert type(tree.unflatten(spec, flat)) is type(nest)


@given(nests)
def test_map_keeps_the_structure_and_the_order(nest):
    flat = tree.flatten(nest)[0]
    doubled = tree.tree_map(lambda x: (x, x) if not isinstance(x, tuple) else x, nest)
    assert tree.flatten(tree.tree_map(lambda x: x, nest))[0] == flat
    assert len(tree.flatten(doubled)[0]) == 2 * len(flat)


def test_map_over_several_trees():
    assert tree.tree_map(lambda a, b: a + b, {"a": 1, "b": [2]}, {"a": 10, "b": [20]}) == {
        "a": 11,
        "b": [22],
    }


def test_none_is_a_leaf():
    assert tree.flatten([None, (None,)])[0] == [None, None]


def test_dicts_are_flat_by_key():
    assert tree.flatten({"b": 1, "a": 2})[0] == tree.flatten({"a": 2, "b": 1})[0] == [2, 1]
    assert tree.flatten(OrderedDict([("b", 1), ("a", 2)]))[0] == [1, 2]


def test_paths_read_as_python():
    assert tree.leaf_paths({"w": [1, Point(2, 3)]}) == ["['w'][0]", "['w'][1].x", "['w'][1].y"]


def test_own_classes_become_nodes():
    class Pair:
        def __init__(self, a, b):
            self.a, self.b = a, b

    assert len(tree.flatten(Pair(1, 2))[0]) == 1
    tree.register(Pair, lambda p: ((p.a, p.b), None), lambda _, ab: Pair(*ab))
    doubled = tree.tree_map(lambda x: 2 * x, [Pair(1, 2)])[0]
    assert (doubled.a, doubled.b) == (2, 4)
