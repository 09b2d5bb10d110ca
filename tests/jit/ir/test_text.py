"""Graph text is read back as the same graph, and bad text is refused with its line."""

from __future__ import annotations

import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given

from jit.dims import same, symbol
from jit.errors import GraphError
from jit.ir.graph import Graph
from jit.ir.text import parse
from jit.types import TensorType, dtypes, float32
from tests.jit.toy import OPS, apply, bits, graphs, symbolic_graph

n, m = symbol("n", hint=5), symbol("m", lo=3, hi=64)
DIMS = [n, 2 * n + 1, (n + 1) // 4, n * m - 3, (n + m) % 7, -n, n**2]

scalars = st.one_of(
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.booleans(),
    st.none(),
    st.text(),
    st.sampled_from(list(dtypes.values())),
    st.sampled_from(DIMS),
)
statics = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


@st.composite
def arrays(draw):
    dtype = draw(st.sampled_from(list(dtypes.values())))
    shape = draw(st.sampled_from([(), (1,), (3,), (2, 0), (2, 3), (5, 5)]))
    count = int(np.prod(shape)) * dtype.itemsize
    raw = draw(st.binary(min_size=count, max_size=count))
    if dtype.kind == "b":
        raw = bytes(byte % 2 for byte in raw)
    return np.frombuffer(raw, dtype).reshape(shape)


def alike(a, b):
    """Equal attrs: type for type, bit for bit."""
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, float | complex):
        return type(a) is type(b) and repr(a) == repr(b)
    return type(a) is type(b) and same(a, b)


@given(graphs())
def test_the_text_of_a_graph_reads_back(graph):
    again = parse(str(graph), OPS)
    assert again == graph
    assert str(again) == str(graph)
    assert [node.source for node in again.nodes] == [node.source for node in graph.nodes]


@given(st.dictionaries(st.sampled_from(["a", "b1", "some_name"]), statics))
def test_attrs_read_back_as_they_were(attrs):
    graph = Graph()
    x = graph.input(TensorType((n, m), float32), "x")
    graph.outputs = [apply(graph, "label", x, **attrs)]
    again = parse(str(graph), OPS)
    read = again.nodes[0].attrs
    assert again == graph
    assert list(read) == list(attrs)
    assert all(alike(attrs[name], read[name]) for name in attrs)


@given(arrays())
def test_arrays_read_back_in_every_bit(array):
    graph = Graph()
    graph.outputs = [graph.constant(array)]
    value = parse(str(graph), {}).nodes[0].attrs["value"]
    assert bits(value) == bits(array)
    assert not value.flags.writeable


def test_short_arrays_are_shown_in_figures():
    graph = Graph()
    for array in [np.float32(0.1), np.array([True, False]), ml_dtypes.bfloat16(1.5), 2 - 1j]:
        graph.constant(array)
    text = str(graph)
    for shown in ["(0.1)", "(True, False)", "bfloat16[](1.5)", "complex128[]((2-1j))"]:
        assert shown in text
    assert "base64" not in text


def test_symbols_are_declared_with_bounds_and_hints(golden):
    graph = symbolic_graph()
    golden("jit_graph_symbols", str(graph))
    again = parse(str(graph), OPS)
    assert str(again) == str(graph)
    (found,) = again.inputs[0].type.shape[0].symbols()
    assert (found.name, found.hint, found.lo, found.hi) == ("n", 5, 2, None)


def test_names_become_identifiers_and_unique():
    graph = Graph("<lambda> 1")
    for name in ["x", "x", "x_1", "y_1", "y", "y", None, "a b", "0", "layers.0.w"]:
        graph.input(TensorType((), float32), name)
    header = str(graph).splitlines()[0]
    names = [part.split(":")[0] for part in header.split("%")[1:]]
    assert names == ["x", "x_1", "x_1_1", "y_1", "y", "y_2", "in6", "a_b", "_0", "layers.0.w"]
    assert header.startswith("graph _lambda__1(")
    assert str(parse(str(graph), {})) == str(graph)


GOOD = """graph f[n>=2 hint 5](%x: float32[n,4]) {
  %0: float32[n,4] = negative(%x)
  return %0
}"""


def test_blank_lines_and_other_spaces_do_not_count():
    spaced = GOOD.replace("\n", "\n\n").replace(" = ", "  =  ").replace("  %0", "      %0")
    assert parse(f"\n{spaced}\n", OPS) == parse(GOOD, OPS)


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("graph f", "grap f", 1, "does not open a graph"),
        ("[n>=2 hint 5]", "[n=2]", 1, "declares no symbol"),
        ("[n>=2 hint 5]", "[n>=2 hint 1]", 1, "hint 1"),
        ("[n>=2 hint 5]", "", 1, "no dimension is called 'n'"),
        ("%x: float32[n,4]", "%x: float33[n,4]", 1, "is no type"),
        ("%x: float32[n,4]", "%x", 1, "no value with its type"),
        ("%x: float32[n,4]", "%x: float32[n,4], %x: float32[]", 1, "assigned twice"),
        ("%0: float32[n,4] = neg", "%x: float32[n,4] = neg", 2, "assigned twice"),
        ("negative(", "negate(", 2, "no op is called 'negate'"),
        ("(%x)\n", "(%y)\n", 2, "%y is not assigned"),
        ("(%x)\n", "(%x) {axis}\n", 2, "no attr"),
        ("(%x)\n", "(%x) {axis=k}\n", 2, "no dimension is called 'k'"),
        ("(%x)\n", '(%x) {s="a\\q"}\n', 2, "cannot be read"),
        ("(%x)\n", "(%x) {v=int8[2](1)}\n", 2, "cannot be read"),
        ("(%x)\n", "(%x) {v=int8[1](300)}\n", 2, "cannot be read"),
        ("(%x)\n", '(%x) {v=int8[1](base64 "?")}\n', 2, "cannot be read"),
        ("(%x)\n", "(%x\n", 2, "not a node"),
        ("return %0", "return %1", 3, "%1 is not assigned"),
        ("return %0", "yield %0", 3, "not a node"),
        ("  return %0\n", "", 3, "says nowhere what it returns"),
        ("return %0", "return %0\n%1: float32[n,4] = abs(%x)", 4, "ends after its `return`"),
        ("\n}", "", 3, "ends inside"),
        ("\n}", "\n}\n}", 5, "more text"),
    ],
)
def test_bad_text_is_refused_with_its_line(old, new, line, what):
    assert old in GOOD
    bad = GOOD.replace(old, new, 1)
    with pytest.raises(GraphError) as caught:
        parse(bad, OPS)
    assert what in caught.value.what
    assert caught.value.location == f"line {line}: {bad.splitlines()[line - 1].strip()}"


@pytest.mark.parametrize("text", ["", "\n", "graph"])
def test_text_without_a_graph_is_refused(text):
    with pytest.raises(GraphError, match="graph text"):
        parse(text, OPS)
