"""What a person sees while programs run: progress, and reports with a little emphasis.

On a terminal rich draws a bar and emphasises answers; elsewhere, and without rich, it is plain
text.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Told = Callable[[int, float, float], None]  # steps done, and the last loss of each mode
PAUSE = 5.0  # seconds between lines of plain text
REDRAWN = 0.1  # seconds between pictures of the bar
COLUMN = 9
EMPHASIS = {  # regular expression -> style
    r"(?m)^(static|digits|dynamic)(?=  )": "bold",
    r"(?m)^(same answer\?|faster\?|worth it\?|memory|what ran)": "dim",
    r"(?m)^(same answer|faster|worth it)\? +(?P<yes>yes|[\d.,]+x)": "",
    r"(?m)^(same answer|faster|worth it)\? +(?P<no>no|not yet)\b": "",
    r"(?m)^(?P<no>FAILED)": "",
}
THEME = {"yes": "bold green", "no": "bold yellow"}


def show(text: str) -> None:
    """Prints a report."""
    if sys.stdout.isatty():
        try:
            emphasised(text)
            return
        except ModuleNotFoundError:  # rich comes with the extra `bench`; plain text does as well
            pass
    print(text, flush=True)


def emphasised(text: str) -> None:
    """Prints a report with its answers in colour."""
    from rich.console import Console
    from rich.text import Text
    from rich.theme import Theme

    styled = Text(text)
    for pattern, style in EMPHASIS.items():
        styled.highlight_regex(pattern, style or None)
    Console(theme=Theme(THEME), highlight=False, soft_wrap=True).print(styled)


@contextmanager
def progress(name: str, total: int) -> Iterator[Told]:
    """A function to call after each step, with the number of steps done and both losses.

    Args:
        name: What runs.
        total: How many steps there will be.
    """
    try:
        bar = live() if sys.stdout.isatty() else None
    except ModuleNotFoundError:
        bar = None
    if bar is None:
        yield plain(name, total)
        return
    task, drawn = bar.add_task(name, total=total, loss=""), 0.0

    def told(done: int, eager: float, _: float) -> None:
        nonlocal drawn
        bar.update(task, completed=done, loss=f"{eager:.3g}")
        if done == total or time.monotonic() - drawn >= REDRAWN:
            drawn = time.monotonic()
            bar.refresh()

    with bar:
        yield told


def live() -> Any:
    """A bar that vanishes when the program is over."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn(f"{{task.description:<{COLUMN}}}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("steps  loss {task.fields[loss]}"),
        TimeRemainingColumn(),
        transient=True,
        auto_refresh=False,  # by a thread, while no Variable would be updated in place
    )


def plain(name: str, total: int) -> Told:
    """A line at the first step, at the last, and every few seconds between them."""
    last = -PAUSE

    def told(done: int, eager: float, compiled: float) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= PAUSE:
            last = time.monotonic()
            steps = f"{done:>5,} of {total:,} steps"
            losses = f"loss {eager:.3g} eager, {compiled:.3g} from the graph"
            print(f"{name:<{COLUMN}}{steps:<22}{losses}", flush=True)

    return told
