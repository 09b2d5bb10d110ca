"""Datasets, loaders of batches, and small data to try things on."""

from __future__ import annotations

from dualflow.data.dataset import Dataset, Subset, TensorDataset, random_split
from dualflow.data.loader import DataLoader, collate
from dualflow.data.toy import digits, random_trees

__all__ = [
    "DataLoader",
    "Dataset",
    "Subset",
    "TensorDataset",
    "collate",
    "digits",
    "random_split",
    "random_trees",
]
