"""Each of NumPy's functions that is listed as supported does on tensors what it does on arrays."""

from __future__ import annotations

import operator
import warnings

import numpy as np
import pytest

import dualflow as df
from dualflow.core import doors
from dualflow.core.numpy_protocol import supported

X = np.random.default_rng(0).uniform(0.2, 0.9, (3, 4)).astype(np.float32)
SQUARE = (X[:, :3] @ X[:, :3].T + np.eye(3)).astype(np.float32)
INTS = np.array([[5, 1, 4], [2, 3, 6]])
BOOLS = INTS > 2
GAPS = np.where(X > 0.5, np.nan, X).astype(np.float32)
EDGES = np.array([1.0, np.nan, np.inf, -np.inf], np.float32)
Z = (X + 1j * X[::-1]).astype(np.complex64)
HALF = np.array([1.0, 2.0, 3.0], np.float32)

TWO = (
    "add subtract multiply divide true_divide power pow float_power maximum minimum fmax fmin "
    "hypot arctan2 atan2 copysign nextafter logaddexp mod remainder floor_divide equal not_equal "
    "heaviside fmod less less_equal greater greater_equal isclose allclose array_equal inner vdot "
    "kron isin"
).split()
BITS = "bitwise_and bitwise_or bitwise_xor left_shift right_shift bitwise_left_shift".split()
BITS += ["bitwise_right_shift"]
OF_INTS = (
    "invert bitwise_not bitwise_invert unique unique_values unique_counts unique_inverse".split()
)
OF_INTS += ["unique_all", "nonzero", "flatnonzero", "argwhere"]
LISTS = "concatenate concat stack vstack hstack dstack column_stack".split()
SQUARES = [f"linalg.{n}" for n in "cholesky det eig eigh eigvals eigvalsh inv slogdet".split()]
OF_COMPLEX = ["real", "imag", "conj", "conjugate", "angle", "fft.irfft", "fft.hfft", "fft.irfftn"]
OF_COMPLEX += ["fft.irfft2", "fft.ifft", "fft.ifftn", "fft.ifft2"]
# Arguments of the functions that take something else than one array.
ARGUMENTS = {
    **dict.fromkeys(TWO, (X, X[::-1].copy())),
    **dict.fromkeys(BITS, (INTS, INTS % 3)),
    **dict.fromkeys(OF_INTS, (INTS,)),
    **dict.fromkeys(LISTS, ([X, X],)),
    **dict.fromkeys(SQUARES, (SQUARE,)),
    **dict.fromkeys(OF_COMPLEX, (Z,)),
    **dict.fromkeys(["logical_and", "logical_or", "logical_xor"], (BOOLS, ~BOOLS)),
    **dict.fromkeys(["all", "any", "logical_not"], (BOOLS,)),
    **dict.fromkeys(["nansum", "nanmean", "nanmax", "nanmin", "nanprod", "nan_to_num"], (GAPS,)),
    **dict.fromkeys(["isnan", "isfinite", "isinf", "isposinf", "isneginf"], (EDGES,)),
    **dict.fromkeys(["arccosh", "acosh"], (X + 1,)),
    **dict.fromkeys(["expand_dims", "unstack", "cumulative_sum", "cumulative_prod"], (HALF,)),
    **dict.fromkeys(["matmul", "linalg.matmul", "dot"], (X, X.T.copy())),
    **dict.fromkeys(["outer", "linalg.outer"], (HALF, HALF)),
    **dict.fromkeys(["cross", "linalg.cross"], (HALF, HALF[::-1].copy())),
    **dict.fromkeys(["vecdot", "linalg.vecdot"], (X, X)),
    "tensordot": (X, X, ((1,), (1,))),
    "linalg.tensordot": (X, X),
    **dict.fromkeys(["split", "array_split", "vsplit"], (X, 3)),
    **dict.fromkeys(["permute_dims", "transpose"], (X, (1, 0))),
    **dict.fromkeys(["fft.fft", "fft.rfft", "fft.ihfft"], (X, 3)),
    "expand_dims": (X, 1),
    "squeeze": (X[None],),
    "hsplit": (X, 2),
    "append": (X, X),
    "average": (X, 0, X),
    "astype": (X, np.float64),
    "bincount": (INTS.ravel(),),
    "digitize": (X, HALF / 4),
    "dsplit": (X.reshape(3, 2, 2), 2),
    "extract": (X > 0.5, X),
    "interp": (X, HALF / 4, HALF**2),
    "linalg.multi_dot": ([SQUARE, SQUARE, X],),
    **dict.fromkeys(["quantile", "nanquantile"], (X, 0.3)),
    **dict.fromkeys(["percentile", "nanpercentile"], (X, [30, 70.0])),
    "block": ([[X, X[::-1]], [X[::-1], X]],),
    "compress": ([True, False, True], X, 0),
    "rollaxis": (X, 1),
    "select": ([X > 0.7, X > 0.4], [X, -X], 0.5),
    "broadcast_arrays": (X, X[0]),
    "broadcast_to": (X, (2, 3, 4)),
    "clip": (X, 0.3, 0.6),
    "divmod": (X, 0.25),
    "einsum": ("ij,kj->ik", X, X),
    "full_like": (X, 2.0),
    "linalg.matrix_power": (SQUARE, 3),
    "linalg.lstsq": (X.T, X[0]),
    "linalg.solve": (SQUARE, X),
    "linspace": (np.float32(0), np.float32(1), 5),
    "matvec": (X, X[0]),
    "meshgrid": (HALF, HALF),
    "moveaxis": (X, 0, 1),
    "pad": (X, 1),
    **dict.fromkeys(["convolve", "correlate"], (X[0], HALF)),
    "polyval": (HALF, X),
    "repeat": (X, 2),
    "reshape": (X, (2, 6)),
    "roll": (X, 1),
    "searchsorted": (HALF, X * 3),
    "swapaxes": (X, 0, 1),
    "take": (X, INTS[0] % 3, 0),
    "take_along_axis": (X, INTS.T % 4, 1),
    "tile": (X, 2),
    "vecmat": (X[:, 0].copy(), X),
    "where": (X > 0.5, X, 0.0),
}


def function_of(name):
    return operator.attrgetter(name)(np)


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    monkeypatch.setattr(doors, "_told", {"before"})


def test_there_are_many():
    assert len(supported()) >= 240
    assert set(ARGUMENTS) <= set(supported())


@pytest.mark.parametrize("name", supported())
def test_a_function_of_numpys_is_ours(name):
    function, arguments = function_of(name), ARGUMENTS.get(name, (X,))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what goes away in NumPy is still ours
        wanted = df.tree.flatten(function(*arguments))[0]

    def call(*tensors):
        rest = iter(tensors)
        return function(
            *df.tree.tree_map(lambda x: next(rest) if isinstance(x, np.ndarray) else x, arguments)
        )

    arrays = [x for x in df.tree.flatten(arguments)[0] if isinstance(x, np.ndarray)]
    tensors = list(map(df.asarray, arrays))
    found = df.tree.flatten(call(*tensors))[0]
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.shape(ours) == np.shape(theirs)
        if name == "empty_like":  # which holds anything
            continue
        theirs = np.sort(theirs) if name == "unique_values" else theirs  # in any order
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=3e-5, atol=3e-6)


NAN, INF = np.nan, np.inf
ROW = np.array([NAN, 1, NAN, 1, -0.0, 0, INF, -INF], np.float32)
ROWS = np.array([[NAN, 1, 3], [NAN, NAN, NAN], [2, 0, 7]], np.float32)
SMALL = INTS.astype(np.uint8)
DEEP = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
# Calls on what is not like most: NaN, infinities, whole numbers, bools, no elements, many axes.
ODD = {
    "add.reduce, initial": lambda x=DEEP: np.add.reduce(x, initial=2.0),
    "add.reduce, where": lambda x=DEEP: np.add.reduce(x, axis=1, where=x > 3),
    "add, the usual words": lambda x=DEEP: np.add(x, x, casting="same_kind", order="K", where=True),
    "mean, dtype": lambda x=DEEP: np.mean(x, axis=1, dtype=np.float64, keepdims=True),
    "mean, positional": lambda x=DEEP: np.mean(x, 1, np.float64),
    "reshape, order": lambda x=DEEP: np.reshape(x, (6, 4), "C"),
    "ravel, order": lambda x=DEEP: np.ravel(x, order="C"),
    "vecdot, axis": lambda x=DEEP: np.vecdot(x, x, axis=1),
    "full_like of a row": lambda x=DEEP: np.full_like(x, x[0, 0]),
    "einsum, lists": lambda x=DEEP: np.einsum(x, [0, 1, 2], x, [0, 1, 3], [3, 2]),
    "einsum, lists and dots": lambda x=DEEP: np.einsum(x, [..., 1], [1, ...]),
    "digitize, falling bins": lambda x=DEEP: np.digitize(x, x[0, 0, ::-1] * 5 + 1),
    "digitize, falling, right": lambda x=DEEP: np.digitize(x, x[0, 0, ::-1] * 5, right=True),
    "block of rows": lambda x=DEEP: np.block([x[0, 0], x[0, 1, :2], 1.0]),
    "block of many axes": lambda x=DEEP: np.block([[x, x[:, :, :1]], [x[:, 1:], x[:, 1:, 1:2]]]),
    "compress, flat": lambda x=DEEP: np.compress([False, True, True], x),
    "rollaxis, far": lambda x=DEEP: np.rollaxis(x, 0, 3),
    "rollaxis, negative": lambda x=DEEP: np.rollaxis(x, -1, -2),
    "select, default": lambda x=DEEP: np.select([x > 9, x > 3], [x, x * 2]),
    "diagonal, 3-D": lambda x=DEEP: np.diagonal(x),
    "diagonal, axes": lambda x=DEEP: np.diagonal(x, offset=1, axis1=1, axis2=2),
    "linalg.diagonal, 3-D": lambda x=DEEP: np.linalg.diagonal(x),
    "trace, 3-D": lambda x=DEEP: np.trace(x),
    "diag": lambda x=ROW: np.diag(x, 1),
    "diag, bools": lambda x=BOOLS[0]: np.diag(x),
    "fmax": lambda x=ROW: (np.fmax(x, 1), np.fmin(x, x[::-1])),
    "median": lambda x=ROWS: (np.median(x), np.median(x, axis=1, keepdims=True)),
    "median, axes": lambda x=DEEP: np.median(x, axis=(0, 2)),
    "median of nothing": lambda x=DEEP[:0]: np.median(x),
    "nanmedian": lambda x=ROWS: (np.nanmedian(x), np.nanmedian(x, axis=1)),
    "quantile": lambda x=DEEP: np.quantile(x, [0.1, 0.5], axis=(0, -1), keepdims=True),
    "nanquantile": lambda x=ROWS: np.nanquantile(x, [[0.1], [0.5]], axis=0),
    "nanmax": lambda x=ROWS: (np.nanmax(x, axis=1), np.nanmin(x, axis=0, keepdims=True)),
    "nanvar": lambda x=ROWS: (np.nanvar(x, axis=1, ddof=1), np.nanstd(x), np.nanstd(x, axis=0)),
    "nancumsum": lambda x=ROWS: (np.nancumsum(x), np.nancumprod(x, axis=1)),
    "nansum, whole": lambda x=INTS: (np.nansum(x), np.nanmax(x, axis=0), np.nanmean(x)),
    "sum, where": lambda x=DEEP: (np.sum(x, where=x > 3, initial=2), np.mean(x, 1, where=x > 3)),
    "max, where": lambda x=DEEP: np.max(x, axis=0, where=x < 3, initial=-1.0),
    "any, where": lambda x=DEEP: (np.any(x, where=x < 1), np.all(x, axis=0, where=x > 1)),
    "ptp": lambda x=DEEP: np.ptp(x, axis=1, keepdims=True),
    "average": lambda x=X: np.average(x, axis=1, weights=X[0], returned=True),
    "isneginf": lambda x=SMALL: (np.isneginf(x), np.nan_to_num(x)),
    "nan_to_num": lambda x=ROW: np.nan_to_num(x, nan=1, posinf=5),
    "float_power": lambda x=INTS: np.float_power(x, -1),
    "round": lambda x=INTS * 37: (np.round(x, -1), np.round(x, 2)),
    "unique": lambda x=ROW: np.unique(
        x, return_index=True, return_inverse=True, return_counts=True
    ),
    "unique, each NaN": lambda x=ROW: np.unique(x, equal_nan=False),
    "unique of nothing": lambda x=ROW[:0]: np.unique(x, return_counts=True),
    "where": lambda x=ROW: np.where(x > 0),
    "angle": lambda x=X - 0.5: (np.angle(x), np.angle(x + 1j, deg=True), np.imag(x)),
    "logical": lambda x=ROW: (np.logical_not(x), np.logical_and(x, 1), np.logical_xor(x, 0)),
    "isclose": lambda x=ROW: (
        np.isclose(x, x),
        np.isclose(x, INF),
        np.isclose(x, x, equal_nan=True),
    ),
    "sort of all": lambda x=DEEP[:, ::-1]: (np.sort(x, axis=None), np.argsort(x, None, "stable")),
    "take of all": lambda x=DEEP: (np.take(x, [3, -1]), np.take_along_axis(x, INTS[0], None)),
    "diff": lambda x=DEEP: np.diff(x, axis=1, prepend=0),
    "outer": lambda x=X: np.outer(x, x),
    "einsum": lambda x=X: np.einsum("ij,kj,k", x, x, x[:, 0], optimize=True),
    "pad, folds": lambda x=X: tuple(
        np.pad(x, ((2, 1), (0, 3)), mode) for mode in ("maximum", "minimum", "mean", "median")
    ),
    "pad, ends": lambda x=X: (
        np.pad(x, (2, 3), "linear_ramp", end_values=(4.0, -1.0)),
        np.pad(x, 2, "mean", stat_length=2),
        np.pad(x, ((1, 0), (2, 2)), "maximum", stat_length=((1, 1), (2, 3))),
    ),
    "pad, whole": lambda x=INTS: (
        np.pad(x, 1, "mean"),
        np.pad(x, 1, "median"),
        np.pad(x, 1, "edge"),
    ),
    "gradient": lambda x=X: (
        *np.gradient(x),
        np.gradient(x, 0.5, axis=1),
        np.gradient(x, np.array([0.0, 1.0, 4.0]), axis=0, edge_order=2),
        *np.gradient(x, 2.0, np.array([0.0, 0.5, 2.0, 3.0]), edge_order=2),
    ),
    "gradient, whole": lambda x=INTS: np.gradient(x[0]),
    "convolve": lambda x=X: tuple(
        np.convolve(x[0, :n], x[1, :m], mode)
        for n, m in ((4, 3), (4, 2), (1, 4), (4, 4))
        for mode in ("full", "same", "valid")
    ),
    "correlate": lambda x=Z: tuple(
        np.correlate(x[0, :n], x[1, :m], mode)
        for n, m in ((4, 3), (4, 2), (2, 4), (3, 4), (4, 4))
        for mode in ("full", "same", "valid")
    ),
    "convolve, whole": lambda x=INTS: np.convolve(x[0], x[1]),
    "corrcoef": lambda x=X: (np.corrcoef(x), np.corrcoef(x, rowvar=False), np.corrcoef(x[0])),
    "cov": lambda x=X: (np.cov(x), np.cov(x[0]), np.cov(x, rowvar=False, bias=True)),
    "bincount": lambda x=SMALL[0]: np.bincount(x, weights=np.ones(3), minlength=9),
    "interp": lambda x=X * 4: np.interp(x, [1.0, 2.0], [5.0, 3.0], left=0.0),
    "fmod": lambda x=INTS - 4: (np.fmod(x, 3), np.fmod(x, -3), np.heaviside(x, 0.5)),
    "size": lambda x=DEEP: (np.size(x, 1), np.iscomplexobj(x), np.isreal(x)),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ODD)
def test_odd_arguments_too(name):
    call, x = ODD[name], ODD[name].__defaults__[0]
    wanted = df.tree.flatten(call())[0]
    found = df.tree.flatten(call(df.asarray(x)))[0]
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        ours = ours.numpy() if isinstance(ours, df.Tensor) else np.asarray(ours)
        assert ours.shape == np.shape(theirs)
        assert ours.dtype.kind == np.asarray(theirs).dtype.kind
        np.testing.assert_allclose(ours, theirs, rtol=3e-5, atol=3e-6)


def test_statistics_are_recorded_and_differentiated():
    def f(x):
        return np.nanquantile(x, [0.2, 0.6], axis=1).sum() + np.median(x) + np.fmax(x, 0.4).sum()

    x = df.asarray(X.astype(np.float64))
    wanted = [f(x).item(), df.grad(f)(x).tolist()]
    assert [df.function(f)(x).item(), df.function(df.grad(f))(x).tolist()] == wanted
    step = 1e-6 * np.eye(X.size)[5].reshape(X.shape)
    slope = (f(x + step) - f(x - step)).item() / 2e-6
    assert wanted[1][1][1] == pytest.approx(slope, abs=1e-6)
