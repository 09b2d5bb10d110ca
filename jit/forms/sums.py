"""Long sums: a product of few elements as its chains, each a part, and a fold that adds them.

What tells how a filter should change is such: a hundred sums over all pixels of all images. Chains
are those of the canonical order and are added in it, so all bits are those of one loop.
"""

from __future__ import annotations

from jit.dims import Extent, same
from jit.forms import nodes
from jit.forms.combine import Combiner
from jit.forms.contraction import Contraction, plain, run_along, size_of, step_of
from jit.forms.expression import Access, Domain, linear
from jit.forms.placement import extent_hint
from jit.forms.tasks import ChainsTask, FoldTask, ProductTask, TotalsTask
from jit.types import TensorType, product

FEW = 1 << 18  # sums: tiles of more keep a GPU busy by themselves
FEW_OF_UNITS = 1 << 22  # likewise, where tensor cores compute them
CHAINS = 9  # of a sum: those of fewer are computed side by side in one block
MOST = 1 << 27  # elements of all parts together
ALONE = 8  # sums of a pair of matrices from which on a tile of a CPU has enough to do
ABREAST = 4  # chains of such sums that are worth a launch
MOST_ROWS = 6  # that are few beside a matrix
WIDE = 512  # columns: rows long enough to be read ahead of
FAR = 1 << 22  # elements of a matrix from which on no cache holds it
# The sum of parts begins with the first of them, whose sign a zero would lose.
ADDED = Combiner(
    "added", "add", lambda dtype: (-0.0,), lambda apply, a, b: (apply("add", a[0], b[0]),)
)


def chain_count(c: Contraction) -> Extent:
    """How many chains each sum of a contraction is made of."""
    before, cut, each, _ = c.blocks
    return 1 if cut is None else product([x.extent for x in before]) * -(-cut.extent // each)


def has_long_sums(task: ProductTask) -> bool:
    """Whether a product has few elements, each a sum of many chains."""
    c = task.contraction
    if c.dtype.kind != "f" or task.matrices is not None:
        return False
    chains, sums = extent_hint(chain_count(c)), extent_hint(product(c.result.shape))
    if c.units:
        return chains > 1 and chains * sums <= MOST and sums <= FEW_OF_UNITS
    return chains >= CHAINS and 1 < sums <= FEW and chains * sums <= MOST


def in_chains(task: ProductTask) -> tuple[ChainsTask, FoldTask]:
    """A product as its chains, and the fold of them."""
    c = task.contraction
    shape = (chain_count(c), *task.outputs[0].shape)
    parts = nodes.Source((), (TensorType(shape, c.dtype),)).outputs
    chains = ChainsTask(task.form, parts, task.domain, task.elements, contraction=c)
    chains.extractor = task.extractor
    domain = Domain.of(shape)
    elements = (Access(parts[0], domain.indices, ()),)
    fold = FoldTask(task.form, task.outputs, domain, elements, combiner=ADDED, axes=frozenset({0}))
    fold.of_blocks = True
    return chains, fold


def streamed(c: Contraction) -> int | None:
    """Which operand has so few rows that memory holds back reading the other, row by row."""
    if c.dtype.kind != "f" or len(c.elements) != 2 or len(c.inner) != 1 or c.batch:
        return None
    for operand in (0, 1):
        rows, columns = size_of(c.free(operand)), c.free(1 - operand)
        access = plain(c.elements[1 - operand])
        if not isinstance(rows, int) or rows > MOST_ROWS or len(columns) != 1 or access is None:
            continue
        step = step_of(linear(access.value.shape, access.at), columns[0])
        if access.value.dtype == c.dtype and same(step or 0, 1):
            return operand
    return None


def is_stream(task: ProductTask) -> bool:
    """Whether a CPU reads a matrix from memory for few rows of sums: an item can do a chain."""
    c = task.contraction
    if task.matrices is not None or (operand := streamed(c)) is None:
        return False
    columns, chains = extent_hint(size_of(c.free(1 - operand))), extent_hint(chain_count(c))
    return chains >= ABREAST and columns >= WIDE and columns * extent_hint(c.inner[0].extent) >= FAR


def has_sums_alone(task: ProductTask) -> bool:
    """Whether a CPU has nothing to do beside a sum of many chains, whose elements lie in a row."""
    c = task.contraction
    if c.dtype.kind != "f" or task.matrices is not None or len(c.elements) != 2:
        return False
    if extent_hint(chain_count(c)) < ABREAST or c.blocks[0]:
        return False
    sums = product([size_of(c.free(0)), size_of(c.free(1))])
    return isinstance(sums, int) and sums < ALONE and all(lies_in_a_row(c, k) for k in (0, 1))


def lies_in_a_row(c: Contraction, operand: int) -> bool:
    """Whether what an operand gives to a sum are neighbours in memory, of the sum's dtype."""
    access = plain(c.elements[operand])
    return (
        access is not None
        and access.value.dtype == c.dtype
        and run_along(c, operand) == len(c.inner)
    )


def abreast(task: ProductTask) -> tuple[ChainsTask, TotalsTask]:
    """A product as its chains, which lie beside each other for each sum, and the sums of them."""
    c = task.contraction
    shape = (*task.outputs[0].shape, chain_count(c))
    parts = nodes.Source((), (TensorType(shape, c.dtype),)).outputs
    given = task.form, parts, task.domain, task.elements
    chains = ChainsTask(*given, contraction=c)
    chains.extractor = task.extractor
    elements = (Access(parts[0], Domain.of(shape).indices, ()),)
    return chains, TotalsTask(task.form, task.outputs, task.domain, elements, contraction=c)
