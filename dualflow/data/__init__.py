"""Datasets, samplers, loaders of batches, readers of files, and small data to try things on."""

from __future__ import annotations

from dualflow.data.binary import read_cifar, read_idx
from dualflow.data.dataset import (
    ArrayDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    in_memory,
    random_split,
)
from dualflow.data.epoch import EpochTimes
from dualflow.data.images import ImageFolder, read_image
from dualflow.data.loader import DataLoader, collate
from dualflow.data.samplers import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from dualflow.data.tables import read_csv
from dualflow.data.text import Characters
from dualflow.data.toy import breast_cancer, diabetes, digits, iris, random_trees, wine

__all__ = [
    "ArrayDataset",
    "BatchSampler",
    "Characters",
    "DataLoader",
    "Dataset",
    "EpochTimes",
    "ImageFolder",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "breast_cancer",
    "collate",
    "diabetes",
    "digits",
    "in_memory",
    "iris",
    "random_split",
    "random_trees",
    "read_cifar",
    "read_csv",
    "read_idx",
    "read_image",
    "wine",
]
