"""Sums of products over letters (einsum), matrix products among them, along batch, time and axes of the frame."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from string import ascii_letters
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Add, Dense, MatMul
from .builder import Builder
from .pairs import Scores, scores_of
from .reductions import reduced
from .sizes import BATCH, Size
from .values import Array, Axis, NeedsSequenceLength, Tensor, frames_of, is_time
from .views import agreed, canonical, joint, renumbered, reshaped, sliced, view, without

Operand = Array | Tensor
FIXED = (
    ": attention of every step to every other needs a number of steps that is fixed where the model is built or "
    "exported (of a PyTorch module, by an example whose axes name no 'T')"
)


def _sizes(x: Operand | Scores) -> tuple[Size, ...]:
    return x.shape if isinstance(x, np.ndarray) else x.sizes()


# Matrices ----------------------------------------------------------------------------------------


def dense(b: Builder, x: Tensor, weight: Array, bias: Array | None = None, precision: str = "float32") -> Tensor:
    """Apply a constant matrix (O, I) to the last axis."""
    if x.rank < 1:
        raise ConvertError(f"input must have at least one axis, got {x}")
    x = x if len(x.axes[-1]) == 1 else canonical(b, x)
    frame = x.frame_axis(x.rank - 1)
    order = [*(i for i in range(len(x.spec.shape)) if i != frame), frame]
    y = b.add(Dense(weight, bias, precision=precision), b.transpose(x.value, order))
    return b.result(y, renumbered(x.axes, order), x.elem)


def matmul(b: Builder, x: Operand | Scores, y: Operand | Scores) -> Any:
    """Return ``numpy.matmul``; a constant matrix behind is applied to the last axis of any tensor.

    Of two sequences along their steps, scores of all steps by all steps, which then weigh a third.
    """
    if isinstance(y, Scores):
        raise y.refused("second factor of a product")
    if isinstance(x, Scores):
        return x.weighing(b, b.lift(y))
    if isinstance(x, Tensor) and isinstance(y, Tensor) and y.rank > 1:
        turned = y.permuted([*range(y.rank - 2), y.rank - 1, y.rank - 2])
        if (scores := scores_of(x, turned)) is not None:
            return scores
    if isinstance(x, Tensor) and not isinstance(y, Tensor) and y.ndim == 2:
        return dense(b, x, y.T)
    ranks = len(_sizes(x)), len(_sizes(y))
    if min(ranks) < 1:
        raise ConvertError(f"factors of a matrix product must have axes, got {ranks[0]} and {ranks[1]}")
    many = ascii_letters[: max(*ranks, 2) - 2]
    row, column = "X" * (ranks[0] > 1), "Z" * (ranks[1] > 1)
    first, second = (many[len(many) - max(rank - 2, 0) :] for rank in ranks)
    return contract(b, x, y, f"{first}{row}Y", f"{second}Y{column}", many + row + column)


def gemm(
    b: Builder, x: Operand, y: Operand, addend: Operand | float | None = None, alpha: float = 1.0, beta: float = 1.0
) -> Any:
    """Return alpha * matmul(x, y) + beta * addend, which broadcasts."""
    bias = None
    if isinstance(x, Tensor) and isinstance(y, np.ndarray) and y.ndim == 2:
        if isinstance(addend, np.ndarray) and addend.size in (1, y.shape[1]) and addend.shape[:-1] in ((), (1,)):
            bias = np.broadcast_to(addend.reshape(-1) * addend.dtype.type(beta), y.shape[1:])
            addend = None
        z = dense(b, x, y.T if alpha == 1 else y.T * y.dtype.type(alpha), bias)
    else:
        z = matmul(b, x, y)
        if isinstance(z, Scores):
            scores = z.scaled(b, alpha)
            if addend is None:
                return scores
            other = b.lift(addend if isinstance(addend, Tensor) else np.asarray(addend))
            return scores.masked(b, b.like(other, b.affine(b.cast(other.value, "float"), beta)))
        z = b.like(z, b.affine(z.value, alpha))
    if addend is None:
        return z
    other = b.lift(addend if isinstance(addend, Tensor) else np.asarray(addend))
    return joint(b, Add(), z, b.like(other, b.affine(b.cast(other.value, "float"), beta)))


def tensordot(b: Builder, x: Operand, y: Operand, summed: Sequence[tuple[int, int]]) -> Tensor:
    """Return the sum over pairs of axes, one of each operand; what is left of both stays side by side."""
    first = ascii_letters[: len(_sizes(x))]
    second = list(ascii_letters[len(first) : len(first) + len(_sizes(y))])
    for i, j in summed:
        second[j] = first[i]
    left = [c for c in (*first, *second) if (c in first) != (c in second)]
    return contract(b, x, y, first, "".join(second), "".join(left))


# Letters -----------------------------------------------------------------------------------------


def einsum(b: Builder, equation: str, operands: Sequence[Operand | Scores]) -> Any:
    """Return ``numpy.einsum``, of any number of operands, with ellipses and diagonals."""
    terms, result = _parsed(equation, [len(_sizes(x)) for x in operands])
    if len(operands) == 2 and (made := _of_pairs(b, operands, terms, result)) is not None:
        return made
    plain: list[Operand] = []
    for operand in operands:
        if isinstance(operand, Scores):
            raise operand.refused(f"operand of {equation!r}")
        plain.append(operand)
    tensors = [_diagonal(b, x, term) for x, term in zip(plain, terms, strict=True)]
    while len(tensors) > 1:
        (x, first), (y, second), *rest = tensors
        needed = {*result}.union(*(term for _, term in rest))
        kept = "".join(c for c in dict.fromkeys(first + second) if c in needed) if rest else result
        tensors = [(contract(b, x, y, first, second, kept), kept), *rest]
    x, term = tensors[0]
    x, term = _summed(b, x, term, result)
    return b.lift(x).permuted([term.index(c) for c in result])


def _of_pairs(b: Builder, operands: Sequence[Operand | Scores], terms: Sequence[str], result: str) -> Any:
    """Return the scores of two sequences by each other, or the values that they weigh; None for any other product."""
    (x, y), (first, second) = operands, terms
    both = "".join(c for c in first if c in second)
    own = ["".join(c for c in term if c not in both) for term in (first, second)]
    if isinstance(x, Scores) and isinstance(y, Tensor | np.ndarray):
        *lead, query, key = [*first]
        if key not in both or query in both or len(own[1]) != 1 or {*result} != {*lead, query, *own[1]}:
            return None
        order = [*lead, key, *own[1]]
        made = x.weighing(b, b.lift(y).permuted([second.index(c) for c in order]))
        return made.permuted([[*lead, query, *own[1]].index(c) for c in result])
    inner = [c for c in both if c not in result]
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)) or len(inner) != 1 or [*map(len, own)] != [1, 1]:
        return None
    lead = [c for c in result if c in both]
    sides = [z.permuted([t.index(c) for c in (*lead, o, *inner)]) for z, t, o in zip((x, y), terms, own, strict=True)]
    scores = scores_of(*sides)
    if scores is None or "".join((*lead, *own)) != result:
        return None if scores is None else _exchanged(scores, (*lead, *own), result)
    return scores


def _exchanged(scores: Scores, letters: Sequence[str], result: str) -> Scores:
    """Return the scores of the keys by the queries, where a product has them so."""
    if [*letters[:-2], letters[-1], letters[-2]] != [*result]:
        raise scores.refused("product with the steps in front")
    return Scores(scores.key, scores.query)


def _parsed(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Return the letters of every operand and of the result, those of an ellipsis among them."""
    text = equation.replace(" ", "")
    left, arrow, result = text.partition("->")
    terms = left.split(",")
    bare = [term.replace("...", "", 1) for term in (*terms, result)]
    if len(terms) != len(ranks) or not all(term.isalpha() or not term for term in bare):
        raise ConvertError(f"equation must be letters of {len(ranks)} operands and a result, got {equation!r}")
    wide = [rank - len(term) for rank, term in zip(ranks, bare, strict=False)]
    if any(n < 0 or (n and "..." not in term) for n, term in zip(wide, terms, strict=True)):
        raise ConvertError(f"equation must fit the operands' {', '.join(map(str, ranks))} axes, got {equation!r}")
    rest = "".join(c for c in ascii_letters if c not in text)[: max(wide)]
    terms = [term.replace("...", rest[len(rest) - n :]) for term, n in zip(terms, wide, strict=True)]
    if not arrow:
        result = "..." + "".join(c for c in sorted({*left} - {*",."}) if left.count(c) == 1)
    result = result.replace("...", rest)
    if len({*result}) < len(result) or not {*result} <= {*"".join(terms)}:
        raise ConvertError(f"result of an equation must be of letters before it, each once, got {equation!r}")
    return terms, result


def _diagonal(b: Builder, x: Operand, term: str) -> tuple[Operand, str]:
    """Return an operand with every letter once: of two axes of one letter the diagonal is left."""
    while twice := next((c for c in term if term.count(c) > 1), None):
        own = canonical(b, b.lift(x))
        i, j = term.index(twice), term.rindex(twice)
        order = [*(k for k in range(own.rank) if k not in (i, j)), i, j]
        n, m = (own.spec.shape[own.frame_axis(k)] for k in (i, j))
        if n != m:
            raise ConvertError(f"axes of one letter must be of one size, got {n} and {m}")
        moved = own.permuted(order)
        flat = reshaped(b, moved, (*moved.sizes()[:-2], n * n))
        x = sliced(b, flat, flat.rank - 1, None, None, n + 1)
        term = "".join(term[k] for k in order[:-1])
    return x, term


def _summed(b: Builder, x: Operand, letters: str, kept: str) -> tuple[Operand, str]:
    """Return an operand and its letters, summed over those that are not kept."""
    gone = [i for i, c in enumerate(letters) if c not in kept]
    if not gone:
        return x, letters
    y = reduced(b, x, gone, "sum", False) if isinstance(x, Tensor) else x.sum(axis=tuple(gone))
    return y, "".join(c for c in letters if c in kept)


def contract(b: Builder, x: Operand, y: Operand, first: str, second: str, result: str) -> Tensor:
    """Return the sum over all letters that `result` lacks of products of two operands; a size of 1 fits any other.

    Raises
    ------
    NeedsSequenceLength
        When two letters of the product are time, or time is summed with an axis that is none.
    ConvertError
        When two letters are the batch, or it is summed.
    """
    for c in first:
        if c in second:
            own = _sizes(x)[first.index(c)], _sizes(y)[second.index(c)]
            if own[0] != 1 == own[1]:
                y, second = _without(b, y, second, c)
            elif own[1] != 1 == own[0]:
                x, first = _without(b, x, first, c)
    x, first = _summed(b, x, first, second + result)
    y, second = _summed(b, y, second, first + result)
    if not isinstance(x, Tensor) and isinstance(y, Tensor):
        x, y, first, second = y, x, second, first
    x = b.lift(x)
    both, inner = ("".join(c for c in first if c in second and (c in result) == kept) for kept in (True, False))
    if not isinstance(y, Tensor) and inner and not both:
        return _by_constant(b, x, y, first, second, result)
    y = b.lift(y)
    over_time = [c for c in inner if x.is_time(first.index(c)) and y.is_time(second.index(c))]
    if any(len(axis) > 1 for axis in (*x.axes, *y.axes)):
        x, y = canonical(b, x), canonical(b, y)
    z = _product(b, x, y, first, second, "".join(over_time) + result)
    return reduced(b, z, range(len(over_time)), "sum", False)


def _without(b: Builder, x: Operand, letters: str, letter: str) -> tuple[Operand, str]:
    """Return an operand without an axis of size 1, and the letters that are left."""
    i = letters.index(letter)
    y = without(b, x, [i]) if isinstance(x, Tensor) else np.squeeze(x, i)
    return y, letters[:i] + letters[i + 1 :]


def _by_constant(b: Builder, x: Tensor, y: Array, first: str, second: str, result: str) -> Tensor:
    """Return the product with a constant, all of whose letters are summed or its own: a matrix (own, summed)."""
    if any(len(axis) > 1 for axis in x.axes):
        x = canonical(b, x)
    inner, own = "".join(c for c in first if c in second), [c for c in second if c not in first]
    frames = [x.frame_axis(first.index(c)) for c in inner]
    rest = [i for i in range(len(x.spec.shape)) if i not in frames]
    if [x.spec.shape[i] for i in frames] != [y.shape[second.index(c)] for c in inner]:
        raise ConvertError(f"factors must agree in the axes that are summed, got {x} and {y.shape}")
    weight = y.transpose([second.index(c) for c in (*own, *inner)])
    value = b.transpose(x.value, [*rest, *frames])
    shape = b.shape(value)[: len(rest)]
    units, features = (prod(weight.shape[part]) for part in (slice(len(own)), slice(len(own), None)))
    value = b.add(Dense(weight.reshape(units, features)), b.reshape(value, (*shape, features)))
    value = b.reshape(value, (*shape, *weight.shape[: len(own)]))
    left = [c for c in first if c not in second]
    kept = renumbered([x.axes[first.index(c)] for c in left], rest)
    axes = dict(zip(left, kept, strict=True)) | {c: (len(rest) + i,) for i, c in enumerate(own)}
    return b.result(value, [axes[c] for c in result], x.elem)


def _product(b: Builder, x: Tensor, y: Tensor, first: str, second: str, result: str) -> Tensor:
    """Return the product of two computed values, summed over the letters of both that `result` lacks."""
    inner = [c for c in first if c in second and c not in result]
    sides = [{c: (z, z.axes[i]) for i, c in enumerate(letters)} for z, letters in ((x, first), (y, second))]
    for c in inner:
        x.frame_axis(first.index(c))
        y.frame_axis(second.index(c))
    layout = {c: agreed(f"axis {result.find(c)}", [side[c] for side in sides if c in side]) for c in result}
    for c in inner:
        agreed("the axis that is summed", [side[c] for side in sides])
    _check(list(layout.values()))
    frames = [{c: frames_of([axis]) for c, (_, axis) in side.items()} for side in sides]
    both, left, right = ([c for c in result if (c in first, c in second) == where] for where in
                         ((True, True), (True, False), (False, True)))  # fmt: skip
    for group, side in ((both, frames[0]), (left, frames[0]), (right, frames[1]), (inner, frames[0])):
        group.sort(key=lambda c: side[c])  # so that little is moved
    shapes = {c: [z.spec.shape[i] for i in side[c]] for z, side in zip((x, y), frames, strict=True) for c in side}
    many, rows, columns, depth = ([n for c in group for n in shapes[c]] for group in (both, left, right, inner))
    values = [view(b, z, [i for c in group for i in side[c]]) for z, side, group in
              ((x, frames[0], [*both, *left, *inner]), (y, frames[1], [*both, *inner, *right]))]  # fmt: skip
    if inner:
        m, k, n = prod(rows), prod(depth), prod(columns)
        value = b.add(MatMul(), b.reshape(values[0], (*many, m, k)), b.reshape(values[1], (*many, k, n)))
        value = b.reshape(value, (*many, *rows, *columns))
    else:
        value = b.times(b.reshape(values[0], (*many, *rows, *[1] * len(columns))),
                        b.reshape(values[1], (*many, *[1] * len(rows), *columns)))  # fmt: skip
    numbers = iter(range(len(many) + len(rows) + len(columns)))
    axes = {c: tuple(next(numbers) if isinstance(a, int) else a for a in layout[c]) for c in (*both, *left, *right)}
    return b.result(value, [axes[c] for c in result], x.elem)


def _check(axes: Sequence[Axis]) -> None:
    """Refuse a product in which batch or time is on two axes."""
    for time in (True, False):
        count = sum(is_time(a) if time else a == BATCH for axis in axes for a in axis)
        if count > 1:
            kind, what = (NeedsSequenceLength, "time") if time else (ConvertError, "the batch")
            raise kind(
                f"product must have {what} on one axis of its inputs, got it on {count} that differ{FIXED * time}"
            )
