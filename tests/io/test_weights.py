"""Files of weights: what is written comes back, and what PyTorch wrote is read without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from dualflow.io.safetensors_format import DTYPES
from jit.types import as_dtype
from tests.modes import bits

TORCH = Path(__file__).parent / "torch"


@st.composite
def arrays(draw, dtypes):
    dtype = as_dtype(draw(st.sampled_from(dtypes)))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    values = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(values)
    array = random.integers(0, 2 if dtype.kind == "b" else 100, shape).astype(dtype)
    return array.T if draw(st.booleans()) else array


def states(dtypes):
    return st.dictionaries(st.text(max_size=8).filter(lambda s: "/" not in s), arrays(dtypes))


@given(state=states(sorted(DTYPES.values())))
def test_safetensors_come_back(tmp_path_factory, state):
    state.pop("__metadata__", None)
    path = tmp_path_factory.mktemp("w") / "a.safetensors"
    df.io.save(path, state)
    loaded = df.io.load(path)
    assert {k: bits(x) for k, x in loaded.items()} == {k: bits(x) for k, x in state.items()}


@given(state=states(sorted({*DTYPES.values(), "complex128"} - {"bfloat16"})))
def test_npz_comes_back_and_is_what_numpy_reads(tmp_path_factory, state):
    state = {k.strip("\0"): x for k, x in state.items() if k.isprintable()}
    path = tmp_path_factory.mktemp("w") / "a.npz"
    df.io.save(path, state)
    loaded = df.io.load_npz(path)
    assert {k: bits(x) for k, x in loaded.items()} == {k: bits(x) for k, x in state.items()}
    with np.load(path) as theirs:
        assert {k: bits(theirs[k]) for k in theirs} == {k: bits(x) for k, x in state.items()}


def test_what_numpy_writes_is_read(tmp_path):
    state = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.eye(3, dtype=">f4"))}
    np.savez(tmp_path / "a.npz", **state)
    np.savez_compressed(tmp_path / "b.npz", **state)
    for name in ("a.npz", "b.npz"):
        loaded = df.io.load(tmp_path / name)
        assert loaded["a"].tolist() == state["a"].tolist()
        assert loaded["b"].tolist() == state["b"].tolist()


def test_arrays_of_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{}, []], object))
    with pytest.raises(df.errors.FileError, match="nothing but numbers"):
        df.io.load_npz(tmp_path / "a.npz")


def test_a_small_file_of_many_zeros_needs_leave(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(2**22))
    with pytest.raises(df.errors.FileError, match=r"max_bytes=\d+"):
        df.io.load_npz(tmp_path / "a.npz")
    assert df.io.load_npz(tmp_path / "a.npz", max_bytes=2**26)["a"].size == 2**22


def test_a_net_goes_through_a_file(mode, tmp_path):
    net = df.nn.Sequential(df.nn.Linear(3, 4), df.nn.Tanh(), df.nn.Linear(4, 2))
    other = df.nn.Sequential(df.nn.Linear(3, 4), df.nn.Tanh(), df.nn.Linear(4, 2))
    run = df.function(other.forward) if mode == "compiled" else other.forward
    x = df.ones((2, 3))
    assert bits(run(x)) != bits(net(x))
    df.io.save(tmp_path / "net.safetensors", net.state_dict())
    other.load_state_dict(df.io.load(tmp_path / "net.safetensors"))
    assert bits(run(x)) == bits(net(x))


# ----- PyTorch -----


@pytest.mark.parametrize("name", ["new", "old"])
def test_pytorch_checkpoints(name):
    data = df.io.load(TORCH / f"{name}.pt")
    expected = df.io.load_npz(TORCH / "expected.npz")
    found = flat(data)
    assert found.keys() == expected.keys()
    for place, x in found.items():
        plain = x.astype(df.float32) if x.dtype == df.bfloat16 else x
        assert bits(plain) == bits(expected[place]), place
    assert (data["size"], data["epoch"], data["name"]) == ((1, 2), 3, "größe")
    assert data["rates"] == (0.5, 1e-3, None, True, -(2**40))
    assert data["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)


def flat(nest, place=""):
    if isinstance(nest, df.Tensor):
        return {place.lstrip("/"): nest}
    found = {}
    if isinstance(nest, dict | list | tuple):
        for key, item in nest.items() if isinstance(nest, dict) else enumerate(nest):
            found |= flat(item, f"{place}/{key}")
    return found


def test_a_pytorch_net_and_its_optimiser_go_on_here():
    data = df.io.load_torch(TORCH / "old.pt")
    net = df.nn.Sequential(df.nn.Conv2d(1, 2, 3), df.nn.BatchNorm2d(2))
    optimizer = df.optim.Adam(net.parameters())
    net.load_state_dict(data["model"])
    state = data["optimizer"]
    groups = [
        {k: g[k] for k in optimizer.defaults} | {"params": g["params"]}
        for g in state["param_groups"]
    ]
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
    assert optimizer.state[net[0].weight]["step"].item() == 1


def test_whole_models_are_refused():
    with pytest.raises(df.errors.FileError, match=r"modules\.linear\.Linear.*state_dict"):
        df.io.load(TORCH / "whole_model.pt")


# ----- Keras -----


def test_keras_weights_are_turned():
    net = df.nn.Sequential(df.nn.Conv2d(2, 4, 3), df.nn.BatchNorm2d(4), df.nn.Flatten())
    head = df.nn.Linear(4, 5)
    random = np.random.default_rng(0)
    shapes = [(3, 3, 2, 4), (4,), (4,), (4,), (4,), (4,), (4, 5), (5,)]
    weights = [random.random(shape, np.float32) for shape in shapes]
    df.io.set_keras_weights(df.nn.Sequential(net, head), weights)
    assert net[0].weight.tolist() == weights[0].transpose(3, 2, 0, 1).tolist()
    assert net[1].running_var.tolist() == weights[5].tolist()
    assert head.weight.tolist() == weights[6].T.tolist()
    with pytest.raises(df.errors.ShapeError, match="7 arrays for 8"):
        df.io.set_keras_weights(df.nn.Sequential(net, head), weights[1:])
    with pytest.raises(df.errors.ShapeError, match=r"\(5, 4\), the array \(5, 4\)"):
        df.io.set_keras_weights(head, [weights[6].T, weights[7]])


def test_keras_files(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.ones((2, 3), np.float32)
    assert df.io.load(tmp_path / "a.weights.h5")["layers/dense/vars/0"].shape == (2, 3)


# ----- errors -----


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p: df.io.save(p / "a.txt", {}), ValueError, r"\.safetensors, \.npz"),
        (lambda p: df.io.save(p / "a.npz", {"a": "text"}), TypeError, "values are tensors"),
        (lambda p: df.io.save(p / "a.npz", {"a": df.ones(2, dtype="bfloat16")}), TypeError, "bfl"),
        (lambda p: df.io.load(p / "nowhere"), FileNotFoundError, "nowhere"),
        (lambda p: df.io.load(True), TypeError, "not bool"),
        (lambda p: df.io.load(p / "empty"), df.errors.FileError, "begins like no file"),
    ],
)
def test_refused(tmp_path, call, error, words):
    (tmp_path / "empty").touch()
    with pytest.raises(error, match=words):
        call(tmp_path)
