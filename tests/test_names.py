"""The table of foreign names: every row leads somewhere, and hints come from it."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from functools import reduce

import pytest

import dualflow as df
from dualflow import names
from dualflow.core.numpy_protocol import found

FUNCTIONS = names.rows(names.FUNCTIONS)
ATTRIBUTES = names.rows(names.ATTRIBUTES)


@pytest.mark.parametrize("row", FUNCTIONS + ATTRIBUTES, ids=lambda row: row.foreign[0])
def test_our_name_exists(row):
    if row.ours.startswith("df."):
        path = re.match(r"df\.([\w.]+)", row.ours)[1]
        reduce(getattr, path.split("."), df)
    elif row.ours.startswith("x."):
        for attribute in re.match(r"x\.([\w.]+)", row.ours)[1].split(".")[:1]:
            assert hasattr(df.asarray([[1.0]]), attribute)
    elif row.ours.startswith("np."):
        assert all(found(name) is not None for name in row.foreign)
    for note in re.findall(r"\bdf\.([\w.]+)", row.note):
        reduce(getattr, note.split("."), df)


def test_no_row_hides_behind_a_name_of_ours():
    public = set(vars(df))
    assert [n for row in FUNCTIONS for n in row.foreign if n in public] == []
    x = df.asarray([[1.0]])
    assert [n for row in ATTRIBUTES for n in row.foreign if hasattr(x, n)] == []


def test_rows_are_complete_and_names_unique():
    for table in (names.FUNCTIONS, names.ATTRIBUTES, names.WORDS):
        rows = names.rows(table)
        foreign = [name for row in rows for name in row.foreign]
        assert len(foreign) == len(set(foreign))
        assert all(row.ours for row in rows)
        frameworks = {framework for row in rows for framework in row.frameworks}
        assert frameworks <= {"PyTorch", "TensorFlow", "Keras", "NumPy", "JAX"}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: df.reduce_sum,
            "dualflow has no reduce_sum (TensorFlow): df.sum(x, axis=..., keepdims=...)",
        ),
        (lambda: df.manual_seed, "dualflow has no manual_seed (PyTorch): df.random.seed(n)"),
        (lambda: df.tensor, "dualflow has no tensor (PyTorch): df.asarray(x, dtype=...)"),
        (
            lambda: df.cumulative_summ,
            "dualflow has no cumulative_summ: did you mean df.cumulative_sum?",
        ),
        (lambda: df.qqqqqq, "dualflow has no qqqqqq"),
        (lambda: df.svd, "dualflow has no svd: it is df.linalg.svd"),
        (
            lambda: df.segment_sum,
            "dualflow has no segment_sum: it is df.nn.functional.segment_sum",
        ),
        (lambda: df.linalg.einsum, "dualflow.linalg has no einsum: it is df.einsum"),
        (
            lambda: df.linalg.norm,
            "dualflow.linalg has no norm (NumPy): df.linalg.vector_norm(x, axis=...) "
            "(df.linalg.matrix_norm of matrices)",
        ),
        (
            lambda: df.random.uniformm,
            "dualflow.random has no uniformm: did you mean df.random.uniform?",
        ),
        (lambda: df.fft.qqqqqq, "dualflow.fft has no qqqqqq"),
    ],
)
def test_unknown_functions(ask, message):
    with pytest.raises(AttributeError) as caught:
        ask()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("view", "a Tensor has no view (PyTorch): x.reshape(shape)"),
        ("sin", "a Tensor has no sin: it is a function, df.sin(x)"),
        ("reshap", "a Tensor has no reshap: did you mean x.reshape?"),
        ("qqqqqq", "a Tensor has no qqqqqq"),
        ("__cuda_array_interface__", "a Tensor has no __cuda_array_interface__"),
    ],
)
def test_unknown_attributes(name, message):
    with pytest.raises(AttributeError) as caught:
        getattr(df.asarray(1.0), name)
    assert str(caught.value) == message


def test_a_variable_is_called_one():
    with pytest.raises(AttributeError, match=re.escape("a Variable has no unsqueeze (PyTorch)")):
        _ = df.Variable(1.0).unsqueeze


def with_axis_words():
    """The public functions that take an axis, and how many positional arguments they ask for."""
    for space in (df, df.nn.functional):
        for name in space.__all__:
            function = getattr(space, name)
            if isinstance(function, type) or not callable(function):
                continue
            parameters = inspect.signature(function).parameters.values()
            if {"axis", "axes", "keepdims"} & {p.name for p in parameters}:
                required = [
                    p for p in parameters if p.default is p.empty and p.kind < p.VAR_POSITIONAL
                ]
                yield pytest.param(function, len(required), id=name)


@pytest.mark.parametrize(("function", "required"), list(with_axis_words()))
def test_wrong_words(function, required):
    name = function.__name__
    with pytest.raises(TypeError, match=re.escape(f"{name}() takes no dim= (PyTorch): axis=")):
        function(*[df.ones((2, 2))] * required, dim=1)


METHODS = "sum prod mean max min argmax argmin any all var std cumulative_sum squeeze".split()


@pytest.mark.parametrize("name", METHODS)
def test_wrong_words_of_methods(name):
    with pytest.raises(TypeError, match=re.escape(f"{name}() takes no dim= (PyTorch): axis=")):
        getattr(df.ones((2, 2)), name)(dim=1)


@pytest.mark.parametrize("name", "uniform normal randint".split())
def test_wrong_words_of_samplers(name):
    with pytest.raises(TypeError, match=re.escape(f"{name}() takes no size= (PyTorch): shape=")):
        getattr(df.random, name)(size=(2, 3))
    with pytest.raises(TypeError, match="takes no size="):
        df.zeros(size=(2, 3))


def test_wrong_words_are_told_together():
    x = df.asarray([[1.0]])
    with pytest.raises(TypeError) as caught:
        df.sum(x, dim=1, keepdim=True, blah=2)
    assert str(caught.value) == (
        "sum() takes no dim= (PyTorch): axis=, no keepdim= (PyTorch): keepdims=, no blah="
    )


def test_the_page_shows_every_name():
    page = names.markdown()
    for table in (names.FUNCTIONS, names.ATTRIBUTES, names.WORDS):
        for row in names.rows(table):
            assert all(f"`{name}`" in page for name in row.foreign)
            assert row.ours in page


def test_import_loads_no_tracing_and_no_passes_until_they_are_used():
    script = """
import sys
import dualflow as df
heavy = ["dualflow.tracing.trace", "dualflow.tracing.sweeps", "jit.passes.rewrite"]
print([name for name in heavy if name in sys.modules])
w = df.Variable([1.0, 2.0])
(w * w).sum().backward()
print(w.grad.tolist(), heavy[1] in sys.modules, heavy[0] in sys.modules, df.function is df.function)
from dualflow import *
print(function is df.function, TensorSpec is df.TensorSpec)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.stdout.splitlines() == ["[]", "[2.0, 4.0] True True True", "True True"], ran.stderr
