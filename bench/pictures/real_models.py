"""Published models, end to end: the fastest other engine's time over fastgru's."""

from __future__ import annotations

from typing import Any

from ..lookup import OURS, Row, compared, describe, number, timed
from ..records import Results
from .style import SMALL, Theme, colour, panel, plain_numbers, sheet

TITLE = "Published models: fastgru against the fastest other engine, longer is better"
BELOW = (
    "Bars: float32 against the fastest float32 engine that runs the model. Alone: no other does. 1 is equal.\n"
    "Last column: int8 against the fastest engine in int8, for every model that another engine runs so."
)
COLUMNS = {1.19: "", 1.25: "fastest other", 2.32: "other, us", 2.70: "fastgru, us", 2.80: "int8 against int8"}
RIGHT = (1.19, 2.32, 2.70)  # columns of numbers, which end at their place; in widths of the axes, as all


def draw(results: Results, theme: Theme) -> Any:
    """Draw a bar for each model, and write its times; None without any."""
    found = [row for case in results["cases"] if case["model"] and (row := compared(case, "float32"))]
    if not found:
        return None
    high = 0.27 * len(found)
    figure = sheet(theme, (10.9, high + 1.6), TITLE, BELOW)
    axes = panel(figure, theme, (3.0, 0.5, 2.2, high))
    axes.grid(visible=False, axis="y")
    axes.set(xscale="log", xlabel="time of the other over that of fastgru")
    _write(axes, -0.95, {name: {"color": theme.muted} for name in COLUMNS.values()}, list(COLUMNS.values()))
    for place, row in enumerate(found):
        axes.barh(place, row.ratio - 1, left=1, height=0.66, color=colour(row.engine, theme))
        looks = {
            "": {"fontweight": "bold"},
            "fastest other": {"fontweight": "bold", "color": colour(row.engine, theme)},
        }
        _write(
            axes, place, {name: {"color": theme.ink} | looks.get(name, {}) for name in COLUMNS.values()}, _cells(row)
        )
    axes.axvline(1, color=theme.muted, linewidth=1)
    axes.set_yticks(range(len(found)), [describe(row.case) for row in found], fontsize=SMALL, color=theme.ink)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(min(0.8, min(row.ratio for row in found) * 0.9), max(row.ratio for row in found) * 1.15)
    plain_numbers(axes.xaxis)
    return figure


def _cells(row: Row) -> list[str]:
    """Return what is written right of a bar: the ratio, the other engine, both times, and the ratio of int8."""
    floats = [name for name, entry in timed(row.case).items() if entry["precision"] == "float32"]
    alone = sum(not name.startswith(OURS) for name in floats) == 1
    small = compared(row.case, "int8", ".* int8")
    return [
        times(row.ratio),
        f"{row.peer}, alone" if alone else row.peer,
        number(row.peer_us),
        number(row.mine["median_us"]),
        f"{times(small.ratio)} {small.peer}" if small else "",
    ]


def _write(axes: Any, y: float, looks: dict[str, dict[str, Any]], cells: list[str]) -> None:
    """Write a row of texts right of the axes, one in each column."""
    for (x, name), text in zip(COLUMNS.items(), cells, strict=True):
        axes.text(
            x, y, text, ha="right" if x in RIGHT else "left", va="center", fontsize=SMALL,
            transform=axes.get_yaxis_transform(), **looks[name],
        )  # fmt: skip


def times(ratio: float) -> str:
    """Return a ratio for people.

    Examples
    --------
    >>> times(1.234), times(25.4)
    ('1.2\u00d7', '25\u00d7')
    """
    return f"{ratio:,.{0 if ratio >= 10 else 1}f}\u00d7"
