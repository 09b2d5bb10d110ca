"""Eager execution on kernels: where NumPy computes, how many kernels there are, what stays."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from dualflow.core import kernels
from dualflow.core.extents import LONG, lowest
from dualflow.core.op import registry
from jit.codegen import nontemporal
from jit.codegen.nontemporal import text
from jit.config import configure
from jit.errors import DTypeError
from jit.forms import scalar
from jit.forms.exact import checked_forms, is_computed_alike
from jit.loops.ir import VType
from jit.loops.values import apply
from jit.types import TensorType, bool_, dtypes, float32, int64, kind
from tests.modes import bits, graphs_only

REAL = [dtype for dtype in dtypes.values() if kind(dtype) != "complex"]
SPECIAL = (0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0, 0.5, 1.5, 2.5, -0.5)


@pytest.fixture(autouse=True)
def _anew():
    """Nothing is known of other tests' calls."""
    kernels.forget()


def normal(*shape, dtype=float32, seed=0):
    return df.asarray(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def in_numpy(function, *args):
    with configure(target="interpreter"):
        return function(*args)


# ----- where NumPy computes -----


def numbers(generator, dtype, count=4096):
    """All bit patterns, some ordinary numbers, some special ones."""
    found = generator.integers(0, 256, count * dtype.itemsize, dtype=np.uint8)
    if dtype == bool_:
        return (found & 1).view(bool_)
    found = found.view(dtype).copy()
    if kind(dtype) == "integer":
        found[::3] = generator.integers(0, 5, len(found[::3])).astype(dtype)
    else:
        found[::3] = generator.normal(scale=4.0, size=len(found[::3])).astype(dtype)
        found[1::5] = generator.choice(np.array(SPECIAL).astype(dtype), len(found[1::5]))
    return found


def same(ours, theirs):
    """Equal bits; every NaN is one."""
    if kind(ours.dtype) != "floating":
        return np.array_equal(ours, theirs)
    word = f"u{ours.dtype.itemsize}"
    return ((ours.view(word) == theirs.view(word)) | ((ours != ours) & (theirs != theirs))).all()


def operands(row, dtype):
    generator = np.random.default_rng(0)
    xs = [numbers(generator, dtype) for _ in range(row.arity)]
    if row.name == "where":
        xs[0] = numbers(generator, bool_)
    if "shift" in row.name:
        xs[1] = (xs[1] % (8 * dtype.itemsize)).astype(dtype)
    if row.name == "pow":
        xs[1] = (np.abs(xs[1]) % 12).astype(dtype)
    return xs


def targets(row, dtype):
    """The dtypes of results; floats beyond unsigned integers are no exact conversion."""
    if row.result != "given":
        return [bool_ if row.result == "bool" else dtype]
    return [t for t in REAL if not (kind(dtype) == "floating" and t.kind == "u")]


@pytest.mark.parametrize("name", scalar.scalars)
def test_an_exact_instruction_has_numpys_bits(name):
    row = scalar.scalars[name]
    with np.errstate(all="ignore"):
        for dtype in (d for d in REAL if kind(d) in row.kinds and kind(d) in row.exact):
            xs = operands(row, dtype)
            for target in targets(row, dtype):
                given = target if row.result == "given" else None
                theirs = np.asarray(scalar.evaluate(name, *xs, dtype=given))
                assert same(apply(name, xs, VType(target)), theirs), f"{dtype} to {target}"


def test_what_joins_many_arrays_is_told_by_two():
    """A stack of 10,000 states took seconds, before it was computed."""
    concat, part = registry["concat"], TensorType((1, 3), float32)
    sizes = {len(checked_forms(concat, [part] * count, {"axis": 0}) or ()) for count in (2, 500)}
    assert len(sizes) == 1
    assert is_computed_alike(concat, [part] * 500, {"axis": 0})
    wrong = [part, part, TensorType((1, 4), float32)]
    assert is_computed_alike(concat, wrong, {"axis": 0}) is None  # all of them are checked


def test_the_words_among_attrs_decide_where_it_is_computed():
    def alike(name, *types, **attrs):
        return is_computed_alike(registry[name], [TensorType(*t) for t in types], attrs)

    wide, whole = ((3, 4), float32), ((3, 4), int64)
    axes = {"axes": (0,), "keepdims": False}
    pool = {"window": (2,), "stride": (2,), "padding": ((0, 0),), "dilation": (1,)}
    assert alike("add", wide, wide)
    assert alike("sum", whole, **axes)
    assert alike("argmax", wide, axis=0, keepdims=False)
    assert alike("reshape", wide, shape=(4, 3))
    assert alike("matmul", ((3, 4), int64), ((4, 3), int64))
    assert alike("exp", ((3,), dtypes["complex64"]))  # it has no code
    assert not alike("exp", wide)
    assert not alike("sum", wide, **axes)
    assert not alike("max", wide, **axes)  # of 0.0 and -0.0 the order decides
    assert not alike("matmul", ((3, 4), float32), ((4, 3), float32))
    assert not alike("pool", wide, combine="sum", **pool)
    assert alike("pool", wide, combine="argmax", **pool)
    assert not alike("astype", wide, dtype=dtypes["uint32"])


# ----- kernels serve many shapes -----


@pytest.fixture
def compiled(monkeypatch):
    """The graphs compiled since the start of the test."""
    import jit

    graphs, original = [], jit.compile

    def noted(graph, *args, **kwargs):
        graphs.append(graph)
        return original(graph, *args, **kwargs)

    monkeypatch.setattr(jit, "compile", noted)
    return graphs


SHAPES = [(9 + 7 * k % 50, 10 + 11 * k % 41) for k in range(50)]
CALLS = {
    "exp": lambda x: df.exp(x),
    "sum": lambda x: df.sum(x, axis=1),
    "softmax": lambda x: df.nn.functional.softmax(x),
    "matmul": lambda x: x @ df.ones((x.shape[1], 12)),
    "pow": lambda x: df.abs(x) ** 0.5,
}


@pytest.mark.parametrize("name", CALLS)
def test_fifty_shapes_take_few_kernels(name, compiled):
    for shape in SHAPES:
        x = normal(*shape)
        y = CALLS[name](x)
        np.testing.assert_allclose(y, in_numpy(CALLS[name], x), rtol=1e-5, atol=1e-5)
    assert 1 <= len(compiled) <= kernels.OWN + 4


def test_elementwise_ops_take_one_kernel_for_all_ranks(compiled):
    for shape in ((2,), (64,), (3, 5), (2, 3, 4), (1, 7, 1)):
        assert bits(df.exp(normal(*shape)).reshape(-1)) == bits(df.exp(normal(*shape).reshape(-1)))
    assert len(compiled) == 1


def test_a_known_call_compiles_nothing(compiled):
    x = normal(20, 30)
    first = df.logsumexp(x, axis=1)
    count = len(compiled)
    assert bits(df.logsumexp(x, axis=1)) == bits(first)
    assert len(compiled) == count > 0


def test_numbers_among_attrs_are_told_apart():
    x = normal(4)
    elu = df.nn.functional.elu
    results = [elu(x, alpha) for alpha in (1.0, 2.0, 1, 0.0, -0.0)]
    signs = [np.signbit(y.numpy()[x.numpy() < 0]).all() for y in results]
    assert bits(results[0]) == bits(results[2]) != bits(results[1])
    assert signs == [True, True, True, True, False]


def test_a_composite_whose_attrs_change_all_the_time_is_computed_op_by_op(compiled):
    x, elu = normal(20), df.nn.functional.elu
    for k in range(3 * kernels.MANY):
        alpha = 1.0 + k / 7
        assert bits(elu(x, alpha)) == bits(df.where(x > 0, x, alpha * df.expm1(df.minimum(x, 0))))
    assert kernels.MANY <= len(compiled) <= kernels.MANY + 4


# ----- arrays of all kinds -----

LAYOUTS = {
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "with gaps": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "unaligned": lambda x: np.frombuffer(b"0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_an_array_changes_no_bit(layout):
    x = normal(20, 30)
    other = df.Tensor(LAYOUTS[layout](x.numpy()))
    w = df.Tensor(LAYOUTS[layout](normal(30, 20, seed=1).numpy()))
    for f in (df.exp, df.sum, df.nn.functional.softmax, lambda x: x @ x.mT, lambda x: x**1.5):
        assert bits(f(other)) == bits(f(x))
    assert bits(other @ w) == bits(x @ normal(30, 20, seed=1))


def in_order(x):
    """A tensor with the same elements in row-major order."""
    return df.Tensor(np.array(x.numpy(), order="C"))


@pytest.mark.parametrize("right", ["as it is", *LAYOUTS])
@pytest.mark.parametrize("left", ["as it is", *LAYOUTS])
def test_products_of_all_layouts_that_come_again(left, right):
    x, w, ones = normal(5, 7), normal(7, 3, seed=1), df.ones((5, 3))
    a, b = (
        df.Tensor(LAYOUTS.get(layout, np.copy)(y.numpy())) for layout, y in ((left, x), (right, w))
    )
    wanted, turned = bits(x @ w), bits(in_order(w.mT) @ in_order(x.mT))
    slopes = bits(ones @ in_order(w.mT)), bits(in_order(x.mT) @ ones)
    for _ in range(3):
        assert bits(a @ b) == wanted
        assert bits(b.mT @ a.mT) == turned
        with df.GradientTape() as tape:
            tape.watch([a, b])
            y = a @ b
        assert bits(y) == wanted
        assert tuple(map(bits, tape.gradient(y, [a, b]))) == slopes


def test_an_array_in_order_is_not_copied_for_another_that_is_not():
    x = normal(4, 6).numpy()
    assert kernels.laid_in(x, None) is x
    for layout in LAYOUTS:
        made = kernels.laid_in(LAYOUTS[layout](x), None)
        assert made.flags.c_contiguous
        assert made.flags.aligned
        np.testing.assert_array_equal(made, x)


def test_empty_arrays_and_scalars():
    assert df.exp(df.zeros((0, 3))).shape == (0, 3)
    assert df.sum(df.zeros((0, 3)), axis=0).tolist() == [0.0, 0.0, 0.0]
    assert df.exp(df.asarray(0.0)).item() == 1.0
    assert (2.0 ** df.asarray([3.0])).tolist() == [8.0]
    assert df.sum(df.asarray(3.0)).item() == 3.0


# ----- what stays as it was -----

WRONG = {
    "label": lambda: df.nn.functional.cross_entropy(df.ones((2, 3)), df.asarray([0, 7])),
    "shapes": lambda: df.ones((2, 3)) @ df.ones((2, 3)),
    "axis": lambda: df.nn.functional.softmax(df.ones(3), axis=2),
    "nothing": lambda: df.logsumexp(df.zeros((0,))),
    "window": lambda: df.nn.functional.conv2d(df.ones((1, 1, 2, 2)), df.ones((1, 1, 3, 3))),
}


@pytest.mark.parametrize("what", WRONG)
def test_errors_are_those_of_numpy(what):
    texts = []
    for target in ("cpu", "interpreter", "cpu"):
        with configure(target=target), pytest.raises(df.errors.DualflowError) as caught:
            WRONG[what]()
        texts.append((type(caught.value), str(caught.value)))
    assert len(set(texts)) == 1


def test_after_a_failed_check_the_kernel_still_works():
    loss = df.nn.functional.cross_entropy
    x = normal(2, 3)
    right = loss(x, df.asarray([0, 2]))
    with pytest.raises(df.errors.IndexError):
        loss(x, df.asarray([0, 3]))
    assert bits(loss(x, df.asarray([0, 2]))) == bits(right)


@graphs_only
def test_without_kernels_numpy_computes(compiled):
    x = normal(20, 30)
    with configure(target="interpreter"):
        assert bits(df.exp(x)) == bits(np.exp(x.numpy()))
        assert bits(df.sum(x)) == bits(np.sum(x.numpy()))
        assert bits(x @ x.T) == bits(x.numpy() @ x.numpy().T)
        assert bits(df.function(df.exp)(x)) == bits(np.exp(x.numpy()))
    assert [graph.name for graph in compiled] == ["exp"]  # the function's, for the interpreter


def test_float_warnings_stay_off(recwarn):
    x = df.asarray([1e30, -1.0, 0.0])
    for f in (df.exp, df.log, lambda x: x**2.5, lambda x: 1e300**x, lambda x: df.sum(x * x)):
        f(x)
    assert not list(recwarn)


def test_gradients_agree_with_those_of_numpy():
    x, w = normal(64, 20), normal(20, 10, seed=1)

    def loss(x, w):
        return df.mean(df.nn.functional.gelu(df.tanh(x @ w)))

    for ours, theirs in zip(df.grad(loss, (0, 1))(x, w), in_numpy(df.grad(loss, (0, 1)), x, w)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_wrong_dtype_is_refused_as_ever():
    with pytest.raises(DTypeError):
        df.exp(df.asarray([True]) @ df.asarray([True]))


# ----- large results -----


@given(st.integers(1, 1 << 32), st.sampled_from([1, 8, math.inf]))
def test_a_kernel_knows_the_size_of_long_rows_up_to_a_factor_of_two(length, least):
    row = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (length,), (0,))
    lo = lowest([row], least)
    if length > least:  # it is a symbol
        assert lo <= length
    assert lo > length // 2 or length < LONG or least > 1
    assert lo <= 9 or least == 1


@graphs_only
def test_results_that_no_cache_holds_are_stored_past_them(monkeypatch, tmp_path):
    from jit import native
    from jit.runtime import cpu

    def processor(*, hurry):
        return replace(cpu.host_target(), hurry=hurry, cache=4 * LONG)

    monkeypatch.setattr(native, "processor", processor)
    kept = []
    monkeypatch.setattr(nontemporal, "text", lambda *given: kept.append(text(*given)) or kept[-1])
    x = normal(LONG)
    with configure(cache=tmp_path):
        df.tanh(x[:-1])
        assert not kept
        large = df.tanh(x)
    assert len(kept) == 1
    halves = [df.tanh(part).numpy() for part in (x[: LONG // 2], x[LONG // 2 :])]
    assert large.numpy().tobytes() == np.concatenate(halves).tobytes()
