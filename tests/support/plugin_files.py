"""Writers of the files that audio plugins play, after the published formats, from plain arrays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def listed(value: Any) -> Any:
    """Arrays as nested lists of numbers, at any depth."""
    if isinstance(value, dict):
        return {k: listed(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [listed(v) for v in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def saved(folder: Path, content: Any, name: str = "model.json") -> Path:
    """Write a file and return its path."""
    (folder / name).write_text(json.dumps(listed(content)))
    return folder / name


# RTNeural -----------------------------------------------------------------------------------------


def layer(kind: str, size: int, *weights: Any, activation: str = "", **more: Any) -> dict[str, Any]:
    """A layer as Keras and RTNeural's exporter describe it."""
    return {"type": kind, "activation": activation, "shape": [None, None, size], **more, "weights": list(weights)}


def rtneural(inputs: int, *layers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A file of layers."""
    return {"in_shape": [None, None, inputs], "layers": list(layers), **more}


def keras_gru(w: Any, u: Any, b: Any, c: Any) -> tuple[Any, ...]:
    """Kernels (I, 3H), (H, 3H) and bias (2, 3H) with gates z, r, n, from PyTorch's (3H, ...) with r, z, n."""
    swapped = [np.concatenate([*np.split(a, 3)[1::-1], np.split(a, 3)[2]]) for a in (w, u, b, c)]
    return swapped[0].T, swapped[1].T, np.stack(swapped[2:])


# Neural Amp Modeler -------------------------------------------------------------------------------


def nam(architecture: str, config: dict[str, Any], weights: Sequence[Any], **more: Any) -> dict[str, Any]:
    """A file of weights, one array behind the other."""
    flat = np.concatenate([np.ravel(a) for a in weights]) if len(weights) else np.zeros(0)
    file = {"version": "0.5.4", "architecture": architecture, "config": config, "weights": flat}
    return {**file, "sample_rate": 48000, **more}


def nam_lstm(cells: Sequence[tuple[Any, ...]], head: tuple[Any, Any], **more: Any) -> dict[str, Any]:
    """A file of cells (W, U, b, h, c) with gates i, f, g, o, and a head (weight, bias)."""
    weights = [a for w, u, b, h, c in cells for a in (np.concatenate([w, u], axis=1), b, h, c)]
    config = {"input_size": cells[0][0].shape[1], "hidden_size": cells[0][1].shape[1], "num_layers": len(cells)}
    return nam("LSTM", config, [*weights, *head], **more)
