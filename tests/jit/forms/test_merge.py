"""Merging: what is computed once, and what is not."""

from __future__ import annotations

import numpy as np

from jit.forms.forms import FormBuilder
from jit.forms.merge import merged
from jit.forms.oracle import evaluate_program
from jit.forms.program import FormProgram
from jit.types import dtypes
from tests.jit.forms.small import tensor, word

INT = dtypes["int64"]


def programs(build, *types):
    """The forms of `build`, before and after."""
    form = FormBuilder()
    inputs = tuple(map(form.source, types))
    made = build(form, *inputs)
    before = FormProgram(inputs, tuple(form.forms), made if isinstance(made, tuple) else (made,))
    return before, merged(before)


def words(program):
    return [word(form) for form in program.forms]


def test_the_same_forms_are_one():
    def build(form, x):
        a, b = (form.pointwise("exp", form.pointwise("sin", x)) for _ in range(2))
        return form.pointwise("add", a, b)

    before, after = programs(build, tensor(3))
    assert words(before) == ["source", "sin", "exp", "sin", "exp", "add"]
    assert words(after) == ["source", "sin", "exp", "add"]
    assert after.forms[-1].inputs[0] is after.forms[-1].inputs[1]


def test_what_differs_in_anything_stays():
    def build(form, x):
        return (
            form.reduce("sum", x, (0,)),
            form.reduce("sum", x, (1,)),
            form.reduce("max", x, (0,)),
            form.constant(0.0, x.dtype),
            form.constant(-0.0, x.dtype),
            form.constant(0, INT),
        )

    before, after = programs(build, tensor(3, 3))
    assert len(after.forms) == len(before.forms)


def test_nan_is_nan():
    def build(form, x):
        return form.constant(float("nan"), x.dtype), form.constant(float("nan"), x.dtype)

    assert len(programs(build, tensor())[1].forms) == 2


def test_host_steps_are_never_one():
    def build(form, x):
        return tuple([form.extern("step", (x,), (x.type,), lambda x: x) for _ in range(2)])

    before, after = programs(build, tensor(3))
    assert len(after.forms) == len(before.forms)


def test_tables_that_are_merged_are_still_read():
    def build(form, x):
        tables = [form.constant([2, 0, 1], INT, (3,)) for _ in range(2)]
        y, z = (form.view(x, (3,), lambda i, t=t: (form.load(t, i),)) for t in tables)
        twice = form.load(tables[1], form.load(tables[0], 0))
        return form.pointwise("add", y, z), form.view(x, (1,), lambda i: (twice,))

    before, after = programs(build, tensor(3))
    made = {x for form in after.forms for x in form.outputs}
    assert all(x in made for form in after.forms for x in form.inputs)
    assert words(after) == ["source", "constant", "view", "add", "view"]
    x = np.array([1, 2, 4], np.float32)
    for found, wanted in zip(evaluate_program(after, [x]), evaluate_program(before, [x])):
        assert found.tolist() == wanted.tolist()
