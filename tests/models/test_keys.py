"""Ready nets have torchvision's and Hugging Face's names and shapes, and give their numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dualflow as df
from tests.models.filling import image, values_for

HERE = Path(__file__).parent
with np.load(HERE / "logits.npz") as file:
    LOGITS = dict(file)
VISION = "vgg11 vgg13 vgg16 vgg19 resnet18 resnet34 resnet50 mobilenet_v2 vit_b_16"
MAKERS = {
    **{name: getattr(df.models, name) for name in VISION.split()},
    "gpt2": df.models.gpt2,
    "bert": df.models.bert,
    "minilm": lambda: df.models.bert(config=df.models.MINILM),
}
LARGE = set(MAKERS) - {"resnet18", "mobilenet_v2"}


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[SLOW] if name in LARGE else []) for name in MAKERS]
)
def test_names_shapes_and_dtypes(name):
    listed = (HERE / "keys" / f"{name}.txt").read_text().splitlines()
    own = [
        f"{key} {'x'.join(map(str, x.shape)) or 'number'} {x.dtype}"
        for key, x in MAKERS[name]().state_dict().items()
    ]
    assert sorted(own) == sorted(listed)


def filled(net):
    state = {k: values_for(k, x.shape, str(x.dtype)) for k, x in net.state_dict().items()}
    net.load_state_dict(state)
    return net.eval()


def same(found, name):
    wanted = LOGITS[name]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


IMAGES = [("resnet18", 64), ("mobilenet_v2", 96), ("vgg16", 64)]


@pytest.mark.parametrize(
    ("name", "size", "mode"),
    [
        pytest.param(*case, mode, marks=[] if (*case, mode) == (*IMAGES[0], "eager") else [SLOW])
        for case in IMAGES
        for mode in ("eager", "compiled")
    ],
)
def test_scores_of_images(name, size, mode):
    net = filled(MAKERS[name]())
    run = df.function(net.forward) if mode == "compiled" else net
    with df.no_grad():
        same(run(df.asarray(image(size))), name)


def test_scores_of_patches(mode):
    net = filled(df.models.VisionTransformer(32, 16, 2, 4, 32, 64, num_classes=10))
    run = df.function(net.forward) if mode == "compiled" else net
    same(run(df.asarray(image(32))), "vit")


IDS = np.arange(12).reshape(2, 6)
MASK = np.array([[1] * 6, [1] * 4 + [0] * 2])


def small_gpt2():
    config = df.models.GPT2Config(vocab_size=20, n_positions=16, n_embd=16, n_layer=2, n_head=4)
    return filled(df.models.GPT2(config))


def small_bert():
    config = df.models.BertConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    return filled(df.models.Bert(config))


def test_scores_of_tokens(mode):
    net = small_gpt2()
    run = df.function(net.forward) if mode == "compiled" else net
    same(run(df.asarray(IDS)), "gpt2")


def test_vectors_of_tokens(mode):
    net = small_bert()
    run = df.function(net.forward) if mode == "compiled" else net
    hidden = run(df.asarray(IDS), df.asarray(MASK))
    kept = MASK.astype(bool)
    wanted = LOGITS["bert"]
    np.testing.assert_allclose(hidden.numpy()[kept], wanted[kept], rtol=1e-4, atol=1e-4)
    same(net.pooled(hidden), "bert pooled")
    lengths = (net.sentence_embeddings(IDS, MASK) ** 2).sum(axis=1)
    np.testing.assert_allclose(lengths.numpy(), 1.0, rtol=1e-6)


# ----- writing on -----


def test_a_cache_changes_nothing(mode):
    net = small_gpt2()
    step = df.function(net.step) if mode == "compiled" else None
    text = net.generate(IDS, 8, step=step)
    assert text.shape == (2, 14)
    again = df.asarray(IDS)
    for _ in range(8):
        new = df.argmax(net(again)[:, -1], axis=-1)[:, None]
        again = df.concat([again, new], axis=1)
    assert text.tolist() == again.tolist()
    if step is not None:
        assert len(step.explain().traces) <= 4


def test_chances_follow_the_seed():
    net = small_gpt2()

    def drawn(seed, **options):
        generator = df.random.Generator(seed)
        return net.generate(IDS, 9, temperature=2.0, generator=generator, **options).tolist()

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(1, top_k=1) == net.generate(IDS, 9).tolist()
    with pytest.raises(ValueError, match="6 \\+ 11 tokens are more than n_positions=16"):
        net.generate(IDS, 11)


# ----- files -----


def test_files_of_several_kinds(tmp_path):
    net = small_gpt2()
    state = {k: x for k, x in net.state_dict().items() if k != "lm_head.weight"}
    bare = {k.removeprefix("transformer."): x for k, x in state.items()}
    bare["h.0.attn.bias"] = np.ones((1, 1, 4, 4), np.float32)
    for k, given in enumerate((state, bare)):
        df.io.save(tmp_path / f"{k}.safetensors", given)
        other = df.models.gpt2(tmp_path / f"{k}.safetensors", net.config).eval()
        assert other(IDS).tolist() == net(IDS).tolist()
    with pytest.raises(df.errors.ShapeError, match="missing: transformer"):
        df.models.gpt2({"lm_head.weight": np.ones((20, 16), "f")}, net.config)


def test_old_names_of_bert():
    net = small_bert()
    old = {
        "bert." + k.replace("LayerNorm.weight", "LayerNorm.gamma"): x
        for k, x in net.state_dict().items()
    }
    other = df.models.bert({**old, "cls.predictions.bias": np.ones(20, "f")}, net.config).eval()
    assert other(IDS).tolist() == net(IDS).tolist()


def test_files_without_counters():
    net = df.models.mobilenet_v2(num_classes=3)
    state = {k: x for k, x in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    other = df.models.mobilenet_v2(state, num_classes=3)
    assert other.state_dict().keys() == net.state_dict().keys()


@pytest.mark.parametrize(
    ("make", "words"),
    [(df.models.mobilenet_v2, "torchvision's `mobilenet_v2"), (df.models.bert, "Hugging Face")],
)
def test_a_file_that_is_not_there(tmp_path, make, words):
    config = {"config": small_bert().config} if make is df.models.bert else {}
    with pytest.raises(FileNotFoundError, match=words):
        make(tmp_path / "nothing.pth", **config)
    with pytest.raises(TypeError, match=f"weights=True is no path.*{words}"):
        make(True, **config)
