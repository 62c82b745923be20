"""Gates and states of recurrent layers by the float64 reference, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgru.graph import GRU, LSTM, Recurrent, dialects
from fastgru.reference import cells

STEPS = {"rnn": cells.rnn_step, "gru": cells.gru_step, "lstm": cells.lstm_step}


def gates_of(op: Recurrent, x: Any, h: Any, c: Any) -> dict[str, Any]:
    """The gates of one step, and the new cell state of an LSTM."""
    wx, uh = cells._gates(op, x, h)
    order = dialects.CANONICAL[op.cell]
    at = {gate: i for i, gate in enumerate(order)}

    def pre(gate: str) -> Any:
        return wx[at[gate]] + uh[at[gate]]

    def sigmoid(a: Any) -> Any:
        return op.gate_activation(cells._clip(op, a))

    if isinstance(op, GRU):
        found = {"update": sigmoid(pre("z")), "reset": sigmoid(pre("r"))}
        r = found["reset"]
        if op.reset_after:
            a = wx[2] + r * uh[2]
        else:
            u, b = np.split(cells.f64(op.weight_h), op.gates)[2], np.split(cells.f64(op.bias_h), op.gates)[2]
            a = wx[2] + cells.product(op, r * h, u) + b
        found["candidate"] = op.activation(cells._clip(op, a))
        if op.output_gate:
            found["output"] = sigmoid(pre("o"))
        return found
    if isinstance(op, LSTM):
        p = np.zeros((3, op.hidden_size)) if op.peephole is None else cells.f64(op.peephole)
        i = sigmoid(pre("i") + p[0] * c)
        f = 1 - i if op.coupled else sigmoid(pre("f") + p[1] * c)
        g = op.activation(cells._clip(op, pre("g")))
        cell = f * c + i * g
        return {"input": i, "forget": f, "candidate": g, "output": sigmoid(pre("o") + p[2] * cell), "cell": cell}
    return {}


def parts_of(op: Recurrent, x: Any) -> dict[str, Any]:
    """All that a layer can show of sequences (B, T, I), (B, T, units) each."""
    state = cells.initial_state(op, len(x))
    found: dict[str, list[Any]] = {}
    for t in range(x.shape[1])[:: -1 if op.reverse else 1]:
        x_t = cells.operand(op, np.asarray(x[:, t], np.float64))
        gates = gates_of(op, x_t, state["h"], state.get("c"))
        _, state = STEPS[op.kind](op, x_t, state)
        for name, array in {**gates, "hidden": state["h"]}.items():
            found.setdefault(name, []).append(array)
    return {name: np.stack(some[:: -1 if op.reverse else 1], axis=1) for name, some in found.items()}
