"""Scores of all steps of a sequence by all of them, which no value of a graph is: put off until they weigh values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, prod

import numpy as np

from ...graph import TimeAttention
from .builder import Builder
from .sizes import Size, product
from .values import Array, NeedsSequenceLength, Tensor, frames_of
from .views import in_order, reshaped, without

LEAST = -1e4  # what is added to leave a step out, or less
ONLY = (
    ": scores of every step by every other may be scaled, added to by a mask of steps, made a softmax over the last "
    "axis, and multiplied with the values of the steps; for anything else the number of steps must be fixed where the "
    "model is built or exported (of a PyTorch module, by an example whose axes name no 'T')"
)


class Causal:
    """The mask of all steps up to each one's own, for any number of them."""


CAUSAL = Causal()


@dataclass(frozen=True)
class Scores:
    """The scores of attention of all steps to all steps, (..., T, T), before they are computed.

    Attributes
    ----------
    query, key : Tensor
        (..., T, D) each, of the same axes.
    scale : float
        Of their products.
    added : Tensor, optional
        Numbers (..., T) of each step, which are added to what is asked of it.
    causal : bool
        Whether a step asks none behind itself.
    shares : bool
        Whether a softmax has made shares of them.
    """

    query: Tensor
    key: Tensor
    scale: float = 1.0
    added: Tensor | None = None
    causal: bool = False
    shares: bool = False

    @property
    def rank(self) -> int:
        """Their axes."""
        return self.query.rank

    def sizes(self) -> tuple[Size, ...]:
        """Their shape."""
        return (*self.query.sizes()[:-1], self.key.size(self.key.rank - 2))

    def refused(self, what: str) -> NeedsSequenceLength:
        """Return the error for what they are no operand of."""
        return NeedsSequenceLength(f"{what} must not be of attention of all steps to all steps{ONLY}")

    def scaled(self, b: Builder, factor: float) -> Scores:
        """Return them times a number."""
        if self.shares or not (isfinite(factor) and factor > 0):
            raise self.refused(f"product with {factor:g}")
        added = self.added and b.like(self.added, b.affine(self.added.value, factor))
        return replace(self, scale=self.scale * factor, added=added)

    def masked(self, b: Builder, mask: Array | Tensor | Causal, least: float = -inf) -> Scores:
        """Return them with a mask: booleans, False where a step is not to be asked, or numbers that are added.

        A mask (..., 1, T) is of steps; a constant of one number is of none.
        """
        if self.shares:
            raise self.refused("mask of a softmax")
        if isinstance(mask, Causal):
            return replace(self, causal=True)
        if isinstance(mask, np.ndarray):
            if mask.size == 1 and (mask.item() is True or mask.item() == 0):
                return self
            raise self.refused("mask of a fixed number of steps")
        steps = mask.rank - 1
        if not mask.rank or not mask.is_time(steps) or (mask.rank > 1 and mask.size(mask.rank - 2) != 1):
            raise self.refused("mask that is not of steps, (..., 1, T),")
        mask = without(b, mask, [mask.rank - 2]) if mask.rank > 1 else mask
        if mask.spec.dtype == "bool":
            mask = b.like(mask, b.where(mask.value, b.constant(0.0), least))
        mask = b.like(mask, b.cast(mask.value, "float"))
        if self.added is None:
            return replace(self, added=mask)
        if mask.axes != self.added.axes:
            raise self.refused("mask of other axes than the one before")
        return replace(self, added=b.like(mask, b.plus(self.added.value, mask.value)))

    def softmax(self, axis: int) -> Scores:
        """Return the shares of all steps in what each asks."""
        if self.shares or axis % self.rank != self.rank - 1:
            raise self.refused("softmax over another axis than the last")
        return replace(self, shares=True)

    def reshaped(self, b: Builder, target: Sequence[Size]) -> Scores:
        """Return them with other axes in front of those of the steps."""
        steps, wanted = self.sizes()[-1], list(target)
        if len(wanted) < 2 or wanted[-2:] not in ([steps, steps], [-1, steps], [steps, -1]):
            raise self.refused(f"reshape to ({', '.join(map(str, target))})")
        lead = [product(self.sizes()[:-2])] if wanted[:-2] == [-1] else wanted[:-2]
        parts = [reshaped(b, x, (*lead, *x.sizes()[-2:])) for x in (self.query, self.key)]
        return replace(self, query=parts[0], key=parts[1])

    def weighing(self, b: Builder, value: Tensor) -> Tensor:
        """Return the mean of the values (..., T, E) of all steps by these shares."""
        if not self.shares:
            raise self.refused("product of scores that no softmax has made shares")
        lead = self.query.axes[:-2]
        own = [in_order(b, b.timed(x)) for x in (self.query, self.key, value)]
        steps = {x.axes[-2] for x in own}
        if len(steps) > 1 or len({x.sizes()[:-2] for x in own}) > 1:
            raise self.refused(f"product of scores {self.sizes()} with values {value}")
        shapes = [[x.spec.shape[a] for a in frames_of(x.axes[:-2])] for x in own]
        heads = prod(shapes[0])
        frames = [b.reshape(x.value, (heads, prod(x.spec.shape) // heads)) for x in own]
        more = [] if self.added is None else [self.steps_of(b, heads)]
        y = b.add(TimeAttention(self.scale, self.causal), *frames, *more)
        shape = [*shapes[0], *(own[2].spec.shape[a] for a in frames_of([own[2].axes[-1]]))]
        numbers = iter(range(len(shape)))
        axes = [*lead, own[2].axes[-2], own[2].axes[-1]]
        labels = [tuple(next(numbers) if isinstance(a, int) else a for a in axis) for axis in axes]
        return b.result(b.reshape(y, shape), labels, value.elem)

    def steps_of(self, b: Builder, heads: int) -> str:
        """Return what is added: one number of each step, or one for each head."""
        assert self.added is not None
        added = in_order(b, b.timed(self.added))
        size = prod(added.spec.shape)
        if size not in (1, heads):
            raise self.refused(f"mask of {size} numbers of each step for {heads} heads")
        return b.reshape(added.value, () if size == 1 else (heads,))


def scores_of(query: Tensor, key: Tensor) -> Scores | None:
    """Return the scores of queries by keys, (..., T, D) each, where all steps ask all steps; else None."""
    ranks = query.rank == key.rank >= 2
    if not ranks or not (query.is_time(query.rank - 2) and key.is_time(key.rank - 2)):
        return None
    return Scores(query, key) if query.is_frame(query.rank - 1) and key.is_frame(key.rank - 1) else None
