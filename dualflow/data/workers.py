"""Workers that make batches ahead of who takes them: threads, or processes of their own."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import numpy as np

Fetch = Callable[[Any], Any]
KINDS = ("threads", "processes")

fetch_here: list[Fetch] = []  # in a process that works: what makes a batch


def ahead(
    fetch: Fetch, tasks: Iterator[Any], *, workers: int, kind: str, window: int, seeds: list[int]
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
    """
    pool, submit = started(fetch, workers, kind, seeds)
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
    fetch: Fetch, workers: int, kind: str, seeds: list[int]
) -> tuple[Executor, Callable[[int, Any], Future[Any]]]:
    """Workers, and what hands them a task."""
    if kind == "threads":
        threads = ThreadPoolExecutor(workers, thread_name_prefix="dualflow-data")
        return threads, lambda number, task: threads.submit(fetch, task)
    # No fork: a lock that another thread holds at that moment would stay locked for ever.
    processes = ProcessPoolExecutor(workers, get_context("spawn"), begin, (fetch,))
    return processes, lambda number, task: processes.submit(serve, [*seeds, number], task)


def begin(fetch: Fetch) -> None:
    """A process starts to work."""
    fetch_here[:] = [fetch]


def serve(seeds: list[int], task: Any) -> Any:
    """One task, in a process that works."""
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
