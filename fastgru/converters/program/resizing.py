"""Resizing: every axis by itself as a linear map of its elements, along axes of frames and along time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...errors import ConvertError
from ...graph import Dense, Framing, Gather, OverlapAdd, TimePad
from .builder import Builder
from .time import framed, retimed
from .values import Array, NeedsSequenceLength, Tensor
from .views import canonical

LARGEST = 2**20  # elements of one axis's map
MIDDLE = 8  # elements before the one that a map over time is read from: its neighbours are fewer
REACH = {"linear": 1, "cubic": 2}
ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "floor": np.floor, "ceil": np.ceil,
    "round_prefer_floor": lambda at: np.ceil(at - 0.5), "round_prefer_ceil": lambda at: np.floor(at + 0.5),
}  # fmt: skip


class Resizing(NamedTuple):
    """How elements between others are made; the names are ONNX's.

    Attributes
    ----------
    mode : {"nearest", "linear", "cubic"}
    coordinates : str
        A function of `COORDINATES`, or "tf_crop_and_resize".
    rounding : str
        To the nearest element: of `ROUNDINGS`.
    cubic : float
        The coefficient of cubic interpolation.
    exclude_outside : bool
        Whether weights of elements outside are shared among the others; else the outermost elements stand for them.
    antialias : bool
        Whether linear and cubic interpolation reach as far as the elements of the result are apart.
    """

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    rounding: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


def _half_pixel(j: Array, scale: float, n: int, m: int) -> Array:
    return (j + 0.5) / scale - 0.5


# Names to where element j of the m that n are made into comes from; `scale` may be other than m / n.
COORDINATES: dict[str, Callable[[Array, float, int, int], Array]] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": lambda j, scale, n, m: _half_pixel(j, scale, n, m) if scale * n != 1 else 0 * j - 0.5,
    "half_pixel_symmetric": lambda j, scale, n, m: _half_pixel(j, scale, n, m) + n / 2 * (1 - m / (scale * n)),
    "align_corners": lambda j, scale, n, m: j * ((n - 1) / (scale * n - 1) if scale * n != 1 else 0.0),
    "asymmetric": lambda j, scale, n, m: j / scale,
}


def weights(at: Array, n: int, how: Resizing, scale: float) -> Array:
    """Return the map (M, n) of n elements to those at some places, which may be outside.

    Examples
    --------
    >>> weights(np.array([-0.25, 0.25]), 2, Resizing("linear"), 2.0)
    array([[1.  , 0.  ],
           [0.75, 0.25]])
    """
    rows = np.arange(len(at))[:, None]
    found = np.zeros((len(at), n))
    if how.mode == "nearest":
        found[rows[:, 0], np.clip(ROUNDINGS[how.rounding](at), 0, n - 1).astype(int)] = 1
        return found
    shrink = min(scale, 1.0) if how.antialias else 1.0
    reach = REACH[how.mode] / shrink
    near = np.floor(at - reach)[:, None] + 1 + np.arange(int(np.ceil(2 * reach)) + 1)
    distance = np.abs(near - at[:, None]) * shrink
    share = np.maximum(1 - distance, 0) if how.mode == "linear" else _cubic(distance, how.cubic)
    if how.exclude_outside:
        share[(near < 0) | (near >= n)] = 0
    share /= share.sum(axis=1, keepdims=True)
    np.add.at(found, (rows, np.clip(near, 0, n - 1).astype(int)), share)
    return found


def _cubic(d: Array, a: float) -> Array:
    """Return the weights of Keys's convolution (1981) at some distances."""
    inner = ((a + 2) * d - (a + 3)) * d * d + 1
    outer = a * (((d - 5) * d + 8) * d - 4)
    return np.where(d <= 1, inner, np.where(d < 2, outer, 0.0))


def resized(b: Builder, x: Tensor, axis: int, m: int | None, scale: float, how: Resizing) -> Tensor:
    """Return an axis of another size.

    Parameters
    ----------
    m : int or None
        The size; None where it follows from `scale`.
    scale : float
        Of coordinates, which are float32 if it is: that decides which of two elements at equal distances is nearest.
    """
    if how.coordinates not in COORDINATES or how.mode not in ("nearest", *REACH) or how.rounding not in ROUNDINGS:
        raise ConvertError(f"resizing must be of known modes, got {how.mode}, {how.coordinates} and {how.rounding}")
    if x.is_time(axis):
        return _over_time(b, x, axis, scale, how)
    if len(x.axes[axis]) > 1:
        x = canonical(b, x)
    n = x.spec.shape[x.frame_axis(axis)]
    m = int(np.floor(n * scale)) if m is None else m
    fits(m, n)
    at = COORDINATES[how.coordinates](np.arange(m, dtype=np.result_type(scale)), scale, n, m)
    return mapped(b, x, axis, weights(at, n, how, scale))


def fits(m: int, n: int) -> None:
    """Refuse a map that is empty or too large."""
    if not 0 < m * n <= LARGEST:
        raise ConvertError(f"axis must have at most {LARGEST} elements times those it is made of, got {m} from {n}")


def mapped(b: Builder, x: Tensor, axis: int, matrix: Array, shift: Array | None = None) -> Tensor:
    """Apply a matrix (M, n) along a frame axis, and add `shift`; a Gather where it only picks."""
    frame = x.frame_axis(axis)
    if shift is None and np.all((matrix == 0) | (matrix == 1)) and np.all(matrix.sum(axis=1) == 1):
        return b.like(x, b.add(Gather(frame), x.value, b.constant(matrix.argmax(axis=1), "int")))
    rest = [i for i in range(len(x.spec.shape)) if i != frame]
    y = b.add(Dense(matrix, shift), b.transpose(b.cast(x.value, "float"), [*rest, frame]))
    last = len(rest)
    return b.like(x, b.cast(b.transpose(y, [*range(frame), last, *range(frame, last)]), x.spec.dtype))


def _over_time(b: Builder, x: Tensor, axis: int, scale: float, how: Resizing) -> Tensor:
    """Time by a whole factor, or a whole part: the same map for the neighbours of every step."""
    up, down = round(scale), round(1 / scale) if scale else 0
    regular = how.coordinates in ("half_pixel", "pytorch_half_pixel", "asymmetric") and not how.exclude_outside
    if not regular or not (scale == up >= 1 or (down > 1 and abs(scale * down - 1) < 1e-9)):
        raise NeedsSequenceLength(
            f"time must be resized to a whole number of times its steps, or to a whole part of them, each alike, got "
            f"{scale:g} times by {how.coordinates}"
        )
    if scale == 1:
        return x
    hop, count = (1, up) if up >= 1 and scale == up else (down, 1)
    n, first = (2 * MIDDLE + 1) * hop, MIDDLE * hop
    at = COORDINATES[how.coordinates](np.arange(MIDDLE * count, (MIDDLE + 1) * count, dtype=float), scale, n, n)
    matrix = weights(at, n, how, scale)
    used = np.flatnonzero(matrix.any(axis=0))
    before, after = max(first - int(used[0]), 0), max(int(used[-1]) - first - hop + 1, 0)
    matrix = matrix[:, first - before : first + hop + after]
    kind, shape = x.spec.dtype, x.spec.shape
    value = b.timed(b.like(x, b.cast(x.value, "float"))).value
    if before or after:
        value = b.add(TimePad(before, after, outside="edge"), value)
    windows = framed(b, value, Framing(matrix.shape[1], hop))
    y = b.add(Dense(matrix), b.transpose(windows, [*range(1, len(shape) + 1), 0]))
    y = b.transpose(y, [len(shape), *range(len(shape))])
    if hop > 1:
        y, steps = b.reshape(y, shape), x.steps(axis) // hop
    else:
        y, steps = b.add(OverlapAdd(count, count, tail=0), y), x.steps(axis) * count
    return b.result(b.cast(y, kind), retimed(b, x.axes, axis, steps), x.elem)
