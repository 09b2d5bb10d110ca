"""Kernels of many threads in NumPy, all threads of all items at once: fast, for kernels that hold.

The interpreter runs thread by thread and refuses races, in a second for some thousand steps; this
computes what kernels of products give that are large enough to have every kind of tile. It refuses
a `sync` that some threads do not come to, and accesses outside of a buffer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jit.dims import evaluate
from jit.loops.ir import Alloc, Check, Exchange, For, If, Let, Lit, Load, Mma, Store, Sync
from jit.loops.values import apply, mma


def run_all(kernel: Any, arrays: Any, sizes: Any = ()) -> bool:
    """Runs a kernel on flat arrays, in place; whether all checks held."""
    grid = evaluate(kernel.grid, {n.hint: v for n, v in zip(kernel.sizes, sizes)})
    with np.errstate(all="ignore"):
        return not grid or SideBySide(kernel, arrays, sizes, grid).run()


class SideBySide:
    """The values of all threads: arrays of (threads, lanes), of (1, lanes) where all are alike."""

    def __init__(self, kernel: Any, arrays: Any, sizes: Any, grid: int) -> None:
        self.kernel, self.grid, self.holds = kernel, grid, True
        self.count = grid * kernel.threads
        numbers = np.arange(self.count)
        self.item = numbers // kernel.threads
        self.values = {n: np.array([[v]]) for n, v in zip(kernel.sizes, sizes, strict=True)}
        self.values[kernel.item] = self.item[:, None]
        if kernel.thread is not None:
            self.values[kernel.thread] = (numbers % kernel.threads)[:, None]
        self.memory = {b: (x, len(x), None) for b, x in zip(kernel.buffers, arrays, strict=True)}
        self.on = np.ones(self.count, bool)

    def run(self) -> bool:
        self.body(self.kernel.body)
        return self.holds

    def body(self, body: Any) -> None:
        for s in body:
            getattr(self, type(s).__name__.lower())(s)

    def value(self, x: Any) -> Any:
        if isinstance(x, Lit):
            return np.full((1, x.type.lanes), x.value, x.type.dtype)
        return self.values[x]

    def let(self, s: Let) -> None:
        lanes, moves = s.var.type.lanes, ("splat", "iota", "extract", "shuffle")
        args = [self.value(x) for x in s.args]
        if s.op == "splat":
            found = np.repeat(args[0], lanes, axis=1)
        elif s.op == "iota":
            found = np.arange(lanes)[None]
        elif s.op in moves:
            count = max(len(x) for x in args)
            whole = [np.broadcast_to(x, (count, x.shape[1])) for x in args]
            found = np.concatenate(whole, axis=1)[:, list(s.immediates)]
        else:
            found = apply(s.op, np.broadcast_arrays(*args), s.var.type, s.immediates)
        self.values[s.var] = found

    def places(self, s: Any, lanes: int) -> Any:
        """Where each lane of each thread is in memory, and whether it is meant."""
        at = self.value(s.index)
        if at.shape[1] == 1:
            at = at + np.arange(lanes)
        mask = np.broadcast_to(self.on[:, None], (self.count, lanes))
        if s.mask is not None:
            mask = mask & self.value(s.mask)
        memory, size, owner = self.memory[s.buffer]
        at = np.broadcast_to(at, (self.count, lanes))
        assert not (mask & ((at < 0) | (at >= size))).any(), (self.kernel.name, s)
        at = np.where(mask, at, 0)
        return memory, at if owner is None else at + owner[:, None] * size, mask

    def load(self, s: Load) -> None:
        memory, at, mask = self.places(s, s.var.type.lanes)
        other = 0 if s.other is None else self.value(s.other)
        found = memory[at] if memory.size else np.zeros(at.shape, memory.dtype)
        self.values[s.var] = np.where(mask, found, np.asarray(other, memory.dtype))

    def store(self, s: Store) -> None:
        memory, at, mask = self.places(s, s.value.type.lanes)
        memory[at[mask]] = np.broadcast_to(self.value(s.value), mask.shape)[mask]

    def alloc(self, s: Alloc) -> None:
        shared = s.buffer.scope == "shared"
        count = self.grid if shared else self.count
        owner = self.item if shared else np.arange(self.count)
        unset = 77 if s.buffer.dtype.kind == "u" else -77
        room = np.full(count * s.buffer.size, unset, s.buffer.dtype)
        self.memory[s.buffer] = room, s.buffer.size, owner

    def check(self, s: Check) -> None:
        asked = self.on[:, None] if s.mask is None else self.on[:, None] & self.value(s.mask)
        self.holds &= bool((self.value(s.condition) | ~asked).all())

    def prefetch(self, s: Any) -> None:
        """Nothing that can be seen."""

    def sync(self, s: Sync) -> None:
        on = self.on.reshape(-1, s.threads)
        assert (on == on[:, :1]).all(), "a sync is not reached by all threads"

    def exchange(self, s: Exchange) -> None:
        at = np.broadcast_to(self.value(s.thread), (self.count, 1))[:, 0] % 32
        numbers = np.arange(self.count) // 32 * 32 + at
        self.values[s.var] = np.broadcast_to(self.value(s.value), (self.count, 1))[numbers]

    def mma(self, s: Mma) -> None:
        on = self.on.reshape(-1, 32)
        assert (on == on[:, :1]).all(), "a product of matrices is not reached by all threads"
        given = [self.value(x) for x in (s.a, s.b, s.c)]
        self.values[s.var] = mma(*[np.broadcast_to(x, (self.count, x.shape[1])) for x in given])

    def within(self, on: Any, body: Any) -> None:
        if on.any():
            before, self.on = self.on, on
            self.body(body)
            self.on = before

    def __getattr__(self, name: str) -> Any:
        return {"for": self.loop, "if": self.when}[name]

    def loop(self, s: For) -> None:
        at, stop = (np.broadcast_to(self.value(x), (self.count, 1)) for x in (s.start, s.stop))
        while (on := self.on & (at < stop)[:, 0]).any():
            self.values[s.var] = at
            self.within(on, s.body)
            at = at + s.step

    def when(self, s: If) -> None:
        condition = np.broadcast_to(self.value(s.condition), (self.count, 1))
        self.within(self.on & condition[:, 0], s.body)
