"""GradientTape keeps TensorFlow's contract: what it records, whom it watches, what one may ask."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import DTypeError, TapeError, UnconnectedWarning
from tests.modes import in_mode


def square_tape(**options):
    """A tape that saw `y = x * x` at 3."""
    x = df.asarray(3.0)
    with df.GradientTape(**options) as tape:
        tape.watch(x)
        y = x * x
    return tape, x, y


# ----- recording -----


def test_a_watched_tensor():
    tape, x, y = square_tape()
    assert tape.gradient(y, x).item() == 6.0


def test_gradient_inside_the_with_ends_the_recording():
    x = df.asarray(3.0)
    with df.GradientTape() as tape:
        tape.watch(x)
        y = x * x
        assert tape.gradient(y, x).item() == 6.0
        assert not tape.recording
        assert x * x is not None
    with pytest.raises(TapeError, match="this tape is spent"):
        tape.gradient(y, x)


def test_gradient_inside_the_with_of_a_persistent_tape_is_recorded():
    x = df.asarray(3.0)
    with df.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x * x
        slope = tape.gradient(y, x)
        assert tape.recording
    assert slope.item() == 27.0
    assert tape.gradient(slope, x).item() == 18.0


def test_only_what_ran_inside_the_with_counts():
    w = df.Variable(2.0)
    before = w * 5.0
    with df.GradientTape(persistent=True) as tape:
        inside = w * 3.0
    after = inside * 7.0
    assert tape.gradient(inside, w).item() == 3.0
    for target in (before, after):
        assert tape.gradient(target, w, unconnected_gradients="none") is None


def test_stop_recording_suspends():
    w = df.Variable(2.0)
    with df.GradientTape(persistent=True) as tape:
        a = w * 3.0
        with tape.stop_recording():
            b = w * 4.0
        c = a * w
    assert tape.gradient(c, w).item() == 12.0
    assert tape.gradient(b, w, unconnected_gradients="none") is None
    with pytest.raises(TapeError, match="stop_recording"), tape.stop_recording():
        pass


def test_stop_recording_resumes_after_an_exception():
    w = df.Variable(2.0)
    with df.GradientTape() as tape:
        with pytest.raises(KeyError), tape.stop_recording():
            raise KeyError
        y = w * 3.0
    assert tape.gradient(y, w).item() == 3.0


def test_reset_forgets_and_goes_on():
    x, w = df.asarray(2.0), df.Variable(2.0)
    with df.GradientTape(persistent=True) as tape:
        tape.watch(x)
        forgotten = x * w
        tape.reset()
        y = w * 3.0
    assert tape.gradient(y, w).item() == 3.0
    assert tape.gradient(forgotten, [x, w], unconnected_gradients="none") == [None, None]
    assert tape.watched_variables() == (w,)


def test_a_tape_may_be_entered_again_but_not_twice():
    w = df.Variable(2.0)
    tape = df.GradientTape()
    with tape:
        y = w * 3.0
    z = y * 100.0
    with tape:
        y = y * w
        with pytest.raises(TapeError, match="recording already"), tape:
            pass
    assert tape.gradient(y, w).item() == 12.0
    assert z.item() == 600.0


def test_an_exception_closes_the_tape():
    w = df.Variable(2.0)
    tape = df.GradientTape()
    with pytest.raises(ZeroDivisionError), tape:
        1 / 0  # noqa: B018
    assert not tape.recording
    y = w * 2.0
    assert tape.gradient(y, w, unconnected_gradients="none") is None


def test_no_grad_records_nothing():
    w = df.Variable(2.0)
    with df.GradientTape(persistent=True) as tape:
        with df.no_grad():
            y = w * 3.0
        z = w * 4.0
    assert tape.gradient(y, w, unconnected_gradients="none") is None
    assert tape.gradient(z, w).item() == 4.0


# ----- watching -----


def test_variables_are_watched_when_used():
    used, unused = df.Variable(1.0), df.Variable(1.0)
    fixed = df.Variable(1.0, trainable=False)
    with df.GradientTape() as tape:
        y = used * fixed
    assert tape.watched_variables() == (used,)
    assert tape.gradient(y, [used, unused, fixed], unconnected_gradients="none")[1:] == [None, None]


def test_watch_accessed_variables_off():
    a, b = df.Variable(2.0), df.Variable(3.0)
    with df.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(a)
        y = a * b
    assert tape.watched_variables() == (a,)
    assert [g and g.item() for g in tape.gradient(y, [a, b], unconnected_gradients="none")] == [
        3.0,
        None,
    ]


def test_a_variable_that_is_not_trainable_may_be_watched():
    v = df.Variable(3.0, trainable=False)
    with df.GradientTape() as tape:
        tape.watch(v)
        y = v * v
    assert tape.gradient(y, v).item() == 6.0


def test_watch_takes_nests_and_intermediate_tensors():
    a, b = df.asarray(2.0), df.asarray(3.0)
    with df.GradientTape() as tape:
        tape.watch({"a": a, "rest": [b]})
        c = a * b
        tape.watch(c)
        y = c * c
    assert [g.item() for g in tape.gradient(y, [c, a, b])] == [12.0, 36.0, 24.0]


def test_watching_on_one_tape_does_not_watch_on_another():
    x = df.asarray(3.0)
    with df.GradientTape() as watching:
        watching.watch(x)
        watching.gradient(x * x, x)
    with df.GradientTape() as tape:
        y = x * x
    assert tape.gradient(y, x, unconnected_gradients="none") is None


@pytest.mark.parametrize("dtype", ["int64", "bool", "uint8"])
def test_what_has_no_gradient_is_refused(dtype):
    x = df.asarray(1).astype(dtype)
    with (
        df.GradientTape() as tape,
        pytest.raises(DTypeError, match=f"dtype {dtype} has no gradient"),
    ):
        tape.watch(x)
    with pytest.raises(DTypeError, match=f"dtype {dtype} has no gradient"):
        df.GradientTape().gradient(df.asarray(1.0), x)


def test_only_tensors_are_sources_and_watched():
    with df.GradientTape() as tape, pytest.raises(TypeError, match="watch: a float"):
        tape.watch(1.0)
    with pytest.raises(TypeError, match="a source is a str"):
        tape.gradient(df.asarray(1.0), "x")


# ----- asking -----


def test_a_spent_tape_says_so_and_a_persistent_one_is_never_spent():
    tape, x, y = square_tape()
    tape.gradient(y, x)
    with pytest.raises(TapeError, match=r"this tape is spent[\s\S]*persistent=True"):
        tape.gradient(y, x)
    tape, x, y = square_tape(persistent=True)
    assert [tape.gradient(y, x).item() for _ in range(3)] == [6.0] * 3


def test_a_released_record_says_so():
    w = df.Variable(2.0)
    y = w * w
    (y * 1.0).backward()
    with pytest.raises(
        TapeError, match=r"released by an earlier gradient call[\s\S]*retain_graph=True"
    ):
        (y * 2.0).backward()


def test_nests_of_sources_and_targets():
    a, b, c = (df.Variable(float(k)) for k in (2, 3, 5))
    with df.GradientTape(persistent=True) as tape:
        y, z = a * b, b * c
    found = tape.gradient({"y": y, "z": [z]}, {"ab": (a, b), "c": [c]})
    assert found["ab"][0].item() == 3.0
    assert found["ab"][1].item() == 2.0 + 5.0
    assert found["c"][0].item() == 3.0


def test_a_source_twice_and_a_target_that_is_a_source():
    a = df.Variable(2.0)
    with df.GradientTape(persistent=True) as tape:
        y = a * 3.0
    assert [g.item() for g in tape.gradient(y, [a, a])] == [3.0, 3.0]
    assert [g.item() for g in tape.gradient([y, y], [a])] == [6.0]
    tape2, x, y = square_tape(persistent=True)
    assert tape2.gradient(x, x).item() == 1.0


def test_output_gradients_weigh_the_targets():
    x = df.asarray([1.0, 2.0])
    with df.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y, z = x * x, x * 3.0
    weights = df.asarray([10.0, 100.0])
    assert tape.gradient(y, x, output_gradients=weights).tolist() == [20.0, 400.0]
    assert tape.gradient([y, z], x, output_gradients=[weights, np.float32([1, 2])]).tolist() == [
        23.0,
        406.0,
    ]
    assert tape.gradient([y, z], x, output_gradients=[weights, None]).tolist() == [23.0, 403.0]
    with pytest.raises(TapeError, match="1 output_gradients for 2 targets"):
        tape.gradient([y, z], x, output_gradients=[weights])
    with pytest.raises(
        TapeError, match=r"a cotangent of shape \(3,\) for a target of shape \(2,\)"
    ):
        tape.gradient(y, x, output_gradients=df.asarray([1.0, 2.0, 3.0]))


def test_a_vector_target_is_summed():
    x = df.asarray([1.0, 2.0])
    with df.GradientTape() as tape:
        tape.watch(x)
        y = x * x
    assert tape.gradient(y, x).tolist() == [2.0, 4.0]


def test_gradients_have_the_dtype_and_shape_of_the_source():
    row = df.Variable(np.ones((1, 3), np.float32))
    column = df.Variable(np.ones((2, 1), np.float64))
    with (
        pytest.warns(df.errors.PromotionWarning) if not told() else no_warning(),
        df.GradientTape() as tape,
    ):
        y = row * column
    gradients = tape.gradient(y, [row, column])
    assert [(g.shape, g.dtype) for g in gradients] == [((1, 3), df.float32), ((2, 1), df.float64)]
    assert gradients[1].tolist() == [[3.0], [3.0]]


def told():
    from dualflow.core import doors

    return bool(doors._told)


def no_warning():
    from contextlib import nullcontext

    return nullcontext()


def test_reading_an_old_value_after_an_assignment():
    w = df.Variable(2.0)
    with df.GradientTape(persistent=True) as tape:
        old = w * w
        w.assign(5.0)
        new = w * w
    assert tape.gradient(old, w).item() == 4.0
    assert tape.gradient(new, w).item() == 10.0
    assert tape.gradient([old, new], w).item() == 14.0


def test_assigning_cuts_history():
    w = df.Variable(2.0)
    with df.GradientTape() as tape:
        w.assign(w * 3.0)
        y = w * w
    assert tape.gradient(y, w).item() == 12.0


# ----- unconnected -----


def unused(tape, x, w):
    return x * 2.0


def through_stop(tape, x, w):
    return df.stop_gradient(w * 2.0) * x


def through_integers(tape, x, w):
    return (w * 2.0).astype("int64") * 3 + 1


def through_numpy(tape, x, w):
    return df.asarray(w.numpy()) * 2.0


def through_no_grad(tape, x, w):
    with df.no_grad():
        return w * 2.0


def through_assigning(tape, x, w):
    v = df.Variable(0.0)
    v.assign(w * 2.0)
    return v * x


def through_a_counter(tape, x, w):
    v = df.Variable(0.0, trainable=False)
    v += w
    return v * 2.0


def through_stopped_tape(tape, x, w):
    with tape.stop_recording():
        return w * 2.0


AT = r"\(test_tape.py:\d+\)"
NOTHING = "not computed from anything that is watched: gradients end at"
REASONS = {
    unused: r"source 'w' was not used for the target while the tape recorded",
    through_stop: rf"'w' was not used .*, or only through stop_gradient {AT}, where gradients end",
    through_integers: rf"{NOTHING} astype {AT}",
    through_numpy: rf"{NOTHING} \.numpy\(\) {AT}",
    through_no_grad: rf"{NOTHING} no_grad\(\) {AT}",
    through_assigning: rf"'w' was not used .*, or only through assign\(\) {AT}, where gradients",
    through_a_counter: rf"{NOTHING} assign\(\) {AT}",
    through_stopped_tape: r"source 'w' was not used for the target while the tape recorded",
}


@pytest.mark.parametrize("way", REASONS, ids=lambda way: way.__name__)
def test_why_a_gradient_is_missing(way):
    x, w = df.asarray(1.0), df.Variable(2.0, name="w")
    with df.GradientTape(persistent=True) as tape:
        if way is not through_numpy:
            tape.watch(x)
        y = way(tape, x, w)
    with pytest.warns(UnconnectedWarning, match=REASONS[way]) as caught:
        assert tape.gradient(y, w) is None
    assert caught[0].filename == __file__
    with pytest.raises(TapeError, match=REASONS[way]):
        tape.gradient(y, w, unconnected_gradients="raise")
    assert tape.gradient(y, w, unconnected_gradients="none") is None
    assert tape.gradient(y, w, unconnected_gradients="zero").item() == 0.0


def test_a_source_that_nobody_watched():
    x = df.asarray([1.0, 2.0])
    with df.GradientTape() as tape:
        y = x * x
    with pytest.warns(
        UnconnectedWarning, match=r"the source of shape \(2,\) is not watched: use tape.watch"
    ):
        tape.gradient(y, x)


def test_an_unknown_policy():
    tape, x, y = square_tape()
    with pytest.raises(ValueError, match="unconnected_gradients='NONE'"):
        tape.gradient(y, x, unconnected_gradients="NONE")
    assert tape.gradient(y, x).item() == 6.0


# ----- nesting, higher orders -----


def test_third_order_by_nested_tapes():
    x = df.asarray(2.0)
    with df.GradientTape() as outer:
        outer.watch(x)
        with df.GradientTape() as middle:
            middle.watch(x)
            with df.GradientTape() as inner:
                inner.watch(x)
                y = x * x * x * x
            first = inner.gradient(y, x)
        second = middle.gradient(first, x)
    third = outer.gradient(second, x)
    assert (first.item(), second.item(), third.item()) == (32.0, 48.0, 48.0)


def test_the_inner_tape_leaves_the_outer_ones_record_alone():
    w = df.Variable(3.0)
    with df.GradientTape() as outer:
        with df.GradientTape() as inner:
            y = w * w
        inner.gradient(y, w)
        z = y * 2.0
    assert outer.gradient(z, w).item() == 12.0


def test_tapes_that_overlap_without_nesting():
    w = df.Variable(3.0)
    first, second = df.GradientTape(), df.GradientTape()
    first.__enter__()
    a = w * w
    second.__enter__()
    b = a * w
    first.__exit__(None, None, None)
    c = b * w
    second.__exit__(None, None, None)
    assert first.gradient(b, w).item() == 27.0
    assert second.gradient(c, w).item() == a.item() * w.item() + b.item()


def test_gradient_of_a_gradient_taken_after_the_tape_closed():
    """The sweep itself is recorded only by a tape that runs while it sweeps."""
    w = df.Variable(3.0)
    with df.GradientTape(persistent=True) as tape:
        y = w * w
    slope = tape.gradient(y, w)
    assert slope.requires_grad is False


# ----- size -----


def test_long_chains_do_not_recurse():
    w = df.Variable(2.0)
    with df.GradientTape() as tape:
        y = w
        for _ in range(20_000):
            y = y + 1.0
    z = y * 1.0
    assert tape.gradient(y, w).item() == 1.0
    del y, z


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_a_watched_variable_stays_watched_when_it_is_assigned(mode):
    """A tape watches the Variable, trainable or not, and not the value that it had."""
    v = df.Variable(2.0, trainable=False)

    def both():
        y = v * v
        v.assign_add(1.0)
        return y + v * v

    f = in_mode(mode, both)
    for k in range(2, 5):
        with df.GradientTape() as tape:
            tape.watch(v)
            y = f()
        assert tape.gradient(y, v).item() == 2 * k + 2 * (k + 1)
