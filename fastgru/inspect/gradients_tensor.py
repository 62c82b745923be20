"""Vector-Jacobian products of the ops on frames: one row an op, beside the formulas of `fastgru.reference`.

A row takes the op, its inputs and outputs as (B, T, *frame), and the gradients of the outputs; it returns those of the
inputs, None where an input is no float. Frames of `ALIGNED` ops have one rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import graph as g
from ..errors import GraphError
from ..graph.activations import F64
from ..reference import FORMULAS, f64
from ..reference.tensor import ALIGNED, LEAD, aligned
from .gradients_cells import STEPS_BACK, scan_back
from .gradients_slopes import BINARY, FOLDS, UNARY, through, through_softmax

Array = NDArray[Any]
Row = Callable[[Any, Sequence[Array], Sequence[Array], Sequence[F64]], list[Any]]


def fitted(gradient: F64, shape: tuple[int, ...]) -> F64:
    """Return a gradient (B, T, *frame), summed over what a value of `shape` was broadcast along."""
    extra = gradient.ndim - len(shape)
    if extra:
        gradient = gradient.sum(axis=tuple(range(LEAD, LEAD + extra)))
    wide = tuple(i for i, (n, m) in enumerate(zip(gradient.shape, shape, strict=True)) if m == 1 and n > 1)
    return gradient.sum(axis=wide, keepdims=True) if wide else gradient


def moved(x: Array, places: Array, gradient: F64) -> F64:
    """Return the gradient of x whose elements an op only moves.

    Parameters
    ----------
    places : array
        What the op makes of `numbered(x)`: which element stands where, 0 for what is none.
    """
    sums = np.bincount(places.ravel(), weights=gradient.ravel(), minlength=x.size + 1)
    return np.asarray(sums[1 : x.size + 1].reshape(x.shape), dtype=np.float64)


def numbered(x: Array) -> Array:
    """Number the elements of x from 1."""
    return np.arange(1, x.size + 1).reshape(x.shape)


def _moves(op: Any, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    """Follow the elements of the first input; others say where they go."""
    plain = op.replace(value=0.0) if hasattr(op, "value") else op
    places = np.broadcast_to(FORMULAS[type(op)](plain, numbered(xs[0]), *xs[1:]), gs[0].shape)
    return [moved(xs[0], places, gs[0]), *[None] * (len(xs) - 1)]


def _dense(op: g.Dense, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    back = gs[0]
    if op.activation.name != "linear":
        back = through(op.activation, xs[0] @ f64(op.weight).T + f64(op.bias), back)
    return [back @ f64(op.weight)]


def _layer_norm(op: g.LayerNorm, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    centred = xs[0] - xs[0].mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + op.eps)
    unit, back = centred / spread, gs[0] * f64(op.scale)
    along = (back * unit).mean(axis=-1, keepdims=True)
    return [(back - back.mean(axis=-1, keepdims=True) - unit * along) / spread]


def _concat(op: g.Concat, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    axis = op.axis if op.axis < 0 else LEAD + op.axis
    return np.split(gs[0], np.cumsum([x.shape[axis] for x in xs])[:-1], axis=axis)


def _multiply(op: g.Multiply, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    return [gs[0] * math.prod((x for j, x in enumerate(xs) if j != i), start=1.0) for i in range(len(xs))]


def _unary(op: g.Unary, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    return [gs[0] * UNARY[op.function](xs[0], ys[0])] if op.function in UNARY else [None]


def _binary(op: g.Binary, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    if op.function not in BINARY or ys[0].dtype.kind != "f":
        return [None, None]
    return [gs[0] * part for part in BINARY[op.function](xs[0], xs[1], ys[0])]


def _softmax(op: g.Softmax, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    axis = LEAD + op.axis
    if op.log:
        return [gs[0] - np.exp(ys[0]) * gs[0].sum(axis=axis, keepdims=True)]
    return [through_softmax(ys[0], gs[0], axis)]


def _reduce(op: g.Reduce, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    if xs[0].dtype.kind != "f":
        return [None]
    axes = tuple(LEAD + i for i in op.axes)
    y, back = (a if op.keepdims else np.expand_dims(a, axes) for a in (ys[0], gs[0]))
    return [back * FOLDS[op.function](xs[0], y, axes)]


def _top_k(op: g.TopK, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    back = np.zeros(xs[0].shape)
    np.put_along_axis(back, ys[1], gs[0], LEAD + op.axis)
    return [back]


def _cum_sum(op: g.CumSum, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    return [FORMULAS[g.CumSum](op.replace(reverse=not op.reverse), gs[0])]


def _slice(op: g.Slice, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    back = np.zeros(xs[0].shape)
    index: Any = (..., *op.slices())
    back[index] = gs[0]
    return [back]


def _transpose(op: g.Transpose, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    return [gs[0].transpose(0, 1, *(LEAD + int(i) for i in np.argsort(op.perm)))]


def _mat_mul(op: g.MatMul, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    a, b = xs
    vectors = a.ndim == LEAD + 1, b.ndim == LEAD + 1
    left = a[..., None, :] if vectors[0] else a
    right = b[..., :, None] if vectors[1] else b
    left = np.swapaxes(left, -1, -2) if op.transpose_a else left
    right = np.swapaxes(right, -1, -2) if op.transpose_b else right
    left, right = aligned([left, right])
    back = gs[0][..., None] if vectors[1] else gs[0]
    back = np.expand_dims(back, -2) if vectors[0] else back
    of_left = back @ np.swapaxes(right, -1, -2)
    of_right = np.swapaxes(left, -1, -2) @ back
    of_left = np.swapaxes(of_left, -1, -2) if op.transpose_a else of_left
    of_right = np.swapaxes(of_right, -1, -2) if op.transpose_b else of_right
    return [of_left[..., 0, :] if vectors[0] else of_left, of_right[..., 0] if vectors[1] else of_right]


def _scan(op: g.Recurrent, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    return scan_back(STEPS_BACK[type(op)], op, xs[0], xs[1:], gs)[0]


def _none(op: g.Op, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    return [None] * len(xs)


def _cast(op: g.Cast, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    return [gs[0] if xs[0].dtype.kind == "f" and op.to == "float" else None]


def _batch_scale(op: g.BatchNorm) -> F64:
    return f64(op.scale, 1.0) / np.sqrt(f64(op.variance) + op.eps)


ROWS: dict[type[g.Op], Row] = {
    g.RNN: _scan,
    g.GRU: _scan,
    g.LSTM: _scan,
    g.Dense: _dense,
    g.Embedding: _none,
    g.LayerNorm: _layer_norm,
    g.BatchNorm: lambda op, xs, ys, gs: [gs[0] * _batch_scale(op)],
    g.Scaler: lambda op, xs, ys, gs: [gs[0] / f64(op.scale)],
    g.Activate: lambda op, xs, ys, gs: [through(op.activation, xs[0], gs[0])],
    g.Dropout: lambda op, xs, ys, gs: [gs[0]],
    g.Mask: _none,
    g.ApplyMask: lambda op, xs, ys, gs: [np.where(xs[1][..., None], gs[0], 0.0), None],
    g.Concat: _concat,
    g.Add: lambda op, xs, ys, gs: [gs[0]] * len(xs),
    g.Multiply: _multiply,
    g.Average: lambda op, xs, ys, gs: [gs[0] / len(xs)] * len(xs),
    g.Constant: _none,
    g.Unary: _unary,
    g.Binary: _binary,
    g.Where: lambda op, xs, ys, gs: [None, np.where(xs[0], gs[0], 0.0), np.where(xs[0], 0.0, gs[0])],
    g.Cast: _cast,
    g.Softmax: _softmax,
    g.Reduce: _reduce,
    g.ArgReduce: _none,
    g.TopK: _top_k,
    g.CumSum: _cum_sum,
    g.Reshape: lambda op, xs, ys, gs: [gs[0].reshape(xs[0].shape)],
    g.Transpose: _transpose,
    g.Slice: _slice,
    g.Pad: _moves,
    g.Expand: _moves,
    g.Tile: _moves,
    g.Gather: _moves,
    g.OneHot: _none,
    g.MatMul: _mat_mul,
    g.Reverse: _moves,
    g.TimePad: _moves,
    g.TimeSlice: _moves,
    g.TimeStep: _moves,
    g.Framing: _moves,
}


def back_through(rows: Any, node: g.Node, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    """Return what a row of a table gives for each input of a node, in the inputs' own shapes.

    Raises
    ------
    GraphError
        When the table has no row for the op, naming the node.
    """
    row = rows.get(type(node.op))
    if row is None:
        raise GraphError(f"node {node.name!r}: attribution has no rule for {type(node.op).__name__}")
    given = aligned(xs) if isinstance(node.op, ALIGNED) else xs
    try:
        found = row(node.op, given, ys, gs)
    except GraphError as error:
        raise GraphError(f"node {node.name!r}: {error}") from error
    return [None if a is None else fitted(a, x.shape) for a, x in zip(found, xs, strict=True)]
