"""The table of scalar instructions: types as declared, special functions against SciPy."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy import special as scipy_special

from jit.errors import DTypeError
from jit.forms import special
from jit.forms.combine import combiners
from jit.forms.scalar import accumulator, evaluate, result_dtype, scalars
from jit.types import dtypes, kind

SAMPLES = {name: np.array([0, 1, 1]).astype(dtype) for name, dtype in dtypes.items()}


@pytest.mark.parametrize("name", scalars)
@pytest.mark.parametrize("dtype", dtypes)
def test_evaluation_gives_the_declared_dtype(name, dtype):
    row = scalars[name]
    if kind(dtypes[dtype]) not in row.kinds:
        return
    operands = [SAMPLES[dtype]] * row.arity
    if name == "where":
        operands[0] = SAMPLES["bool"]
    given = dtypes["complex64"] if row.result == "given" else None
    declared = result_dtype(name, tuple(x.dtype for x in operands), given)
    with np.errstate(all="ignore"):
        result = evaluate(name, *operands, dtype=given)
    assert result.dtype == declared
    assert result.shape == (3,)


def test_kinds_are_enforced_for_every_row():
    for name, row in scalars.items():
        for dtype in dtypes.values():
            operands = [dtype] * row.arity
            if name == "where":
                operands[0] = dtypes["bool"]
            given = dtypes["bool"] if row.result == "given" else None
            if kind(dtype) in row.kinds:
                result_dtype(name, tuple(operands), given)
            else:
                with pytest.raises(DTypeError, match="is not defined"):
                    result_dtype(name, tuple(operands), given)


@pytest.mark.parametrize(
    ("name", "reference", "low", "high"),
    [
        ("erf", mpmath.erf, -6, 6),
        ("erfc", mpmath.erfc, -6, 20),
        ("erfinv", mpmath.erfinv, -0.999, 0.999),
        ("lgamma", mpmath.loggamma, 0.01, 300),
        ("digamma", mpmath.digamma, 0.01, 300),
    ],
)
def test_special_functions(name, reference, low, high):
    """Within 4 units in the last place, or of 1 where the value passes through zero."""
    x = np.linspace(low, high, 201)
    expected = np.array([float(reference(mpmath.mpf(v))) for v in x])
    scale = np.maximum(np.abs(expected), 1) if name.endswith("gamma") else np.abs(expected)
    error = np.abs(getattr(special, name)(x) - expected) / np.spacing(scale)
    assert error.max() <= 4


def test_special_values():
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0])
    nan, inf = np.nan, np.inf
    np.testing.assert_array_equal(special.lgamma(x), [nan, inf, inf, inf, inf, inf])
    np.testing.assert_array_equal(special.digamma(x), [nan, inf, nan, -inf, inf, nan])
    large = np.array([2.5e305, 2.6e305, 1.7e308, -1.7e308])
    np.testing.assert_array_equal(np.isinf(special.lgamma(large)), [False, True, True, True])
    y = np.array([nan, 1.0, -1.0, 0.0, -0.0, 1.5])
    np.testing.assert_array_equal(special.erfinv(y), [nan, inf, -inf, 0.0, -0.0, nan])
    assert np.signbit(special.erfinv(y)[4])
    near = np.array([-0.3, -1.7, -20.5, 1e-8, 0.3])
    np.testing.assert_allclose(special.digamma(near), scipy_special.digamma(near), rtol=1e-12)
    tail = np.array([1 - 1e-15, -1 + 1e-12, 1e-300, 1e-9])
    np.testing.assert_allclose(special.erfinv(tail), scipy_special.erfinv(tail), rtol=1e-14)


def test_special_functions_keep_dtype_and_round_once():
    for name in ("float16", "bfloat16", "float32"):
        x = SAMPLES[name]
        result = special.erf(x)
        assert result.dtype == x.dtype
        exact = special.erf(x.astype(np.float64)).astype(x.dtype)
        np.testing.assert_array_equal(result, exact)


def test_accumulators():
    assert accumulator(dtypes["float16"]) == accumulator(dtypes["bfloat16"]) == dtypes["float32"]
    assert all(accumulator(dtypes[d]) == dtypes[d] for d in ("float32", "float64", "int8", "bool"))


def test_complex_numbers_become_real_ones_by_their_parts_only():
    with pytest.raises(DTypeError, match="take the real part"):
        result_dtype("astype", (dtypes["complex64"],), dtypes["float32"])


@pytest.mark.parametrize("name", combiners)
def test_combiners_are_associative_and_know_their_identity(name):
    combiner = combiners[name]
    rng = np.random.default_rng(0)
    pick = rng.integers(-3, 4, size=(3, 50))
    first = pick > 0 if name in ("any", "all") else pick.astype(np.float64)
    if name in ("argmax", "argmin"):
        parts = [first, np.arange(150).reshape(3, 50)]
    elif name == "welford":
        parts = [first, np.abs(first), np.full((3, 50), 2.0)]
    else:
        parts = [first, np.ones((3, 50))][: combiner.arity]
    with np.errstate(all="ignore"):
        merge = lambda a, b: combiner.merge(evaluate, a, b)  # noqa: E731
        a, b, c = ([p[k] for p in parts] for k in range(3))
        left, right = merge(merge(a, b), c), merge(a, merge(b, c))
        start = combiner.of_none(parts)
        both = [merge(start, a), merge(a, start), merge(start, start)]
    for x, y in zip(left, right, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)
    for result, expected in zip(both, (a, a, start), strict=True):
        for x, y in zip(result, expected, strict=True):
            np.testing.assert_array_equal(x, y)
