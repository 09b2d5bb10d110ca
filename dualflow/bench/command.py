"""`python -m dualflow bench`: its arguments, and what it prints from the first line to the last."""

from __future__ import annotations

import argparse
import textwrap
import time
from datetime import datetime
from pathlib import Path
from typing import Any

NAMES = ("static", "digits", "dynamic")
ALONE = ("micro", "kernels", "ops", "auto", "gpu")  # tables of figures; nothing may disturb them
TAKE_MORE = ("peers", "diff")  # are followed by workloads, by two files
SECONDS = {"static": 5, "digits": 15, "dynamic": 40}  # with the usual settings
FOLDER = "bench-results"
WIDTH = 80
DESCRIPTION = """\
Trains small nets, each eagerly and under @df.function from the same seed and
the same code, step by step in turn, and compares answers, time and memory.

  static    a two-layer net 64-1000-100-10, Adam; the graph never changes
  digits    convolutions on real handwritten digits; the last batch is short
  dynamic   a Tree-LSTM over 50 trees, each of a shape of its own
  micro     what an eager op costs over the NumPy call, a call from a graph, and
            compilation, each with its goal
  kernels   kernels of the compiler in GFLOP/s and GB/s, beside what this
            machine can do
  ops       what ops take on a million elements, beside NumPy
  auto      what 1,000 calls take under mode="auto", beside the better mode
  gpu       steps on a GPU in both modes, beside PyTorch and JAX where they are
  peers     training steps and other work in both modes, beside NumPy, PyTorch
            and JAX where they are: all, or those named, as in peers W2 W5
  diff      two JSON files of peers, compared
"""
EPILOG = """\
Exit status: 0 when every check passed, 1 when one failed, 2 for wrong usage.
"""
NEXT = """\
Three things to try next:
  python -m dualflow bench digits --batch 256   bigger batches, less Python
  python -m dualflow bench micro                what one op or one call costs
  @df.function on a step of yours, then print(step.explain())
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describes `bench` to argparse."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add(
        "programs",
        nargs="*",
        metavar="PROGRAM",
        help="static, digits, dynamic (all three by default), or micro, kernels, ops, auto, gpu, "
        "peers [WORKLOAD ...], diff FILE FILE",
    )
    add("--batch", type=positive, metavar="N", help="batch size of static and digits (64)")
    add(
        "--epochs",
        "--steps",
        type=positive,
        metavar="N",
        help="passes over the data (static 500, where a pass is one step; digits 15; dynamic 4)",
    )
    add("--quick", action="store_true", help="few epochs, to see whether everything runs")
    add("--device", default="cpu", metavar="NAME", help='"cpu" (default), "gpu" or "gpu:1"')
    add(
        "--json",
        type=Path,
        metavar="FILE",
        help=f"where the figures are written ({FOLDER}/<date and time>.json)",
    )
    add("--pictures", type=Path, metavar="FOLDER", help="where pictures are written as SVG files")
    add(
        "--peers-python",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="peers: the interpreter of an environment that has numpy, torch, jax or tensorflow",
    )
    add("--rounds", type=positive, metavar="N", help="peers: turns of each contestant (20)")
    add("--only", action="append", default=[], metavar="TEXT", help="gpu: what names hold")
    add("--all", action="store_true", help="gpu: the large workloads too")
    add("--seconds", type=positive, metavar="N", help="gpu: after which no other workload begins")
    add("--compile", action="store_true", help="gpu: torch.compile takes part")
    add("--check", action="store_true", help="micro, auto: exit with 1 when a goal is missed")
    parser.set_defaults(handler=main, parser=parser)


def positive(text: str) -> int:
    """An integer from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 1")
    return int(text)


def main(arguments: argparse.Namespace) -> int:
    """Runs what was asked for.

    Args:
        arguments: As `add_arguments` describes them.

    Returns:
        The exit status.
    """
    first, *rest = arguments.programs or [""]
    if first in TAKE_MORE:
        return {"peers": peers, "diff": diff}[first](rest, arguments)
    known = (*NAMES, *ALONE, *TAKE_MORE)
    for text in arguments.programs:
        if text not in known:
            arguments.parser.error(f"{text!r} is none of {', '.join(known)}")
    for name in (*ALONE, *TAKE_MORE):
        if name in arguments.programs:
            return figures(name, arguments)
    names = [name for name in NAMES if name in arguments.programs or not arguments.programs]
    started = datetime.now()
    path = arguments.json or Path(FOLDER) / f"{started:%Y-%m-%d-%H%M%S}.json"
    usual = not (arguments.quick or arguments.epochs or arguments.batch)
    seconds = sum(SECONDS[name] for name in names) if usual else None
    print(opening(names, path, seconds), flush=True)
    return train(names, arguments, started, path)


def figures(name: str, arguments: argparse.Namespace) -> int:
    """Prints one of the tables of figures."""
    if len(arguments.programs) > 1:
        arguments.parser.error(f"{name} runs alone, so that nothing disturbs it")
    if name == "micro":
        from dualflow.bench import micro

        return micro.main(check=arguments.check)
    if name == "ops":
        from dualflow.bench import ops

        return ops.main(path=arguments.json, quick=arguments.quick)
    if name == "auto":
        from dualflow.bench import auto

        return auto.main(check=arguments.check, quick=arguments.quick)
    if name == "gpu":
        return on_gpu(arguments)
    from dualflow.bench import kernels

    return kernels.main(quick=arguments.quick)


def on_gpu(arguments: argparse.Namespace) -> int:
    """Steps on a GPU."""
    from dualflow.bench import gpu, gpu_data

    works = gpu_data.chosen(arguments.only, everything=arguments.all)
    if not works:
        names = ", ".join(work.name for work in gpu_data.WORKS)
        arguments.parser.error(f"{arguments.only} are in no name of a workload; there are {names}")
    return gpu.main(
        works,
        path=arguments.json,
        quick=arguments.quick,
        seconds=arguments.seconds or float("inf"),
        compiled=arguments.compile,
    )


def peers(names: list[str], arguments: argparse.Namespace) -> int:
    """Runs workloads beside other frameworks."""
    from dualflow.bench import peers

    try:
        workloads = peers.chosen(names)
        frameworks = peers.interpreters(arguments.peers_python)
    except ValueError as error:
        return arguments.parser.error(str(error))
    path = arguments.json or Path(FOLDER) / f"peers-{datetime.now():%Y-%m-%d-%H%M%S}.json"
    rounds, quick = arguments.rounds, arguments.quick
    try:
        return peers.main(workloads, frameworks, path=path, rounds=rounds, quick=quick)
    except KeyboardInterrupt:
        print("\ndualflow bench: stopped; what was measured is written.")
        return 130


def diff(files: list[str], arguments: argparse.Namespace) -> int:
    """Compares two runs of `peers`."""
    from dualflow.bench import diff

    if len(files) != 2:
        arguments.parser.error("diff takes two files")
    return diff.main(*map(Path, files))


def opening(names: list[str], path: Path, seconds: int | None) -> str:
    """What is about to happen, before anything slow is imported."""
    count = {1: "one program", 2: "two programs", 3: "three programs"}[len(names)]
    length = f"about {seconds} s on two cores" if seconds else "as long as the options say"
    text = (
        f"dualflow bench: {count} ({', '.join(names)}), each run eagerly and under @df.function "
        "from the same seed and the same code; answers, time and memory are compared. "
        f"It writes {path} and takes {length}."
    )
    return textwrap.fill(text, WIDTH, break_on_hyphens=False) + "\n"


def train(names: list[str], arguments: argparse.Namespace, started: datetime, path: Path) -> int:
    """Trains, prints each comparison as soon as it is there, and closes with the table."""
    from dualflow.bench import page
    from dualflow.bench.closing import checks, document, table
    from dualflow.bench.machine import machine, versions
    from dualflow.bench.terminal import show
    from dualflow.core.backend import canonical_device
    from dualflow.core.context import using
    from jit.errors import DeviceError

    clock = time.perf_counter()
    runs = []
    try:
        with using(device=canonical_device(arguments.device)):
            for name in names:
                runs.append(one(name, arguments))
                show(f"\n{runs[-1].comparison}\n")
            batches = against_batches(names, arguments)
    except (DeviceError, ModuleNotFoundError) as error:  # not this machine, or not installed
        print(f"dualflow bench: {error}")
        return 2
    except KeyboardInterrupt:
        print("\ndualflow bench: stopped, nothing was written.")
        return 130
    about = {"when": started.isoformat(), "machine": machine(), "versions": versions()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document(runs, about), encoding="utf-8")
    pictures = path.with_suffix(".html")
    pictures.write_text(page.document(runs, batches, about), encoding="utf-8")
    if arguments.pictures is not None:
        page.draw(arguments.pictures, runs, batches)
    found = [check for run in runs for check in checks(run)]
    failed = [check for check in found if not check.passed]
    show(f"{table(runs)}\n")
    print(f"{len(found) - len(failed)} of {len(found)} checks passed.")
    for check in failed:
        show(textwrap.fill(f"FAILED  {check.program}: {check.what}; {check.found}", WIDTH))
    print(f"The figures are in {path}, pictures in {pictures.name} beside it;")
    print(f"all took {time.perf_counter() - clock:.0f} s.")
    print(f"\n{NEXT}", end="")
    return int(bool(failed))


def against_batches(names: list[str], arguments: argparse.Namespace) -> Any:
    """Times of the first program against batch size; None where it did not run, or in a hurry."""
    from dualflow.bench.programs import WORKLOADS
    from dualflow.bench.runner import by_batch

    wanted = NAMES[0] in names and not (arguments.quick or arguments.epochs)
    return by_batch(WORKLOADS[NAMES[0]]) if wanted else None


def one(name: str, arguments: argparse.Namespace) -> Any:
    """One program in both modes, with its progress."""
    from dualflow.bench.programs import WORKLOADS
    from dualflow.bench.runner import describe, prepare, run
    from dualflow.bench.terminal import progress

    workload = WORKLOADS[name]
    usual = workload.quick if arguments.quick else workload.epochs
    epochs = arguments.epochs or usual
    batch = workload.batch if workload.fixed_batch else arguments.batch or workload.batch
    data = prepare(workload, batch)
    with progress(name, epochs * len(data)) as told:
        return run(workload, data, describe(workload, batch, arguments.device), epochs, told)
