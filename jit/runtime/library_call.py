"""LibraryCall: a launch that is a library's, in the place of one of a kernel."""

from __future__ import annotations

from abc import ABC, abstractmethod


class LibraryCall(ABC):
    """What a library puts on a stream when it is called."""

    @property
    @abstractmethod
    def workspace(self) -> int:
        """How many bytes it needs beside the arrays."""

    @property
    @abstractmethod
    def by_python(self) -> bool:
        """Whether only Python can launch it."""

    @abstractmethod
    def launch(self, stream: int, parameters: int) -> None:
        """Puts it on a stream.

        Args:
            stream: The driver's number.
            parameters: Where the addresses of words are, as for a kernel: the words, which lie side
                by side, are addresses of the operands, the result, the workspace, and the bias, if
                there is one.
        """
