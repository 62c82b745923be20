"""Formulas of the ops that slide windows or change the number of steps, and of the Fourier transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import graph as g
from ..errors import GraphError
from ..graph.activations import F64
from ..graph.convolution import extent, windows
from .cells import f64
from .tensor import LEAD, Array, Formula, softmax

SPATIAL = LEAD + 1  # the first spatial axis of frames (C, *spatial)
Ints = Sequence[int]


def _at(x: Array, index: Iterable[Any]) -> Array:
    """``x[..., *index]``, the index of the last axes."""
    return x[(..., *index)]


def _places(start: int, stride: int, count: int) -> slice:
    return slice(start, start + stride * (count - 1) + 1, stride) if count else slice(0, 0)


def _padded(x: F64, before: Ints, after: Ints, value: float = 0.0) -> F64:
    widths = [(0, 0)] * (x.ndim - len(before)) + list(zip(before, after, strict=True))
    return np.pad(x, widths, constant_values=value)


def _views(x: F64, window: Ints, strides: Ints, dilations: Ints) -> dict[tuple[int, ...], F64]:
    """For each place in a window over the last axes, what lies there of every window."""
    sizes = x.shape[x.ndim - len(window) :]
    counts = [max(0, windows(*each)) for each in zip(sizes, window, strides, dilations, strict=True)]
    return {
        place: _at(x, map(_places, [k * d for k, d in zip(place, dilations, strict=True)], strides, counts))
        for place in np.ndindex(*window)
    }


def _seen(x: F64, window: Ints, strides: Ints, dilations: Ints) -> F64:
    """Windows over the last axes of x (..., *sizes) as a view (..., *counts, *window)."""
    lead = x.ndim - len(window)
    counts = [max(0, windows(*each)) for each in zip(x.shape[lead:], window, strides, dilations, strict=True)]
    from_next = [n * s for n, s in zip(x.strides[lead:], strides, strict=True)]
    inside = [n * d for n, d in zip(x.strides[lead:], dilations, strict=True)]
    return np.lib.stride_tricks.as_strided(
        x, (*x.shape[:lead], *counts, *window), (*x.strides[:lead], *from_next, *inside), writeable=False
    )


def _blocks(x: F64, groups: int) -> F64:
    """(B, T, C, *spatial) as (B, T, G, C / G, positions)."""
    return x.reshape(*x.shape[:LEAD], groups, x.shape[LEAD] // groups, int(np.prod(x.shape[SPATIAL:])))


def _with_bias(op: g.Conv | g.ConvTranspose | g.TimeConv, y: F64) -> F64:
    return op.activation(y if op.bias is None else y + f64(op.bias).reshape(-1, *(1,) * (y.ndim - SPATIAL)))


def _correlate(op: g.Conv | g.TimeConv, x: F64, strides: Ints, dilations: Ints, before: Ints, after: Ints) -> F64:
    """Windows of x (B, T, C, *spatial) times the weight (O, C / G, *window), with bias and activation."""
    outputs, inputs, *window = op.weight.shape
    weight = f64(op.weight).reshape(op.groups, outputs // op.groups, inputs, *window)
    total: Any = 0.0
    for place, view in _views(_padded(x, before, after), window, strides, dilations).items():
        total = total + _at(weight, place) @ _blocks(view, op.groups)
    return _with_bias(op, total.reshape(*x.shape[:LEAD], outputs, *view.shape[SPATIAL:]))


def _conv(op: g.Conv, x: F64) -> F64:
    return _correlate(op, x, op.strides, op.dilations, op.before, op.after)


def _conv_transpose(op: g.ConvTranspose, x: F64) -> F64:
    inputs, outputs, *window = op.weight.shape
    weight = f64(op.weight).reshape(op.groups, inputs // op.groups, outputs, *window)
    spatial = x.shape[SPATIAL:]
    reach = [extent(k, d) for k, d in zip(window, op.dilations, strict=True)]
    sizes = [(n - 1) * s + r + m for n, s, r, m in zip(spatial, op.strides, reach, op.output_padding, strict=True)]
    whole = np.zeros((*x.shape[:LEAD], outputs * op.groups, *sizes))
    for place in np.ndindex(*window):
        part = np.swapaxes(_at(weight, place), -1, -2) @ _blocks(x, op.groups)
        starts = [k * d for k, d in zip(place, op.dilations, strict=True)]
        index = tuple(_places(*each) for each in zip(starts, op.strides, spatial, strict=True))
        target = _at(whole, index)
        target += part.reshape(*x.shape[:LEAD], -1, *spatial)
    kept = tuple(slice(b, n - a) for b, a, n in zip(op.before, op.after, sizes, strict=True))
    return _with_bias(op, _at(whole, kept))


def _pooled(
    op: g.Pool | g.TimePool, x: F64, window: Ints, strides: Ints, dilations: Ints, pads: tuple[Ints, Ints]
) -> F64:
    """The largest or the mean of windows over the last axes of x."""
    maximum, places = op.mode == "max", tuple(range(-len(window), 0))
    seen = _seen(_padded(x, *pads, value=-np.inf if maximum else 0.0), window, strides, dilations)
    if maximum:
        return np.asarray(seen.max(axis=places))
    counted = 1.0 if op.count_padding else 0.0
    ones = _padded(np.ones(x.shape[x.ndim - len(window) :]), *pads, value=counted)
    return np.asarray(seen.sum(axis=places) / _seen(ones, window, strides, dilations).sum(axis=places))


def _time_last(x: Array) -> Array:
    """(B, T, *frame) as (B, 1, *frame, T)."""
    return np.moveaxis(x[:, None], LEAD, -1)


def _time_back(x: Array) -> Array:
    return np.moveaxis(x, -1, LEAD)[:, 0]


def _time_conv(op: g.TimeConv, x: F64) -> F64:
    return _time_back(_correlate(op, _time_last(x), (op.stride,), (op.dilation,), (op.before,), (op.after,)))


def _time_pool(op: g.TimePool, x: F64) -> F64:
    pads = (op.before,), (op.after,)
    return _time_back(_pooled(op, _time_last(x), (op.size,), (op.stride,), (1,), pads))


def _time_pad(op: g.TimePad, x: F64) -> F64:
    if op.outside != "value":
        if x.shape[1] < op.fewest:
            raise GraphError(f"sequence to pad must have at least {op.fewest} steps, got {x.shape[1]}")
        widths = [(0, 0), (op.before, op.after), *[(0, 0)] * (x.ndim - LEAD)]
        return np.pad(x, widths, mode=op.outside)  # type: ignore[call-overload, no-any-return]
    return _time_back(_padded(_time_last(x), (op.before,), (op.after,), op.value))


def _time_reduce(op: g.TimeReduce, x: F64) -> F64:
    if x.shape[1] == 0:
        raise GraphError("sequence to fold must have at least one step, got none")
    return np.asarray(TIME_REDUCTIONS[op.function](x, axis=1, keepdims=True))


TIME_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "l2": lambda x, **how: np.sqrt(np.sum(x * x, **how)),
}  # fmt: skip


def _framing(op: g.Framing, x: Array) -> Array:
    steps = x.reshape(x.shape[:LEAD]) if x.shape[LEAD:] == (1,) else x
    widths = [(0, 0), (op.before, op.after), *[(0, 0)] * (steps.ndim - LEAD)]
    starts = np.arange(op.output_length(x.shape[1])) * op.hop
    return np.pad(steps, widths)[:, starts[:, None] + np.arange(op.size) * op.dilation]


def time_step(op: g.TimeStep, x: Array, mask: NDArray[np.bool_] | None = None) -> Array:
    """The step of each row, (B, 1, \\*frame): of those that count where there is a mask (B, T), zeros without one."""
    if mask is None:
        if x.shape[1] < op.fewest:
            raise GraphError(f"sequence to take step {op.index} of must have at least {op.fewest}, got {x.shape[1]}")
        return x[:, [op.index]]
    y = np.zeros((len(mask), 1, *x.shape[LEAD:]), x.dtype)
    for row, valid in enumerate(mask):
        counted = np.broadcast_to(x, (len(mask), *x.shape[1:]))[row, valid]
        if len(counted) >= op.fewest:
            y[row, 0] = counted[op.index]
    return y


def _overlap_add(op: g.OverlapAdd, x: F64) -> F64:
    length = op.output_length(x.shape[1])
    y = np.zeros((x.shape[0], max(op.skip + length, x.shape[1] * op.hop + op.size), *x.shape[SPATIAL:]))
    for t in range(x.shape[1]):
        y[:, t * op.hop : t * op.hop + op.size] += x[:, t]
    return y[:, op.skip : op.skip + length]


def _rfft(op: g.RFFT, x: F64) -> F64:
    y = np.fft.rfft(x, op.n)
    return np.stack([y.real, y.imag], axis=-1)


def _reverse(op: g.Reverse, x: F64, *lengths: Any) -> F64:
    if not lengths:
        return x[:, ::-1]
    steps = np.arange(x.shape[1])
    counted = np.clip(np.asarray(lengths[0])[:, :1], 0, len(steps)).astype(np.int64)
    places = np.where(steps < counted, counted - 1 - steps, steps)
    rows = max(len(x), len(places))
    places = np.broadcast_to(places, (rows, len(steps))).reshape(rows, -1, *[1] * (x.ndim - LEAD))
    return np.take_along_axis(np.broadcast_to(x, (rows, *x.shape[1:])), places, axis=1)


def _time_attention(op: g.TimeAttention, q: Array, k: Array, v: Array, added: Array | None = None) -> Array:
    scores = op.scale * np.einsum("bthd,bshd->bhts", q, k)
    if added is not None:
        scores = scores + (added[:, None] if added.ndim == LEAD else np.moveaxis(added, 2, 1))[:, :, None]
    if op.causal:
        scores = np.where(np.tri(q.shape[1], dtype=bool), scores, -np.inf)
    mean: Array = np.einsum("bhts,bshe->bthe", softmax(scores, 3) if scores.size else scores, v)
    return mean


FORMULAS: dict[type[g.Op], Formula] = {
    g.Conv: _conv,
    g.ConvTranspose: _conv_transpose,
    g.Pool: lambda op, x: _pooled(op, x, op.kernel, op.strides, op.dilations, (op.before, op.after)),
    g.Reverse: _reverse,
    g.TimeConv: _time_conv,
    g.TimePool: _time_pool,
    g.TimePad: _time_pad,
    g.TimeReduce: _time_reduce,
    g.TimeSlice: lambda op, x: x[:, op.start : op.stop : op.step],
    g.TimeStep: time_step,
    g.TimeSoftmax: lambda op, x: softmax(x, 1) if x.shape[1] else x,
    g.TimeAttention: _time_attention,
    g.Framing: _framing,
    g.OverlapAdd: _overlap_add,
    g.RFFT: _rfft,
    g.IRFFT: lambda op, x: np.fft.irfft(x[..., 0] + 1j * x[..., 1], op.n),
}
