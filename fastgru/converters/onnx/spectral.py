"""Fourier transforms of constant length."""

from __future__ import annotations

import numpy as np

from ...errors import ConvertError
from ...graph import IRFFT, RFFT, Dense, Multiply, Pad
from ..program.values import Tensor, room
from ..program.views import in_order, renumbered, without
from ..program.windows import unfold
from .call import Call, Translator


def dft(call: Call) -> Tensor:
    """DFT along an axis of fixed size: real to half a spectrum and back by FFT, anything else by the matrix."""
    x, length = call.tensor(0), call.optional(1, "dft_length")
    inverse, onesided = bool(call.attr("inverse", 0)), bool(call.attr("onesided", 0))
    if call.opset < 20:
        axis = call.attr("axis", 1)
    else:
        given = call.optional(2, "axis")
        axis = -2 if given is None else int(given.reshape(-1)[0])
    axis = call.axis(axis, x.rank)
    if axis == x.rank - 1:
        raise ConvertError("axis must not be that of real and imaginary part, got the last one")
    parts = x.spec.shape[x.frame_axis(x.rank - 1)]
    frame = x.frame_axis(axis)
    source = x.spec.shape[frame]
    n = int(length.reshape(-1)[0]) if length is not None else (2 * (source - 1) if inverse and onesided else source)
    if n < 1 or parts not in (1, 2):
        raise ConvertError(f"dft_length must be at least 1 and the last axis 1 or 2, got {n} and {parts}")
    rest = [i for i in range(len(x.spec.shape)) if i not in (frame, x.frame_axis(x.rank - 1))]
    order = [*rest, frame, x.frame_axis(x.rank - 1)]
    value = call.transpose(x.value, order)
    y = _transformed(call, value, n, parts, inverse=inverse, onesided=onesided)
    return call.result(y, renumbered(x.axes, order), x.elem)


def _transformed(call: Call, value: str, n: int, parts: int, *, inverse: bool, onesided: bool) -> str:
    """(..., M, parts) to (..., N, 2), or (..., N, 1) of the inverse of half a spectrum."""
    k = len(call.shape(value)) - 2
    if inverse and onesided:
        y = call.add(IRFFT(n), _fitted(call, value, k, n // 2 + 1))
        return call.reshape(y, (*call.shape(y), 1))
    value = _fitted(call, value, k, n)
    if parts == 1 and onesided:
        return call.add(RFFT(n), call.reshape(value, call.shape(value)[:-1]))
    lead = call.shape(value)[:k]
    flat = call.reshape(value, (*lead, n * parts))
    kept = n // 2 + 1 if onesided else n
    y = call.add(Dense(_matrix(n, kept, parts, inverse=inverse)), flat)
    return call.reshape(y, (*lead, kept, 2))


def _fitted(call: Call, value: str, axis: int, n: int) -> str:
    """Cut or padded with zeros to n elements along an axis."""
    shape = call.shape(value)
    if shape[axis] >= n:
        return call.cut(value, axis, 0, n)
    after = tuple(n - shape[axis] if i == axis else 0 for i in range(len(shape)))
    return call.add(Pad((0,) * len(shape), after), value)


LARGEST_MATRIX = 2**11  # points of a transform that has no FFT here


def _matrix(n: int, kept: int, parts: int, *, inverse: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The transform as a matrix (kept * 2, n * parts) on interleaved real and imaginary parts."""
    if n > LARGEST_MATRIX:
        raise ConvertError(
            f"transform that is not real to half a spectrum must have at most {LARGEST_MATRIX} points, got {n}"
        )
    turns = np.outer(np.arange(kept), np.arange(n)) % n * (2 * np.pi / n) * (1 if inverse else -1)
    c, s = np.cos(turns) / (n if inverse else 1), np.sin(turns) / (n if inverse else 1)
    blocks = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], 1)[..., :parts]  # (kept, 2, n, parts)
    return np.ascontiguousarray(blocks.reshape(kept * 2, n * parts))


def stft(call: Call) -> Tensor:
    """STFT of a real signal (N, L) or (N, L, 1)."""
    x, step = call.tensor(0), int(call.array(1, "frame_step").reshape(-1)[0])
    window, length = call.optional(2, "window"), call.optional(3, "frame_length")
    onesided = bool(call.attr("onesided", 1))
    if length is None and window is None:
        raise ConvertError("frame_length or window must be given, got none")
    n = int(length.reshape(-1)[0]) if length is not None else len(window)  # type: ignore[arg-type]
    if x.rank == 3 and x.size(2) != 1:
        raise ConvertError(f"signal must be real, got {x}")
    if step < 1 or n < 1 or (window is not None and window.shape != (n,)):
        raise ConvertError(f"frame_step and frame_length must be at least 1 and the window as long, got {step} and {n}")
    x = without(call, x, [2]) if x.rank == 3 else x
    if not x.is_time(1):
        room((x.spec.shape[x.frame_axis(1)] - n) // step + 1, n)
    frames = in_order(call, unfold(call, x, 1, n, step))
    value = frames.value if window is None else call.add(Multiply(), frames.value, call.constant(window))
    spectrum = _transformed(call, call.reshape(value, (*call.shape(value), 1)), n, 1, inverse=False, onesided=onesided)
    return call.result(spectrum, [*frames.axes, (len(frames.spec.shape),)], x.elem)


OPERATORS: dict[str, Translator] = {"DFT": dft, "STFT": stft}
