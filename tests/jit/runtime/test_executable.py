"""Calls of programs: values, arguments in every state, sizes, guards, host steps, failures."""

from __future__ import annotations

import sys
import threading
import weakref
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from jit.dims import symbol
from jit.errors import DTypeError, GraphError, GuardMiss, LaunchFailed, ShapeError
from jit.runtime import binding, blocks
from jit.runtime.executable import KEPT_BINDINGS, Executable
from jit.runtime.native import Native, native, same
from jit.runtime.program import GuardStep, HostStep, Launch
from jit.types import TensorType, bfloat16, dtypes, float32, float64, int64
from tests.jit.runtime.small import (
    add,
    add_number,
    address,
    chain,
    executable,
    floats,
    plus,
    positive,
    program,
    scalar,
)


@pytest.fixture(params=["native", "python"], autouse=True)
def reading(request, monkeypatch):
    """Arguments are read natively, or in Python as where the layout of arrays is not known."""
    found = native()
    if request.param == "python":
        slow = Native(None, found.resume, found.kernels, found.same)
        monkeypatch.setattr(binding, "native", lambda: slow)
    return request.param


def ramp(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_values():
    (y,) = chain(4)([x := ramp(8)])
    assert type(y) is np.ndarray
    assert y.dtype is float32
    np.testing.assert_array_equal(y, x + 10)
    np.testing.assert_array_equal(x, ramp(8))


def test_calls_do_not_share_results():
    run = chain(1)
    first, second = run([ramp(8)]), run([ramp(8) * 2])
    np.testing.assert_array_equal(first[0], ramp(8) + 1)
    np.testing.assert_array_equal(second[0], ramp(8) * 2 + 1)


def test_nothing_is_kept_of_arguments_and_results():
    run, x = chain(2), ramp(8)
    before = sys.getrefcount(x), sys.getrefcount(float32)
    for _ in range(20):
        results = run([x])
    (y,) = results
    count = sys.getrefcount(y)
    assert count == 3  # `results`, `y`, the argument
    del results, y
    assert (sys.getrefcount(x), sys.getrefcount(float32)) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.asfortranarray(np.repeat(x[:, None], 3, axis=1))[:, 1],
        lambda x: np.repeat(x, 2)[::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: x.astype(">f4"),
        lambda x: np.frombuffer(b"-" + x.tobytes(), np.uint8)[1:].view(np.float32),
        lambda x: x.view(type("Sub", (np.ndarray,), {})),
        lambda x: np.array(x, np.dtype("f4", metadata={"of": "another identity"})),
        lambda x: np.broadcast_to(x, (3, 8))[1],
    ],
    ids="strided every-second reversed swapped unaligned subclass metadata broadcast".split(),
)
def test_arrays_in_any_state(change):
    x = change(ramp(8))
    before = x.copy()
    (y,) = chain(1)([x])
    np.testing.assert_array_equal(y, ramp(8) + 1)
    np.testing.assert_array_equal(x, before)


def test_a_sequence_that_is_no_list():
    np.testing.assert_array_equal(chain(1)((ramp(8),))[0], ramp(8) + 1)


def test_what_does_not_fit_is_refused():
    run = chain(1)
    with pytest.raises(ShapeError, match="argument 0"):
        run([ramp(7)])
    with pytest.raises(ShapeError, match="argument 0"):
        run([ramp(8, 1)])
    with pytest.raises(DTypeError, match="argument 0 has dtype float64"):
        run([ramp(8).astype(float64)])
    with pytest.raises(ValueError):
        run([ramp(8), ramp(8)])
    np.testing.assert_array_equal(run([ramp(8)])[0], ramp(8) + 1)


def test_many_dims_and_none():
    square = executable([floats(2, 3, 1, 4)] * 2, [0], [plus(1, 0, 1, 24)], [1])
    np.testing.assert_array_equal(square([ramp(2, 3, 1, 4)])[0], ramp(2, 3, 1, 4) + 1)
    point = executable([floats()] * 2, [0], [plus(1, 0, 1, 1)], [1])
    (y,) = point([np.array(2, np.float32)])
    assert type(y) is np.ndarray
    assert y.shape == ()
    assert y == 3
    empty = executable([floats(0, 3)] * 2, [0], [plus(1, 0, 1, 0)], [1])
    assert empty([ramp(0, 3)])[0].shape == (0, 3)


@pytest.mark.parametrize("dtype", [bfloat16, dtypes["complex64"], dtypes["bool"], int64])
def test_dtypes_of_results(dtype):
    copy = HostStep(lambda arrays: [arrays[0].copy()], (0,), (1,))
    x = np.ones(3, dtype)
    (y,) = executable([TensorType((3,), dtype)] * 2, [0], [copy], [1])([x])
    assert y.dtype is dtype
    np.testing.assert_array_equal(y, x)
    assert bfloat16 == ml_dtypes.bfloat16


def test_outputs_may_be_inputs_constants_and_the_same():
    c = ramp(8) * 3
    run = executable(
        [floats(8)] * 4, [0], [plus(1, 0, 2), Launch(add(), (1, 2, 3))], [0, 1, 2, 2, 3], {1: c}
    )
    given, constant, a, b, total = run([x := ramp(8)])
    assert given is x
    assert np.shares_memory(constant, c)
    assert a is b
    np.testing.assert_array_equal(total, c + x + 1)
    strided = np.repeat(x, 2)[::2]
    assert run([strided])[0] is strided


def test_constants_in_any_order():
    c = np.asfortranarray(ramp(2, 4))
    run = executable([floats(2, 4)] * 3, [0], [Launch(add(), (0, 1, 2))], [2], {1: c})
    np.testing.assert_array_equal(run([ramp(2, 4)])[0], ramp(2, 4) * 2)


def test_no_steps_and_no_inputs():
    assert executable([], [], [], [])([]) == []
    (y,) = executable([floats(8)] * 2, [], [plus(1, 0, 1)], [1], {0: ramp(8)})([])
    np.testing.assert_array_equal(y, ramp(8) + 1)


# ----- sizes -----


def symbolic():
    n = symbol("n", hint=8)
    steps = [plus(1, 0, 1, n), plus(2, 1, 2, n)]
    return executable([floats(n)] * 3, [0], steps, [2])


def test_one_program_for_many_sizes():
    run = symbolic()
    for size in (2, 8, 300_000, 3, 8, 300_000):
        np.testing.assert_array_equal(run([ramp(size)])[0], ramp(size) + 3)


def test_bindings_are_kept_up_to_a_limit():
    run = symbolic()
    for size in range(2, 2 * KEPT_BINDINGS):
        run([ramp(size)])
        assert len(run._bound) <= KEPT_BINDINGS
    with pytest.raises(ShapeError):
        run([ramp(1)])


def test_sizes_reach_the_kernel_and_extents_are_computed():
    n = symbol("n", hint=4)
    kernel = add_number(1, symbol("m", hint=8))
    twice = HostStep(lambda arrays: [np.repeat(arrays[0], 2)], (0,), (1,))
    steps = [twice, Launch(kernel, (1, 2), (2 * n,))]
    run = executable([floats(n), floats(2 * n), floats(2 * n)], [0], steps, [2])
    np.testing.assert_array_equal(run([ramp(5)])[0], np.repeat(ramp(5), 2) + 1)


# ----- guards, checks -----

ANSWERS = [
    ("bool", True, True),
    ("bool", False, False),
    ("int8", -3, -3),
    ("int64", -(2**63), -(2**63)),
    ("uint8", 255, 255),
    ("uint64", 2**64 - 1, 2**64 - 1),
    ("int32", 7, True),
    ("uint16", 0, False),
    ("float32", 0.5, True),
    ("float32", -0.0, False),
    ("float64", np.nan, True),
    ("float32", 2.75, 2),
    ("float16", 1.0, True),
    ("bfloat16", 3.0, 3),
    ("complex64", 1j, True),
]


@pytest.mark.parametrize(("dtype", "value", "answer"), ANSWERS)
def test_guards(dtype, value, answer):
    wrong = not answer if type(answer) is bool else answer - 1
    for expected in (answer, wrong):
        guard = GuardStep(1, expected=expected, index=5)
        run = executable([floats(8), scalar(dtype), floats(8)], [0, 1], [guard, plus(1, 0, 2)], [2])
        arrays = [ramp(8), np.array(value, dtypes[dtype])]
        if expected is answer:
            np.testing.assert_array_equal(run(arrays)[0], ramp(8) + 1)
            continue
        with pytest.raises(GuardMiss) as caught:
            run(arrays)
        assert (caught.value.index, caught.value.actual) == (5, answer)
        assert type(caught.value.actual) is type(answer)


def test_a_guard_on_what_was_computed():
    guard = GuardStep(1, expected=3, index=0)
    kernel = add_number(1, 1, int64)
    run = executable([scalar("int64")] * 3, [0], [Launch(kernel, (0, 1)), guard], [1])
    assert run([np.array(2)]) == [3]
    with pytest.raises(GuardMiss) as caught:
        run([np.array(2**40)])
    assert caught.value.actual == 2**40 + 1


@pytest.mark.parametrize("cost", [0.0, 1.0])
def test_a_check_that_does_not_hold(cost):
    steps = [plus(1, 0, 1), Launch(positive(), (1, 2), cost=cost), plus(1, 2, 3)]
    run = executable([floats(8)] * 4, [0], steps, [3])
    np.testing.assert_array_equal(run([ramp(8)])[0], ramp(8) + 2)
    for _ in range(2):
        with pytest.raises(LaunchFailed) as caught:
            run([-ramp(8)])
        assert caught.value.step == 1
    np.testing.assert_array_equal(run([ramp(8)])[0], ramp(8) + 2)


def test_a_check_of_the_last_launch():
    run = executable([floats(8)] * 2, [0], [Launch(positive(), (0, 1))], [1])
    with pytest.raises(LaunchFailed):
        run([ramp(8)])


# ----- host steps -----


def doubled(arrays):
    return [2 * array for array in arrays]


def test_host_steps_between_launches():
    steps = [plus(1, 0, 1), HostStep(doubled, (1, 0), (2, 3)), Launch(add(), (2, 3, 4))]
    run = executable([floats(8)] * 5, [0], steps, [4, 2, 1])
    for _ in range(2):
        total, two, one = run([ramp(8)])
        np.testing.assert_array_equal(total, 2 * (ramp(8) + 1) + 2 * ramp(8))
        np.testing.assert_array_equal(two, 2 * (ramp(8) + 1))
        np.testing.assert_array_equal(one, ramp(8) + 1)


def test_host_steps_in_a_row_read_constants_and_each_other():
    steps = [HostStep(doubled, (1,), (2,)), HostStep(doubled, (2,), (3,)), plus(1, 3, 4)]
    run = executable([floats(8)] * 5, [0], steps, [4], {1: ramp(8)})
    np.testing.assert_array_equal(run([ramp(8)])[0], 4 * ramp(8) + 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda arrays: [arrays[0].T],
        lambda arrays: [arrays[0]],
        lambda arrays: [arrays[0].astype(np.float64)],
        lambda arrays: [arrays[0].tolist()],
    ],
    ids=["view", "same", "dtype", "list"],
)
def test_what_a_host_step_gives_gets_memory_of_its_own(call):
    square = floats(3, 3)
    steps = [plus(1, 0, 1, 9), HostStep(call, (1,), (2,)), plus(5, 1, 3, 9), plus(0, 2, 4, 9)]
    run = executable([square] * 5, [0], steps, [2, 4, 3])
    x = np.ones((3, 3), np.float32)
    first = run([x])
    run([x * 7])
    np.testing.assert_array_equal(first[0], x + 1)
    np.testing.assert_array_equal(first[1], x + 1)
    np.testing.assert_array_equal(first[2], x + 6)


def test_a_host_step_of_another_shape_is_an_error():
    run = executable([floats(8)] * 2, [0], [HostStep(lambda a: [a[0][1:]], (0,), (1,))], [1])
    with pytest.raises(GraphError, match="gave shape"):
        run([ramp(8)])


def test_an_exception_of_a_host_step_leaves_all_in_order():
    def fail(arrays):
        if arrays[0][0] < 0:
            raise ZeroDivisionError
        return [arrays[0] * 2]

    run = executable([floats(8)] * 2, [0], [HostStep(fail, (0,), (1,))], [1])
    with pytest.raises(ZeroDivisionError):
        run([ramp(8) - 1])
    np.testing.assert_array_equal(run([ramp(8)])[0], ramp(8) * 2)
    assert len(run._only.frames) == 1


def test_a_call_inside_of_a_call():
    runs = []

    def again(arrays):
        x = arrays[0]
        return [x + 1 if x[0] <= 1 else runs[0]([x - 1])[0]]

    steps = [plus(1, 0, 1), HostStep(again, (0,), (2,)), Launch(add(), (1, 2, 3))]
    runs.append(executable([floats(8)] * 4, [0], steps, [3]))
    (y,) = runs[0]([np.full(8, 3, np.float32)])
    np.testing.assert_array_equal(y, np.full(8, 4 + (3 + (2 + 2)), np.float32))


def test_host_steps_with_sizes():
    n = symbol("n", hint=8)
    steps = [plus(1, 0, 1, n), HostStep(doubled, (1,), (2,)), plus(1, 2, 3, n)]
    run = executable([floats(n)] * 4, [0], steps, [3])
    for size in (3, 500_000, 4):
        np.testing.assert_array_equal(run([ramp(size)])[0], 2 * (ramp(size) + 1) + 1)


# ----- launches of one kernel at once -----


def moments(run):
    return [list(moment.steps) for moment in run._numbering.times.moments]


@pytest.mark.parametrize("cost", [0.0, 1.0])
def test_launches_that_do_not_wait_for_each_other_are_one(cost, reading):
    kernel, sizes = add_number(1, symbol("m", hint=8)), [8, 1, 0, 100, 3]
    steps = [
        Launch(kernel, (i, 5 + i), (size,), ((i, 5 + i),), cost) for i, size in enumerate(sizes)
    ]
    run = executable([floats(size) for size in sizes * 2], range(5), steps, range(5, 10))
    assert moments(run) == [[0, 1, 2, 3, 4]]
    arrays = [ramp(size) + i for i, size in enumerate(sizes)]
    for given in (arrays, arrays[:]):
        for x, y in zip(arrays, run(given), strict=True):
            np.testing.assert_array_equal(y, x + 1)
    del x, given
    copies = [x.copy() for x in arrays]
    addresses = [x.ctypes.data for x in arrays]
    arrays = run(arrays, tuple((i, i) for i in range(5)))
    for x, y in zip(copies, arrays, strict=True):
        np.testing.assert_array_equal(y, x + 1)
    if reading == "native":
        assert [y.ctypes.data for y in arrays] == addresses


@pytest.mark.parametrize("cost", [0.0, 1.0])
def test_short_launches_of_the_same_ops_are_one(cost):
    """Of two kernels, one of which adds 1 and the other 2."""
    steps = [replace(plus(n, k, 3 + k), made=(("add", None),)) for k, n in enumerate((1, 2, 2))]
    steps[2].kernel = steps[1].kernel
    steps = [replace(step, cost=cost) for step in steps]
    run = executable([floats(8)] * 6, range(3), steps, range(3, 6))
    assert moments(run) == ([[0], [1, 2]] if cost else [[0, 1, 2]])
    for y, number in zip(run([ramp(8)] * 3), (1, 2, 2), strict=True):
        np.testing.assert_array_equal(y, ramp(8) + number)


def test_launches_that_wait_stay_apart():
    steps = [plus(1, 0, 1), plus(1, 1, 2), plus(1, 0, 3), plus(1, 2, 4)]
    kernel = steps[0].kernel
    for step in steps:
        step.kernel = kernel
    run = executable([floats(8)] * 5, [0], steps, [3, 4])
    assert moments(run) == [[0], [1, 2], [3]]
    for y, number in zip(run([ramp(8)]), (1, 3), strict=True):
        np.testing.assert_array_equal(y, ramp(8) + number)


def test_a_value_that_two_launches_of_a_batch_read_is_not_overwritten():
    kernel = add_number(1)
    steps = [Launch(kernel, (0, 1)), Launch(kernel, (1, 2), in_place=((1, 2),))]
    steps += [Launch(kernel, (1, 3)), Launch(add(), (2, 3, 4))]
    run = executable([floats(8)] * 5, [0], steps, [4])
    assert moments(run) == [[0], [1, 2], [3]]
    offsets = run._only.layout.offsets
    assert len({offsets[1], offsets[2], offsets[3]}) == 3
    np.testing.assert_array_equal(run([ramp(8)])[0], 2 * (ramp(8) + 2))


def test_launches_that_may_fail_stay_apart():
    kernel = positive()
    run = executable(
        [floats(8)] * 4, [0, 1], [Launch(kernel, (0, 2)), Launch(kernel, (1, 3))], [2, 3]
    )
    with pytest.raises(LaunchFailed) as caught:
        run([ramp(8) + 1, ramp(8)])
    assert caught.value.step == 1


# ----- memory, threads -----


def test_large_temporaries_and_results_come_from_blocks():
    size = blocks.RECYCLED
    run = chain(3, size)
    for factor in (1, 2):
        (y,) = run([np.full(size, factor, np.float32)])
        assert type(y) is np.ndarray
        assert type(y.base) is blocks.Block
        assert y.flags.writeable
        np.testing.assert_array_equal(y, np.full(size, factor + 6, np.float32))


def test_two_calls_at_once():
    run, wrong = chain(5, 2000, cost=1.0), []

    def caller(number):
        x = np.full(2000, number, np.float32)
        for _ in range(200):
            if not (run([x])[0] == number + 15).all():
                wrong.append(number)

    callers = [threading.Thread(target=caller, args=(i,)) for i in range(4)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert not wrong


def test_addresses_may_be_a_table():
    made = program([floats(8)] * 2, [0], [plus(1, 0, 1)], [1])
    kernel = made.steps[0].kernel
    run = Executable(made, {kernel: address(kernel)})
    np.testing.assert_array_equal(run([ramp(8)])[0], ramp(8) + 1)


def test_same_tells_whether_its_arguments_are_the_very_objects():
    a, b = 1000.5, [1]
    is_same = same([a, b, a])
    assert is_same(a, b, a) == 1
    for other in [(a, b), (a, b, a, a), (a, [1], a), (b, b, a), (a, b, float("1000.5")), ()]:
        assert is_same(*other) == 0
    assert same([])() == 1


def test_same_keeps_its_objects_alive():
    class Thing:
        pass

    thing = Thing()
    gone, is_same = weakref.ref(thing), same([thing])
    del thing
    assert is_same(gone()) == 1
    del is_same
    assert gone() is None
