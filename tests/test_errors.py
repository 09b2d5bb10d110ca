"""What a mistake says: one golden file each, the same text in both modes, the user's line last."""

from __future__ import annotations

import copy
import linecache
import pickle
import subprocess
import sys
import textwrap
import traceback

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import DualflowError, IndexError, ShapeError

# Each is the body of a function of `x` (2, 3), `y` (3,), `w` (4, 5): float32, `n` (4,): int64,
# `mask` (2, 3): bool, `v`: a Variable of the shape of x.
MISTAKES = {
    "matmul_shapes": "return x @ w",
    "matmul_vector": "return w @ y",
    "matmul_number": "return df.matmul(x, 2.0)",
    "add_shapes": "return x + w",
    "reshape_size": "return x.reshape(4, 2)",
    "broadcast_to": "return df.broadcast_to(x, (3, 2))",
    "concat_shapes": "return df.concat([x, w])",
    "conv_channels": """
        images, kernel = df.zeros((1, 3, 8, 8)), df.zeros((4, 2, 3, 3))
        return df.nn.functional.conv2d(images, kernel)
    """,
    "linear_features": "return df.nn.Linear(4, 2)(x)",
    "assign_shape": "v.assign(w)",
    "assign_dtype": "v.assign(df.asarray(np.zeros((2, 3))))",
    "add_bools": "return mask + mask",
    "no_common_dtype": "return n + df.asarray([1, 2, 3, 4], dtype=df.uint64)",
    "number_too_large": "return df.astype(n, df.int8) + 300",
    "watch_integers": """
        with df.GradientTape() as tape:
            tape.watch(n)
    """,
    "axis_out_of_range": "return df.sum(x, axis=2)",
    "axis_twice": "return df.sum(x, axis=(0, -2))",
    "transpose_axes": "return df.permute_dims(x, (0, 0))",
    "index_out_of_range": "return x[2]",
    "too_many_indices": "return x[0, 0, 0]",
    "index_by_floats": "return x[y]",
    "tensor_index_out_of_range": "return x[n]",
    "tape_is_spent": """
        with df.GradientTape() as tape:
            tape.watch(x)
            z = (x * x).sum()
        tape.gradient(z, x)
        return tape.gradient(z, x)
    """,
    "source_is_unconnected": """
        with df.GradientTape() as tape:
            z = (v * v).sum()
        return tape.gradient(z, y, unconnected_gradients="raise")
    """,
    "backward_twice": """
        loss = (v * v).sum()
        loss.backward()
        loss.backward()
    """,
    "backward_of_a_vector": "(v * v).backward()",
    "backward_of_a_constant": "x.sum().backward()",
    "bool_of_a_vector": """
        if y > 0:
            return x
    """,
    "unknown_device": 'return df.zeros((2,), device="tpu")',
    "unknown_dtype": 'return x.astype("float23")',
    "assign_to_a_tensor": "x[0] = 1.0",
    "change_a_tensor": "x.add_(y)",
    "view": "return x.view(3, 2)",
    "dim": "return df.sum(x, dim=1)",
    "dim_of_a_method": "return x.mean(dim=1)",
    "reduce_sum": "return df.reduce_sum(x)",
    "not_a_tensor": 'return df.sum("text")',
    "ragged_list": "return df.asarray([[1, 2], [3]])",
}


def program(body: str, filename: str = "nets.py"):
    """The function with this body, as if a user had written it into a file."""
    text = "def net(x, y, w, n, mask, v):\n" + textwrap.indent(
        textwrap.dedent(body).strip(), "    "
    )
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    scope = {"df": df, "np": np, "__name__": "nets"}
    exec(compile(text, filename, "exec"), scope)
    return scope["net"]


def arguments():
    x, y, w = df.ones((2, 3)), df.asarray([1.0, 2.0, 3.0]), df.ones((4, 5))
    return x, y, w, df.asarray([0, 1, 2, 3]), x > 0, df.Variable(df.ones((2, 3)), name="v")


def what_it_says(net) -> str:
    with pytest.raises(Exception) as caught:
        net(*arguments())
    return f"{type(caught.value).__name__}: {caught.value}"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_a_mistake_says(mistake, golden):
    net = program(MISTAKES[mistake])
    eager = what_it_says(net)
    assert what_it_says(df.function(net)) == eager
    golden(f"error_{mistake}", eager)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_error_of_ours_ends_at_the_users_line(mistake):
    net = program(MISTAKES[mistake])
    with pytest.raises(Exception) as caught:
        net(*arguments())
    frame = [f for f in traceback.extract_tb(caught.tb) if f.filename == "nets.py"][-1]
    if isinstance(caught.value, DualflowError):
        said = str(caught.value).splitlines()
        assert said[-1] == f"  at nets.py:{frame.lineno}: {frame.line}"
        assert len(said) == 4, "what, expected, remedy, place"
    else:
        assert str(caught.value).isprintable()  # one line; Python's traceback ends at the user's


def test_an_error_in_a_later_call_is_that_of_eager():
    net = program("h = x * 2\nreturn h[n[3]]")
    f = df.function(net)
    x, y, w, _, mask, v = arguments()
    inside, outside = df.asarray([0, 0, 0, 1]), df.asarray([0, 0, 0, 7])
    for _ in range(3):
        f(x, y, w, inside, mask, v)
    with pytest.raises(IndexError) as eager:
        net(x, y, w, outside, mask, v)
    with pytest.raises(IndexError) as compiled:
        f(x, y, w, outside, mask, v)
    assert str(compiled.value) == str(eager.value)
    assert str(eager.value).endswith("at nets.py:3: return h[n[3]]")


def test_a_mistake_in_a_helper_is_shown_where_it_is_made():
    net = program("def inner(a):\n    return a @ w\nh = x + 1\nreturn inner(h)")
    assert what_it_says(net).endswith("at nets.py:3: return a @ w")
    assert what_it_says(df.function(net)).endswith("at nets.py:3: return a @ w")


def test_internal_frames_are_few_and_marked():
    net = program("return x + w")
    for call in (net, df.function(net)):
        with pytest.raises(ShapeError) as caught:
            call(*arguments())
        frames = [f for f, _ in traceback.walk_tb(caught.tb)]
        ours = [f.f_globals["__name__"].partition(".")[0] == "dualflow" for f in frames]
        last = max(k for k, f in enumerate(frames) if f.f_code.co_name == "net")
        assert len(frames[last + 1 :]) <= 3
        assert all(ours[last + 1 :])
        assert [f.f_locals.get("__tracebackhide__", False) for f in frames] == ours
        assert caught.value.__suppress_context__


def test_a_users_frames_between_ours_stay_in_the_traceback():
    text = """
        @df.custom_gradient
        def scaled(a):
            def rule(g):
                return g @ w
            return a * 2, rule
        return df.grad(lambda a: scaled(a).sum())(x)
    """
    with pytest.raises(ShapeError) as caught:
        program(text)(*arguments())
    assert [f.lineno for f in traceback.extract_tb(caught.tb) if f.filename == "nets.py"][-1] == 5
    assert str(caught.value).endswith("at nets.py:5: return g @ w")


@pytest.mark.parametrize("debug", ["0", "1"])
def test_debug_shows_everything(debug):
    script = "import dualflow as df\ndf.ones((2, 3)) + df.ones((4, 5))"
    environment = {"DUALFLOW_DEBUG": debug, "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert ("broadcast_shapes" in ran.stderr) == (debug == "1")
    assert ran.stderr.rstrip().endswith("at <string>:2")


def test_errors_travel():
    error = ShapeError("what", "expected", "remedy")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert str(other) == str(error)
        assert type(other) is ShapeError
