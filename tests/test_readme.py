"""The Python in README.md and docs/ runs, without a warning, and prints what stands below it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import markdown
from tests.modes import compiled_only, graphs_only

ROOT = Path(__file__).parents[1]
PAGES = [
    page.relative_to(ROOT).as_posix()
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    if markdown.blocks(page.read_text(encoding="utf-8"))
]
# It chooses a mode by the time that calls take; audited ones run in both.
MARKS = {"docs/comparing.md": compiled_only}


@graphs_only
@pytest.mark.parametrize("page", [pytest.param(x, marks=MARKS.get(x, ())) for x in PAGES])
def test_a_page_runs(page):
    # A process of its own: pages define ops, and set modes and seeds.
    command = [sys.executable, "-m", "tests.markdown", page]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout == ""


def test_the_readme_shows_the_same_code_in_both_modes():
    eager, decorated, *_ = markdown.blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    assert "@df.function" not in eager.code
    assert decorated.code.replace("@df.function\n", "") == eager.code
    assert len([line for line in eager.code.splitlines() if line]) == 10


def test_the_readme_gives_the_same_losses_in_both_modes():
    eager, decorated, *_ = markdown.blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    spaces: list[dict[str, Any]] = [{"__name__": "example"}, {"__name__": "example"}]
    for block, space in zip([eager, decorated], spaces, strict=True):
        exec(block.code, space)
    assert spaces[0]["losses"] == spaces[1]["losses"]
    assert spaces[0]["losses"][-1] < spaces[0]["losses"][0]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("```python\nprint(1)\n```\n\n```text\n1\n```\n", ""),
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "prints"),
        ("```python\nx = 1\n```\nand\n```python\nassert x == 1\n```\n", ""),
        ("```python\nassert False\n```\n", "AssertionError"),
        ("```python\n1 / 0\n```\n\n```text\nZeroDivisionError: ... zero\n```\n", ""),
        ("```python\nimport warnings\nwarnings.warn('old')\n```\n", "old"),
        ("```sh\nfalse\n```\n", ""),
    ],
)
def test_what_fails_is_told(tmp_path, page, said):
    path = tmp_path / "page.md"
    path.write_text(page)
    found = list(markdown.complaints(path))
    assert said in found[0] if said else found == []
