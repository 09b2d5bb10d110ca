"""What a mistake inside a decorated function says: one golden file each, the same in both modes."""

from __future__ import annotations

import subprocess
import sys
import traceback

import pytest

import dualflow as df
from dualflow.core.source import without_ours
from dualflow.errors import DualflowError
from tests.test_errors import MISTAKES as OPS
from tests.test_errors import arguments, program, what_it_says

# The arguments are those of `tests.test_errors`.
MISTAKES = {
    # values that leave, and symbolic ones
    "leaked_symbol": """
        kept = []
        df.function(lambda a: kept.append(a * 2.0) or a).concrete(df.TensorSpec((None, 3)))
        return kept[0] + x
    """,
    "symbolic_bool": """
        @df.function
        def choose(a):
            return a if a.sum() > 0 else -a
        return choose.concrete(df.TensorSpec((None, 3)))
    """,
    "symbolic_float": """
        @df.function
        def scaled(a):
            return a * float(a.sum())
        return scaled.concrete(df.TensorSpec((None, 3)))
    """,
    "symbolic_assign": """
        @df.function
        def assigned(a):
            v.assign(a)
        return assigned.concrete(df.TensorSpec((2, 3)))
    """,
    "concrete_argument": """
        doubled = df.function(lambda a: a * 2.0).concrete(df.TensorSpec((None, 4)))
        return doubled(x)
    """,
    "decorated_number": "return df.function(3)",
    # state
    "rebound_variable": """
        u = v
        u = u + x
        u.assign(x)
    """,
    "assign_ints": "v.assign(df.asarray([[1, 2, 3], [4, 5, 6]]))",
    "optimizer_of_tensors": "return df.optim.SGD([x], lr=0.1)",
    "optimizer_without_gradients": """
        df.optim.SGD([v], lr=0.1).apply_gradients([(None, v)])
    """,
    "optimizer_shape": "df.optim.SGD([v], lr=0.1).apply_gradients([(w, v)])",
    "optimizer_stranger": """
        other = df.Variable(x)
        df.optim.SGD([v], lr=0.1).apply_gradients([(x, other)])
    """,
    "optimizer_rate": "return df.optim.Adam([v], lr=-1.0)",
    # gradients
    "tape_without_watch": """
        with df.GradientTape() as tape:
            z = (x * x).sum()
        return tape.gradient(z, x, unconnected_gradients="raise")
    """,
    "tape_twice": """
        tape = df.GradientTape()
        with tape:
            with tape:
                pass
    """,
    "tape_cut_by_numpy": """
        with df.GradientTape() as tape:
            z = df.asarray(v.numpy()).sum()
        return tape.gradient(z, v, unconnected_gradients="raise")
    """,
    "tape_cut_by_assign": """
        u = df.Variable(x)
        with df.GradientTape() as tape:
            u.assign(v * 2.0)
            z = (u * u).sum()
        return tape.gradient(z, v, unconnected_gradients="raise")
    """,
    "tape_source": """
        with df.GradientTape() as tape:
            z = (v * v).sum()
        return tape.gradient(z, [v, "w"])
    """,
    "tape_integer_source": """
        with df.GradientTape() as tape:
            z = (v * v).sum()
        return tape.gradient(z, n)
    """,
    "grad_of_a_vector": "return df.grad(lambda a: a * 2.0)(x)",
    "output_gradient_shape": """
        with df.GradientTape() as tape:
            z = v * v
        return tape.gradient(z, v, output_gradients=y)
    """,
    "backward_in_no_grad": """
        with df.no_grad():
            z = (v * v).sum()
        z.backward()
    """,
    "custom_gradient_without_rule": """
        @df.custom_gradient
        def doubled(a):
            return a * 2.0
        return doubled(x)
    """,
    # layers
    "conv_layer_channels": """
        net = df.nn.Conv2d(3, 4, 3)
        return net(df.ones((1, 2, 8, 8)))
    """,
    "norm_layer_shape": "return df.nn.LayerNorm(4)(x)",
    "batch_norm_channels": "return df.nn.BatchNorm2d(4)(df.ones((2, 3, 5, 5)))",
    "embedding_of_floats": "return df.nn.Embedding(4, 2)(x)",
    "embedding_range": "return df.nn.Embedding(3, 2)(n)",
    "cross_entropy_labels": "return df.nn.functional.cross_entropy(x, n)",
    "dropout_rate": "return df.nn.functional.dropout(x, p=2.0)",
    "no_forward": """
        class Net(df.nn.Module):
            pass
        return Net()(x)
    """,
    "load_state_dict": 'return df.nn.Linear(3, 2).load_state_dict({"weight": w})',
    # shapes
    "where_shapes": "return df.where(mask, x, w)",
    "einsum_letters": 'return df.einsum("ij,kj->ik", x, w)',
    "squeeze": "return df.squeeze(x, axis=0)",
    "split": "return df.split(x, 2, axis=1)",
    "iterate_a_scalar": "return [a for a in x.sum()]",
}

# What only a Function can say, of the arguments above; `df.function` stands in the body.
OF_FUNCTIONS = {
    "signature": """
        f = df.function(lambda a: a * 2.0, input_signature=[df.TensorSpec((None, 4))])
        return f(x)
    """,
    "signature_count": """
        f = df.function(lambda a, b: a * 2.0, input_signature=[df.TensorSpec((None, 3))])
        return f(x, x)
    """,
    "strict_escape": """
        f = df.function(lambda a: a * float(a.sum()), strict=True)
        return f(x)
    """,
    "strict_effect": """
        f = df.function(lambda a, kept: kept.append(a), strict=True)
        return f(x, [x])
    """,
    "strict_generator": """
        f = df.function(lambda a: (row for row in a), strict=True)
        return f(x)
    """,
    "strict_creation": """
        kept = []
        f = df.function(lambda a: kept.append(df.Variable(a)), strict=True)
        for _ in range(5):
            f(x)
    """,
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_r42_a_mistake_in_a_function_says_the_same_in_both_modes(mistake, golden):
    net = program(MISTAKES[mistake])
    eager = what_it_says(net)
    f = df.function(net)
    assert what_it_says(f) == eager
    assert what_it_says(f) == eager, "the second call"
    golden(f"mistakes/{mistake}", eager)


@pytest.mark.parametrize("mistake", OF_FUNCTIONS)
@pytest.mark.skipif(df.function(len).mode.startswith("eager"), reason="compilation is off")
def test_r42_what_only_a_function_says(mistake, golden):
    golden(f"mistakes/{mistake}", what_it_says(program(OF_FUNCTIONS[mistake])))


def test_r42_there_are_forty_and_more():
    assert len(OPS) + len(MISTAKES) + len(OF_FUNCTIONS) >= 80


@pytest.mark.parametrize("mistake", {**OPS, **MISTAKES})
@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_r42_a_report_has_twelve_lines_and_ends_at_the_users(mistake, mode):
    net = program({**OPS, **MISTAKES}[mistake])
    with pytest.raises(Exception) as caught:
        (net if mode == "eager" else df.function(net))(*arguments())
    error = without_ours(caught.value)
    if isinstance(caught.value, DualflowError):
        frames = traceback.extract_tb(error.__traceback__)
        assert frames[-1].filename == "nets.py"
        assert not [f for f in frames if "/dualflow/" in f.filename and "/tests/" not in f.filename]
        inside = traceback.format_list([f for f in frames if f.filename == "nets.py"])
        said = traceback.format_exception_only(type(error), error)
        assert len("".join(inside + said).splitlines()) <= 12
        assert str(error).splitlines()[-1].startswith(f"  at nets.py:{frames[-1].lineno}")


SCRIPT = """
import dualflow as df
w = df.ones((4, 5))
@df.function
def net(x):
    return x @ w
for width in (4, 4, 3):
    net(df.ones((2, width)))
"""


@pytest.mark.parametrize("debug", [False, True])
def test_r42_a_program_ends_with_a_short_report(tmp_path, debug, monkeypatch):
    monkeypatch.setenv("DUALFLOW_DEBUG", str(int(debug)))
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    path = tmp_path / "nets.py"
    path.write_text(SCRIPT)
    ran = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == "  at nets.py:6: return x @ w"
    assert ("/dualflow/" in ran.stderr) == debug
    assert (len(ran.stderr.splitlines()) <= 12) != debug


def test_r42_a_fault_of_ours_is_shown_whole():
    with pytest.raises(ZeroDivisionError) as caught:
        df.tree.tree_map(lambda x: x / 0, [1])
    assert without_ours(caught.value) is caught.value
    ours: dict[str, object] = {"__name__": "dualflow.fault"}
    exec("def fault():\n    return 1 / 0", ours)
    with pytest.raises(ZeroDivisionError) as caught:
        ours["fault"]()  # type: ignore[operator]
    length = len(traceback.extract_tb(caught.tb))
    assert len(traceback.extract_tb(without_ours(caught.value).__traceback__)) == length


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, y: x < y,
        lambda x, y: y < x,
        lambda x, y: x >= y,
        lambda x, y: y <= x,
        lambda x, y: x[::1.5] if y.shape else x,
        lambda x, y: x[: y.shape[0] / 4],
    ],
)
def test_r42_what_was_computed_before_is_named_as_python_has_it(wrong):
    """Shapes that vary, and tensors of which only the type is known yet, change no message."""

    def python(x):
        return wrong(x, (x * 2.0)[:2])

    f = df.function(python)
    for size in (3, 4, 5, 3):
        x, said = df.ones(size), []
        for function in (python, f):
            with pytest.raises((TypeError, DualflowError)) as caught:
                function(x)
            said.append(str(caught.value))
        assert said[0] == said[1]
