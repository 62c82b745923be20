"""What a run recorded, looked up: by tables and plots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from .cases import PRECISIONS, Figure

OURS = "fastgru"
Results = dict[str, Any]


def timed(case: Any) -> dict[str, Any]:
    """The engines of a case that were right and timed, by id."""
    return {name: entry for name, entry in case["engines"].items() if entry["status"] == "ok"}


def ours(precision: str) -> str:
    """The id of fastgru in a precision."""
    return OURS if precision == "float32" else f"{OURS} {precision}"


def best_peer(case: Any, precisions: Sequence[str] = PRECISIONS, pattern: str = "") -> tuple[str, float] | None:
    """The fastest other engine of these precisions that was right, and its median."""
    peers = {
        name: entry["median_us"]
        for name, entry in timed(case).items()
        if not name.startswith(OURS) and entry["precision"] in precisions and re.match(pattern, name)
    }
    return min(peers.items(), key=lambda item: item[1]) if peers else None


class Seen(NamedTuple):
    """A case of a figure: whose time it is about, and the time it is compared with, in microseconds.

    `value` is what is asked for: their ratio, to be at most the figure where `kind` is "floor", else at least.
    """

    kind: str
    mine: Any  # the entry of fastgru
    other: float

    @property
    def value(self) -> float:
        """What the case shows of the figure."""
        ratio = self.other / self.mine["median_us"]
        return 1 / ratio if self.kind == "floor" else ratio

    def reaches(self, asked: float) -> bool:
        """Whether that is what was asked for."""
        return self.value <= asked if self.kind == "floor" else self.value >= asked

    def wanted(self, asked: float) -> float:
        """The median that would be."""
        return self.other * asked if self.kind == "floor" else self.other / asked


def seen(figure: Figure, precision: str, case: Any, results: Results) -> Seen | None:
    """What a case shows of a figure, or None where it was not measured."""
    engines = timed(case)
    one = engines.get(ours(precision))
    mine = engines.get(f"{OURS} 2 threads") if figure.kind == "threads" else one
    if one is None or mine is None:
        return None
    other = None
    if figure.kind == "floor":
        other = mine.get("floor_us")
    elif figure.kind == "peak":
        peak = results["roofline"].get("flops")
        other = case["flops"] / peak * 1e6 if peak else None
    elif figure.kind == "threads":
        other = one["median_us"]
    elif peer := best_peer(case, ["float32"] if precision == "float32" else PRECISIONS, figure.peers):
        other = peer[1]
    return None if other is None else Seen(figure.kind, mine, other)
