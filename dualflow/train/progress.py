"""How far training is: a bar in a terminal or a notebook, or a line for each epoch."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from typing import Any

from dualflow.train.moments import Callback, Logs

EVERY = 0.1  # seconds between two pictures of a bar


def progress(verbose: str | int) -> list[Callback]:
    """The callback that shows progress, or none.

    Args:
        verbose: 0: nothing. 1: a bar. 2: a line for each epoch. "auto": a bar in a terminal or a
            notebook, and nothing elsewhere, such as in a log file.
    """
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"verbose={verbose!r}: 'auto', 0, 1 or 2")
    if verbose == "auto":
        verbose = int(in_notebook() or sys.stdout.isatty())
    if verbose == 0:
        return []
    if verbose == 1 and in_notebook():
        return [NotebookBar()]
    if verbose == 1 and find_spec("rich") is not None:
        return [TerminalBar()]
    return [Lines()]


def in_notebook() -> bool:
    """Whether a notebook shows what is written."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def told(logs: Logs) -> str:
    """Logs in a line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in logs.items())


def tell(logs: Logs, verbose: str | int) -> None:
    """A line with the result of an evaluation, where one is asked for."""
    if verbose not in ("auto", 0):
        sys.stdout.write(told(logs) + "\n")


class Lines(Callback):
    """A line for each epoch, and what its time went into."""

    def __init__(self) -> None:
        self._start = 0.0

    def on_epoch_begin(self, epoch: int) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        sys.stdout.write(self.line(epoch, logs) + "\n")
        sys.stdout.flush()

    def line(self, epoch: int, logs: Logs) -> str:
        """What is told of an epoch."""
        seconds = time.perf_counter() - self._start
        times = self.model.training_state.times
        slow = f"  ({times})" if times is not None and times.bottleneck == "loader" else ""
        head = f"epoch {epoch + 1}/{self.params['epochs']}"
        return f"{head}  {seconds:.1f} s  {told(logs)}{slow}"


class Bar(Lines):
    """Base of bars: draws now and then, and leaves a line."""

    def __init__(self) -> None:
        super().__init__()
        self._drawn = 0.0
        self._epoch = 0

    def on_epoch_begin(self, epoch: int) -> None:
        super().on_epoch_begin(epoch)
        self._epoch, self._drawn = epoch, 0.0

    @property
    def wants_batches(self) -> bool:
        return True

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        now = time.perf_counter()
        if now - self._drawn >= EVERY:
            self._drawn = now
            self.draw(batch + 1, logs)

    def draw(self, done: int, logs: Logs) -> None:
        """Shows the bar as it is now."""
        raise NotImplementedError


class TerminalBar(Bar):
    """A bar in a terminal, by the package rich."""

    def __init__(self) -> None:
        super().__init__()
        self._live: Any = None
        self._task: Any = None

    def on_train_begin(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[logs]}"),
        )
        self._live = Progress(*columns, transient=True)
        self._task = self._live.add_task("", total=self.params["steps"], logs="")
        self._live.start()

    def draw(self, done: int, logs: Logs) -> None:
        head = f"epoch {self._epoch + 1}/{self.params['epochs']}"
        self._live.update(self._task, completed=done, description=head, logs=told(logs))

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._live.console.print(self.line(epoch, logs), highlight=False, soft_wrap=True)

    def on_train_end(self) -> None:
        if self._live is not None:
            self._live.stop()


class NotebookBar(Bar):
    """A bar in the output of a notebook's cell; the lines of finished epochs stay."""

    def __init__(self) -> None:
        super().__init__()
        self._handle: Any = None
        self._lines: list[str] = []

    def _show(self, text: str) -> None:
        from html import escape

        from IPython.core.display import HTML
        from IPython.display import display

        page = HTML(f"<pre>{escape(text)}</pre>")
        if self._handle is None:
            self._handle = display(page, display_id=True)
        else:
            self._handle.update(page)

    def draw(self, done: int, logs: Logs) -> None:
        total = self.params["steps"]
        full = int(30 * done / total) if total else 0
        head = f"epoch {self._epoch + 1}/{self.params['epochs']}"
        bar = f"{head}  [{'#' * full}{'.' * (30 - full)}]  {done}/{total or '?'}  {told(logs)}"
        self._show("\n".join([*self._lines, bar]))

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._lines.append(self.line(epoch, logs))
        self._show("\n".join(self._lines))
