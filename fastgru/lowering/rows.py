"""Ops over whole rows (B, T, F): one row of `LOWERINGS` each. Biases are merged here, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .. import graph as g
from ..graph import SOFTMAX, TIERS, Activation
from ..reference import f64
from . import instructions as engine
from .codes import PHASES
from .kinds import Act


def act(activation: Activation) -> Act:
    """An activation as instructions have it."""
    return (activation.code, *activation.parameters)


def _gates(op: g.Recurrent, array: Any, names: str) -> Any:
    """The gate blocks `names` of a weight (G*H, K) or bias (G*H,) as (G, H, ...); a view if they lie side by side."""
    order = g.dialects.CANONICAL[op.cell]
    blocks = array.reshape(len(order), -1, *array.shape[1:])
    first = order.find(names)
    return np.stack([blocks[order.index(name)] for name in names]) if first < 0 else blocks[first : first + len(names)]


def _tier(op: g.Recurrent, kind: str, gate: str, candidate: str, output: str) -> int:
    """The code of enum fg_tier (include/fastgru/fastgru.h): the tiers are compiled into the cells, 0 is any other."""
    for code, (sigmoid, tanh) in enumerate(TIERS.values(), 1):
        if op.clip is None and candidate == output == tanh and (kind == "rnn" or gate == sigmoid):
            return code
    return 0


def _phase(op: g.Recurrent, kind: str, names: str, *, kept_apart: str = "") -> engine.Phase:
    """A phase over the gates `names`; the recurrent bias of `kept_apart` stays with the recurrent product."""
    acts = op.gate_activations()
    acts = (*acts, acts[-1], acts[-1])[:3]
    zero = np.zeros(op.weight_x.shape[0])
    bias_x = _gates(op, f64(op.bias, zero), names)
    bias_h = _gates(op, f64(op.bias_h, zero), names)
    apart = np.array([[name in kept_apart] for name in names])
    return engine.Phase(
        kind=PHASES[kind],
        tier=_tier(op, kind, *(a.name for a in acts)),
        keep_candidate=isinstance(op, g.GRU) and op.update_keeps == "candidate",
        act=tuple(act(a) for a in acts),
        clip=op.clip or 0.0,
        u=_gates(op, op.weight_h, names),
        x=_gates(op, op.weight_x, names),
        table=None,
        bias_x=bias_x + np.where(apart, 0.0, bias_h),
        bias_h=np.where(apart, bias_h, 0.0) if kept_apart else None,
        peephole=getattr(op, "peephole", None),
    )


def _rnn_phases(op: g.RNN) -> tuple[engine.Phase, ...]:
    return (_phase(op, "rnn", "n"),)


def _gru_phases(op: g.GRU) -> tuple[engine.Phase, ...]:
    out = "o" if op.output_gate else ""
    suffix = "_out" if op.output_gate else ""
    if op.reset_after:
        return (_phase(op, f"gru_after{suffix}", "rzn" + out, kept_apart="n"),)
    return _phase(op, f"gru_gates{suffix}", "rz" + out), _phase(op, "gru_candidate", "n")


def _lstm_phases(op: g.LSTM) -> tuple[engine.Phase, ...]:
    first = _phase(op, "lstm_coupled", "igo") if op.coupled else _phase(op, "lstm", "ifgo")
    if op.projection is None:
        return (first,)
    projected = replace(
        first, kind=PHASES["project"], u=op.projection[None], x=None, bias_x=None, bias_h=None, peephole=None
    )
    return first, projected


CELL_PHASES: dict[type[g.Op], Callable[[Any], tuple[engine.Phase, ...]]] = {
    g.RNN: _rnn_phases, g.GRU: _gru_phases, g.LSTM: _lstm_phases,
}  # fmt: skip


def layer(op: g.Recurrent) -> engine.Layer:
    """Return a recurrent layer as instructions have it."""
    return engine.Layer(
        reverse=op.reverse,
        last=not op.return_sequences,
        carry=op.mask_output == "carry",
        gated_output=isinstance(op, g.GRU) and op.output_gate,
        precision=op.precision,
        units=op.hidden_size,
        features=op.output_size,
        initial_h=op.initial_h,
        initial_c=getattr(op, "initial_c", None),
        phases=CELL_PHASES[type(op)](op),
    )


class Between(NamedTuple):
    """The buffers that an instruction stands between, and the elements of a row written."""

    inputs: tuple[int, ...]
    output: int
    size: int

    def made(self, kind: type[engine.Instruction], **own: Any) -> engine.Instruction:
        """The instruction itself."""
        return kind(**{**self._asdict(), **own})


IN_FLOAT32: dict[str, Any] = {"precision": "float32", "input_scale": 0.0, "input_zero": 0}


def multiplied(op: g.Dense) -> dict[str, Any]:
    """How the engine multiplies: the precision, and the scale of all rows of activations, 0 where each has its own."""
    return {"precision": op.precision, "input_scale": op.input_scale or 0.0, "input_zero": op.input_zero}


def _dense(at: Between, op: g.Dense) -> engine.Instruction:
    softmax = op.activation.name == SOFTMAX
    activation = Activation("linear") if softmax else op.activation
    bias = None if op.bias is None else f64(op.bias)
    return at.made(engine.Dense, w=op.weight, bias=bias, act=act(activation), softmax=softmax, **multiplied(op))


def _batch_norm(at: Between, op: g.BatchNorm) -> engine.Instruction:
    scale = f64(op.scale, np.ones(op.mean.shape)) / np.sqrt(f64(op.variance) + op.eps)
    return at.made(engine.Affine, scale=scale, shift=f64(op.shift, np.zeros(op.mean.shape)) - f64(op.mean) * scale)


def _layer_norm(at: Between, op: g.LayerNorm) -> engine.Instruction:
    shift = f64(op.shift, np.zeros(op.scale.shape))
    return at.made(engine.LayerNorm, scale=f64(op.scale), shift=shift, eps=op.eps)


def _activate(at: Between, op: g.Activate) -> engine.Instruction:
    softmax = op.activation.name == SOFTMAX
    return at.made(engine.Activate, act=act(Activation("linear") if softmax else op.activation), softmax=softmax)


def _average(at: Between, op: g.Average) -> engine.Instruction:
    return at.made(engine.Average, act=act(Activation("affine", alpha=1.0 / len(at.inputs))))


def _recurrent(at: Between, op: g.Recurrent) -> engine.Instruction:
    return at.made(engine.Recurrent, layer=layer(op))


LOWERINGS: dict[type[g.Op], Callable[[Between, Any], engine.Instruction]] = {
    g.RNN: _recurrent,
    g.GRU: _recurrent,
    g.LSTM: _recurrent,
    g.Dense: _dense,
    g.Embedding: lambda at, op: at.made(engine.Embedding, w=op.weight, precision=op.precision),
    g.LayerNorm: _layer_norm,
    g.BatchNorm: _batch_norm,
    g.Activate: _activate,
    g.Dropout: lambda at, op: at.made(engine.Activate, act=act(Activation("linear")), softmax=False),
    g.Mask: lambda at, op: at.made(engine.Mask, value=op.value),
    g.ApplyMask: lambda at, op: at.made(engine.ApplyMask),
    g.Reverse: lambda at, op: at.made(engine.Reverse),
    g.Concat: lambda at, op: at.made(engine.Concat),
    g.Add: lambda at, op: at.made(engine.Add),
    g.Multiply: lambda at, op: at.made(engine.Multiply),
    g.Average: _average,
}


def with_table(layer: engine.Layer, embedding: g.Embedding) -> engine.Layer:
    """The layer for ids in the place of rows of an embedding: of each row e it has the input part W_x e + b."""

    def by_id(phase: engine.Phase) -> engine.Phase:
        if phase.x is None:
            return phase
        table = np.einsum("vi,ghi->vgh", f64(embedding.weight), f64(phase.x)) + phase.bias_x
        return replace(phase, table=table, x=None, bias_x=None)

    return replace(layer, phases=tuple(map(by_id, layer.phases)))
