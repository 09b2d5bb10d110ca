"""Results: the tensor around an array that an op gave, with its record if somebody watches.

Each eager op ends here. Native code does it as soon as some is loaded for something else, or when
results keep coming.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from dualflow.core.context import context
from dualflow.core.record import Leaf, Pick, Record, clock, new_record
from dualflow.core.tensor import Tensor
from jit.config import scoped

MANY = 256  # results, after which native code is loaded for them
new_tensor = Tensor.__new__
made = count()  # in Python


def in_python(op: Any, inputs: tuple[Any, ...], attrs: dict[str, Any], array: Any) -> Tensor:
    """A tensor.

    Args:
        op: Its record names it.
        inputs: Tensors and Python scalars.
        attrs: Static arguments.
        array: A NumPy array, of a dtype that has gradients if the op has.
    """
    if next(made) == MANY and scoped.get().target == "cpu":
        use_native_code()
    tensor = new_tensor(Tensor)
    tensor.raw, tensor.symbol = array, None
    tensor.record = new_record(op, inputs, attrs)
    return tensor


result = in_python


def use_native_code() -> None:
    """From now on native code makes results, where it can."""
    global result
    if result is not in_python:
        return
    from jit.runtime.notes import noter
    from jit.runtime.walks import Slots

    native = noter(
        boxes=Slots(Tensor, ("raw", "record", "symbol")),
        records=Slots(Record, ("op", "inputs", "attrs", "tick", "rooted", "types")),
        ends=Slots(Leaf, ("rooted",)),
        parts=Slots(Pick, ("rooted",)),
        clock=clock,
        asked=(context, "recording", "tapes"),
        says="differentiable",
        python=new_record,
    )
    result = native or result
