"""Models that lie on a GPU make there what they need, whatever the device in force is."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.models import GPT2, CharLSTM, CharRNN, GPT2Config

SMALL = {"vocab_size": 11, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
IDS = [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: GPT2(GPT2Config(**SMALL, dropout=0.0)),
        lambda: CharRNN(11, hidden=4),
        lambda: CharLSTM(11, hidden=4),
    ],
    ids=["gpt2", "rnn", "lstm"],
)
def test_a_text_is_read_where_it_lies(make, machine):
    df.random.seed(0)
    net = make()
    wanted = df.tree.flatten(net(df.asarray(IDS)))[0]
    net.to("gpu:1")
    found = df.tree.flatten(net(df.asarray(IDS).to("gpu:1")))[0]
    assert {x.device for x in found} == {"gpu:1"}
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_a_text_is_written_where_it_lies(machine):
    df.random.seed(0)
    net = GPT2(GPT2Config(**SMALL)).eval()
    wanted = net.generate(df.asarray(IDS), 3).tolist()
    net.to("gpu:0")
    assert net.generate(df.asarray(IDS).to("gpu:0"), 3).tolist() == wanted
