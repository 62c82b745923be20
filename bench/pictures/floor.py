"""Every case's time beside what the machine needs at least."""

from __future__ import annotations

from typing import Any

from ..lookup import OURS, best_peer, timed
from ..records import Results
from .style import PLAIN, Theme, colour, key, marker, panel, plain_numbers, sheet

TITLE = "Every case beside the limit of the machine: nearer to the line is better"
BELOW = "float32, one core. A point is a case: fastgru, or the fastest other engine."


def draw(results: Results, theme: Theme) -> Any:
    """Draw two points for each case; None without floors."""
    points: dict[str, list[tuple[float, float]]] = {}
    for case in results["cases"]:
        peer = best_peer(case, ["float32"])
        for name in (peer[0] if peer else None, OURS):
            entry = timed(case).get(name or "")
            if name and entry and "floor_us" in entry and case["threads"] == 1:
                points.setdefault(name, []).append((entry["floor_us"], entry["median_us"]))
    if not points:
        return None
    figure = sheet(theme, (8.3, 4.9), TITLE, BELOW)
    order = sorted(points, key=lambda name: (name != OURS, -len(points[name])))
    key(figure, theme, order, (0.95, 4.12))
    axes = panel(figure, theme, (0.95, 0.6, 7.1, 3.3))
    axes.set(
        xscale="log", yscale="log", ylabel="measured (microseconds)",
        xlabel="limit: time to read the weights or multiply by them, whichever is longer (microseconds)",
    )  # fmt: skip
    for name in reversed(order):
        looks = {"markersize": 6, "alpha": 0.9} if name == OURS else {"markersize": 5, "alpha": 0.8}
        axes.plot(*zip(*points[name], strict=True), marker(name), color=colour(name, theme), **looks)
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color=theme.ink, linewidth=1)
    axes.set_xlim(low, high)
    axes.annotate(
        "the limit of the machine", (low**0.7 * high**0.3,) * 2, (8, -4), va="top", textcoords="offset points",
        fontsize=PLAIN, color=theme.ink,
    )  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        plain_numbers(axis)
    return figure
