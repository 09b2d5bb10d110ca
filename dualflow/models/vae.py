"""A variational autoencoder (Kingma and Welling, 2014)."""

from __future__ import annotations

from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.nn import Linear, Module, ReLU, Sequential
from dualflow.nn.functional import binary_cross_entropy_with_logits, sigmoid
from dualflow.ops.random import Generator, normal
from dualflow.ops.shape import reshape
from dualflow.ops.special import exp


class VAE(Module):
    """Brings numbers from 0 to 1 to a few normal ones and back.

    Args:
        inputs: How many numbers an example has.
        hidden: Width of the dense layers.
        latent: How many normal numbers.

    Example:
        >>> import dualflow as df
        >>> net = df.models.VAE(64, 16, 2)
        >>> net.loss(df.ones((3, 64))).shape, net.sample(5).shape
        ((), (5, 64))
    """

    def __init__(self, inputs: int = 784, hidden: int = 400, latent: int = 20) -> None:
        self.inputs, self.latent = inputs, latent
        self.encoder = Sequential(Linear(inputs, hidden), ReLU())
        self.mean, self.log_variance = Linear(hidden, latent), Linear(hidden, latent)
        self.decoder = Sequential(Linear(latent, hidden), ReLU(), Linear(hidden, inputs))

    def encode(self, x: Any) -> tuple[Tensor, Tensor]:
        """(n, ...) -> means and logarithms of variances, (n, latent) each."""
        x = as_tensor(x)
        hidden = self.encoder(reshape(x, (x.shape[0], self.inputs)))
        return self.mean(hidden), self.log_variance(hidden)

    def forward(self, x: Any) -> tuple[Tensor, Tensor, Tensor]:
        """(n, ...) -> scores of the numbers, (n, inputs), and what `encode` gives."""
        mean, log_variance = self.encode(x)
        z = mean + exp(0.5 * log_variance) * normal(mean.shape)
        return self.decoder(z), mean, log_variance

    def loss(self, x: Any) -> Tensor:
        """The mean of what an example costs: to tell its numbers, and to leave the normal ones."""
        x = as_tensor(x)
        scores, mean, log_variance = self(x)
        truth = reshape(x, (x.shape[0], self.inputs))
        told = binary_cross_entropy_with_logits(scores, truth) * float(self.inputs)
        away = -0.5 * (1.0 + log_variance - mean * mean - exp(log_variance)).sum(axis=1)
        return told + away.mean()

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """New examples, (n, inputs)."""
        return sigmoid(self.decoder(normal((n, self.latent), generator=generator)))
