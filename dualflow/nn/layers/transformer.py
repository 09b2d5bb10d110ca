"""The layers of a transformer: attention and a small net, each with a way around (2017)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn import init
from dualflow.nn.layers.attention import MultiheadAttention
from dualflow.nn.layers.containers import ModuleList
from dualflow.nn.layers.dropout import Dropout
from dualflow.nn.layers.linear import Linear
from dualflow.nn.layers.norm import LayerNorm
from dualflow.nn.module import Module


class _Layer(Module):
    """What layers of encoders and decoders share: self-attention, and the net behind it."""

    norms: int

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
        norm_first: bool = False,  # noqa: FBT001, FBT002
        bias: bool = True,  # noqa: FBT001, FBT002
        *,
        dtype: Any = "float32",
    ) -> None:
        settings = {"batch_first": batch_first, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, **settings)
        if self.norms == 3:
            self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, **settings)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm_first = norm_first
        for k in range(1, self.norms + 1):
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
            setattr(self, f"norm{k}", norm)
            setattr(self, f"dropout{k}", Dropout(dropout))
        if isinstance(activation, str) and activation not in ("relu", "gelu"):
            raise ValueError(f"{type(self).__name__}: activation={activation!r}: relu or gelu")
        self.activation = getattr(F, activation) if isinstance(activation, str) else activation

    def around(self, k: int, x: Any, block: Callable[[Any], Tensor]) -> Tensor:
        """`x` plus what a block makes of it, normalised before or after."""
        norm, dropout = getattr(self, f"norm{k}"), getattr(self, f"dropout{k}")
        if self.norm_first:
            return x + dropout(block(norm(x)))
        return norm(x + dropout(block(x)))

    def feed_forward(self, x: Tensor) -> Tensor:
        """The net of two layers."""
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Self-attention and a net of two layers (Vaswani et al., 2017).

    Args:
        d_model: Length of inputs and outputs.
        nhead: Heads of the attention.
        dim_feedforward: Width of the net.
        dropout: Share of values that is dropped in training.
        activation: "relu", "gelu", or a function.
        layer_norm_eps: Added to variances.
        batch_first: Inputs and outputs are (n, length, d_model).
        norm_first: Normalise before attention and net rather than after.
        bias: Add biases.
        dtype: Of the parameters.

    Example:
        >>> import dualflow as df
        >>> layer = df.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> layer(df.ones((1, 5, 8))).shape
        (1, 5, 8)
    """

    norms = 2

    def forward(
        self,
        src: Any,
        src_mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
    ) -> Tensor:
        """The same shape; masks are those of `MultiheadAttention`."""

        def attend(x: Any) -> Tensor:
            padding = src_key_padding_mask
            return self.self_attn(
                x, x, x, padding, need_weights=False, attn_mask=src_mask, is_causal=is_causal
            )[0]

        return self.around(2, self.around(1, src, attend), self.feed_forward)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to an encoder's outputs, and a net of two layers.

    Args:
        d_model: Length of inputs and outputs.
        nhead: Heads of the attention.
        dim_feedforward: Width of the net.
        dropout: Share of values that is dropped in training.
        activation: "relu", "gelu", or a function.
        layer_norm_eps: Added to variances.
        batch_first: Inputs and outputs are (n, length, d_model).
        norm_first: Normalise before attention and net rather than after.
        bias: Add biases.
        dtype: Of the parameters.
    """

    norms = 3

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
        memory_is_causal: bool = False,  # noqa: FBT001, FBT002
    ) -> Tensor:
        """The shape of `tgt`; masks are those of `MultiheadAttention`."""

        def attend(x: Any) -> Tensor:
            padding = tgt_key_padding_mask
            return self.self_attn(
                x, x, x, padding, need_weights=False, attn_mask=tgt_mask, is_causal=tgt_is_causal
            )[0]

        def look(x: Any) -> Tensor:
            return self.multihead_attn(
                x,
                memory,
                memory,
                memory_key_padding_mask,
                need_weights=False,
                attn_mask=memory_mask,
                is_causal=memory_is_causal,
            )[0]

        y = self.around(2, self.around(1, tgt, attend), look)
        return self.around(3, y, self.feed_forward)


class _Stack(Module):
    """Copies of one layer, one upon the other."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.norm = norm

    def finished(self, x: Tensor) -> Tensor:
        """`x`, normalised where there is a last norm."""
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """Encoder layers, one upon the other.

    Args:
        encoder_layer: What is copied; all copies begin alike.
        num_layers: How often.
        norm: A last layer that normalises, or None.
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(encoder_layer, num_layers, norm)

    def forward(
        self,
        src: Any,
        mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
    ) -> Tensor:
        """The same shape; masks are those of `MultiheadAttention`."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, is_causal)
        return self.finished(src)


class TransformerDecoder(_Stack):
    """Decoder layers, one upon the other.

    Args:
        decoder_layer: What is copied; all copies begin alike.
        num_layers: How often.
        norm: A last layer that normalises, or None.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
        memory_is_causal: bool = False,  # noqa: FBT001, FBT002
    ) -> Tensor:
        """The shape of `tgt`; masks are those of `MultiheadAttention`."""
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        for layer in self.layers:
            tgt = layer(tgt, memory, *masks, tgt_is_causal, memory_is_causal)
        return self.finished(tgt)


class Transformer(Module):
    """An encoder and a decoder (Vaswani et al., 2017).

    Args:
        d_model: Length of inputs and outputs.
        nhead: Heads of the attention.
        num_encoder_layers: Layers of the encoder.
        num_decoder_layers: Layers of the decoder.
        dim_feedforward: Width of the nets.
        dropout: Share of values that is dropped in training.
        activation: "relu", "gelu", or a function.
        layer_norm_eps: Added to variances.
        batch_first: Inputs and outputs are (n, length, d_model).
        norm_first: Normalise before attention and net rather than after.
        bias: Add biases.
        dtype: Of the parameters.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Tensor] = "relu",
        *,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: Any = "float32",
    ) -> None:
        settings = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps)
        switches = {"batch_first": batch_first, "norm_first": norm_first, "bias": bias}

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)

        encoder_layer = TransformerEncoderLayer(*settings, **switches, dtype=dtype)
        self.encoder = TransformerEncoder(encoder_layer, num_encoder_layers, norm())
        decoder_layer = TransformerDecoderLayer(*settings, **switches, dtype=dtype)
        self.decoder = TransformerDecoder(decoder_layer, num_decoder_layers, norm())
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
        tgt_is_causal: bool = False,  # noqa: FBT001, FBT002
        memory_is_causal: bool = False,  # noqa: FBT001, FBT002
    ) -> Tensor:
        """Both sequences -> the decoder's outputs; masks are those of `MultiheadAttention`."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        return self.decoder(tgt, memory, *masks, tgt_is_causal, memory_is_causal)
