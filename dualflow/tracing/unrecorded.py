"""Unrecorded: stands where a recording would stand, and notes nothing of what Python does."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualflow.core.context import using
from dualflow.core.convert import place
from dualflow.core.tensor import Tensor


class Unrecorded:
    """Python and all of its ops run at this call, so there is nothing to note.

    Attributes:
        custom_rules: For those who note them; nothing depends on it here.
        checks_ops: Whether it looks at what each op of a recording gives, too.
    """

    checks_ops = False

    def __init__(self) -> None:
        self.custom_rules: list[str] = []

    def read(self, variable: Any) -> Tensor:
        """What reading a Variable gives."""
        return variable.tensor

    def capture_array(self, array: Any) -> Tensor:
        """A NumPy array that an op was given, as it is now."""
        with using(trace=None):
            return Tensor(place(np.array(array)))

    def _nothing(self, *args: Any) -> None:
        """Python runs at every call: nothing has to be noted."""

    created = made = asked_trainable = changed = touched_grad = relies_on = saw_module = _nothing
    formats = used_tape = swept = sweeps = refuse = ask = escape = publish = wrote = _nothing
