"""Short-time Fourier transforms: framing, a window and an FFT of each frame, and the way back by overlap-add."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._hints import option
from ...errors import ConvertError
from ...graph import IRFFT, RFFT, Binary, Concat, Gather, Multiply, OverlapAdd
from ..program.padding import pad
from ..program.sizes import Dim, difference, size_of
from ..program.steps import STEPS, Length, overlapped
from ..program.time import without_ends
from ..program.values import Array, Tensor
from ..program.views import canonical, in_order, sliced
from .call import Call, Complex, Handler
from .complex_numbers import pairs_of
from .views import squeeze, unsqueeze
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
        axes[-2] = (call.steps(x.rank, frames.steps(frames.rank - 2)),)
    pairs = call.result(value, axes)
    return Complex(pairs) if return_complex else pairs


def _istft(
    call: Call, x: Any, n: int, hop: int | None = None, length: int | None = None, window: Any = None,
    center: bool = True, normalized: bool = False, onesided: bool | None = None, samples: Any = None,
    return_complex: bool = False,
) -> Tensor:  # fmt: skip
    """(B, frequencies, frames) to (B, L), divided by what the squares of the windows sum up to."""
    pairs, hop = canonical(call, pairs_of(call, x)), n // 4 if hop is None else hop
    steps = pairs.rank - 2
    if onesided is False or return_complex:
        raise ConvertError("spectra must be one-sided and of real signals, got others")
    if pairs.spec.shape[pairs.frame_axis(steps - 1)] != n // 2 + 1:
        raise ConvertError(
            f"spectra must have the {n // 2 + 1} frequencies of {n} samples, got {pairs.size(steps - 1)}"
        )
    weights, cut = _window(call, n, length, window), n // 2 if center else 0
    scaled = call.constant(weights * (np.sqrt(n) if normalized else 1.0))
    if not pairs.is_time(steps):
        return _of_frames(call, pairs, weights, scaled, hop, cut, samples)
    atom = pairs.steps(steps)
    less = 0 if samples is None else _less(call, atom, samples)
    tail = n - hop - cut if samples is None else _tail(atom, samples, hop, cut)
    if tail > n - hop:
        raise ConvertError(f"length must be no longer than the frames reach, got {tail - n + hop} samples more")
    _check_overlap(weights, hop, cut, n - hop - tail)
    value = call.add(Multiply(), call.add(IRFFT(n), call.timed(pairs).value), scaled)
    y = _overlapped(call, value, weights, hop, cut, tail)
    if samples is not None:  # which makes inputs that are no multiple of the hop an error
        whole = call.result(call.plus(y, _zero_of_input(call)), [*pairs.axes[: steps - 1], (STEPS,)])
        return without_ends(call, whole, steps - 1, 0, less)
    axes = [*pairs.axes[: steps - 1], (call.steps(steps - 1, overlapped(atom, hop, tail - cut)),)]
    return call.result(y, axes)


def _of_frames(
    call: Call, pairs: Tensor, weights: Array, scaled: str, hop: int, cut: int, samples: Any
) -> Tensor:  # fmt: skip
    """A fixed number of frames to as many samples as asked for, or as they reach: zeros where they reach no further."""
    call.session.laid = True
    n, steps = len(weights), pairs.rank - 2
    count = pairs.spec.shape[pairs.frame_axis(steps)]
    end = n + hop * (count - 1) - (cut if samples is None else 0)
    if not isinstance(samples, int | None):
        raise ConvertError(f"length must be fixed where the number of frames is, got {samples}")
    squares, laid = np.zeros(n + hop * (count - 1)), -(-n // hop)
    for t in range(count):
        squares[t * hop : t * hop + n] += weights**2
    kept = squares[cut : end if samples is None else cut + samples]
    _check_sums(kept)
    rows = range(pairs.rank - 3)
    frames = pairs.permuted([*rows, steps, steps - 1, pairs.rank - 1])
    frames = in_order(call, frames)
    frames = call.result(call.times(call.add(IRFFT(n), frames.value), scaled), frames.axes[:-1])
    parts = []
    for k in range(laid):  # the k-th hop of each frame lies k hops behind its first
        part = sliced(call, frames, steps, k * hop, min((k + 1) * hop, n))
        short = hop - part.spec.shape[-1]
        parts.append(pad(call, part, {steps - 1: (k, laid - 1 - k), steps: (0, short)}, "constant", 0.0).value)
    *lead, hops, _ = call.shape(parts[0])
    value = call.reshape(parts[0] if laid == 1 else call.plus(*parts), (*lead, hops * hop))
    y = call.result(value, [*frames.axes[: steps - 1], (len(lead),)])
    y = sliced(call, y, steps - 1, cut, cut + len(kept))
    y = call.like(y, call.times(y.value, call.constant(1.0 / kept)))
    return y if samples is None else pad(call, y, {steps - 1: (0, samples - len(kept))}, "constant", 0.0)


def _less(call: Call, atom: Length, samples: Any) -> int:
    """Count the samples by which the output asked for is shorter than the input."""
    less = difference(size_of(STEPS), samples) if isinstance(samples, Dim) else None
    if less is None or less < 0:
        got = samples if isinstance(samples, int | Dim) else "a computed one"
        raise ConvertError(
            f"length must be left out, or be the number of samples of the input (length=x.shape[-1]) or less, got "
            f"{got} for {atom} frames: give the samples of the input a fixed number by {option('axes')}"
        )
    return less


def _zero_of_input(call: Call) -> str:
    """Zero at every step of an input: what is added to it has as many steps."""
    name = next((n for n, spec in call.emit.inputs.items() if spec.time), None)
    if name is None:
        raise ConvertError("numbers of steps must be those of an input with time, got none")
    value = name
    for _ in call.shape(name):
        value = call.reshape(call.cut(value, 0, 0, 1), call.shape(value)[1:])
    less = value if call.spec(value).dtype == "bool" else call.binary("less", value, value)
    return call.affine(call.cast(less, "float"), 0.0)


def _tail(atom: Length, samples: Any, hop: int, cut: int) -> int:
    """Count the samples that make, behind a hop of every frame, as many as the input has, for multiples of the hop."""
    whole: Length = atom.at(STEPS * hop)
    found = (STEPS * hop - whole * hop + cut).fixed
    if found is None:
        raise ConvertError(f"length {samples} must follow from the number of frames, got {atom} of them")
    return found


def _overlapped(call: Call, value: str, weights: Array, hop: int, cut: int, tail: int) -> str:
    """Frames (*rows, n) laid over each other, and divided by the squares of their windows laid alike."""
    n = len(weights)
    *rows, _ = call.shape(value)
    k = len(rows)
    count = int(np.prod(rows, dtype=int))
    frames = call.reshape(value, (count, n))
    frames = call.add(Concat(0), frames, call.constant((weights**2)[None]))
    sums = call.add(OverlapAdd(n, hop, cut, tail), call.transpose(frames, [1, 0]))
    divisor = call.cut(sums, 0, count, count + 1)
    y = call.add(Binary("div"), call.cut(sums, 0, 0, count), divisor)
    return call.reshape(y, rows) if k != 1 else y


def _check_overlap(weights: Array, hop: int, cut: int, end: int) -> None:
    """The divisor must be positive wherever a sample is given, whatever the number of frames."""
    n = len(weights)
    for count in range(1, n // hop + 3):
        sums = np.zeros((count - 1) * hop + n)
        for t in range(count):
            sums[t * hop : t * hop + n] += weights**2
        kept = sums[cut : len(sums) - max(end, 0)]
        _check_sums(kept)


def _check_sums(sums: Array) -> None:
    if sums.size and sums.min() < LEAST:
        raise ConvertError(
            f"squares of the overlapping windows must sum up to more than {LEAST:g} everywhere, got {sums.min():g}"
        )


TABLE: dict[str, Handler] = {"stft.default": _stft, **dict.fromkeys(("istft.default", "fastgru::istft"), _istft)}
