"""Draw the forecasts of the first series of a table, each behind what is known of it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files.writing import check_target, replace_file
from . import _pulse_plot

FORMATS = (".png", ".svg", ".pdf")
MOST = 6  # series of a picture
HISTORY = 3  # times as many known steps as are forecast, at most


def check(path: Path) -> None:
    """Raise DataError, OSError or MissingExtraError unless a picture can be written to `path`."""
    if path.suffix.lower() not in FORMATS:
        raise DataError(f"--plot must end in one of {', '.join(FORMATS)}, got {path.name!r}")
    check_target(path)
    _pulse_plot.library()


def draw(path: Path, table: Mapping[str, Any], found: Mapping[str, Any], levels: Sequence[float]) -> None:
    """Draw the series of the columns ``unique_id``, ``ds`` and ``y`` with their forecast into `path`.

    Without ``unique_id`` all rows are one series.
    """
    replace_file(path, picture(table, found, levels, path.suffix[1:].lower()))


def picture(
    table: Mapping[str, Any], found: Mapping[str, Any], levels: Sequence[float], kind: str,
    theme: _pulse_plot.Theme = _pulse_plot.LIGHT,
) -> bytes:  # fmt: skip
    """Return the picture as a file of `kind`: png, svg or pdf."""
    matplotlib, figure_module = _pulse_plot.library()
    shown = list(dict.fromkeys(_names(found)))[:MOST]
    rows, wide = (len(shown) + 1) // 2, 1 if len(shown) == 1 else 2
    with matplotlib.rc_context(_pulse_plot.settings(theme)):
        figure = figure_module.Figure(figsize=(11, 0.8 + 2.6 * rows), layout="constrained")
        panels = figure.subplots(rows, wide, squeeze=False).reshape(-1)
        for panel, name in zip(panels, shown, strict=False):
            _series(panel, theme, name, table, found, levels)
        for panel in panels[len(shown) :]:
            panel.set_axis_off()
        panels[0].legend(loc="upper left", frameon=False, ncols=3, fontsize=9)
        buffer = io.BytesIO()
        undated = {"metadata": {"Date": None}} if kind == "svg" else {}
        figure.savefig(buffer, dpi=120, format=kind, **undated)
    return _pulse_plot.in_readers_font(buffer.getvalue(), kind)


def _names(columns: Mapping[str, Any]) -> list[Any]:
    """Return the name of each row's series; an empty one where all are one."""
    names: list[Any] = columns["unique_id"].tolist() if "unique_id" in columns else [""] * len(columns["ds"])
    return names


def _series(
    axes: Any, theme: _pulse_plot.Theme, name: Any, table: Mapping[str, Any], found: Mapping[str, Any],
    levels: Sequence[float],
) -> None:  # fmt: skip
    """One series: the end of what is known, the forecast, and the band of the outer quantiles."""
    from ..forecasting.tables import parsed

    past = np.flatnonzero([one == name for one in _names(table)])
    ahead = np.flatnonzero([one == name for one in _names(found)])
    times = parsed(table["ds"], "ds")[past]
    past = past[np.argsort(times, kind="stable")][-HISTORY * len(ahead) :]
    times, later = parsed(table["ds"], "ds")[past], parsed(found["ds"], "ds")[ahead]
    last = float(table["y"][past[-1]])
    joined = np.concatenate([times[-1:], later.astype(times.dtype)])
    axes.plot(times, table["y"][past], color=theme.ink, linewidth=1.3, label="known")
    axes.plot(joined, [last, *found["forecast"][ahead]], color=theme.ours, linewidth=2.2, label="forecast")
    bands = [f"q{level:g}" for level in sorted(levels) if f"q{level:g}" in found]
    if len(bands) > 1:
        low, high = found[bands[0]][ahead], found[bands[-1]][ahead]
        share = f"{float(bands[-1][1:]) - float(bands[0][1:]):.0%} of the paths"
        axes.fill_between(joined, [last, *low], [last, *high], color=theme.ours, alpha=0.2, linewidth=0, label=share)
    axes.axvline(times[-1], color=theme.muted, linewidth=0.8, linestyle=":")
    axes.set_title(str(name), loc="left", fontsize=10)
    axes.margins(x=0.01, y=0.15)
    for label in axes.get_xticklabels():
        label.set_fontsize(8)
