"""What a run recorded, looked up: by tables and plots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

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


def seen(figure: Figure, precision: str, case: Any, results: Results) -> Any:
    """What a case shows of a figure, or None where it was not measured."""
    engines = timed(case)
    mine = engines.get(ours(precision))
    if mine is None:
        return None
    if figure.kind == "floor":
        return mine.get("over_floor")
    if figure.kind == "peak":
        peak = results["roofline"].get("flops")
        return case["flops"] / (mine["median_us"] * 1e-6) / peak if peak else None
    if figure.kind == "threads":
        two = engines.get(f"{OURS} 2 threads")
        return mine["median_us"] / two["median_us"] if two else None
    peer = best_peer(case, ["float32"] if precision == "float32" else PRECISIONS, figure.peers)
    return peer[1] / mine["median_us"] if peer else None
