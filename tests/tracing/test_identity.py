"""`is`, `in`, `id` and keys: an argument may be a thing that Python keeps anyway."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import FunctionWarning
from tests.modes import graphs_only, if_graphs
from tests.tracing.both import agree, outcome

X = df.asarray([1.0])
TENSOR, TABLE, NAMES = df.asarray([1.0]), {"v": df.asarray([2.0])}, ["a"]
MEMO, PAIRS = {TENSOR: 2.0}, {(TENSOR, 1): 2.0}


class Kept:
    tensor, table = TENSOR, TABLE


def a_tensor(x, y):
    return x * 2.0 if y is TENSOR else x * 3.0


def an_attribute(x, y):
    return x * 2.0 if y is Kept.tensor else x * 3.0


def an_item(x, y):
    return x * 2.0 if any(z is y for z in [TENSOR]) else x * 3.0


def a_dict(x, y):
    return x * 2.0 if y is TABLE else x * 3.0


def a_dict_among_others(x, y):
    return x * 2.0 if y in [Kept.table] else x * 3.0


def a_list_of_names(x, y):
    return x * 2.0 if NAMES is y else x * 3.0


def by_id(x, y):
    return x * 2.0 if id(y) == id(TABLE) else x * 3.0


def items_of_a_list(x, y):
    return x * 2.0 if y[0] is TENSOR else x * 3.0


def a_key(x, y):
    return x * MEMO.get(y, 3.0)


def part_of_a_key(x, y):
    try:
        return x * PAIRS[y, 1]
    except KeyError:
        return x * 3.0


CASES = [
    (a_key, TENSOR, X),
    (part_of_a_key, TENSOR, X),
    (a_tensor, TENSOR, X),
    (an_attribute, TENSOR, X),
    (an_item, TENSOR, X),
    (a_dict, TABLE, {"v": X}),
    (a_dict_among_others, TABLE, {"v": X}),
    (a_list_of_names, NAMES, ["a"]),
    (by_id, TABLE, {"v": X}),
    (items_of_a_list, [TENSOR], [X]),
]


@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
@pytest.mark.parametrize(
    ("program", "kept", "other"), CASES, ids=lambda x: getattr(x, "__name__", "")
)
@pytest.mark.parametrize("first", ["kept", "other"])
def test_r9_r12_an_argument_that_python_keeps_is_known_again(program, kept, other, first):
    order = (kept, other) if first == "kept" else (other, kept)
    agree(lambda: (program, None), [(X, order[k % 2]) for k in range(6)], strict=False)


@graphs_only
def test_calls_that_pass_nothing_that_is_kept_stay_compiled():
    """Those that do run in Python; who passes such a thing first is told."""
    f: Any = df.function(a_dict)
    for _ in range(3):
        assert f(X, {"v": df.asarray([2.0])}).tolist() == [3.0]
        assert f(X, TABLE).tolist() == [2.0]
    assert (f.mode, f.from_graph) == ("compiled", 2)
    with pytest.warns(FunctionWarning, match="reaches in other ways too"):
        assert df.function(a_dict)(X, TABLE).tolist() == [2.0]


def test_what_is_kept_may_be_another_from_call_to_call():
    """A tensor that the function itself has put there, and is passed again."""

    def program():
        kept = Kept()

        def f(x):
            same = x is kept.tensor
            kept.tensor = x * 0.5
            return x * 2.0 if same else x * 3.0

        return f, kept

    (eager, theirs), (python, ours) = program(), program()
    f = df.function(python)
    for k in range(12):
        given = [(x.tensor if k % 5 == 3 else X,) for x in (theirs, ours)]
        assert outcome(f, given[1]) == outcome(eager, given[0])


@graphs_only
def test_a_call_that_did_something_before_it_compares_does_it_once(capsys):
    """The function's own code is read before it runs."""

    @df.function
    def f(x, y):
        print("begins")
        return x * 2.0 if y is TENSOR else x * 3.0

    with pytest.warns(FunctionWarning, match="reaches in other ways too"):
        assert f(X, TENSOR).tolist() == [2.0]
    assert capsys.readouterr().out == "begins\n"


@graphs_only
def test_none_and_constants_are_no_things_that_are_kept():
    """Code that only asks for them has nothing to compare, and its calls have their shortcut."""

    def python(x, y=None, mode="sum"):
        z = x * TENSOR if y is None else x * y
        return z.sum() if mode in ("sum", "all") and "w" not in TABLE else z

    f: Any = df.function(strict=True)(python)
    for _ in range(3):
        f(TENSOR)
    assert f.from_graph == 2


def lies_in_two_places(box, kept, x):
    return x * 2.0 if box.last is kept[0] else x * 3.0


def is_one_of_many(box, kept, x):
    return x * 2.0 if any(y is box.last for y in kept) else x * 3.0


def has_one_name_in_a_dict(box, kept, x):
    return x * 2.0 if vars(box)["last"] in [kept[-1], kept[0]][1:] else x * 3.0


def two_that_are_set(box, kept, x):
    same = box.last is box.other
    box.last, box.other = box.other, box.last
    return x * 2.0 if same else x * 3.0


@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
@pytest.mark.parametrize(
    "python",
    [lies_in_two_places, is_one_of_many, has_one_name_in_a_dict, two_that_are_set],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("begin", range(4))
def test_state_that_differs_from_call_to_call_may_be_one_thing_in_two_places(python, begin):
    def found(decorate):
        box: Any = Kept()
        kept = [df.asarray([0.5]), df.asarray([1.0])]
        box.last = box.other = df.asarray([2.0])
        f, told = decorate(lambda x: python(box, kept, x)), []
        for k in range(begin, begin + 12):
            if k % 4 == 0:
                kept[0] = df.asarray([0.5 + k])
            elif k % 4 == 1:
                box.last = kept[0]
            elif k % 4 == 2:
                box.last, box.other = df.asarray([2.0 + k]), df.asarray([2.0])
            else:
                kept[0] = box.other = box.last
            told.append(f(X).tolist())
        return told

    assert found(df.function) == found(lambda f: f)


POINT: Any = Kept()


@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
def test_a_call_that_is_undone_leaves_a_global_that_it_was_passed():
    """A guard holds an argument weakly."""
    box: Any = Kept()
    box.last = box.other = X

    def python(x, point):
        return x * 2.0 if box.last is box.other and point is POINT else x * 3.0

    f: Any = df.function(lambda x, point: python(x, point))
    for k in range(6):
        box.last = box.other = df.asarray([2.0 + k])
        assert f(X, POINT).tolist() == [2.0]
        assert isinstance(POINT, Kept)


REMEMBERED: Any = [df.asarray([0.5]), None]


def is_remembered(x):
    return 2.0 if REMEMBERED[0] is x else 3.0


class Asking:
    def asks(self, x):
        return is_remembered(x)


@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
@pytest.mark.parametrize("asks", [is_remembered, Asking().asks, df.function(is_remembered)])
def test_functions_that_are_called_may_ask_too_and_the_call_have_done_something(asks):
    """Such a call is not made again, so that what is asked has to be known before."""
    done = []

    def python(x):
        done.append(len(done))
        power = functools.cache(lambda k: 2.0**k)
        return x * power(1) * asks(x)

    f: Any = df.function(python)
    for _ in range(4):
        assert f(REMEMBERED[0]).tolist() == [2.0]
        assert f(df.asarray([0.5])).tolist() == [3.0]


# ----- tensors that a call makes of numbers -----


def test_each_call_makes_its_own_tensors_of_numbers():
    log = []

    @df.function(strict=True)
    def made(x, k=1.0):
        one = df.asarray([1.0, 2.0])
        log.append(one)
        return one, [one, df.asarray([1.0, 2.0])], df.asarray(3.0), df.asarray([k, 2.0]), x

    results = [made(df.ones(2)) for _ in range(4)]
    for (one, (again, other), number, numbers, _), kept in zip(results, log, strict=True):
        assert one is again is kept
        assert one is not other
        assert (one.tolist(), other.tolist(), number.item()) == ([1.0, 2.0], [1.0, 2.0], 3.0)
        assert numbers.tolist() == [1.0, 2.0]
    assert len({id(x) for result in results for x in df.tree.flatten(result[:4])[0]}) == 4 * 4
    assert made.from_graph == if_graphs(3)


def test_to_watch_a_tensor_that_a_call_has_made_watches_no_others():
    made = df.function(lambda x: (df.asarray([1.0, 2.0]), x))
    results = [made(df.ones(2))[0] for _ in range(4)]
    with df.GradientTape(persistent=True) as tape:
        tape.watch(results[-1])
        y, z = results[-1] * 2.0, results[-2] * 3.0
    assert [x.requires_grad for x in results] == [False, False, False, True]
    assert (y.requires_grad, z.requires_grad) == (True, False)
    assert tape.gradient(y, results[-1]).tolist() == [2.0, 2.0]


def test_tensors_that_were_made_before_the_call_stay_the_same():
    lazy = {}

    @functools.cache
    def table():
        return df.asarray([1.0, 2.0])

    @df.function
    def known(x):
        if "one" not in lazy:
            lazy["one"] = df.asarray([3.0])
        return table(), lazy["one"], x

    results = [known(df.ones(2)) for _ in range(5)]
    assert all(x is table() and y is lazy["one"] for x, y, _ in results)


def test_ways_that_join_give_one_tensor_wherever_python_has_one():
    log = []

    def halved(x, keep):
        one, two = df.asarray([1.0]), df.asarray([2.0])
        keep(two)
        for _ in range(3):
            x = x * 0.5 if x.sum() > 2.0 else x + 1.0
        return one, x, one, two

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keep in (log.append, lambda x: None):
            f = df.function(lambda x, keep=keep: halved(x, keep))
            results = [f(df.asarray([float(k)])) for k in range(12)]
            assert all(one is again for one, _, again, _ in results)
            assert len({id(one) for one, *_ in results}) == 12
    assert len(log) == 12


def test_arrays_that_share_the_memory_of_a_tensor_are_not_written():
    zeros = df.function(lambda x: (df.zeros(2), x))
    for x in (*[zeros(df.ones(2))[0] for _ in range(3)], df.Variable([0.0, 0.0])):
        with pytest.raises(ValueError, match="read-only"):
            np.asarray(x, copy=False)[0] = 7.0
        copied = np.asarray(x)
        copied[0] = 7.0
        assert x.tolist() == [0.0, 0.0]
    assert zeros(df.ones(2))[0].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="copy"):
        np.asarray(df.zeros(2), dtype="float64", copy=False)
