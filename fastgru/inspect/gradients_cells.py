"""Gradients through the recurrent cells: one step back each, and whole sequences with their masks.

Each row is the transpose of the Jacobian of the step in `fastgru.reference.cells`, whose names it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import graph as g
from ..graph.activations import F64, Activation
from ..reference import State, f64, initial_state
from ..reference.cells import STEPS
from .gradients_slopes import slope

# (op, x (B, I), states, gradient of y (B, R), gradients of the new states) -> gradients of x and of the states
StepBack = Callable[[Any, F64, State, F64, State], tuple[F64, State]]


def parts(op: g.Recurrent, x: F64, h: F64) -> tuple[list[F64], list[F64]]:
    """Return W x + b and U h + c, a list of (B, H) each, in canonical order."""
    wx = x @ f64(op.weight_x).T + f64(op.bias)
    uh = h @ f64(op.weight_h).T + f64(op.bias_h)
    return np.split(wx, op.gates, axis=1), np.split(uh, op.gates, axis=1)


def clipped(op: g.Recurrent, a: F64) -> F64:
    """Return pre-activations as the cell clips them."""
    return a if op.clip is None else np.clip(a, -op.clip, op.clip)


def _before(op: g.Recurrent, activation: Activation, a: F64, gradient: F64) -> F64:
    """Return the gradient of a pre-activation, before it is clipped."""
    back = gradient * slope(activation, clipped(op, a))
    return back if op.clip is None else np.where(np.abs(a) < op.clip, back, 0.0)


def _products(op: g.Recurrent, of_x: Sequence[F64], of_h: Sequence[F64]) -> tuple[F64, F64]:
    return (
        np.concatenate(of_x, axis=1) @ f64(op.weight_x),
        np.concatenate(of_h, axis=1) @ f64(op.weight_h),
    )


def rnn_back(op: g.RNN, x: F64, state: State, gy: F64, after: State) -> tuple[F64, State]:
    """Go back through h' = act(W x + b + U h + c)."""
    (wx,), (uh,) = parts(op, x, state["h"])
    a = _before(op, op.activation, wx + uh, gy + after["h"])
    gx, gh = _products(op, [a], [a])
    return gx, {"h": gh}


def gru_back(op: g.GRU, x: F64, state: State, gy: F64, after: State) -> tuple[F64, State]:
    """Go back through a step of `fastgru.layers.GRU`, of both reset variants and with an output gate."""
    h, s = state["h"], op.gate_activation
    wx, uh = parts(op, x, h)
    r, z = (s(clipped(op, a + b)) for a, b in zip(wx[:2], uh[:2], strict=True))
    if op.reset_after:
        pre = wx[2] + r * uh[2]
    else:
        u_n, c_n = candidate_of(op.weight_h, op), 0.0 if op.bias_h is None else candidate_of(op.bias_h, op)
        pre = wx[2] + (r * h) @ u_n.T + c_n
    n = op.activation(clipped(op, pre))
    keep = z if op.update_keeps == "state" else 1 - z
    new = keep * h + (1 - keep) * n
    g_new = after["h"]
    further = []
    if op.output_gate:
        a_o = wx[3] + uh[3]
        further = [_before(op, s, a_o, gy * op.output_activation(new))]
        g_new = g_new + gy * s(clipped(op, a_o)) * slope(op.output_activation, new)
    else:
        g_new = g_new + gy
    g_keep = g_new * (h - n)
    a_n = _before(op, op.activation, pre, g_new * (1 - keep))
    gh = g_new * keep
    if op.reset_after:
        g_r, of_h = a_n * uh[2], a_n * r
    else:
        g_v = a_n @ u_n
        g_r, of_h = g_v * h, np.zeros_like(a_n)
        gh = gh + g_v * r
    a_r = _before(op, s, wx[0] + uh[0], g_r)
    a_z = _before(op, s, wx[1] + uh[1], g_keep if op.update_keeps == "state" else -g_keep)
    gx, more = _products(op, [a_r, a_z, a_n, *further], [a_r, a_z, of_h, *further])
    return gx, {"h": gh + more}


def candidate_of(array: Any, op: g.GRU) -> F64:
    """Return the part of a weight or bias that belongs to the gate n."""
    return np.split(f64(array), op.gates)[2]


def lstm_back(op: g.LSTM, x: F64, state: State, gy: F64, after: State) -> tuple[F64, State]:
    """Go back through a step of `fastgru.layers.LSTM`, with peepholes, coupled gates and a projection."""
    c, s = state["c"], op.gate_activation
    wx, uh = parts(op, x, state["h"])
    order = g.dialects.CANONICAL[op.cell]
    a = dict(zip(order, (p + q for p, q in zip(wx, uh, strict=True)), strict=True))
    p_i, p_f, p_o = f64(op.peephole, np.zeros((3, 1)))
    a["i"] = a["i"] + p_i * c
    i = s(clipped(op, a["i"]))
    if not op.coupled:
        a["f"] = a["f"] + p_f * c
    f = 1 - i if op.coupled else s(clipped(op, a["f"]))
    candidate = op.activation(clipped(op, a["g"]))
    new = f * c + i * candidate
    a["o"] = a["o"] + p_o * new
    o = s(clipped(op, a["o"]))
    gm = gy + after["h"]
    gm = gm if op.projection is None else gm @ f64(op.projection)
    back = {"o": _before(op, s, a["o"], gm * op.output_activation(new))}
    gc = after["c"] + gm * o * slope(op.output_activation, new) + back["o"] * p_o
    back["g"] = _before(op, op.activation, a["g"], gc * i)
    back["i"] = _before(op, s, a["i"], gc * (candidate - c if op.coupled else candidate))
    before = gc * f + back["i"] * p_i
    if not op.coupled:
        back["f"] = _before(op, s, a["f"], gc * c)
        before = before + back["f"] * p_f
    gates = [back[name] for name in order]
    gx, gh = _products(op, gates, gates)
    return gx, {"h": gh, "c": before}


STEPS_BACK: dict[type[g.Op], StepBack] = {g.RNN: rnn_back, g.GRU: gru_back, g.LSTM: lstm_back}


def sequence_back(
    back: StepBack, op: g.Recurrent, x: F64, start: State, mask: Any, gy: F64, final: State
) -> tuple[F64, State]:
    """Go back through `fastgru.reference.run_recurrent`.

    Parameters
    ----------
    back : callable
        One step back, such as `STEPS_BACK` has them.
    x : (B, T, I) array
    start : mapping
        States before the first step.
    mask : (B, T) bool array or None
    gy : (B, T, R) array, or (B, R) where the op returns its last step
    final : mapping
        Gradients of the final states.

    Returns
    -------
    gradients of x (B, T, I) and of the states at the start
    """
    order = list(range(x.shape[1]))
    order = order[::-1] if op.reverse else order
    states = [start]
    for t in order:
        new = STEPS[type(op)](op, x[:, t], states[-1])[1]
        states.append(new if mask is None else {n: np.where(mask[:, t, None], new[n], states[-1][n]) for n in new})
    last = np.zeros((len(x), op.output_size)) if op.return_sequences else gy
    gx, after = np.zeros_like(x), dict(final)
    for place in reversed(range(len(order))):
        t = order[place]
        here = gy[:, t] if op.return_sequences else 0.0
        if mask is None:
            here, last = here + last, np.zeros_like(last)
            gx[:, t], after = back(op, x[:, t], states[place], here, after)
            continue
        valid = mask[:, t, None]
        if op.return_sequences and op.mask_output == "carry":
            last = last + here
        elif op.return_sequences:
            here = np.where(valid, here, 0.0)
        given = last if op.mask_output == "carry" or not op.return_sequences else here
        step, before = back(op, x[:, t], states[place], np.where(valid, given, 0.0), _where(valid, after))
        gx[:, t] = np.where(valid, step, 0.0)
        after = {n: np.where(valid, before[n], after[n]) for n in after}
        last = np.where(valid, 0.0, last)
    return gx, after


def _where(valid: Any, states: State) -> State:
    return {name: np.where(valid, array, 0.0) for name, array in states.items()}


def scan_back(
    back: StepBack, op: g.Recurrent, x: F64, operands: Sequence[Any], gs: Sequence[F64]
) -> tuple[list[Any], State]:
    """Go back through a cell along a frame axis.

    Returns
    -------
    gradients of x (B, T, S, N, I) and of each operand; and of the states at the start that are no operands
    """
    lead, (steps, rows, features) = x.shape[:2], x.shape[2:]
    batch = lead[0] * lead[1] * rows
    given = dict(zip(op.operands, operands, strict=True))
    start = initial_state(op, batch)
    start.update({n: given[k].reshape(batch, -1) for n in start if (k := f"initial_{n}") in given})
    mask = np.arange(steps) < given["lengths"].reshape(batch, 1) if "lengths" in given else None
    flat = np.moveaxis(x, 2, 3).reshape(batch, steps, features)
    gy = np.moveaxis(gs[0], 2, 3).reshape(batch, steps, -1)
    final = {name: a.reshape(batch, -1) for name, a in zip(op.carried(), gs[1:], strict=True)}
    gx, first = sequence_back(back, op, flat, start, mask, gy, final)
    found: list[Any] = [np.moveaxis(gx.reshape(*lead, rows, steps, features), 3, 2)]
    for name in op.operands:
        shape = given[name].shape
        found.append(None if name == "lengths" else first.pop(name.removeprefix("initial_")).reshape(shape))
    return found, first
