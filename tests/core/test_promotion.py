"""Promotion: the table of all pairs of dtypes and weak scalars, the same in both modes."""

from __future__ import annotations

import enum
import itertools
import warnings

import ml_dtypes
import numpy as np
import pytest

import dualflow as df
from dualflow.core import doors
from dualflow.errors import DTypeError, PromotionWarning
from jit.types import dtypes, kind, promote, weak_dtype

NAMES = list(dtypes)
SCALARS = {"True": True, "3": 3, "1.5": 1.5, "1j": 1j}
KINDS = ("bool", "integer", "floating", "complex")


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    """The one warning about float64 is not what these tests are about."""
    monkeypatch.setattr(doors, "_told", {"before"})


def one(name):
    return df.asarray(np.ones((2,), dtypes[name]))


def expected(a, b):
    """The rule, written another way: by NumPy's table within a kind, by rank between kinds."""
    ranks = [KINDS.index(kind(dtypes[n])) for n in (a, b)]
    if ranks[0] == ranks[1] or set(ranks) == {2, 3}:
        if {a, b} == {"bfloat16", "float16"}:
            return "float32"
        if "bfloat16" in (a, b) and set(ranks) == {2, 3}:
            return a if ranks[0] == 3 else b
        met = np.promote_types(dtypes[a], dtypes[b]) if "bfloat16" not in (a, b) else None
        if met is None:
            return a if b == "bfloat16" else b
        return None if kind(met) != KINDS[max(ranks)] else met.name
    return a if ranks[0] > ranks[1] else b


@pytest.mark.parametrize("a", NAMES)
def test_every_pair(a, mode):
    f = (
        (lambda x, y: df.equal(x, y))
        if mode == "eager"
        else df.function(df.equal, strict=True, max_traces=100)
    )
    for b in NAMES:
        wanted = expected(a, b)
        if wanted is None:
            with pytest.raises(DTypeError, match="no common integer dtype"):
                f(one(a), one(b))
            with pytest.raises(DTypeError, match="no common integer dtype"):
                promote(dtypes[a], dtypes[b])
            continue
        assert promote(dtypes[a], dtypes[b]).name == wanted
        assert f(one(a), one(b)).tolist() == [True, True]
        if "bool" not in (a, b):
            add = df.add if mode == "eager" else df.function(df.add, strict=True)
            for _ in range(2):
                assert add(one(a), one(b)).dtype.name == wanted, (a, b)


def test_promotion_is_commutative_and_never_narrows_within_a_kind():
    for a, b in itertools.product(NAMES, NAMES):
        if expected(a, b) is None:
            continue
        met = promote(dtypes[a], dtypes[b])
        assert met == promote(dtypes[b], dtypes[a])
        for name in (a, b):
            if kind(dtypes[name]) == kind(met):
                assert (
                    ml_dtypes.finfo(met).bits >= ml_dtypes.finfo(dtypes[name]).bits
                    if kind(met)
                    in (
                        "floating",
                        "complex",
                    )
                    else met.itemsize >= dtypes[name].itemsize
                )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scalar", SCALARS)
def test_python_scalars_are_weak(name, scalar, mode):
    value = SCALARS[scalar]
    rank = KINDS.index(kind(dtypes[name]))
    own = {bool: 0, int: 1, float: 2, complex: 3}[type(value)]
    wanted = {
        0: name,
        1: "int64",
        2: "float32",
        3: "complex128" if name == "float64" else "complex64",
    }[own if own > rank else 0]
    assert weak_dtype(value, dtypes[name]).name == wanted
    if name == "bool" and scalar == "True":
        with pytest.raises(DTypeError, match="add: does not take bool"):
            one(name) + value
        return
    f = (
        (lambda x: (x + value, value + x))
        if mode == "eager"
        else df.function(lambda x: (x + value, value + x))
    )
    for _ in range(2):
        for result in f(one(name)):
            assert result.dtype.name == wanted
            assert result.tolist() == [1 + value] * 2


class Power(enum.IntEnum):
    SQUARE = 2


class Rate(float):
    pass


@pytest.mark.parametrize("value", [Power.SQUARE, Rate(0.5)], ids=["IntEnum", "float"])
@pytest.mark.parametrize("name", ["int32", "float16", "float32", "float64"])
def test_scalars_of_classes_that_inherit_from_python_s_are_as_weak(name, value, mode):
    def all_of(x, k):
        return x + k, k * x, x / k, df.maximum(x, k), df.where(x > k, x, k), x**k, x == k

    f = all_of if mode == "eager" else df.function(all_of)
    for _ in range(2):
        for found, wanted in zip(f(one(name), value), all_of(one(name), +value), strict=True):
            assert (found.dtype, found.tolist()) == (wanted.dtype, wanted.tolist())


def test_scalars_alone():
    assert df.asarray(1.0).dtype == df.float32
    assert df.asarray(1).dtype == df.int64
    assert df.asarray(True).dtype == df.dtypes["bool"] if hasattr(df, "dtypes") else np.dtype(bool)
    assert df.asarray(1j).dtype == df.complex64
    assert df.add(1, 2.0).dtype == df.float32


def test_numpy_scalars_are_tensors_of_their_dtype():
    assert (df.asarray([1.0]) + np.float32(2)).dtype == df.float32
    assert (df.asarray([1], dtype="int32") + np.int64(2)).dtype == df.int64
    assert (df.asarray([1.0]) + np.float64(2)).dtype in (df.float32, df.float64)


@pytest.mark.parametrize(
    ("name", "value"), [("int8", 200), ("uint8", -1), ("int64", 2**63), ("uint64", -1)]
)
def test_a_python_int_that_does_not_fit(name, value, mode):
    f = (lambda x: x + value) if mode == "eager" else df.function(lambda x: x + value)
    with pytest.raises(DTypeError, match=f"add: {value} does not fit {name}"):
        f(one(name))


def test_division_of_integers_is_float32():
    assert (df.asarray([1, 2]) / df.asarray([2, 2])).dtype == df.float32
    assert (df.asarray([1, 2]) / 2).tolist() == [0.5, 1.0]


def test_float64_meeting_float32_is_told_once(monkeypatch):
    monkeypatch.setattr(doors, "_told", set())
    wide, narrow = df.asarray(np.ones(2)), df.asarray([1.0, 2.0])
    with pytest.warns(
        PromotionWarning, match=r"add: float64 and float32 met.*dtype='float32'"
    ) as caught:
        assert (wide + narrow).dtype == df.float64
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wide * narrow


def test_python_floats_too_large_become_infinite_in_both_modes(mode):
    f = (lambda x: x * 1e300) if mode == "eager" else df.function(lambda x: x * 1e300)
    for _ in range(2):
        assert f(df.asarray([1.0])).tolist() == [np.inf]
