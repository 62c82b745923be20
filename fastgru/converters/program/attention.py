"""Attention: how much each query asks for each key, and the mean of the values by that."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from ...errors import ConvertError
from ...graph import Add, Binary, Where
from .builder import Builder
from .formulas import softmax
from .pairs import CAUSAL, Causal, Scores, scores_of
from .products import FIXED, Operand, matmul
from .reductions import FINITE, reduced
from .sizes import Dim, Size
from .values import Array, NeedsSequenceLength, Tensor, room
from .views import joint, reshaped, with_ones

Mask = Operand | Causal


def dot_scores(b: Builder, query: Tensor, key: Tensor, scale: float) -> Tensor | Scores:
    """Return scale * query key', of (..., Q, D) and (..., S, D): (..., Q, S)."""
    scores = scores_of(query, key)
    if scores is not None:
        return scores.scaled(b, scale)
    order = [*range(key.rank - 2), key.rank - 1, key.rank - 2]
    y: Tensor = matmul(b, query, key.permuted(order))
    return b.like(y, b.affine(y.value, scale))


def added(b: Builder, query: Tensor, key: Tensor) -> Tensor:
    """Return the sum of every query with every key: (..., Q, S, D)."""
    return joint(b, Add(), with_ones(b, query, [query.rank - 1]), with_ones(b, key, [key.rank - 2]))


def near(queries: Size, keys: Size, before: int | None = None, after: int | None = None) -> Array | Causal:
    """Return the mask (Q, S) of keys at most so many places before a query and after it; None for any number.

    Raises
    ------
    NeedsSequenceLength
        When a number of queries or keys is open, but for all keys before any query.
    """
    if isinstance(keys, Dim) and queries == keys and (before, after) == (None, 0):
        return CAUSAL
    if not isinstance(queries, int) or not isinstance(keys, int):
        raise NeedsSequenceLength(
            f"mask of attention must be of fixed numbers of steps, got {queries} and {keys}{FIXED}"
        )
    room(queries, keys)
    distance = np.arange(keys) - np.arange(queries)[:, None]
    within = np.ones((queries, keys), bool)
    within &= distance >= -before if before is not None else True
    within &= distance <= after if after is not None else True
    return within


def every(b: Builder, masks: Sequence[Mask]) -> Mask | list[Mask] | None:
    """Return where all of some masks hold, or these where they are of all steps by all steps; None for none."""
    if any(isinstance(mask, Causal) for mask in masks):
        return [*masks]
    found: Operand | None = None
    for mask in masks:
        assert not isinstance(mask, Causal)
        if found is None:
            found = mask
        elif isinstance(found, np.ndarray) and isinstance(mask, np.ndarray):
            found = found & mask
        else:
            found = joint(b, Binary("and"), b.lift(found), b.lift(mask))
    return found


def attend(
    b: Builder, scores: Tensor | Scores, value: Tensor, mask: Mask | list[Mask] | None = None, *, least: float = -inf
) -> tuple[Tensor, Tensor | Scores]:
    """Return the mean of values (..., S, V) by the softmax of scores (..., Q, S), and that softmax.

    Parameters
    ----------
    mask : array or Tensor, optional
        Booleans, False where a key is not to be seen, or numbers that are added to the scores.
    least : float
        What is added where a key is not to be seen; a query that sees none gets zeros if it is infinite.
    """
    if isinstance(scores, Scores):
        for own in mask if isinstance(mask, list) else [] if mask is None else [mask]:
            scores = scores.masked(b, own, least)
        scores = scores.softmax(-1)
        return scores.weighing(b, value), scores
    if isinstance(mask, list | Causal):
        raise NeedsSequenceLength(f"mask of attention must be of a fixed number of steps{FIXED}")
    if isinstance(mask, np.ndarray) and mask.dtype == bool:
        mask = np.where(mask, np.float32(0), np.float32(least))
    elif isinstance(mask, Tensor) and mask.spec.dtype == "bool":
        mask = b.like(mask, b.where(mask.value, b.constant(0.0), least))
    scores = scores if mask is None else joint(b, Add(), scores, b.lift(mask))
    weights = softmax(b, scores, scores.rank - 1)
    seen = isinstance(mask, np.ndarray) and np.isfinite(mask).any(axis=-1).all()
    if mask is not None and not seen and least == -inf:
        largest = reduced(b, scores, [scores.rank - 1], "max", True)
        some = b.like(largest, b.binary("greater", largest.value, -FINITE))
        weights = joint(b, Where(), some, weights, b.lift(np.zeros((), np.float32)))
    return matmul(b, weights, value), weights


def grouped(b: Builder, x: Tensor, groups: int) -> Tensor:
    """Return heads (..., N, S, D) as groups of them, (..., groups, N / groups, S, D)."""
    *lead, heads, steps, features = x.sizes()
    if not isinstance(heads, int) or heads % groups:
        raise ConvertError(f"heads of queries must be a multiple of the {groups} of keys, got {heads}")
    return reshaped(b, x, (*lead, groups, heads // groups, steps, features))
