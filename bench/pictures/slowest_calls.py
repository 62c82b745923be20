"""Single calls timed alone: the median and the slow ones."""

from __future__ import annotations

from typing import Any

from ..lookup import OURS, case_named, shown, timed
from ..records import Results
from .labels import Label, at_ends
from .style import DASHES, Theme, colour, marker, panel, plain_numbers, sheet

CASE = "gru-64-64-t1-b1"
SHARES = {"p50": "half of all", "p90": "90 of 100", "p99": "99 of 100", "p99.9": "999 of 1000"}
TITLE = "The slowest calls: microseconds for one step of a GRU of 64 units, lower is better"
BELOW = "Each call timed alone, from Python. Solid lines: float32, dashed: int8. One core."


def draw(results: Results, theme: Theme) -> Any:
    """Draw a line for each engine; None without the case."""
    case = case_named(results, CASE)
    lines = {
        name: [entry["single"][share] for share in SHARES]
        for name, entry in (timed(case) if case else {}).items()
        if "single" in entry and entry["precision"] in ("float32", "int8") and not name.endswith("fast")
    }
    if not lines:
        return None
    figure = sheet(theme, (8.3, 4.4), TITLE, BELOW)
    axes = panel(figure, theme, (0.75, 0.6, 6.0, 3.15))
    for name, times in lines.items():
        axes.plot(
            range(len(SHARES)), times, linestyle=DASHES["int8" if name.endswith("int8") else "float32"], markersize=5,
            color=colour(name, theme), marker=marker(name), linewidth=2 if name.startswith(OURS) else 1.4,
        )  # fmt: skip
    axes.set(yscale="log", ylabel="microseconds of a call", xlabel="share of calls that took at most this long")
    axes.set_xticks(range(len(SHARES)), list(SHARES.values()))
    plain_numbers(axes.yaxis)
    last = len(SHARES) - 1
    at_ends(axes, [Label(last, times[-1], shown(name), colour(name, theme)) for name, times in lines.items()])
    return figure
