"""Sums of products by letters: einsum, and tensordot on top of it."""

from __future__ import annotations

import operator
from collections import Counter
from functools import lru_cache
from string import ascii_letters
from typing import Any, Never

from dualflow.core.axes import canonical_axis
from dualflow.core.convert import as_tensor
from dualflow.core.define import conjugated
from dualflow.core.doors import meet
from dualflow.core.op import Op, bind
from dualflow.core.registry import api, refused
from dualflow.core.tensor import Tensor
from dualflow.ops.linalg import diagonal_of, matrix_product, summed_products
from dualflow.ops.reduce import sum
from dualflow.ops.shape import permute_dims, reshape
from jit.errors import DTypeError, ShapeError
from jit.types import TensorType, format_shape, product

# ----- the op: every letter once in an operand, and in another operand or the result -----


def terms_of(spec: str) -> tuple[list[str], str]:
    """The letters of the operands and of the result."""
    left, _, right = spec.partition("->")
    return left.split(","), right


def _einsum_type(*xs: TensorType, spec: str) -> TensorType:
    terms, out = terms_of(spec)
    extents: dict[str, Any] = {}
    for x, term in zip(xs, terms, strict=True):
        if x.dtype != xs[0].dtype:
            raise DTypeError(
                f"einsum: does not take {xs[0].dtype} and {x.dtype}", "one dtype", "x.astype(...)"
            )
        for letter, extent in zip(term, x.shape, strict=True):
            if extents.setdefault(letter, extent) != extent:
                raise ShapeError(
                    f"einsum: the letter {letter} stands for {extents[letter]} and for {extent}",
                    "one extent for each letter",
                    f"check the shapes against {spec!r}",
                )
    return TensorType(tuple(extents[letter] for letter in out), xs[0].dtype)


def _einsum_evaluate(xp: Any, *xs: Any, spec: str) -> Any:
    """Products of two operands at a time, from left to right."""
    terms, out = terms_of(spec)
    x, term = xs[0], terms[0]
    for k in range(1, len(xs)):
        later = set(out).union(*terms[k + 1 :])
        x, term = _product_of_two(xp, x, term, xs[k], terms[k], later)
    return xp.transpose(x, [term.index(letter) for letter in out])


def _product_of_two(
    xp: Any, a: Any, a_term: str, b: Any, b_term: str, later: set[str]
) -> tuple[Any, str]:
    """One matrix product: (batch, rows, inner) @ (batch, inner, columns)."""
    batch = [c for c in a_term if c in b_term and c in later]
    inner = [c for c in a_term if c in b_term and c not in later]
    rows = [c for c in a_term if c not in b_term]
    columns = [c for c in b_term if c not in a_term]
    extents = dict(zip(a_term, a.shape)) | dict(zip(b_term, b.shape))

    def sizes(letters: list[str]) -> tuple[int, ...]:
        return tuple(extents[c] for c in letters)

    def laid_out(x: Any, term: str, *groups: list[str]) -> Any:
        order = [term.index(c) for group in groups for c in group]
        return xp.transpose(x, order).reshape(
            *sizes(batch), *(product(sizes(g)) for g in groups[1:])
        )

    y = matrix_product(
        xp, laid_out(a, a_term, batch, rows, inner), laid_out(b, b_term, batch, inner, columns)
    )
    return y.reshape(sizes([*batch, *rows, *columns])), "".join([*batch, *rows, *columns])


def _einsum_lower(form: Any, *xs: Any, spec: str) -> Any:
    """The same as contractions of two, or sums of products where each has all letters."""
    terms, out = terms_of(spec)
    x, term = xs[0], terms[0]
    for k in range(1, len(xs)):
        later = set(out).union(*terms[k + 1 :])
        met = dict.fromkeys(term + terms[k])
        kept = out if k == len(xs) - 1 else "".join(c for c in met if c in later)
        if set(term) == set(terms[k]) and len(term) > len(kept):
            x, term = _sum_of_products(form, x, term, xs[k], terms[k], kept), kept
        else:
            x, term = form.contract(f"{term},{terms[k]}->{kept}", x, xs[k]), kept
    return x


def _sum_of_products(form: Any, a: Any, a_term: str, b: Any, b_term: str, kept: str) -> Any:
    """A product of rows with rows."""
    own = "".join(c for c in a_term if c in kept)
    axes = tuple(k for k, c in enumerate(a_term) if c not in kept)
    total = summed_products(form, a, _in_order(form, b, b_term, a_term), axes)
    return _in_order(form, total, own, kept)


def _in_order(form: Any, x: Any, term: str, order: str) -> Any:
    """`x` with its axes in the order of these letters."""
    if term == order:
        return x
    shape = tuple(x.shape[term.index(c)] for c in order)
    return form.view(x, shape, lambda *at: tuple(at[order.index(c)] for c in term))


def _einsum_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    terms, out = terms_of(attrs["spec"])
    flows: list[Any] = []
    for k, flag in enumerate(needed):
        others = [(conjugated(x), t) for j, (x, t) in enumerate(zip(args, terms)) if j != k]
        spec = ",".join([out, *(t for _, t in others)]) + "->" + terms[k]
        flows.append(contract(spec, g, *(x for x, _ in others)) if flag else None)
    return flows


def _einsum_jvp(tangents: Any, y: Any, *xs: Any, spec: str) -> Any:
    total = None
    for k, t in enumerate(tangents):
        if t is not None:
            part = contract(spec, *(t if j == k else x for j, x in enumerate(xs)))
            total = part if total is None else total + part
    return total


def _einsum_batch(op: Op, args: Any, batched: Any, attrs: Any) -> Any:
    """The examples have a letter of their own, in front."""
    terms, out = terms_of(attrs["spec"])
    letter = next(c for c in ascii_letters if c not in attrs["spec"])
    terms = [letter + term if flag else term for term, flag in zip(terms, batched)]
    return bind(op, args, {**attrs, "spec": f"{','.join(terms)}->{letter}{out}"})


_einsum = Op(
    name="einsum",
    evaluate=_einsum_evaluate,
    infer=_einsum_type,
    lower=_einsum_lower,
    pullback=_einsum_pullback,
    jvp=_einsum_jvp,
    batch=_einsum_batch,
    precision="low",
)


def contract(spec: str, *xs: Tensor) -> Tensor:
    """Applies the op; a single operand is only transposed."""
    terms, out = terms_of(spec)
    if len(xs) == 1:
        return permute_dims(xs[0], tuple(terms[0].index(letter) for letter in out))
    return bind(_einsum, xs, {"spec": spec})


# ----- the user's notation -----


@lru_cache(maxsize=256)
def parse(subscripts: str, ranks: tuple[int, ...]) -> tuple[tuple[str, ...], str]:
    """Letters of operands and result, with letters in place of ellipses.

    Raises:
        ShapeError: It is no such notation, or does not suit the numbers of dimensions.
    """
    left, arrow, out = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    bare = [term.replace("...", "", 1) for term in terms]
    shorter = [rank - len(letters) for rank, letters in zip(ranks, bare)]
    suited = len(terms) == len(ranks) and all(
        n >= 0 and (n == 0 or "..." in term) and set(letters) <= set(ascii_letters)
        for n, term, letters in zip(shorter, terms, bare)
    )
    if not suited:
        raise unsuited(
            subscripts, f"{len(ranks)} operands with {', '.join(map(str, ranks))} dimensions"
        )
    spare = [c for c in ascii_letters if c not in subscripts]
    dots = "".join(spare[: max(shorter)])
    terms = [term.replace("...", dots[len(dots) - n :]) for term, n in zip(terms, shorter)]
    if not arrow:
        count = Counter("".join(bare))
        out = dots + "".join(sorted(letter for letter, n in count.items() if n == 1))
    out = out.replace("...", dots, 1)
    if len(set(out)) != len(out) or not set(out) <= set("".join(terms)):
        raise unsuited(subscripts, "a result with letters of the operands, each once")
    return tuple(terms), out


def unsuited(subscripts: str, expected: str) -> ShapeError:
    """The error of a notation that cannot be followed."""
    return ShapeError(
        f"einsum: {subscripts!r}", expected, 'df.einsum("ik,kj->ij", a, b) multiplies matrices'
    )


def simplified(
    x: Tensor, term: str, elsewhere: set[str], stretched: set[str]
) -> tuple[Tensor, str]:
    """An operand with every letter once, and with no letter that only it has."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first = term.index(letter)
            second = term.index(letter, first + 1)
            if x.shape[first] != x.shape[second]:
                raise unsuited(
                    term, f"equal extents for {letter}, not {x.shape[first]} and {x.shape[second]}"
                )
            x = diagonal_of(x, 0, first, second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + letter
    ones = [k for k, letter in enumerate(term) if letter in stretched and x.shape[k] == 1]
    if ones:
        x = reshape(x, tuple(d for k, d in enumerate(x.shape) if k not in ones))
        term = "".join(letter for k, letter in enumerate(term) if k not in ones)
    alone = tuple(k for k, letter in enumerate(term) if letter not in elsewhere)
    if alone:
        x = sum(x, axis=alone, dtype=x.dtype)
        term = "".join(letter for letter in term if letter in elsewhere)
    return x, term


@api
def einsum(subscripts: str, /, *operands: Any) -> Tensor:
    """Sums of products, written with a letter for each axis.

    Letters that the result lacks are summed over. Without "->" the result has the letters that
    occur once, in alphabetical order. "..." stands for axes that broadcast.

    Args:
        subscripts: Such as "ik,kj->ij" or "...ij->...ji".
        *operands: Tensors, brought to one dtype.

    Returns:
        Tensor whose axes are the letters behind "->".

    Raises:
        ShapeError: The notation does not suit the shapes, or a letter stands for two extents.
        TypeError: The subscripts are no text.

    Example:
        >>> import dualflow as df
        >>> df.einsum("bik,bkj->bij", df.ones((5, 2, 3)), df.ones((5, 3, 4))).shape
        (5, 2, 4)
    """
    if not isinstance(subscripts, str):
        raise TypeError(
            f"einsum: subscripts of type {type(subscripts).__name__}, expected text: 'ij,jk->ik'"
        )
    if not operands:
        raise unsuited(subscripts, "one operand or more")
    xs = meet("einsum", tuple(as_tensor(x) for x in operands), "numeric")
    terms, out = parse(subscripts, tuple([x.ndim for x in xs]))
    dots = {c for c in "".join(terms) if c not in subscripts}
    stretched = {
        letter
        for x, term in zip(xs, terms)
        for letter, extent in zip(term, x.shape)
        if letter in dots and extent != 1
    }
    pairs = []
    for k, (x, term) in enumerate(zip(xs, terms)):
        elsewhere = set(out).union(*terms[:k], *terms[k + 1 :])
        pairs.append(simplified(x, term, elsewhere, stretched))
    pairs = settled(pairs, out) if stretched else pairs
    return contract(",".join(term for _, term in pairs) + "->" + out, *(x for x, _ in pairs))


def settled(pairs: list[tuple[Tensor, str]], out: str) -> list[tuple[Tensor, str]]:
    """Operands without letters that only one has: dropping stretched ones may leave some."""
    return [
        simplified(x, term, set(out).union(*(t for j, (_, t) in enumerate(pairs) if j != k)), set())
        for k, (x, term) in enumerate(pairs)
    ]


@api
def tensordot(x1: Any, x2: Any, /, axes: Any = 2, **foreign: Never) -> Tensor:
    """Sums of products over pairs of axes; the axes left of `x1` come first, then those of `x2`.

    Args:
        x1: Tensor.
        x2: Tensor.
        axes: How many of the last axes of `x1` meet the first ones of `x2`, or a pair of sequences:
            axes of `x1`, and the axes of `x2` that they meet.

    Returns:
        Tensor of the axes that are left.

    Raises:
        ShapeError: Axes that meet have different extents, or there are not as many on both sides.
        AxisError: There is no such axis.

    Example:
        >>> import dualflow as df
        >>> df.tensordot(df.ones((2, 3, 4)), df.ones((3, 4, 5))).shape
        (2, 5)
    """
    if foreign:
        raise refused("tensordot", foreign)
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if isinstance(axes, tuple | list):
        left, right = (
            [
                canonical_axis("tensordot", k, x.ndim)
                for k in (side if isinstance(side, tuple | list) else (side,))
            ]
            for x, side in zip((x1, x2), axes)
        )
    else:
        count = operator.index(axes)
        left = [canonical_axis("tensordot", k, x1.ndim) for k in range(x1.ndim - count, x1.ndim)]
        right = [canonical_axis("tensordot", k, x2.ndim) for k in range(count)]
    if [x1.shape[k] for k in left] != [x2.shape[k] for k in right]:
        raise ShapeError(
            f"tensordot: axes {left} of {format_shape(x1.shape)} meet "
            f"axes {right} of {format_shape(x2.shape)}",
            "as many axes on both sides, of equal extents",
            "check axes=",
        )
    first = ascii_letters[: x1.ndim]
    second = list(ascii_letters[x1.ndim : x1.ndim + x2.ndim])
    for a, b in zip(left, right):
        second[b] = first[a]
    met = {first[a] for a in left}
    out = "".join(letter for letter in (*first, *second) if letter not in met)
    return contract(f"{first},{''.join(second)}->{out}", *meet("tensordot", (x1, x2), "numeric"))
