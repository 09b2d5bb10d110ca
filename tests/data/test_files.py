"""Readers of data sets: what they give, and what they do with damaged files."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from tests.modes import bits
from tests.mutations import MUTATED, mutated, mutations, read_or_refused

E = df.errors.FileError
CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx(array):
    head = bytes([0, 0, CODES[array.dtype.str.lstrip("|")], array.ndim])
    return head + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@given(
    code=st.sampled_from(sorted(CODES)),
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    packed=st.booleans(),
)
def test_idx(tmp_path_factory, code, shape, packed):
    wanted = np.random.default_rng(0).integers(0, 100, shape).astype(code)
    path = tmp_path_factory.getbasetemp() / "a.idx"
    path.write_bytes(gzip.compress(idx(wanted)) if packed else idx(wanted))
    assert bits(df.data.read_idx(path)) == bits(wanted.astype(wanted.dtype.newbyteorder("=")))


def cifar(n, heads, classes):
    rows = np.random.default_rng(0).integers(0, 256, (n, heads + 3072), np.uint8)
    rows[:, :heads] %= classes
    return rows


def test_cifar(tmp_path):
    ten, hundred = cifar(4, 1, 10), cifar(3, 2, 20)
    (tmp_path / "1.bin").write_bytes(ten.tobytes())
    (tmp_path / "2.bin").write_bytes(hundred.tobytes())
    x, y = df.data.read_cifar([tmp_path / "1.bin", tmp_path / "1.bin"])
    assert (x.shape, x.dtype, y.dtype) == ((8, 3, 32, 32), df.uint8, df.int64)
    assert y.tolist() == [*ten[:, 0], *ten[:, 0]]
    assert x[5, 2, 31, 30].item() == ten[1, -2]
    x, y = df.data.read_cifar(tmp_path / "2.bin", classes=100)
    assert y.tolist() == hundred[:, 1].tolist()
    _, y = df.data.read_cifar(tmp_path / "2.bin", classes=100, coarse=True)
    assert y.tolist() == hundred[:, 0].tolist()


def test_images_in_folders(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    for name, colour in (("cat", (255, 0, 0)), ("dog", (0, 0, 255))):
        (tmp_path / name).mkdir()
        pillow.new("RGB", (6, 4), colour).save(tmp_path / name / "1.png")
        (tmp_path / name / "notes.txt").write_text("no image")
    dataset = df.data.ImageFolder(tmp_path)
    assert (dataset.classes, len(dataset)) == (["cat", "dog"], 2)
    x, label = dataset[1]
    assert (x.shape, label) == ((3, 4, 6), 1)
    assert x[:, 0, 0].tolist() == [0.0, 0.0, 1.0]
    small = df.data.ImageFolder(tmp_path, (2, 3), transform=lambda x: 1.0 - x)
    [(x, labels)] = df.data.DataLoader(small, 2, num_workers=2)
    assert (x.shape, labels.tolist()) == ((2, 3, 2, 3), [0, 1])
    assert x[0, :, 1, 1].tolist() == [0.0, 1.0, 1.0]
    good = (tmp_path / "cat" / "1.png").read_bytes()
    (tmp_path / "cat" / "1.png").write_bytes(good[:40])
    with pytest.raises(E, match=r"cat/1\.png"):
        dataset[0]
    with pytest.raises(ValueError, match="no images below"):
        df.data.ImageFolder(tmp_path / "cat")


def test_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('x,"the y",name\n1,2.5,a\n-3,,b\n\n')
    table = df.data.read_csv(path, ["the y", "x"])
    assert list(table) == ["the y", "x"]
    assert table["x"].tolist() == [1.0, -3.0]
    assert np.isnan(table["the y"].numpy()).tolist() == [False, True]
    path.write_text("1;2\n3;4\n")
    table = df.data.read_csv(path, dtype="int64", header=False, delimiter=";")
    assert bits(table["1"]) == bits(np.array([2, 4]))


@pytest.mark.parametrize(
    ("text", "options", "error", "words"),
    [
        ("x,y\n1\n", {}, E, r"line 2 has 1 fields, the first one 2"),
        ("x,y\n1,a\n", {}, E, "line 2: 'a' is no number"),
        ("x\n1\n", {"columns": ["z"]}, ValueError, "no column z; there are x"),
        ("x\n1\n", {"dtype": "int8"}, ValueError, "dtype='int8'"),
        ("x\n" + "9" * 5000 + "\n", {"dtype": "int64"}, E, "is no number that fits"),
    ],
)
def test_csv_is_checked(tmp_path, text, options, error, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(error, match=words):
        df.data.read_csv(tmp_path / "a.csv", **options)


def test_characters(tmp_path):
    (tmp_path / "a.txt").write_text("to be or not to be", encoding="utf-8")
    data = df.data.Characters.read(tmp_path / "a.txt", length=5)
    [(x, y), *_] = df.data.DataLoader(data, 4)
    assert (x.shape, data.decode(x[1]), data.decode(y[1])) == ((4, 5), "o be ", " be o")
    assert data.encode("to").tolist() == [data.alphabet.index(c) for c in "to"]
    with pytest.raises(ValueError, match="'z' is not in the alphabet"):
        data.encode("z")
    with pytest.raises(ValueError, match="windows of 18 in a text of 18"):
        df.data.Characters("to be or not to be", 18)
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(E, match="UnicodeDecodeError"):
        df.data.Characters.read(tmp_path / "a.txt", length=5)


FILES = {
    "idx": (idx(np.arange(24, dtype=">i4").reshape(2, 3, 4)), df.data.read_idx),
    "packed idx": (gzip.compress(idx(np.arange(99, dtype="u1"))), df.data.read_idx),
    "CIFAR": (cifar(2, 1, 10).tobytes(), df.data.read_cifar),
    "CSV": (b"x,y\n1,2\n3,4.5\n-6,1e3\n", df.data.read_csv),
}


def test_a_packed_file_takes_the_memory_of_what_it_holds(tmp_path):
    """Whatever its shape says."""
    shape = (50_000_000).to_bytes(4, "big")
    data = gzip.compress(bytes([0, 0, CODES["u1"], 1]) + shape + b"few")
    read_or_refused(tmp_path / "a.idx", data, df.data.read_idx)


@pytest.mark.parametrize("kind", FILES)
@MUTATED
@given(changes=mutations())
def test_mutated_files_are_read_or_refused(tmp_path_factory, kind, changes):
    good, reader = FILES[kind]
    path = tmp_path_factory.getbasetemp() / f"mutated {kind}"
    read_or_refused(path, mutated(good, changes), reader)
