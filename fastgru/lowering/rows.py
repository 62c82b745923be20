"""Ops over whole rows (B, T, F): one row of `LOWERINGS` each. Biases are merged here, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import graph as g
from ..graph import SOFTMAX, TIERS, Activation
from ..reference import f64

# Instruction codes of fastgru/_run.pxi and phase codes of include/fastgru/fastgru.h.
OPCODES = {
    kind: code
    for code, kind in enumerate(
        ("recurrent", "dense", "embedding", "layer_norm", "affine", "activate", "mask", "apply_mask", "reverse",
         "concat", "add", "multiply", "average", "frame", "store", "frame_product", "frame_rows", "scan",
         "window", "overlap_add", "mirror", "wait", "convert", "top_k")
    )
}  # fmt: skip
PHASES = {
    name: code
    for code, name in enumerate(
        ("rnn", "gru_after", "gru_after_out", "gru_gates", "gru_gates_out", "gru_candidate", "lstm", "lstm_coupled",
         "project")
    )
}  # fmt: skip


def _act(activation: Activation) -> tuple[int, float, float]:
    return (activation.code, *activation.parameters)


def _gates(op: g.Recurrent, array: Any, names: str) -> Any:
    """The gate blocks `names` of a weight (G*H, K) or bias (G*H,) as (G, H, ...) float64."""
    order = g.dialects.CANONICAL[op.cell]
    blocks = dict(zip(order, np.split(f64(array), len(order)), strict=True))
    return np.stack([blocks[name] for name in names])


def _tier(op: g.Recurrent, kind: str, gate: str, candidate: str, output: str) -> int:
    """The code of enum fg_tier (include/fastgru/fastgru.h): the tiers are compiled into the cells, 0 is any other."""
    for code, (sigmoid, tanh) in enumerate(TIERS.values(), 1):
        if op.clip is None and candidate == output == tanh and (kind == "rnn" or gate == sigmoid):
            return code
    return 0


def _phase(op: g.Recurrent, kind: str, names: str, *, kept_apart: str = "") -> dict[str, Any]:
    """A phase over the gates `names`; the recurrent bias of `kept_apart` stays with the recurrent product."""
    acts = op.gate_activations()
    acts = (*acts, acts[-1], acts[-1])[:3]
    zero = np.zeros(op.weight_x.shape[0])
    bias_x = _gates(op, f64(op.bias, zero), names)
    bias_h = _gates(op, f64(op.bias_h, zero), names)
    apart = np.array([[name in kept_apart] for name in names])
    return {
        "kind": PHASES[kind],
        "tier": _tier(op, kind, *(a.name for a in acts)),
        "keep_candidate": isinstance(op, g.GRU) and op.update_keeps == "candidate",
        "act": [_act(a) for a in acts],
        "clip": op.clip or 0.0,
        "u": _gates(op, op.weight_h, names),
        "x": _gates(op, op.weight_x, names),
        "table": None,
        "bias_x": bias_x + np.where(apart, 0.0, bias_h),
        "bias_h": np.where(apart, bias_h, 0.0) if kept_apart else None,
        "peephole": getattr(op, "peephole", None),
    }


def _rnn_phases(op: g.RNN) -> list[dict[str, Any]]:
    return [_phase(op, "rnn", "n")]


def _gru_phases(op: g.GRU) -> list[dict[str, Any]]:
    out = "o" if op.output_gate else ""
    suffix = "_out" if op.output_gate else ""
    if op.reset_after:
        return [_phase(op, f"gru_after{suffix}", "rzn" + out, kept_apart="n")]
    return [_phase(op, f"gru_gates{suffix}", "rz" + out), _phase(op, "gru_candidate", "n")]


def _lstm_phases(op: g.LSTM) -> list[dict[str, Any]]:
    first = _phase(op, "lstm_coupled", "igo") if op.coupled else _phase(op, "lstm", "ifgo")
    if op.projection is None:
        return [first]
    nothing = {"x": None, "table": None, "bias_x": None, "bias_h": None, "peephole": None}
    return [first, {**first, **nothing, "kind": PHASES["project"], "u": f64(op.projection)[None]}]


CELL_PHASES: dict[type[g.Op], Callable[[Any], list[dict[str, Any]]]] = {
    g.RNN: _rnn_phases, g.GRU: _gru_phases, g.LSTM: _lstm_phases,
}  # fmt: skip


def _recurrent(op: g.Recurrent) -> dict[str, Any]:
    return {
        "op": "recurrent",
        "reverse": op.reverse,
        "last": not op.return_sequences,
        "carry": op.mask_output == "carry",
        "gated_output": isinstance(op, g.GRU) and op.output_gate,
        "precision": op.precision,
        "units": op.hidden_size,
        "features": op.output_size,
        "initial_h": op.initial_h,
        "initial_c": getattr(op, "initial_c", None),
        "phases": CELL_PHASES[type(op)](op),
    }


def _dense(op: g.Dense) -> dict[str, Any]:
    softmax = op.activation.name == SOFTMAX
    act = Activation("linear") if softmax else op.activation
    return {"op": "dense", "w": f64(op.weight), "bias": None if op.bias is None else f64(op.bias),
            "act": _act(act), "softmax": softmax, "precision": op.precision}  # fmt: skip


def _batch_norm(op: g.BatchNorm) -> dict[str, Any]:
    scale = f64(op.scale, np.ones(op.mean.shape)) / np.sqrt(f64(op.variance) + op.eps)
    return {"op": "affine", "scale": scale, "shift": f64(op.shift, np.zeros(op.mean.shape)) - f64(op.mean) * scale}


def _layer_norm(op: g.LayerNorm) -> dict[str, Any]:
    shift = f64(op.shift, np.zeros(op.scale.shape))
    return {"op": "layer_norm", "scale": f64(op.scale), "shift": shift, "number": op.eps}


def _activate(op: g.Activate) -> dict[str, Any]:
    if op.activation.name == SOFTMAX:
        return {"op": "activate", "softmax": True}
    return {"op": "activate", "act": _act(op.activation)}


LOWERINGS: dict[type[g.Op], Callable[[Any], dict[str, Any]]] = {
    g.RNN: _recurrent,
    g.GRU: _recurrent,
    g.LSTM: _recurrent,
    g.Dense: _dense,
    g.Embedding: lambda op: {"op": "embedding", "w": f64(op.weight), "precision": op.precision},
    g.LayerNorm: _layer_norm,
    g.BatchNorm: _batch_norm,
    g.Activate: _activate,
    g.Dropout: lambda op: {"op": "activate", "act": _act(Activation("linear"))},
    g.Mask: lambda op: {"op": "mask", "number": op.value},
    g.ApplyMask: lambda op: {"op": "apply_mask"},
    g.Reverse: lambda op: {"op": "reverse"},
    g.Concat: lambda op: {"op": "concat"},
    g.Add: lambda op: {"op": "add"},
    g.Multiply: lambda op: {"op": "multiply"},
    g.Average: lambda op: {"op": "average"},
}


def with_table(d: dict[str, Any], embedding: g.Embedding) -> None:
    """Let a recurrent layer's instruction take ids: the input part W_x e + b of each row e of the embedding."""
    for phase in d["phases"]:
        if phase["x"] is not None:
            phase["table"] = np.einsum("vi,ghi->vgh", f64(embedding.weight), phase["x"]) + phase["bias_x"]
            phase["x"] = None


def lower_row(op: g.Op, inputs: int) -> dict[str, Any]:
    """The instruction of an op over whole rows, without its inputs and output."""
    d = LOWERINGS[type(op)](op)
    if d["op"] == "average":
        d["act"] = _act(Activation("affine", alpha=1.0 / inputs))
    return d
