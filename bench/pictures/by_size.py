"""A layer of each size on every engine, as multiples of fastgru's time."""

from __future__ import annotations

from typing import Any

from ..lookup import OURS, shown, timed
from ..records import Results
from .labels import Label, at_ends
from .style import DASHES, PLAIN, Theme, colour, marker, panel, plain_numbers, sheet

PANELS = {
    "one step": lambda case: case["streaming"] and case["batch"] == 1,
    "a sequence of 100 steps": lambda case: case["steps"] == 100 and case["batch"] == 1,
    "a batch of 32 (512 units: 64)": lambda case: case["batch"] > 1,
}
PRECISIONS = ("float32", "int8")


def draw(results: Results, theme: Theme, cell: str) -> Any:
    """Draw a panel for each kind of call; None without any case of the cell."""
    panels = {name: found for name, wanted in PANELS.items() if (found := _lines(results, cell, wanted))}
    if not panels:
        return None
    title = f"{cell.upper()} layers: time of each engine over that of fastgru, lower is better"
    below = "2 means twice as long as fastgru with float32 weights. Solid lines: float32, dashed: int8. One core."
    figure = sheet(theme, (0.75 + 3.4 * len(panels), 4.4), title, below)
    for i, (name, lines) in enumerate(panels.items()):
        axes = panel(figure, theme, (0.7 + 3.4 * i, 0.6, 1.95, 2.95))
        axes.set_title(name, color=theme.ink, fontsize=PLAIN, loc="left", pad=8)
        for engine, points in lines.items():
            precision = "int8" if engine.endswith("int8") else "float32"
            axes.plot(
                *zip(*points, strict=True), linestyle=DASHES[precision], marker=marker(engine), markersize=4,
                color=colour(engine, theme), linewidth=2 if engine.startswith(OURS) else 1.4,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="hidden size (units)")
        if i == 0:
            axes.set_ylabel("time over that of fastgru")
        sizes = sorted({size for points in lines.values() for size, _ in points})
        axes.minorticks_off()
        axes.set_xticks(sizes, [str(size) for size in sizes])
        plain_numbers(axes.yaxis)
        at_ends(axes, theme, [Label(*p[-1], shown(name), colour(name, theme)) for name, p in lines.items()])
    return figure


def _lines(results: Results, cell: str, wanted: Any) -> dict[str, list[tuple[int, float]]]:
    """Return for each engine (hidden size, time over fastgru's float32), where there are two sizes at least."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for case in results["cases"]:
        plain = case["layers"] == 1 and not (case["bidirectional"] or case["ragged"] or case["threads"] > 1)
        alike = case["cell"] == cell and case["input"] == case["hidden"] and plain and wanted(case)
        engines = timed(case)
        if not alike or OURS not in engines:
            continue
        for name, entry in engines.items():
            if entry["precision"] in PRECISIONS and not name.endswith("fast"):
                lines.setdefault(name, []).append((case["hidden"], entry["median_us"] / engines[OURS]["median_us"]))
    return {name: sorted(points) for name, points in lines.items() if len(points) > 1}
