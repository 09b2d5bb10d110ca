"""Runs the Python of a page of documentation, as a reader would: block after block.

A block that opens with ```python runs; those of a page share one namespace. When a ```text block
follows at once, it holds what the block prints, or the error or warning that it ends with; `...`
there stands for anything. Warnings are errors. Each block counts its own lines, as `example.py`.

    python -m tests.markdown docs/function.md
"""

from __future__ import annotations

import contextlib
import doctest
import io
import linecache
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """Code of a page, the line it begins at, and what it should print (None: nothing is said)."""

    line: int
    code: str
    expected: str | None


def blocks(text: str) -> list[Block]:
    """The blocks of a page in their order."""
    return [
        Block(text.count("\n", 0, match.start()) + 2, match[1], match[2])
        for match in BLOCK.finditer(text)
    ]


def printed(block: Block, number: int, namespace: dict[str, Any]) -> str:
    """Runs a block; returns what it printed, and after that the error it raised, if any."""
    name = f"{number}/example.py"
    linecache.cache[name] = (len(block.code), None, block.code.splitlines(keepends=True), name)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(block.code, name, "exec"), namespace)
        except (Exception, Warning) as error:
            if block.expected is None:
                raise
            out.write("".join(traceback.format_exception_only(error)))
    return re.sub(r"^[\w.]+\.(\w+(?:Error|Warning):)", r"\1", out.getvalue(), flags=re.MULTILINE)


def complaints(path: Path) -> Iterator[str]:
    """What does not run, or prints something else; after a block that fails, nothing is run."""
    warnings.simplefilter("error")
    namespace: dict[str, Any] = {"__name__": "example"}
    same = doctest.OutputChecker().check_output
    for number, block in enumerate(blocks(path.read_text(encoding="utf-8"))):
        try:
            got = printed(block, number, namespace)
        except Exception:
            yield f"{path}:{block.line}: {traceback.format_exc()}"
            return
        if block.expected is None:
            continue
        if not same(block.expected, got, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE):
            yield f"{path}:{block.line}: prints\n{got}instead of\n{block.expected}"


if __name__ == "__main__":
    found = [complaint for page in sys.argv[1:] for complaint in complaints(Path(page))]
    sys.exit("\n".join(found) or 0)
