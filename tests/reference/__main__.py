"""Prints by how much every layer, loss and optimiser differs from PyTorch: the measured matrix.

    python -m tests.reference [--machine-code] [NAME ...]

By default ops run in NumPy and graphs node by node; `--machine-code` compiles them, which takes
some minutes.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np

from jit.config import configure
from tests.reference.cases import KINDS, MODULES
from tests.reference.run import distance, reference, run_twice
from tests.reference.test_optimizers import trained


def module_row(name: str) -> tuple[float, float, bool]:
    """The worst difference of results and of gradients, and whether both modes agree."""
    worst, same = {"out": 0.0, "grad": 0.0}, True
    for number, case in enumerate(MODULES[name]):
        expected = reference()[f"{name}/{number}"]
        eager, compiled = run_twice(name, case, expected)
        for key, value in expected.items():
            kind = "grad" if key.startswith("grad/") else "out"
            if key.startswith(("out/", "grad/", "after/")):
                worst[kind] = max(worst[kind], distance(eager[key], value))
        same = same and all(
            np.array_equal(compiled[k], x, equal_nan=True) for k, x in eager.items()
        )
    return worst["out"], worst["grad"], same


def optimizer_row(name: str) -> tuple[float, bool]:
    """The worst difference of parameters after the last step, and whether both modes agree."""
    worst, same = 0.0, True
    for number, settings in enumerate(KINDS["Optimisers"][name]):
        expected = reference()[f"{name}/{number}"]
        eager, _ = trained(name, settings, expected, "eager")
        compiled, _ = trained(name, settings, expected, "compiled")
        gaps = [distance(x, expected[f"out/{k}"]) for k, x in enumerate(eager)]
        worst = max(worst, *gaps)
        same = same and all(map(np.array_equal, eager, compiled))
    return worst, same


def table(chosen: list[str]) -> None:
    """Prints a line for each class."""
    print(f"{'':32}{'cases':>6}{'results':>10}{'gradients':>11}  eager = compiled")
    for kind in ("Layers", "Losses", "Optimisers"):
        for name, cases in KINDS[kind].items():
            if chosen and name not in chosen:
                continue
            if kind == "Optimisers":
                out, same = optimizer_row(name)
                gradients = ""
            else:
                out, grad, same = module_row(name)
                gradients = f"{grad:.0e}"
            agree = "to the bit" if same else "no"
            print(f"{name:32}{len(cases):>6}{out:>10.0e}{gradients:>11}  {agree}", flush=True)


def main() -> None:
    """Reads the arguments and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.reference", description=table.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="classes; all when there is none")
    parser.add_argument("--machine-code", action="store_true", help="compile what is recorded")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    with configure(target="cpu" if given.machine_code else "interpreter"):
        table(given.names)


if __name__ == "__main__":
    main()
