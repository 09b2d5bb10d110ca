"""Workers that make batches ahead of who takes them: threads, or processes of their own."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import count
from multiprocessing import get_context
from typing import Any

import numpy as np

Fetch = Callable[[Any], Any]
KINDS = ("threads", "processes")

# In a process that works: what makes a batch, and what comes before the first.
fetch_here: list[Fetch] = []
begin_here: list[Callable[[], Any]] = []


def ahead(
    fetch: Fetch,
    tasks: Iterator[Any],
    *,
    workers: int,
    kind: str,
    window: int,
    seeds: list[int],
    begin: Callable[[int], Any] | None = None,
) -> Iterator[Any]:
    """`fetch` of each task in order, made by workers up to `window` tasks ahead.

    What a task raises is raised here, in its place, with the traceback of the worker.

    Args:
        fetch: Makes a batch; with processes it is pickled.
        tasks: What to make batches of.
        workers: How many.
        kind: "threads" or "processes".
        window: Tasks under way at once.
        seeds: With processes, `random` and `numpy.random` start each task from these numbers and
            the task's place: whichever process takes it, it draws the same.
        begin: Called in each worker with its number, from 0, before its first task.
    """
    pool, submit = started(fetch, workers, kind, seeds, begin)
    running: deque[Future[Any]] = deque()
    numbered = enumerate(tasks)
    try:
        for number, task in numbered:
            running.append(submit(number, task))
            if len(running) >= window:
                yield result_of(running.popleft())
        while running:
            yield result_of(running.popleft())
    finally:
        pool.shutdown(wait=kind == "threads", cancel_futures=True)


def started(
    fetch: Fetch,
    workers: int,
    kind: str,
    seeds: list[int],
    begin: Callable[[int], Any] | None,
) -> tuple[Executor, Callable[[int, Any], Future[Any]]]:
    """Workers, and what hands them a task."""
    if kind == "threads":
        threads = ThreadPoolExecutor(workers, thread_name_prefix="dualflow-data")
        work = fetch if begin is None else after(begin, fetch)
        return threads, lambda number, task: threads.submit(work, task)
    # No fork: a lock that another thread holds at that moment would stay locked for ever.
    spawning = get_context("spawn")
    given = fetch, begin, spawning.Value("i", 0)
    processes = ProcessPoolExecutor(workers, spawning, begin_process, given)
    return processes, lambda number, task: processes.submit(serve, [*seeds, number], task)


def after(begin: Callable[[int], Any], fetch: Fetch) -> Fetch:
    """`fetch`, before which each thread calls `begin` once, so that its faults show likewise."""
    numbers, thread = count(), threading.local()

    def work(task: Any) -> Any:
        if not hasattr(thread, "number"):
            thread.number = next(numbers)
            begin(thread.number)
        return fetch(task)

    return work


def begin_process(fetch: Fetch, begin: Callable[[int], Any] | None, started: Any) -> None:
    """A process starts to work.

    Args:
        fetch: What it does.
        begin: Is given the number of the process, before the first task.
        started: How many have started before, which all of them share.
    """
    fetch_here[:] = [fetch]
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    if begin is not None:
        begin_here.append(partial(begin, number))


def serve(seeds: list[int], task: Any) -> Any:
    """One task, in a process that works."""
    if begin_here:
        begin_here.pop()()
    words = np.random.SeedSequence(seeds).generate_state(2)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    return fetch_here[0](task)


def result_of(future: Future[Any]) -> Any:
    """What a task gave, or what it raised."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "DataLoader: a worker process ended by itself. It may have run out of memory, or a "
            "program without `if __name__ == '__main__':` started it; num_workers=0 shows the fault"
        ) from error
