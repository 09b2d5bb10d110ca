"""Python programs by chance, each run with and without `@df.function`: nothing may differ.

    python -m tests.tracing.fuzz --programs 10000 --seed 0    # programs 0 to 9999
    python -m tests.tracing.fuzz FILE                         # one that was kept

`writer` writes a program by the rules in `grammar*.txt`, below the scene in `scene.txt`. `sides`
runs it in both modes and compares results, exceptions, output, arguments and all state after each
step; with `FUZZ_IDENTITY=1` in the environment also which tensors, tuples and lists are one object.
`shrink` leaves out what a difference does not need.
"""

from __future__ import annotations
