"""The picture of the README: one step of a GRU on the engines that people use, by hidden size."""

from __future__ import annotations

from typing import Any

from ..lookup import OURS, case_named, number, timed
from ..records import Results
from .style import PLAIN, SMALL, Theme, colour, key, panel, patch, plain_numbers, sheet

SIZES = (16, 64, 128, 256, 512)
ENGINES = (OURS, "onnxruntime", "torch", "keras")
TITLE = "One step of a GRU: microseconds, lower is better"


def draw(results: Results, theme: Theme) -> Any:
    """Draw a group of bars for each size; None without any."""
    cases = {size: case for size in SIZES if (case := case_named(results, f"gru-{size}-{size}-t1-b1"))}
    found = {size: timed(case) for size, case in cases.items() if OURS in timed(case)}
    if not found:
        return None
    figure = sheet(theme, (8.3, 3.7), TITLE, "Called from Python, float32, one core. Logarithmic scale.")
    present = [engine for engine in ENGINES if any(engine in engines for engines in found.values())]
    key(figure, theme, present, (4.55, 3.215), bars=True)
    axes = panel(figure, theme, (0.65, 0.72, 7.5, 2.25))
    axes.grid(visible=False, axis="x")
    axes.set(yscale="log", ylabel="microseconds")
    wide = 0.9 / len(ENGINES)
    for place, engines in enumerate(found.values()):
        for i, engine in enumerate(ENGINES):
            if engine in engines:
                us, x = engines[engine]["median_us"], place + (i - (len(ENGINES) - 1) / 2) * wide
                axes.bar(x, us, wide * 0.92, color=colour(engine, theme))
                tint, weight = (theme.ink, "bold") if engine == OURS else (theme.muted, "normal")
                axes.annotate(
                    number(us), (x, us), (0, 3), textcoords="offset points", ha="center", fontsize=SMALL - 0.7,
                    color=tint, fontweight=weight, bbox=patch(theme),
                )  # fmt: skip
    plain_numbers(axes.yaxis)
    _sizes(axes, theme, found)
    low = min(entry["median_us"] for engines in found.values() for name, entry in engines.items() if name in ENGINES)
    axes.set_ylim(min(0.1, low / 2))
    axes.set_ylim(top=axes.get_ylim()[1] * 1.6)
    return figure


def _sizes(axes: Any, theme: Theme, found: dict[int, dict[str, Any]]) -> None:
    """Write below each group its size, and how many times as fast fastgru is as the next of the engines shown."""
    axes.set_xticks(range(len(found)), [f"{size} units" for size in found], fontsize=PLAIN, color=theme.ink)
    axes.set_xlim(-0.5, len(found) - 0.5)
    for place, engines in enumerate(found.values()):
        others = [engines[name]["median_us"] for name in ENGINES[1:] if name in engines]
        if others:
            ratio = min(others) / engines[OURS]["median_us"]
            axes.annotate(
                f"{ratio:.{0 if ratio >= 10 else 1}f}\u00d7 as fast", (place, 0), (0, -25), ha="center",
                xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=PLAIN, fontweight="bold",
                color=colour(OURS, theme),
            )  # fmt: skip
    axes.set_xlabel("hidden size of the GRU; fastgru against the fastest other engine shown", labelpad=20)
