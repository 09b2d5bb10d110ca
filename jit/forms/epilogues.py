"""Epilogues: products of a library whose elements become something else before they are stored.

    x @ w + b               a product, and a map that adds to each element one of its column
    relu(x @ w + b)         likewise

A map like these is one step with the product that it is of, if nothing else reads that: a library
may compute both at once. In float32 the sum is rounded as it is where the product was stored
before, so every bit is the same. In half precision it is not, and both stay apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, KeysView, Sequence
from dataclasses import field

from jit.dataclass import dataclass
from jit.dims import same
from jit.forms.expression import Access, Apply, Expression, Number, linear, walk
from jit.forms.fuse import Group
from jit.forms.index import same_all
from jit.forms.nodes import FormValue
from jit.forms.placement import Placement
from jit.forms.tasks import MapTask, ProductTask, WholeTask
from jit.types import float32


@dataclass(eq=False)
class FollowedTask(WholeTask):
    """A product that a library may compute, with the map of its elements.

    Attributes:
        product: The first of the two.
        map: The other one.
        bias: What is added, an element for each column.
        relu: Whether 0 takes the place of negative sums.
    """

    product: ProductTask = field(kw_only=True)
    map: MapTask = field(kw_only=True)
    bias: FormValue = field(kw_only=True)
    relu: bool = field(kw_only=True)

    def reads(self) -> KeysView[FormValue]:
        """The values that it reads."""
        found = dict.fromkeys([*self.product.reads(), *self.map.reads()])
        del found[self.product.outputs[0]]
        return found.keys()

    @property
    def group(self) -> Group:
        """Both over the same loops."""
        tasks = [self.product, self.map]
        extents = self.map.domain.extents
        return Group(extents, None, [*tasks], dict.fromkeys(tasks, 0), is_product=True)


def with_epilogues(
    steps: Sequence[Group | WholeTask], placement: Placement
) -> Iterator[Group | WholeTask]:
    """Steps in their order, of which those that a library may compute at once are one."""
    products: dict[FormValue, ProductTask] = {}
    for step in steps:
        if type(step) is ProductTask and has_epilogues(step):
            products[step.outputs[0]] = step
    readers = read_by(steps, placement) if products else Counter[FormValue]()
    found: dict[Group | WholeTask, FollowedTask] = {}
    for step in steps:
        made = followed(step, products) if isinstance(step, Group) else None
        if made is not None and readers[made.product.outputs[0]] == 1:
            found[step] = made
    joined = {made.product for made in found.values()}
    for step in steps:
        if step not in joined:
            yield found.get(step, step)


def has_epilogues(task: ProductTask) -> bool:
    """Whether a library computes a product, of one matrix in float32, in any case."""
    matrices = task.matrices
    if matrices is None or not matrices.is_fixed or matrices.sizes[0] != 1:
        return False
    return {x.dtype for x in (*task.reads(), *task.outputs)} == {float32}


def read_by(steps: Iterable[Group | WholeTask], placement: Placement) -> Counter[FormValue]:
    """How many tasks read each value; who asks for the results of the program is one more."""
    found = Counter(map(placement.base, placement.program.outputs))
    for step in steps:
        for task in step.tasks if isinstance(step, Group) else [step]:
            whole = task.form.inputs if isinstance(task, WholeTask) else ()
            found.update({placement.base(x) for x in (*task.reads(), *whole)})
    return found


def followed(group: Group, products: dict[FormValue, ProductTask]) -> FollowedTask | None:
    """A lone map together with the product that it is of; None if it is no epilogue of one."""
    (task, *others) = group.tasks
    if others or type(task) is not MapTask or group.folded is not None:
        return None
    loads = [x for x in walk(*task.elements) if isinstance(x, Access)]
    of_product = [x for x in loads if x.value in products]
    if len(loads) != 2 or len(of_product) != 1:
        return None
    (x,), (y,) = of_product, [load for load in loads if load not in of_product]
    relu, product = sums(x, y).get(task.elements[0]), products[x.value]
    if relu is None or not (is_element(x, task) and is_of_column(y, task, product)):
        return None
    given = product.form, task.outputs, task.domain, (*product.elements, *task.elements)
    return FollowedTask(*given, product=product, map=task, bias=y.value, relu=relu)


def sums(x: Access, y: Access) -> dict[Expression, bool]:
    """The sum of two elements, and the same with 0 where it is negative: whether it is that."""
    plain = [Apply("add", pair, x.dtype) for pair in ((x, y), (y, x))]
    zero = Number(x.dtype.type(0), x.dtype)
    bounded = [Apply("maximum", (each, zero), x.dtype) for each in plain]
    found: dict[Expression, bool] = {}
    found.update(dict.fromkeys(plain, False))
    found.update(dict.fromkeys(bounded, True))
    return found


def is_element(x: Access, task: MapTask) -> bool:
    """Whether an element is read at the very index at which the map's is stored."""
    (value,) = task.outputs
    alike = same_all(x.value.shape, value.shape) and x.value.dtype == value.dtype
    return alike and not x.guard and same_all(x.at, task.domain.indices)


def is_of_column(x: Access, task: MapTask, product: ProductTask) -> bool:
    """Whether an element is read at the number of the column, of the matrix that is stored."""
    assert product.matrices is not None
    columns, extents, dtype = (
        product.matrices.sizes[2],
        task.outputs[0].shape,
        task.outputs[0].dtype,
    )
    if x.guard or x.dtype != dtype or not same(extents[-1], columns):
        return False
    return same(linear(x.value.shape, x.at), task.domain.indices[-1])
