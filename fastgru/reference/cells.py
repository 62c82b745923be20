"""The recurrent cells: one step each, and how they run along time or along a frame axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import graph as g
from ..graph.activations import F64

State = dict[str, F64]
Step = Callable[[Any, F64, State], tuple[F64, State]]


def f64(array: Any, default: Any = 0.0) -> F64:
    """`array` as float64, or `default` where there is none."""
    return np.asarray(default if array is None else array, dtype=np.float64)


# Whether operands are rounded by one scale for all the rows that are there, as ONNX Runtime does it.
TOGETHER: ContextVar[bool] = ContextVar("TOGETHER", default=False)


def operand(op: Any, x: F64) -> F64:
    """x (..., K) rounded as the op's precision multiplies it."""
    return f64(op.operand(x.reshape(1, -1)).reshape(x.shape) if TOGETHER.get() else op.operand(x))


def product(op: Any, x: F64, weight: Any) -> F64:
    """x (..., K), rounded, by weight (N, K)."""
    return operand(op, x) @ f64(weight).T


# One step: x (B, I), an operand, and states (B, size) to output (B, R) and new states --------------


def _gates(op: g.Recurrent, x: F64, h: F64) -> tuple[list[F64], list[F64]]:
    """Input part W x + b and recurrent part U h + c, a list of (B, H) each, in canonical order."""
    wx = x @ f64(op.weight_x).T + f64(op.bias)
    uh = product(op, h, op.weight_h) + f64(op.bias_h)
    return np.split(wx, op.gates, axis=1), np.split(uh, op.gates, axis=1)


def _clip(op: g.Recurrent, a: F64) -> F64:
    return a if op.clip is None else np.clip(a, -op.clip, op.clip)


def rnn_step(op: g.RNN, x: F64, state: State) -> tuple[F64, State]:
    """h' = act(W x + b + U h + c)."""
    (wx,), (uh,) = _gates(op, x, state["h"])
    h = op.activation(_clip(op, wx + uh))
    return h, {"h": h}


def gru_step(op: g.GRU, x: F64, state: State) -> tuple[F64, State]:
    """See `fastgru.layers.GRU`."""
    h = state["h"]
    wx, uh = _gates(op, x, h)
    r, z = (op.gate_activation(_clip(op, a + b)) for a, b in zip(wx[:2], uh[:2], strict=True))
    if op.reset_after:
        n = op.activation(_clip(op, wx[2] + r * uh[2]))
    else:
        u_n = np.split(f64(op.weight_h), op.gates)[2]
        c_n = 0.0 if op.bias_h is None else np.split(f64(op.bias_h), op.gates)[2]
        n = op.activation(_clip(op, wx[2] + product(op, r * h, u_n) + c_n))
    h = z * h + (1 - z) * n if op.update_keeps == "state" else (1 - z) * h + z * n
    y = h
    if op.output_gate:
        y = op.gate_activation(_clip(op, wx[3] + uh[3])) * op.output_activation(h)
    return y, {"h": h}


def lstm_step(op: g.LSTM, x: F64, state: State) -> tuple[F64, State]:
    """See `fastgru.layers.LSTM`."""
    h, c = state["h"], state["c"]
    wx, uh = _gates(op, x, h)
    a = dict(zip(g.dialects.CANONICAL[op.cell], (p + q for p, q in zip(wx, uh, strict=True)), strict=True))
    p_i, p_f, p_o = f64(op.peephole, np.zeros((3, 1)))
    i = op.gate_activation(_clip(op, a["i"] + p_i * c))
    f = 1 - i if op.coupled else op.gate_activation(_clip(op, a["f"] + p_f * c))
    c = f * c + i * op.activation(_clip(op, a["g"]))
    o = op.gate_activation(_clip(op, a["o"] + p_o * c))
    h = o * op.output_activation(c)
    if op.projection is not None:
        h = product(op, h, op.projection)
    return h, {"h": h, "c": c}


STEPS: dict[type[g.Op], Step] = {g.RNN: rnn_step, g.GRU: gru_step, g.LSTM: lstm_step}


def initial_state(op: g.Recurrent, batch: int) -> State:
    """The op's learned initial state, or zeros: (B, size) each."""
    return {
        name: np.tile(f64(getattr(op, f"initial_{name}"), np.zeros(size)), (batch, 1))
        for name, size in op.carried().items()
    }


def _steps(op: g.Recurrent, length: int) -> Iterator[int]:
    return reversed(range(length)) if op.reverse else iter(range(length))


def run_recurrent(op: g.Recurrent, x: F64, state: State, mask: NDArray[np.bool_] | None) -> tuple[F64, State]:
    """Run a cell over x (B, T, I). A masked step (mask (B, T) false) leaves the state as it was."""
    batch, length, _ = x.shape
    out = np.zeros((batch, length, op.output_size))
    last = np.zeros((batch, op.output_size))
    x = operand(op, x)
    for t in _steps(op, length):
        y, new = STEPS[type(op)](op, x[:, t], state)
        if mask is None:
            state, last, out[:, t] = new, y, y
        else:
            valid = mask[:, t, None]
            state = {name: np.where(valid, new[name], state[name]) for name in state}
            last = np.where(valid, y, last)
            out[:, t] = last if op.mask_output == "carry" else np.where(valid, y, 0.0)
    return (out if op.return_sequences else last), state


def scan(op: g.Recurrent, x: F64, *operands: Any) -> tuple[F64, ...]:
    """Run a cell along the first frame axis: x (B, T, S, N, I) to y (B, T, S, N, R) and the final states."""
    lead, (steps, rows, features) = x.shape[:2], x.shape[2:]
    batch = lead[0] * lead[1] * rows
    given = dict(zip(op.operands, operands, strict=True))
    state = initial_state(op, batch)
    state.update({n: given[k].reshape(batch, -1) for n in state if (k := f"initial_{n}") in given})
    mask = np.arange(steps) < given["lengths"].reshape(batch, 1) if "lengths" in given else None
    y, state = run_recurrent(op, np.moveaxis(x, 2, 3).reshape(batch, steps, features), state, mask)
    out = np.moveaxis(y.reshape(*lead, rows, steps, -1), 3, 2)
    return (out, *(state[name].reshape(*lead, rows, -1) for name in op.carried()))
