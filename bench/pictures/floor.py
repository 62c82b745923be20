"""Every case's time beside what the machine needs at least."""

from __future__ import annotations

from typing import Any

from ..lookup import OURS, best_peer, timed
from ..records import Results
from .style import PLAIN, Theme, colour, key, marker, panel, plain_numbers, sheet

TITLE = "Every case beside the limit of the machine: nearer to the line is better"
BELOW = (
    "Float32, one core. A point is a case: fastgru, or the fastest other engine. The limit is the time to read the "
    "weights,\nor to multiply by them, whichever is longer, at the rates measured on this machine."
)


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
    figure = sheet(theme, (8.3, 5.2), TITLE, BELOW)
    order = sorted(points, key=lambda name: (name != OURS, -len(points[name])))
    key(figure, theme, order, (0.95, 4.25))
    axes = panel(figure, theme, (0.95, 0.6, 7.1, 3.45))
    axes.set(
        xscale="log", yscale="log", ylabel="measured (us)",
        xlabel="limit: time to read the weights or to multiply (us)",
    )  # fmt: skip
    for name in reversed(order):  # hollow, so that points on top of each other are seen
        axes.plot(
            *zip(*points[name], strict=True), marker(name), color=colour(name, theme), markersize=5,
            markerfacecolor="none", markeredgewidth=1.3 if name == OURS else 1.0,
        )  # fmt: skip
    low, high = axes.get_xlim()
    bottom = min(us for cases in points.values() for _, us in cases) / 1.5
    axes.plot([low, high], [low, high], color=theme.ink, linewidth=1)
    axes.set(xlim=(low, high), ylim=(bottom, axes.get_ylim()[1]))
    at = max(low, bottom) ** 0.75 * high**0.25
    axes.annotate(
        "the limit of the machine: time to read\nthe weights or to multiply by them", (at, at), (12, -2), va="top",
        textcoords="offset points", fontsize=PLAIN, color=theme.ink,
    )  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        plain_numbers(axis)
    return figure
