"""Convolutions as a library takes them: the description computes what the forms compute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dualflow as df
from dualflow.core.op import registry
from jit.forms import convolutions, nodes
from jit.forms.convolutions import FILTERS, FORWARD, IMAGES, Convolution, convolved, windows_of
from jit.forms.native import lower_for_code
from jit.forms.program import FormProgram
from jit.forms.reference import Reference
from jit.ir.graph import Graph
from jit.types import TensorType, float32

RNG = np.random.default_rng(0)


def conv_graph(x, w, attrs):
    """A graph of one convolution."""
    op, graph = registry["conv"], Graph("f")
    inputs = [graph.input(TensorType(shape, float32)) for shape in (x, w)]
    (y,) = graph.add(op, inputs, attrs, (op.infer(*[v.type for v in inputs], **attrs),))
    graph.outputs = [y]
    return graph


@st.composite
def convs(draw):
    """The shapes of an image and weights, and attrs of a convolution."""
    rank, small = draw(st.integers(1, 3)), st.integers(1, 3)
    groups = draw(st.integers(1, 2))
    n, c, o = (draw(small) for _ in range(3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    window, rhs = each(1, 4), each(1, 2)
    lhs = each(1, 2) if draw(st.booleans()) else (1,) * rank
    stride = (1,) * rank if max(lhs) > 1 and draw(st.booleans()) else each(1, 3)
    padding = tuple(zip(each(-1, 3), each(-1, 3)))
    reach = [(k - 1) * d + 1 for k, d in zip(window, rhs)]
    least = [
        max(1, -(-(r - low - high - 1) // b) + 1) for r, (low, high), b in zip(reach, padding, lhs)
    ]
    image = [k + draw(st.integers(0, 4)) for k in least]
    attrs = {"stride": stride, "padding": padding, "lhs_dilation": lhs, "rhs_dilation": rhs}
    return (n, c * groups, *image), (o * groups, c, *window), {**attrs, "groups": groups}


def computed(c: Convolution, first, second):
    """What a description says, place of a window by place of a window."""
    first, second = first.reshape(c.operands[0]), second.reshape(c.operands[1])
    made, groups = np.zeros(c.made), c.groups
    images, filters, results = {
        FORWARD: (first, second, made),
        IMAGES: (made, second, first),
        FILTERS: (first, made, second),
    }[c.kind]
    around = [(0, 0), *zip(c.low, c.high), (0, 0)]
    padded = np.pad(images, around)
    parts = padded.reshape(*padded.shape[:-1], groups, -1)  # N, H.., G, C
    weights = filters.reshape(groups, -1, *filters.shape[1:])  # G, O, R.., C
    sums = results.reshape(*results.shape[:-1], groups, -1)  # N, P.., G, O
    for at in np.ndindex(*c.filters[1:-1]):
        steps = zip(at, c.results[1:-1], c.stride, c.dilation)
        cut = [slice(r * d, r * d + (p - 1) * s + 1, s) for r, p, s, d in steps]
        window, tap = parts[(slice(None), *cut)], weights[(slice(None), slice(None), *at)]
        if c.kind == FORWARD:
            sums += np.einsum("n...gc,goc->n...go", window, tap)
        elif c.kind == IMAGES:
            window += np.einsum("n...go,goc->n...gc", sums, tap)
        else:
            flat = [x.reshape(-1, *x.shape[-2:]) for x in (window, sums)]
            tap += np.einsum("ngc,ngo->goc", *flat)
    if c.kind == IMAGES:
        inner = [slice(low, low + n) for low, n in zip(c.low, c.images[1:-1])]
        return padded[(slice(None), *inner)]
    return made


class Described(Reference):
    """The reference, which takes convolutions at the word of their descriptions."""

    def run(self, form):
        if not isinstance(form, nodes.Convolve):
            return super().run(form)
        (value,) = form.outputs
        given = [self.arrays[x].astype(np.float64) for x in form.inputs]
        self.arrays[value] = computed(form.convolution, *given).reshape(value.shape)
        return None


def run(program, arrays, reference=None):
    """What forms compute, one after the other."""
    reference = reference or Described()
    reference.arrays.update(zip(program.inputs, arrays, strict=True))
    for form in program.forms:
        if not isinstance(form, nodes.Source):
            reference.run(form)
    return reference.arrays[program.outputs[0]]


def contracted(form, arrays):
    """What the contractions of a form compute: of its inputs, and of copies of them."""
    reference = Reference()
    reference.arrays.update(zip(form.inputs, arrays, strict=True))
    for (value, map), x in zip(form.copies, form.inputs, strict=True):
        at, _ = map.evaluate(x.shape, {}, {}, checked=True)
        reference.arrays[value] = np.broadcast_to(reference.arrays[x][at], value.shape)
    for each in (form.contract, form.own):
        for view in each.inputs:
            reference.run(view.form)
        reference.run(each)
        yield reference.arrays[each.outputs[0]]


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch):
    """All convolutions are large enough."""
    monkeypatch.setattr(convolutions, "LARGE", 0)
    monkeypatch.setattr(convolutions, "NARROW", 1)


def found_in(program):
    """The convolutions of a program."""
    return [form for form in program.forms if isinstance(form, nodes.Convolve)]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(convs())
def test_a_description_computes_what_the_forms_compute(drawn):
    plain = lower_for_code(conv_graph(*drawn))
    made = convolved(plain)
    arrays = [RNG.integers(-4, 5, x.shape).astype(np.float32) for x in plain.inputs]
    wanted = run(plain, arrays)
    np.testing.assert_array_equal(run(made, arrays), wanted)
    for form in found_in(made):
        reference = Described()
        run(made, arrays, reference)
        given = [reference.arrays[x] for x in form.inputs]
        (value,) = form.outputs
        for each in contracted(form, given):
            np.testing.assert_array_equal(each, reference.arrays[value])


SQUARE = {"stride": (2, 2), "padding": ((1, 1), (1, 1)), "rhs_dilation": (1, 1)}
SQUARE |= {"lhs_dilation": (1, 1), "groups": 1}


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({}, FORWARD),
        ({"groups": 2}, FORWARD),
        ({"rhs_dilation": (2, 1)}, FORWARD),
        ({"lhs_dilation": (2, 1), "stride": (1, 1)}, IMAGES),
        ({"lhs_dilation": (2, 1)}, None),  # a step over zeros in between
        ({"padding": ((-1, 0), (0, 0))}, None),  # cropped
        ({"padding": ((3, 0), (0, 0)), "lhs_dilation": (2, 2), "stride": (1, 1)}, None),
    ],
)
def test_which_kind(changed, kind):
    attrs = SQUARE | changed
    graph = conv_graph((2, 4, 9, 8), (6, 4 // attrs["groups"], 3, 3), attrs)
    kinds = [form.convolution.kind for form in found_in(convolved(lower_for_code(graph)))]
    assert kinds == ([kind] if kind else [])


def step(groups):
    """The gradients of a convolution."""

    def gradients(x, w):
        with df.GradientTape() as tape:
            tape.watch([x, w])
            y = df.nn.functional.conv2d(x, w, stride=2, padding=1, groups=groups)
            z = (y**2).sum()
        return tape.gradient(z, [x, w])

    specs = df.TensorSpec((2, 4, 9, 9), df.float32), df.TensorSpec((6, 4 // groups, 3, 3))
    return df.function(gradients).concrete(*specs).graph


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_are_what_flows_back_in_one_convolution(groups):
    """Their index maps tell the steps of the convolution that they are gradients of."""
    forms = found_in(convolved(lower_for_code(step(groups))))
    first, images, filters = [form.convolution for form in forms]
    assert [x.kind for x in (first, images, filters)] == [FORWARD, IMAGES, FILTERS]
    assert replace(first, kind=IMAGES) == images
    assert replace(first, kind=FILTERS) == filters
    assert first.groups == groups
    assert first.high == (1, 1)


def test_an_operand_is_shown_once():
    """Windows of images and of their gradient's read the same copy; so do both of the results."""
    forward, images, filters = found_in(convolved(lower_for_code(step(1))))
    assert forward.inputs[0] is filters.inputs[0]
    assert images.inputs[0] is filters.inputs[1]
    assert images.inputs[1] is forward.inputs[1]  # turned twice


def test_what_is_too_small(monkeypatch):
    monkeypatch.setattr(convolutions, "LARGE", 1 << 40)
    plain = lower_for_code(step(1))
    assert convolved(plain) is plain


def test_a_contraction_of_windows_that_is_no_convolution_stays():
    """Its node applied by itself would read windows from memory."""

    plain = lower_for_code(step(1))
    bare = FormProgram(plain.inputs, plain.forms, plain.outputs)
    assert sum(windows_of(form) is not None for form in bare.forms) == 3
    assert convolved(bare) is bare
