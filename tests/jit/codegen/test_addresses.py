"""Addresses: where the parts of an index are added, and to what."""

from __future__ import annotations

from jit.codegen.addresses import Addresses
from jit.loops.ir import INDEX, Let, Var


def test_a_pointer_that_is_chosen_in_a_loop_is_moved_behind_it():
    addresses, outer, inner = Addresses(), list[str](), list[str]()
    n, t, index = Var(INDEX, "n"), Var(INDEX, "t"), Var(INDEX, "index")
    with addresses.loop(outer):
        addresses.chosen("%b")
        with addresses.loop(inner):
            addresses.define(t)
            addresses.define(index)
            addresses.note(Let(index, "add", (n, t)))
            assert addresses.split(index, "%a") == ([n], [t])
            assert addresses.moved("%a", n, "%p1", "%n", "float") == "%p1"
            assert addresses.split(index, "%b") == ([n], [t])
            assert addresses.moved("%b", n, "%p2", "%n", "float") == "%p2"
            assert addresses.moved("%p2", n, "%p3", "%n", "float") == "%p3"
        addresses.define(t)
        addresses.define(index)
        assert addresses.split(index, "%b") == ([], [index])
    assert outer == ["%p1 = getelementptr float, ptr %a, i64 %n"]
    assert inner == [
        "%p2 = getelementptr float, ptr %b, i64 %n",
        "%p3 = getelementptr float, ptr %p2, i64 %n",
    ]
