"""Each of NumPy's functions that is listed as supported does on tensors what it does on arrays."""

from __future__ import annotations

import operator

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
    "less less_equal greater greater_equal isclose allclose array_equal inner vdot kron isin"
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
    with np.errstate(all="ignore"):
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
