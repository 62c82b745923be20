"""Error against time, by engine and precision of the weights."""

from __future__ import annotations

from typing import Any

from ..lookup import OURS, case_named, shown, timed
from ..records import Results
from .labels import Label, near_points
from .style import Theme, colour, marker, panel, plain_numbers, sheet

CASE = "lstm-256-256-t1-b1"
TITLE = "Smaller weights: time and error of an LSTM of 256 units, lower left is better"
BELOW = "One step, one core. Errors are against float64 and include those of rounding the weights."
LEAST = 1e-9  # an error of 0 has no place on a logarithmic axis


def draw(results: Results, theme: Theme) -> Any:
    """Draw a point for each engine; None where only float32 was measured."""
    case = case_named(results, CASE)
    engines = {name: entry for name, entry in (timed(case) if case else {}).items() if not name.endswith("fast")}
    if all(entry["precision"] == "float32" for entry in engines.values()):
        return None
    figure = sheet(theme, (8.3, 4.4), TITLE, BELOW)
    axes = panel(figure, theme, (0.95, 0.6, 7.1, 3.15))
    axes.set(xscale="log", yscale="log", xlabel="microseconds of a step", ylabel="largest error of an output")
    points = [(entry["median_us"], max(entry["error"], LEAST), name) for name, entry in sorted(engines.items())]
    for us, error, name in points:
        axes.plot(us, error, marker(name), color=colour(name, theme), markersize=8 if name.startswith(OURS) else 6)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    axes.set(xlim=(left / 1.3, right * 1.8), ylim=(low / 3, high * 3))
    plain_numbers(axes.xaxis)
    near_points(axes, [Label(us, error, shown(name), colour(name, theme)) for us, error, name in points], theme)
    return figure
