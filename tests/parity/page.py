"""The page docs/parity.md, made of what was measured."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path

from tests.parity.exact import TABLE
from tests.parity.measure import DTYPES, FLOATS, Found, of_errors, of_function, of_samples, sampled
from tests.samples import REFUSED

PATH = Path(__file__).parents[2] / "docs" / "parity.md"
HEADER = "<!-- written by `python -m tests.parity --write`; do not edit -->\n\n"
ABOUT = """\
# How exact, and how alike

Errors of the functions that compute, measured, in units in the last place of the dtype (ULP): the
result that is nearest to the exact one is at most 0.5 away. `python -m tests.parity` measures
single functions, with `--write` it writes this page. What is not on it moves data, makes it, is
random, or is put together of these, as layers and losses are: [torch.md](torch.md) has those.
"""
ELEMENTS = """\
## Functions of each element

Held against mpmath at 180 random numbers (near 0, of usual size, and over all exponents down to
denormal ones) and at the edges: zeros, denormal numbers, the smallest normal and the largest ones,
whole numbers and halves, with both signs, infinities and NaN; functions of two arguments at all
pairs of edges. Where terms of size 1 cancel, the errors of `logaddexp`, `gammaln`, `digamma` and
`gelu` count in ULP of 1. `sigmoid` and `silu` may give 0 for results near the smallest normal
number. `polygamma` was asked for its first order.
"""
OTHERS = """\
## All other functions

On their samples in the tests, held against NumPy, SciPy or a definition in float64: the largest
error of an element in ULP of the largest element of the result. Integers and bools must be equal.
`-`: does not take such numbers. The first column includes samples that are complex in any case.
"""
FAILURES = """\
## Errors

Calls that must fail, in both modes: what is raised, and its text.
"""


def figure(found: Found | None) -> str:
    """An error as the page shows it, rounded up."""
    if found is None:
        return "-"
    return (
        f"{math.ceil(found.worst * 10 - 1e-9) / 10:.1f}"
        if math.isfinite(found.worst)
        else "differs"
    )


def row(name: str, cells: list[str]) -> str:
    """A row of a table."""
    return f"| `{name}` | {' | '.join(cells)} |"


def head(columns: tuple[str, ...]) -> list[str]:
    """The first lines of a table."""
    return [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]


def listed(names: list[str]) -> str:
    """Names in lines."""
    text = ", ".join(f"`{name}`" for name in names)
    return textwrap.fill(text, 98, break_on_hyphens=False, break_long_words=False)


def element_cells(name: str) -> tuple[list[str], list[Found]]:
    """The figures of a function of each element, and what they were made of."""
    found = [of_function(name, dtype) for dtype in FLOATS]
    return [figure(f) for f in found], found


def sample_cells(name: str) -> tuple[list[str], list[Found]]:
    """The figures of another function."""
    found = [of_samples(name, dtype) for dtype in DTYPES]
    return [figure(f) for f in found], [f for f in found if f is not None]


class Part:
    """A section with a table.

    Args:
        about: What stands above it.
        columns: Of the table.
        exact: Which figures are good enough to leave a row out.
        says: What is said of the functions without a row.
    """

    def __init__(self, about: str, columns: tuple[str, ...], exact: set[str], says: str) -> None:
        self.about, self.columns, self.exact, self.says = about, columns, exact, says
        self.rows: list[str] = []
        self.best: list[str] = []
        self.apart: list[str] = []
        self.odd: list[str] = []

    def take(self, name: str, cells: list[str], found: list[Found], extra: list[str]) -> None:
        """Adds a function."""
        if set(cells) <= self.exact:
            self.best.append(name)
        else:
            self.rows.append(row(name, [*cells, *extra]))
        if any(f.apart for f in found):
            self.apart.append(name)
        for f in found:
            self.odd += [f"`{name}{point}` is {y}, NumPy's {z}" for point, y, z in f.odd]

    def text(self) -> str:
        """The section."""
        lines = [self.about, f"{self.says}\n", listed(self.best), "", *head(self.columns)]
        lines += [*self.rows, ""]
        lines.append(
            f"Other bits in a graph than eagerly: {listed(self.apart)}."
            if self.apart
            else "Eagerly and from a graph the results have the same bits, in all dtypes."
        )
        return "\n".join([*lines, *(f"* {said}" for said in self.odd)]) + "\n"


def elements() -> Part:
    """The first section, still empty."""
    return Part(
        ELEMENTS, (*FLOATS, "bound"), {"0.0", "0.5"}, "Rounded correctly in all of these dtypes:"
    )


def others() -> Part:
    """The second section, still empty."""
    return Part(OTHERS, DTYPES, {"0.0", "-"}, "Exact:")


def failures() -> str:
    """The section on errors."""
    counts = {name: of_errors(name) for name in sorted(REFUSED)}
    unlike = [
        f"* `{name}`: {same} of {total}" for name, (same, total) in counts.items() if same != total
    ]
    same, total = (sum(pair[k] for pair in counts.values()) for k in (0, 1))
    return "\n".join([FAILURES, f"{same} of {total} are alike.", *unlike]) + "\n"


def page() -> str:
    """The whole page; takes some minutes, and prints each row as soon as it is there."""
    first, second = elements(), others()
    for name in TABLE:
        cells, found = element_cells(name)
        first.take(name, cells, found, [f"{TABLE[name].bound:g}"])
        print(row(name, cells), flush=True)
    for name in sampled():
        cells, found = sample_cells(name)
        second.take(name, cells, found, [])
        print(row(name, cells), flush=True)
    return HEADER + "\n".join([ABOUT, first.text(), second.text(), failures()])
