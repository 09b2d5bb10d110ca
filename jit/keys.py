"""Keys of plans: the text of all that the launches of forms depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from jit.config import config
from jit.dims import free_symbols
from jit.forms import nodes
from jit.forms.nodes import Form
from jit.forms.program import UNPRINTED, FormProgram
from jit.plans import LARGEST, MOST, sources
from jit.runtime.binding import Pairs
from jit.runtime.cache import disk_cache
from jit.runtime.library import LOOPS, toolchain
from jit.runtime.tuned import tuning
from jit.target import Target


def plan_key(
    forms: FormProgram, donate: Pairs, target: Target, memory_limit: int | None
) -> str | None:
    """What a plan is found by; None where it is not kept."""
    settings = config()
    if disk_cache() is None or settings.debug >= LOOPS or settings.dump:  # all stages are shown
        return None
    if len(forms.forms) > MOST or not all(map(is_kept, forms.forms)):
        return None
    machine = target.key, *target.sizes, str(memory_limit), tuning()
    parts = (*words(forms), repr(donate), *machine, toolchain(), sources())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_kept(form: Form) -> bool:
    """Whether text tells what a form is: no function of the host, no large array."""
    if isinstance(form, nodes.Extern | nodes.Call):
        return False
    if isinstance(form, nodes.Loop):
        return all(map(is_kept, form.program.forms))
    return not isinstance(form, nodes.Constant) or form.value.nbytes <= LARGEST


def words(program: FormProgram) -> Iterator[str]:
    """All that a plan depends on, and what people are told of it."""
    extents = [extent for form in program.forms for type_ in form.types for extent in type_.shape]
    for symbol in free_symbols(extents):
        yield f"{symbol.name} {symbol.hint} {symbol.lo} {symbol.hi}"
    for form in program.forms:
        yield " ".join(form_words(form))
        if isinstance(form, nodes.Loop):
            yield from words(form.program)
        origin = program.origins.get(form)
        yield f"{origin.op.name} {origin.source}" if origin else ""
    yield from map(str, program.inputs)
    yield from map(str, program.outputs)


def form_words(form: Form) -> Iterable[str]:
    """What a form is."""
    yield type(form).__name__
    for value in form.inputs:
        yield value.name
    for value in form.outputs:
        yield f"{value.name}: {value.type}"
    for own in fields(form):
        if own.name not in UNPRINTED and own.name != "program":
            yield spelled(getattr(form, own.name))


def spelled(x: Any) -> str:
    """A field of a form, every bit of it."""
    if isinstance(x, np.ndarray):
        return f"{x.dtype.name}{x.shape}{x.tobytes().hex()}"
    return x.name if hasattr(x, "name") else f"{x}" if hasattr(x, "at") else repr(x)
