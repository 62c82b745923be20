"""Vector-Jacobian products of the ops that slide windows, fold time, or transform by Fourier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import graph as g
from ..graph.activations import F64
from ..graph.convolution import extent
from ..reference import FORMULAS, f64
from ..reference.tensor import LEAD, softmax
from .gradients_slopes import FOLDS, through, through_softmax
from .gradients_tensor import Array, Row, moved, numbered

SPATIAL = LEAD + 1
Ints = Sequence[int]


def _time_last(x: Array) -> Array:
    """(B, T, *frame) as (B, 1, *frame, T)."""
    return np.moveaxis(x[:, None], LEAD, -1)


def _time_back(x: Array) -> Array:
    return np.moveaxis(x, -1, LEAD)[:, 0]


def _blocks(x: F64, groups: int) -> F64:
    """(B, T, C, *spatial) as (B, T, G, C / G, positions)."""
    return x.reshape(*x.shape[:LEAD], groups, x.shape[LEAD] // groups, int(np.prod(x.shape[SPATIAL:])))


def _places(place: Ints, strides: Ints, dilations: Ints, counts: Ints) -> tuple[Any, ...]:
    """The index of what lies at one place of every window."""
    each = zip(place, strides, dilations, counts, strict=True)
    return (..., *(slice(k * d, k * d + s * (n - 1) + 1, s) if n else slice(0, 0) for k, s, d, n in each))


def _before_activation(op: Any, x: F64, gradient: F64) -> F64:
    if op.activation.name == "linear":
        return gradient
    return through(op.activation, FORMULAS[type(op)](op.replace(activation="linear"), x), gradient)


def _correlate_back(op: Any, x: F64, back: F64, strides: Ints, dilations: Ints, before: Ints, after: Ints) -> F64:
    """Return the gradient of x (B, T, C, *spatial) from that of its windows' products (B, T, O, *counts)."""
    outputs, inputs, *window = op.weight.shape
    weight = f64(op.weight).reshape(op.groups, outputs // op.groups, inputs, *window)
    counts, spatial = back.shape[SPATIAL:], x.shape[SPATIAL:]
    padded = np.zeros((*x.shape[:SPATIAL], *(b + n + a for b, n, a in zip(before, spatial, after, strict=True))))
    blocks = _blocks(back, op.groups)
    for place in np.ndindex(*window):
        part = np.swapaxes(weight[(..., *place)], -1, -2) @ blocks
        target = padded[_places(place, strides, dilations, counts)]
        target += part.reshape(target.shape)
    inside: Any = (..., *(slice(b, b + n) for b, n in zip(before, spatial, strict=True)))
    return np.asarray(padded[inside])


def _conv(op: g.Conv, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    back = _before_activation(op, xs[0], gs[0])
    return [_correlate_back(op, xs[0], back, op.strides, op.dilations, op.before, op.after)]


def _time_conv(op: g.TimeConv, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    back = _time_last(_before_activation(op, xs[0], gs[0]))
    x = _time_last(xs[0])
    return [_time_back(_correlate_back(op, x, back, (op.stride,), (op.dilation,), (op.before,), (op.after,)))]


def _conv_transpose(op: g.ConvTranspose, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    back, spatial = _before_activation(op, xs[0], gs[0]), xs[0].shape[SPATIAL:]
    inputs, outputs, *window = op.weight.shape
    weight = f64(op.weight).reshape(op.groups, inputs // op.groups, outputs, *window)
    reach = [extent(k, d) for k, d in zip(window, op.dilations, strict=True)]
    sizes = [(n - 1) * s + r + m for n, s, r, m in zip(spatial, op.strides, reach, op.output_padding, strict=True)]
    whole = np.zeros((*back.shape[:SPATIAL], *sizes))
    kept: Any = (..., *(slice(b, n - a) for b, a, n in zip(op.before, op.after, sizes, strict=True)))
    whole[kept] = back
    total = np.zeros(xs[0].shape)
    for place in np.ndindex(*window):
        seen = whole[_places(place, op.strides, op.dilations, spatial)]
        total += (weight[(..., *place)] @ _blocks(seen, op.groups)).reshape(total.shape)
    return [total]


def _windows(x: Array, window: Ints, strides: Ints, dilations: Ints) -> Array:
    """Windows over the last axes of x (..., *sizes): (..., *counts, *window)."""
    axes = tuple(range(x.ndim - len(window), x.ndim))
    reach = tuple(extent(k, d) for k, d in zip(window, dilations, strict=True))
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, axis=axes)
    steps: Any = (..., *(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in dilations))
    return np.asarray(seen[steps])


def _pooled_back(
    op: Any, x: F64, back: F64, window: Ints, strides: Ints, dilations: Ints, pads: tuple[Ints, Ints]
) -> F64:
    """Return the gradient of x from that of pools over its last axes."""
    size, widths = len(window), [(0, 0)] * (x.ndim - len(window)) + list(zip(*pads, strict=True))
    places = _windows(np.pad(numbered(x), widths), window, strides, dilations)
    flat = places.reshape(*back.shape, -1)
    if op.mode == "max":
        seen = _windows(np.pad(x, widths, constant_values=-np.inf), window, strides, dilations)
        first = seen.reshape(flat.shape).argmax(axis=-1)[..., None]
        return moved(x, np.take_along_axis(flat, first, axis=-1)[..., 0], back)
    ones = np.pad(np.ones(x.shape[-size:]), widths[-size:], constant_values=1.0 if op.count_padding else 0.0)
    counted = _windows(ones, window, strides, dilations).sum(axis=tuple(range(-size, 0)))
    return moved(x, flat, np.broadcast_to((back / counted)[..., None], flat.shape))


def _pool(op: g.Pool, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    return [_pooled_back(op, xs[0], gs[0], op.kernel, op.strides, op.dilations, (op.before, op.after))]


def _time_pool(op: g.TimePool, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    x, back = _time_last(xs[0]), _time_last(gs[0])
    return [_time_back(_pooled_back(op, x, back, (op.size,), (op.stride,), (1,), ((op.before,), (op.after,))))]


def _time_reduce(op: g.TimeReduce, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    return [gs[0] * FOLDS[op.function](xs[0], ys[0], (1,))]


def _overlap_add(op: g.OverlapAdd, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    steps = xs[0].shape[1]
    length = gs[0].shape[1]
    whole = np.zeros((len(gs[0]), max(op.skip + length, steps * op.hop + op.size), *gs[0].shape[LEAD:]))
    whole[:, op.skip : op.skip + length] = gs[0]
    return [whole[:, np.arange(steps)[:, None] * op.hop + np.arange(op.size)]]


def _rfft(op: g.RFFT, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    return [np.fft.ifft(gs[0][..., 0] + 1j * gs[0][..., 1], op.n).real * op.n]


def _irfft(op: g.IRFFT, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    back = np.fft.rfft(gs[0], op.n) / op.n
    back[..., 1 : (op.n + 1) // 2] *= 2  # the frequencies that stand for a pair
    return [np.stack([back.real, back.imag], axis=-1)]


def attended(op: g.TimeAttention, xs: Sequence[Array]) -> F64:
    """Return the weights (B, heads, T, S) by which each step takes the others' values."""
    q, k, _, *added = xs
    scores = op.scale * np.einsum("bthd,bshd->bhts", q, k)
    if added:
        scores = scores + (added[0][:, None] if added[0].ndim == LEAD else np.moveaxis(added[0], 2, 1))[:, :, None]
    if op.causal:
        scores = np.where(np.tri(q.shape[1], dtype=bool), scores, -np.inf)
    found: F64 = softmax(scores, 3) if scores.size else scores
    return found


def _time_attention(op: g.TimeAttention, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
    q, k, v, *added = xs
    weights = attended(op, xs)
    scores = through_softmax(weights, np.einsum("bthe,bshe->bhts", gs[0], v), 3)
    backs = [
        op.scale * np.einsum("bhts,bshd->bthd", scores, k),
        op.scale * np.einsum("bhts,bthd->bshd", scores, q),
        np.einsum("bhts,bthe->bshe", weights, gs[0]),
    ]
    for x in added:
        heads = np.moveaxis(scores.sum(axis=2), 1, 2)
        backs.append(heads.sum(axis=2) if x.ndim == LEAD else heads)
    return backs


ROWS: dict[type[g.Op], Row] = {
    g.Conv: _conv,
    g.ConvTranspose: _conv_transpose,
    g.Pool: _pool,
    g.TimeConv: _time_conv,
    g.TimePool: _time_pool,
    g.TimeReduce: _time_reduce,
    g.TimeAttention: _time_attention,
    g.TimeSoftmax: lambda op, xs, ys, gs: [through_softmax(ys[0], gs[0], 1)],
    g.OverlapAdd: _overlap_add,
    g.RFFT: _rfft,
    g.IRFFT: _irfft,
}
