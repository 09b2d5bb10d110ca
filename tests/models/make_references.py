"""Writes tests/models/keys/*.txt and logits.npz with torchvision and transformers.

Run it with an environment that has both; the tests need neither:

    python -m tests.models.make_references
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torchvision
import transformers

from tests.models.filling import image, values_for

HERE = Path(__file__).parent
VISION = [
    "vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "mobilenet_v2",
    "vit_b_16",
]  # fmt: skip
MINILM = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}


def keys(net):
    """Names, shapes and dtypes, a line each."""
    return "".join(
        f"{name} {'x'.join(map(str, x.shape)) or 'number'} {str(x.dtype).removeprefix('torch.')}\n"
        for name, x in net.state_dict().items()
    )


def nets():
    """Every net, without memory for its weights."""
    with torch.device("meta"):
        for name in VISION:
            yield name, getattr(torchvision.models, name)(weights=None)
        yield "gpt2", transformers.GPT2LMHeadModel(transformers.GPT2Config())
        yield "bert", transformers.BertModel(transformers.BertConfig())
        yield "minilm", transformers.BertModel(transformers.BertConfig(**MINILM))


def filled(net):
    """The net with weights that follow from their names."""
    state = {
        name: torch.from_numpy(values_for(name, tuple(x.shape), str(x.dtype)[6:]))
        for name, x in net.state_dict().items()
    }
    net.load_state_dict(state)
    return net.eval()


def main():
    """Writes the files."""
    (HERE / "keys").mkdir(exist_ok=True)
    for name, net in nets():
        (HERE / "keys" / f"{name}.txt").write_text(keys(net))
    found = {}
    with torch.no_grad():
        for name, size in (("vgg16", 64), ("resnet18", 64), ("mobilenet_v2", 96)):
            net = filled(getattr(torchvision.models, name)(weights=None))
            found[name] = net(torch.from_numpy(image(size))).numpy()
        small = torchvision.models.VisionTransformer(32, 16, 2, 4, 32, 64, num_classes=10)
        found["vit"] = filled(small)(torch.from_numpy(image(32))).numpy()
        ids = torch.arange(12).reshape(2, 6)
        sizes = transformers.GPT2Config(
            vocab_size=20, n_positions=16, n_embd=16, n_layer=2, n_head=4
        )
        found["gpt2"] = filled(transformers.GPT2LMHeadModel(sizes))(ids).logits.numpy()
        sizes = transformers.BertConfig(
            vocab_size=20,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=32,
            max_position_embeddings=16,
        )
        mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
        net = filled(transformers.BertModel(sizes))
        out = net(ids, attention_mask=mask)
        found["bert"], found["bert pooled"] = (
            out.last_hidden_state.numpy(),
            out.pooler_output.numpy(),
        )
    np.savez_compressed(HERE / "logits.npz", **found)


if __name__ == "__main__":
    main()
