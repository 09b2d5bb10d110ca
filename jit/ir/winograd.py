"""Convolutions of 3 x 3 by Winograd's minimal filtering: fewer multiplications, more additions.

An image is cut into tiles of `m` x `m` results, which overlapping tiles of `n` x `n`, n = m + 2,
are read for. With matrices A, B, G of small numbers

    result = A [ (G filter G') * (B image B') ] A'      (* element by element, ' transposed)

so that the sum over channels is one product of matrices for each of the n * n places of a tile:
n * n multiplications for m * m results, which take 9 * m * m otherwise. (S. Winograd, "Arithmetic
Complexity of Computations", 1980; A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural
Networks", 2016.) The matrices multiply polynomials by their values at n - 1 points and at infinity:

====  ========================  ==========================================
 m     points                    largest error, in units of 2**-24 of the
                                 sum of magnitudes of products
====  ========================  ==========================================
 2     0, 1, -1                  1
 4     0, 2/3, -2/3, 4/3, -4/3   5 (33 at the usual 0, 1, -1, 2, -2)
====  ========================  ==========================================

`tiled_filter` gives the filter in this form, `tiled_image` an image with the border that its tiles
read, `tiled_products` the results of a block of rows of tiles, and `untiled` those of all blocks as
images. What is not finite in an image goes to all results of the tiles that read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache, partial, reduce
from operator import mul
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from jit.dims import Extent
from jit.errors import ShapeError
from jit.ir.op import JIT, OpDef
from jit.types import TensorType, product

TAPS = 3  # of a filter, along each axis
POINTS = {2: "0 1 -1", 4: "0 2/3 -2/3 4/3 -4/3"}  # by the results of a tile, along each axis
APART = 16  # numbers between places of a tile: a cache has one place for what lies pages apart

Row = Sequence[Fraction]
Matrix = tuple[tuple[Fraction, ...], ...]
Pairs = Sequence[tuple[int, int]]


class Matrices(NamedTuple):
    """A (m rows), B (n rows), G (n rows, 3 columns)."""

    results: Matrix
    images: Matrix
    filters: Matrix


@cache
def matrices(tile: int) -> Matrices:
    """The matrices of tiles of so many results, exact."""
    points = [Fraction(p) for p in POINTS[tile].split()]
    others = [[q for q in points if q != p] for p in points]
    scales = [reduce(mul, [p - q for q in rest]) for p, rest in zip(points, others)]
    last = [Fraction(0)] * len(points)
    images = [[*with_roots(rest), Fraction(0)] for rest in others]
    filters = [[p**k / scale for k in range(TAPS)] for p, scale in zip(points, scales)]
    results = [[*[p**i for p in points], Fraction(i == tile - 1)] for i in range(tile)]
    return Matrices(
        frozen(results),
        frozen([*images, with_roots(points)]),
        frozen([*filters, [*last[: TAPS - 1], Fraction(1)]]),
    )


def with_roots(points: Row) -> list[Fraction]:
    """The coefficients of (x - p)(x - q)..., that of x**0 first."""
    found = [Fraction(1)]
    for p in points:
        found = [a - p * b for a, b in zip([Fraction(0), *found], [*found, Fraction(0)])]
    return found


def frozen(rows: Sequence[Row]) -> Matrix:
    """Rows as a matrix that may be a key."""
    return tuple([tuple(row) for row in rows])


# ----- sums of a few values, with what several of them share -----


class Terms:
    """Sums over forms, in one dtype."""

    def __init__(self, form: Any, dtype: Any) -> None:
        self.form, self.dtype = form, dtype

    def combined(self, matrix: Matrix, xs: Sequence[Any]) -> list[Any]:
        """The product of a matrix and a vector of form values.

        At points p and -p polynomials have even and odd parts in common: two rows that differ in
        the signs of some columns only are a sum and a difference, and so are columns.
        """
        columns, values = [list(column) for column in zip(*matrix)], list(xs)
        for k in range(1, len(columns) - 1, 2):
            first, second = columns[k], columns[k + 1]
            if all(abs(a) == abs(b) for a, b in zip(first, second)):
                x, y = values[k], values[k + 1]
                values[k] = self.form.pointwise("add", x, y)
                values[k + 1] = self.form.pointwise("subtract", x, y)
                columns[k] = [(a + b) / 2 for a, b in zip(first, second)]
                columns[k + 1] = [(a - b) / 2 for a, b in zip(first, second)]
        rows, made = [list(row) for row in zip(*columns)], list[Any]()
        while len(made) < len(rows):
            pair = rows[len(made) : len(made) + 2]
            if len(pair) == 2 and all(abs(a) == abs(b) for a, b in zip(*pair)):
                even, odd = (
                    self.sum([a * (a == sign * b) for a, b in zip(*pair)], values)
                    for sign in (1, -1)
                )
                made += [self.form.pointwise(op, even, odd) for op in ("add", "subtract")]
            else:
                made.append(self.sum(pair[0], values))
        return made

    def sum(self, row: Row, xs: Sequence[Any]) -> Any:
        """A sum of multiples; those by 1 first, so that others are added to them."""
        terms = [(factor, x) for factor, x in zip(row, xs) if factor]
        terms.sort(key=lambda term: term[0] != 1)
        total: Any = None
        for factor, x in terms:
            size = abs(factor) if total is not None else factor
            if size != 1:
                number = self.form.constant(float(size), self.dtype)
                x = self.form.pointwise("multiply", x, number)
            if total is None:
                total = x
            else:
                total = self.form.pointwise("add" if factor > 0 else "subtract", total, x)
        return total

    def both(self, matrix: Matrix, tile: Sequence[Sequence[Any]]) -> list[Any]:
        """The product matrix @ tile @ matrix', row by row."""
        columns = [self.combined(matrix, column) for column in zip(*tile)]
        return [x for row in zip(*columns) for x in self.combined(matrix, row)]


def both_in_numpy(xp: ModuleType, matrix: Matrix, tiles: Any) -> Any:
    """The products matrix @ tile @ matrix' of arrays whose last two axes are tiles."""
    m = xp.asarray(np.asarray(matrix, dtype=float), dtype=tiles.dtype)
    return xp.matmul(xp.matmul(m, tiles), m.T)


# ----- filters -----


def _filter_infer(w: TensorType, *, tile: int) -> TensorType:
    if w.ndim != 4 or tuple(w.shape[2:]) != (TAPS, TAPS) or tile not in POINTS:
        raise ShapeError(f"tiled_filter: {w} holds no filters of 3 x 3, or tiles are {tile}")
    return w.with_shape(((tile + TAPS - 1) ** 2, *w.shape[:2]))


def _filter_evaluate(xp: ModuleType, w: Any, *, tile: int) -> Any:
    made = both_in_numpy(xp, matrices(tile).filters, w)
    return xp.moveaxis(made.reshape(*w.shape[:2], -1), -1, 0)


def _filter_lower(form: Any, w: Any, *, tile: int) -> Any:
    taps = [
        [form.view(w, w.shape[:2], lambda o, c, i=i, j=j: (o, c, i, j)) for j in range(TAPS)]
        for i in range(TAPS)
    ]
    made = Terms(form, w.dtype).both(matrices(tile).filters, taps)
    return form.pieces(made, (len(made), *w.shape[:2]), lambda k, o, c: (k, o, c))


def apart(form: Any, xs: Sequence[Any], shape: Sequence[int]) -> Any:
    """Values as one of shape (count, *shape), in memory where they do not follow each other.

    Args:
        form: The builder.
        xs: The values, which are computed together.
        shape: Of each of them, with two axes; theirs may be more.
    """
    rows, columns = shape
    inner = [product(xs[0].shape[k + 1 :]) for k in range(xs[0].ndim)]
    made = form.pieces(
        xs,
        (len(xs), rows * columns + APART),
        lambda k, *at: (k, sum(i * step for i, step in zip(at, inner, strict=True))),
    )
    return form.view(made, (len(xs), rows, columns), lambda k, i, j: (k, i * columns + j))


# ----- images -----


def counts(shape: Sequence[Any], tile: int, padding: Pairs) -> list[tuple[int, int]]:
    """How many results, and tiles, images of a shape have along each axis."""
    found = [n + low + high - TAPS + 1 for n, (low, high) in zip(shape[2:], padding, strict=True)]
    return [(count, -(-count // tile)) for count in found]


def _image_infer(x: TensorType, *, tile: int, padding: Pairs, images: int) -> TensorType:
    known = x.ndim == 4 and all(isinstance(n, int) for n in x.shape)
    sizes = counts(x.shape, tile, padding) if known else []
    if not sizes or min(count for count, _ in sizes) < 1 or images < x.shape[0]:  # type: ignore[operator]
        raise ShapeError(f"tiled_image: {x} with padding {padding} in {images} images of tiles")
    extents = [tiles * tile + TAPS - 1 for _, tiles in sizes]
    return x.with_shape((images, x.shape[1], *extents))


def _image_evaluate(xp: ModuleType, x: Any, **attrs: Any) -> Any:
    whole = _image_infer(TensorType(x.shape, x.dtype), **attrs).shape
    made = xp.zeros(whole, x.dtype)
    into, out_of = [slice(len(x)), slice(None)], [slice(None), slice(None)]
    for n, extent, (low, _) in zip(x.shape[2:], whole[2:], attrs["padding"], strict=True):
        into.append(slice(max(0, low), max(0, min(extent, n + low))))
        out_of.append(slice(max(0, -low), max(0, min(n, extent - low))))
    made[tuple(into)] = x[tuple(out_of)]
    return made


def _image_lower(form: Any, x: Any, **attrs: Any) -> Any:
    (top, _), (left, _) = attrs["padding"]
    shape = _image_infer(x.type, **attrs).shape
    return form.view(x, shape, lambda n, c, i, j: (n, c, i - top, j - left), fill=0)


class Block(NamedTuple):
    """Some rows of tiles.

    Attributes:
        rows: How many rows an image has.
        columns: Tiles of a row.
        size: Rows and columns that are read for a tile.
        shape: Of the results.
    """

    rows: int
    columns: int
    size: int
    shape: tuple[int, int, int]


def block_of(x: TensorType, u: TensorType, tile: int, each: int) -> Block:
    """Rows of tiles of an image with a border, for filters."""
    rows, columns = (int(n - TAPS + 1) // tile for n in x.shape[2:])
    return Block(rows, columns, tile + TAPS - 1, (u.shape[1], each * tile, columns * tile))  # type: ignore[arg-type]


def _products_infer(
    x: TensorType, u: TensorType, *, tile: int, first: Extent, each: int
) -> TensorType:
    fits = x.ndim == 4 and u.ndim == 3 and x.shape[1] == u.shape[2] and x.dtype == u.dtype
    if not fits or u.shape[0] != (tile + TAPS - 1) ** 2 or each < 1:
        raise ShapeError(f"tiled_products: {x} does not meet filters {u} for tiles of {tile}")
    return x.with_shape(block_of(x, u, tile, each).shape)


def _products_evaluate(xp: ModuleType, x: Any, u: Any, *, tile: int, first: int, each: int) -> Any:
    image, filters = (TensorType(a.shape, a.dtype) for a in (x, u))
    b, found = block_of(image, filters, tile, each), matrices(tile)
    rows = []
    for row in range(first, first + each):
        start = row % b.rows * tile
        line = x[row // b.rows, :, start : start + b.size]
        tiles = [line[..., k * tile : k * tile + b.size] for k in range(b.columns)]
        v = both_in_numpy(xp, found.images, xp.stack(tiles, axis=1))
        made = xp.matmul(u, xp.moveaxis(v.reshape(*v.shape[:2], -1), -1, 0))
        made = xp.moveaxis(made, 0, -1).reshape(*made.shape[1:], b.size, b.size)
        y = both_in_numpy(xp, found.results, made)
        rows.append(xp.moveaxis(y, 1, 2).reshape(y.shape[0], tile, -1))
    return xp.concatenate(rows, axis=1)


def _products_lower(form: Any, x: Any, u: Any, *, tile: int, first: Extent, each: int) -> Any:
    b, terms, channels = block_of(x.type, u.type, tile, each), Terms(form, x.dtype), x.shape[1]
    places = [(i, j) for i in range(b.size) for j in range(b.size)]

    def of_image(c: Any, r: Any, s: Any, i: int, j: int) -> Sequence[Any]:
        row = first + r
        return (row // b.rows, c, row % b.rows * tile + i, s * tile + j)

    image = [
        form.view(x, (channels, each, b.columns), partial(of_image, i=i, j=j)) for i, j in places
    ]
    v = terms.both(matrices(tile).images, in_rows(image, b.size))
    made = form.contract("poc,pct->pot", u, apart(form, v, (channels, each * b.columns)))
    sums = [
        form.view(
            made, (b.shape[0], each, b.columns), lambda o, r, s, k=k: (k, o, r * b.columns + s)
        )
        for k in range(len(places))
    ]
    y = terms.both(matrices(tile).results, in_rows(sums, b.size))
    return form.pieces(
        y, b.shape, lambda k, o, r, s: (o, r * tile + k // tile, s * tile + k % tile)
    )


def in_rows(xs: Sequence[Any], each: int) -> list[Sequence[Any]]:
    """A tile row by row."""
    return [xs[k : k + each] for k in range(0, len(xs), each)]


def _untiled_infer(y: TensorType, *, shape: Sequence[int], rows: int) -> TensorType:
    n, o, *extents = shape
    blocks, channels, *room = y.shape
    fits = y.ndim == 4 and channels == o and rows >= extents[0] and room[1] >= extents[1]  # type: ignore[operator]
    if not fits or blocks * room[0] < n * rows:  # type: ignore[operator]
        raise ShapeError(f"untiled: {y} does not hold images of shape {tuple(shape)}")
    return y.with_shape(tuple(shape))


def _untiled_evaluate(xp: ModuleType, y: Any, *, shape: Sequence[int], rows: int) -> Any:
    n, o, *extents = shape
    lines = xp.moveaxis(y, 0, 1).reshape(o, -1, y.shape[3])[:, : n * rows]
    images = xp.moveaxis(lines.reshape(o, n, rows, -1), 0, 1)
    return images[:, :, : extents[0], : extents[1]]


def _untiled_lower(form: Any, y: Any, *, shape: Sequence[int], rows: int) -> Any:
    each = y.shape[2]

    def index(n: Any, o: Any, i: Any, j: Any) -> Sequence[Any]:
        line = n * rows + i
        return (line // each, o, line % each, j)

    return form.view(y, shape, index)


tiled_filter = OpDef(
    name="tiled_filter",
    evaluate=_filter_evaluate,
    infer=_filter_infer,
    lower=_filter_lower,
    package=JIT,
)

tiled_image = OpDef(
    name="tiled_image",
    evaluate=_image_evaluate,
    infer=_image_infer,
    lower=_image_lower,
    package=JIT,
)

tiled_products = OpDef(
    name="tiled_products",
    evaluate=_products_evaluate,
    infer=_products_infer,
    lower=_products_lower,
    package=JIT,
)

untiled = OpDef(
    name="untiled",
    evaluate=_untiled_evaluate,
    infer=_untiled_infer,
    lower=_untiled_lower,
    package=JIT,
)
