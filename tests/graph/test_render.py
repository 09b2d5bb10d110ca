"""One program in three forms: each runs, and all give the same numbers."""

from __future__ import annotations

import re

import pytest

import dualflow as df
import jit
from dualflow.core.op import registry
from jit.compiler import pipeline
from jit.ir.text import parse
from jit.passes.base import run_passes
from tests.modes import bits


def two_layers(x, y, w1, w2):
    h = df.nn.functional.relu(df.matmul(x, w1))
    y_pred = df.matmul(h, w2)
    return df.mean(df.sum((y_pred - y) ** 2, axis=1))


def by_hand(x, y, w1, w2):
    y_pred = x.mm(w1).clamp(min=0).mm(w2)
    return (y_pred - y).pow(2).sum()


def attention(x, w1, w2):
    scores = df.nn.functional.softmax((x @ w1) @ df.permute_dims(x @ w2, (1, 0)), axis=-1)
    return df.where(scores > 0.1, scores, df.zeros_like(scores)).sum()


def pieces(x):
    first, second = df.split(df.reshape(x, (2, 6)), 2, axis=1)
    return df.concat([first, second[:, ::-1]], axis=0), df.sort(x, axis=-1)


LARGE = df.zeros(200)
NOTES = [(64, 1000), (64, 10), (1000, 100), (100, 10)]  # the sizes of the notes' two-layer net
CASES = [
    (two_layers, NOTES, ["w1", "w2"]),
    (by_hand, NOTES, ["w1", "w2"]),
    (attention, [(5, 4), (4, 4), (4, 4)], ["x"]),
    (pieces, [(3, 4)], []),
]


def plain(text):
    """A graph without lines of programs, and with each constant once."""
    passes = pipeline(registry)
    return re.sub(" *# .*", "", str(run_passes(parse(text, registry), passes)[0]))


@pytest.mark.parametrize(("function", "shapes", "wrt"), CASES)
def test_each_form_runs_and_goes_round(function, shapes, wrt):
    args = [df.randn(shape) for shape in shapes]
    names = function.__code__.co_varnames[: len(args)]
    sources = [args[names.index(name)] for name in wrt]
    with df.GradientTape() as tape:
        tape.watch(sources)
        results = function(*args)
    results = list(results) if isinstance(results, tuple) else [results]
    wanted = results + (list(tape.gradient(results[0], sources)) if wrt else [])
    spaces = {}
    for form in ("tape", "session"):
        space = spaces[form] = {}
        exec(df.render(df.function(function), *args, as_=form, wrt=wrt), space)
        found = space[function.__name__](*args)
        found = list(found) if isinstance(found, tuple | list) else [found]
        assert [bits(x) for x in found] == [bits(x) for x in wanted], form
    text = df.render(function, *args, as_="ir", wrt=wrt)
    assert plain(df.render(spaces["tape"][function.__name__], *args, as_="ir")) == plain(text)
    graph = parse(text, registry)
    found = jit.compile(graph, ops=registry)([x.raw for x in args])
    assert [bits(x) for x in found] == [bits(x) for x in wanted]


def test_how_they_read(golden):
    args = [df.TensorSpec(s) for s in ((64, 1000), (64, 10), (1000, 100), (100, 10))]
    for form in ("tape", "session"):
        golden(f"graph/render_{form}", df.render(two_layers, *args, as_=form, wrt=["w1", "w2"]))


SCALE = df.Variable(2.0)


def test_variables_become_arguments_under_the_names_that_code_has():
    net = df.nn.Sequential(df.nn.Linear(3, 2), df.nn.Linear(2, 2, bias=False))
    parts, x = {"shift": df.Variable([1.0, 2.0])}, df.ones((1, 3))

    def head(form, function):
        lines = df.render(function, x, as_=form).splitlines()
        return next(line for line in lines if line.startswith(("def ", "graph ")))

    python = head("tape", lambda x: net(x) * SCALE + parts["shift"])
    names = "x, net_0_weight, net_0_bias, net_1_weight, SCALE, parts_shift"
    assert python == f"def program({names}):"
    assert "%net_0_weight: float32[2,3]" in head("ir", lambda x: net(x))
    assert (
        head("tape", net[0])
        == head("tape", df.function(net[0]))
        == ("def Linear(x, weight, bias):")
    )
    assert head("tape", net[0].forward) == "def forward(x, weight, bias):"
    space = {}
    exec(df.render(net, x, as_="session"), space)
    values = [x.numpy(), *(p.numpy() for p in net.parameters())]
    assert bits(space["Sequential"](*values)[0]) == bits(net(x))


def test_names_that_are_taken_get_numbers():
    w = df.Variable(2.0)

    def scaled(x, df_=None):
        tape = w
        return x * tape

    assert "def scaled(x, w):" in df.render(scaled, df.ones(2), as_="tape")
    x, tape = df.Variable(3.0), df.Variable(4.0)
    text = df.render(lambda y: y * x + tape, df.ones(2), as_="tape")
    assert "def program(y, x, tape_1):" in text


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: df.render(two_layers, as_="onnx"), ValueError, "tape, session, ir"),
        (lambda: df.render(attention, df.ones(1), wrt=["q"]), ValueError, "q; it has"),
        (lambda: df.render(pieces, df.TensorSpec((None, 3))), df.errors.TraceError, "is open"),
        (
            lambda: df.render(lambda x: x + LARGE, df.ones(200), as_="tape"),
            df.errors.TraceError,
            "a constant of 200",
        ),
        (
            lambda: df.render(lambda x, y: x * 2.0, df.ones(2), df.ones(2), wrt=["y"]),
            df.errors.TraceError,
            "does not depend on y",
        ),
    ],
)
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
