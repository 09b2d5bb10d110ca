"""`df.check_numerics`: the op that made the first NaN or infinity, in both modes."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import NumericsError, TraceError
from tests.modes import bits, graphs_only, in_mode
from tests.tracing.both import vector


def lines(f, *names):
    """`test_numerics.py:12` of the first line of `f` with each text in it."""
    import inspect

    text, first = inspect.getsourcelines(f)
    return [
        f"test_numerics.py:{first + next(k for k, x in enumerate(text) if name in x)}"
        for name in names
    ]


def forward(x):
    y = x * 2.0
    z = df.log(y)
    return z.sum() * 0.0 + 1.0


def backward(x):
    with df.GradientTape() as tape:
        tape.watch(x)
        y = df.sqrt(x)
        loss = y.sum()
    return tape.gradient(loss, x)


GOOD, BAD = vector(1, 2, 3), vector(1, 0, 3)


def message(f, *args) -> str:
    with df.check_numerics(), pytest.raises(NumericsError) as caught:
        f(*args)
    return str(caught.value)


@pytest.mark.parametrize("warm", [0, 1, 3])
def test_r41_forward(mode, warm):
    f = in_mode(mode, forward)
    for _ in range(warm):
        f(GOOD)
    (line,) = lines(forward, "df.log(y)")
    text = message(f, BAD)
    assert text.startswith(
        "log (forward) made -inf at [1] out of finite values, 1 of 3: y: float32[3] in [0.0, 6.0]\n"
    )
    assert text.endswith(f"at {line}: z = df.log(y)")
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize("warm", [0, 3])
def test_r41_backward(mode, warm):
    f = in_mode(mode, backward)
    for _ in range(warm):
        f(GOOD)
    made, asked = lines(backward, "df.sqrt(x)", "tape.gradient")
    text = message(f, BAD)
    assert f"(backward, in the gradient of sqrt at {made}) made inf at [1]" in text
    assert f"at {asked}: " in text


@pytest.mark.parametrize("warm", [0, 3])
def test_r41_backward_from_a_tape_outside(mode, warm):
    f = in_mode(mode, lambda x: df.sqrt(x * 1.0).sum())

    def gradient(x):
        with df.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        return tape.gradient(y, x)

    for _ in range(warm):
        gradient(GOOD)
    with df.check_numerics():
        assert np.isfinite(gradient(GOOD).numpy()).all()
    assert "(backward, in the gradient of sqrt at test_numerics.py:" in message(gradient, BAD)


def test_r41_what_was_not_finite_before_is_no_fault(mode):
    f = in_mode(mode, lambda x: (df.exp(x) * 2.0, x + 1.0))
    x = vector(np.inf, np.nan, 1.0)
    for _ in range(3):
        with df.check_numerics():
            found = f(x)
        assert [bits(y) for y in found] == [bits(df.exp(x) * 2.0), bits(x + 1.0)]
    mask = in_mode(mode, lambda x: df.where(x > 1.0, x, -np.inf).max())
    with df.check_numerics():
        assert mask(GOOD).item() == 3.0


def step():
    df.random.seed(0)
    w = df.Variable([1.0, 2.0], name="w")
    optimiser = df.optim.Adam([w], lr=0.1)

    def train(x):
        noise = df.random.normal((2,))
        loss = (df.sqrt(x * w) + 0.01 * noise).sum()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss

    return train, [w, df.random.default_generator.state], optimiser


@pytest.mark.parametrize("warm", [0, 3])
def test_r41_state_is_left_as_it_was_before_the_call(warm):
    (python, state, optimiser), (twin, twin_state, _) = step(), step()
    f = df.function(python, strict=True)
    x = vector(1, 2)
    df.random.seed(3)
    with df.check_numerics():
        for _ in range(warm):
            f(x)
        before = [bits(v) for v in state], {k: str(v) for k, v in optimiser.state_dict().items()}
        with pytest.raises(NumericsError, match="sqrt"):
            f(vector(1, -2))
        assert [bits(v) for v in state] == before[0]
        assert {k: str(v) for k, v in optimiser.state_dict().items()} == before[1]
        assert state[0].grad is None
        result = f(x)
    df.random.seed(3)
    for _ in range(warm):
        twin(x)
    assert bits(result) == bits(twin(x))
    assert [bits(v) for v in state] == [bits(v) for v in twin_state]


@graphs_only
def test_r41_compiled_calls_stay_compiled():
    f = df.function(forward, strict=True)
    with df.check_numerics():
        for _ in range(5):
            f(GOOD)
    assert f.from_graph == 4
    with df.check_numerics():
        with pytest.raises(NumericsError):
            f(BAD)
        f(GOOD)
    assert f.from_graph == 5


def test_r41_function_and_context_manager(mode):
    f = in_mode(mode, df.log)
    assert df.check_numerics()
    try:
        with pytest.raises(NumericsError):
            f(BAD)
        with df.check_numerics(enable=False):
            assert f(BAD).tolist()[1] == -np.inf
        with pytest.raises(NumericsError):
            f(BAD)
    finally:
        df.check_numerics(enable=False)
    assert f(BAD).tolist()[1] == -np.inf


@graphs_only
def test_r41_segments_are_checked_op_by_op():
    seen = []

    def f(x):
        y = df.log(x)
        seen.append(float(y.sum()))
        return y

    g = df.function(f)
    with pytest.warns(df.errors.FunctionWarning):
        g(GOOD)
    assert "log (forward) made -inf" in message(g, BAD)
    assert len(seen) == 1


@graphs_only
def test_r41_inside_of_a_function_it_is_refused():
    def f(x):
        with df.check_numerics():
            return x * 2.0

    with pytest.raises(TraceError, match="put it around the call"):
        df.function(f)(GOOD)


def test_r41_overflow_and_ranges():
    with df.check_numerics():
        with pytest.raises(
            NumericsError, match=r"exp \(forward\) made inf .* float32\[\] = 1000\.0"
        ):
            df.exp(df.asarray(1000.0))
        with pytest.raises(NumericsError, match=r"divide .* made nan at \[0\] .*, 2 of 2: "):
            df.zeros(2) / df.zeros(2)
        assert (df.asarray(3e38) + 1.0).item() == np.float32(3e38)
        big = df.full((4,), 2e38)
        assert (big * 1.0).tolist() == big.tolist(), "a sum that overflows is no fault"
        assert df.asarray([1, 2]).sum().item() == 3


@graphs_only
def test_r41_what_a_stretch_makes_and_a_later_one_hides_is_found():
    def f(x):
        total = x.sum() * 0.0
        for k in range(6):
            y = df.log(x[k])
            if x[k] > 1.0:
                total = total * 0.5
            total = total + df.where(x[k] > 0, y, 0.0)
        return total

    g = df.function(f)
    rng = np.random.default_rng(0)
    calls = [df.asarray(rng.uniform(0.5, 1.5, 6).astype(np.float32)) for _ in range(40)]
    for x in calls:
        g(x)
    assert any(trace.stretches for trace in g.explain().traces)
    with df.check_numerics():
        for x in calls:
            g(x)
    assert "log (forward) made -inf" in message(g, df.asarray([1.1, 0.7, 0.0, 1.2, 0.9, 1.3]))
