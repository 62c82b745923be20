"""A GRU written out: h' = z h + (1 - z) n or (1 - z) h + z n, its candidate n reset after or before the product."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..graph import GRU
from .algebra import Algebra, Key, Sum, key_of
from .elements import Ids
from .forms import Columns, Form, Match, Weights, columns_of, fields, form_of, gate_of, narrow, weights_of, without


class Roles(NamedTuple):
    """The vectors of a new state: its update gate, its candidate, and which of both the gate keeps."""

    update: Key
    candidate: Key
    keeps: str


class Reset(NamedTuple):
    """The reset gate, the candidate's form without it, what stands for h in that, and the form the gate multiplies."""

    gate: Key
    form: Form
    h: Ids
    after: Columns | None


def match(algebra: Algebra, state: str) -> Iterator[Match]:
    """The GRU whose state `state` may be."""
    h, new = algebra.elements.flat(state), algebra.elements.flat(algebra.graph.feedback[state])
    stops = [key_of(h)]
    roles = roles_of(algebra.expand(new, stops), stops[0])
    z = gate_of(algebra, roles.update, stops) if roles else None
    n = gate_of(algebra, roles.candidate, stops) if roles else None
    for reset in _resets(algebra, n.form, h) if n else ():
        r = gate_of(algebra, reset.gate, stops)
        if roles and z and n and r and r.activation == z.activation and not (r.form.rest or z.form.rest):
            weights = weights_of(algebra, [(r.form, h), (z.form, h), (reset.form, reset.h)])
            if weights:
                op = GRU(
                    **_fields(weights, reset.after), reset_after=reset.after is not None, update_keeps=roles.keeps,
                    gate_activation=z.activation, activation=n.activation,
                )  # fmt: skip
                yield Match(op, weights.x, new, {"h": state})


def _fields(weights: Weights, after: Columns | None) -> dict[str, Any]:
    found = fields(weights)
    if after:
        rest = len(weights.weight_h) - len(after.weight_h)
        found["weight_h"] = narrow(np.concatenate([weights.weight_h[:rest], after.weight_h]))
        found["bias_h"] = narrow(np.concatenate([np.zeros(rest), after.bias])) if after.bias.any() else None
    return found


def _resets(algebra: Algebra, form: Form, h: Ids) -> Iterator[Reset]:
    """What may reset the state in a candidate of this form."""
    for key in dict.fromkeys(key for term in form.rest for key in term):
        inner = without(form.rest, key)
        multiplied = form_of(algebra, inner, h.size) if inner else None
        if multiplied and not multiplied.rest:
            columns = columns_of(algebra, multiplied, h)
            if not columns.others:
                yield Reset(key, form._replace(rest={}), h, columns)
    for _, inputs in form.products if not form.rest else ():
        owners = algebra.elements.owners(inputs)
        for number in np.unique(owners):
            part = inputs[owners == number]
            expanded = algebra.expand(part, [key_of(h)]) if part.size == h.size and number >= 0 else {}
            for term in expanded if len(expanded) == 1 else ():
                if len(term) == 2 and key_of(h) in term and (expanded[term] == 1.0).all():
                    yield Reset(term[1] if term[0] == key_of(h) else term[0], form, part, None)


def roles_of(expanded: Sum, h: Key) -> Roles | None:
    """Who is who in the sum that a state becomes."""
    signs = {term: float(v[0]) for term, v in expanded.items() if (v == v[0]).all()}
    if len(signs) != 3 or len(expanded) != 3:
        return None
    pairs = [term for term in signs if len(term) == 2]
    with_h = [term for term in pairs if h in term]
    if len(pairs) != 2 or len(with_h) != 1:
        return None
    (product,) = with_h
    update = product[1] if product[0] == h else product[0]
    (other,) = [term for term in pairs if term != product]
    if update not in other:
        return None
    candidate = other[1] if other[0] == update else other[0]
    kept = {product: 1.0, (candidate,): 1.0, other: -1.0}
    taken = {(h,): 1.0, product: -1.0, other: 1.0}
    return Roles(update, candidate, "state" if signs == kept else "candidate") if signs in (kept, taken) else None
