"""Work: what tasks add and multiply."""

from __future__ import annotations

from collections.abc import Sequence

from jit.dims import Extent
from jit.forms import attention
from jit.forms.tasks import ProductTask, Task
from jit.types import product


def operations(tasks: Sequence[Task]) -> Extent | None:
    """Additions and multiplications of the products among tasks; None without any."""
    products = [task for task in tasks if isinstance(task, ProductTask)]
    letters = [[x.extent for x in task.contraction.letters.values()] for task in products]
    found = [2 * product(extents) for extents in letters]
    found += [count for task in tasks for count in attention.operations(task.form)]
    return sum(found) if found else None
