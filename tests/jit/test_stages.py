"""Every op sample gives the same at every stage of compilation, and so do typical programs."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
import jit
from dualflow.core import doors
from dualflow.core.op import registry
from jit.errors import LaunchFailed
from jit.ir.text import parse
from tests.jit.agreement import check
from tests.jit.examples import EXAMPLES, example
from tests.jit.stages import Stages, bits, cost
from tests.ops import laws
from tests.ops.laws import cases
from tests.samples import SAMPLES

NAMES = sorted(SAMPLES)
SMALL, LARGE = 1500, 30_000  # about so many additions are interpreted, by slow tests more


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    """The one warning about float64 is not what this is about."""
    monkeypatch.setattr(doors, "_told", {"before"})


@pytest.mark.parametrize("name", NAMES)
def test_stages_agree(name):
    for case in cases(name, None):
        call = laws.traced(name, case.number, None)
        made = Stages(call.graph)
        few = case.number == 0 and cost(made) <= SMALL
        check(made, call.inputs, case, interpreted=few)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_stages_agree_in_all_dtypes(name):
    for case in cases(name, None, "float64", *laws.OTHERS):
        call = laws.traced(name, case.number, case.dtype)
        made = Stages(call.graph)
        check(made, call.inputs, case, interpreted=cost(made) <= LARGE)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_stages_of_gradients_agree(name):
    for case in list(laws.differentiable(name, "float32"))[: laws.FIRST]:
        call = laws.gradient_graph(case)
        made = Stages(call.graph)
        check(made, call.inputs, f"gradient of {case}", interpreted=cost(made) <= LARGE)


@pytest.mark.parametrize("name", EXAMPLES)
def test_stages_of_examples_agree(name):
    call = example(name)
    check(Stages(call.graph), call.inputs, name)


def element_in_two_places(x):
    """Two writes into one array, of an element that is dear and read twice."""
    y = df.log10(x)[1:2, 9:10, 1:2].reshape((1,))
    return df.concat([y, y * 2.0])


def element_that_is_put_elsewhere(x):
    y = df.exp(x)[1, 2:4, 0]
    return df.zeros(5).at[df.asarray([3, 1])].add(y) + y.sum()


def element_that_is_summed_up(x):
    y = df.log1p(x)[0, 3:5, 1]
    return df.cumulative_sum(y) * y


@pytest.mark.parametrize(
    "program", [element_in_two_places, element_that_is_put_elsewhere, element_that_is_summed_up]
)
def test_who_reads_few_elements_computes_them_again_or_finds_them(program):
    """Of a large value that lies in memory if anybody reads it there."""
    x = df.asarray(np.random.default_rng(0).uniform(1.0, 2.0, (2, 33, 4)).astype("f"))
    call = laws.recorded(program, [x])
    made = Stages(call.graph)
    for stage in ("naive", "native"):
        (found,) = made.run(stage, call.inputs)
        assert bits(found) == bits(program(x).numpy())


def test_a_half_has_the_sign_of_what_was_a_double():
    """LLVM looks for the sign of a scalar before all conversions of it."""

    def program(x, y):
        sign = df.astype(df.astype(df.astype(y, df.float32), df.float16), df.float32)
        return df.astype(df.copysign(x, sign), df.float16)

    x, y = df.asarray(np.array([1.5], "f")), df.asarray(np.array([-2.5]))
    call = laws.recorded(program, [x, y])
    made = Stages(call.graph)
    for stage in ("naive", "native"):
        (found,) = made.run(stage, call.inputs)
        assert found.tolist() == program(x, y).tolist() == [-1.5]


def lookups_in_padding(x, at):
    return df.concat([x, df.take(df.pad(x, [(1, 1), (0, 0)]), at, axis=0)])


def lookups_in_one_of_two_arrays(x, at):
    return df.concat([x, df.take(df.concat([x, x + 1.0]), at, axis=0)])


@pytest.mark.parametrize("program", [lookups_in_padding, lookups_in_one_of_two_arrays])
def test_nothing_is_looked_up_where_something_else_stands(program):
    """The lookups of a part of an array happen in that part: elsewhere a table has no places."""
    x = df.asarray(np.random.default_rng(0).standard_normal((5, 4)).astype("f"))
    call = laws.recorded(program, [x, df.asarray([4, 0, 3])])
    made = Stages(call.graph)
    for stage in ("naive", "scheduled", "native"):  # whose checks hold
        (found,) = made.run(stage, call.inputs)
        assert bits(found) == bits(program(x, df.asarray([4, 0, 3])).numpy())


def all_and_a_part(u, v):
    """The part is loaded under a guard of its own, after the product of all was stored."""
    x = df.cumulative_sum(u)
    return df.sort(x * 2.0), df.pad(x[:3], [(0, 2)])


def numbers_and_what_stands_there(u, v):
    at = df.cumulative_sum(df.astype(u, df.int64))
    return df.sort(at - 1), df.take(v, at, axis=0)


@pytest.mark.parametrize("program", [all_and_a_part, numbers_and_what_stands_there])
def test_memory_that_is_loaded_again_is_written_by_nobody_before(program):
    u, v = df.asarray([1.0, 0.0, 2.0, 1.0, 1.0]), df.arange(10.0)
    call = laws.recorded(program, [u, v])
    made = Stages(call.graph)
    for ours, theirs in zip(made.run("native", call.inputs), program(u, v), strict=True):
        assert bits(ours) == bits(theirs.numpy())


def waves_and_sums(x):
    low, high = df.min(x, axis=0), df.argmax(x, axis=-1)
    return df.tanh(x) @ df.exp(df.matrix_transpose(x)), df.sum(df.sin(x), axis=0) + low, high


@pytest.mark.parametrize("rows", ["60", "rows"])
def test_where_a_check_fails_that_no_op_knows_of_results_are_eagers(rows, monkeypatch):
    """NumPy, which tells what is wrong with an op, has last bits of its own."""
    text = str(laws.recorded(waves_and_sums, [df.ones((60, 7))]).graph)
    x = np.random.default_rng(0).standard_normal((60, 7)).astype("f")
    if rows != "60":
        text = text.replace("law(", f"law[{rows}>=2](").replace("60", rows)
    code = jit.compile(parse(text, registry)).code
    wanted = code([x])
    for way in ("_run", "_timed"):
        monkeypatch.setattr(code, way, a_check_fails)
    assert [*map(bits, code([x]))] == [*map(bits, wanted)]
    assert [*map(bits, code.timed([x])[0])] == [*map(bits, wanted)]
    for ours, theirs in zip(wanted, waves_and_sums(df.asarray(x)), strict=True):
        assert bits(ours) == bits(theirs.numpy())


def a_check_fails(*arguments):
    raise LaunchFailed(0)
