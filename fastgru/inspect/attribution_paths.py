"""Integrated gradients along the straight line from a baseline, cut until they complete.

Sundararajan, Taly & Yan 2017, "Axiomatic Attribution for Deep Networks" (arXiv:1703.01365), equation 1. The integral
over a piece of the line must equal the difference of the output at its ends, so the error of each piece is known and
pieces with a large one are halved: at a corner of the function, too, where more points on the whole line help little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import AttributionError
from ..graph.activations import F64

POINTS = 8  # of Gauss and Legendre in each piece
PIECES = 2  # to begin with
MOST_POINTS = 4096  # on the line, for all pieces together
AT_ONCE, NUMBERS = 64, 1 << 24  # rows that are evaluated together, and numbers of all their values
Entries = dict[str, F64]
# Entries (N * B, ...) to the output (N * B,) and its gradients.
Evaluate = Callable[[Entries, int], tuple[F64, Entries]]


class Line:
    """The integrals over pieces of the line from `first` to `last`."""

    def __init__(self, evaluate: Evaluate, first: Entries, last: Entries, batch: int, numbers: int) -> None:
        self.evaluate, self.first, self.batch = evaluate, first, batch
        self.together = max(1, min(AT_ONCE, NUMBERS // numbers) // batch)
        self.way = {name: last[name] - first[name] for name in first}
        self.points = 0
        self.nodes, self.weights = np.polynomial.legendre.leggauss(POINTS)

    def at(self, places: F64) -> tuple[F64, Entries]:
        """Return the output (N, B) and gradients (N, B, ...) at N places of the line."""
        outputs, gradients = [], []
        for begin in range(0, len(places), self.together):
            some = places[begin : begin + self.together]
            self.points += len(some)
            entries = {
                name: (self.first[name] + some.reshape(-1, *[1] * way.ndim) * way).reshape(-1, *way.shape[1:])
                for name, way in self.way.items()
            }
            y, back = self.evaluate(entries, len(some))
            outputs.append(y.reshape(len(some), self.batch))
            gradients.append({name: a.reshape(len(some), self.batch, *a.shape[1:]) for name, a in back.items()})
        return np.concatenate(outputs), {n: np.concatenate([a[n] for a in gradients]) for n in self.way}

    def piece(self, begin: float, end: float) -> tuple[Entries, F64]:
        """Return the integrals of a piece, and the sum of each row."""
        half = (end - begin) / 2
        _, gradients = self.at(begin + half * (self.nodes + 1))
        found = {name: self.way[name] * np.tensordot(self.weights * half, a, axes=1) for name, a in gradients.items()}
        total: Any = sum(a.reshape(self.batch, -1).sum(axis=1) for a in found.values())
        return found, total


def integrate(
    evaluate: Evaluate, first: Entries, last: Entries, batch: int, tolerance: float, numbers: int
) -> tuple[Entries, F64, F64, F64]:
    """Integrate gradients from `first` to `last`; `numbers` are those of all values of a row.

    Returns
    -------
    integrals by entry, the output at the end and at the beginning (B,), and the gap (B,): the difference of these two
    less the sum of the integrals

    Raises
    ------
    AttributionError
        When the gap stays above the tolerance: the output jumps somewhere on the line.
    """
    line = Line(evaluate, first, last, batch, numbers)
    ends = {0.0: line.at(np.array([0.0]))[0][0], 1.0: line.at(np.array([1.0]))[0][0]}
    allowed = tolerance * np.maximum(1.0, np.abs(ends[1.0] - ends[0.0]))
    pieces: dict[tuple[float, float], tuple[Entries, F64]] = {}
    wanted = [(i / PIECES, (i + 1) / PIECES) for i in range(PIECES)]
    while True:
        inner = [place for place in {p for piece in wanted for p in piece} if place not in ends]
        if inner:
            ends.update(zip(inner, line.at(np.array(inner))[0], strict=True))
        for begin, end in wanted:
            integrals, total = line.piece(begin, end)
            pieces[begin, end] = integrals, ends[end] - ends[begin] - total
        gaps = {piece: np.abs(gap) / allowed for piece, (_, gap) in pieces.items()}
        worst: Any = sum(gaps.values())  # of each row, were all of one sign
        if worst.max() <= 1.0 or line.points >= MOST_POINTS:
            break
        share = 0.5 / len(gaps)  # pieces below it all together are within the tolerance
        large = [piece for piece, gap in gaps.items() if gap.max() > share]
        wanted = []
        for begin, end in large:
            del pieces[begin, end]
            middle = (begin + end) / 2
            wanted += [(begin, middle), (middle, end)]
    found: Entries = {n: np.sum([integrals[n] for integrals, _ in pieces.values()], axis=0) for n in first}
    gap: F64 = np.sum([gap for _, gap in pieces.values()], axis=0)
    if (np.abs(gap) > allowed).any():
        row = int(np.argmax(np.abs(gap) / allowed))
        raise AttributionError(
            f"integrated gradients of row {row} must sum to f(x) - f(baseline) = {(ends[1.0] - ends[0.0])[row]:.6g} "
            f"within {allowed[row]:.2g}, got a gap of {abs(gap[row]):.2g} after {line.points} points of the line: the "
            "output jumps on it, or turns very often; give another baseline, or a larger tolerance"
        )
    return found, ends[1.0], ends[0.0], gap
