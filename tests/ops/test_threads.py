"""Every op gives the bits of eager execution, on one thread and on two that share each launch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import dualflow as df
import jit
from dualflow.core import doors
from dualflow.core.op import registry
from jit.dims import evaluate
from jit.runtime import cpu, threads
from jit.runtime.program import Launch
from tests.jit.sharing import sharing
from tests.ops import compiled, laws
from tests.ops.laws import cases, same_bits
from tests.samples import SAMPLES

NAMES = sorted(SAMPLES)


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    """The one warning about float64 is not what this is about."""
    monkeypatch.setattr(doors, "_told", {"before"})


@pytest.fixture(autouse=True)
def _narrow(monkeypatch):
    """Short vectors: a sample fills several, which are items."""
    host = cpu.host()
    narrow = replace(host, target=replace(host.target, vector_bytes=16))
    monkeypatch.setattr(cpu, "host", lambda: narrow)


def check(call, case):
    """The graph with as many items as it can have, on one and on two threads."""
    graph, inputs, wanted = next(compiled.examples(call))
    with sharing(item=1):
        executable = jit.compile(graph, ops=registry)
        for count in (1, 2):
            threads.set_num_threads(count)
            for ours, theirs in zip(executable(inputs), wanted, strict=True):
                assert same_bits(ours, theirs), f"{case}, {count} threads: {ours}, not {theirs}"
    return executable


def is_shared(executable):
    """Whether a launch has more than one item; plans are made when somebody looks at them."""
    with sharing(item=1):
        steps = executable.code.plan.program.steps
    return any(isinstance(s, Launch) and evaluate(s.kernel.grid, {}) > 1 for s in steps)


@pytest.mark.parametrize("name", NAMES)
def test_one_thread_and_two(name):
    (case, *_) = cases(name, None)
    check(laws.traced(name, case.number, None), case)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_one_thread_and_two_in_all_dtypes(name):
    for case in cases(name, None, "float64", *laws.OTHERS):
        check(laws.traced(name, case.number, case.dtype), case)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_gradients_on_one_thread_and_two(name):
    for case in list(laws.differentiable(name, None))[: laws.FIRST]:
        check(laws.gradient_graph(case), case)


def test_samples_are_large_enough_to_be_shared():
    firsts = [(name, next(iter(cases(name, None)))) for name in NAMES]
    found = [check(laws.traced(name, case.number, None), case) for name, case in firsts]
    native = [each for each in found if each.mode == "compiled" and each.kernels]
    assert sum(map(is_shared, native)) > len(native) / 2


def test_an_item_may_begin_in_one_joined_array_and_end_in_another():
    xs = [np.random.default_rng(n).normal(size=(n, 5)).astype(np.float32) for n in (37, 61, 40)]

    def joined(*xs):
        return df.concat(xs), df.concat(xs, axis=None), df.roll(xs[0], 33), df.concat([*xs] * 4)

    recorded = df.function(joined, strict=True)
    with sharing(item=300):
        for _ in range(2):
            results = [y.numpy() for y in recorded(*map(df.asarray, xs))]
    every = np.concatenate(xs)
    expected = every, every.ravel(), np.roll(xs[0], 33), np.concatenate([every] * 4)
    for ours, theirs in zip(results, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
