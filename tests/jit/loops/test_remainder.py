"""Last columns that fill a small part of a vector: how they are computed changes no bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dualflow as df
from jit import planner
from jit.loops import remainder, tiled
from jit.loops.ir import Load
from jit.runtime.cpu import host_target
from tests.jit.loops.test_products import agree, along, product
from tests.jit.stages import Stages, bits

TARGET = replace(host_target(), vector_bytes=64, registers=32)


def matrices(m, k, n):
    generator = np.random.default_rng(0)
    return [generator.normal(size=s).astype(np.float32) for s in ((m, k), (k, n))]


@pytest.fixture
def asked(monkeypatch):
    """What was said of products: whether their last columns have tiles of their own."""
    said, has = [], remainder.has_remainder

    def noted(nest):
        said.append(has(nest))
        return said[-1]

    kinds = [(kind, noted if suits is has else suits) for kind, suits in tiled.KINDS]
    monkeypatch.setattr(tiled, "KINDS", kinds)
    monkeypatch.setattr(planner, "_kernels", {})
    return said


@pytest.mark.parametrize(
    ("m", "k", "n", "turned"),
    [
        (64, 1000, 100, False),
        (64, 20, 100, False),
        (63, 70, 100, False),
        (63, 70, 100, True),
        (150, 5, 35, True),
        (128, 33, 261, False),
        (128, 33, 261, True),
    ],
)
def test_each_sum_is_that_of_a_product_of_other_columns(asked, m, k, n, turned):
    x, y = matrices(m, k, n)
    left = np.ascontiguousarray(x.T) if turned else x
    (whole,) = Stages(product(m, k, n, epilogue=False, turned=turned), TARGET).run(
        "machine", [left, y]
    )
    assert asked == [True]
    full = n // 16 * 16
    for part in (slice(full), slice(full, n)):
        columns = np.ascontiguousarray(y[:, part])
        graph = product(m, k, columns.shape[1], epilogue=False, turned=turned)
        (alone,) = Stages(graph, TARGET).run("machine", [left, columns])
        assert bits(np.ascontiguousarray(whole[:, part])) == bits(alone)
    assert asked.count(True) == 1


@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        (64, 100, 96),  # full vectors only
        (64, 100, 108),  # most of a vector is filled
        (64, 100, 12),  # there is no full vector
        (1000, 100, 100),  # the last item would have other rows
    ],
)
def test_other_products_are_computed_as_ever(asked, m, k, n):
    x, y = matrices(m, k, n)
    (found,) = Stages(product(m, k, n, epilogue=False), TARGET).run("machine", [x, y])
    assert not any(asked)
    np.testing.assert_allclose(found, x @ y, rtol=1e-4, atol=1e-4)


def test_columns_that_are_packed_may_have_a_remainder(asked):
    x, y = matrices(128, 70, 83)
    (found,) = Stages(along(128, 70, 83), TARGET).run("machine", [x, np.ascontiguousarray(y.T)])
    assert asked
    np.testing.assert_allclose(found, x @ y, rtol=1e-4, atol=1e-4)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([16, 30, 48, 64]), st.integers(1, 4), st.integers(17, 40), st.booleans())
def test_accesses_stay_inside_of_their_buffers(m, k, n, epilogue):
    agree(product(m, k, n, epilogue=epilogue), ((m, k), (k, n)), epilogue, target=TARGET)


@pytest.mark.parametrize("n", [25, 41, 108])
def test_a_strip_that_is_not_full_is_read_where_it_lies(n):
    """Only where parts of vectors cost no more than whole ones."""
    x, y = matrices(64, 40, n)
    stages = Stages(product(64, 40, n, epilogue=False), TARGET)
    (kernel,) = stages.kernels
    assert not packs(kernel)
    (found,) = stages.run("machine", [x, y])
    np.testing.assert_allclose(found, x @ y, rtol=1e-4, atol=1e-4)
    narrow = replace(TARGET, vector_bytes=32, registers=16)
    (kernel,) = Stages(product(64, 40, n, epilogue=False), narrow).kernels
    assert packs(kernel)


def packs(kernel):
    """Whether a kernel copies columns."""
    return any(
        isinstance(s, Load) and s.buffer.name.startswith("panel") for s in kernel.statements()
    )


@pytest.mark.parametrize("n", [4, 25, 41, 100])
def test_slices_share_a_kernel_and_have_columns_of_their_own(n):
    """Where a slice begins is a parameter of the kernel, also where a vector is not full."""

    @df.function
    def f(a, b):
        return sum((x @ y for x, y in zip(a, b, strict=True)), df.zeros((3, n)))

    rng = np.random.default_rng(n)
    a, b = (rng.standard_normal(shape).astype("f4") for shape in ((6, 3, 2), (6, 2, n)))
    found = f([*df.asarray(a)], [*df.asarray(b)]), f(df.asarray(a), df.asarray(b))
    for each in found:
        np.testing.assert_allclose(each.numpy(), (a @ b).sum(0), rtol=1e-4, atol=1e-5)
