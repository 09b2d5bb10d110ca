"""Files with bytes changed at random, and what every reader must do with them."""

from __future__ import annotations

import os
import tracemalloc

from hypothesis import settings
from hypothesis import strategies as st

import dualflow as df

FUZZING = os.environ.get("HYPOTHESIS_PROFILE") == "fuzz"
MUTATED = settings(max_examples=10_000 if FUZZING else 60)
MEGABYTE = 2**20


@st.composite
def mutations(draw):
    """Changes of a file: bytes overwritten, cut out, doubled, or the end missing."""
    kinds = st.sampled_from(["set", "set", "set", "cut", "double", "end"])
    place = st.floats(0, 1, exclude_max=True)
    length = st.sampled_from([1, 1, 2, 4, 8, 40])
    byte = st.one_of(st.sampled_from([0, 1, 127, 128, 255]), st.integers(0, 255))
    step = st.tuples(kinds, place, length, byte)
    return draw(st.lists(step, min_size=1, max_size=6))


def mutated(data, changes):
    for kind, place, length, byte in changes:
        k = int(place * max(len(data), 1))
        if kind == "set":
            data = data[:k] + bytes([byte]) * min(length, len(data) - k) + data[k + length :]
        elif kind == "cut":
            data = data[:k] + data[k + length :]
        elif kind == "double":
            data = data[:k] + data[k : k + length] + data[k:]
        else:
            data = data[:k]
    return data


def outcome(reader, path):
    """What the error of a reader says, if there is one, and the peak of the memory it took."""
    said = None
    tracemalloc.start()
    try:
        reader(path)
    except df.errors.FileError as error:
        said = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return said, peak


def read_or_refused(path, data, reader):
    """Reads `data`, or says which file is damaged; in bounds, and without a file beside it."""
    path.write_bytes(data)
    before = set(path.parent.iterdir())
    said, peak = outcome(reader, path)
    assert said is None or str(path) in said
    assert peak <= 2 * len(data) + 16 * MEGABYTE
    assert set(path.parent.iterdir()) == before
