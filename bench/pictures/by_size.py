"""A layer of each size on the engines that people know, as multiples of fastgru's time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..lookup import OURS, shown, timed
from ..records import Results
from .labels import Label, at_ends
from .style import DASHES, PLAIN, Theme, colour, marker, panel, plain_numbers, sheet

PANELS: dict[str, Callable[[Any], bool]] = {
    "one step": lambda case: case["streaming"] and case["batch"] == 1,
    "a sequence of 100 steps": lambda case: case["steps"] == 100 and case["batch"] == 1,
    "a batch of 32 (512 units: 64)": lambda case: case["batch"] > 1,
}
ENGINES = (OURS, f"{OURS} int8", "onnxruntime", "torch", "openvino")
WIDE = 3.75  # inches of a panel, with the names at the ends of its lines and the numbers of the next one
REST = "best other"  # the fastest float32 engine that is not among ENGINES
Lines = dict[str, list[tuple[int, float]]]


def draw(results: Results, theme: Theme, cell: str) -> Any:
    """Draw a panel for each kind of call, all of one scale; None without any case of the cell."""
    panels = {name: found for name, wanted in PANELS.items() if (found := _lines(results, cell, wanted))}
    if not panels:
        return None
    title = f"{cell.upper()} layers: time of each engine over that of fastgru, lower is better"
    below = (
        "2 means twice as long as fastgru with float32 weights. Dashed: int8, all else float32. One core. "
        f"{REST.capitalize()}: the fastest engine that is not named, at each size."
    )
    figure = sheet(theme, (0.75 + WIDE * len(panels), 5.9), title, below)
    ratios = [ratio for lines in panels.values() for points in lines.values() for _, ratio in points]
    for i, (name, lines) in enumerate(panels.items()):
        axes = panel(figure, theme, (0.75 + WIDE * i, 0.65, 2.3, 4.35))
        axes.set_title(name, color=theme.ink, fontsize=PLAIN + 1, loc="left", pad=8, fontweight="bold")
        axes.set(xscale="log", yscale="log", ylim=(min(ratios) / 1.2, max(ratios) * 1.2))
        axes.set_xlabel("hidden size (units)")
        if i == 0:
            axes.set_ylabel("time over that of fastgru")
        _draw_lines(axes, theme, lines)
    return figure


def _draw_lines(axes: Any, theme: Theme, lines: Lines) -> None:
    """Draw a line for each engine, with its name at its end."""
    for engine, points in lines.items():
        precision = "int8" if engine.endswith("int8") else "float32"
        looks: dict[str, Any] = {"linewidth": 2.4 if engine.startswith(OURS) else 1.6, "linestyle": DASHES[precision]}
        if engine == REST:
            looks["linewidth"] = 1.0
        else:
            looks |= {"marker": marker(engine), "markersize": 5}
        axes.plot(*zip(*points, strict=True), color=_tint(engine, theme), **looks)
    sizes = sorted({size for points in lines.values() for size, _ in points})
    axes.minorticks_off()
    axes.set_xticks(sizes, [str(size) for size in sizes])
    plain_numbers(axes.yaxis, fine=True)
    labels = [Label(*points[-1], shown(engine), _tint(engine, theme)) for engine, points in lines.items()]
    at_ends(axes, labels, PLAIN)


def _tint(engine: str, theme: Theme) -> str:
    """Return the colour of a line: an engine's own, grey for the best of the others."""
    return theme.muted if engine == REST else colour(engine, theme)


def _lines(results: Results, cell: str, wanted: Callable[[Any], bool]) -> Lines:
    """Return for each engine (hidden size, time over fastgru's float32), where there are two sizes at least."""
    lines: Lines = {}
    for case in results["cases"]:
        plain = case["layers"] == 1 and not (case["bidirectional"] or case["ragged"] or case["threads"] > 1)
        alike = case["cell"] == cell and case["input"] == case["hidden"] and plain and wanted(case)
        times = {name: entry["median_us"] for name, entry in timed(case).items()}
        if not alike or OURS not in times:
            continue
        others = [
            us
            for name, us in times.items()
            if name not in ENGINES and not name.startswith(OURS) and case["engines"][name]["precision"] == "float32"
        ]
        shares = {name: times[name] for name in ENGINES if name in times} | ({REST: min(others)} if others else {})
        for name, us in shares.items():
            lines.setdefault(name, []).append((case["hidden"], us / times[OURS]))
    return {name: sorted(points) for name, points in lines.items() if len(points) > 1}
