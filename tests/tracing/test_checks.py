"""Checks: guards on many items of one dict, compared at once, say what each says by itself."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from dualflow.tracing.guards.check import Check, Guard
from jit.config import configure

VALUES = [0.0, -0.0, 1, 1.0, True, "ab", "", None, (1, 2), (1.0, 2), [1], float("nan"), len]
KEYS = [f"v{k}" for k in range(8)]


def fresh(value):
    """An equal object, another one where that can be."""
    if type(value) is float:
        return float(repr(value))
    if type(value) in (str, tuple, list):
        return "".join([*value]) if type(value) is str else type(value)([*value])
    return value


def checks(space, guarded):
    """The same guards, together and one by one."""
    constants, guards = {"k0": space}, []
    for key in sorted(guarded):
        k = f"k{len(constants)}"
        constants[k] = space[key]
        read = f"k0[{key!r}]"
        lenient = "" if isinstance(space[key], list) else f" and differs({read}, {k})"
        guards.append(Guard(f"{read} is not {k}{lenient}", key, read=read, expected=k))
    with configure(target="cpu"):
        together = Check(guards, constants)
    with configure(target="interpreter"):
        return together, Check(guards, constants)


@given(
    values=st.lists(st.sampled_from(VALUES), min_size=8, max_size=8),
    guarded=st.sets(st.sampled_from(KEYS), min_size=1),
    changes=st.lists(
        st.tuples(st.sampled_from([*KEYS, "new"]), st.sampled_from([*VALUES, "gone", "same"]))
    ),
)
def test_items_are_missed_as_one_by_one(values, guarded, changes):
    space = dict(zip(KEYS, values, strict=True))
    together, one_by_one = checks(space, guarded)
    assert together.missed() == one_by_one.missed() == -1
    for key, value in changes:
        if value in ("gone", "same"):
            old = space.pop(key, None)
        if value == "same":
            space[key] = fresh(old)
        elif value != "gone":
            space[key] = fresh(value)
        found = together.missed(), one_by_one.missed()
        assert (found[0] < 0) == (found[1] < 0)
        if min(found) >= 0:
            assert {together.reason(found[0]), one_by_one.reason(found[1])} <= {
                one_by_one.reason(k) for k in range(len(guarded) + 1)
            }


def test_what_is_found_missing_is_named():
    together, _ = checks(dict(zip(KEYS, range(8), strict=True)), KEYS)
    space = together._constants["k0"]
    space["v3"] = 3.0
    assert together.reason(together.missed()) == "v3: 3 -> 3.0"
    space["v3"] = 3
    del space["v5"]
    assert together.reason(together.missed()) == "v5 is gone"
