"""Measures how exact functions are, and whether both modes agree.

python -m tests.parity [NAME ...]
python -m tests.parity --write        all of them, into docs/parity.md; takes some minutes
"""

from __future__ import annotations

import argparse

from tests.parity import page
from tests.parity.exact import TABLE
from tests.parity.measure import DTYPES, FLOATS


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--write", action="store_true", help="write docs/parity.md")
    arguments = parser.parse_args()
    if arguments.write:
        page.PATH.write_text(page.page(), encoding="utf-8")
        return
    for name in arguments.names:
        columns, cells = (
            (FLOATS, page.element_cells) if name in TABLE else (DTYPES, page.sample_cells)
        )
        figures, found = cells(name)
        print(name, *(f"{d} {x}" for d, x in zip(columns, figures)), sep="  ")
        for f in found:
            print(*(f"  {odd}" for odd in f.odd), sep="\n", end="")
            if f.apart:
                print(f"  {f.apart} results have other bits in a graph")


if __name__ == "__main__":
    main()
