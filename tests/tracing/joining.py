"""Programs whose ways through depend on values: loops, searches, recursion, sampling."""

from __future__ import annotations

import numpy as np

import dualflow as df


def collatz(n):
    steps = 0
    while n > 1:
        if n % 2 == 1:
            n = 3 * n + 1
        else:
            n = n // 2
        steps += 1
    return steps, n


def binary_search(values, wanted):
    low, high = df.asarray(0), df.asarray(values.shape[0])
    while low < high:
        middle = (low + high) // 2
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


def early_stopping(x, y):
    w = df.zeros(3)
    best, bad, step = df.asarray(float("inf")), 0, 0
    while step < 30:
        error = x @ w - y
        loss = (error**2).mean()
        if loss < best - 1e-3:
            best, bad = loss, 0
        else:
            bad += 1
            if bad == 3:
                break
        w = w - 0.3 * (x.T @ error) / x.shape[0]
        step += 1
    return w, best, step


def beam_search(table):
    """Two beams over tokens; stops when the better one ends with token 0."""
    count = table.shape[1]
    total, last, length = df.asarray([0.0, -50.0]), df.asarray([1, 1]), 0
    while length < 10:
        reached = (df.expand_dims(total, 1) + table[last]).reshape((2 * count,))
        place = df.argsort(reached)[-2:]
        total, last = reached[place], place % count
        length += 1
        if last[1] == 0:
            break
    return total, last, length


class Adaptive(df.nn.Module):
    """Halts when it is sure, after at most so many layers (Graves 2016)."""

    def __init__(self):
        super().__init__()
        df.random.seed(1)
        self.layer = df.nn.Linear(4, 4)
        self.halt = df.nn.Linear(4, 1)

    def forward(self, x):
        sure, depth = df.asarray(0.0), 0
        while sure < 0.9 and depth < 12:
            x = df.tanh(self.layer(x)) + x * 0.5
            sure = sure + df.nn.functional.sigmoid(self.halt(x)).sum() * 0.4
            depth += 1
        return x, depth


def adaptive():
    net = Adaptive()
    return net, list(net.parameters())


def tree_rnn(x, gates):
    """Splits a row where a gate says so, down to single elements."""

    def state(low, high):
        if high - low == 1:
            return x[low]
        middle = (low + high) // 2
        left, right = state(low, middle), state(middle, high)
        if gates[middle] > 0:
            return df.tanh(left - right)
        return df.tanh(left + right)

    return state(0, 4)


def rejection(bound):
    tries = 0
    while True:
        point = df.random.uniform((2,), low=-1.0, high=1.0)
        tries += 1
        if (point**2).sum() < bound:
            return point, tries


def lists(x):
    kept, dropped = [], {}
    k = 0
    while x[k] < 1.5:
        if x[k] > 0:
            kept.append(x[k] * 2.0)
        else:
            dropped[k] = x[k]
        k += 1
        if k == 4:
            break
    return kept, dropped


def vectors(count, n, seed=0, scale=1.0):
    rows = np.random.default_rng(seed).normal(size=(count, n)) * scale
    return [(df.asarray(row.astype(np.float32)),) for row in rows]


def searches(count):
    rng = np.random.default_rng(0)
    rows = [np.sort(rng.normal(size=16)).astype(np.float32) for _ in range(count)]
    return [(df.asarray(row), df.asarray(np.float32(rng.normal()))) for row in rows]


def regressions(count):
    rng = np.random.default_rng(0)
    return [
        tuple(df.asarray(rng.normal(size=s).astype(np.float32)) for s in ((8, 3), (8,)))
        for _ in range(count)
    ]


def numbers(count):
    drawn = np.random.default_rng(0).integers(1, 2000, size=count)
    return [(df.asarray(int(n)),) for n in drawn]


def trees(count):
    return [(*a, *b) for a, b in zip(vectors(count, 4), vectors(count, 4, seed=1), strict=True)]


def bounds(count):
    drawn = np.random.default_rng(0).uniform(0.2, 1.0, size=count)
    return [(df.asarray(np.float32(x)),) for x in drawn]


def tables(count):
    rows = np.random.default_rng(0).normal(size=(count, 5, 5)).astype(np.float32)
    return [(df.asarray(row),) for row in rows]


# Each program, and so many calls of it.
PROGRAMS = {
    "collatz": (lambda: (collatz, None), numbers),
    "binary search": (lambda: (binary_search, None), searches),
    "early stopping": (lambda: (early_stopping, None), regressions),
    "beam search": (lambda: (beam_search, None), tables),
    "adaptive depth": (
        lambda: ((net := Adaptive()), list(net.parameters())),
        lambda n: vectors(n, 4),
    ),
    "tree-RNN": (lambda: (tree_rnn, None), trees),
    "rejection sampling": (lambda: (rejection, None), bounds),
    "lists and dicts": (lambda: (lists, None), lambda n: vectors(n, 4)),
}
