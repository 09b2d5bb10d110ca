"""Images in folders, a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dualflow.core.files import FilePath, extra, reading
from dualflow.core.tensor import Tensor
from dualflow.data.dataset import Dataset

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


class ImageFolder(Dataset):
    """Images and the numbers of their classes: `root/cat/1.png`, `root/dog/2.png`.

    They are read when they are asked for, by Pillow.

    Args:
        root: The folder of the classes' folders.
        size: (height, width) that images are brought to; as they are when None.
        transform: Makes something of the image, a float32 Tensor (3, height, width) from 0 to 1.

    Attributes:
        classes: The names of the folders, in order; a label is the place of its name.
        samples: Paths and labels.

    Raises:
        ValueError: There is no image below `root`.
    """

    def __init__(
        self,
        root: FilePath,
        size: tuple[int, int] | None = None,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self.root, self.size, self.transform = os.fspath(root), size, transform
        self.classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        self.samples = [
            (path, label)
            for label, name in enumerate(self.classes)
            for path in sorted(Path(root, name).rglob("*"))
            if path.suffix.lower() in SUFFIXES
        ]
        if not self.samples:
            raise ValueError(
                f"ImageFolder: no images below {self.root}; "
                f"expected folders of classes with files {', '.join(SUFFIXES)}"
            )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.samples[index]
        image = read_image(path, self.size)
        return (image if self.transform is None else self.transform(image)), label


def read_image(path: FilePath, size: tuple[int, int] | None = None) -> Tensor:
    """Reads an image file.

    Args:
        path: The file.
        size: (height, width) that it is brought to; as it is when None.

    Returns:
        float32 (3, height, width), from 0 to 1.

    Raises:
        FileError: It is no whole image.
    """
    pillow = extra("PIL.Image", "io")
    with reading(path, "image"), pillow.open(path) as image:
        colours = image.convert("RGB")
        if size is not None:
            colours = colours.resize(size[::-1], pillow.Resampling.BILINEAR)
        array = np.asarray(colours, np.float32) / 255
    return Tensor(np.ascontiguousarray(array.transpose(2, 0, 1)))
