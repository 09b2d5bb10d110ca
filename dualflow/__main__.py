"""`python -m dualflow`, and the command `dualflow`: one sub-command for each thing to do.

argparse reads the arguments: it is there, starts in no time, and two sub-commands need no more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dualflow.bench.command import add_arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a sub-command.

    Args:
        argv: Its name and arguments; those of the process when None.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="dualflow", description="Deep learning in two modes over one program."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_arguments(commands.add_parser("bench", help="compare both modes on training programs"))
    arguments = parser.parse_args(argv)
    return arguments.handler(arguments)


if __name__ == "__main__":
    sys.exit(main())
