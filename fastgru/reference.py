"""The float64 reference: a NumPy forward pass over a Graph, the oracle of every test.

These lines are the normative definition of every op. Nothing here is fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import graph as g
from .graph.activations import F64

State = dict[str, F64]
Step = Callable[[Any, F64, State], tuple[F64, State]]


def f64(array: Any, default: Any = 0.0) -> F64:
    """`array` as float64, or `default` where there is none."""
    return np.asarray(default if array is None else array, dtype=np.float64)


# Cells: one step, x (B, I) and states (B, size) to output (B, R) and new states ------------------


def _product(op: Any, x: F64, weight: Any) -> F64:
    """x (B, K) by weight (N, K), x rounded as the op's precision multiplies it."""
    return f64(g.PRECISIONS[op.precision].operand(x)) @ f64(weight).T


def _gates(op: g.Recurrent, x: F64, h: F64) -> tuple[list[F64], list[F64]]:
    """Input part W x + b and recurrent part U h + c, a list of (B, H) each, in canonical order."""
    wx = _product(op, x, op.weight_x) + f64(op.bias)
    uh = _product(op, h, op.weight_h) + f64(op.bias_h)
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
        n = op.activation(_clip(op, wx[2] + _product(op, r * h, u_n) + c_n))
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
        h = _product(op, h, op.projection)
    return h, {"h": h, "c": c}


STEPS: dict[type[g.Op], Step] = {g.RNN: rnn_step, g.GRU: gru_step, g.LSTM: lstm_step}


def initial_state(op: g.Recurrent, batch: int) -> State:
    """The op's learned initial state, or zeros: (B, size) each."""
    return {
        name: np.tile(f64(getattr(op, f"initial_{name}"), np.zeros(size)), (batch, 1))
        for name, size in op.states().items()
    }


def _steps(op: g.Recurrent, length: int) -> Iterator[int]:
    return reversed(range(length)) if op.reverse else iter(range(length))


def run_recurrent(op: g.Recurrent, x: F64, state: State, mask: NDArray[np.bool_] | None) -> tuple[F64, State]:
    """Run a cell over x (B, T, I). A masked step (mask (B, T) false) leaves the state as it was."""
    batch, length, _ = x.shape
    out = np.zeros((batch, length, op.output_size))
    last = np.zeros((batch, op.output_size))
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


# Everything else: inputs to output ---------------------------------------------------------------


def _layer_norm(op: g.LayerNorm, x: F64) -> F64:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + op.eps) * f64(op.scale) + f64(op.shift))


def _batch_norm(op: g.BatchNorm, x: F64) -> F64:
    scale = f64(op.scale, 1.0) / np.sqrt(f64(op.variance) + op.eps)
    return (x - f64(op.mean)) * scale + f64(op.shift)


def _mask(op: g.Mask, x: Any) -> Any:
    different = x != op.value
    return different.any(axis=-1) if x.ndim == 3 else different


FORMULAS: dict[type[g.Op], Callable[..., Any]] = {
    g.Dense: lambda op, x: op.activation(_product(op, x, op.weight) + f64(op.bias)),
    g.Embedding: lambda op, ids: f64(op.weight)[ids],
    g.LayerNorm: _layer_norm,
    g.BatchNorm: _batch_norm,
    g.Activate: lambda op, x: op.activation(x),
    g.Dropout: lambda op, x: x,
    g.Mask: _mask,
    g.ApplyMask: lambda op, x, mask: np.where(mask[..., None], x, 0.0),
    g.Reverse: lambda op, x: x[:, ::-1],
    g.Concat: lambda op, *xs: np.concatenate(xs, axis=-1),
    g.Add: lambda op, *xs: sum(xs[1:], xs[0]),
    g.Multiply: lambda op, *xs: np.prod(xs, axis=0),
    g.Average: lambda op, *xs: sum(xs[1:], xs[0]) / len(xs),
}


def run(
    graph: g.Graph,
    x: Any,
    *,
    state: Mapping[str, Any] | None = None,
    mask: Any = None,
) -> tuple[tuple[Any, ...], State]:
    """Evaluate `graph` in float64.

    Parameters
    ----------
    x : (B, T, I) or (B, T) int array, or a mapping of input name to array
    state : mapping, optional
        ``"<node>.<state>"`` to (B, size); what is missing starts from the op's initial state.
    mask : (B, T) bool array, optional
        Steps that count, for every recurrent node.

    Returns
    -------
    outputs : tuple of arrays
    state : dict
        The final states, keyed like `state`.
    """
    feeds = x if isinstance(x, Mapping) else {next(iter(graph.inputs)): x}
    values: dict[str, Any] = {}
    for name, spec in graph.inputs.items():
        values[name] = np.asarray(feeds[name], dtype=np.int64 if spec.dtype == "int" else np.float64)
    final: State = {}
    for node in graph.nodes:
        inputs = [values[v] for v in node.inputs]
        if isinstance(node.op, g.Recurrent):
            start = initial_state(node.op, inputs[0].shape[0])
            start.update({n: f64(state[k]) for n in start if state and (k := f"{node.name}.{n}") in state})
            masks = [np.asarray(m, dtype=bool) for m in (mask, *inputs[1:]) if m is not None]
            combined = np.logical_and.reduce(masks) if masks else None
            values[node.outputs[0]], end = run_recurrent(node.op, inputs[0], start, combined)
            final.update({f"{node.name}.{n}": a for n, a in end.items()})
        else:
            values[node.outputs[0]] = FORMULAS[type(node.op)](node.op, *inputs)
    return tuple(values[name] for name in graph.outputs), final
