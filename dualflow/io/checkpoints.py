"""Checkpoints of a whole run: weights, optimiser, random state, place in the data, step."""

from __future__ import annotations

import random as python_random
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from dualflow import random
from dualflow.core.files import FilePath
from dualflow.core.source import warn_user
from dualflow.errors import FileError
from dualflow.io.nests import load_nest, save_nest

NAME = re.compile(r"step-(\d+)\.ckpt")


class Checkpoints:
    """Saves a run in a folder, now and then, and puts it back after a stop at any moment.

    What has `state_dict` and `load_state_dict` can be a part: modules, optimisers, schedules, a
    `DataLoader`. The state of `df.random`, of `numpy.random` and of `random` is saved with them: a
    run that goes on gives the numbers that it would have given without the stop.

    Args:
        folder: Made when it is not there.
        keep: How many checkpoints stay; older ones are removed.
        **parts: What the run consists of, by name.

    Example:
        >>> import dualflow as df
        >>> import tempfile
        >>> model = df.nn.Linear(2, 1)
        >>> optimizer = df.optim.Adam(model.parameters())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = df.io.Checkpoints(folder, model=model, optimizer=optimizer)
        ...     start = run.restore() or 0
        ...     path = run.save(start + 100)
        ...     run.restore()
        100
    """

    def __init__(self, folder: FilePath, *, keep: int = 3, **parts: Any) -> None:
        if keep < 1:
            raise ValueError(f"Checkpoints: keep={keep}; at least the newest one must stay")
        for name, part in parts.items():
            if not (hasattr(part, "state_dict") and hasattr(part, "load_state_dict")):
                raise TypeError(
                    f"Checkpoints: {name} is a {type(part).__name__}, "
                    "which has no state_dict and load_state_dict"
                )
        self.folder = Path(folder)
        self.keep = keep
        self.parts = parts

    def steps(self) -> list[int]:
        """The steps of which there are checkpoints, in rising order."""
        if not self.folder.is_dir():
            return []
        found = (NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.folder / f"step-{step}.ckpt"

    def save(self, step: int, **extra: Any) -> Path:
        """Saves the run as it is now.

        Args:
            step: How far it is; it orders the checkpoints.
            **extra: Plain values to keep with it; see `extra` of what `load` returns.

        Returns:
            The file.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "step": step,
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "random": random_state(),
            "extra": extra,
        }
        save_nest(self.path(step), state)
        for old in self.steps()[: -self.keep]:
            self.path(old).unlink(missing_ok=True)
        for draft in self.folder.glob(".step-*.part"):  # of a process that was killed
            with suppress(OSError):
                draft.unlink()
        return self.path(step)

    def load(self, step: int) -> dict[str, Any]:
        """What a checkpoint holds; nothing is put back.

        Args:
            step: Which one.

        Raises:
            FileError: The file is damaged.
        """
        return load_nest(self.path(step))

    def restore(self, step: int | None = None) -> int | None:
        """Puts the run back to a checkpoint, or leaves all as it is when there is none.

        Args:
            step: Which one; the newest that can be read by default.

        Returns:
            Its step; None if there is none.

        Raises:
            FileError: The one asked for, or each of them, is damaged.
        """
        if step is not None:
            return self._put_back(self.load(step))
        damage: FileError | None = None
        for newest in reversed(self.steps()):
            try:
                state = self.load(newest)
            except FileError as error:
                damage = error
                warn_user(f"Checkpoints: passed over a damaged file: {error.what}", UserWarning)
                continue
            return self._put_back(state)
        if damage is not None:
            raise damage
        return None

    def _put_back(self, state: dict[str, Any]) -> int:
        saved, own = set(state["parts"]), set(self.parts)
        if saved != own:
            raise FileError(
                f"{self.folder}: the checkpoint has {', '.join(sorted(saved)) or 'no parts'}",
                ", ".join(sorted(own)) or "no parts",
                "name the parts as they were named when it was saved",
            )
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        set_random_state(state["random"])
        return state["step"]


def random_state() -> dict[str, Any]:
    """The state of the generators that a program may draw from."""
    kind, key, place, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, next_gauss = python_random.getstate()
    return {
        "dualflow": random.get_state(),
        "numpy": (str(kind), np.asarray(key), int(place), int(has_gauss), float(gauss)),
        "python": (version, np.asarray(words, np.int64), next_gauss),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Puts the generators back."""
    random.set_state(state["dualflow"])
    kind, key, *rest = state["numpy"]
    np.random.set_state((kind, key.numpy(), *rest))
    version, words, next_gauss = state["python"]
    python_random.setstate((version, tuple(words.tolist()), next_gauss))
