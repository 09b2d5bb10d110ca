"""Large arrays are computed by kernels, with the bits that NumPy gives."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow import errors
from dualflow.core import doors, kernels, large, op
from dualflow.core.context import using
from dualflow.ops import choice
from jit.config import configure

F = df.nn.functional
SIZE = 24


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """Arrays of a few elements are large."""
    monkeypatch.setattr(large, "LARGE", SIZE)
    monkeypatch.setattr(doors, "LARGE", SIZE)
    monkeypatch.setattr(choice, "LARGE", SIZE)
    monkeypatch.setattr(large, "rows", {})
    monkeypatch.setattr(large, "variants", {})
    with configure(target="cpu"):
        yield


def by_kernels(monkeypatch, function):
    """What a function gives, and which ops kernels computed in it that NumPy computes alike."""
    seen, ask = [], large.computed_at_large

    def watched(op, arrays, attrs):
        found = ask(op, arrays, attrs)
        if found is not None:
            seen.append(op.name)
        return found

    with monkeypatch.context() as patch:
        for module in (doors, large, op, choice):
            patch.setattr(module, "computed_at_large", watched)
        return function(), seen


def numbers(dtype, seed=0):
    """Numbers of a kind, with the extremes of it in front."""
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        x = generator.normal(size=2 * SIZE) * 3
        x[:8] = generator.permutation([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 3e38, -1.0])
        return x.astype(dtype)
    x = generator.integers(-9, 9, 2 * SIZE)
    x[:2] = np.iinfo(dtype).max, np.iinfo(dtype).min
    return x.astype(dtype)


TWO = "add subtract multiply divide maximum minimum less equal copysign remainder floor_divide"
ONE = "negative abs sqrt square sign floor ceil round trunc isnan reciprocal"


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_bits_are_those_of_numpy(monkeypatch, dtype):
    x, y = (df.asarray(numbers(dtype, seed)) for seed in (1, 2))
    row = y[:SIZE].reshape((1, SIZE))
    wide = x.reshape((2, SIZE))
    cases = [(name, (x,)) for name in ONE.split()]
    for name in TWO.split():
        cases += [(name, (x, y)), (name, (wide, row)), (name, (x, 2)), (name, (3, x))]

    def run():
        found = []
        for name, args in cases:
            try:
                found.append(getattr(df, name)(*args).numpy())
            except errors.DTypeError:
                found.append(None)
        return found

    ours, seen = by_kernels(monkeypatch, run)
    assert len(set(seen)) > 10
    monkeypatch.setattr(doors, "LARGE", 1 << 40)
    monkeypatch.setattr(large, "LARGE", 1 << 40)
    kernels.forget()
    theirs, seen = by_kernels(monkeypatch, run)
    assert not seen
    for (name, _), one, other in zip(cases, ours, theirs, strict=True):
        if one is None:
            assert other is None
            continue
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        same = (one == other) & (np.signbit(one) == np.signbit(other))
        assert (same | (np.isnan(one) & np.isnan(other))).all(), name


OTHERS = {
    "where": lambda x, i: df.where(x > 0, x, 7),
    "scan": lambda x, i: df.cumulative_sum(x),
    "scatter": lambda x, i: x.at[i].add(x),
    "put": lambda x, i: x.at[2 * SIZE - 1 - df.arange(2 * SIZE)].set(x),
    "gather": lambda x, i: x[i],
    "take": lambda x, i: df.take(x.reshape((2, SIZE)), i % SIZE, axis=1),
    "search": lambda x, i: df.searchsorted(df.sort(x[:13]), x, side="right"),
    "product": lambda x, i: x.reshape((2, SIZE)) @ x.reshape((SIZE, 2)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_so_are_those_of_what_looks_for_its_elements_and_of_running_folds(monkeypatch, name):
    x = df.asarray(numbers("int32"))
    at = df.asarray(np.random.default_rng(3).integers(-2 * SIZE, 2 * SIZE, 2 * SIZE))
    ours, seen = by_kernels(monkeypatch, lambda: OTHERS[name](x, at))
    assert seen
    for module in (doors, large, choice):
        monkeypatch.setattr(module, "LARGE", 1 << 40)
    kernels.forget()
    theirs, seen = by_kernels(monkeypatch, lambda: OTHERS[name](x, at))
    assert not seen
    assert (ours.dtype, ours.tolist()) == (theirs.dtype, theirs.tolist())


@pytest.mark.parametrize("outside", [2 * SIZE, -2 * SIZE - 1])
def test_places_outside_are_refused_as_ever(outside):
    x = df.asarray(numbers("int32"))
    at = df.asarray(np.where(np.arange(2 * SIZE) == 5, outside, 0))
    for _ in range(2):
        with pytest.raises(errors.IndexError, match=f"index {outside} is out of bounds"):
            x[at]
        with pytest.raises(errors.IndexError, match=f"index {outside} is out of bounds"):
            x.at[at].add(x)


def test_attrs_that_may_be_any_number_make_no_kernels(monkeypatch):
    x = df.asarray(numbers("int32"))
    _, seen = by_kernels(monkeypatch, lambda: [df.one_hot(x, 2 * large.FEW + k) for k in range(3)])
    assert "one_hot" not in seen


def test_what_has_gaps_or_is_small_or_only_moves_is_left_to_numpy(monkeypatch):
    x = df.asarray(numbers("float32"))
    small, whole = df.ones(SIZE - 1), df.asarray(numbers("int32"))

    def run():
        return (
            small + small,
            x[::2] + 1.0,
            x.reshape((2, SIZE)).T + 1.0,
            df.broadcast_to(x, (2, 2 * SIZE)),
            df.flip(x),
            df.concat([x, x]),
            df.argmax(whole),
            df.any(whole),  # its rows are short
        )

    _, seen = by_kernels(monkeypatch, run)
    assert not seen


def test_gradients_and_recorded_calls_stay_the_same(mode):
    x, w = df.asarray(np.linspace(-2, 2, 4 * SIZE, dtype="f")), df.Variable(np.float32(1.5))

    def slope():
        with df.GradientTape() as tape:
            loss = (F.relu(x * w) + x / 3.0).sum()
        return loss, tape.gradient(loss, w)

    f = df.function(mode=mode)(slope)
    assert [t.item() for t in f()] == [t.item() for t in f()] == [t.item() for t in slope()]


def test_shapes_that_do_not_meet_are_refused():
    for _ in range(2):
        with pytest.raises(errors.ShapeError, match="add"):
            df.ones(SIZE) + df.ones(SIZE + 1)
        with pytest.raises(
            errors.ShapeError, match=r"broadcast_to: \(4, 6\) does not stretch to \(6"
        ):
            df.broadcast_to(df.ones((4, 6)), (6,))


def test_nothing_is_compiled_for_what_runs_once(monkeypatch):
    x = df.asarray(numbers("float32"))
    with using(once=True):
        _, seen = by_kernels(monkeypatch, lambda: x + x)
    assert not seen


def test_without_kernels_numpy_computes(monkeypatch):
    x = df.asarray(numbers("float32"))
    with configure(target="interpreter"):
        _, seen = by_kernels(monkeypatch, lambda: x + x)
    assert not seen
