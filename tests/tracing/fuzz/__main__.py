"""The command line: many programs by chance, or one that was kept."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import Any

FOUND = Path("fuzz-found")


def kept(found: Any, folder: Path, *, shrink: bool) -> None:
    """Writes a program whose modes differ into a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{found.number}.py"
    from tests.tracing.fuzz.batch import smaller

    text = smaller(found.text) if shrink else found.text
    path.write_text(text, encoding="utf-8")
    print(f"program {found.number}: {found.difference}\n  kept as {path}", flush=True)


def many(options: argparse.Namespace) -> int:
    """Runs many programs; how many differ."""
    from tests.tracing.fuzz.batch import tried

    numbers = range(options.seed, options.seed + options.programs)
    counts: Counter[str] = Counter()
    used: Counter[str] = Counter()
    differ, started = 0, time.perf_counter()
    with get_context("spawn").Pool(options.workers, maxtasksperchild=500) as pool:
        for done, found in enumerate(pool.imap_unordered(tried, numbers), 1):
            counts.update(found.counts)
            used.update(set(found.used))
            if found.text:
                differ += 1
                kept(found, options.keep, shrink=differ <= options.shrink)
            if done % 500 == 0:
                print(f"{done} programs, {time.perf_counter() - started:.0f} s", flush=True)
    print(f"{options.programs} programs from {options.seed} on, of which {differ} differ")
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    print("programs with:", ", ".join(f"{name} {count}" for name, count in used.most_common()))
    return differ


def one(path: Path) -> int:
    """Runs a program that was kept."""
    from tests.tracing.fuzz.sides import run

    report = run(path.read_text(encoding="utf-8"))
    print(report.difference or "no difference")
    for function in report.functions:
        print(function.explain())
    return int(report.difference is not None)


def main(arguments: Any = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tracing.fuzz", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="a program that was kept")
    parser.add_argument("--programs", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first one (0)")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument("--keep", type=Path, default=FOUND, help=f"a folder ({FOUND})")
    parser.add_argument("--shrink", type=int, default=5, help="how many are made small (5)")
    options = parser.parse_args(arguments)
    if options.file is not None:
        return one(options.file)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as cache:
        os.environ.setdefault("JIT_CACHE", cache)
        return min(many(options), 1)


if __name__ == "__main__":
    sys.exit(main())
