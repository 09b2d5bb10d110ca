"""The context of a thread: recording, tapes, traces, quiet NumPy; no thread sees another's."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import dualflow as df
from dualflow.core.context import context, using


def in_thread(work):
    """What `work()` gives in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_a_new_thread_starts_afresh():
    with df.GradientTape(), df.no_grad(), using(device="cpu", trace="mine"):
        assert in_thread(lambda: (context.tapes, context.recording, context.trace)) == (
            (),
            True,
            None,
        )
    assert (context.tapes, context.recording, context.trace) == ((), True, None)


def test_the_context_is_put_back_after_an_exception():
    with pytest.raises(KeyError), df.no_grad():
        raise KeyError
    assert context.recording
    with pytest.raises(KeyError), using(recording=False, device="elsewhere"):
        raise KeyError
    assert (context.recording, context.device) == (True, "cpu")


def test_no_grad_nests():
    w = df.Variable(1.0)
    with df.no_grad():
        with df.no_grad():
            pass
        assert not (w * 2.0).requires_grad
    assert (w * 2.0).requires_grad


def test_no_grad_is_usable_again_and_by_recursion():
    @df.no_grad()
    def countdown(n):
        return context.recording if n == 0 else countdown(n - 1)

    assert countdown(3) is False
    assert context.recording
    quiet = df.no_grad()
    with quiet, quiet:
        pass
    assert context.recording


def test_tapes_of_different_threads_do_not_see_each_other():
    barrier = threading.Barrier(4)
    w = df.Variable(3.0)

    def work(k):
        barrier.wait()
        found = []
        for _ in range(50):
            with df.GradientTape() as tape:
                y = w * float(k)
                for _ in range(k):
                    y = y * w
            found.append(tape.gradient(y, w).item())
        return found

    with ThreadPoolExecutor(4) as pool:
        for k, found in enumerate(pool.map(work, range(4))):
            assert found == [pytest.approx(k * (k + 1) * 3.0**k)] * 50


def test_one_function_called_by_many_threads():
    f = df.function(lambda x, n: (x * n).sum(), strict=True)
    barrier = threading.Barrier(4)

    def work(k):
        barrier.wait()
        return [f(df.asarray([1.0, float(i)]), k % 2 + 1).item() for i in range(100)]

    with ThreadPoolExecutor(4) as pool:
        for k, found in enumerate(pool.map(work, range(4))):
            assert found == [(1 + i) * (k % 2 + 1) for i in range(100)]


QUIET = {
    "log of zero": lambda x: df.log(x * 0.0),
    "zero by zero": lambda x: (x * 0.0) / (x * 0.0),
    "too large": lambda x: df.exp(x * 1e5),
    "too large product": lambda x: x * 3e38 * 3e38,
    "root of a negative": lambda x: df.sqrt(-x),
    "invalid cast": lambda x: (x / 0.0).astype("int32"),
    "too large cast": lambda x: (x.astype("float64") * 1e300).astype("float32"),
    "infinity less infinity": lambda x: (x / 0.0 - x / 0.0).sum(),
    "matrix product of infinities": lambda x: (x / 0.0).reshape(1, 2) @ (x * 0.0).reshape(2, 1),
    "integers that wrap": lambda x: (x.astype("int8") * 100) * 100,
    "mean of nothing": lambda x: x[2:].mean(),
    "variance of nothing": lambda x: x[2:].var(),
    "softmax of infinities": lambda x: df.nn.functional.softmax(x / 0.0, axis=0),
    "integer division by zero": lambda x: x.astype("int64") // 0,
    "power": lambda x: (-x) ** 0.5,
}


@pytest.mark.parametrize("case", QUIET)
def test_numpys_floating_point_warnings_stay_inside(case, mode):
    """An infinity is a value here, not a warning, and the user's own settings are left alone."""
    f = QUIET[case] if mode == "eager" else df.function(QUIET[case], strict=True)
    before = np.geterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = [np.asarray(f(df.asarray([1.0, 2.0]))) for _ in range(3)]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
    assert np.geterr() == before


def test_gradients_are_quiet_too(mode):
    def slope(x):
        return df.grad(lambda x: (df.log(x) * df.sqrt(x)).sum())(x)

    f = slope if mode == "eager" else df.function(slope, strict=True)
    for _ in range(3):
        assert np.isnan(f(df.asarray([0.0, -1.0])).numpy()).all()
