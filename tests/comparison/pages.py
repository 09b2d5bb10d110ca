"""Pages in a headless browser: what goes wrong on them, and what they hold when they are drawn."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

WIDTH = 800
PROBE = """
<script>
addEventListener("load", () => {
  document.title = JSON.stringify({
    errors: window.found, wide: document.documentElement.scrollWidth, room: innerWidth,
    text: document.body.textContent.length});
});
</script>
"""
LISTEN = "<script>window.found = []; onerror = what => found.push(String(what));</script>"


@cache
def browser() -> str | None:
    """The browser of the distribution, if it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


needs_browser = pytest.mark.skipif(
    browser() is None, reason="needs a browser: apt-get install chromium"
)


@dataclass(frozen=True)
class Drawn:
    """A page as the browser has drawn it.

    Attributes:
        errors: Of its scripts.
        wide: Pixels that it takes from left to right.
        room: Pixels that there are.
        dom: All of it.
    """

    errors: list[str]
    wide: int
    room: int
    dom: str


def drawn(page: str, folder: Path) -> Drawn:
    """Opens a page, without a network, in a window of 800 pixels."""
    path = folder / "page.html"
    path.write_text(page.replace("<body>", f"<body>{LISTEN}", 1) + PROBE, encoding="utf-8")
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--window-size={WIDTH},900", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(html.unescape(re.search("<title>(.*?)</title>", ran.stdout)[1]))
    return Drawn(found["errors"], found["wide"], found["room"], html.unescape(ran.stdout))
