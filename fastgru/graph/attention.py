"""Attention of every step to all steps."""

from __future__ import annotations

from math import inf
from typing import ClassVar

from ..errors import GraphError
from .spec import FLOAT, Spec, take, whole
from .temporal import Temporal


class TimeAttention(Temporal):
    """(q, k, v): for every step the mean of all steps' values, by the softmax of scale * q k'.

    Each of (B, T, heads, D), (B, T, heads, D) and (B, T, heads, E) to (B, T, heads, E). A fourth input, (B, T) or
    (B, T, heads), is added to what all queries ask of each step: -inf, or a large negative number, leaves it out.

    Parameters
    ----------
    scale : float
        Positive; 1 / sqrt(D) as a rule.
    causal : bool
        A step sees none behind itself.

    Examples
    --------
    >>> TimeAttention(0.5).infer((Spec((2, 4)), Spec((2, 4)), Spec((2, 3))))
    (Spec(shape=(2, 3), time=True, dtype='float'),)
    """

    kind: ClassVar[str] = "time_attention"
    blocker: ClassVar[str] = "compares all steps with each other; give whole sequences"
    scale: float = 1.0
    causal: bool = False

    def problems(self) -> list[str]:
        return [] if 0 < self.scale < inf else [f"scale must be positive and finite, got {self.scale}"]

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        q, k, v, *added = take(inputs, *[FLOAT] * (4 if len(inputs) == 4 else 3))
        for x in inputs:
            whole(x)
        if len(q.shape) != 2 or len(v.shape) != 2 or k.shape != q.shape or v.shape[0] != q.shape[0]:
            raise GraphError(
                f"frames must be (heads, D), (heads, D) and (heads, E), got {q.shape}, {k.shape} and {v.shape}"
            )
        if added and added[0].shape not in ((), q.shape[:1]):
            raise GraphError(f"what is added must be one number a step, or one for each head, got {added[0]}")
        return (Spec(v.shape),)

    def macs_for(self, inputs: tuple[Spec, ...]) -> int:
        """As for a sequence of one step: with each further one there are as many more."""
        return inputs[0].shape[0] * (inputs[0].shape[1] + inputs[2].shape[1])
