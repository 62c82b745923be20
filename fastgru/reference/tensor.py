"""Formulas of the ops on frames. Arrays are (B, T, *frame), so that frame axis i is axis 2 + i."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import graph as g
from ..errors import GraphError
from ..graph.activations import F64
from .cells import f64, product, scan

Array = NDArray[Any]
Formula = Callable[..., Any]
LEAD = 2  # axes before the frame
DTYPES = {"float": np.float64, "int": np.int64, "bool": np.bool_}


def aligned(arrays: Sequence[Array]) -> list[Array]:
    """Arrays whose frames have one rank, by axes of 1 in front of the shorter ones."""
    rank = max(x.ndim for x in arrays)
    return [x.reshape(*x.shape[:LEAD], *(1,) * (rank - x.ndim), *x.shape[LEAD:]) for x in arrays]


# The layers around recurrences -------------------------------------------------------------------


def _layer_norm(op: g.LayerNorm, x: F64) -> F64:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + op.eps) * f64(op.scale) + f64(op.shift))


def _batch_norm(op: g.BatchNorm, x: F64) -> F64:
    scale = f64(op.scale, 1.0) / np.sqrt(f64(op.variance) + op.eps)
    return (x - f64(op.mean)) * scale + f64(op.shift)


def _scaler(op: g.Scaler, x: F64) -> F64:
    return (x - f64(op.mean)) / f64(op.scale)


def _mask(op: g.Mask, x: Any) -> Any:
    different = x != op.value
    return different.any(axis=-1) if x.ndim == 3 else different


def _check_ids(ids: Array, least: int, count: int) -> None:
    """Raise unless all ids lie in least..count - 1."""
    if ids.size and not least <= ids.min() <= ids.max() < count:
        raise GraphError(f"ids must be in {least}..{count - 1}, got {ids.min()}..{ids.max()}")


def _embedding(op: g.Embedding, ids: Array) -> F64:
    _check_ids(ids, 0, op.weight.shape[0])
    return f64(op.weight)[ids]


def _concat(op: g.Concat, *xs: Array) -> Array:
    return np.concatenate(xs, axis=op.axis if op.axis < 0 else LEAD + op.axis)


# Elementwise --------------------------------------------------------------------------------------


def _truncating_div(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    return np.asarray(a // b + ((a % b != 0) & ((a < 0) != (b < 0))))


def _pow(a: Array, b: Array) -> Array:
    return np.power(a.astype(np.float64), b).astype(a.dtype)


UNARY: dict[str, Formula] = {
    "neg": np.negative, "abs": np.abs, "sign": np.sign, "sqrt": np.sqrt, "exp": np.exp, "log": np.log,
    "reciprocal": np.reciprocal, "floor": np.floor, "ceil": np.ceil, "round": np.rint, "sin": np.sin, "cos": np.cos,
    "atan": np.arctan, "erf": np.vectorize(math.erf, otypes=[np.float64]), "not": np.logical_not, "isnan": np.isnan,
}  # fmt: skip
BINARY: dict[str, Formula] = {
    "sub": np.subtract, "div": _truncating_div, "pow": _pow, "min": np.minimum, "max": np.maximum, "mod": np.mod,
    "atan2": np.arctan2, "equal": np.equal, "less": np.less, "less_equal": np.less_equal, "greater": np.greater,
    "greater_equal": np.greater_equal, "and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor,
}  # fmt: skip


# Reductions ---------------------------------------------------------------------------------------


def _log_sum_exp(x: F64, axis: Any, keepdims: bool) -> F64:
    largest = x.max(axis=axis, keepdims=True)
    shift = np.where(np.isfinite(largest), largest, 0.0)
    total = np.log(np.exp(x - shift).sum(axis=axis, keepdims=True)) + shift
    return np.asarray(total if keepdims else total.squeeze(axis))


REDUCTIONS: dict[str, Formula] = {
    "sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod,
    "l1": lambda x, **how: np.sum(np.abs(x), **how),
    "l2": lambda x, **how: np.sqrt(np.sum(x * x, **how)),
    "sum_square": lambda x, **how: np.sum(x * x, **how),
    "log_sum": lambda x, **how: np.log(np.sum(x, **how)),
    "log_sum_exp": _log_sum_exp,
}  # fmt: skip


def _top_k(op: g.TopK, x: Array) -> tuple[Array, Array]:
    axis = LEAD + op.axis
    order = np.argsort(-x if op.largest else x, axis=axis, kind="stable")  # NaN last
    if op.largest:
        there = ~np.isnan(np.take_along_axis(x, order, axis))
        order = np.take_along_axis(order, np.argsort(there, axis=axis, kind="stable"), axis)
    order = np.take(order, range(op.k), axis=axis)
    return np.take_along_axis(x, order, axis), order


def _arg_reduce(op: g.ArgReduce, x: Array) -> Array:
    axis = LEAD + op.axis
    find = getattr(np, op.function)
    if op.last:
        return np.asarray(x.shape[axis] - 1 - find(np.flip(x, axis), axis=axis, keepdims=op.keepdims))
    return np.asarray(find(x, axis=axis, keepdims=op.keepdims))


def _cum_sum(op: g.CumSum, x: Array) -> Array:
    axis = LEAD + op.axis
    ordered = np.flip(x, axis) if op.reverse else x
    total = np.cumsum(ordered, axis=axis)
    if op.exclusive:
        total = np.concatenate([np.zeros_like(np.take(x, [0], axis)), np.delete(total, -1, axis)], axis)
    return np.flip(total, axis) if op.reverse else total


def softmax(x: F64, axis: int, *, log: bool = False) -> F64:
    """exp(x) over its sum along an axis, or its logarithm."""
    shifted = x - x.max(axis=axis, keepdims=True)
    total = np.exp(shifted).sum(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(total) if log else np.exp(shifted) / total)


# Moving elements ----------------------------------------------------------------------------------


def _pad(op: g.Pad, x: Array) -> Array:
    values = {"constant_values": x.dtype.type(op.value)} if op.mode == "constant" else {}
    widths = [(0, 0)] * LEAD + list(zip(op.before, op.after, strict=True))
    return np.pad(x, widths, mode=op.mode, **values)  # type: ignore[call-overload, no-any-return]


def _gather(op: g.Gather, data: Array, ids: Array) -> Array:
    axis, rank = LEAD + op.axis, ids.ndim - LEAD
    _check_ids(ids, -data.shape[axis], data.shape[axis])
    rows, steps = (i.reshape(*i.shape, *(1,) * rank) for i in np.ogrid[: ids.shape[0], : ids.shape[1]])
    picked = np.moveaxis(data, axis, LEAD)[rows, steps, ids]
    return np.moveaxis(picked, range(LEAD, LEAD + rank), range(axis, axis + rank))


def _one_hot(op: g.OneHot, ids: Array) -> F64:
    places = np.where(ids < 0, ids + op.depth, ids)
    hot = np.expand_dims(places, LEAD + op.axis) == np.arange(op.depth).reshape(
        [-1 if i == op.axis else 1 for i in range(ids.ndim - LEAD + 1)]
    )
    return np.where(hot, float(op.on), float(op.off))


def _mat_mul(op: g.MatMul, a: F64, b: F64) -> F64:
    vectors = a.ndim == LEAD + 1, b.ndim == LEAD + 1
    a = a[..., None, :] if vectors[0] else a
    b = b[..., :, None] if vectors[1] else b
    a, b = aligned([np.swapaxes(a, -1, -2) if op.transpose_a else a, np.swapaxes(b, -1, -2) if op.transpose_b else b])
    y = np.matmul(a, b)
    y = y[..., 0, :] if vectors[0] else y
    return np.asarray(y[..., 0] if vectors[1] else y)


FORMULAS: dict[type[g.Op], Formula] = {
    g.RNN: scan,
    g.GRU: scan,
    g.LSTM: scan,
    g.Dense: lambda op, x: op.activation(product(op, x, op.weight) + f64(op.bias)),
    g.Embedding: _embedding,
    g.LayerNorm: _layer_norm,
    g.BatchNorm: _batch_norm,
    g.Scaler: _scaler,
    g.Activate: lambda op, x: op.activation(x),
    g.Dropout: lambda op, x: x,
    g.Mask: _mask,
    g.ApplyMask: lambda op, x, mask: np.where(mask[..., None], x, 0.0),
    g.Concat: _concat,
    g.Add: lambda op, *xs: sum(xs[1:], xs[0]),
    g.Multiply: lambda op, *xs: math.prod(xs[1:], start=xs[0]),
    g.Average: lambda op, *xs: sum(xs[1:], xs[0]) / len(xs),
    g.Constant: lambda op: np.asarray(op.value, dtype=DTYPES[op.dtype])[None, None],
    g.Unary: lambda op, x: UNARY[op.function](x),
    g.Binary: lambda op, a, b: BINARY[op.function](a, b),
    g.Where: lambda op, condition, a, b: np.where(condition, a, b),
    g.Cast: lambda op, x: x.astype(DTYPES[op.to]),
    g.Softmax: lambda op, x: softmax(x, LEAD + op.axis, log=op.log),
    g.Reduce: lambda op, x: REDUCTIONS[op.function](x, axis=tuple(LEAD + i for i in op.axes), keepdims=op.keepdims),
    g.ArgReduce: _arg_reduce,
    g.TopK: _top_k,
    g.CumSum: _cum_sum,
    g.Reshape: lambda op, x: x.reshape(*x.shape[:LEAD], *op.shape),
    g.Transpose: lambda op, x: x.transpose(0, 1, *(LEAD + i for i in op.perm)),
    g.Slice: lambda op, x: x[(..., *op.slices())],
    g.Pad: _pad,
    g.Expand: lambda op, x: np.broadcast_to(aligned([x, np.empty((1, 1, *op.shape))])[0], (*x.shape[:LEAD], *op.shape)),
    g.Tile: lambda op, x: np.tile(x, (1, 1, *op.repeats)),
    g.Gather: _gather,
    g.OneHot: _one_hot,
    g.MatMul: _mat_mul,
}
ALIGNED = (g.Add, g.Multiply, g.Average, g.Binary, g.Where)  # whose frames broadcast
