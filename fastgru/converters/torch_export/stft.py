"""Short-time Fourier transforms: framing, a window and an FFT of each frame, and the way back by overlap-add."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import IRFFT, RFFT, Binary, Concat, Gather, Multiply, OverlapAdd
from ..tensors.steps import overlapped
from ..tensors.values import Array, Dim, Tensor, describe
from .call import Call, Handler
from .spectral import Complex
from .views import canonical, squeeze, unsqueeze
from .windows import unfold

LEAST = 1e-11  # PyTorch's own bound for the sum of the squares of overlapping windows


def _window(call: Call, n: int, length: int | None, window: Any) -> Array:
    """The window in the middle of the n samples of a frame."""
    length = n if length is None else length
    given = np.ones(length) if window is None else call.array(window, "window")
    if given.shape != (length,) or not 1 <= length <= n:
        raise ConvertError(f"window must have win_length elements, at most {n}, got {length} and shape {given.shape}")
    before = (n - length) // 2
    return np.pad(given, (before, n - length - before))


def _stft(
    call: Call, x: Any, n: int, hop: int | None = None, length: int | None = None, window: Any = None,
    normalized: bool = False, onesided: bool | None = None, return_complex: bool | None = None, *_: Any,
) -> Any:  # fmt: skip
    """(B, L) to (B, frequencies, frames): of time, or of an axis of fixed size."""
    x = call.tensor(x)
    if x.rank == 1:
        one = _stft(call, unsqueeze(call, x, 0), n, hop, length, window, normalized, onesided, True)
        pairs = squeeze(call, one.pairs, 0)
        return Complex(pairs) if return_complex else pairs
    weights = _window(call, n, length, window) / (np.sqrt(n) if normalized else 1.0)
    hop = n // 4 if hop is None else hop
    alone = Call(call.name, call.session)  # whose result is known to have other axes
    frames = canonical(call, unfold(alone, x, x.rank - 1, n, hop))
    value = call.add(Multiply(), call.cast(frames.value, "float"), call.constant(weights))
    value = call.add(RFFT(n), value)
    rank = len(frames.spec.shape)
    if onesided is False:  # the other half mirrors this one, its imaginary parts negated
        order = [*range(n // 2 + 1), *range(n - n // 2 - 1, 0, -1)]
        signs = np.ones((n, 2))
        signs[n // 2 + 1 :, 1] = -1
        value = call.add(Gather(rank - 1), value, call.constant(np.array(order), "int"))
        value = call.add(Multiply(), value, call.constant(signs))
    axes = [*frames.axes[:-2], frames.axes[-1], frames.axes[-2], (rank,)]
    if x.is_time(x.rank - 1):
        axes[-2] = (call.steps(x.rank, str(frames.axes[-2][0])),)
    pairs = call.result(value, axes)
    return Complex(pairs) if return_complex else pairs


def _istft(
    call: Call, x: Any, n: int, hop: int | None = None, length: int | None = None, window: Any = None,
    center: bool = True, normalized: bool = False, onesided: bool | None = None, samples: Any = None,
    return_complex: bool = False,
) -> Tensor:  # fmt: skip
    """(B, frequencies, frames) to (B, L), divided by what the squares of the windows sum up to."""
    if not isinstance(x, Complex):
        raise ConvertError("input must be complex, got real numbers")
    pairs, hop = canonical(call, x.pairs), n // 4 if hop is None else hop
    steps = pairs.rank - 2
    if not pairs.is_time(steps):
        raise ConvertError(f"frames must be along time, got {describe(pairs, steps)}")
    if onesided is False or return_complex:
        raise ConvertError("spectra must be one-sided and of real signals, got others")
    if samples is not None:
        raise ConvertError(
            f"length must be left out, got {samples if isinstance(samples, int | Dim) else 'a computed one'}: give "
            "signals of a multiple of the hop, which need none"
        )
    if pairs.spec.shape[-2] != n // 2 + 1:
        raise ConvertError(f"spectra must have the {n // 2 + 1} frequencies of {n} samples, got {pairs.spec.shape[-2]}")
    weights = _window(call, n, length, window)
    _check_overlap(weights, hop, n // 2 if center else 0)
    scaled = call.constant(weights * (np.sqrt(n) if normalized else 1.0))
    value = call.add(Multiply(), call.add(IRFFT(n), call.timed(pairs).value), scaled)
    y = _overlapped(call, value, weights, hop, n // 2 if center else 0)
    atom = str(pairs.axes[steps][0])
    more = n - hop - (2 * (n // 2) if center else 0)
    axes = [*pairs.axes[: steps - 1], (call.steps(steps - 1, overlapped(atom, hop, more)),)]
    return call.result(y, axes)


def _overlapped(call: Call, value: str, weights: Array, hop: int, cut: int) -> str:
    """Frames (*rows, n) laid over each other, and divided by the squares of their windows laid alike."""
    n = len(weights)
    *rows, _ = call.shape(value)
    k = len(rows)
    count = int(np.prod(rows, dtype=int))
    frames = call.reshape(value, (count, n))
    frames = call.add(Concat(0), frames, call.constant((weights**2)[None]))
    sums = call.add(OverlapAdd(n, hop, cut, n - hop - cut), call.transpose(frames, [1, 0]))
    divisor = call.cut(sums, 0, count, count + 1)
    y = call.add(Binary("div"), call.cut(sums, 0, 0, count), divisor)
    return call.reshape(y, rows) if k != 1 else y


def _check_overlap(weights: Array, hop: int, cut: int) -> None:
    """The divisor must be positive wherever a sample is given, whatever the number of frames."""
    n = len(weights)
    for count in range(1, n // hop + 3):
        sums = np.zeros((count - 1) * hop + n)
        for t in range(count):
            sums[t * hop : t * hop + n] += weights**2
        kept = sums[cut : len(sums) - cut]
        if kept.size and kept.min() < LEAST:
            raise ConvertError(
                f"squares of the overlapping windows must sum up to more than {LEAST:g} everywhere, got {kept.min():g}"
            )


TABLE: dict[str, Handler] = {"stft.default": _stft, "istft.default": _istft}
