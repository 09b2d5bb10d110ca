"""Damaged and hostile files: a clear error, no code run, memory in bounds, no file beside."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given

import dualflow as df
from dualflow.cache import SUMS, bundled
from dualflow.io.nests import load_nest, save_nest
from jit.runtime.cache import DiskCache
from tests.mutations import MUTATED, mutated, mutations, read_or_refused

TORCH = Path(__file__).parent / "torch"


class Files(dict):
    """Bytes and readers by kind, too long for hypothesis to print."""

    def __repr__(self):
        return f"<{len(self)} files>"


def bundle(path):
    """A bundle of two graphs, one with a loop and constants."""

    @df.function
    def f(x, y):
        for k in range(20):
            x = df.tanh(x @ y) * float(k + 1)
        return df.where(x > 0.5, x, df.asarray([1.0, -2.5, 3.0])), x.sum(axis=0)

    g = df.function(lambda x: df.exp(x).astype(df.float64).reshape(-1)[::2])
    with df.set_mode("compiled"):
        f(df.ones((4, 3)), df.ones((3, 3)))
        g(df.ones((2, 3)))
    return df.cache.bundle(path, f, g)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A good file of each kind, as bytes, and what reads it."""
    folder = tmp_path_factory.mktemp("good")
    weights = {"a": np.arange(24.0).reshape(2, 3, 4), "b": np.ones(3, np.int8)}
    df.io.save(folder / "a.safetensors", weights)
    df.io.save(folder / "a.npz", weights)
    np.savez_compressed(folder / "b.npz", **weights)
    save_nest(folder / "a.ckpt", {"x": [1, (2.5, None)], 3: df.ones(2), "y": {"z": "text"}})
    paths = {
        "safetensors": (folder / "a.safetensors", df.io.load_safetensors),
        "npz": (folder / "a.npz", df.io.load_npz),
        "compressed npz": (folder / "b.npz", df.io.load_npz),
        "checkpoint": (folder / "a.ckpt", load_nest),
        "torch": (TORCH / "new.pt", df.io.load_torch),
        "old torch": (TORCH / "old.pt", df.io.load_torch),
        "bundle": (bundle(folder / "a.dfcache"), df.cache.load),
    }
    return Files({name: (path.read_bytes(), reader) for name, (path, reader) in paths.items()})


KINDS = ["safetensors", "npz", "compressed npz", "checkpoint", "torch", "old torch", "bundle"]


@pytest.mark.parametrize("kind", KINDS)
@MUTATED
@given(changes=mutations())
@example(changes=[("set", 0.5, 1, 0), ("set", 0.1484375, 1, 1)])  # a text as long as 16 MB
def test_mutated_files_are_read_or_refused(files, tmp_path_factory, kind, changes):
    good, reader = files[kind]
    path = tmp_path_factory.getbasetemp() / f"mutated {kind}"
    read_or_refused(path, mutated(good, changes), reader)


@MUTATED
@given(changes=mutations())
def test_mutated_graphs_are_read_or_refused(files, tmp_path_factory, changes):
    """Texts of graphs that were changed before they were summed up: what a forger would do."""
    with zipfile.ZipFile(io.BytesIO(files["bundle"][0])) as archive:
        names = [name for name in archive.namelist() if name != SUMS]
        forged = [mutated(archive.read(name), changes) for name in names]
    texts = {hashlib.sha256(text).hexdigest(): text for text in forged}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(SUMS, "\n".join(texts))
        for key, text in texts.items():
            archive.writestr(f"{key}.txt", text)
    read_or_refused(tmp_path_factory.getbasetemp() / "forged", stream.getvalue(), bundled)


@MUTATED
@given(changes=mutations())
def test_mutated_entries_of_the_disk_cache_are_missing(tmp_path_factory, changes):
    cache = DiskCache(tmp_path_factory.getbasetemp() / "kernels")
    key, data = "ab" * 32, bytes(range(256)) * 4
    cache.put(key, data)
    path = cache.folder / key
    path.write_bytes(mutated(path.read_bytes(), changes))
    assert cache.get(key) in (None, data)


# ----- files that were made to harm -----


class Harm:
    """What a pickle of it calls when Python's own pickle loads it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def zipped(pickled, *others):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        for name, data in others:
            archive.writestr(name, data)
    return stream.getvalue()


def old(pickled):
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(x, 2) for x in head) + pickled


@pytest.mark.parametrize("wrap", [zipped, old, bytes])
def test_no_code_runs(tmp_path, wrap):
    marker = tmp_path / "harmed"
    pickled = pickle.dumps({"weight": Harm(marker)}, 2)
    (tmp_path / "a.pt").write_bytes(wrap(pickled))
    with pytest.raises(df.errors.FileError, match=r"posix\.mkdir|torch\.save"):
        df.io.load(tmp_path / "a.pt")
    assert not marker.exists()
    pickle.loads(pickled)  # it would have
    assert marker.exists()


def reference(key="0", count=4):
    """A persistent id of a storage, as instructions of a pickle."""
    return (
        b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
        + key.encode()
        + b"X\x03\0\0\0cpuJ"
        + count.to_bytes(4, "little")
        + b"tQ"
    )


def number(n):
    return b"\x8a\x08" + n.to_bytes(8, "little")


def one_tensor(offset=0, shape=(4,), strides=(1,)):
    sizes = [b"(" + b"".join(map(number, x)) + b"t" for x in (shape, strides)]
    head = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
    return head + reference() + number(offset) + b"".join(sizes) + b"\x89}tR."


FOUR = ("a/data/0", np.arange(4, dtype=np.float32).tobytes())


def test_a_handwritten_file_is_read(tmp_path):
    (tmp_path / "a.pt").write_bytes(zipped(one_tensor(), FOUR))
    assert df.io.load(tmp_path / "a.pt").tolist() == [0, 1, 2, 3]


HOSTILE = {
    "past the end": one_tensor(offset=1),
    "far past the end": one_tensor(offset=2**40),
    "huge by stride 0": one_tensor(shape=(2**40,), strides=(0,)),
    "huge by shape": one_tensor(shape=(2**31, 2**31), strides=(2**31, 1)),
    "negative stride": one_tensor(strides=(2**63,)),
    "too many dimensions": one_tensor(shape=(1,) * 70, strides=(1,) * 70),
    "ranks differ": one_tensor(shape=(2, 2), strides=(1,)),
    "deep": b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "calls a class of storages": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "calls a text": b"\x80\x02X\x01\0\0\0a)R.",
    "a nest as key": b"\x80\x02}))\x86K\x01s.",
    "memo that is not there": b"\x80\x02h\x07.",
    "large memo": b"\x80\x02]r\xff\xff\xff\x7fj\xfe\xff\xff\x7f.",
    "a long text that is not there": b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"a.",
    "many copies": b"\x80\x02](" + one_tensor(shape=(2, 2), strides=(1, 2))[2:-1] * 50 + b"e.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused(tmp_path, name):
    (tmp_path / "a.pt").write_bytes(zipped(HOSTILE[name], FOUR))
    with pytest.raises(df.errors.FileError):
        df.io.load(tmp_path / "a.pt")


def test_a_zip_bomb_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", one_tensor())
        archive.writestr("a/data/0", b"\0" * 2**26)
    with pytest.raises(df.errors.FileError, match="larger than the"):
        df.io.load(tmp_path / "a.pt")


def test_a_bundle_that_unpacks_to_much_more_is_refused(tmp_path):
    path = tmp_path / "a.dfcache"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(SUMS, " " * 2**24)
    with pytest.raises(df.errors.FileError, match="if you trust it: max_bytes=16777216"):
        df.cache.load(path)
    assert df.cache.load(path, max_bytes=2**24) == 0


def test_names_in_an_archive_are_only_names(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        buffer = io.BytesIO()
        np.save(buffer, np.ones(2))
        archive.writestr("../../outside.npy", buffer.getvalue())
    assert list(df.io.load(tmp_path / "a.npz")) == ["../../outside"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
