"""The precision int8_affine: weights int8 with a scale and a zero point for each row, activations uint8 with theirs.

A weight is (code - zero point) * scale. A quantized file says so, and its numbers in float32 say it, too: they are the
multiples -255..255 of one scale. `encode` looks for that scale, and rounds only rows that have none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .activations import LARGEST_SCALE, SMALLEST_SCALE

Array = NDArray[Any]

MOST_INPUTS = 32768  # of a row whose sums int32 holds: of 255 * 255 each
LEVELS = 255  # steps between the least and the largest code of a row
SCALE_BITS = 15  # of a rounded row: multiples of nine bits are then exact in float32
LOOKED_AT = 16  # numbers of a row that tell which scales it can have
NEAR = 1e-4  # of a whole number: a number of float32 over a scale of float32 is off by 255 * 2**-23 at most
BLOCK = 256  # rows at once


def operand(x: Array) -> Array:
    """Each row as ONNX's DynamicQuantizeLinear rounds a tensor, in float32: what the codes stand for, in float64.

    Examples
    --------
    >>> operand(np.array([-1.0, 0.0, 0.3, 1.55]))
    array([-0.99999998,  0.        ,  0.29999999,  1.54999997])
    """
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32: NaN, as from the engine
        single = np.asarray(x, dtype=np.float32)
        low = np.minimum(single.min(axis=-1, keepdims=True, initial=0.0), np.float32(0))
        high = np.maximum(single.max(axis=-1, keepdims=True, initial=0.0), np.float32(0))
        spread = high - low
        scale = np.where(spread > SMALLEST_SCALE, spread / np.float32(LEVELS), np.float32(1))
        scale = np.where(np.isnan(spread), spread, scale)
        return codes(single, scale, np.rint(np.minimum(-low / scale, np.float32(LEVELS))))


def codes(x: Array, scale: Array, zero: Array) -> Array:
    """What the codes of rows stand for, in float64: those of scales and zero points 0..255 in float32.

    Examples
    --------
    >>> codes(np.array([-3.0, -0.2, 0.3, 9.0]), np.float32(0.5), np.float32(2)).tolist()
    [-1.0, 0.0, 0.5, 9.0]
    """
    with np.errstate(over="ignore", invalid="ignore"):
        centred = np.clip(np.rint(np.asarray(x, dtype=np.float32) / scale), -zero, LEVELS - zero)
        return centred.astype(np.float64) * np.asarray(scale, dtype=np.float64) + 0.0  # never -0.0


def is_scale(scale: float) -> bool:
    """True if codes of activations can have a scale."""
    return SMALLEST_SCALE <= scale <= LARGEST_SCALE


def encode(weight: Array) -> dict[str, Array]:
    """The codes, scales and zero points of (N, K): of its own numbers where a row has a scale, else of rounded ones."""
    exact = np.asarray(weight, dtype=np.float32)
    multiples, scale = _scaled(exact)
    high, low = multiples.max(axis=1).astype(np.int64), multiples.min(axis=1).astype(np.int64)
    zero = np.where(high > 127, 127 - high, np.where(low < -128, -128 - low, 0))  # the least that will do
    return {"": (multiples + zero[:, None]).astype(np.int8), "scale": scale, "zero": zero.astype(np.int8)}


def decode(stored: dict[str, Array]) -> Array:
    """The float32 numbers that codes stand for."""
    centred = stored[""].astype(np.float32) - stored["zero"].astype(np.float32)[:, None]
    return centred * stored["scale"][:, None]


def _scaled(rows: Array) -> tuple[Array, Array]:
    """Multiples and scales of rows: those of a scale of theirs, or the nearest ones of a scale that spans them."""
    multiples, scale, found = lattice(rows)
    rest = rows[~found].astype(np.float64)
    if len(rest):
        span = (rest.max(axis=1, initial=0.0) - rest.min(axis=1, initial=0.0)) / (LEVELS - 1)
        mantissa, exponent = np.frexp(span)
        chosen = np.ldexp(np.ceil(np.ldexp(mantissa, SCALE_BITS)), exponent - SCALE_BITS)
        scale[~found] = np.maximum(chosen, SMALLEST_SCALE)
        multiples[~found] = np.rint(rest / scale[~found].astype(np.float64)[:, None])
        again = lattice(multiples[~found].astype(np.float32) * scale[~found][:, None])  # as it will be found in them
        known = np.flatnonzero(~found)[again[2]]
        multiples[known], scale[known] = again[0][again[2]], again[1][again[2]]
    return multiples, scale


def lattice(rows: Array) -> tuple[Array, Array, Array]:
    """Whole multiples (N, K) and scales (N,) that give the rows' very numbers, and which rows have them.

    Examples
    --------
    >>> lattice(np.float32([[0.02, -0.05, 0.0], [1.0, 0.3, 0.1234567]]))[2]
    array([ True, False])
    """
    top = np.abs(rows).max(axis=1).astype(np.float64)
    found = _Found(rows, top)
    found.take(np.flatnonzero(top > 0), 127.0)  # the largest of a row that was quantized by itself, without zero point
    left = found.left()
    if len(left):  # one scale for the whole matrix: that of any row
        found.search(left[:1])
        known = np.flatnonzero(found.known & (top > 0))
        for scale in {float(found.scale[i]) for i in (*known[:1], left[0]) if found.known[i]}:
            found.take(found.left(), np.rint(top[found.left()] / scale))
    for first in range(0, len(left := found.left()), BLOCK):
        found.search(left[first : first + BLOCK])
    return found.multiples, found.scale, found.known


class _Found:
    """The rows of `lattice` so far."""

    def __init__(self, rows: Array, top: Array) -> None:
        self.rows, self.top = rows, top
        self.multiples = np.zeros(rows.shape, dtype=np.int16)
        self.scale = np.ones(len(rows), dtype=np.float32)
        self.known = top == 0

    def left(self) -> Array:
        return np.flatnonzero(~self.known)

    def take(self, tried: Array, largest: Any) -> None:
        """The rows `tried` whose numbers are multiples of their largest one over `largest`, one for all or for each."""
        values = self.rows[tried].astype(np.float64)
        with np.errstate(all="ignore"):  # of what has no scale
            whole = np.rint(values * (largest / self.top[tried])[:, None])
        fits = (np.abs(whole).max(axis=1, initial=0) <= LEVELS) & (
            whole.max(axis=1, initial=0) - whole.min(axis=1, initial=0) <= LEVELS
        )
        tried, values, whole = tried[fits], values[fits], whole[fits]
        scale = _scale_of(values, whole)
        same = (whole.astype(np.float32) * scale[:, None] == self.rows[tried]).all(axis=1) & (scale >= SMALLEST_SCALE)
        self.multiples[tried[same]], self.scale[tried[same]], self.known[tried[same]] = whole[same], scale[same], True

    def search(self, tried: Array) -> None:
        """The rows `tried`, of any scale: of few of their numbers it is soon seen which are possible."""
        picked = np.linspace(0, self.rows.shape[1] - 1, min(LOOKED_AT, self.rows.shape[1])).astype(int)
        steps = np.arange(1.0, LEVELS + 1)
        possible = np.ones((len(tried), LEVELS), dtype=bool)
        with np.errstate(all="ignore"):  # of what has no scale
            for k in picked:
                row, step = np.nonzero(possible)
                ratio = self.rows[tried[row], k].astype(np.float64) * (steps[step] / self.top[tried[row]])
                possible[row, step] = np.abs(ratio - np.rint(ratio)) < NEAR
        for column in np.flatnonzero(possible.any(axis=0)):
            rows = tried[possible[:, column]]
            self.take(rows[~self.known[rows]], steps[column])


def _scale_of(values: Array, whole: Array) -> Array:
    """The float32 in the middle of the scales whose multiples `whole` round to `values`; any where there is none."""
    count = np.abs(whole)
    size = np.abs(values)
    half = np.spacing(size.astype(np.float32)).astype(np.float64) / 2
    with np.errstate(all="ignore"):
        least = np.where(count > 0, (size - half) / count, 0).max(axis=1)
        most = np.where(count > 0, (size + half) / count, np.inf).min(axis=1)
    return np.where(np.isfinite(most), (least + most) / 2, 1).astype(np.float32)
