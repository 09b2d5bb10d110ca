"""Every row of the algebra table, held against numbers on which shortcuts go wrong.

A row is turned into a graph that it fits; the graph must be rewritten by that row, and give the
same bits before and after. Refused rules are refused for a reason: each has a witness.
"""

from __future__ import annotations

import inspect
from itertools import permutations, product

import numpy as np
import pytest

from jit.dims import symbol
from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.ir.verify import verify
from jit.passes import algebra
from jit.passes.algebra import FILLERS, TABLE, Algebra
from jit.passes.rewrite import Call, Rule, Uniform, Var, rewrite
from jit.types import TensorType, bool_, dtypes, float32, float64, kind
from tests.jit.toy import OPS, apply, bits, nasty, same_bits

KINDS = {"i": "signed", "u": "unsigned"}
SHAPE = (2, 3, 4)  # of what is moved about; arithmetic is tried on every nasty number

# Numbers to try where a row takes any constant.
NUMBERS = {
    "divide": [1.0, 4.0, -0.5, 2.0**10, 3.0, 0.0, 2.0**-18, 2.0**-130, 2.0**-1026],
    "pow": [2, 3],
}
# Attrs, from the outer op inwards, to try where a row has ops that move data or cast.
ATTRS = {
    ("permute_dims",): [[{"axes": (0, 1, 2)}], [{"axes": (2, 0, 1)}]],
    ("permute_dims", "permute_dims"): [
        [{"axes": (1, 2, 0)}, {"axes": (2, 0, 1)}],
        [{"axes": (0, 2, 1)}, {"axes": (1, 0, 2)}],
    ],
    ("reshape",): [[{"shape": SHAPE}], [{"shape": (24,)}]],
    ("reshape", "reshape"): [
        [{"shape": (4, 6)}, {"shape": (24,)}],
        [{"shape": SHAPE}, {"shape": (6, 4)}],
    ],
    ("broadcast_to",): [[{"shape": SHAPE}], [{"shape": (5, *SHAPE)}]],
    ("broadcast_to", "broadcast_to"): [[{"shape": (6, 5, *SHAPE)}, {"shape": (5, *SHAPE)}]],
}


def title(rule):
    return f"{shown(rule.pattern)}-{TABLE.index(rule)}"


def shown(pattern):
    if isinstance(pattern, Call):
        return f"{pattern.op}({','.join(map(shown, pattern.inputs))})"
    return pattern.name if isinstance(pattern, Var) else str(pattern.number)


def chain(pattern):
    """The ops along first inputs, the outer one first."""
    return (pattern.op, *chain(pattern.inputs[0])) if isinstance(pattern, Call) else ()


def claimed(rule):
    for dtype in dtypes.values():
        if (KINDS.get(dtype.kind) or kind(dtype)) in rule.kinds:
            yield dtype


def instances(rule, dtype):
    """Graphs over inputs of `dtype` that have the shape of the rule's pattern."""
    ops = chain(rule.pattern)
    if ops == ("astype",):
        attrs = [[{"dtype": dtype}]]
    elif ops == ("astype", "astype"):
        attrs = [
            [{"dtype": last}, {"dtype": middle}]
            for last in dtypes.values()
            for middle in dtypes.values()
        ]
    else:
        attrs = ATTRS.get(ops, [[{} for _ in ops]])
    for some, number, swap in product(attrs, NUMBERS.get(ops[0], [None]), [False, True]):
        yield instance(rule, dtype, some, number, swap)


def instance(rule, dtype, attrs, number, swap):
    graph = Graph()
    moved = ATTRS.get(chain(rule.pattern)) is not None
    inputs = {}

    def build(pattern, attrs):
        if isinstance(pattern, Uniform):
            given = number if pattern.number is None else pattern.number
            of = bool_ if rule.pattern.op == "where" else dtype
            return graph.constant(np.asarray(given).astype(of))
        if isinstance(pattern, Var):
            if pattern.name not in inputs:
                of = bool_ if pattern.name == "c" else dtype
                shape = SHAPE if moved else nasty(dtype).shape
                inputs[pattern.name] = graph.input(TensorType(shape, of), pattern.name)
            return inputs[pattern.name]
        xs = [build(inner, attrs[1:]) for inner in pattern.inputs]
        if swap and OPS[pattern.op].commutative:
            xs.reverse()
        return apply(graph, pattern.op, *xs, **attrs[0])

    graph.outputs = [build(rule.pattern, attrs)]
    return graph


def arguments(graph):
    for shift in range(2):
        yield [
            np.resize(np.roll(nasty(v.type.dtype), shift * k), v.type.shape)
            for k, v in enumerate(graph.inputs)
        ]


@pytest.mark.parametrize("rule", TABLE, ids=title)
def test_a_row_changes_no_bit(rule):
    fired = set()
    for dtype in claimed(rule):
        for graph in instances(rule, dtype):
            new, applied = rewrite(graph, [rule], OPS, FILLERS)
            verify(new)
            if applied[rule]:
                fired.add(dtype)
                with np.errstate(all="ignore"):
                    for arrays in arguments(graph):
                        before, after = Program(graph)(arrays), Program(new)(arrays)
                        assert same_bits(before, after), f"{dtype}\n{graph}\n{new}"
    tried = set(claimed(rule))
    if rule.pattern.op == "divide" and isinstance(rule.pattern.inputs[1], Uniform):
        tried -= {dtypes["bfloat16"]} if rule.pattern.inputs[1].number is None else set()
    if chain(rule.pattern) == ("astype", "astype"):
        tried -= {dtype for dtype in tried if dtype not in fired and kind(dtype) == "bool"}
    assert fired == tried, "the row claims a dtype for which it never applies"


@pytest.mark.parametrize("rule", [r for r in TABLE if chain(r.pattern) not in ATTRS], ids=title)
def test_scalars_obey_a_row_too(rule):
    """NumPy takes other paths for 0-d arrays and for one element."""
    for dtype in claimed(rule):
        for graph in instances(rule, dtype):
            new, applied = rewrite(graph, [rule], OPS, FILLERS)
            for shape in [(), (1,)] if applied else []:
                for number in nasty(dtype)[:20]:
                    arrays = [
                        np.full(shape, number, dtype).astype(v.type.dtype) for v in graph.inputs
                    ]
                    with np.errstate(all="ignore"):
                        assert same_bits(Program(graph)(arrays), Program(new)(arrays)), (
                            dtype,
                            number,
                        )


def test_every_row_ends_with_what_it_says():
    rows = [
        line for line in inspect.getsource(algebra).splitlines() if line.startswith("    Rule(")
    ]
    assert len(rows) == len(TABLE)
    assert all("  # " in row for row in rows)


def x_graph(build, dtype=float32):
    graph = Graph()
    x = graph.input(TensorType(nasty(dtype).shape, dtype), "x")
    graph.outputs = [build(graph, x)]
    return graph


def k(graph, number, dtype=float32):
    return graph.constant(dtype.type(number))


REFUSED = {
    "x + 0": lambda g, x: apply(g, "add", x, k(g, 0.0)),
    "0 - x": lambda g, x: apply(g, "subtract", k(g, 0.0), x),
    "x - (-0)": lambda g, x: apply(g, "subtract", x, k(g, -0.0)),
    "x - x": lambda g, x: apply(g, "subtract", x, x),
    "x * 0": lambda g, x: apply(g, "multiply", x, k(g, 0)),
    "x / x": lambda g, x: apply(g, "divide", x, x),
    "x * -1": lambda g, x: apply(g, "multiply", x, k(g, -1)),
    "a + (-b)": lambda g, x: apply(g, "add", k(g, 1), apply(g, "negative", x)),
    "x / 3": lambda g, x: apply(g, "divide", x, k(g, 3)),
    "x**1": lambda g, x: apply(g, "pow", x, k(g, 1)),
    "x**[2, 2]": lambda g, x: apply(g, "pow", x, g.constant(np.full(x.type.shape, 2, np.float32))),
    "max(x, -inf)": lambda g, x: apply(g, "maximum", x, k(g, -np.inf)),
}


@pytest.mark.parametrize("build", REFUSED.values(), ids=REFUSED)
def test_what_is_refused_stays(build):
    graph = x_graph(build)
    assert Algebra(OPS).run(graph) == graph


def test_refused_rules_have_witnesses():
    x = nasty(float32)
    with np.errstate(all="ignore"):
        pairs = [
            (x + 0, x),
            (0 - x, -x),
            (x - np.float32(-0.0), x),
            (x - x, np.zeros_like(x)),
            (x * 0, np.zeros_like(x)),
            (x / x, np.ones_like(x)),
            (x * -1, -x),
            (1 + -x, 1 - x),
            (x / 3, x * np.float32(1 / 3)),
        ]
        z = nasty(np.dtype("complex64"))
        pairs += [(z * 1, z), (z / 1, z), (z + np.complex64(-0.0), z)]
        u = nasty(np.dtype("uint8"))
        pairs += [(abs(-u), u)]
    assert all(bits(old) != bits(new) for old, new in pairs)


def test_permutations_compose_in_the_right_order():
    x = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    for inner, outer in product(permutations(range(3)), repeat=2):
        graph = Graph()
        value = graph.input(TensorType(x.shape, float32), "x")
        for axes in (inner, outer):
            value = apply(graph, "permute_dims", value, axes=axes)
        graph.outputs = [value]
        new = Algebra(OPS).run(graph)
        assert same_bits(Program(new)([x]), Program(graph)([x])), (inner, outer)
        assert len(new.live_nodes()) <= 1


def test_a_rule_that_would_change_the_type_does_not_apply():
    graph = Graph()
    x = graph.input(TensorType((3,), float32), "x")
    ones = graph.constant(np.ones((2, 3), np.float32))
    graph.outputs = [apply(graph, "multiply", x, ones)]
    assert Algebra(OPS).run(graph) == graph


def test_constants_are_seen_through_what_fills_arrays():
    graph = Graph()
    x = graph.input(TensorType((2, 3), float32), "x")
    full = apply(graph, "full", shape=(3, 2), value=1.0, dtype=float32)
    turned = apply(graph, "permute_dims", full, axes=(1, 0))
    spread = apply(graph, "broadcast_to", graph.constant(np.float32(1)), shape=(2, 3))
    graph.outputs = [apply(graph, "multiply", apply(graph, "multiply", x, turned), spread)]
    new = Algebra(OPS).run(graph)
    assert new.outputs == new.inputs


def test_a_dimension_is_no_known_number():
    graph = Graph()
    n = symbol("n", lo=1)
    x = graph.input(TensorType((n,), float32), "x")
    full = apply(graph, "full", shape=(), value=n, dtype=float32)
    graph.outputs = [apply(graph, "multiply", x, full)]
    assert Algebra(OPS).run(graph) == graph


def test_long_chains_collapse(golden):
    graph = Graph("chains")
    x = graph.input(TensorType((4, 2), float32), "x")
    y = apply(graph, "multiply", x, graph.constant(np.float32(1)), source="nets.py:1")
    for _ in range(3):
        y = apply(graph, "permute_dims", y, axes=(1, 0), source="nets.py:2")
    y = apply(graph, "negative", apply(graph, "negative", y), source="nets.py:3")
    y = apply(graph, "astype", apply(graph, "astype", y, dtype=float64), dtype=float32)
    z = apply(graph, "divide", y, graph.constant(np.float32(8)), source="nets.py:4")
    w = apply(graph, "pow", z, graph.constant(np.float32(2)), source="nets.py:5")
    same = apply(graph, "equal", w, w)
    graph.outputs = [apply(graph, "where", same, w, w), apply(graph, "add", w, w)]
    golden("jit_algebra", f"{graph}\n\n{Algebra(OPS).run(graph)}")


def test_without_the_op_a_rule_leaves_the_node():
    graph = x_graph(lambda g, x: apply(g, "divide", x, k(g, 4)))
    assert Algebra().run(graph) == graph
    assert [node.op.name for node in Algebra(OPS).run(graph).live_nodes()] == [
        "constant",
        "multiply",
    ]


def chain_graph(length):
    graph = Graph()
    x = value = graph.input(TensorType((3,), float32), "x")
    one = graph.constant(np.float32(1))
    for number in range(length):
        value = apply(graph, "multiply", value, one)
        value = apply(graph, "negative", value)
        value = apply(graph, "add", value, x) if number % 3 == 0 else value
    graph.outputs = [value]
    return graph


def test_one_sweep_reaches_the_fixed_point_in_linear_work():
    counts = {}
    for length in (500, 1000):
        new, applied = rewrite(chain_graph(length), TABLE, OPS, FILLERS)
        again, more = rewrite(new, TABLE, OPS, FILLERS)
        assert not more
        assert again == new
        counts[length] = sum(applied.values())
    assert counts[500] > 500
    assert counts[1000] <= 2.01 * counts[500]


def test_a_pattern_fits_in_both_orders_and_backtracks():
    rule = Rule(
        Call("add", (Var("x"), Call("multiply", (Var("x"), Var("y"))))), Var("x"), ("floating",)
    )
    for order in product([False, True], repeat=2):
        graph = Graph()
        x, y = (graph.input(TensorType((3,), float32), name) for name in "xy")
        inner = apply(graph, "multiply", *((y, x) if order[0] else (x, y)))
        graph.outputs = [apply(graph, "add", *((inner, x) if order[1] else (x, inner)))]
        new, applied = rewrite(graph, [rule], OPS)
        assert applied[rule] == 1
        assert new.outputs == new.inputs[:1]
