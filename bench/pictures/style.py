"""The looks that all pictures share: a colour and a marker per engine, dashes per precision, light and dark paper."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..lookup import OURS, shown

# Texts are kept as text, a third of the size of paths. They are laid out in a font that comes with matplotlib and is
# wider than the usual ones, and shown in the reader's: whichever that is, they take no more room than was left.
FONT, READERS = "DejaVu Sans", "Arial, Helvetica, sans-serif"
SMALL, PLAIN, LARGE = 8.0, 9.0, 12.0  # points


class Theme(NamedTuple):
    """Colours of one kind of page."""

    name: str
    paper: str
    ink: str
    muted: str
    grid: str


LIGHT = Theme("light", "#ffffff", "#1f2328", "#59636e", "#d8dee4")
DARK = Theme("dark", "#0d1117", "#e6edf3", "#9da7b1", "#2d333b")
THEMES = (LIGHT, DARK)


class Look(NamedTuple):
    """An engine's colour on light and on dark paper, of one hue, and its marker."""

    light: str
    dark: str
    marker: str


# Of eight hues, the lightness and strength that keep every pair apart for normal sight and three kinds of colour
# blindness, at a contrast of 3 with the paper: found by search, held by tests/bench/test_pictures.py.
LOOKS = {
    OURS: Look("#d04e10", "#fb863e", "o"),
    "onnxruntime": Look("#255bc5", "#5c8be4", "s"),
    "openvino": Look("#009dd0", "#90f0ff", "D"),
    "torch": Look("#55009e", "#9a48dc", "^"),
    "keras": Look("#ed5d9b", "#fa97d0", "v"),
    "litert": Look("#089163", "#32bd8b", "P"),
    "tract": Look("#583d00", "#f2cd58", "X"),
    "numpy": Look("#565d65", "#7d868f", "h"),
}
DASHES: dict[str, Any] = {"float32": "-", "int8": (0, (2, 1.5))}


def colour(engine: str, theme: Theme) -> str:
    """Return the colour of an engine, whatever its precision."""
    look = LOOKS[engine.partition(" ")[0]]
    return look.light if theme is LIGHT else look.dark


def patch(theme: Theme) -> dict[str, Any]:
    """Return the box of paper behind a text that gridlines would strike through."""
    return {"facecolor": theme.paper, "edgecolor": "none", "pad": 0.4}


def marker(engine: str) -> str:
    """Return the marker of an engine, whatever its precision."""
    return LOOKS[engine.partition(" ")[0]].marker


def sheet(theme: Theme, size: tuple[float, float], title: str, subtitle: str) -> Any:
    """Return a figure of `size` inches with its title, which says what is better, and a line below it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, facecolor=theme.paper)
    FigureCanvasAgg(figure)
    width, height = size
    figure.text(0.15 / width, 1 - 0.12 / height, title, va="top", color=theme.ink, fontsize=LARGE, fontweight="bold")
    figure.text(0.15 / width, 1 - 0.40 / height, subtitle, va="top", color=theme.muted, fontsize=PLAIN)
    return figure


def panel(figure: Any, theme: Theme, box: tuple[float, float, float, float]) -> Any:
    """Add axes in a box (left, bottom, width, height) of inches."""
    width, height = figure.get_size_inches()
    left, bottom, wide, high = box
    axes = figure.add_axes((left / width, bottom / height, wide / width, high / height), facecolor=theme.paper)
    axes.tick_params(colors=theme.muted, labelsize=SMALL, which="both", length=0)
    axes.grid(color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=theme.grid)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=theme.muted, fontsize=PLAIN)
    return axes


def plain_numbers(axis: Any, fine: bool = False) -> None:
    """Write the ticks of a logarithmic axis as numbers, not as powers of ten.

    Of an axis of several decades only those have ticks, unless it is `fine`.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(base=10, subs=(1.0,) if high > 30 * low and not fine else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())


def key(figure: Any, theme: Theme, engines: Sequence[str], at: tuple[float, float], bars: bool = False) -> None:
    """Write the names of engines from a point (x, y) of inches on, each behind its marker, or a square for bars."""
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    x, y = at
    for engine in engines:
        looks: dict[str, Any] = {"marker": "s" if bars else marker(engine), "color": colour(engine, theme)}
        figure.add_artist(Line2D([(x + 0.05) / width], [y / height], linestyle="", markersize=6, **looks))
        name = figure.text(
            (x + 0.16) / width, y / height, shown(engine), color=theme.ink, fontsize=PLAIN, va="center",
            fontweight="bold" if engine == OURS else "normal",
        )  # fmt: skip
        x += 0.16 + name.get_window_extent().width / figure.dpi + 0.22


def save(figure: Any, folder: Path, name: str, theme: Theme) -> None:
    """Write NAME-THEME.svg; of the same figure the same file."""
    from matplotlib import rc_context

    svg = io.StringIO()
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    (folder / f"{name}-{theme.name}.svg").write_text(svg.getvalue().replace(f"'{FONT}'", READERS))
