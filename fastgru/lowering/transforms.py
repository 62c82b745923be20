"""Linear maps whose weights are a windowed Fourier transform, as that transform.

Networks carry their spectrograms as the weights of a convolution or a Dense: rows of window x cosine, then of
window x sine (Silero's voice detector, torchlibrosa, nnAudio, ConvSTFT). They are recognised by their numbers, to the
rounding of float32. Weights that were trained further, or made with coarser angles, stay a product.

Zen 3, microseconds a frame of 128, 256, 512, 1024 samples: as a product 0.76, 2.4, 8.3, 28; by folding 0.68, 2.2, 4.8,
18; by the two rounds of `spectral` 1.2, 2.3, 3.8, 7.7.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import graph as g
from ..graph import SOFTMAX, Activation
from ..reference import f64
from .codes import FUNCTIONS
from .elementwise import Lowering, activation
from .linear import dense, swapped
from .program import Program, Value
from .reductions import softmax
from .rows import IN_FLOAT32, multiplied
from .shapes import join, pad, reshape
from .spectral import angles, factors, folded, spectrum
from .views import View

F64 = NDArray[np.float64]
T = TypeVar("T")
REAL, IMAGINARY, HALVES, PAIRS = "real", "imaginary", "halves", "pairs"
FEWEST = 8  # frequencies of a map that is looked at
ROUNDING = 2.0**-22  # of the largest weight: twice what float32 rounds a product of two rounded factors by
LARGEST_FOLD = 256  # samples; beyond, two rounds are faster


class Transform(NamedTuple):
    """weight[row of k] = window[t] cos(2 pi k t / n), or `sign` times the sine, for k < frequencies."""

    n: int
    window: F64  # (K,), K <= n
    frequencies: int
    order: str  # of the rows: the real parts, the imaginary ones, both as two halves, both side by side
    sign: float


def rows_of(order: str, count: int) -> tuple[Any, Any]:
    """Which rows are real parts and which imaginary ones."""
    return {
        REAL: (slice(0, count), slice(0, 0)),
        IMAGINARY: (slice(0, 0), slice(0, count)),
        HALVES: (slice(0, count), slice(count, 2 * count)),
        PAIRS: (slice(0, 2 * count, 2), slice(1, 2 * count, 2)),
    }[order]


def chosen(order: str, real: T, imaginary: T) -> list[T]:
    """What of the two an order has."""
    return {REAL: [real], IMAGINARY: [imaginary]}.get(order, [real, imaginary])


def candidates(M: int, K: int) -> Iterator[tuple[str, int, int]]:
    """Orders, counts and lengths that M rows of K may have."""
    for order in (REAL, IMAGINARY, HALVES, PAIRS):
        if order in (HALVES, PAIRS) and M % 2:
            continue
        count = M if order in (REAL, IMAGINARY) else M // 2
        for n in sorted({K, 2 * (count - 1), 2 * count}):
            if count >= FEWEST and K <= n <= 2 * K and n % 2 == 0 and count <= n // 2 + 1:
                yield order, count, n


def transform_of(weight: Any) -> Transform | None:
    """The transform that a weight (M, K) is, or None.

    >>> t = np.arange(64)
    >>> basis = np.hanning(64) * np.exp(-2j * np.pi * np.outer(np.arange(33), t) / 64)
    >>> found = transform_of(np.concatenate([basis.real, basis.imag]))
    >>> found.n, found.frequencies, found.order, found.sign
    (64, 33, 'halves', -1.0)
    >>> transform_of(basis.real + 1e-5) is None
    True
    """
    M, K = weight.shape
    for order, count, n in candidates(M, K):
        if _begins_well(weight, order, count, n) and (found := _fit(f64(weight), order, count, n)) is not None:
            return found
    return None


def _begins_well(weight: Any, order: str, count: int, n: int) -> bool:
    """Whether the first two frequencies are such a transform's: what tells nearly all other weights apart at once."""
    real, imaginary = (f64(weight[rows][:2]) for rows in rows_of(order, count))
    bound = 2 * ROUNDING * max(np.abs(part).max() for part in (real, imaginary) if len(part))
    cosine = np.cos(angles(n, [1], np.arange(weight.shape[1]))[0])
    good = not len(real) or np.abs(real[1] - real[0] * cosine).max() <= bound
    return bool(good and (not len(imaginary) or np.abs(imaginary[0]).max() <= bound))


def _fit(weight: F64, order: str, count: int, n: int) -> Transform | None:
    """The window with which `weight` is a transform of this form."""
    bound, t = ROUNDING * np.abs(weight).max(), np.arange(weight.shape[1])
    if not bound > 0:
        return None
    real, imaginary = (weight[rows] for rows in rows_of(order, count))
    angle = angles(n, np.arange(count), t)
    cosine, sine = np.cos(angle), np.sin(angle)
    power = (sine**2).sum(axis=0)  # where all sines vanish, the window is not needed
    window = real[0] if len(real) else np.sqrt((imaginary**2).sum(axis=0) / np.where(power < 0.5, np.inf, power))
    sign = -1.0 if len(imaginary) and (imaginary[1] * window * sine[1]).sum() < 0 else 1.0
    error = [
        np.abs(given - basis * window).max()
        for given, basis in ((real, cosine), (imaginary, sign * sine))
        if len(given)
    ]
    return Transform(n, window, count, order, sign) if max(error) <= bound else None


def by_folding(p: Program, x: Value, of: Transform, window: F64, bias: Any, act: Activation) -> View:
    """Cosines see only what is even in time about its middle, sines what is odd: two products of half the terms."""
    even, odd = folded(p, x, window)
    half, lead = of.n // 2, x.shape[:-1]
    k, t = np.arange(of.frequencies), np.arange(1, half + 1)
    cosine, sine = np.cos(angles(of.n, k, t)), np.sin(angles(of.n, k, t[:-1])) * of.sign
    cosine[:, -1] /= 2.0  # its own mirror image
    if window[0]:
        first = p.expression(FUNCTIONS["mul"], [p.view(x).sliced(len(lead), 0, 1), View.of_constant(window[:1])])
        even = join(p, [first, even], len(lead))
        cosine = np.concatenate([np.ones((of.frequencies, 1)), cosine], axis=1)
    parts = chosen(of.order, (even, cosine), (odd, sine))
    to = p.new((*lead, len(parts) * of.frequencies), x.time)
    rows = chosen(of.order, *rows_of(of.order, of.frequencies))
    for i, (value, weight) in enumerate(parts):
        shift = None if bias is None else f64(bias)[rows[i]]
        dense(p, value, weight, shift, act, out=to.sliced(len(lead), i * of.frequencies, (i + 1) * of.frequencies))
    return paired(p, to) if of.order == PAIRS else to


def paired(p: Program, halves: View) -> View:
    """(..., 2 m) with the elements of its two halves side by side."""
    *lead, m = halves.shape
    two = reshape(p, halves, (*lead, 2, m // 2))
    return p.view(reshape(p, swapped(p.view(two)), halves.shape))


def by_rounds(p: Program, x: Value, of: Transform, window: F64, bias: Any, act: Activation) -> View:
    """The two rounds of `spectral`."""
    last = len(x.shape) - 1
    real, imaginary = (part.sliced(last, 0, of.frequencies) for part in spectrum(p, x, of.n, window))
    signed: Value = imaginary if of.sign < 0 else p.expression(FUNCTIONS["neg"], [imaginary])
    parts = chosen(of.order, real, signed)
    y: Value = join(p, parts, last) if len(parts) > 1 else parts[0]
    y = paired(p, p.view(y)) if of.order == PAIRS else y
    if bias is not None:
        y = p.expression(FUNCTIONS["add"], [y, View.of_constant(f64(bias))])
    return p.view(activation(p, act, y))


def transformed(p: Program, x: Value, of: Transform, bias: Any, act: Activation) -> View:
    """act(weight x + bias) for the weight that `of` describes, over the last axis of x."""
    last, after = len(x.shape) - 1, of.n - x.shape[-1]
    if after:
        x = pad(p, x, [0] * (last + 1), [*[0] * last, after], 0.0)
    run = by_rounds if of.n > LARGEST_FOLD and factors(of.n) else by_folding
    return run(p, x, of, np.pad(of.window, (0, after)), bias, act)


def linear_map(
    p: Program, x: Value, weight: Any, bias: Any, act: Activation, how: dict[str, Any] = IN_FLOAT32,
    to: View | None = None,
) -> View:  # fmt: skip
    """act(x w' + bias) over the last axis, in the cheapest way, into a new view or that given."""
    found = transform_of(weight) if how["precision"] == "float32" else None
    if found is None and (to is None or len(p.row_loops(to)) <= 2):
        return dense(p, x, weight, bias, act, how, to)
    y = dense(p, x, weight, bias, act, how) if found is None else transformed(p, x, found, bias, act)
    if to is None:
        return y
    p.copy(y, to)
    return to


def _dense(p: Program, op: g.Dense, x: Value) -> Value:
    rows = op.activation.name == SOFTMAX
    y = linear_map(p, x, op.weight, op.bias, Activation("linear") if rows else op.activation, multiplied(op))
    return softmax(p, y, y.rank - 1) if rows else y


TRANSFORMS: dict[type[g.Op], Lowering] = {g.Dense: _dense}
