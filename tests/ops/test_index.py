"""What the laws do not say of indexing: all expressions of NumPy's, writing, guards."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from dualflow import errors
from tests.modes import if_graphs, in_mode

FOLDS = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
}


def items(extent):
    """Whatever may index one axis."""
    bound = st.none() | st.integers(-extent - 2, extent + 2)
    step = st.sampled_from([None, 1, 2, 3, -1, -2])
    positions = st.integers(-extent, extent - 1)
    arrays = st.sampled_from([(3,), (1,), (2, 3), (2, 1), ()]).flatmap(
        lambda shape: st.lists(
            positions, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))
        ).map(lambda values: np.reshape(np.array(values, np.int64), shape))
    )
    masks = st.lists(st.booleans(), min_size=extent, max_size=extent).map(np.array)
    return st.one_of(
        st.builds(slice, bound, bound, step),
        positions,
        arrays,
        masks,
        st.lists(positions, min_size=1),
    )


@st.composite
def indexed(draw):
    """A shape, and an index expression for it that NumPy takes."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    count = draw(st.integers(0, len(shape)))
    index = [draw(items(extent)) for extent in shape[:count]]
    if count < len(shape) and draw(st.booleans()):
        split = draw(st.integers(0, count))
        behind = [draw(items(extent)) for extent in shape[len(shape) - count + split :]]
        index = [*index[:split], Ellipsis, *behind]
    for _ in range(draw(st.integers(0, 2))):
        index.insert(draw(st.integers(0, len(index))), None)
    try:
        np.zeros(shape)[tuple(index)]
    except IndexError:  # index arrays that do not broadcast
        index = []
    return shape, tuple(index)


def values(shape):
    return np.arange(1, np.prod(shape) + 1, dtype=np.float64).reshape(shape)


@given(indexed())
def test_reading_is_numpys(case):
    shape, index = case
    x = df.asarray(values(shape))
    want = x.raw[index]
    assert x[index].shape == want.shape
    assert np.array_equal(x[index].raw, want)
    with df.GradientTape() as tape:
        tape.watch(x)
        y = x[index]
        z = df.sum(y * y)
    assert np.array_equal(y.raw, want)
    expected = np.zeros(shape)
    np.add.at(expected, index, 2 * want)
    assert np.array_equal(tape.gradient(z, x).raw, expected)


@given(indexed(), st.sampled_from(["set", "add", "multiply", "min", "max"]), st.booleans())
def test_writing_is_numpys(case, how, whole):
    shape, index = case
    x = values(shape)
    place = x[index].shape if whole else x[index].shape[-1:]
    v = np.linspace(-5, 20, int(np.prod(place))).reshape(place)
    y = getattr(df.asarray(x).at[index], how)(v)
    expected = x.copy()
    if how in FOLDS:
        # NumPy 2.4 takes too few values when `v` has to be broadcast along the index here.
        FOLDS[how].at(expected, index, np.broadcast_to(v, x[index].shape))
    else:
        expected[index] = v if how == "set" else expected[index] * v
    assert np.allclose(y.raw, expected)
    assert np.array_equal(x, values(shape))


@pytest.mark.parametrize("how", ["set", "add", "multiply", "min", "max"])
@pytest.mark.parametrize(
    "index", [slice(1, None, 2), (0, slice(None)), np.array([2, 0]), (np.array([[1], [0]]), [0, 2])]
)
def test_gradients_of_writing(how, index):
    x, v = np.random.randn(3, 4), np.random.randn(*np.zeros((3, 4))[index].shape)
    df.testing.check_gradients(lambda x, v: getattr(x.at[index], how)(v), x, v, order=2)


def test_of_several_values_for_one_place_the_last_one_stays_and_has_the_gradient():
    x, v = df.asarray([1.0, 2.0]), df.asarray([3.0, 4.0, 5.0])
    with df.GradientTape() as tape:
        tape.watch([x, v])
        y = x.at[[0, 0, 1]].set(v)
    assert y.tolist() == [4.0, 5.0]
    assert [g.tolist() for g in tape.gradient(y, [x, v])] == [[0.0, 0.0], [0.0, 1.0, 1.0]]


def test_ties_of_a_folded_minimum_share_the_gradient():
    x, v = df.asarray([1.0, 2.0]), df.asarray([1.0, 1.0])
    with df.GradientTape() as tape:
        tape.watch([x, v])
        y = x.at[[0, 0]].min(v)
    found = [g.tolist() for g in tape.gradient(y, [x, v])]
    assert found[0] == pytest.approx([1 / 3, 1])
    assert found[1] == pytest.approx([1 / 3, 1 / 3])


def test_a_mask_is_written_without_a_shape_that_depends_on_values():
    @df.function
    def clear(x, mask):
        return x.at[mask].set(0.0)

    x = df.asarray([1.0, -2.0, 3.0])
    for mask in (x < 0, x > 0, x > 9):
        assert np.array_equal(clear(x, mask).raw, np.where(mask.raw, 0, x.raw))
    assert len(clear.graphs) == if_graphs(1)


def test_writing_does_not_narrow():
    x = df.asarray([1, 2, 3])
    with pytest.raises(errors.DTypeError, match="at: a value of float into a tensor of int64"):
        x.at[0].set(0.5)
    with pytest.raises(errors.DTypeError, match="float64 into a tensor of float32"):
        df.ones(3).at[0].add(np.ones(1))
    assert df.ones(3).at[0].add(1).dtype == df.float32


def test_a_value_must_fit_the_place():
    with pytest.raises(errors.ShapeError, match=re.escape("shape (3,) into a place of shape (2,)")):
        df.ones(4).at[1:3].set(df.ones(3))


def test_a_tensor_with_one_integer_stays_in_the_graph_and_a_python_int_guards():
    x = df.asarray([10.0, 20.0, 30.0])
    dynamic = df.function(lambda x, i: x[i])
    assert [dynamic(x, df.asarray(k)).item() for k in (0, 2, -1)] == [10.0, 30.0, 30.0]
    assert len(dynamic.graphs) == if_graphs(1)
    guarded = df.function(lambda x, i: x[int(i)])
    assert [guarded(x, df.asarray(k)).item() for k in (0, 2, 0)] == [10.0, 30.0, 10.0]
    assert len(guarded.graphs) == if_graphs(2)


def test_a_mask_guards_on_its_count():
    @df.function
    def chosen(x):
        return df.sum(x[x > 0] * 2)

    for case in ([1.0, -1.0, 2.0], [-1.0, 3.0, 4.0], [1.0, 2.0, 3.0], [-1.0, -1.0, -1.0]):
        assert chosen(df.asarray(case)).item() == 2 * sum(k for k in case if k > 0)
    assert len(chosen.graphs) == if_graphs(3)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (7, "index 7 is out of bounds for axis 0 with extent 3"),
        ((0, -5), "index -5 is out of bounds for axis 1 with extent 4"),
        ((0, np.array([1, 4])), "index 4 is out of bounds for axis 1 with extent 4"),
    ],
)
def test_r17_an_index_out_of_bounds_is_the_same_error_in_both_modes(index, words):
    for read in (lambda x: x[index], df.function(lambda x: x[index])):
        with pytest.raises(errors.IndexError, match=re.escape(words)) as caught:
            read(df.ones((3, 4)))
        assert isinstance(caught.value, IndexError)


def test_r17_an_index_that_leaves_its_axis_in_a_later_call_is_eagers_error():
    read = df.function(lambda x, i: x[i] * 2)
    x = df.asarray([1.0, 2.0])
    assert read(x, df.asarray([0, 1])).tolist() == [2.0, 4.0]
    with pytest.raises(
        errors.IndexError, match="index 5 is out of bounds for axis 0 with extent 2"
    ):
        read(x, df.asarray([0, 5]))
    assert read(x, df.asarray([1, 1])).tolist() == [4.0, 4.0]


LOOKUPS = {
    "rows": lambda x, i: x[i],
    "a row": lambda x, i: x[i[1]],
    "columns": lambda x, i: x.T[1, i],
    "take": lambda x, i: df.take(x, i, axis=0),
    "along": lambda x, i: df.take_along_axis(x, df.broadcast_to(i[:, None], (2, 4)), axis=0),
    "set": lambda x, i: x.at[i].set(1.0),
    "add": lambda x, i: x.at[i].add(1.0)[0],
    "embedding": lambda x, i: df.nn.functional.embedding(i, x),
    "labels": lambda x, i: df.nn.functional.cross_entropy(x[:2, :3], i, reduction="none")[0],
    "scan": lambda x, i: df.scan(lambda c, k: (c + x[k], c), df.zeros(4), i)[0],
    "vmap": lambda x, i: df.vmap(lambda k: x[k])(i),
    "a part": lambda x, i: df.tanh(x[i] * 2.0)[0],
    "a part of a part": lambda x, i: df.flip(x[i], axis=0)[1:][0] + 1.0,
    "rows of rows": lambda x, i: x[i][df.asarray([0, 0])],
    "none": lambda x, i: x[i][:0].sum(),
    "their number": lambda x, i: x * float(x[i].shape[0]),
    "dropped": lambda x, i: (x[i], x)[1],
    "hidden": lambda x, i: df.where(x[:2] > 100.0, x[i], 0.0),
    "for nothing": lambda x, i: x[i].sum() * 0.0,
    "of a kind of way": lambda x, i: (x[i] if x.sum() > 0.0 else x)[0],
}


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("name", LOOKUPS)
def test_r17_what_is_looked_up_out_of_bounds_is_an_error_whatever_becomes_of_it(name, watched):
    def looked_up(x, i):
        if not watched:
            return LOOKUPS[name](x, i)
        with df.GradientTape() as tape:
            tape.watch(x)
            y = LOOKUPS[name](x, i)
        return y, tape.gradient(y, x, unconnected_gradients="zero")

    x, f = df.asarray(np.arange(12.0, dtype="float32").reshape(3, 4)), df.function(looked_up)
    for indices in ([0, 2], [-1, 1], [0, 3], [1, 0], [-4, 1 << 40], [2, -3]):
        texts = []
        for call in (looked_up, f, df.function(looked_up)):
            try:
                texts.append(repr(df.tree.tree_map(df.Tensor.tolist, call(x, df.asarray(indices)))))
            except errors.IndexError as error:
                texts.append(str(error).splitlines()[0])
        assert texts[0] == texts[1] == texts[2]
        wrong = indices[1] > 2 or (name == "labels" and min(indices) < 0)
        assert ("out of bounds" in texts[0]) == wrong
    assert f.from_graph >= if_graphs(1)


def test_slice_bounds_may_be_tensors():
    x = df.arange(5)
    assert x[df.asarray(1) : df.asarray(4)].tolist() == [1, 2, 3]


def test_rows_of_a_tensor_are_iterated():
    assert [row.tolist() for row in df.asarray([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]


def test_adding_up_is_in_the_order_of_the_updates():
    v = np.float32([1e8, 1.0, -1e8, 1.0])
    y = df.zeros(1).at[[0, 0, 0, 0]].add(v)
    assert y.item() == np.add.reduce(v[:1]) + v[1] + v[2] + v[3]


@pytest.mark.parametrize(
    ("mode", "shape"),
    [
        ("eager", (3,)),
        ("eager", (3, 2)),
        ("eager", (3, 0)),
        ("compiled", (3,)),
        ("compiled", (3, 2)),
    ],
    ids=str,
)
def test_nothing_is_set_outside_of_an_axis(mode, shape):
    changed = in_mode(mode, lambda x, i: x.at[i].set(1))
    x = df.zeros(shape)
    for _ in range(2):
        assert changed(x, df.asarray([0, -3])).numpy().sum() == np.zeros(shape)[0].size
        for wrong in (3, -4):
            with pytest.raises(df.errors.IndexError, match=f"index {wrong} is out of bounds"):
                changed(x, df.asarray([1, wrong]))
    assert not x.numpy().any()
