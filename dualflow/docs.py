"""Writes the generated pages of `docs/`: `python -m dualflow.docs [--check]`.

The tables come from the program itself (promotion rules, public functions, the table of names), so
they cannot drift from it; a test runs the check.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from dualflow import names
from dualflow.core.numpy_protocol import supported
from jit.errors import DTypeError
from jit.types import dtypes, promote, weak_dtype

FOLDER = Path(__file__).parent.parent / "docs"
HEADER = "<!-- written by `python -m dualflow.docs`; do not edit -->\n\n"


def promotion() -> str:
    """`docs/promotion.md`: in which dtype two tensors, or a tensor and a Python number, meet."""
    lines = [
        "# How dtypes meet\n",
        "The same in both modes. Within a kind the array API standard's rules hold; between kinds",
        "the higher kind wins (bool, integer, floating, complex). `-`: no dtype holds both, and an",
        "error says so. Python numbers are weak: they take the dtype of the tensor they meet,",
        "where its kind allows.\n",
        "| | " + " | ".join(dtypes) + " |",
        "|---" * (len(dtypes) + 1) + "|",
    ]
    lines += [f"| **{a}** | " + " | ".join(_met(a, b) for b in dtypes) + " |" for a in dtypes]
    lines += ["", "| a tensor of | with a Python bool | int | float | complex |", "|---" * 5 + "|"]
    for name, dtype in dtypes.items():
        met = [weak_dtype(number, dtype).name for number in (True, 1, 1.0, 1j)]
        lines.append(f"| **{name}** | " + " | ".join(met) + " |")
    return "\n".join(lines) + "\n"


def _met(a: str, b: str) -> str:
    try:
        return promote(dtypes[a], dtypes[b]).name
    except DTypeError:
        return "-"


SECTIONS = {
    "df": ("dualflow", "Names and arguments of the array API standard, then of NumPy and SciPy."),
    "df.nn.functional": ("dualflow.nn.functional", "PyTorch's names, with `axis` for `dim`."),
    "df.linalg": ("dualflow.linalg", "The standard's extension."),
    "df.fft": ("dualflow.fft", "The standard's extension."),
    "df.random": ("dualflow.random", "Shapes come first. [More](numerics.md#random-numbers)"),
}


def operations() -> str:
    """`docs/ops.md`: each public function, its arguments, and its docstring's first line."""
    lines = ["# Operations\n", "`help(df.sum)` tells the rest: shapes, dtypes, errors, examples.\n"]
    for prefix, (module, about) in SECTIONS.items():
        lines += [f"## {prefix}\n", f"{about}\n", "| function | what it does |", "|---|---|"]
        lines += [row(name, function) for name, function in sorted(public(module).items())]
        lines.append("")
    return "\n".join([*lines, *numpy_functions()])


def numpy_functions() -> list[str]:
    """The section on NumPy's own functions."""
    names = supported()
    listed = textwrap.fill(", ".join(f"`{name}`" for name in names), 98, break_on_hyphens=False)
    return [
        "## NumPy's functions\n",
        f"These {len(names)} functions of `np` take tensors, and are recorded, differentiated and",
        "compiled like ours. Of others an error says what to write.\n",
        listed,
        "",
    ]


def public(module: str) -> dict[str, Any]:
    """The functions that a module offers; classes and constants are no operations."""
    home = importlib.import_module(module)
    found = {name: getattr(home, name) for name in home.__all__}
    return {name: value for name, value in found.items() if inspect.isfunction(value)}


def row(name: str, function: Any) -> str:
    """A function as a line of the table: no types, and no words taken only to explain them."""
    signature = inspect.signature(function)
    told = [p for p in signature.parameters.values() if p.name != "foreign"]
    bare = [p.replace(annotation=p.empty) for p in told]
    call = str(signature.replace(parameters=bare, return_annotation=signature.empty))
    call = re.sub(r"dtype\('(\w+)'\)", r"\1", call.replace(", /", "")).replace("|", "\\|")
    return f"| `{name}{call}` | {(function.__doc__ or '').strip().splitlines()[0]} |"


REFERENCE = FOLDER.parent / "tests" / "reference" / "torch.npz"
MATRIX = """# Compared with PyTorch

`tests/reference/torch.npz` holds what PyTorch {PyTorch} computes on a CPU for the settings below:
weights, inputs, results, gradients by inputs and by parameters, and buffers after the call; of
optimisers the parameters after 12 steps, of schedules 25 learning rates. The tests hold dualflow
against all of it: eager results agree within 2e-5 of the largest value (float32, sums in another
order; L-BFGS, which divides by differences of gradients, within 2e-4), and compiled ones are equal
to eager ones in every bit. `python -m tests.reference` measures it, and prints by how much each
class differs. Lion and LAMB, which PyTorch does not have, are compared with their papers' formulas,
and Muon with PyTorch's in float32 instead of bfloat16.
"""


def matrix() -> str:
    """`docs/torch.md`: which settings of which classes are compared, and what is not here."""
    about = json.loads(str(np.load(REFERENCE)["about"]))
    lines = [MATRIX.format(**about["versions"])]
    for kind, table in about["compared"].items():
        lines += [f"## {kind}\n", "| class | settings compared | |", "|---|---|---|"]
        for name, settings in table.items():
            texts = dict.fromkeys(f"`{text.replace('|', '/')}`" for text in settings if text)
            listed = ", ".join(["the defaults"] * ("" in settings) + list(texts))
            lines.append(f"| `{name}` | {len(settings)} | {listed} |")
        lines.append("")
    lines += ["## Not here\n", "Classes of PyTorch that dualflow does not have:\n"]
    homes = {"nn": "dualflow.nn", "optim": "dualflow.optim", "schedules": "dualflow.optim"}
    for space, home in homes.items():
        ours = set(importlib.import_module(home).__all__)
        lacking = [f"`{name}`" for name in about["theirs"][space] if name not in ours]
        lines.append(f"- {space}: {', '.join(lacking)}")
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """The text of every generated page by file name."""
    texts = {"promotion.md": promotion(), "ops.md": operations(), "names.md": names.markdown()}
    texts["torch.md"] = matrix()
    return {name: HEADER + text for name, text in texts.items()}


def stale(folder: Path = FOLDER) -> list[str]:
    """The pages whose file differs from what the program says."""
    return [
        name
        for name, text in pages().items()
        if not (folder / name).exists() or (folder / name).read_text() != text
    ]


def main() -> None:
    """Writes the pages, or with `--check` only tells which ones are stale."""
    parser = argparse.ArgumentParser(prog="python -m dualflow.docs", description=main.__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 when a page is stale"
    )
    if parser.parse_args().check:
        raise SystemExit(f"stale: {', '.join(old)}" if (old := stale()) else 0)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
