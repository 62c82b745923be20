"""From a Graph to what the engine packs: values become numbers, ops become instruction dicts.

`LOWERINGS` has one row per op; `lower` is all that `Model` calls. Biases are merged here, in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import graph as g
from .errors import GraphError
from .graph import SOFTMAX, Activation
from .reference import f64

# Instruction codes of fastgru/_run.pxi and phase codes of include/fastgru/fastgru.h.
OPCODES = {
    kind: code
    for code, kind in enumerate(
        ("recurrent", "dense", "embedding", "layer_norm", "affine", "activate", "mask", "apply_mask", "reverse",
         "concat", "add", "multiply", "average")
    )
}  # fmt: skip
PHASES = {
    name: code
    for code, name in enumerate(
        ("rnn", "gru_after", "gru_after_out", "gru_gates", "gru_gates_out", "gru_candidate", "lstm", "lstm_coupled",
         "project")
    )
}  # fmt: skip
USUAL = ("sigmoid", "tanh", "tanh")  # what the kernels' fast path computes


class Lowered(NamedTuple):
    """The arguments of `_engine.Plan`."""

    values: list[dict[str, Any]]
    instructions: list[dict[str, Any]]
    inputs: list[int]
    outputs: list[int]
    states: list[tuple[str, int, str, int]]
    blockers: list[str]
    macs: int
    id_bound: int


def _act(activation: Activation) -> tuple[int, float, float]:
    return (activation.code, *activation.parameters)


def _gates(op: g.Recurrent, array: Any, names: str) -> Any:
    """The gate blocks `names` of a weight (G*H, K) or bias (G*H,) as (G, H, ...) float64."""
    order = g.dialects.CANONICAL[op.cell]
    blocks = dict(zip(order, np.split(f64(array), len(order)), strict=True))
    return np.stack([blocks[name] for name in names])


def _phase(op: g.Recurrent, kind: str, names: str, *, kept_apart: str = "") -> dict[str, Any]:
    """A phase over the gates `names`; the recurrent bias of `kept_apart` stays with the recurrent product."""
    acts = op.gate_activations()
    acts = (acts[0],) * 3 if len(acts) == 1 else acts
    usual = [a.name for a in acts[1:]] == ["tanh"] * 2 if kind == "rnn" else tuple(a.name for a in acts) == USUAL
    zero = np.zeros(op.weight_x.shape[0])
    bias_x = _gates(op, f64(op.bias, zero), names)
    bias_h = _gates(op, f64(op.bias_h, zero), names)
    apart = np.array([[name in kept_apart] for name in names])
    return {
        "kind": PHASES[kind],
        "plain": usual and op.clip is None,
        "keep_candidate": isinstance(op, g.GRU) and op.update_keeps == "candidate",
        "act": [_act(a) for a in acts],
        "clip": op.clip or 0.0,
        "u": _gates(op, op.weight_h, names),
        "x": _gates(op, op.weight_x, names),
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
    nothing = {"x": None, "bias_x": None, "bias_h": None, "peephole": None}
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


def lower(graph: g.Graph) -> Lowered:
    """The plan's arguments for `graph`.

    Raises
    ------
    GraphError
        When the graph has what the engine cannot run yet: more than one input, or an input as output.
    """
    if len(graph.inputs) != 1:
        raise GraphError(f"number of inputs must be 1, got {len(graph.inputs)}: {', '.join(graph.inputs)}")
    # A graph over rows (B, F) has no recurrence, so each row may as well be a step: (T, F).
    only_rows = not next(iter(graph.inputs.values())).time
    bad = [v for v in graph.outputs if v in graph.inputs or graph.specs[v].dtype != "float"]
    bad += [v for i, v in enumerate(graph.outputs) if v in graph.outputs[:i]]
    if bad:
        raise GraphError(f"outputs must be different float values that nodes compute, got {', '.join(bad)}")
    number = {name: i for i, name in enumerate(graph.specs)}
    values = [
        {"size": s.shape[0] if s.shape else 0, "time": s.time or only_rows, "kind": s.dtype}
        for s in graph.specs.values()
    ]
    instructions, states, recurrence, bound = [], [], 0, 2**31
    for node in graph.nodes:
        d = LOWERINGS[type(node.op)](node.op)
        d["inputs"], d["output"] = [number[v] for v in node.inputs], number[node.outputs[0]]
        written = node.inputs[0] if d["op"] == "mask" else node.outputs[0]
        d["size"] = values[number[written]]["size"]
        if d["op"] == "average":
            d["act"] = _act(Activation("affine", alpha=1.0 / len(node.inputs)))
        d["op"] = OPCODES[d["op"]]
        instructions.append(d)
        if isinstance(node.op, g.Embedding):
            bound = min(bound, node.op.weight.shape[0])
        if isinstance(node.op, g.Recurrent):
            names = dict(node.op.states())
            if len(node.inputs) == 2:  # a masked stream must remember its last valid output
                names["y"] = node.op.output_size
            states += [(f"{node.name}.{n}", recurrence, n, size) for n, size in names.items()]
            recurrence += 1
    return Lowered(
        values, instructions, [number[v] for v in graph.inputs], [number[v] for v in graph.outputs], states,
        graph.not_streamable(), sum(node.op.macs() for node in graph.nodes), bound,
    )  # fmt: skip
