"""Small programs of forms, and their tasks and groups as text, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jit.forms import nodes
from jit.forms.expression import (
    Access,
    Apply,
    Checked,
    Coordinate,
    Domain,
    Expression,
    Extractor,
    Inside,
    Number,
)
from jit.forms.forms import FormBuilder
from jit.forms.fuse import Group, fuse
from jit.forms.merge import merged
from jit.forms.nodes import FormValue
from jit.forms.placement import Placement
from jit.forms.program import FormProgram
from jit.forms.tasks import (
    BlockTask,
    ColumnTask,
    FoldTask,
    MapTask,
    ProductTask,
    Task,
    TaskMaker,
    WholeTask,
)
from jit.types import TensorType, dtypes

Build = Callable[..., Any]


def tensor(*shape: Any, dtype: str = "float32") -> TensorType:
    """A type."""
    return TensorType(shape, dtypes[dtype])


def program(build: Build, *types: TensorType) -> FormProgram:
    """What `build(form, *inputs)` makes."""
    form = FormBuilder()
    inputs = tuple(map(form.source, types))
    made = build(form, *inputs)
    outputs = made if isinstance(made, tuple) else (made,)
    return merged(FormProgram(inputs, tuple(form.forms), outputs))


def element(build: Build, *types: TensorType) -> str:
    """An element of what `build` makes, with nothing but its inputs in memory."""
    made = program(build, *types)
    (out,) = made.outputs
    extractor = Extractor(lambda value: value in made.inputs)
    return expression(extractor.element(out, Domain.of(out.shape).indices))


def memory(build: Build, *types: TensorType) -> list[str]:
    """The values in memory, by the forms that make them; inputs are left out."""
    made = program(build, *types)
    placed = Placement(made).memory
    forms = [x.form for form in made.forms for x in form.outputs if x in placed]
    return [word(form) for form in forms if not isinstance(form, nodes.Source)]


def tasks(build: Build, *types: TensorType) -> list[Task]:
    """The tasks of a program."""
    return list(TaskMaker(Placement(program(build, *types))).tasks())


def groups(build: Build, *types: TensorType) -> str:
    """The groups of a program, as text."""
    return text_of(fuse(tasks(build, *types)))


# ----- text -----


def word(form: nodes.Form) -> str:
    """`sum`, `exp`, `view`, `contract`."""
    if isinstance(form, nodes.Reduce | nodes.Scan):
        return form.combiner.name
    return form.scalar.name if isinstance(form, nodes.Pointwise) else type(form).__name__.lower()


def expression(x: Expression) -> str:
    """`where(0 <= i0 - 1 < 5, %0[i0 - 1], 0.0)`."""
    match x:
        case Number(value=value):
            return str(np.asarray(value).item())
        case Coordinate(at=at, guard=guard):
            return f"{at} if {conditions(guard)}" if guard else str(at)
        case Access(value=value, at=at, guard=guard):
            place = f"{value}[{', '.join(map(str, at))}]"
            return f"{place} if {conditions(guard)}" if guard else place
        case Inside(conditions=some, guard=guard):
            return f"{conditions(some)} if {conditions(guard)}" if guard else conditions(some)
        case Checked(inner=inner, conditions=some):
            return f"checked({conditions(some)}, {expression(inner)})"
        case Apply(name=name, args=args):
            return f"{name}({', '.join(map(expression, args))})"
    raise TypeError(x)


def conditions(some: Sequence[Any]) -> str:
    """`0 <= i0 - 1 < 5`."""
    return " and ".join(f"0 <= {x} < {n}" for x, n in some)


KINDS = {
    MapTask: "map",
    FoldTask: "fold",
    BlockTask: "fold of blocks",
    ColumnTask: "fold of columns",
    ProductTask: "product",
}


def text_of(steps: Sequence[Group | WholeTask]) -> str:
    """A block for each group, a line for each task; folded loops stand in brackets.

    Values are numbered as they appear.
    """
    names: dict[FormValue, str] = {}

    def name(value: FormValue) -> str:
        return names.setdefault(value, f"%{len(names)}")

    lines: list[str] = []
    for step in steps:
        if isinstance(step, Group):
            lines.append(" ".join(["group", *loops(step)]))
            lines += [f"  {task_line(task, step.levels[task], name)}" for task in step.tasks]
        else:
            lines.append(task_line(step, None, name))
    return "\n".join(lines)


def loops(group: Group) -> list[str]:
    """`600 [768]`."""
    folded = group.folded or frozenset()
    return [f"[{n}]" if k in folded else str(n) for k, n in enumerate(group.extents)]


def task_line(task: Task, level: int | None, name: Callable[[FormValue], str]) -> str:
    """`1 fold sum %4: float32[600] <- %0, %2`."""
    what = [KINDS.get(type(task), "whole"), word(task.form)]
    if isinstance(task, MapTask) and not isinstance(task.form, nodes.Pointwise):
        what = ["map"]
    reads = ", ".join([name(x) for x in task.reads()])
    outputs = ", ".join([f"{name(x)}: {x.type}" for x in task.outputs])
    start = [] if level is None else [str(level)]
    return " ".join([*start, *what, outputs, "<-", reads]).rstrip()
