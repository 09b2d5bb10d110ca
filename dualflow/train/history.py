"""What `fit` gives: the logs of all epochs, and a picture of them."""

from __future__ import annotations

from typing import Any

from dualflow.core.files import extra

# Colours that people tell apart who see few: one for training, one for validation.
TRAINING, VALIDATION = "#0072B2", "#D55E00"


class History:
    """The logs of each epoch.

    Attributes:
        epoch: The numbers of the epochs.
        history: For each entry of the logs its values, one for each epoch.
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[float]] = {}

    def add(self, epoch: int, logs: dict[str, float]) -> None:
        """An epoch is over."""
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def state(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "epoch": list(self.epoch),
            "history": {name: list(values) for name, values in self.history.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from `state`."""
        self.epoch[:] = state["epoch"]
        self.history.clear()
        self.history.update({name: list(values) for name, values in state["history"].items()})

    def plot(self) -> Any:
        """A picture: one field for each entry, training and validation together.

        Returns:
            A matplotlib Figure.
        """
        figures = extra("matplotlib.figure", "bench")
        names = [name for name in self.history if not name.startswith("val_")]
        figure = figures.Figure(figsize=(5 * max(len(names), 1), 3.6), layout="constrained")
        axes = figure.subplots(1, max(len(names), 1), squeeze=False)[0]
        numbers = [epoch + 1 for epoch in self.epoch]
        for axis, name in zip(axes, names, strict=False):
            for key, label, color in (
                (name, "training", TRAINING),
                (f"val_{name}", "validation", VALIDATION),
            ):
                if key in self.history:
                    axis.plot(numbers, self.history[key], "o-", ms=3, color=color, label=label)
            axis.set(title=name, xlabel="epoch", ylabel=name)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.legend()
        return figure

    def __repr__(self) -> str:
        last = ", ".join(f"{name}: {values[-1]:.4g}" for name, values in self.history.items())
        return f"<History of {len(self.epoch)} epochs; {last or 'empty'}>"
