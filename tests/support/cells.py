"""Every cell as a row, with random weights: what the tests sweep over."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgru import engine
from fastgru.graph import GRU, LSTM, RNN, Recurrent

SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100)
ISAS = [name for name, supported, *_ in engine.isas() if supported]

# name -> (class, gates, attributes): every variant of every cell.
CELLS: dict[str, tuple[type[Recurrent], int, dict[str, Any]]] = {
    "rnn-tanh": (RNN, 1, {}),
    "rnn-relu": (RNN, 1, {"activation": "relu"}),
    "gru-after": (GRU, 3, {}),
    "gru-before": (GRU, 3, {"reset_after": False}),
    "gru-after-candidate": (GRU, 3, {"update_keeps": "candidate"}),
    "gru-before-candidate": (GRU, 3, {"reset_after": False, "update_keeps": "candidate"}),
    "gru-before-output": (GRU, 4, {"reset_after": False, "update_keeps": "candidate", "output_gate": True}),
    "gru-after-output": (GRU, 4, {"output_gate": True}),
    "gru-hard": (GRU, 3, {"gate_activation": {"name": "hard_sigmoid", "alpha": 1 / 6}, "activation": "softsign"}),
    "lstm": (LSTM, 4, {}),
    "lstm-peephole": (LSTM, 4, {"peephole": True}),
    "lstm-coupled": (LSTM, 3, {"coupled": True}),
    "lstm-coupled-peephole": (LSTM, 3, {"coupled": True, "peephole": True}),
    "lstm-projection": (LSTM, 4, {"projection": True}),
    "lstm-clip": (LSTM, 4, {"clip": 0.5, "gate_activation": "hard_sigmoid"}),
}


def make_cell(name: str, inputs: int, hidden: int, *, seed: int = 0, dtype: str = "float32", **attributes: Any) -> Any:
    """The cell of that row with random weights scaled as a trained network's, and learned initial states."""
    cls, gates, fixed = CELLS[name]
    rng = np.random.default_rng([seed, inputs, hidden, len(name)])
    fields: dict[str, Any] = {**fixed, **attributes}
    features = hidden

    def draw(*shape: int) -> Any:
        return rng.uniform(-1, 1, shape).astype(dtype) / np.sqrt(hidden).astype(dtype)

    if fields.pop("peephole", False):
        fields["peephole"] = draw(3, hidden)
    if fields.pop("projection", False):
        features = max(1, hidden // 2)
        fields["projection"] = draw(features, hidden)
    if issubclass(cls, LSTM):
        fields["initial_c"] = draw(hidden)
    return cls(
        draw(gates * hidden, inputs), draw(gates * hidden, features), draw(gates * hidden), draw(gates * hidden),
        initial_h=draw(features), **fields,
    )  # fmt: skip
