"""Draw a typical forecast of the demo, with its band, and every forecaster's error by time ahead."""

from __future__ import annotations

import io
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..errors import require
from ._pulse import CONTEXT, COVERAGE, HORIZON, NETWORK, RATE, Score

SHOWN = 38  # samples of history: 1.5 s
# SVG keeps texts as text. They are laid out in a font that comes with matplotlib and is wider than the usual ones, and
# shown in the reader's: whichever that is, they take no more room than was left.
FONT, READERS = "DejaVu Sans", "Arial, Helvetica, sans-serif"


class Theme(NamedTuple):
    """Colours of one kind of page."""

    paper: str
    ink: str  # texts, axes and what was measured
    muted: str
    ours: str
    rivals: tuple[str, str, str]  # the best first


LIGHT = Theme("#ffffff", "#1a1a1a", "#555555", "#0a66c2", ("#c45a00", "#7a6a9a", "#767676"))
DARK = Theme("#0d1117", "#e6edf3", "#9da7b1", "#58a6ff", ("#f0883e", "#b3a4d6", "#8b949e"))


class Typical(NamedTuple):
    """The window whose error is the median of all, in the sensor's units."""

    context: Any  # (CONTEXT,)
    truth: Any  # (HORIZON,)
    forecast: Any  # (HORIZON,)
    rival: Any  # (HORIZON,): of the best other forecaster
    edges: Any  # (2, HORIZON): the band around the forecast
    windows: int  # how many there are


def library() -> tuple[ModuleType, ModuleType]:
    """Return matplotlib and its module of figures.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    """
    matplotlib = require("matplotlib", extra="plot", purpose="a picture")
    return matplotlib, require("matplotlib.figure", extra="plot", purpose="a picture")


def draw(typical: Typical, scores: Sequence[Score], kind: str, theme: Theme = LIGHT) -> bytes:
    """Return the picture as a file of `kind`: png, svg or pdf.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    """
    matplotlib, figure_module = library()
    with matplotlib.rc_context(settings(theme)):
        figure = figure_module.Figure(figsize=(11, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
        rivals = [one for one in scores if one.name != NETWORK]
        ours = next(one for one in scores if one.name == NETWORK)
        gain = 1 - ours.error / rivals[0].error
        verb = "less" if gain > 0 else "more"
        figure.suptitle(
            f"The next second of a pulse: {abs(gain):.0%} {verb} error than the best other forecast",
            x=0.01, ha="left", fontsize=14, fontweight="bold",
        )  # fmt: skip
        _forecast(left, theme, typical, rivals[0])
        _errors(right, theme, ours, rivals, typical.windows)
        buffer = io.BytesIO()
        undated = {"metadata": {"Date": None}} if kind == "svg" else {}
        figure.savefig(buffer, dpi=120, format=kind, **undated)
    return in_readers_font(buffer.getvalue(), kind)


def in_readers_font(picture: bytes, kind: str) -> bytes:
    """Return a picture whose texts are in the reader's font, where they are text: in SVG."""
    return picture.replace(f"'{FONT}'".encode(), READERS.encode()) if kind == "svg" else picture


def settings(theme: Theme) -> dict[str, Any]:
    """Return matplotlib's settings: the colours of the page, and files that are equal for equal data."""
    inks = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(inks, theme.ink), "axes.edgecolor": theme.muted, "axes.facecolor": theme.paper,
        "figure.facecolor": theme.paper, "savefig.facecolor": theme.paper, "font.family": FONT, "font.size": 10,
        "svg.hashsalt": "demo", "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip


def _forecast(axes: Any, theme: Theme, typical: Typical, rival: Score) -> None:
    """The median window: history, truth, forecast, its band, and the best rival."""
    past, ahead = np.arange(1 - SHOWN, 1) / RATE, np.arange(HORIZON + 1) / RATE
    now = typical.context[-1]
    axes.plot(past, typical.context[CONTEXT - SHOWN :], color=theme.ink, linewidth=1.5)
    lines: dict[str, tuple[Any, dict[str, Any]]] = {
        "measured": (typical.truth, {"color": theme.ink, "linewidth": 1.5}),
        "linear": (typical.rival, {"color": theme.rivals[0], "linewidth": 1.5, "linestyle": (0, (4, 2))}),
        NETWORK: (typical.forecast, {"color": theme.ours, "linewidth": 2.5}),
    }
    lines[rival.name.partition(",")[0]] = lines.pop("linear")
    for values, style in lines.values():
        axes.plot(ahead, [now, *values], **style)
    edges = typical.forecast + typical.edges
    axes.fill_between(ahead, [now, *edges[0]], [now, *edges[1]], color=theme.ours, alpha=0.2, linewidth=0)
    axes.axvline(0, color=theme.muted, linewidth=0.8, linestyle=":")
    _label_ends(axes, ahead[-1], {name: (values[-1], style["color"]) for name, (values, style) in lines.items()})
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.12 * (high - low))
    axes.text(-0.04, 0.98, "seen by each forecaster", ha="right", va="top", color=theme.muted,
              transform=axes.get_xaxis_transform())  # fmt: skip
    axes.text(0.04, 0.98, "forecast", va="top", color=theme.muted, transform=axes.get_xaxis_transform())
    axes.set(
        xlabel="seconds from now", ylabel="sensor value, 0 to 1023", xlim=(-1.5, 1), xticks=(-1.5, -1, -0.5, 0, 0.5, 1)
    )
    axes.set_title(
        f"A typical window: half of all are forecast better, half worse.\nShaded: {COVERAGE:.0%} band, "
        "from the errors on other data", loc="left", fontsize=10,
    )  # fmt: skip


def _errors(axes: Any, theme: Theme, ours: Score, rivals: Sequence[Score], count: int) -> None:
    """Mean absolute error by time ahead over `count` windows."""
    ahead = np.arange(1, HORIZON + 1) / RATE
    named = {NETWORK: (ours, theme.ours)} | {
        one.name.partition(",")[0]: (one, colour) for one, colour in zip(rivals, theme.rivals, strict=True)
    }
    for name, (one, colour) in named.items():
        axes.plot(ahead, one.by_horizon, color=colour, linewidth=2.5 if name == NETWORK else 1.5)
    axes.set(xlabel="seconds ahead", ylabel="mean absolute error", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    ends = {f"{name}\nmean {one.error:.1f}": (one.by_horizon[-1], colour) for name, (one, colour) in named.items()}
    _label_ends(axes, ahead[-1], ends, lines=2)
    axes.set_title(
        f"Error over all {count} windows, none of them seen before;\nlower is better", loc="left", fontsize=10
    )


def _label_ends(axes: Any, x: float, ends: dict[str, tuple[float, str]], lines: int = 1) -> None:
    """Write each name to the right of its line's end, moved apart where two ends are close."""
    low, high = axes.get_ylim()
    gap = (0.05 * lines + 0.02) * (high - low)
    ordered = sorted(ends, key=lambda name: ends[name][0])
    places = spread([ends[name][0] for name in ordered], gap)
    for name, y in zip(ordered, places, strict=True):
        end, colour = ends[name]
        axes.annotate(
            name, (x, end), (14, y), textcoords=("offset points", "data"), xycoords="data", color=colour, va="center",
            annotation_clip=False, arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkB": 1},
        )  # fmt: skip


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Move ascending values apart until neighbours are `gap` apart or more, their mean in place.

    Examples
    --------
    >>> spread([0.0, 1.0, 9.0], 2.0)
    [-0.5, 1.5, 9.0]
    """
    groups: list[list[float]] = []  # of neighbours that touch: offsets from equal spacing
    for value in values:
        groups.append([value])
        while len(groups) > 1 and _bottom(groups[-1], gap) - _top(groups[-2], gap) < gap:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_bottom(group, gap) + gap * i for group in groups for i in range(len(group))]


def _bottom(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _top(group: Sequence[float], gap: float) -> float:
    return _bottom(group, gap) + gap * (len(group) - 1)
