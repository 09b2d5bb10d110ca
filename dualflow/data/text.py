"""Text as a data set for nets that write on: windows of characters, and what comes next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dualflow.core.files import FilePath, reading
from dualflow.core.tensor import Tensor
from dualflow.data.dataset import Dataset
from jit.errors import IndexError


class Characters(Dataset):
    """Windows of a text as numbers of characters, and the same one character later.

    Args:
        text: The text.
        length: Characters in a window.
        alphabet: The characters in order; those of the text when None.

    Attributes:
        alphabet: A character is the number of its place here.

    Example:
        >>> import dualflow as df
        >>> data = df.data.Characters("abcab", length=3)
        >>> x, y = data[1]
        >>> data.decode(x), data.decode(y), len(data)
        ('bca', 'cab', 2)
    """

    def __init__(self, text: str, length: int, alphabet: str | None = None) -> None:
        self.alphabet = "".join(sorted(set(text))) if alphabet is None else alphabet
        self.length = length
        self._numbers = {character: k for k, character in enumerate(self.alphabet)}
        self._codes = self.encode(text).numpy()
        if not 0 < length < len(self._codes):
            raise ValueError(f"Characters: windows of {length} in a text of {len(text)}")

    @classmethod
    def read(cls, path: FilePath, length: int) -> Characters:
        """The windows of a text file in UTF-8.

        Raises:
            FileError: The file holds something else.
        """
        with reading(path, "text"):
            text = Path(path).read_text(encoding="utf-8")
        return cls(text, length)

    def encode(self, text: str) -> Tensor:
        """The numbers of characters.

        Raises:
            ValueError: One that is not in the alphabet.
        """
        try:
            return Tensor(np.array([self._numbers[c] for c in text], np.int64))
        except KeyError as error:
            raise ValueError(f"Characters: {error} is not in the alphabet") from None

    def decode(self, numbers: Any) -> str:
        """The characters of numbers."""
        return "".join(self.alphabet[int(k)] for k in np.asarray(numbers).ravel())

    def __len__(self) -> int:
        return len(self._codes) - self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}", f"0 to {len(self) - 1}", "")
        window = self._codes[index : index + self.length + 1].copy()
        return Tensor(window[:-1]), Tensor(window[1:])
