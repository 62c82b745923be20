"""Relevance through the recurrent cells, one step back each: the signal takes all, gates take none.

Arras, Montavon, Müller & Samek 2017, "Explaining Recurrent Neural Network Predictions in Sentiment Analysis"
(doi:10.18653/v1/W17-5221, section 3.1): where a gate multiplies a signal, all relevance goes to the signal; where
terms are summed, each gets the share it has in the sum (the epsilon rule of Bach et al. 2015,
doi:10.1371/journal.pone.0130140, equation 60). The bias is one of the terms and keeps its share. Activations pass on
what they get.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from .. import graph as g
from ..graph.activations import F64
from ..reference import State, f64
from .gradients_cells import StepBack, candidate_of, clipped, parts


class Book(Protocol):
    """Who divides relevance by sums, and keeps what goes to biases."""

    def ratio(self, total: F64, relevance: F64) -> F64:
        """Return relevance over the sum that it is shared by."""

    def own(self, name: str, relevance: F64) -> None:
        """Keep relevance of a node's biases."""


def _split(book: Book, terms: Sequence[F64], relevance: F64) -> list[F64]:
    """Share relevance among the terms of a sum."""
    ratio = book.ratio(sum(terms[1:], terms[0]), relevance)
    return [term * ratio for term in terms]


def _rnn(book: Book, name: str, op: g.RNN, x: F64, state: State, gy: F64, after: State) -> tuple[F64, State]:
    (wx,), (uh,) = parts(op, x, state["h"])
    ratio = book.ratio(wx + uh, gy + after["h"])
    book.own(name, ratio * (f64(op.bias) + f64(op.bias_h)))
    return x * (ratio @ f64(op.weight_x)), {"h": state["h"] * (ratio @ f64(op.weight_h))}


def _gru(book: Book, name: str, op: g.GRU, x: F64, state: State, gy: F64, after: State) -> tuple[F64, State]:
    h, s = state["h"], op.gate_activation
    wx, uh = parts(op, x, h)
    r, z = (s(clipped(op, a + b)) for a, b in zip(wx[:2], uh[:2], strict=True))
    u_n, c_n = candidate_of(op.weight_h, op), 0.0 if op.bias_h is None else candidate_of(op.bias_h, op)
    pre = wx[2] + (r * uh[2] if op.reset_after else (r * h) @ u_n.T + c_n)
    keep = z if op.update_keeps == "state" else 1 - z
    of_h, of_n = _split(book, [keep * h, (1 - keep) * op.activation(clipped(op, pre))], gy + after["h"])
    ratio = book.ratio(pre, of_n)
    inside = (ratio * r) @ u_n if op.reset_after else r * (ratio @ u_n)
    b_n = 0.0 if op.bias is None else candidate_of(op.bias, op)
    book.own(name, ratio * (b_n + (r * c_n if op.reset_after else c_n)))
    return x * (ratio @ candidate_of(op.weight_x, op)), {"h": of_h + h * inside}


def _lstm(book: Book, name: str, op: g.LSTM, x: F64, state: State, gy: F64, after: State) -> tuple[F64, State]:
    h, c, s = state["h"], state["c"], op.gate_activation
    order = g.dialects.CANONICAL[op.cell]
    wx, uh = parts(op, x, h)
    a = dict(zip(order, (p + q for p, q in zip(wx, uh, strict=True)), strict=True))
    p_i, p_f, p_o = f64(op.peephole, np.zeros((3, 1)))
    i = s(clipped(op, a["i"] + p_i * c))
    f = 1 - i if op.coupled else s(clipped(op, a["f"] + p_f * c))
    kept, taken = f * c, i * op.activation(clipped(op, a["g"]))
    of_m = gy + after["h"]
    if op.projection is not None:
        m = s(clipped(op, a["o"] + p_o * (kept + taken))) * op.output_activation(kept + taken)
        projection = f64(op.projection)
        of_m = m * (book.ratio(m @ projection.T, of_m) @ projection)
    of_c, of_g = _split(book, [kept, taken], of_m + after["c"])
    ratio = book.ratio(a["g"], of_g)
    at = order.index("g")
    w, u = (np.split(f64(array), op.gates)[at] for array in (op.weight_x, op.weight_h))
    for bias in (op.bias, op.bias_h):
        if bias is not None:
            book.own(name, ratio * np.split(f64(bias), op.gates)[at])
    return x * (ratio @ w), {"h": h * (ratio @ u), "c": of_c}


CELLS: dict[type[g.Op], Callable[..., tuple[F64, State]]] = {g.RNN: _rnn, g.GRU: _gru, g.LSTM: _lstm}


def step_back(book: Book, node: g.Node) -> StepBack:
    """Return one step back of a recurrent node, whose biases `book` keeps."""

    def back(op: Any, x: F64, state: State, gy: F64, after: State) -> tuple[F64, State]:
        return CELLS[type(op)](book, node.name, op, x, state, gy, after)

    return back
