"""Interleaving: chains side by side, the same bits, memory in its order, registers not exceeded."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from jit.loops.expand import expand
from jit.loops.interleave import interleaved
from jit.loops.ir import INDEX, Kernel, Let, Lit, Load, Var, index, operands
from jit.loops.writer import Writer
from jit.runtime.cpu import host_target
from jit.target import Target, gpu
from tests.jit.loops.kernels import both, floats, given, kernel_of, nothing, result, same_bits
from tests.jit.loops.programs import program

LANES = 8
AVX2 = Target("x86_64-unknown-linux-gnu", "x86-64-v3", "", 32, 16)


def functions(count: int, lanes: int = LANES) -> Kernel:
    """So many functions of one vector, one after the other, and the sum of all."""
    w, x, y = Writer(), given("x"), result("y")
    value = w.load(x, index(0), lanes)
    found = [w.let(("exp", "tanh", "exp2")[k % 3], value) for k in range(count)]
    total = found[0]
    for other in found[1:]:
        total = w.let("add", total, other)
    w.store(y, index(0), total)
    return expand(kernel_of(w, [x, y]))


def alive(kernel: Kernel) -> int:
    """How many vectors are needed at once, at most."""
    last = {x: k for k, s in enumerate(kernel.body) for x in operands(s)}
    most, now = 0, set[Var]()
    for k, s in enumerate(kernel.body):
        now = {x for x in now if last[x] > k}
        if isinstance(s, Let | Load) and s.var in last and s.var.type.lanes > 1:
            now.add(s.var)
        most = max(most, len(now))
    return most


def steps(kernel: Kernel) -> list[int]:
    """Of each multiply-add, the number of those that it waits for, in the order of the kernel."""
    depth: dict[object, int] = {}
    found = []
    for s in kernel.body:
        if isinstance(s, Let | Load):
            depth[s.var] = max((depth.get(x, 0) for x in operands(s)), default=0)
            if isinstance(s, Let) and s.op == "fma":
                found.append(depth[s.var])
                depth[s.var] += 1
    return found


def test_chains_are_side_by_side():
    kernel = functions(3)
    before, after = steps(kernel), steps(interleaved(kernel, AVX2))
    assert sorted(before) == sorted(after)
    half = len(before) // 2
    assert max(before[:half]) == max(before)  # the first chain is done
    assert max(after[:half]) < max(after) - 3  # and here none is


@pytest.mark.parametrize("count", [3, 9])
def test_no_more_is_alive_than_registers_hold(count):
    kernel = functions(count)
    found = alive(interleaved(kernel, AVX2))
    assert found <= max(AVX2.registers * 5 // 4, alive(kernel)) + 1


@pytest.mark.parametrize("seed", range(12))
def test_values_stay_the_same(seed):
    random = Random(seed)
    made = program(random, random.choice([2, LANES]), 40, 60)
    direct = expand(made.kernel)
    same_bits(direct, interleaved(direct, AVX2), made.arrays, made.sizes)


def test_memory_keeps_its_order():
    w, x, y = Writer(), given("x"), both("y")
    value = w.load(x, index(0), LANES)
    positive = w.let("greater", w.let("tanh", value), Lit(0.0, value.type))
    old = w.load(y, index(0), LANES, positive, value)  # waits for long, the next line does not
    w.store(y, index(0), value)
    new = w.load(y, index(0), LANES)
    w.store(y, index(LANES), w.let("add", w.let("exp", old), new))
    w.store(y, index(0), w.let("exp2", value))
    kernel = expand(kernel_of(w, [x, y]))
    after = interleaved(kernel, AVX2)
    assert after.body != kernel.body
    same_bits(kernel, after, [floats(LANES), nothing(2 * LANES)])


def test_what_holds_no_long_chains_stays_as_it_is():
    w, x, y = Writer(), given("x"), result("y")
    item = Var(INDEX, "item")
    for k in range(40):  # as in the tile of a product: memory for each instruction
        at = index(k * LANES)
        w.store(y, at, w.let("multiply", w.load(x, at, LANES), w.load(x, at, LANES)))
    kernel = kernel_of(w, [x, y], item=item)
    assert interleaved(kernel, AVX2).body == kernel.body


def test_threads_of_a_gpu_and_code_in_a_hurry_need_none():
    kernel = functions(3)
    for target in (gpu("sm_90"), replace(host_target(), hurry=True)):
        assert interleaved(kernel, target) is kernel
    assert interleaved(kernel, AVX2).body != kernel.body
