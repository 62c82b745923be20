"""Ops over whole axes: reductions, softmax, norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import graph as g
from ..graph import SOFTMAX
from ..reference import f64
from .codes import FOLDS, FUNCTIONS
from .elementwise import Lowering, activation
from .instructions import ArgReduce, FrameNorm, FrameRows, FrameSoftmax, Reduce, Rows, TopK
from .program import Program, Value
from .shapes import reshape
from .views import View


def fold(p: Program, x: Value, axes: Sequence[int], name: str) -> View:
    """`x` folded over some axes, which remain with length 1."""
    view = p.view(x)
    kept = [i for i in range(view.rank) if i not in axes]
    to = p.new([view.shape[i] for i in kept], view.time)
    p.nest(Reduce, to, [view.permuted([*kept, *axes])], folded=[view.shape[i] for i in axes], function=FOLDS[name])
    shape = [1 if i in axes else n for i, n in enumerate(view.shape)]
    found = to.reshaped(shape)
    assert found is not None
    return found


def _unary(p: Program, name: str, x: Value) -> Value:
    return p.expression(FUNCTIONS[name], [x])


def _scaled(p: Program, x: Value, factor: float) -> Value:
    return p.expression(FUNCTIONS["mul"], [x, View.of_constant(factor)])


def _log_sum_exp(p: Program, x: Value, axes: Sequence[int], count: int) -> Value:
    x = p.view(x)
    top = fold(p, x, axes, "max")
    raised = _unary(p, "exp", p.expression(FUNCTIONS["sub"], [x, top]))
    return p.expression(FUNCTIONS["add"], [_unary(p, "log", fold(p, raised, axes, "sum")), top])


# function: (program, x, axes, elements folded into one) to the value with axes of length 1
REDUCTIONS = {
    "sum": lambda p, x, axes, n: fold(p, x, axes, "sum"),
    "mean": lambda p, x, axes, n: _scaled(p, fold(p, x, axes, "sum"), 1.0 / n),
    "max": lambda p, x, axes, n: fold(p, x, axes, "max"),
    "min": lambda p, x, axes, n: fold(p, x, axes, "min"),
    "prod": lambda p, x, axes, n: fold(p, x, axes, "prod"),
    "l1": lambda p, x, axes, n: fold(p, x, axes, "sum_abs"),
    "l2": lambda p, x, axes, n: _unary(p, "sqrt", fold(p, x, axes, "sum_square")),
    "sum_square": lambda p, x, axes, n: fold(p, x, axes, "sum_square"),
    "log_sum": lambda p, x, axes, n: _unary(p, "log", fold(p, x, axes, "sum")),
    "log_sum_exp": _log_sum_exp,
}


def _reduce(p: Program, op: Any, x: Value) -> Value:
    axes = sorted(a % len(x.shape) for a in op.axes)
    count = int(np.prod([x.shape[a] for a in axes]))
    y = REDUCTIONS[op.function](p, x, axes, count)
    return y if op.keepdims else reshape(p, y, [n for i, n in enumerate(x.shape) if i not in axes])


def _arg_reduce(p: Program, op: Any, x: Value) -> Value:
    view = p.view(x)
    axis = op.axis % view.rank
    kept = [i for i in range(view.rank) if i != axis]
    to = p.new([view.shape[i] for i in kept], view.time)
    p.nest(ArgReduce, to, [view.permuted([*kept, axis])], folded=[view.shape[axis]],
           smallest=op.function == "argmin", last=bool(op.last))  # fmt: skip
    return reshape(p, to, [1 if i == axis else n for i, n in enumerate(view.shape)]) if op.keepdims else to


def _top_k(p: Program, op: g.TopK, x: Value) -> tuple[View, View]:
    view, back = last_axis(p, x, op.axis)
    values, places = (p.new((*view.shape[:-1], op.k), view.time) for _ in range(2))
    loops = p.row_loops(view)
    n, stride = loops[0] if loops else (1, 0)
    p.emit(
        TopK(
            inputs=(view.buffer,), output=values.buffer, outputs=(places.buffer,), size=view.shape[-1],
            dims=(1, n), read=Rows(view.offset, 0, stride), write=Rows(0, 0, op.k), count=op.k, smallest=not op.largest,
        )
    )  # fmt: skip
    return values.permuted(back), places.permuted(back)


def last_axis(p: Program, x: Value, axis: int) -> tuple[View, list[int]]:
    """`x` with `axis` last and contiguous, and the permutation that undoes it."""
    order = [i for i in range(len(x.shape)) if i != axis] + [axis]
    return p.with_last_contiguous(p.view(x).permuted(order), 1), np.argsort(order).tolist()


def rowwise(p: Program, kind: type[FrameRows], view: View, **fields: Any) -> View:
    """An instruction over rows of the last axis, into a new buffer."""
    to = p.new(view.shape, view.time)
    loops = p.row_loops(view)
    n, stride = loops[0] if loops else (1, 0)
    p.emit(
        kind(
            inputs=(view.buffer,), output=to.buffer, size=view.shape[-1], dims=(1, n),
            read=Rows(view.offset, 0, stride), write=Rows(to.offset, 0, view.shape[-1]), **fields,
        )
    )  # fmt: skip
    return to


def softmax(p: Program, x: Value, axis: int) -> View:
    """exp(x - max) / sum along an axis."""
    view, back = last_axis(p, x, axis)
    return rowwise(p, FrameSoftmax, view).permuted(back)


def _softmax(p: Program, op: Any, x: Value) -> Value:
    axis = op.axis % len(x.shape)
    if not op.log:
        return softmax(p, x, axis)
    x = p.view(x)
    return p.expression(FUNCTIONS["sub"], [x, _log_sum_exp(p, x, [axis], 0)])


def _layer_norm(p: Program, op: g.LayerNorm, x: Value) -> Value:
    view, _ = last_axis(p, x, len(x.shape) - 1)
    shift = f64(op.shift, np.zeros(op.scale.shape))
    return rowwise(p, FrameNorm, view, scale=f64(op.scale), shift=shift, eps=op.eps)


def _cumulative(p: Program, op: Any, x: Value) -> Value:
    """A product with a triangle of ones."""
    from .linear import dense

    axis = op.axis % len(x.shape)
    n = x.shape[axis]
    ones = np.tril(np.ones((n, n)), -1 if op.exclusive else 0)
    view, back = last_axis(p, x, axis)
    return dense(p, view, ones[::-1, ::-1] if op.reverse else ones, None, g.Activation("linear")).permuted(back)


def _activate(p: Program, op: g.Activate, x: Value) -> Value:
    return softmax(p, x, len(x.shape) - 1) if op.activation.name == SOFTMAX else activation(p, op.activation, x)


REDUCING: dict[type[g.Op], Lowering] = {
    g.Activate: _activate,
    g.Reduce: _reduce,
    g.ArgReduce: _arg_reduce,
    g.TopK: _top_k,
    g.Softmax: _softmax,
    g.LayerNorm: _layer_norm,
    g.CumSum: _cumulative,
}
