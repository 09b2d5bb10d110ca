"""Runs the public conformance suite of the array API standard: `python -m tests.array_api`.

The suite is fetched into build/ when it is not there, or found where ARRAY_API_TESTS says; its
code is no part of this repository. Eager execution is tested, then every function compiled. Where
the suite cannot be had, that is said and nothing fails.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ADDRESS = "https://github.com/data-apis/array-api-tests"
COMMIT = "55fcc60179efa2680ddd6cd926ddf17b83530e2b"  # of the suite, which has no versions
MODULES = {"eager": "dualflow", "compiled": "dualflow.testing.compiled_namespace"}
NEEDED = {"ndindex": "ndindex", "pytest_jsonreport": "pytest-json-report"}  # by the suite


class Skips:
    """A plugin that skips what `array_api_skips.txt` lists, and says which lines met nothing."""

    def __init__(self) -> None:
        lines = (ROOT / "tests/array_api_skips.txt").read_text().splitlines()
        self.rows = [line.split(" | ") for line in lines if not line.startswith("#")]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Marks the tests."""
        for pattern, reason in self.rows:
            met = [item for item in items if re.search(pattern, item.nodeid)]
            for item in met:
                item.add_marker(pytest.mark.skip(reason=reason))


def suite() -> Path | str:
    """Where the suite is, or why it cannot be had."""
    missing = [package for module, package in NEEDED.items() if find_spec(module) is None]
    if missing:
        return f"pip install {' '.join(missing)}"
    if given := os.environ.get("ARRAY_API_TESTS"):
        path = Path(given)
        return path if (path / "array_api_tests").exists() else f"{given} does not hold it"
    path = ROOT / "build/array-api-tests"
    return path if (path / "array-api/spec").exists() else fetched(path)


def fetched(path: Path) -> Path | str:
    """Fetches the suite, and the standard's own files, which it reads."""
    path.mkdir(parents=True, exist_ok=True)
    steps = [
        ["init", "-q"],
        ["fetch", "-q", "--depth", "1", ADDRESS, COMMIT],
        ["checkout", "-q", "FETCH_HEAD"],
        ["submodule", "-q", "update", "--init", "--depth", "1"],
    ]
    for step in steps:
        try:
            done = subprocess.run(["git", *step], cwd=path, capture_output=True, text=True)
        except OSError as error:
            return f"git: {error}"
        if done.returncode:
            return f"git {step[0]}: {done.stderr.strip() or done.returncode}"
    return path


def run(mode: str, path: Path, arguments: list[str]) -> int:
    """Runs the suite in a process of its own, because it knows but one module."""
    paths = [str(ROOT), str(path), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "ARRAY_API_TESTS_MODULE": MODULES[mode],
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    command = [sys.executable, "-m", "tests.array_api", "--inside", *arguments]
    return subprocess.run(command, cwd=path, env=environment).returncode


def inside(arguments: list[str]) -> int:
    """The suite itself, in the process that `run` starts."""
    common = ["-q", "-W", "ignore", "-p", "no:cacheprovider", "--disable-deadline", "--tb=short"]
    return int(pytest.main([*common, *arguments, "array_api_tests"], plugins=[Skips()]))


def main() -> int:
    """Runs the modes that were asked for; fails if one of them does."""
    if sys.argv[1:2] == ["--inside"]:
        return inside(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m tests.array_api", description=__doc__)
    parser.add_argument("--examples", type=int, default=20, help="for each test")
    parser.add_argument("--mode", choices=MODULES, action="append", help="both by default")
    options, further = parser.parse_known_args()
    path = suite()
    if isinstance(path, str):
        print(f"skipped: array-api-tests cannot be had here: {path}")
        return 0
    found = [
        run(mode, path, ["--max-examples", str(options.examples), *further])
        for mode in options.mode or MODULES
    ]
    return max(found)


if __name__ == "__main__":
    raise SystemExit(main())
