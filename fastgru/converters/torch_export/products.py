"""ATen's products of tensors: all of them are sums over letters (einsum), whatever they are called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Dense, Expand, MatMul, Multiply
from ..tensors.values import BATCH, Atom, Axis, Tensor, describe
from ..tensors.views import view
from .activations import softmax
from .call import Call, Handler
from .choices import where
from .elementwise import add, multiply
from .reductions import reduce
from .time import reduce_steps
from .views import canonical, permute, squeeze, transpose, unsqueeze

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def linear(call: Call, x: Any, weight: Any, bias: Any = None) -> Tensor:
    """x W' + b along the last axis."""
    if isinstance(weight, Tensor):
        product = matmul(call, x, transpose(call, weight, -2, -1) if weight.rank > 1 else weight)
        return product if bias is None else add(call, product, bias)
    x = call.tensor(x)
    weight = np.asarray(weight)
    matrix = weight if weight.ndim == 2 else weight[None]
    result = dense(call, x, matrix, call.optional(bias, "bias") if weight.ndim == 2 else None)
    return result if weight.ndim == 2 else squeeze(call, result, -1)


def dense(call: Call, x: Tensor, matrix: Any, bias: Any = None) -> Tensor:
    """A constant matrix (O, I) applied to the last axis."""
    x = canonical(call, x)
    if not x.is_frame(x.rank - 1):
        raise ConvertError(f"last axis must be of fixed size, got {describe(x, x.rank - 1)}")
    value = call.cast(x.value, "float")
    return call.result(call.add(Dense(matrix, None if bias is None else bias.reshape(-1)), value), x.axes)


def matmul(call: Call, a: Any, b: Any) -> Tensor:
    """numpy.matmul, batch and time among the axes."""
    if isinstance(a, Tensor) and isinstance(b, np.ndarray) and b.ndim == 2:
        return dense(call, a, b.T)
    if isinstance(b, Tensor) and isinstance(a, np.ndarray) and a.ndim == 2 and b.rank > 1:
        return transpose(call, dense(call, transpose(call, b, -2, -1), a), -2, -1)
    a, b = call.tensor(a), call.tensor(b)
    many = max(a.rank, b.rank) - 2
    row, column = a.rank > 1, b.rank > 1
    lead = LETTERS[: max(many, 0)]
    own = [lead[len(lead) - max(x.rank - 2, 0) :] for x in (a, b)]
    first = own[0] + "x" * row + "y"
    second = own[1] + "y" + "z" * column
    return contract(call, a, b, first, second, lead + "x" * row + "z" * column)


def _bmm(call: Call, a: Any, b: Any) -> Tensor:
    return matmul(call, a, b)


def _addmm(call: Call, bias: Any, a: Any, b: Any, beta: Any = 1, alpha: Any = 1) -> Tensor:
    product = matmul(call, a, b)
    product = product if alpha == 1 else multiply(call, product, alpha)
    return product if beta == 0 else add(call, product, bias, beta)


def _outer(call: Call, a: Any, b: Any) -> Tensor:
    return multiply(call, unsqueeze(call, a, 1), unsqueeze(call, b, 0))


def einsum(call: Call, equation: str, operands: Sequence[Any], path: Any = None) -> Tensor:
    """A sum over letters of one or two operands."""
    equation = equation.replace(" ", "")
    given, arrow, result = equation.partition("->")
    terms = given.split(",")
    tensors = [call.tensor(t) for t in operands]
    if "." in equation or len(terms) > 2 or any(len(set(t)) < len(t) for t in terms):
        raise ConvertError(f"equation must be of at most two operands without ellipses and diagonals, got {equation!r}")
    if not arrow:
        letters = sorted(set(given) - {","})
        result = "".join(c for c in letters if given.count(c) == 1)
    if len(terms) == 1:
        summed = _summed(call, tensors[0], terms[0], [c for c in terms[0] if c not in result])
        kept = [c for c in terms[0] if c in result]
        return permute(call, summed, [kept.index(c) for c in result])
    return contract(call, tensors[0], tensors[1], terms[0], terms[1], result)


def _summed(call: Call, x: Tensor, letters: str, gone: Sequence[str]) -> Tensor:
    """`x` summed over letters."""
    dims = [letters.index(c) for c in gone]
    return reduce(call, x, "sum", dims, False) if dims else x


def contract(call: Call, a: Tensor, b: Tensor, first: str, second: str, result: str) -> Tensor:
    """The sum over all letters that `result` lacks of the products of two operands."""
    a = _summed(call, a, first, [c for c in first if c not in second + result])
    first = "".join(c for c in first if c in second + result)
    b = _summed(call, b, second, [c for c in second if c not in first + result])
    second = "".join(c for c in second if c in first + result)
    a, b = canonical(call, a), canonical(call, b)
    _check(a, b, first, second)
    summed = [c for c in first if c in second and c not in result]
    over_time = [c for c in summed if a.is_time(first.index(c)) and b.is_time(second.index(c))]
    inner = [c for c in summed if c not in over_time]
    for c in inner:
        if not (a.is_frame(first.index(c)) and b.is_frame(second.index(c))):
            raise ConvertError(f"axis that is summed must be of fixed size, got {describe(a, first.index(c))}")
    value, axes = _product(call, a, b, (first, second, "".join(over_time) + result), inner)
    if over_time:
        value = reduce_steps(call, call.result(value, axes), "sum").value
    return call.result(value, axes[len(over_time) :])


def _check(a: Tensor, b: Tensor, first: str, second: str) -> None:
    """Batch and time must be one axis of both, and two axes of none."""
    found: dict[Atom, set[str]] = {}
    for x, letters in ((a, first), (b, second)):
        for axis, letter in zip(x.axes, letters, strict=True):
            for atom in axis:
                if isinstance(atom, str):
                    found.setdefault(atom if atom == BATCH else "T", set()).add(letter)
    for atom, letters_of in found.items():
        if len(letters_of) > 1:
            what = "the batch" if atom == BATCH else "time"
            raise ConvertError(
                f"product must have {what} on one axis of its inputs, got it on {len(letters_of)} that differ"
            )


def _product(
    call: Call, a: Tensor, b: Tensor, terms: tuple[str, str, str], inner: Sequence[str]
) -> tuple[str, list[Axis]]:
    """The value with the frames of all letters of the result in order, and its axes."""
    first, second, result = terms
    own = [_frames(a, first), _frames(b, second)]
    symbols: dict[str, Axis] = {}
    for x, letters in ((a, first), (b, second)):
        for axis, letter in zip(x.axes, letters, strict=True):
            if any(isinstance(n, str) for n in axis):
                symbols[letter] = axis
    shared = [c for c in result if c in first and c in second]
    left = [c for c in result if c in first and c not in second]
    right = [c for c in result if c in second and c not in first]
    sizes: dict[str, list[int]] = {}
    for x, places in ((a, own[0]), (b, own[1])):
        for c, frames in places.items():
            widths = [x.spec.shape[n] for n in frames]
            sizes[c] = widths if prod(sizes.get(c, [1])) == 1 else sizes[c]
    values = []
    for x, places, letters_of in ((a, own[0], [*shared, *left, *inner]), (b, own[1], [*shared, *inner, *right])):
        values.append(_arranged(call, x, places, letters_of, sizes))
    flat = [prod(n for c in group for n in sizes[c]) for group in (left, inner, right)]
    many = [n for c in shared for n in sizes[c]]
    if inner:
        matrices = [
            call.reshape(values[0], (*many, flat[0], flat[1])),
            call.reshape(values[1], (*many, flat[1], flat[2])),
        ]
        value = call.add(MatMul(), *matrices)
    else:
        columns = [call.reshape(values[0], (*many, flat[0], 1)), call.reshape(values[1], (*many, 1, flat[2]))]
        value = call.add(Multiply(), *columns)
    order = [*shared, *left, *right]
    value = call.reshape(value, [n for c in order for n in sizes[c]])
    return value, _axes_of(result, order, sizes, symbols)


def _frames(x: Tensor, letters: str) -> dict[str, list[int]]:
    """The frame axes of every letter."""
    return {c: [n for n in axis if isinstance(n, int)] for c, axis in zip(letters, x.axes, strict=True)}


def _arranged(
    call: Call, x: Tensor, frames: dict[str, list[int]], order: Sequence[str], sizes: dict[str, list[int]]
) -> str:
    """`x` with its frame axes in the order of letters, those of size 1 widened where the other operand is wide."""
    value = view(call, x, [n for c in order for n in frames[c]] or [])
    wanted = [n for c in order for n in sizes[c]]
    shape = [
        n for c in order for n in ([1] * len(sizes[c]) if prod(x.spec.shape[i] for i in frames[c]) == 1 else sizes[c])
    ]
    value = call.reshape(value, shape)
    return value if shape == wanted else call.add(Expand(tuple(wanted)), value)


def _axes_of(result: str, letters: Sequence[str], sizes: dict[str, list[int]], symbols: dict[str, Axis]) -> list[Axis]:
    """The axes of the result, whose frame has the letters in order."""
    numbers, at = {}, 0
    for c in letters:
        numbers[c] = list(range(at, at + len(sizes[c])))
        at += len(sizes[c])
    axes: list[Axis] = []
    for c in result:
        own = iter(numbers.get(c, []))
        axes.append(tuple(next(own) if isinstance(n, int) else n for n in symbols[c]) if c in symbols else tuple(own))
    return axes


def _attention(
    call: Call, query: Any, key: Any, value: Any, mask: Any = None, dropout: float = 0.0, causal: bool = False, *,
    scale: Any = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(q k' * scale + mask) v, over keys on an axis of fixed size."""
    if dropout or enable_gqa:
        raise ConvertError(f"attention must be without dropout and grouped queries, got {dropout} and {enable_gqa}")
    q, k = call.tensor(query), call.tensor(key)
    width = q.size(q.rank - 1)
    scores = matmul(call, q, transpose(call, k, -2, -1))
    scores = multiply(call, scores, float(scale) if scale is not None else 1.0 / math.sqrt(width))
    if causal:
        mask = np.tri(int(q.size(q.rank - 2)), int(k.size(k.rank - 2)), dtype=np.bool_)
    if mask is not None:
        additive = call.tensor(mask).spec.dtype != "bool"
        scores = add(call, scores, mask) if additive else where(call, mask, scores, -math.inf)
    return matmul(call, softmax(call, scores, -1), value)


TABLE: dict[str, Handler] = {
    "scaled_dot_product_attention": _attention,
    "linear": linear, "matmul": matmul, "mm": matmul, "bmm": _bmm, "mv": matmul, "dot": matmul, "addmm": _addmm,
    "addmv": _addmm, "baddbmm": _addmm, "einsum": einsum, "outer": _outer, "ger": _outer, "inner": linear,
}  # fmt: skip
