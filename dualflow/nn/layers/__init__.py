"""Layers, one file a family."""

from __future__ import annotations

from dualflow.nn.layers.activation import (
    ELU,
    GELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from dualflow.nn.layers.containers import ModuleDict, ModuleList, Sequential
from dualflow.nn.layers.conv import Conv1d, Conv2d, Conv3d
from dualflow.nn.layers.dropout import Dropout
from dualflow.nn.layers.embedding import Embedding
from dualflow.nn.layers.linear import Flatten, Identity, Linear
from dualflow.nn.layers.losses import BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss
from dualflow.nn.layers.norm import BatchNorm2d, LayerNorm
from dualflow.nn.layers.pooling import AvgPool2d, MaxPool2d

__all__ = [
    "Linear",
    "Flatten",
    "Identity",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "MaxPool2d",
    "AvgPool2d",
    "ReLU",
    "Tanh",
    "Sigmoid",
    "SiLU",
    "GELU",
    "LeakyReLU",
    "ELU",
    "Softplus",
    "Softmax",
    "LogSoftmax",
    "Dropout",
    "LayerNorm",
    "BatchNorm2d",
    "Embedding",
    "Sequential",
    "ModuleList",
    "ModuleDict",
    "MSELoss",
    "L1Loss",
    "CrossEntropyLoss",
    "BCEWithLogitsLoss",
]
