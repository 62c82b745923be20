"""An LSTM written out: c' = f c + i g (or c + i (g - c)), m = o act(c'), h' = m or P m."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..graph import LSTM, Activation
from .algebra import Algebra, Key, Sum, key_of
from .forms import Gate, Match, fields, gate_of, narrow, weights_of


class Roles(NamedTuple):
    """The vectors of a new cell state: its forget gate (None: one less the input gate), and two that are multiplied."""

    forget: Key | None
    factors: tuple[Key, Key]


class Output(NamedTuple):
    """The vector that gates the output, the activation of the cell state, and what projects their product."""

    gate: Key
    activation: Activation
    projection: Any


def match(algebra: Algebra, state: str) -> Iterator[Match]:
    """The LSTMs whose cell state `state` may be."""
    feedback, flat = algebra.graph.feedback, algebra.elements.flat
    c, new_c = key_of(flat(state)), flat(feedback[state])
    roles = roles_of(algebra.expand(new_c, [c]), c)
    for other in algebra.fed_by(feedback[state]) if roles else ():
        output = _output(algebra, flat(feedback[other]), key_of(new_c)) if other != state else None
        if roles and output:
            found = _layer(algebra, roles, output, {"h": other, "c": state})
            if found:
                yield found


def roles_of(expanded: Sum, c: Key) -> Roles | None:
    """Who is who in the sum that a cell state becomes."""
    signs = {term: float(v[0]) for term, v in expanded.items() if (v == v[0]).all() and abs(v[0]) == 1.0}
    with_c = [term for term in signs if c in term]
    (factors,) = [term for term in signs if c not in term] if len(signs) - len(with_c) == 1 else [()]
    if len(signs) != len(expanded) or len(factors) != 2 or signs[factors] != 1.0:
        return None
    first, second = factors
    if len(with_c) == 1 and len(with_c[0]) == 2 and signs[with_c[0]] == 1.0:
        a, b = with_c[0]
        return Roles(b if a == c else a, (first, second))
    for gate, candidate in ((first, second), (second, first)):
        if {t: signs[t] for t in with_c} == {(c,): 1.0, tuple(sorted((c, gate))): -1.0}:
            return Roles(None, (gate, candidate))
    return None


def _output(algebra: Algebra, h: Any, new_c: Key) -> Output | None:
    """What makes h of the cell state."""
    expanded, projection = algebra.expand(h, [new_c]), None
    (term,) = expanded if len(expanded) == 1 else [()]
    product = algebra.product(term[0]) if len(term) == 1 else None
    if product is not None and (expanded[term] == 1.0).all() and not product.bias.any():
        expanded, projection = algebra.expand(product.inputs, [new_c]), narrow(product.weight)
        (term,) = expanded if len(expanded) == 1 else [()]
    if len(term) != 2 or (expanded[term] != 1.0).any():
        return None
    for gate, bent in (term, term[::-1]):
        if bent == new_c:
            return Output(gate, Activation("linear"), projection)
        found = algebra.activated(bent)
        if found and key_of(found[1]) == new_c:
            return Output(gate, found[0], projection)
    return None


def _layer(algebra: Algebra, roles: Roles, output: Output, states: dict[str, str]) -> Match | None:
    h, c = (algebra.elements.flat(states[name]) for name in ("h", "c"))
    new_c = algebra.elements.flat(algebra.graph.feedback[states["c"]])
    stops = [key_of(h), key_of(c), key_of(new_c)]
    o = gate_of(algebra, output.gate, stops)
    a, b = (gate_of(algebra, key, stops) for key in roles.factors)
    f = gate_of(algebra, roles.forget, stops) if roles.forget else o
    if o is None or a is None or b is None or f is None or f.activation != o.activation:
        return None
    i, g = (a, b) if a.activation == o.activation else (b, a)
    if i.activation != o.activation or (roles.forget is None and i is not a):
        return None
    diagonals = [(i, stops[1]), (f, stops[1]), (o, stops[2])]
    peephole = _peephole(diagonals if roles.forget else [diagonals[0], diagonals[2]], c.size)
    gates = [i, f, g, o] if roles.forget else [i, g, o]
    weights = weights_of(algebra, [(gate.form, h) for gate in gates])
    if peephole is None or g.form.rest or weights is None:
        return None
    op = LSTM(
        **fields(weights), peephole=narrow(peephole) if peephole.any() else None, projection=output.projection,
        coupled=roles.forget is None, gate_activation=o.activation, activation=g.activation,
        output_activation=output.activation,
    )  # fmt: skip
    return Match(op, weights.x, algebra.elements.flat(algebra.graph.feedback[states["h"]]), states)


def _peephole(gates: Sequence[tuple[Gate, Key]], size: int) -> Any:
    """The diagonal weights (3, H) of what each gate sees, or None where one sees something else."""
    if any(set(gate.form.rest) - {(seen,)} for gate, seen in gates):
        return None
    rows = [gate.form.rest.get((seen,), np.zeros(size)) for gate, seen in gates]
    return np.stack(rows if len(rows) == 3 else [rows[0], np.zeros(size), rows[1]])
