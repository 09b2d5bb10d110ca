"""Python's own ways of control, and the places that code comes from: no source text is read."""

from __future__ import annotations

import builtins
import inspect
import linecache
import subprocess
import sys
from pathlib import Path

import pytest

import dualflow as df
from tests.modes import graphs_only
from tests.tracing.both import agree, vector

SOURCE = (Path(__file__).parent / "language.py").read_text(encoding="utf-8")


def run_as(name: str, filename: str) -> list[str]:
    """The lines of `main()` after running the text in a namespace of its own."""
    namespace = {"__name__": name, "__builtins__": builtins}
    exec(compile(SOURCE, filename, "exec"), namespace)
    return namespace["main"]()


@pytest.fixture(scope="module")
def from_a_file() -> list[str]:
    from tests.tracing import language

    return language.main()


@graphs_only
def test_r20_r22_every_program_is_compiled_and_equals_eager(from_a_file):
    assert len(from_a_file) == 13
    for line in from_a_file:
        name, mode, graph, *results = line.split(" ")
        assert (mode, graph) == ("compiled", "True"), name
        assert "NOT" not in results, line


def test_r21_from_exec(from_a_file):
    assert run_as("anything", "<string>") == from_a_file


def test_r21_from_notebook_cells(from_a_file):
    """A kernel runs cells in `__main__`, each compiled under a name that no file has."""
    namespace = {"__name__": "__main__", "__builtins__": builtins}
    for k, cell in enumerate(SOURCE.split("\n\n\n")):
        exec(compile(cell, f"/tmp/ipykernel_1/{k}.py", "exec"), namespace)
    assert namespace["main"]() == from_a_file


def test_r21_from_stdin(from_a_file):
    ran = subprocess.run(
        [sys.executable, "-"],
        input=SOURCE + "\nprint(*main(), sep='\\n')\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines() == from_a_file


def test_r21_without_any_source(from_a_file, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("could not get source code")

    for name in ("getsource", "getsourcelines", "findsource", "getsourcefile"):
        monkeypatch.setattr(inspect, name, refuse)
    monkeypatch.setattr(linecache, "getline", lambda *args, **kwargs: "")
    monkeypatch.setattr(linecache, "getlines", lambda *args, **kwargs: [])
    assert run_as("nowhere", "<nowhere>") == from_a_file


def test_r21_an_error_without_source_still_names_the_line():
    net = {}
    exec(compile("def net(x):\n    return x @ x", "<cell>", "exec"), {}, net)
    f = df.function(net["net"])
    for _ in range(2):
        with pytest.raises(df.errors.ShapeError) as caught:
            f(df.ones((2, 3)))
        assert str(caught.value).splitlines()[-1] == "  at <cell>:2"


@graphs_only
def test_r21_a_function_without_code_is_decorated():
    f = df.function(df.tanh, strict=True)
    for _ in range(2):
        assert f(vector(0)).tolist() == [0.0]
    assert f.from_graph == 1


# ----- R27: rebinding a Variable -----


def rebound(python):
    texts = set()
    for call in (python, df.function(python)):
        with pytest.raises(AttributeError) as caught:
            call(vector(1, 2))
        texts.add(str(caught.value))
    (text,) = texts
    return text


def test_r27_a_name_that_is_no_variable_any_more():
    v = df.Variable([1.0, 2.0])
    line = rebound_line() - 1

    def f(x):
        w = v
        w = w + x
        w.assign(x)

    assert rebound(f) == (
        "a Tensor has no assign: w is now a Tensor, not the Variable created at "
        f"test_language.py:{line}; use w.assign(w + x) or w += x"
    )


class Holder:
    """Anything with an attribute."""


@pytest.mark.parametrize("place", ["weights[1]", "weights['w']", "weights.w"])
def test_r27_what_is_kept_somewhere_and_is_no_variable_any_more(place):
    v = df.Variable([1.0, 2.0])
    scope = {}
    exec(
        f"def updated(x, weights):\n    {place} = {place} * 2.0 + x\n    {place}.assign_add(x)\n",
        scope,
    )

    def f(x):
        kept = [x, v] if "1" in place else {"w": v}
        if "." in place:
            kept = Holder()
            vars(kept)["w"] = v
        scope["updated"](x, kept)

    text = rebound(f)
    assert text.startswith(f"a Tensor has no assign_add: {place} is now a Tensor, not the Variable")
    assert text.endswith(f"use {place}.assign({place} + x) or {place} += x")


def rebound_line() -> int:
    """The caller's line."""
    frame = inspect.currentframe()
    return frame.f_back.f_lineno  # type: ignore[union-attr]


@pytest.mark.parametrize("method", ["assign_add", "assign_sub", "zero_", "read_value", "trainable"])
def test_r27_the_other_methods_of_a_variable(method):
    v = df.Variable([1.0, 2.0])

    def f(x):
        here = df.tanh(v * 2.0)
        return getattr(here, method)

    assert f"a Tensor has no {method}: here is now a Tensor, not the Variable" in rebound(f)


def test_r27_a_tensor_that_never_was_a_variable():
    assert "not the Variable" not in rebound(lambda x: x.assign(x))


@graphs_only
def test_r27_in_place_operators_assign():
    def program():
        v = df.Variable([1.0, 2.0])

        def f(x):
            w = v
            w += x
            w *= 2.0
            return w is v, w + 0.0

        return f, v

    f = agree(program, [(vector(1, k),) for k in range(3)])
    assert f.from_graph == 2


# ----- R20: containers under control flow by values -----


@graphs_only
def test_r20_lists_of_any_shapes_that_depend_on_values():
    def program():
        def beams(x):
            found, left = [], [x]
            while left:
                y = left.pop()
                if len(y) > 1 and y.sum() > 8.0:
                    left += [y[: len(y) // 2], y[len(y) // 2 :]]
                else:
                    found.append(y * 2.0)
            return found, {len(y): y for y in found}

        return beams, None

    calls = [(df.arange(n, dtype=df.float32) + k,) for n in (4, 8) for k in (0.0, 2.0, 5.0)] * 2
    f = agree(program, calls)
    assert f.from_graph >= 6
