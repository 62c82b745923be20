"""Published models, end to end: the fastest other engine's time over fastgru's."""

from __future__ import annotations

from typing import Any

from ..lookup import Row, compared, describe, number
from ..records import Results
from .style import SMALL, Theme, colour, panel, plain_numbers, sheet

TITLE = "Published models: fastgru against the fastest other engine, longer is better"
BELOW = "1 is equal. Filled bars: float32. Dashed bars: int8, against the fastest engine in any precision. One core."


def draw(results: Results, theme: Theme) -> Any:
    """Draw a bar for each model and precision; None without any."""
    found = [
        (row, precision == "float32")
        for case in results["cases"]
        if case["model"]
        for precision in ("float32", "int8")
        if (row := compared(case, precision)) and (precision == "float32" or row.peer.endswith("int8"))
    ]
    if not found:
        return None
    high = 0.24 * len(found)
    figure = sheet(theme, (10.2, high + 1.25), TITLE, BELOW)
    axes = panel(figure, theme, (2.95, 0.5, 3.3, high))
    axes.grid(visible=False, axis="y")
    axes.set(xscale="log", xlabel="time of the fastest other engine over that of fastgru")
    for place, (row, whole) in enumerate(found):
        _bar(axes, theme, place, row, whole)
    axes.axvline(1, color=theme.muted, linewidth=1)
    labels = [describe(row.case) + ("" if whole else ", int8") for row, whole in found]
    axes.set_yticks(range(len(found)), labels, fontsize=SMALL, color=theme.ink)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(min(0.8, min(row.ratio for row, _ in found) * 0.9), max(row.ratio for row, _ in found) * 1.15)
    plain_numbers(axes.xaxis)
    return figure


def _bar(axes: Any, theme: Theme, place: int, row: Row, whole: bool) -> None:
    """Draw one bar from 1 on, in the colour of the other engine, and say what it is."""
    tint = colour(row.engine, theme)
    looks: dict[str, Any] = {"color": tint} if whole else {"facecolor": "none", "edgecolor": tint, "linestyle": "--"}
    axes.barh(place, row.ratio - 1, left=1, height=0.66, **looks)
    times = f"{number(row.peer_us)} \u00b5s, fastgru {number(row.mine['median_us'])} \u00b5s"
    ratio = f"{row.ratio:.{0 if row.ratio >= 10 else 1}f}\u00d7"
    for x, text, weight in ((1.03, ratio, "bold"), (1.17, row.peer, "bold"), (1.60, times, "normal")):
        axes.text(
            x, place, text, va="center", fontsize=SMALL, fontweight=weight, transform=axes.get_yaxis_transform(),
            color=tint if text == row.peer else theme.ink,
        )  # fmt: skip
