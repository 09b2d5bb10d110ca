"""The decorator `df.function`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from dualflow.tracing.compiling import bytes_of
from dualflow.tracing.decorated import DESCRIPTORS, each, is_object
from dualflow.tracing.function import Function, FunctionOfObject

P = ParamSpec("P")
R = TypeVar("R")


@overload
def function(python: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def function(
    *,
    input_signature: Any = None,
    mode: str = "compiled",
    audit: float = 0.0,
    max_traces: int = 16,
    max_paths: int = 256,
    on_limit: str = "segments",
    strict: bool = False,
    background: bool = False,
    exact: bool = False,
    fast: bool = False,
    memory_limit: int | str | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def function(
    python: Callable[..., Any] | None = None,
    /,
    *,
    input_signature: Any = None,
    mode: str = "compiled",
    audit: float = 0.0,
    max_traces: int = 16,
    max_paths: int = 256,
    on_limit: str = "segments",
    strict: bool = False,
    background: bool = False,
    exact: bool = False,
    fast: bool = False,
    memory_limit: int | str | None = None,
) -> Any:
    """Decorator: the function is recorded as it runs, and later calls run from the recorded graph.

    Args:
        python: The function, method, lambda, partial or callable object.
        input_signature: A `TensorSpec` per tensor argument; calls that do not fit raise.
        mode: "compiled"; "eager" to switch it off for this function; or "auto", which times both
            on the program's own calls and takes the faster.
        audit: Which share of the calls that need no Python, from 0 to 1, runs in Python as well; an
            `AuditError` tells of any difference.
        max_traces: Signatures that are recorded before `on_limit` applies.
        max_paths: Ways through the function, per signature, before `on_limit` applies.
        on_limit: What a call of a further kind does: "segments" (Python runs, with a message),
            "error", "grow" (there is no limit) or "replace" (the trace that was not used for the
            longest time makes room).
        strict: Raise where the function would otherwise run in segments.
        background: Compile in a thread of its own; until the code is ready, calls run in Python.
        exact: The first call that each way through the function serves runs in Python as well, and
            an `AuditError` tells if a single bit differs. `f.report()` says what that costs: how
            much faster `fast=True` is.
        fast: Graphs may round elsewhere than Python, as in `x / 3` by a product, and compute large
            convolutions in tiles; `f.report()` says by how much results differ then.
        memory_limit: Bytes that the temporaries of a call should fit, as a number or a text such as
            "2GB". Where they do not, some results are computed again instead of being held; bits
            stay the same. It is a wish: a warning tells if it cannot be met. `f.explain()` says
            what is computed again.

    Returns:
        A `Function` with the same signature.

    Example:
        >>> import dualflow as df
        >>> @df.function
        ... def f(x):
        ...     return x * 2 + 1
        >>> f(df.asarray([1.0, 2.0])).tolist()
        [3.0, 5.0]
    """
    if on_limit not in ("segments", "error", "grow", "replace"):
        raise ValueError(f"on_limit={on_limit!r}: segments, error, grow or replace")
    if mode not in ("compiled", "eager", "auto"):
        raise ValueError(f"mode={mode!r}: compiled, eager or auto")
    if not 0 <= audit <= 1:
        raise ValueError(f"audit={audit!r}: a share from 0 to 1")
    if fast and (exact or audit):
        given = "exact=True" if exact else f"audit={audit!r}"
        raise ValueError(f"fast=True and {given}: one gives bits up that the other insists on")
    options = {
        "input_signature": None if input_signature is None else tuple(input_signature),
        "mode": mode,
        "audit": float(audit),
        "max_traces": max_traces,
        "max_paths": max_paths,
        "on_limit": on_limit,
        "strict": strict,
        "background": background,
        "exact": exact,
        "fast": fast,
        "memory_limit": bytes_of(memory_limit),
    }

    def decorate(python: Any) -> Any:
        if isinstance(python, DESCRIPTORS):
            return each(decorate, python)
        return (FunctionOfObject if is_object(python) else Function)(python, options)

    return decorate if python is None else decorate(python)
