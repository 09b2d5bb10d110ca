"""Steps that come again: eager updates of all parameters as one native call.

Op by op, a step costs Python and kernels for each parameter. Once steps over the same parameters
have cost about what it takes to compile one, it is recorded; from then on it is one native call,
with the same bits. So at most half of the time is spent in vain, however few steps there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from dualflow.core.backend import place_of_all
from dualflow.core.context import context
from dualflow.core.convert import as_tensor
from dualflow.core.recurring import Recurring
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from jit.config import scoped

if TYPE_CHECKING:
    from dualflow.tracing.updates import Update

SECONDS_A_PARAMETER = 6e-3  # what compiling takes
KEPT = 8  # choices of parameters that are remembered of one optimiser

Gradients = Mapping[Variable, Tensor]


Form: TypeAlias = "Recurring[Update]"
_forms: WeakKeyDictionary[Any, dict[Any, Form]] = WeakKeyDictionary()


def step(optimizer: Any, gradients: Gradients, op_by_op: Callable[[Gradients], None]) -> None:
    """Does what `op_by_op(gradients)` does, compiled if such steps keep coming.

    Args:
        optimizer: Whose step it is; settings that Python reads are counted by its `version`.
        gradients: Those of the parameters that have one.
        op_by_op: Computes from these, and from Variables, what Variables hold afterwards.
    """
    if not is_compilable(optimizer, gradients):
        op_by_op(gradients)
        return
    parameters, tensors = list(gradients), list(map(as_tensor, gradients.values()))
    form = form_of(optimizer, parameters)
    if form.hopeless or place_of_all([x.raw for x in tensors]) is None:
        op_by_op(gradients)
    elif form.compiled is not None:
        if not form.compiled.run(tensors):  # gradients of another dtype, or of a wrong shape
            form.compiled, form.spent = None, 0.0
            op_by_op(gradients)
    elif form.spent <= SECONDS_A_PARAMETER * len(parameters):
        started = time.perf_counter()
        op_by_op(gradients)
        form.spent += time.perf_counter() - started
    else:
        from dualflow.tracing.updates import recorded  # loaded when something is compiled

        def procedure(given: list[Tensor]) -> None:
            op_by_op(dict(zip(parameters, given, strict=True)))

        form.compiled = recorded(f"{type(optimizer).__name__}.step", procedure, tensors)
        form.hopeless = form.compiled is None


def is_compilable(optimizer: Any, gradients: Gradients) -> bool:
    """Whether nobody looks on, it is not for once, and no user's class does who knows what."""
    watched = context.trace is not None or context.tapes or context.checker is not None
    if watched or context.once or not gradients or scoped.get().target != "cpu":
        return False
    return type(optimizer).__module__.startswith("dualflow.optim.")


def form_of(optimizer: Any, parameters: list[Variable]) -> Form:
    """The form of a step over these parameters."""
    known, state = _forms.setdefault(optimizer, {}), optimizer.state
    variables = [x for p in parameters for x in (p, *state[p].values())]
    precisions = context.autocast, scoped.get().precision
    key = (optimizer.version, *precisions, context.device, *map(id, variables))
    form = known.get(key)
    if form is None:
        if len(known) >= KEPT:
            known.clear()
        form = known[key] = Recurring()
    return form
