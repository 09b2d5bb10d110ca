"""Tasks of a convolution that a library may compute: the plain sums, and kernels of our own.

Kernels of our own read operands in the order of the op, as they do where there is no library: what
lies with channels last is copied before. They write channels last all the same, where readers look
for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from jit.forms import nodes
from jit.forms.contraction import Contraction
from jit.forms.expression import Domain, Extractor, moved
from jit.forms.fuse import Group
from jit.forms.matrices import units_for
from jit.forms.placement import Placement
from jit.forms.staging import Copy, staging
from jit.forms.tasks import MapTask, ProductTask, Task


def plain_task(form: nodes.Convolve, extractor: Extractor) -> ProductTask:
    """The convolution as sums of products of what lies there."""
    return product_task(form, Contraction(form.contract, extractor))


def product_task(form: nodes.Convolve, contraction: Contraction) -> ProductTask:
    """A contraction that computes what a form does."""
    elements = tuple(contraction.elements)
    task = ProductTask(form, form.outputs, Domain.of(()), elements, contraction=contraction)
    task.extractor = contraction.extractor
    return task


def whole_group(task: ProductTask) -> Group:
    """A product alone over the loops of its result."""
    domain = Domain.of(task.outputs[0].shape)
    return Group(domain.extents, None, [task], {task: 0}, is_product=True)


def own_tasks(
    form: nodes.Convolve,
    extractor: Extractor,
    placement: Placement,
    units: Callable[[str], str],
) -> Iterator[Task]:
    """What kernels of our own do: copies, and the sums.

    Args:
        form: What is computed.
        extractor: Elements of operands.
        placement: Which values lie in memory; copies join them.
        units: In what tensor cores multiply elements of a dtype: see `Target.units`.
    """

    def copied(copy: Copy) -> MapTask:
        placement.memory.add(copy.value)
        task = MapTask(form, (copy.value,), copy.domain, (copy.element,))
        task.extractor = extractor
        return task

    for x, (value, there) in zip(form.inputs, form.copies, strict=True):
        domain = Domain.of(value.shape)
        at = tuple([moved(place, domain.indices) for place in there.at])
        yield copied(Copy(value, domain, extractor.element(x, at)))
    contraction = Contraction(form.own, extractor)
    contraction.units = units_for(contraction, units)
    yield from map(copied, staging(contraction))
    yield product_task(form, contraction)
