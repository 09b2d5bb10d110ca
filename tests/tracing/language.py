"""Python as people write it, each in a function of tensors; run with and without the decorator.

The text is run from a file, from `exec`, from stdin and from notebook cells (`test_language`), so
it may need nothing but dualflow. `main()` gives lines that say what came out.
"""

from __future__ import annotations

import dualflow as df


def collatz(n):
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return df.asarray(steps)


def search(x):
    low, high = 0, 16
    while low < high:
        middle = (low + high) // 2
        if x > middle * middle:
            low = middle + 1
        else:
            high = middle
    return x * 0 + low


def stopping(x):
    steps = 0
    for _ in range(20):
        if df.abs(x) < 0.1:
            break
        x, steps = x * 0.5, steps + 1
    else:
        x = x + 100.0
    return x, steps


def growing(x):
    """A list under control flow by values, of elements of several shapes."""
    parts = []
    while x > 1:
        parts.append(df.ones(len(parts) + 1) * x)
        x = x / 2.0
    return {"parts": parts, "all": df.concat(parts) if parts else None}


def table(x):
    """A dict that is filled under control flow by values."""
    found = {}
    for k in range(4):
        if x > k:
            found.setdefault("big", []).append(x - k)
        else:
            found["small", k] = x
    return [found[key] for key in found]


def matched(x):
    match int(x):
        case 0:
            return x
        case k if k > 4:
            return x * k
        case _:
            return -x


def recursive(x):
    return x if x < 1 else recursive(x / 3.0) + 1.0


def generated(x):
    def halves(x):
        while x > 1:
            yield x
            x = x / 2.0

    return df.asarray(sum(halves(x), df.asarray(0.0)))


def guarded(x):
    total = x * 0.0
    for k in range(6):
        try:
            if x < k:
                raise StopIteration
            if k % 2:
                continue
            total += x
        except StopIteration:
            total = total - 1.0
        finally:
            total = total + 0.5
    return total


def closures(x):
    scale = 2.0

    def outer(y):
        nonlocal scale
        scale = scale + 1.0
        return (lambda z: z * scale)(y)

    return [f(x) for f in (outer, outer)] if (half := x / 2.0) > 1 else half


def unpacked(x):
    first, *rest = [x + k for k in range(3)]
    pairs = dict(zip("ab", rest, strict=True))
    return sorted(pairs), (lambda *args, **named: args[0] + named["b"])(first, **pairs)


def chosen(x):
    return df.where(x > 2, x, -x) if (bool(x > 1) and not x > 6) or x == 7 else (x, None)[0]


class Tree:
    def __init__(self, *children):
        self.children = children

    @df.function
    def total(self, x):
        found = x
        for child in self.children:
            found = found + child.total(x * 0.5)
        return found


TREE = Tree(Tree(), Tree(Tree(), Tree()))
numbers = [float(k) for k in range(9)] + [3.0, 7.0, 2.0]
programs = [
    collatz,
    search,
    stopping,
    growing,
    table,
    matched,
    recursive,
    generated,
    guarded,
    closures,
    unpacked,
    chosen,
    lambda x: TREE.total(x) if x > 0 else x,
]


def main():
    lines = []
    for python in programs:
        f = df.function(python, strict=True)
        results = []
        for k in numbers:
            x = df.asarray(int(k) + 1) if python is collatz else df.asarray(k)
            wanted, found = str(python(x)), str(f(x))
            results.append(found if found == wanted else f"{found} IS NOT {wanted}")
        for k in numbers:  # each way has been met
            f(df.asarray(int(k) + 1) if python is collatz else df.asarray(k))
        graph = f"{f.from_graph - len(numbers) >= 0}"
        lines.append(f"{f.__name__} {f.mode} {graph} {' '.join(results)}")
    return lines
