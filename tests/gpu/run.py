"""`python -m tests.gpu.run --out FILE`: the tests marked `gpu` on this machine's GPU, in parallel.

Each process takes a few tests, so that one that ends a process, or spoils the GPU's context, takes
few others with it. The file tells which device, when, from which commit, and what came of it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from dualflow.bench.gpu import commit, device_name

NAMES = ("device", "device_attention", "device_kernels", "device_launches", "device_products")
TESTS = [f"tests/gpu/test_{name}.py" for name in NAMES]
# Names of tests may hold spaces, in brackets.
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+::.+?)(?: - (.*))?$", re.MULTILINE)
OUTCOME = re.compile(r"^(\S+::.+?) (PASSED|FAILED|SKIPPED|ERROR)\b", re.MULTILINE)
BAD = ("FAILED", "ERROR")
BEFORE, LONGEST = 600, 1500  # characters of what a process says that was ended


def collected() -> list[str]:
    """The names of all tests."""
    command = [sys.executable, "-m", "pytest", *TESTS, "-m", "gpu", "--collect-only", "-q"]
    out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [line for line in out.splitlines() if "::" in line]


def last_words(text: str) -> str:
    """What a process that was ended says: what was written before the fault, and where it was."""
    start = text.find("Fatal Python error")
    if start < 0:
        return text[-LONGEST:]
    return text[max(start - BEFORE, 0) : start + LONGEST]


def run(tests: list[str], log: str, seconds: float) -> tuple[Counter[str], list[list[str]]]:
    """The outcome of some tests, in one process unless one of them ends it."""
    counts: Counter[str] = Counter()
    failed: list[list[str]] = []
    until = time.perf_counter() + seconds
    while tests:
        out, err = _ran(tests, log, until - time.perf_counter())
        done = OUTCOME.findall(out)
        counts.update(word.lower() for _, word in done)
        reasons = dict(FAILED.findall(out))
        failed += [[name, reasons.get(name, "")] for name, word in done if word in BAD]
        left = [test for test in tests if test not in {name for name, _ in done}]
        if left:  # the first of them ended the process, or time is up
            counts["failed"] += 1
            failed.append([left[0], last_words(err)])
        tests = left[1:]
    return counts, failed


def _ran(tests: list[str], log: str, seconds: float) -> tuple[str, str]:
    """What a process with these tests writes."""
    command = [sys.executable, "-m", "pytest", *tests, "-m", "gpu", "-v", "--tb=line", "-rfE"]
    environment = {**os.environ, "DUALFLOW_GPU_LOG": log, "OPENBLAS_NUM_THREADS": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "JIT_CHECK": "0", "JIT_CACHE": f"{log}.kernels"}
    environment |= {"COLUMNS": "250", "PYTHONUNBUFFERED": "1"}
    try:
        ran = subprocess.run(
            [*command, "--capture=sys"],  # so that what LLVM writes is not lost
            capture_output=True,
            text=True,
            check=False,
            timeout=max(seconds, 1.0),
            env=environment,
        )
    except subprocess.TimeoutExpired as over:
        return _text(over.stdout), "took too long"
    return ran.stdout, ran.stderr


def _text(written: bytes | str | None) -> str:
    return written.decode(errors="replace") if isinstance(written, bytes) else written or ""


def main() -> int:
    """Runs all, writes the file, and prints what failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a JSON file")
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--each", type=int, default=12, help="tests of a process")
    parser.add_argument("--seconds", type=float, default=220.0, help="after which no more start")
    parser.add_argument("-k", default="", help="only tests with this in their names")
    arguments = parser.parse_args()
    device = device_name()  # an error here says what is missing
    started, tests = time.perf_counter(), [x for x in collected() if arguments.k in x]
    count = -(-len(tests) // arguments.each)
    shards = [tests[k::count] for k in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "results.log"
        log.touch()

        def one(shard: list[str]) -> tuple[Counter[str], list[list[str]]]:
            left = arguments.seconds - (time.perf_counter() - started)
            if left < 1:
                return Counter({"not run": len(shard)}), []
            return run(shard, str(log), left)

        with ThreadPoolExecutor(arguments.jobs) as pool:
            outcomes = list(pool.map(one, shards))
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    near = Counter(f"{what}: {how}" for _, what, how in lines)
    here = f"{Path.cwd()}/"  # files are told as they lie in the repository
    result = {
        "device": device,
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
        "commit": commit(),
        "tests": dict(sum([counts for counts, _ in outcomes], Counter())),
        "results beside the CPU's": dict(sorted(near.items())),
        "failed": sorted([name, why.replace(here, "")] for _, bad in outcomes for name, why in bad),
        "seconds": round(time.perf_counter() - started, 1),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: x for key, x in result.items() if key != "failed"}, indent=1))
    for name, why in result["failed"]:
        print(name, why[:300])
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
