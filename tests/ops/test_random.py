"""Random numbers: known answers of Philox, distributions, state, and both modes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

import dualflow as df
from dualflow.ops import distributions
from dualflow.ops import philox as philox_module
from dualflow.ops.philox import _random_bits, philox, random_bits
from dualflow.ops.random import _quantile, state_of
from dualflow.ops.rejection import first_of
from jit.dims import symbol
from jit.forms.reference import Reference
from tests.modes import in_mode

SIZE = 20_000
SAMPLERS = {
    "uniform": (lambda **k: df.random.uniform(SIZE, -1.0, 3.0, **k), stats.uniform(-1, 4)),
    "normal": (lambda **k: df.random.normal(SIZE, 2.0, 0.5, **k), stats.norm(2, 0.5)),
    "randn": (lambda **k: df.randn(SIZE // 2, 2, **k), stats.norm()),
    "gumbel": (lambda **k: df.random.gumbel(SIZE, 2.0, 0.5, **k), stats.gumbel_r(2, 0.5)),
    "exponential": (lambda **k: df.random.exponential(SIZE, 3.0, **k), stats.expon(scale=3)),
    "laplace": (lambda **k: df.random.laplace(SIZE, 2.0, 0.5, **k), stats.laplace(2, 0.5)),
    "gamma": (lambda **k: df.random.gamma(SIZE, 2.5, 3.0, **k), stats.gamma(2.5, scale=3)),
    "gamma below 1": (lambda **k: df.random.gamma(SIZE, 0.3, **k), stats.gamma(0.3)),
    "beta": (lambda **k: df.random.beta(SIZE, 0.5, 2.0, **k), stats.beta(0.5, 2)),
    "truncated_normal": (
        lambda **k: df.random.truncated_normal(SIZE, 1.0, 2.0, -1.0, 3.0, **k),
        stats.truncnorm(-1, 3, loc=1, scale=2),
    ),
}


def state(key, call):
    return df.asarray(np.array([key, call], np.uint64))


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # from the known answers that come with Random123
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([2**32 - 1] * 4, [2**32 - 1] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_known_answers(counter, key, words):
    assert philox(counter, tuple(key)) == words
    arrays = [np.array([word], np.uint64) for word in counter]
    assert [int(word[0]) for word in philox(arrays, tuple(key))] == words


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_bits_are_words_of_blocks(key, call):
    bits = random_bits(state(key, call), (2, 5)).numpy()
    halves = [call & 0xFFFFFFFF, call >> 32], (key & 0xFFFFFFFF, key >> 32)
    words = [philox([block, 0, *halves[0]], halves[1]) for block in range(3)]
    assert bits.reshape(-1).tolist() == np.array(words).reshape(-1)[:10].tolist()


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 5), (37,), (100, 7)])
def test_bits_do_not_depend_on_shape_or_size(shape):
    long = random_bits(state(3, 8), (70_000,)).numpy()
    bits = random_bits(state(3, 8), shape).numpy()
    assert bits.shape == shape
    assert bits.dtype == np.uint32
    assert np.array_equal(bits.reshape(-1), long[: bits.size])


def test_many_bits_are_those_that_numpy_makes(monkeypatch):
    by_kernel = random_bits(state(3, 8), (41, 1600)).numpy()
    monkeypatch.setattr(philox_module, "MANY", 10**9)
    assert np.array_equal(by_kernel, random_bits(state(3, 8), (41, 1600)).numpy())


def test_many_uniform_numbers_are_the_upper_bits():
    numbers = df.random.uniform((41, 1600), generator=df.random.Generator(3)).numpy()
    words = random_bits(state(3, 0), (41, 1600)).numpy()
    assert np.array_equal(numbers, (words >> 8) * np.float32(2.0**-24))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 5), (37,), (9, 7)])
def test_lowered_bits_are_the_same(shape):
    form = Reference()
    out = _random_bits.lower(form, form.put(state(3, 8).numpy()), shape=shape)
    assert np.array_equal(form.arrays[out], random_bits(state(3, 8), shape).numpy())


def test_lowered_bits_of_a_symbolic_shape():
    n = symbol("n", hint=6)
    form = Reference({"n": 6})
    out = _random_bits.lower(form, form.put(state(3, 8).numpy()), shape=(n, 5))
    assert np.array_equal(form.arrays[out], random_bits(state(3, 8), (6, 5)).numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_distribution(name, dtype):
    sample, distribution = SAMPLERS[name]
    x = sample(dtype=dtype)
    assert x.dtype == np.dtype(dtype)
    found = stats.kstest(x.numpy().astype(float).reshape(-1), distribution.cdf)
    bound = 0.02 if dtype == "float16" else 1.95 / math.sqrt(SIZE)  # one in a thousand
    assert found.statistic < bound


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_uniform_numbers_stay_below_one(dtype):
    x = df.random.uniform(SIZE, dtype=dtype).numpy().astype(float)
    assert x.min() >= 0
    assert x.max() < 1


def test_neighbours_are_independent():
    x = df.random.normal(SIZE).numpy()
    for lag in (1, 2, 3, 4):
        assert abs(np.corrcoef(x[:-lag], x[lag:])[0, 1]) < 4 / math.sqrt(SIZE)


def test_integers_are_equally_likely():
    x = df.random.randint(SIZE, -3, 7).numpy()
    assert x.dtype == np.int64
    assert stats.chisquare(np.bincount(x + 3, minlength=10)).pvalue > 1e-3
    assert df.random.randint((2, 3), 0, 200, dtype="uint8").dtype == df.uint8


@pytest.mark.parametrize(("dtype", "low"), [("int64", -(2**63)), ("uint64", 0)])
def test_integers_of_all_64_bits(dtype, low, mode):
    draw = in_mode(mode, lambda: df.random.randint(500, low, low + 2**64, dtype=dtype))
    for _ in range(3):
        x = draw()
        assert x.dtype == np.dtype(dtype)
        halves = np.count_nonzero(x.numpy() >= low + 2**63)
        assert 180 < halves < 320  # four standard deviations are 45, and it is the same every time


def test_categories_are_as_likely_as_softmax_says():
    logits = np.log([0.1, 0.2, 0.7]) + 5
    x = df.random.categorical(SIZE, logits)
    assert x.dtype == df.int64
    expected = np.array([0.1, 0.2, 0.7]) * SIZE
    assert stats.chisquare(np.bincount(x.numpy(), minlength=3), expected).pvalue > 1e-3
    sure = df.where(df.eye(4) == 1, 0.0, -df.inf)
    assert df.random.categorical(None, sure).tolist() == [0, 1, 2, 3]
    assert df.random.categorical((2, 4), sure, dtype="int8").tolist() == [[0, 1, 2, 3]] * 2
    with pytest.raises(df.errors.ShapeError, match=r"logits \(4, 4\) for \(1,\)"):
        df.random.categorical(1, sure)
    with pytest.raises(df.errors.ShapeError, match=r"categorical: shapes \(4,\) and \(2, 3\)"):
        df.random.categorical((2, 3), sure)


@pytest.mark.parametrize("word", [0, 2**32 - 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_of_gumbel_are_finite(word, dtype, monkeypatch):
    def of_one_kind(generator, shape):
        return df.full(shape, word, dtype="uint32")

    monkeypatch.setattr(distributions, "bits_of", of_one_kind)
    assert np.isfinite(df.random.gumbel(3, dtype=dtype).numpy()).all()


@pytest.mark.parametrize("rate", [0.4, 11.0, 40.0, 1e6])
def test_arrivals_are_as_likely_as_poisson_says(rate):
    x = np.sort(df.random.poisson(SIZE, rate).numpy())
    found = np.unique(x)
    below = np.searchsorted(x, found, side="right") / SIZE
    assert np.abs(below - stats.poisson(rate).cdf(found)).max() < 1.95 / math.sqrt(SIZE)
    assert abs(x.mean() - rate) < 4 * math.sqrt(rate / SIZE)


def test_arrivals_of_rates_in_a_tensor_in_both_modes():
    rates = df.asarray([0.0, 3.0, 11.999, 12.0, 500.0])
    draw = df.function(lambda rates: df.random.poisson((2000, 5), rates, dtype=df.float64))
    df.random.seed(4)
    eager = df.random.poisson((2000, 5), rates, dtype=df.float64)
    assert eager.numpy().mean(0) == pytest.approx(rates.numpy(), rel=0.05)
    for _ in range(2):
        df.random.seed(4)
        assert draw(rates).tolist() == eager.tolist()


@pytest.mark.parametrize(
    ("n", "p"), [(1, 0.3), (9, 0.5), (1000, 0.005), (24, 0.5), (60, 0.75), (10**6, 0.4), (50, 0.97)]
)
def test_successes_are_as_likely_as_binomial_says(n, p):
    x = np.sort(df.random.binomial(SIZE, n, p).numpy())
    found = np.unique(x)
    below = np.searchsorted(x, found, side="right") / SIZE
    assert np.abs(below - stats.binom(n, p).cdf(found)).max() < 1.95 / math.sqrt(SIZE)
    assert abs(x.mean() - n * p) < 4 * math.sqrt(n * p * (1 - p) / SIZE)


def in_both_modes(draw, *args):
    """What is drawn eagerly, as arrays; a compiled call draws the same."""
    call = df.function(draw)
    found = []
    for function in (draw, call, call):
        df.random.seed(4)
        found.append([x.tolist() for x in function(*args)])
    assert found[0] == found[1] == found[2]
    return map(np.array, found[0])


@pytest.mark.slow
def test_successes_of_chances_in_a_tensor_in_both_modes():
    n, p = df.asarray([0, 5, 40, 400]), df.asarray([0.5, 0.0, 1.0, 0.25])
    (found,) = in_both_modes(lambda n, p: (df.random.binomial((500, 4), n, p),), n, p)
    assert found.mean(0) == pytest.approx([0, 0, 40, 100], rel=0.05)
    assert (found[:, 1:3] == [0, 40]).all()


def test_draws_of_several_in_both_modes():
    n, p = df.asarray([0, 5, 40, 400]), df.asarray([0.5, 0.0, 1.0, 0.25])
    alpha = df.asarray([[0.01, 0.02], [3.0, 100.0]])

    def draw(n, p, alpha):
        return (
            df.random.multinomial((500,), 30, p),
            df.random.dirichlet((500, 2), alpha),
            df.random.choice(p, (3, 5), p=n),
            df.random.choice(n, (3,), False, p=p + 1.0),
            df.random.choice(9, (2, 3), replace=False),
        )

    counts, shares, drawn, once, order = in_both_modes(draw, n, p, alpha)
    assert (counts.sum(-1) == 30).all()
    assert counts.mean(0) == pytest.approx(30 * p.numpy() / 1.75, rel=0.06)
    assert shares.sum(-1) == pytest.approx(np.ones((500, 2)), rel=1e-5)
    assert shares[:, 1].mean(0) == pytest.approx([3 / 103, 100 / 103], rel=0.1)
    assert set(drawn.flat) <= {0.0, 1.0, 0.25}
    assert (len(set(once)), set(once) <= set(n.tolist())) == (3, True)
    assert sorted({*order.flat}) == sorted(order.flat)


def test_choice_is_as_likely_as_its_weights_say():
    p = np.array([1.0, 2.0, 0.0, 5.0])
    x = df.random.choice(4, SIZE, p=p).numpy()
    counts = np.bincount(x, minlength=4)
    assert counts[2] == 0
    expected = p[[0, 1, 3]] / 8 * SIZE
    assert stats.chisquare(counts[[0, 1, 3]], expected).pvalue > 1e-3
    pairs = np.array([df.random.choice(4, 2, False, p).tolist() for _ in range(400)])
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert np.mean(pairs[:, 0] == 3) == pytest.approx(5 / 8, abs=0.08)
    rows = df.reshape(df.arange(12), (3, 4))
    assert df.random.choice(rows, (2, 5), axis=1).shape == (3, 2, 5)
    assert df.random.choice(rows, 3, replace=False).shape == (3, 4)


def test_parameters_of_gamma():
    alpha = df.asarray([[0.5], [1000.0]])
    x = df.random.gamma((2, 4000), alpha, 2.0)
    assert x.numpy().mean(1) == pytest.approx([1.0, 2000.0], rel=0.1)
    scale = df.Variable(3.0)
    with df.GradientTape() as tape:
        x = df.random.gamma(5, 2.0, scale)
    assert tape.gradient(x, scale).item() == pytest.approx(x.numpy().sum() / 3, rel=1e-5)
    df.random.seed(1)
    few = df.random.gamma(3, 0.7).tolist()
    df.random.seed(1)
    assert df.random.gamma(9, 0.7).tolist()[:3] == few


def test_the_first_number_that_is_accepted_counts():
    accepted = df.asarray([[False, True, True], [False, False, False]])
    values = df.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert first_of(accepted, values, df.asarray([8.0, 9.0]), 3).tolist() == [2.0, 9.0]


def test_bernoulli():
    assert df.random.bernoulli(SIZE, 0.3).numpy().mean() == pytest.approx(0.3, abs=0.02)
    p = df.asarray([0.0, 1.0])
    assert df.random.bernoulli((3, 2), p, dtype=df.float32).tolist() == [[0.0, 1.0]] * 3


def test_permutation():
    order = df.random.permutation(50)
    assert sorted(order.tolist()) == list(range(50)) != order.tolist()
    rows = np.arange(12).reshape(6, 2)
    moved = df.random.permutation(rows).tolist()
    assert sorted(moved) == rows.tolist()


@pytest.mark.parametrize("n", [0, 1, 2, 37, 5000])
def test_permutation_is_the_order_of_random_words_in_both_modes(n):
    (order,) = in_both_modes(lambda: (df.random.permutation(n),))
    df.random.seed(4)
    bits = random_bits(state_of(None), (n, 2)).numpy().astype(np.uint64)
    words = (bits[:, 0] << np.uint64(32)) | bits[:, 1]
    assert order.tolist() == np.argsort(words >> np.uint64(24), kind="stable").tolist()


def test_quantile_against_scipy():
    p = np.concatenate([np.linspace(1e-9, 1 - 1e-9, 999), 10.0 ** np.linspace(-9, -1, 99)])
    np.testing.assert_allclose(
        _quantile(df.asarray(p)).numpy(), special.ndtri(p), rtol=1e-11, atol=1e-14
    )


def test_seed_and_state():
    df.random.seed(5)
    first, at, second = df.random.normal(3), df.random.get_state(), df.random.normal(3)
    assert first.tolist() != second.tolist()
    df.random.set_state(at)
    assert df.random.normal(3).tolist() == second.tolist()
    df.random.seed(5)
    assert df.random.normal(3).tolist() == first.tolist()
    df.random.seed(-1)
    assert df.random.get_state().tolist() == [2**64 - 1, 0]


def test_generators_do_not_disturb_each_other():
    own = df.random.Generator(5)
    before = df.random.get_state().tolist()
    df.random.normal(3, generator=own)
    assert df.random.get_state().tolist() == before
    assert own.state.tolist() == [5, 1]
    df.random.seed(5)
    assert (
        df.random.normal(4).tolist()
        == df.random.normal(4, generator=df.random.Generator(5)).tolist()
    )


def test_gradients_flow_to_the_parameters():
    mean, std = df.Variable([1.0, 2.0]), df.Variable(0.5)
    with df.GradientTape() as tape:
        x = df.random.normal((3, 2), mean, std)
    by_mean, by_std = tape.gradient(x, [mean, std])
    assert by_mean.tolist() == [3.0, 3.0]
    assert by_std.item() == pytest.approx(((x - mean) / std).sum().item(), rel=1e-5)


def test_requires_grad_makes_a_variable():
    w = df.randn(2, 3, requires_grad=True)
    assert isinstance(w, df.Variable)
    assert w.trainable


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_same_numbers_inside_a_function(sampler):
    sample = SAMPLERS[sampler][0]

    @df.function
    def twice():
        return sample()[:100], df.random.randint(5, 0, 100)

    df.random.seed(9)
    eager = [(sample()[:100].tolist(), df.random.randint(5, 0, 100).tolist()) for _ in range(3)]
    df.random.seed(9)
    traced = [tuple(x.tolist() for x in twice()) for _ in range(3)]
    assert traced == eager


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: df.random.randint(3, 5, 5), ValueError, "no number from 5 up to 5"),
        (
            lambda: df.random.randint(3, 0, 5, dtype="float32"),
            df.errors.DTypeError,
            "integer dtype",
        ),
        (lambda: df.random.randint(3, 0, 300, dtype="int8"), df.errors.DTypeError, "0 to 299"),
        (lambda: df.random.uniform(3, dtype="int64"), df.errors.DTypeError, "uniform: dtype int64"),
        (lambda: df.random.uniform(3, 2.0, 1.0), ValueError, "no number from 2.0 up to 1.0"),
        (lambda: df.random.normal(3, std=-1.0), ValueError, "std=-1.0 is negative"),
        (lambda: df.random.gamma(3, 0.0), ValueError, "alpha=0.0 is not positive"),
        (lambda: df.random.gamma(3, df.ones(2)), df.errors.ShapeError, r"gamma: shapes"),
        (lambda: df.random.beta(3, 1.0, -2.0), ValueError, "b=-2.0 is not positive"),
        (lambda: df.random.laplace(3, 1.0, -2.0), ValueError, "scale=-2.0 is negative"),
        (lambda: df.random.poisson(3, -1.0), ValueError, "rate=-1.0 is negative"),
        (lambda: df.random.poisson(3, dtype="bool"), df.errors.DTypeError, "poisson: dtype bool"),
        (lambda: df.random.bernoulli(3, 1.5), ValueError, "a probability from 0 to 1"),
        (lambda: df.random.binomial(3, -1), ValueError, "n=-1 is negative"),
        (lambda: df.random.binomial(3, 2, 1.5), ValueError, "p=1.5, expected"),
        (lambda: df.random.binomial(3, 2.5), ValueError, "n=2.5 is no whole number"),
        (lambda: df.random.binomial(3, df.inf), ValueError, "n=inf, expected at most"),
        (lambda: df.random.poisson(3, df.inf), ValueError, "rate=inf, expected at most"),
        (lambda: df.random.exponential(3, -1.0), ValueError, "scale=-1.0 is negative"),
        (lambda: df.random.truncated_normal(3, std=-1.0), ValueError, "std=-1.0 is negative"),
        (lambda: df.random.randint(3, 0.5, 3), df.errors.DTypeError, "randint: low=0.5"),
        (lambda: df.random.randint(3, 0, df.asarray([1, 2])), df.errors.DTypeError, "high="),
        (lambda: df.random.choice(3, 4, False), df.errors.ShapeError, "4 of 3 elements, each once"),
        (lambda: df.random.choice(3, p=[1.0, 2.0]), df.errors.ShapeError, "3 elements, p of shape"),
        (lambda: df.random.choice(2, p=[1.0, -2.0]), ValueError, "weights that are negative"),
        (lambda: df.random.choice(2, 2, False, [1.0, 0.0]), ValueError, "of which 1 have weight"),
        (lambda: df.random.multinomial(3, -1, [1.0]), ValueError, "n=-1 is negative"),
        (lambda: df.random.multinomial((3,), 2, df.ones((2, 2))), df.errors.ShapeError, "shapes"),
        (lambda: df.random.dirichlet((), 1.0), df.errors.ShapeError, "alpha of shape"),
        (lambda: df.random.normal((-1,)), df.errors.ShapeError, "normal: shape"),
        (lambda: df.random.truncated_normal(3, low=2, high=1), ValueError, "low < high"),
        (lambda: df.random.permutation(df.asarray(1.0)), df.errors.ShapeError, "permutation"),
        (lambda: random_bits(df.asarray([1, 2]), 3), df.errors.DTypeError, "uint64"),
    ],
)
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
