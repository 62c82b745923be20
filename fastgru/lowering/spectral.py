"""Fourier transforms of real signals as small products.

A length n = A B, both near its root, takes two rounds (Cooley and Tukey, doi:10.1090/S0025-5718-1965-0178586-1):
A-point transforms of every B-th sample, a turn of each result, B-point transforms across them. 512 samples then read
15 KB of weights where one product reads 1 MB. Of a real signal only half of each round is needed. A length that has no
two factors of at least four is one product. The order of every sum is fixed, as in any other product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import graph as g
from ..graph import Activation
from .codes import FUNCTIONS
from .elementwise import Lowering
from .linear import dense, matrices, swapped
from .program import Program, Value
from .shapes import join, reshape
from .views import View

F64 = NDArray[np.float64]
LINEAR = Activation("linear")
LEAST = 4  # factors below this save nothing


def angles(n: int, rows: Any, columns: Any) -> F64:
    """2 pi i k / n for every row i and column k."""
    return np.asarray(2.0 * np.pi * (np.outer(rows, columns) % n) / n)


def waves(angle: F64) -> tuple[F64, F64]:
    """Cosine and sine, exactly 0 where they vanish: of real numbers, the ends of a spectrum are then real, whose phase
    would otherwise turn round with the rounding."""
    return tuple(np.where(np.abs(w) < 1e-12, 0.0, w) for w in (np.cos(angle), np.sin(angle)))  # type: ignore[return-value]


def factors(n: int) -> tuple[int, int] | None:
    """The even A and the B nearest to the root of n with A B = n, or None where there are none."""
    found = [(a, n // a) for a in range(LEAST, n // LEAST + 1) if n % a == 0 and a % 2 == 0]
    return min(found, key=lambda ab: ab[0] + ab[1], default=None)


def product(p: Program, x: Value, weight: F64) -> View:
    """x w' over the last axis."""
    return dense(p, x, weight, None, LINEAR)


def turned(p: Program, real: View, imaginary: View, angle: F64) -> tuple[Value, Value]:
    """Complex numbers times exp(i angle)."""
    cosine, sine = map(View.of_constant, waves(angle))

    def sum_of(name: str, a: View, b: View) -> Value:
        return p.expression(
            FUNCTIONS[name], [p.expression(FUNCTIONS["mul"], [real, a]), p.expression(FUNCTIONS["mul"], [imaginary, b])]
        )

    return sum_of("sub", cosine, sine), sum_of("add", sine, cosine)


def halves(view: View) -> tuple[View, View]:
    """The first and the second half of the last axis."""
    last, n = view.rank - 1, view.shape[-1] // 2
    return view.sliced(last, 0, n), view.sliced(last, n, 2 * n)


def complex_matrix(angle: F64) -> F64:
    """exp(i angle) (M, K) as a real matrix (2 M, 2 K) from real parts then imaginary ones to the same."""
    cosine, sine = waves(angle)
    return np.block([[cosine, -sine], [sine, cosine]])


def spectrum(p: Program, x: Value, n: int, window: F64 | None = None) -> tuple[View, View]:
    """Real and imaginary parts (..., n // 2 + 1) of x (..., n), times a window."""
    lead, split, half = x.shape[:-1], factors(n), n // 2 + 1

    if window is not None:
        x = p.expression(FUNCTIONS["mul"], [x, View.of_constant(window)])
    if split is None:
        angle = -angles(n, np.arange(half), np.arange(n))
        return halves(product(p, x, np.concatenate(waves(angle))))
    A, B = split
    # n = B a + b and k = i + A j: sum over a, turn by b i, sum over b
    i, j, b = np.arange(A), np.arange(B // 2 + 1), np.arange(B)
    rows = p.contiguous(swapped(p.view(reshape(p, x, (*lead, A, B)))))  # (b, a)
    first = -angles(A, i, np.arange(A))
    real, imaginary = (product(p, rows, wave) for wave in waves(first))  # (b, i)
    across = join(p, turned(p, real, imaginary, -angles(n, b, i)), len(lead))  # (2 b, i)
    second = View.of_constant(complex_matrix(-angles(B, j, b)))
    z = matrices(p, second.expanded((*lead, 2 * len(j), 2 * B)), across)  # (2 j, i): vectors run along i
    whole = p.view(reshape(p, z, (*lead, 2 * len(j) * A)))
    real, imaginary = halves(whole)
    if B % 2:  # with an even B, no rounding reaches it
        p.fill(imaginary.sliced(len(lead), half - 1, half), 0.0)
    return real.sliced(len(lead), 0, half), imaginary.sliced(len(lead), 0, half)


def folded(p: Program, x: Value, window: F64) -> tuple[Value, Value]:
    """x[t] + x[n - t] for 0 < t <= n / 2, and x[t] - x[n - t] for 0 < t < n / 2, of x (..., n) times a window."""
    view, n = p.view(x), x.shape[-1]
    last, half = view.rank - 1, n // 2

    def part(ahead: bool, count: int) -> Value:
        order = np.arange(1, count + 1) if ahead else n - np.arange(1, count + 1)
        piece = view.sliced(last, 1, count + 1) if ahead else view.sliced(last, n - 1, n - 1 - count, -1)
        return p.expression(FUNCTIONS["mul"], [piece, View.of_constant(window[order])])

    even, odd = ([part(ahead, count) for ahead in (True, False)] for count in (half, half - 1))
    return p.expression(FUNCTIONS["add"], even), p.expression(FUNCTIONS["sub"], odd)


def _rfft(p: Program, op: Any, x: Value) -> Value:
    parts = spectrum(p, x, op.n)
    return swapped(join(p, [part.with_axis(part.rank - 1, 1, 0) for part in parts], len(x.shape) - 1))


def _irfft(p: Program, op: Any, x: Value) -> Value:
    n, lead, view = op.n, x.shape[:-2], p.view(x)
    axis, split = len(lead), factors(n)
    half = view.shape[-2]
    real, imaginary = (p.view(reshape(p, view.sliced(axis + 1, i, i + 1), (*lead, half))) for i in (0, 1))
    if split is None:
        k = np.arange(half)
        weight = np.where((k == 0) | (2 * k == n), 1.0, 2.0) / n  # the other half of the spectrum is this one mirrored
        angle = angles(n, np.arange(n), k)
        both = join(p, [real, imaginary], axis)
        return product(p, both, np.concatenate([np.cos(angle) * weight, -np.sin(angle) * weight], axis=1))
    A, B = split
    mirrored = [part.sliced(axis, n - half, 0, -1) for part in (real, imaginary)]
    negative = p.expression(FUNCTIONS["neg"], [mirrored[1]])
    whole = [join(p, [real, mirrored[0]], axis), join(p, [imaginary, negative], axis)]
    # k = i + A j and n = B a + b: sum over j, turn by b i, sum over i, of which one half mirrors the other
    i, b = np.arange(A // 2 + 1), np.arange(B)
    rows = [swapped(p.view(reshape(p, part, (*lead, B, A)))).sliced(axis, 0, len(i)) for part in whole]  # (i, j)
    y = product(p, join(p, rows, axis + 1), complex_matrix(angles(B, b, np.arange(B))))  # (i, 2 b)
    parts = turned(p, *halves(y), angles(n, i, b))
    across = join(p, [swapped(p.view(part)) for part in parts], axis + 1)  # (b, 2 i)
    weight = np.where((i == 0) | (2 * i == A), 1.0, 2.0) / n
    angle = angles(A, np.arange(A), i)
    last = product(p, across, np.concatenate([np.cos(angle) * weight, -np.sin(angle) * weight], axis=1))  # (b, a)
    return reshape(p, swapped(last), (*lead, n))


SPECTRAL: dict[type[g.Op], Lowering] = {g.RFFT: _rfft, g.IRFFT: _irfft}
