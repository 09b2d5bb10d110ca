"""Programs of launches that compute again what they do not hold: the same results, less memory."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from jit.ordering import releasing
from jit.recompute import arena_of, fitted
from jit.runtime.cpu import host_target
from jit.runtime.executable import Executable
from jit.runtime.program import Launch
from tests.jit.runtime.small import add, address, count_up, floats, plus, positive, program

SIZE = 8 * 4 + 32  # bytes of a value, as values are aligned


def there_and_back(length, read=None):
    """h[k + 1] = h[k] + 1, and back again: g[k] = g[k + 1] + h[k]."""
    steps = [plus(1, k, k + 1) for k in range(length)]
    back = length
    for k in reversed(range(length)):
        steps.append(Launch(add(), (back, k, length + length - k)))
        back = length + length - k
    return program([floats(8)] * (2 * length + 1), [0], steps, [back])


def results(made, arrays):
    return [x.tobytes() for x in Executable(made, address)([x.copy() for x in arrays])]


@given(length=st.integers(1, 40), share=st.floats(0.05, 1.0))
def test_any_limit_gives_the_same(length, share):
    made = there_and_back(length)
    x = np.arange(8, dtype="float32")
    before = arena_of(made, host_target())
    limited, told = fitted(made, (), host_target(), max(1, int(before * share)))
    assert results(limited, [x]) == results(made, [x])
    assert arena_of(limited, host_target()) == told.after <= told.before == before
    assert len(limited.steps) == len(made.steps) + len(told.again)
    assert (told.after < before) == bool(told.again)


def test_a_lower_limit_never_takes_more():
    made, target = there_and_back(64), host_target()
    sizes = [fitted(made, (), target, count * SIZE)[1].after for count in range(70, 0, -3)]
    assert all(a >= b for a, b in pairwise(sizes))
    assert sizes[-1] <= 16 * SIZE  # a chain of 64: the square root, and once more below that


def test_what_fits_stays_as_it_is():
    made = there_and_back(9)
    limited, told = fitted(made, (), host_target(), 100 * SIZE)
    assert limited is made
    assert told.fits
    assert not told.again


def test_what_is_overwritten_is_not_read_again():
    """The input of the first launch is given away before its result is needed again."""
    steps = [
        plus(1, 0, 1),
        *[plus(1, k, k + 1) for k in range(1, 6)],
        plus(5, 0, 7),  # takes the memory of input 0
        *[plus(1, k, k + 1) for k in range(7, 12)],
        Launch(add(), (12, 1, 13)),
        Launch(add(), (13, 6, 14)),
    ]
    made = program([floats(8)] * 15, [0], steps, [7, 14])
    limited, told = fitted(made, [(0, 0)], host_target(), 1)
    first = steps[0].kernel
    assert [step.kernel for step in limited.steps if step.buffers[0] == 0].count(first) == 1
    assert results(limited, [np.ones(8, "float32")]) == results(made, [np.ones(8, "float32")])
    assert not told.fits


def test_what_may_end_a_run_or_adds_to_what_it_reads_runs_once():
    for maker in (Launch(positive(), (0, 1)), plus(1, 0, 1)):
        steps = [maker, *([Launch(count_up(8), (1,))] if maker.label == "" else [])]
        steps += [plus(1, k, k + 1) for k in range(1, 9)]
        steps += [Launch(add(), (9, 1, 10))]
        made = program([floats(8)] * 11, [0], steps, [10])
        limited, _ = fitted(made, (), host_target(), 1)
        kept = [step for step in limited.steps if 1 in step.buffers]
        assert len([step for step in kept if step.kernel is maker.kernel]) == 1
        x = np.ones(8, "float32")
        assert results(limited, [x]) == results(made, [x])


def test_steps_that_free_memory_run_first():
    """Two values that are read at the end may be added at once."""
    steps = [
        plus(1, 0, 1),
        plus(2, 0, 2),
        plus(3, 0, 3),
        plus(4, 3, 4),
        Launch(add(), (1, 2, 5)),
        Launch(add(), (4, 5, 6)),
    ]
    made = program([floats(8)] * 7, [0], steps, [6])
    order = releasing(made, (), dict.fromkeys(range(1, 6), 32))
    assert [steps.index(step) for step in order] == [0, 1, 4, 2, 3, 5]
