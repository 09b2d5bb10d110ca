"""GPT-2 (Radford et al., 2019), under Hugging Face's names; it writes on from a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dualflow.core.context import no_grad
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.models.attention import heads_of, joined
from dualflow.models.weights import HUGGING_FACE, filled
from dualflow.nn import Dropout, Embedding, LayerNorm, Module, Parameter, init
from dualflow.nn.functional import gelu, linear, scaled_dot_product_attention, softmax
from dualflow.ops.arrange import concat, split
from dualflow.ops.choice import where
from dualflow.ops.create import arange, zeros
from dualflow.ops.elementwise import astype
from dualflow.ops.random import Generator, normal, uniform
from dualflow.ops.reduce import argmax
from dualflow.ops.scan import cumulative_sum
from dualflow.ops.shape import matrix_transpose
from dualflow.ops.sort import sort
from jit.dataclass import dataclass

Cache = Sequence[tuple[Tensor, Tensor]]  # keys and values of each block


@dataclass(frozen=True)
class GPT2Config:
    """The sizes of a GPT-2; by default those of the smallest one.

    Attributes:
        vocab_size: How many tokens there are.
        n_positions: The longest text.
        n_embd: Width of the vectors.
        n_layer: Blocks.
        n_head: Heads of the attention.
        dropout: Share that is dropped in training.
    """

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    dropout: float = 0.1


class Projection(Module):
    """A dense layer whose weight is (inputs, outputs), as GPT-2's files have it.

    Args:
        outputs: Width of what goes.
        inputs: Width of what comes.
    """

    def __init__(self, outputs: int, inputs: int) -> None:
        self.weight = Parameter(normal((inputs, outputs), std=0.02))
        self.bias = Parameter(zeros(outputs))

    def forward(self, x: Any) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return linear(x, matrix_transpose(self.weight), self.bias)


class Attention(Module):
    """Attention of each token to those before it.

    Args:
        config: The sizes.
    """

    def __init__(self, config: GPT2Config) -> None:
        self.heads = config.n_head
        self.c_attn = Projection(3 * config.n_embd, config.n_embd)
        self.c_proj = Projection(config.n_embd, config.n_embd)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Any, past: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(n, length, width), and keys and values of before -> the same shape, and all of these."""
        q, k, v = (heads_of(part, self.heads) for part in split(self.c_attn(x), 3, axis=-1))
        if past is None:
            y = scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            before = past[0].shape[2]
            k, v = concat([past[0], k], axis=2), concat([past[1], v], axis=2)
            own = arange(x.shape[1], device=x.device)[:, None] + before
            mask = arange(k.shape[2], device=x.device)[None, :] <= own
            y = scaled_dot_product_attention(q, k, v, mask)
        return self.dropout(self.c_proj(joined(y))), (k, v)


class MLP(Module):
    """Two dense layers.

    Args:
        config: The sizes.
    """

    def __init__(self, config: GPT2Config) -> None:
        self.c_fc = Projection(4 * config.n_embd, config.n_embd)
        self.c_proj = Projection(config.n_embd, 4 * config.n_embd)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Any) -> Tensor:
        """(n, length, width), the same shape."""
        return self.dropout(self.c_proj(gelu(self.c_fc(x), approximate="tanh")))


class Block(Module):
    """Attention and dense layers, each with a way around it.

    Args:
        config: The sizes.
    """

    def __init__(self, config: GPT2Config) -> None:
        self.ln_1, self.attn = LayerNorm(config.n_embd), Attention(config)
        self.ln_2, self.mlp = LayerNorm(config.n_embd), MLP(config)

    def forward(self, x: Any, past: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(n, length, width), the same shape, and keys and values."""
        y, kept = self.attn(self.ln_1(x), past)
        x = x + y
        return x + self.mlp(self.ln_2(x)), kept


class Transformer(Module):
    """Embeddings, blocks, normalisation.

    Args:
        config: The sizes.
    """

    def __init__(self, config: GPT2Config) -> None:
        self.wte = Embedding(config.vocab_size, config.n_embd)
        self.wpe = Embedding(config.n_positions, config.n_embd)
        for table in (self.wte, self.wpe):
            init.normal_(table.weight, std=0.02)
        self.dropout = Dropout(config.dropout)
        self.h = [Block(config) for _ in range(config.n_layer)]
        self.ln_f = LayerNorm(config.n_embd)

    def forward(self, ids: Any, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """(n, length) -> (n, length, width), and keys and values of all blocks."""
        ids = as_tensor(ids)
        before = 0 if cache is None else cache[0][0].shape[2]
        places = arange(ids.shape[1], device=ids.device) + before
        x = self.dropout(self.wte(ids) + self.wpe(places))
        kept = []
        for k, block in enumerate(self.h):
            x, pair = block(x, None if cache is None else cache[k])
            kept.append(pair)
        return self.ln_f(x), kept


class Head(Module):
    """The scores of all tokens, by the vectors that embed them.

    Args:
        weight: These vectors.
    """

    def __init__(self, weight: Parameter) -> None:
        self.weight = weight

    def forward(self, x: Any) -> Tensor:
        """(..., width) -> (..., tokens)."""
        return linear(x, self.weight)


class GPT2(Module):
    """A transformer that tells the next token.

    Args:
        config: The sizes.

    Example:
        >>> import dualflow as df
        >>> small = dict(vocab_size=10, n_positions=8, n_embd=8, n_layer=1, n_head=2)
        >>> net = df.models.GPT2(df.models.GPT2Config(**small)).eval()
        >>> net(df.asarray([[1, 2, 3]])).shape
        (1, 3, 10)
        >>> net.generate([[1, 2, 3]], 4).shape
        (1, 7)
    """

    def __init__(self, config: GPT2Config | None = None) -> None:
        self.config = config or GPT2Config()
        self.transformer = Transformer(self.config)
        self.lm_head = Head(self.transformer.wte.weight)

    def forward(self, ids: Any) -> Tensor:
        """Tokens (n, length) -> scores of the next ones, (n, length, vocab_size)."""
        return self.lm_head(self.transformer(ids)[0])

    def step(self, ids: Any, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """Scores after the last of some further tokens, and what the next step needs to know.

        Args:
            ids: Tokens (n, length) that come after those of the cache.
            cache: What the step before gave.

        Returns:
            (n, vocab_size), and the cache.
        """
        x, kept = self.transformer(ids, cache)
        return self.lm_head(x[:, -1]), kept

    def generate(
        self,
        ids: Any,
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        top_k: int | None = None,
        generator: Generator | None = None,
        step: Any = None,
    ) -> Tensor:
        """Writes on: each further token is drawn by the scores that the net gives it.

        Args:
            ids: Tokens (n, length) to begin with.
            max_new_tokens: How many are added.
            temperature: 0 takes the likeliest token; higher numbers dare more.
            top_k: Draw among that many of the likeliest.
            generator: Where the chances come from; the default one when None.
            step: `net.step` under `df.function`, to run compiled.

        Returns:
            All tokens, int64 (n, length + max_new_tokens).

        Raises:
            ValueError: The text would be longer than `n_positions`.
        """
        text = as_tensor(ids)
        if int(text.shape[1]) + max_new_tokens > self.config.n_positions:
            raise ValueError(
                f"generate: {text.shape[1]} + {max_new_tokens} tokens are more than "
                f"n_positions={self.config.n_positions}"
            )
        step = step or self.step
        with no_grad():
            cache, new = None, text
            for _ in range(max_new_tokens):
                scores, cache = step(new) if cache is None else step(new, cache)
                new = chosen(scores, temperature, top_k, generator)[:, None]
                text = concat([text, new], axis=1)
        return text


def chosen(
    scores: Tensor, temperature: float, top_k: int | None, generator: Generator | None
) -> Tensor:
    """A token for each row of scores."""
    if temperature <= 0:
        return argmax(scores, axis=-1)
    if top_k is not None:
        least = sort(scores, axis=-1)[:, -top_k:][:, :1]
        scores = where(scores < least, -float("inf"), scores)
    bounds = cumulative_sum(softmax(scores / temperature, axis=-1), axis=-1)
    drawn = uniform((scores.shape[0], 1), generator=generator) * bounds[:, -1:]
    return argmax(astype(bounds > drawn, "int32"), axis=-1)


def gpt2(weights: Any = None, config: GPT2Config | None = None) -> GPT2:
    """GPT-2.

    Args:
        weights: The path of Hugging Face's weights, or names and arrays; random ones when None.
        config: The sizes; those of the smallest one when None.

    Raises:
        FileNotFoundError: There is no such file; the message says where such files come from.
        ShapeError: The weights are another net's.
    """
    tied = {"lm_head.weight": "transformer.wte.weight"}
    return filled(GPT2(config), weights, HUGGING_FACE, renamed, tied)


MASKS = re.compile(r"h\.\d+\.attn\.(masked_)?bias")


def renamed(name: str) -> str | None:
    """A name of a file as the net's: some files leave the first word out, some hold masks."""
    bare = name.removeprefix("transformer.")
    if MASKS.fullmatch(bare):
        return None
    return name if name.startswith("lm_head.") else f"transformer.{bare}"
