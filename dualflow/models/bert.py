"""BERT's encoder (Devlin et al., 2019), under Hugging Face's names; MiniLM is one of its sizes."""

from __future__ import annotations

from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.models.attention import heads_of, joined
from dualflow.models.weights import HUGGING_FACE, filled
from dualflow.nn import Dropout, Embedding, LayerNorm, Linear, Module, init
from dualflow.nn.functional import gelu, scaled_dot_product_attention
from dualflow.ops.choice import maximum
from dualflow.ops.create import arange, zeros_like
from dualflow.ops.elementwise import astype
from dualflow.ops.power import sqrt, square
from dualflow.ops.special import tanh
from jit.dataclass import dataclass


@dataclass(frozen=True)
class BertConfig:
    """The sizes of a BERT; by default those of its base.

    Attributes:
        vocab_size: How many tokens there are.
        hidden_size: Width of the vectors.
        num_hidden_layers: Blocks.
        num_attention_heads: Heads of the attention.
        intermediate_size: Width between dense layers.
        max_position_embeddings: The longest text.
        type_vocab_size: Kinds of sentences.
        layer_norm_eps: Added to variances.
        dropout: Share that is dropped in training.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    dropout: float = 0.1


MINILM = BertConfig(
    hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
)


class Embeddings(Module):
    """Vectors of tokens, places and sentences, added and normalised.

    Args:
        config: The sizes.
    """

    def __init__(self, config: BertConfig) -> None:
        width = config.hidden_size
        self.word_embeddings = Embedding(config.vocab_size, width)
        self.position_embeddings = Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = Embedding(config.type_vocab_size, width)
        self.LayerNorm = LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.dropout)

    def forward(self, ids: Tensor, token_type_ids: Any = None) -> Tensor:
        """(n, length) -> (n, length, width)."""
        kinds = zeros_like(ids) if token_type_ids is None else token_type_ids
        places = self.position_embeddings(arange(ids.shape[1], device=ids.device))
        words = self.word_embeddings(ids) + self.token_type_embeddings(kinds) + places
        return self.dropout(self.LayerNorm(words))


class SelfAttention(Module):
    """Queries, keys and values of a sequence.

    Args:
        config: The sizes.
    """

    def __init__(self, config: BertConfig) -> None:
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.query, self.key, self.value = (Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor, mask: Any = None) -> Tensor:
        """(n, length, width), the same shape."""
        parts = (self.query(x), self.key(x), self.value(x))
        q, k, v = (heads_of(part, self.heads) for part in parts)
        return joined(scaled_dot_product_attention(q, k, v, mask))


class Output(Module):
    """A dense layer, with a way around what came before it, normalised.

    Args:
        inputs: Width of what comes.
        config: The sizes.
    """

    def __init__(self, inputs: int, config: BertConfig) -> None:
        self.dense = Linear(inputs, config.hidden_size)
        self.LayerNorm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.dropout)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """(n, length, inputs) and (n, length, width) -> the latter's shape."""
        return self.LayerNorm(self.dropout(self.dense(y)) + x)


class Attention(Module):
    """Attention and its output.

    Args:
        config: The sizes.
    """

    def __init__(self, config: BertConfig) -> None:
        setattr(self, "self", SelfAttention(config))  # noqa: B010 - the name in the files
        self.output = Output(config.hidden_size, config)

    def forward(self, x: Tensor, mask: Any = None) -> Tensor:
        """(n, length, width), the same shape."""
        return self.output(getattr(self, "self")(x, mask), x)  # noqa: B009


class Intermediate(Module):
    """The dense layer in the middle.

    Args:
        config: The sizes.
    """

    def __init__(self, config: BertConfig) -> None:
        self.dense = Linear(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., intermediate_size)."""
        return gelu(self.dense(x))


class Layer(Module):
    """A block.

    Args:
        config: The sizes.
    """

    def __init__(self, config: BertConfig) -> None:
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Output(config.intermediate_size, config)

    def forward(self, x: Tensor, mask: Any = None) -> Tensor:
        """(n, length, width), the same shape."""
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class Encoder(Module):
    """Blocks in a row.

    Args:
        config: The sizes.
    """

    def __init__(self, config: BertConfig) -> None:
        self.layer = [Layer(config) for _ in range(config.num_hidden_layers)]

    def forward(self, x: Tensor, mask: Any = None) -> Tensor:
        """(n, length, width), the same shape."""
        for layer in self.layer:
            x = layer(x, mask)
        return x


class Pooler(Module):
    """A dense layer on the first token.

    Args:
        config: The sizes.
    """

    def __init__(self, config: BertConfig) -> None:
        self.dense = Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(n, length, width) -> (n, width)."""
        return tanh(self.dense(x[:, 0]))


class Bert(Module):
    """A transformer that gives each token a vector by all of its text.

    Args:
        config: The sizes.

    Example:
        >>> import dualflow as df
        >>> config = df.models.BertConfig(
        ...     vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        ...     intermediate_size=16, max_position_embeddings=10,
        ... )
        >>> net = df.models.Bert(config).eval()
        >>> net.sentence_embeddings([[5, 6, 7]], [[1, 1, 0]]).shape
        (1, 8)
    """

    def __init__(self, config: BertConfig | None = None) -> None:
        self.config = config or BertConfig()
        self.embeddings = Embeddings(self.config)
        self.encoder = Encoder(self.config)
        self.pooler = Pooler(self.config)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.normal_(parameter, std=0.02)

    def forward(self, ids: Any, attention_mask: Any = None, token_type_ids: Any = None) -> Tensor:
        """The vectors of tokens.

        Args:
            ids: (n, length).
            attention_mask: (n, length), 1 for tokens and 0 for what fills up; all tokens when None.
            token_type_ids: (n, length), the sentence that a token belongs to; the first when None.

        Returns:
            (n, length, hidden_size).
        """
        mask = None
        if attention_mask is not None:
            mask = astype(as_tensor(attention_mask), "bool")[:, None, None, :]
        return self.encoder(self.embeddings(as_tensor(ids), token_type_ids), mask)

    def pooled(self, hidden: Tensor) -> Tensor:
        """What BERT was trained to tell of a whole text: (n, length, width) -> (n, width)."""
        return self.pooler(hidden)

    def sentence_embeddings(self, ids: Any, attention_mask: Any) -> Tensor:
        """A vector of length 1 for each text: the mean over its tokens, as MiniLM's users take it.

        Args:
            ids: (n, length).
            attention_mask: (n, length), 1 for tokens and 0 for what fills up.

        Returns:
            (n, hidden_size).
        """
        hidden = self(ids, attention_mask)
        weights = astype(as_tensor(attention_mask), hidden.dtype)[:, :, None]
        mean = (hidden * weights).sum(axis=1) / maximum(weights.sum(axis=1), 1e-9)
        return mean / maximum(sqrt(square(mean).sum(axis=-1, keepdims=True)), 1e-12)


def bert(weights: Any = None, config: BertConfig | None = None) -> Bert:
    """BERT's encoder.

    Args:
        weights: The path of Hugging Face's weights, or names and arrays; random ones when None.
        config: The sizes; BERT's base when None, `df.models.MINILM` for MiniLM.

    Raises:
        FileNotFoundError: There is no such file; the message says where such files come from.
        ShapeError: The weights are another net's.
    """
    return filled(Bert(config), weights, HUGGING_FACE, renamed)


def renamed(name: str) -> str | None:
    """A name of a file as the net's: some have a first word, old ones number places and scale."""
    bare = name.removeprefix("bert.")
    if bare == "embeddings.position_ids" or bare.startswith("cls."):
        return None
    return bare.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )
