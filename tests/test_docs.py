"""The pages of docs/: all are there, the generated ones are fresh, and links lead somewhere."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dualflow import docs

ROOT = Path(__file__).parents[1]
PROMISED = "function tape numerics promotion ops names errors architecture".split()
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """The names of a page's headings, as links to them are written."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.replace(" ", "-") for title in plain}


def test_every_page_is_there_and_in_the_index():
    index = (ROOT / "docs/README.md").read_text()
    linked = set(LINK.findall(index))
    assert {f"{name}.md" for name in PROMISED} <= linked
    assert {Path(page).name for page in PAGES} - {"README.md"} <= linked


def test_generated_pages_are_fresh():
    assert docs.stale() == [], "run `python -m dualflow.docs`"


def test_a_stale_page_is_told(tmp_path):
    for name, text in docs.pages().items():
        (tmp_path / name).write_text(text)
    assert docs.stale(tmp_path) == []
    (tmp_path / "ops.md").write_text("old")
    (tmp_path / "names.md").unlink()
    assert docs.stale(tmp_path) == ["ops.md", "names.md"]


def test_the_command_checks():
    command = [sys.executable, "-m", "dualflow.docs", "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *PAGES])
def test_links_lead_somewhere(page):
    text = CODE.sub("code", (ROOT / page).read_text())
    for link in LINK.findall(text):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_every_error_is_explained():
    from dualflow import errors

    text = (ROOT / "docs/errors.md").read_text()
    assert [name for name in errors.__all__ if f"## {name}" not in text] == []


def test_every_setting_of_the_compiler_is_explained():
    from jit.config import Config

    text = (ROOT / "docs/architecture.md").read_text()
    settings = [field.metadata["name"] for field in dataclasses.fields(Config)]
    assert [name for name in settings if f"`{name}=" not in text] == []
