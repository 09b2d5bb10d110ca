"""Parts: a map that is another one in each part of a value, over the loops of a part.

What joins arrays, or adds up arrays with zeros around them, asks for each element in which part it
lies. Cut where these questions change their answers, all parts of the value are computed for each
index of the same, shorter loops; what computes the parts may do that in its own loops. So does a
kernel that only joins, on a GPU: threads there would ask about each element.

The other way round a map may read all parts of the columns of a product, as gates are: where a
thread computes columns of all parts side by side, it does so as soon as their sums are there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from jit.dims import Dim, Extent, Symbol, decide
from jit.forms.expression import Access, Apply, Coordinate, Domain, Expression, Inside, Number, walk
from jit.forms.index import is_inside, same_all
from jit.forms.tasks import MapTask, PartsTask, ProductTask, Task

if TYPE_CHECKING:
    from jit.forms.fuse import Group

MOST = 8  # parts
PARTS = (2, 4)  # of the columns of a product, as a thread may have side by side

Element = Callable[[tuple[Extent, ...]], Expression]


def part_by_part(task: MapTask, element: Element) -> PartsTask | None:
    """A map part by part; None where it is not another one in each.

    Args:
        task: The map.
        element: An element of its value.
    """
    (value,), indices = task.outputs, task.domain.indices
    places = [x for each in walk(*task.elements) for x in asked(each)]
    lines = {line for x in places if (line := line_of(x)) is not None}
    axes = [k for k, i in enumerate(indices) if isinstance(i, Dim) and str(i) in dict(lines)]
    if len(axes) != 1 or len(lines) < len({*map(str, places)}):
        return None
    (axis,) = axes
    whole = value.shape[axis]
    if not isinstance(whole, int):
        return None
    cuts = sorted({0, whole, *[at for _, at in lines if 0 < at < whole]})
    count = len(cuts) - 1
    if not 2 <= count <= MOST or whole % count or cuts != [*range(0, whole + 1, whole // count)]:
        return None
    shape = [whole // count if k == axis else d for k, d in enumerate(value.shape)]
    domain = Domain.of(shape)
    at = [
        tuple([i + first if k == axis else i for k, i in enumerate(domain.indices)])
        for first in cuts[:-1]
    ]
    elements = tuple([decided(element(each)) for each in at])
    if len(domain.loops) < len(task.domain.loops) or any(map(asks, elements)):
        return None
    made = PartsTask(task.form, task.outputs, domain, elements, places=tuple(at))
    made.extractor = task.extractor
    return made


def computes_each(group: Group, task: PartsTask) -> bool:
    """Whether a group computes something that each part reads."""
    values = group.values()
    return all(
        any(isinstance(x, Access) and x.value in values for x in walk(element))
        for element in task.elements
    )


def asked(x: Expression) -> list[Extent]:
    """What an expression compares with 0, to choose between others."""
    match x:
        case Inside(conditions=conditions):
            return [at for place, n in conditions for at in (place, place - n)]
        case Apply(name="less", args=(Coordinate(at=place), Number(value=value))):
            return [place - int(value)]
        case _:
            return []


def line_of(x: Extent) -> tuple[str, int] | None:
    """(loop, place): an index of one loop less a number, and where it is 0."""
    if not isinstance(x, Dim):
        return None
    atoms = [*x.atoms()]
    if len(atoms) != 1 or not isinstance(atoms[0], Symbol):
        return None
    place = atoms[0].as_dim() - x
    return (atoms[0].name, place) if isinstance(place, int) else None


def decided(root: Expression) -> Expression:
    """An expression without choices whose answer is known."""
    known: dict[Expression, Expression] = {}
    for x in walk(root):
        match x:
            case Apply(name="where", args=(condition, *ways)) if (
                answer := answer_of(condition)
            ) is not None:
                known[x] = known[ways[0 if answer else 1]]
            case Apply():
                known[x] = replace(x, args=tuple([known[arg] for arg in x.args]))
            case _:
                known[x] = x
    return known[root]


def answer_of(x: Expression) -> bool | None:
    """Whether a condition holds, if that is known."""
    match x:
        case Inside(conditions=conditions):
            answers = [is_inside(*each) for each in conditions]
            return False if False in answers else True if all(answers) else None
        case Apply(name="less", args=(Coordinate(at=place), Number(value=value))):
            return decide(place, "<", int(value))
        case _:
            return None


def asks(root: Expression) -> bool:
    """Whether an expression asks where it is, or reads only where something holds."""
    return any(
        isinstance(x, Inside | Coordinate) or (isinstance(x, Access) and x.guard)
        for x in walk(root)
    )


# ----- parts of the columns of a product -----


def has_one_column(task: ProductTask) -> bool:
    """Whether the last loop of a product is all that makes up its columns."""
    c = task.contraction
    names = [[x.name for x in c.free(k)] for k in (0, 1)]
    loops = c.result.loops
    return type(task) is ProductTask and bool(loops) and [loops[-1][0]] in names


def parts_of(group: Group, task: Task) -> int:
    """Of how many parts of the last loop a map reads an element each; 1 if it is no such map."""
    (*outer, whole), own = group.extents, task.domain.extents
    if type(task) is not MapTask or len(own) != len(group.extents):
        return 1
    last = own[-1]
    if not (isinstance(whole, int) and isinstance(last, int) and same_all(own[:-1], outer)):
        return 1
    parts, values = whole // last, group.values()
    if whole % last or parts not in PARTS or group.parts not in (1, parts):
        return 1
    found = [x for x in task.accesses() if x.value in values]
    reads_parts = all(lies_in_part(group, x, len(own), last) for x in found)
    return parts if found and reads_parts else 1


def lies_in_part(group: Group, access: Access, rank: int, size: int) -> bool:
    """Whether what is read lies at the index of a part's loops, in one of the parts."""
    *outer, last = [x for x in access.at if not (isinstance(x, int) and x == 0)]
    if access.guard or [*map(str, outer)] != [f"i{k}" for k in range(rank - 1)]:
        return False
    shift = last - symbol_of(last, f"i{rank - 1}")
    own = group.is_of_a_part(group.values()[access.value])
    return isinstance(shift, int) and (shift == 0 if own else shift % size == 0)


def symbol_of(x: Extent, name: str) -> Extent:
    """The loop of a name in index arithmetic; 0 if there is none."""
    atoms = x.atoms() if isinstance(x, Dim) else ()
    return next((atom.as_dim() for atom in atoms if str(atom) == name), 0)
