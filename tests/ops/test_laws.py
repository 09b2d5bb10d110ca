"""The laws of ops: each public function obeys each law on all of its samples.

typed      what `evaluate` gives has the types that `infer` tells
right      the values are NumPy's in float64
staged     a function run from its graph gives the bits of eager execution
compiled   so does the graph compiled by itself, and each of its nodes that is no function's
lowered    the reference forms give what `evaluate` gives
adjoint    <g, JVP t> = <VJP g, t>
numeric    gradients are central differences, to order two
traced-AD  a gradient inside of, or around, a function is eager's
third      derivatives of order three have the same bits in a graph
segmented  ops that are put off and run together give the bits of eager execution
repeated   so is a gradient that comes again and is compiled by itself
derived    reverse rules of composites are those that follow from their definitions
refused    bad calls raise what is documented, the same in both modes
"""

from __future__ import annotations

import builtins
from contextlib import contextmanager

import numpy as np
import pytest

import dualflow as df
from dualflow.core import doors, kernels
from dualflow.core.op import registry
from dualflow.core.registry import functions
from dualflow.tracing import segments, sweeps
from dualflow.tracing.modes import mode
from dualflow.tracing.segments import in_segments
from jit.types import kind
from tests.modes import graphs_only, if_graphs
from tests.ops import compiled, laws
from tests.ops.laws import assert_close, cases, flat, same_bits
from tests.samples import REFUSED, SAMPLES

NAMES = sorted(SAMPLES)
# Whose third derivatives are taken by default; of the others among the slow tests.
THIRD = set("multiply divide exp tanh erf matmul sum cumulative_sum getitem where".split())
# Registered for the core's own use, under no public name.
INTERNAL = {
    "at": "the way to at.set, at.add, ..., which have samples",
    "backward": "x.backward(): tests/autodiff/test_backward.py",
    "extent": "a Dim as a tensor",
    "identity": "the value of a Variable",
    "leaked": "where a leaked tensor is from: tests/tracing/test_leaks.py",
    "rebound": "which Variable a Tensor was made of: tests/tracing/test_language.py",
    "matrix_T": "x.T",
    "namespace": "x.__array_namespace__(): tests/core/test_inspection.py",
    "to_device": "x.to(device): tests/core/test_backend.py",
}


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    """The one warning about float64 is not what the laws are about."""
    monkeypatch.setattr(doors, "_told", {"before"})


def by_name(law):
    """Runs a law for every function that has samples."""
    return pytest.mark.parametrize("name", NAMES)(law)


@by_name
def test_typed(name):
    for case in cases(name, None, "float64", *laws.OTHERS):
        for node, arrays, outs in laws.run(laws.traced(name, case.number, case.dtype)):
            types = node.op.infer_all(tuple(v.type for v in node.inputs), node.attrs)
            assert [x.shape for x in arrays] == [v.type.shape for v in node.inputs]
            assert tuple(v.type for v in node.outputs) == types, f"{case}: {node.op.name}"
            for out, type_ in zip(outs, types, strict=True):
                found = (np.shape(out), np.asarray(out).dtype)
                assert found == (type_.shape, type_.dtype), f"{case}: {node.op.name} {node.attrs}"


@by_name
def test_right(name):
    for case in cases(name, None, "float64", *laws.HALVES):
        laws.seed()
        results = laws.tensors_of(case.call(*case.tensors()))
        wanted = case.reference()
        assert len(results) == len(wanted), case
        for ours, theirs in zip(results, map(np.asarray, wanted), strict=True):
            if kind(ours.dtype) not in ("floating", "complex"):
                assert np.array_equal(ours.numpy(), theirs), case
                continue
            assert_close(ours, theirs, tolerance(case, ours), case)


def tolerance(case, result):
    """The bound on relative errors: the sample's, in units of the rounding of the dtype."""
    return case.sample.rtol / laws.rounding(df.float32) * laws.rounding(result.dtype)


@by_name
def test_staged(name):
    for case in cases(name, None, *laws.HALVES, "complex64"):
        laws.seed()
        wanted = laws.tensors_of(case.call(*case.tensors()))
        f = df.function(case.call, strict=True)
        for _ in range(2):
            laws.seed()
            found = laws.tensors_of(f(*case.tensors()))
            assert len(found) == len(wanted)
            for a, b in zip(found, wanted, strict=True):
                assert same_bits(a, b), f"{case}: {a} instead of {b}"
        assert f.from_graph == if_graphs(1)


@by_name
def test_compiled(name):
    doubles = laws.some(cases(name, "float64"))
    for case in (*cases(name, None), *doubles, *cases(name, *laws.OTHERS)):
        check_compiled(laws.traced(name, case.number, case.dtype), case)


@by_name
def test_compiled_gradient(name):
    for case in list(laws.differentiable(name, None))[: laws.FIRST]:
        check_compiled(laws.gradient_graph(case), case)


def check_compiled(call, case):
    """The graph, and nodes of it by themselves, in the bits of eager execution."""
    for graph, inputs, wanted in compiled.examples(call, case.name):
        found = compiled.executable_of(graph)(inputs)
        for a, b in zip(found, wanted, strict=True):
            assert same_bits(a, b), f"{case}: {a} instead of {b}\n{graph}"


@by_name
def test_lowered(name):
    for case in cases(name, None, "float64", *laws.HALVES):
        check_lowered(laws.traced(name, case.number, case.dtype), case)


@by_name
def test_lowered_gradient(name):
    for case in list(laws.differentiable(name))[: laws.FIRST]:
        check_lowered(laws.gradient_graph(case), case)


def check_lowered(call, case):
    for node, arrays, outs in laws.run(call):
        found, folds = laws.lowered(node, arrays)
        assert len(found) == len(outs)
        what = f"{case}: {node.op.name} {node.attrs}"
        for ours, theirs in zip(found, map(np.asarray, outs), strict=True):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), what
            if same_bits(ours, theirs):
                continue
            free = folds or getattr(node.op, "definition", None) is not None
            free = free and kind(ours.dtype) in ("floating", "complex")
            assert free, f"{what}: {ours} instead of {theirs}"
            assert_close(ours, laws.widened(theirs), 64 * laws.rounding(ours.dtype), what, arrays)


@by_name
def test_adjoint(name):
    for case in laws.differentiable(name):
        primals = case.primals()
        generator = np.random.default_rng(0)
        tangents = [df.asarray(laws.converted_like(generator, x)) for x in primals]
        y, t = df.jvp(case.of_wanted, primals, tangents)
        g = laws.cotangent(case)
        cotangents = df.vjp(case.of_wanted, *primals)[1](g)
        assert all(
            (c.shape, c.dtype) == (x.shape, x.dtype)
            for c, x in zip(cotangents, primals, strict=True)
        )
        with np.errstate(all="ignore"):
            left = inner(g, t)
            right = sum(inner(c, d) for c, d in zip(cotangents, tangents, strict=True))
        if np.isfinite(y.numpy()).all() and np.isfinite(left):
            rtol = 1e3 * laws.coarsest(laws.traced(name, case.number, "float64"))
            np.testing.assert_allclose(left, right, rtol=rtol, atol=rtol, err_msg=str(case))


def inner(a, b):
    """The real inner product of two tensors."""
    return float(np.sum(np.real(np.conj(laws.widened(a.numpy())) * laws.widened(b.numpy()))))


@by_name
def test_numeric(name):
    for case in laws.some(laws.differentiable(name)):
        primals = case.primals()
        if case.sample.numeric and all(x.dtype == df.float64 for x in primals):
            df.testing.check_gradients(
                case.of_wanted, *primals, order=2 if case.sample.order2 else 1
            )


@by_name
def test_r13_traced_gradient(name):
    """Inside the function bit for bit; around it too, but for sums that meet in another order."""
    for case in laws.some(laws.differentiable(name, None)):
        g = laws.cotangent(case)

        def pulled(g, *xs, case=case):
            with df.GradientTape() as tape:
                tape.watch(list(xs))
                y = case.of_wanted(*xs)
            return tape.gradient(y, list(xs), g, unconnected_gradients="zero")

        wanted = pulled(g, *case.primals())
        inside = df.function(pulled, strict=True)
        outside = df.function(case.of_wanted, strict=True)
        for _ in range(2):
            found = inside(g, *case.primals())
            assert all(same_bits(a, b) for a, b in zip(found, wanted, strict=True)), (
                f"{case}, tape inside"
            )
            with df.GradientTape() as tape:
                xs = case.primals()
                tape.watch(xs)
                y = outside(*xs)
            found = tape.gradient(y, xs, g, unconnected_gradients="zero")
            for a, b in zip(found, wanted, strict=True):
                if not same_bits(a, b):
                    assert_close(a, laws.widened(b.numpy()), 1e-6, f"{case}, tape outside")
        if mode() != "audit":  # Python, beside, makes kernels known, which are state of the ops
            assert inside.from_graph == outside.from_graph == if_graphs(1)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in THIRD else pytest.mark.slow) for n in NAMES],
)
def test_third_derivative(name):
    """Derivatives of order three, of a sum with weights, have the bits of eager ones in a graph."""
    for case in list(laws.differentiable(name, None))[:1]:
        g = laws.cotangent(case)

        def third(g, *xs, case=case):
            def value(*xs):
                return df.sum(case.of_wanted(*xs) * g)

            for _ in range(3):
                value = total_slope(value, len(xs))
            return value(*xs)

        wanted = third(g, *case.primals())
        recorded = df.function(third, strict=True)
        for _ in range(2):
            assert same_bits(recorded(g, *case.primals()), wanted), case
        assert recorded.from_graph == if_graphs(1)


def total_slope(function, count):
    """The sum of all derivatives of a function of tensors to a number."""

    def slope(*xs):
        found = df.grad(function, tuple(range(count)))(*xs)
        return sum(df.sum(flat(x)) for x in found)

    return slope


@by_name
def test_repeated_gradient(name, monkeypatch):
    """A gradient that keeps coming is compiled, which does not change a bit of it."""
    monkeypatch.setattr(sweeps, "SECONDS_A_RECORD", 0.0)
    for case in list(laws.differentiable(name, None))[: laws.FIRST]:
        g = laws.cotangent(case)

        def pulled(g=g, case=case):
            xs = case.primals()
            with df.GradientTape() as tape:
                tape.watch(xs)
                y = case.of_wanted(*xs)
            return tape.gradient(y, xs, g, unconnected_gradients="zero")

        wanted, found = pulled(), pulled()
        assert all(same_bits(a, b) for a, b in zip(found, wanted, strict=True)), case


@by_name
def test_segmented(name):
    """Put off and run together, an op and its gradient give the bits of eager execution."""
    for case in list(cases(name, None))[: laws.FIRST]:

        def call(case=case):
            laws.seed()
            return laws.tensors_of(case.call(*case.tensors()))

        check_segments(call, case)
    for case in list(laws.differentiable(name, None))[: laws.FIRST]:
        g = laws.cotangent(case)

        def pulled(g=g, case=case):
            xs = case.primals()
            with df.GradientTape() as tape:
                tape.watch(xs)
                y = case.of_wanted(*xs)
            return [y, *tape.gradient(y, xs, g, unconnected_gradients="zero")]

        check_segments(pulled, case)


def check_segments(call, case):
    """A segment is compiled when it comes again."""
    wanted = call()
    for _ in range(2):
        found = in_segments(call, (), {})
        assert all(same_bits(a, b) for a, b in zip(found, wanted, strict=True)), case


def as_broadcast_from(shape, cotangent):
    """The cotangent of what was broadcast, summed to the shape that it had."""
    wide = (1,) * (cotangent.ndim - len(shape)) + tuple(shape)
    axes = tuple(k for k, n in enumerate(wide) if n < cotangent.shape[k])
    return cotangent.sum(axis=axes, keepdims=True).reshape(shape)


@by_name
def test_derived(name):
    for case in cases(name, "float64"):
        for node, arrays in laws.overridden(laws.traced(name, case.number, case.dtype)):
            own, derived = laws.both_cotangents(node, arrays)
            for a, b in zip(own, derived, strict=True):
                if a is not None and b is not None:
                    a = as_broadcast_from(b.shape, a.numpy())
                    finite = np.isfinite(b.numpy())  # better at infinity is why a rule was given
                    assert_close(a[finite], b.numpy()[finite], 1e-9, f"{case}: {node.op.name}")
                else:
                    assert a is None or not np.any(a.numpy()), case
                    assert b is None or not np.any(b.numpy()), case


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_r16_refused(name):
    for number, refused in enumerate(REFUSED[name]):

        def call(*args, refused=refused, **kwargs):
            return laws.CALLED[name](*args, **kwargs)

        texts = set()
        for f in (call, df.function(call)):
            args, kwargs = laws.as_tensors((refused.args, refused.kwargs))
            error = getattr(df.errors, refused.error, None) or getattr(builtins, refused.error)
            with pytest.raises(error) as caught:
                f(*args, **kwargs)
            texts.add(str(caught.value))
        assert len(texts) == 1, f"{name}, refused {number}: {texts}"
        assert refused.words in texts.pop(), f"{name}, refused {number}: {caught.value}"


# ----- nothing is left out -----


def public_functions():
    """The public functions that are ops, by the name that they are registered under."""
    places = [df, df.nn.functional, df.linalg, df.fft, df.random]
    reachable = {id(getattr(place, n)) for place in places for n in place.__all__}
    return {name for name, f in functions.items() if id(f) in reachable}


def test_r19_every_public_function_has_samples():
    assert public_functions() - set(SAMPLES) == set()
    assert set(functions) - set(SAMPLES) == set(INTERNAL)
    assert set(SAMPLES) <= set(laws.CALLED)
    assert len(public_functions()) > 150


def test_r19_every_function_in_a_public_place_is_registered():
    """A public name that is a function of the ops' modules cannot escape the laws."""
    stray = [
        name
        for place in (df, df.nn.functional, df.linalg, df.fft)
        for name in place.__all__
        if getattr(getattr(place, name), "__module__", "").startswith("dualflow.ops")
        and functions.get(getattr(place, name).__name__) is not getattr(place, name)
    ]
    assert stray == []


def test_every_record_is_met_and_every_gradient_is_taken():
    met, taken = set(), set()
    for name in NAMES:
        for case in cases(name, None):
            met |= laws.ops_of(laws.traced(name, case.number, None).graph)
        for case in list(laws.differentiable(name)):
            found = laws.differentiated(case)
            taken |= found
            met |= found
        for case in list(laws.differentiable(name))[: laws.FIRST]:
            met |= laws.ops_of(laws.gradient_graph(case).graph)
    records = laws.all_records()
    assert set(records) - met - set(UNMET) == set()
    wanted = {name for name, op in records.items() if op.differentiable}
    assert wanted - taken - set(UNMET) == set()


UNMET = {
    "assigned": "an assigned Variable, read again in a recording: tests/tracing/test_gradient.py",
    "end_row": "the row that a loop begins with: tests/control/test_scan.py",
    "unstack": "the rows that a loop scans: tests/control/test_scan.py",
    "extent": "a Dim as a tensor: tests/tracing/test_concrete.py",
    "joined_words": "random words of 64 bits: tests/ops/test_random.py",
    "within_range": "random integers: tests/ops/test_random.py",
    "squared_distances": "what variances are made of: var",
    "unit64": "random numbers of float64: tests/ops/test_random.py",
    "normals": "random numbers: tests/ops/test_random.py",
    "places_in": "a random order: tests/ops/test_random.py",
    "words_with_places": "a random order: tests/ops/test_random.py",
    "random_bits_like": "how many bits are made eagerly: tests/ops/test_random.py",
    "random_unit_like": "how many numbers are made eagerly: tests/ops/test_random.py",
    "half_attention": "attention in half precision: tests/ops/test_attention.py",
    "half_attention_flow": "its slopes: tests/ops/test_attention.py",
    "beside_totals": "the same, with what its slopes need: tests/ops/test_attention.py",
    "to_device": "a tensor goes to another device: tests/gpu/test_eager.py",
}


# ----- the laws can fail -----


def forget():
    """Drops what was made of records."""
    laws.traced.cache_clear()
    compiled.forget()
    kernels.forget()
    segments.forget()
    sweeps.forget()


def broken(**changes):
    """A record with some rules replaced, for a `with` block."""

    @contextmanager
    def held(name):
        op = registry[name]
        before = {field: getattr(op, field) for field in changes}
        for field, value in changes.items():
            object.__setattr__(op, field, value)
        forget()
        try:
            yield
        finally:
            for field, value in before.items():
                object.__setattr__(op, field, value)
            forget()

    return held


BREAKS = [
    (test_typed, "tanh", {"infer": lambda x: x.with_dtype(df.float64)}),
    (test_typed, "sum", {"infer": lambda x, *, axes, keepdims: x.reduced(axes, True)}),
    (test_right, "cumulative_sum", {"evaluate": lambda xp, x, **attrs: 1.0001 * x}),
    pytest.param(
        *(test_staged, "negative", {"evaluate": lambda xp, x: np.abs(x)}), marks=graphs_only
    ),
    (test_compiled, "negative", {"evaluate": lambda xp, x: np.abs(x)}),
    (test_lowered, "tanh", {"lower": lambda form, x: form.pointwise("sin", x)}),
    (test_lowered, "permute_dims", {"lower": lambda form, x, **attrs: x}),
    (test_adjoint, "tanh", {"jvp": lambda tangents, y, x: 2 * tangents[0] * (1 - y * y)}),
    (
        test_adjoint,
        "matmul",
        {"vjps": (lambda g, y, a, b: g @ b.mT * 1.001, lambda g, y, a, b: a.mT @ g)},
    ),
    (
        test_numeric,
        "tanh",
        {"vjps": (lambda g, y, x: g * (1 - df.stop_gradient(y) * y),), "jvp": None},
    ),
    (test_derived, "logsumexp", {"vjps": (lambda g, y, x, **attrs: df.exp(x) * df.sum(g),)}),
]


@pytest.mark.parametrize(
    ("law", "name", "changes"), BREAKS, ids=lambda x: getattr(x, "__name__", None)
)
def test_a_broken_record_breaks_its_law(law, name, changes):
    with broken(**changes)(name), pytest.raises((AssertionError, df.errors.DualflowError)):
        law(name)
    law(name)
