"""Recurrent layers along an axis of the frame: a sequence inside every step, with no state of the stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .. import graph as g
from .codes import ABSENT
from .instructions import Operand, Rows, Scan
from .program import Program, Value, joint_time
from .rows import layer
from .views import View


def scan(p: Program, op: Any, x: Value, *operands: Value) -> tuple[View, ...]:
    """x (S, N, I) and the operands to y (S, N, R), the final h (N, R) and, of an LSTM, c (N, H)."""
    source = p.with_last_contiguous(x, 2)
    given = {name: p.contiguous(value) for name, value in zip(op.operands, operands, strict=True)}
    time = joint_time([source, *given.values()])
    steps, rows, _ = source.shape
    results = [p.new((steps, rows, op.output_size), time), p.new((rows, op.output_size), time)]
    if isinstance(op, g.LSTM):
        results.append(p.new((rows, op.hidden_size), time))
    parts = [given.get(name) for name in ("initial_h", "initial_c", "lengths")]
    p.emit(
        Scan(
            inputs=(source.buffer, *[v.buffer for v in parts if v is not None]),
            output=results[0].buffer,
            outputs=tuple(v.buffer for v in results[1:]),
            size=op.output_size,
            layer=replace(layer(op), last=False),
            steps=steps,
            rows=rows,
            read=Rows(source.offset, source.strides[0], source.strides[1]),
            operands=tuple(Operand(ABSENT) if v is None else Operand(v.buffer, v.offset, v.constant) for v in parts),
        )
    )
    return tuple(results)


SCANS = {g.RNN: scan, g.GRU: scan, g.LSTM: scan}
