"""A simple recurrence written out: h' = act(W x + U h + b)."""

from __future__ import annotations

from collections.abc import Iterator

from ..graph import RNN
from .algebra import Algebra, key_of
from .forms import Match, fields, gate_of, weights_of


def match(algebra: Algebra, state: str) -> Iterator[Match]:
    """The simple recurrence whose state `state` may be."""
    h, new = algebra.elements.flat(state), algebra.elements.flat(algebra.graph.feedback[state])
    gate = gate_of(algebra, key_of(new), [key_of(h)])
    weights = weights_of(algebra, [(gate.form, h)]) if gate and not gate.form.rest else None
    if gate and weights and weights.weight_h.any():
        yield Match(RNN(**fields(weights), activation=gate.activation), weights.x, new, {"h": state})
