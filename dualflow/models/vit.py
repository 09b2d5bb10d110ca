"""ViT (Dosovitskiy et al., 2021), under torchvision's names."""

from __future__ import annotations

from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.models.attention import heads_of, joined
from dualflow.models.weights import TORCHVISION, filled
from dualflow.nn import GELU, Conv2d, Dropout, LayerNorm, Linear, Module, Parameter, Sequential
from dualflow.nn.functional import linear, scaled_dot_product_attention
from dualflow.ops.arrange import concat, split
from dualflow.ops.create import zeros
from dualflow.ops.random import normal
from dualflow.ops.shape import broadcast_to, permute_dims, reshape


class SelfAttention(Module):
    """Attention of a sequence to itself, with one matrix for queries, keys and values.

    Args:
        width: Of the vectors.
        heads: Parts that attend by themselves.
    """

    def __init__(self, width: int, heads: int) -> None:
        self.heads = heads
        self.in_proj_weight = Parameter(normal((3 * width, width), std=width**-0.5))
        self.in_proj_bias = Parameter(zeros(3 * width))
        self.out_proj = Linear(width, width)

    def forward(self, x: Any) -> Tensor:
        """(n, length, width), the same shape."""
        parts = split(linear(x, self.in_proj_weight, self.in_proj_bias), 3, axis=-1)
        q, k, v = (heads_of(part, self.heads) for part in parts)
        return self.out_proj(joined(scaled_dot_product_attention(q, k, v)))


class Block(Module):
    """Attention and two dense layers, each with a way around it.

    Args:
        width: Of the vectors.
        heads: Of the attention.
        hidden: Width between the dense layers.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        self.ln_1 = LayerNorm(width, eps=1e-6)
        self.self_attention = SelfAttention(width, heads)
        self.ln_2 = LayerNorm(width, eps=1e-6)
        dropout = Dropout(0.0)
        self.mlp = Sequential(
            Linear(width, hidden), GELU(), dropout, Linear(hidden, width), Dropout(0.0)
        )

    def forward(self, x: Any) -> Tensor:
        """(n, length, width), the same shape."""
        x = x + self.self_attention(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Encoder(Module):
    """Blocks over vectors that know their places.

    Args:
        length: Of the sequence.
        layers: Blocks.
        width: Of the vectors.
        heads: Of the attention.
        hidden: Width between dense layers.
    """

    def __init__(self, length: int, layers: int, width: int, heads: int, hidden: int) -> None:
        self.pos_embedding = Parameter(normal((1, length, width), std=0.02))
        self.layers = Sequential(
            {f"encoder_layer_{k}": Block(width, heads, hidden) for k in range(layers)}
        )
        self.ln = LayerNorm(width, eps=1e-6)

    def forward(self, x: Any) -> Tensor:
        """(n, length, width), the same shape."""
        return self.ln(self.layers(x + self.pos_embedding))


class VisionTransformer(Module):
    """A transformer over patches of an image.

    Args:
        image_size: Height and width of images.
        patch_size: Height and width of patches.
        num_layers: Blocks.
        num_heads: Of the attention.
        hidden_dim: Width of the vectors.
        mlp_dim: Width between dense layers.
        num_classes: Scores of an image.
    """

    def __init__(
        self,
        image_size: int = 224,
        patch_size: int = 16,
        num_layers: int = 12,
        num_heads: int = 12,
        hidden_dim: int = 768,
        mlp_dim: int = 3072,
        num_classes: int = 1000,
    ) -> None:
        self.class_token = Parameter(zeros((1, 1, hidden_dim)))
        self.conv_proj = Conv2d(3, hidden_dim, patch_size, stride=patch_size)
        length = (image_size // patch_size) ** 2 + 1
        self.encoder = Encoder(length, num_layers, hidden_dim, num_heads, mlp_dim)
        self.heads = Sequential({"head": Linear(hidden_dim, num_classes)})

    def forward(self, x: Any) -> Tensor:
        """(n, 3, image_size, image_size) -> (n, num_classes)."""
        patches = self.conv_proj(as_tensor(x))
        n, width = patches.shape[:2]
        words = permute_dims(reshape(patches, (n, width, -1)), (0, 2, 1))
        token = broadcast_to(self.class_token, (n, 1, width))
        return self.heads(self.encoder(concat([token, words], axis=1))[:, 0])


def vit_b_16(weights: Any = None, num_classes: int = 1000) -> VisionTransformer:
    """The base ViT with patches of 16 x 16.

    Args:
        weights: The path of torchvision's weights, or names and arrays; random ones when None.
        num_classes: Scores of an image.

    Raises:
        FileNotFoundError: There is no such file; the message says where such files come from.
        ShapeError: The weights are another net's.
    """
    net = VisionTransformer(num_classes=num_classes)
    return filled(net, weights, TORCHVISION.format("vit_b_16"))
