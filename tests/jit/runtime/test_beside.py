"""Work beside a block: its order, its end, and what happens where one of both fails."""

from __future__ import annotations

import threading
import time

import pytest

from jit.config import config, configure
from jit.runtime.beside import Beside


def test_all_is_done_in_order_by_another_thread_which_ends():
    done, before = [], threading.active_count()
    with Beside() as beside:
        for k in range(5):
            beside.do(lambda k=k: done.append((k, threading.current_thread())))
    assert [k for k, _ in done] == [0, 1, 2, 3, 4]
    (thread,) = {thread for _, thread in done}
    assert thread is not threading.current_thread()
    assert not thread.is_alive()
    assert threading.active_count() == before


def test_several_threads_are_at_work_at_a_time():
    both, before = threading.Barrier(2), threading.active_count()
    with Beside(2) as beside:
        for _ in range(4):
            beside.do(lambda: both.wait(60))
    assert threading.active_count() == before


def test_one_of_several_errors_comes_out_and_all_threads_end():
    before = threading.active_count()

    def fail():
        raise ValueError("one of them")

    with pytest.raises(ValueError, match="one of them"), Beside(2) as beside:  # noqa: PT012
        for _ in range(4):
            beside.do(fail)
    assert threading.active_count() == before


def test_a_block_without_work_starts_no_thread(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", pytest.fail)
    with Beside():
        pass


def test_the_first_error_comes_out_and_nothing_more_is_begun():
    done = []

    def fail(k):
        done.append(k)
        raise ValueError(f"number {k}")

    with pytest.raises(ValueError, match="number 0"), Beside() as beside:  # noqa: PT012
        beside.do(lambda: fail(0))
        beside.do(lambda: fail(1))
    assert done == [0]


def test_a_block_that_fails_waits_and_stops():
    started, done = threading.Event(), []

    def first():
        started.set()
        while not beside._stopped:
            time.sleep(0.001)
        done.append("first")

    with pytest.raises(KeyError, match="of the block"), Beside() as beside:  # noqa: PT012
        beside.do(first)
        beside.do(lambda: done.append("second"))
        started.wait()
        raise KeyError("of the block")
    assert done == ["first"]


def test_settings_are_those_of_who_asks():
    found = []
    with configure(debug=1), Beside() as beside:
        beside.do(lambda: found.append(config().debug))
    assert found == [1]


def test_where_no_thread_can_start_the_work_is_done_at_once(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done = []
    with Beside() as beside:
        beside.do(lambda: done.append(threading.current_thread()))
        assert done == [threading.current_thread()]
