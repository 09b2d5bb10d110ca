"""Epilogues: products of a library whose elements become something else before they are stored.

    x @ w + b               a product, and a map that adds to each element one of its column
    relu(x @ w + b)         likewise
    relu(conv(x, w) + b)    likewise; a column is a channel, which lies last

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
from jit.forms import nodes
from jit.forms.expression import Access, Apply, Expression, Number, linear, walk
from jit.forms.fuse import Group
from jit.forms.index import same_all
from jit.forms.nodes import FormValue
from jit.forms.placement import Placement
from jit.forms.tasks import MapTask, ProductTask, WholeTask
from jit.ir.convolution import FORWARD
from jit.types import float32, product


@dataclass(eq=False)
class FollowedTask(WholeTask):
    """A product that a library may compute, with the map of its elements.

    Attributes:
        product: The first of the two.
        map: The other one.
        bias: What is added, an element for each column.
        relu: Whether 0 takes the place of negative sums.
    """

    product: WholeTask = field(kw_only=True)
    map: MapTask = field(kw_only=True)
    bias: FormValue = field(kw_only=True)
    relu: bool = field(kw_only=True)

    def reads(self) -> KeysView[FormValue]:
        """The values that it reads."""
        found = dict.fromkeys([*self.product.reads(), *self.map.reads()])
        del found[self.product.outputs[0]]
        return found.keys()

    def group(self, product: ProductTask) -> Group:
        """Both over the same loops, with the sums of the first."""
        tasks = [product, self.map]
        extents = self.map.domain.extents
        return Group(extents, None, [*tasks], dict.fromkeys(tasks, 0), is_product=True)


def with_epilogues(
    steps: Sequence[Group | WholeTask], placement: Placement
) -> Iterator[Group | WholeTask]:
    """Steps in their order, of which those that a library may compute at once are one."""
    products: dict[FormValue, WholeTask] = {}
    for step in steps:
        if isinstance(step, WholeTask) and columns_of(step):
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


def columns_of(task: WholeTask) -> int:
    """How many columns a product has that a library computes, in float32, in any case; else 0."""
    if {x.dtype for x in (*task.reads(), *task.outputs)} != {float32}:
        return 0
    if isinstance(task.form, nodes.Convolve):
        c = task.form.convolution
        columns = c.results[-1]
        fixed = all(isinstance(x, int) for x in (*c.images, *c.filters, *c.results))
        return columns if fixed and c.kind == FORWARD else 0  # type: ignore[return-value]
    if type(task) is not ProductTask or task.matrices is None or not task.matrices.is_fixed:
        return 0
    count, _, columns, _ = task.matrices.sizes
    return columns if count == 1 else 0  # type: ignore[return-value]


def read_by(steps: Iterable[Group | WholeTask], placement: Placement) -> Counter[FormValue]:
    """How many tasks read each value; who asks for the results of the program is one more."""
    found = Counter(map(placement.base, placement.program.outputs))
    for step in steps:
        for task in step.tasks if isinstance(step, Group) else [step]:
            whole = task.form.inputs if isinstance(task, WholeTask) else ()
            found.update({placement.base(x) for x in (*task.reads(), *whole)})
    return found


def followed(group: Group, products: dict[FormValue, WholeTask]) -> FollowedTask | None:
    """A lone map together with the product that it is of; None if it is no epilogue of one."""
    (task, *others) = group.tasks
    if others or type(task) is not MapTask or group.folded is not None:
        return None
    loads = [x for x in walk(*task.elements) if isinstance(x, Access)]
    of_product = [x for x in loads if x.value in products]
    if len(loads) != 2 or len(of_product) != 1:
        return None
    (x,), (y,) = of_product, [load for load in loads if load not in of_product]
    relu, of = sums(x, y).get(task.elements[0]), products[x.value]
    if relu is None or not (is_element(x, task) and is_of_column(y, task, of)):
        return None
    given = of.form, task.outputs, task.domain, (*of.elements, *task.elements)
    return FollowedTask(*given, product=of, map=task, bias=y.value, relu=relu)


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
    """Whether an element is read at the very place at which the map's is stored."""
    (value,) = task.outputs
    alike = x.value.dtype == value.dtype and not x.guard
    own = linear(value.shape, task.domain.indices), product(value.shape)
    return alike and same_all((linear(x.value.shape, x.at), product(x.value.shape)), own)


def is_of_column(x: Access, task: MapTask, of: WholeTask) -> bool:
    """Whether an element is read at the number of the column, of the matrix that is stored."""
    extents, dtype = task.outputs[0].shape, task.outputs[0].dtype
    if x.guard or x.dtype != dtype or not same(extents[-1], columns_of(of)):
        return False
    return same(linear(x.value.shape, x.at), task.domain.indices[-1])
