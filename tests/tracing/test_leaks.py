"""A traced value that outlives its trace names the function, its line, and who has kept it."""

from __future__ import annotations

from collections import deque

import pytest

import dualflow as df
from dualflow.errors import TraceError
from tests.tracing.both import vector

KEPT: list[object] = []
TABLE: dict[str, list[object]] = {"seen": []}
HELD = None


class Keeper:
    """What users keep things in."""

    def __init__(self):
        self.last = None
        self.history = []


def trace(python):
    """Traces without values, which is the only way to make tensors that have none."""
    df.function(python).concrete(df.TensorSpec((None, 3)))


def said(how, leak) -> str:
    with pytest.raises(TraceError) as caught:
        how(leak)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _empty():
    yield
    KEPT.clear()
    TABLE["seen"].clear()


def in_a_global_list(net):
    KEPT.append(net)
    return "the global KEPT[0]"


def in_a_global(net):
    global HELD
    HELD = net
    return "the global HELD"


def in_a_list_in_a_dict(net):
    TABLE["seen"].append((1, net))
    return "the global TABLE['seen'][0][1]"


OBJECT = Keeper()


def in_an_attribute(net):
    OBJECT.last, OBJECT.history = net, []
    return "the attribute last of a Keeper"


def in_a_list_of_an_object(net):
    OBJECT.last, OBJECT.history = None, [[net]]
    return "the attribute history[0][0] of a Keeper"


def in_a_set(net):
    KEPT.append({net})
    return "the global KEPT[0]"


PLACES = [
    in_a_global_list,
    in_a_global,
    in_a_list_in_a_dict,
    in_an_attribute,
    in_a_list_of_an_object,
    in_a_set,
]
in_a_global_list.leak = lambda: KEPT[0]
in_a_global.leak = lambda: HELD
in_a_list_in_a_dict.leak = lambda: TABLE["seen"][0][1]
in_an_attribute.leak = lambda: OBJECT.last
in_a_list_of_an_object.leak = lambda: OBJECT.history[0][0]
in_a_set.leak = lambda: next(iter(KEPT[0]))
USES = {
    "add": lambda x: x + 1.0,
    "matmul": lambda x: x @ vector(1, 2, 3),
    ".numpy()": lambda x: x.numpy(),
    "float()": lambda x: float(x),
    ".item()": lambda x: x.item(),
    "format()": lambda x: f"{x:.3f}",
}


@pytest.mark.parametrize("keep", PLACES, ids=lambda keep: keep.__name__)
def test_r43_a_leak_names_function_line_and_container(keep):
    found = []

    def net(x):
        hidden = x * 2.0
        found.append(keep(hidden))
        return hidden

    trace(net)
    line = net.__code__.co_firstlineno + 1
    text = said(USES["add"], keep.leak())
    where = f"test_leaks.py:{line}"
    assert text.startswith(
        f"add: a symbolic tensor of net, made at {where}, float32[d0,3], "
        f"was used after the recording was over. It was kept in {found[0]}.\n"
    )
    assert "try: return it from net instead of keeping it" in text


def test_r43_a_leak_in_a_closure():
    def outer():
        held = None

        def net(x):
            nonlocal held
            held = df.tanh(x)
            return held

        def use():
            return df.sum(held)

        return net, use

    net, use = outer()
    trace(net)
    with pytest.raises(TraceError, match=r"It was kept in held of (net|use)\."):
        use()


def test_r43_a_leak_in_a_local_container_is_named():
    def user():
        mine = []
        trace(lambda x: mine.append(x * 2.0) or x)
        return mine[0] * 2.0

    with pytest.raises(TraceError, match=r"It was kept in mine\[0\] (in user|of <lambda>)\."):
        user()


@pytest.mark.parametrize("use", USES)
def test_r43_every_use_of_a_leak_tells(use):
    trace(lambda x: KEPT.append(x * 2.0) or x)
    text = said(USES[use], KEPT[0])
    assert text.startswith(f"{use}: a symbolic tensor of <lambda>, made at test_leaks.py:")


def test_r43_an_argument_that_leaks():
    trace(lambda x: KEPT.append(x) or x)
    text = said(USES["add"], KEPT[0])
    assert text.startswith("add: a symbolic tensor of <lambda>, float32[d0,3], was used after")


def test_r43_no_false_alarms():
    """What a recorded call keeps has values: it may be used for ever, also after a failure."""
    kept, queue, keeper = [], deque(), Keeper()

    def net(x, fail):
        y = x * 2.0
        kept.append(y)
        queue.append(y + 1.0)
        keeper.last = y.sum()
        if fail:
            raise KeyError
        return y

    f = df.function(net)
    with pytest.raises(KeyError):
        f(vector(1, 2), True)
    f(vector(1, 2), False)
    for _ in range(2):
        assert (kept[0] + kept[1]).tolist() == [4.0, 8.0]
        assert (queue[0] * keeper.last).tolist() == [18.0, 30.0]
    g = df.function(lambda x: x + kept[0] + queue[0], strict=True)
    for _ in range(3):
        assert g(vector(1, 1)).tolist() == [6.0, 10.0]


def test_r43_a_failed_symbolic_trace_leaks_too():
    def net(x):
        KEPT.append(x * 2.0)
        return float(x.sum())

    with pytest.raises(TraceError, match="asks for the value"):
        trace(net)
    assert "of net, made at test_leaks.py" in said(USES["add"], KEPT[0])
