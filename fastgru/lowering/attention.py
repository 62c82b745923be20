"""Attention of all steps to all steps: one instruction, with room for the scores of some queries at a time."""

from __future__ import annotations

from .. import graph as g
from .codes import FUNCTIONS
from .elementwise import Lowering
from .instructions import Attend
from .program import Program, Value, joint_time
from .views import View

QUERIES = 8  # whose scores are held at once: the rows of a tile of products


def _time_attention(p: Program, op: g.TimeAttention, q: Value, k: Value, v: Value, *added: Value) -> View:
    heads, width = q.shape
    time = joint_time([q, k, v, *added])
    # The scale is that of the scores and of what is added to them.
    more = [p.expression(FUNCTIONS["mul"], [x, View.of_constant(1.0 / op.scale)]) for x in added]
    inputs = tuple(_timed(p, x, time) for x in (q, k, v, *more))
    to, scores, turned = p.new(v.shape, time), p.new((QUERIES,), time), p.new((width,), time)
    p.emit(
        Attend(
            inputs=inputs, output=to.buffer, outputs=(scores.buffer, turned.buffer), size=to.size, heads=heads,
            width=width, scale=op.scale, causal=op.causal,
        )
    )  # fmt: skip
    return to


def _timed(p: Program, x: Value, time: int) -> int:
    """The number of a buffer that holds exactly a value, at every step."""
    view = p.view(x)
    if view.time == time:
        return p.whole(view)
    to = p.new(view.shape, time)
    p.copy(view, to)
    return to.buffer


ATTENTION: dict[type[g.Op], Lowering] = {g.TimeAttention: _time_attention}
