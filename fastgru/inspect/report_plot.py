"""The figures of the report as a picture of matplotlib: gates over the input, saturation, half-lives, attribution."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import require
from .profiles import GATES
from .report_figures import ABOVE, BELOW, binned
from .report_seen import Layer, Seen

Array = NDArray[Any]
FORMATS = (".png", ".svg", ".pdf")
DRAWN = 3  # layers
COLUMNS, ROWS, LINES = 1200, 64, 6
WIDTH, MAP, PANEL = 11.0, 1.15, 3.0  # inches


def library() -> Any:
    """Return matplotlib's module of figures.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    """
    return require("matplotlib.figure", extra="plot", purpose="a picture")


def plot(seen: Seen, title: str, kind: str) -> bytes:
    """Draw what was seen as a file of a kind: ``"png"``, ``"svg"`` or ``"pdf"``."""
    drawn = seen.layers[:DRAWN]
    strips = [(layer, part) for layer in drawn for part in layer.parts]
    timed = [n for n, a in seen.inputs.items() if seen.graph.inputs[n].time]
    explained = [] if isinstance(seen.explained, str) else [n for n in timed if n in seen.explained.inputs]
    gated = [layer for layer in drawn if layer.half_lives() is not None]
    rows = len(strips) + len(timed) + len(explained)
    high = [MAP] * rows + [PANEL] * len(gated)
    figure = library().Figure((WIDTH, sum(high) + 0.8), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(len(high), 2, height_ratios=high)
    places = iter(range(len(high)))
    for layer, part in strips:
        _strip(figure, figure.add_subplot(grid[next(places), :]), layer, part)
    for name in timed:
        _input(figure.add_subplot(grid[next(places), :]), name, seen.inputs[name])
    for name in explained:
        _explained(figure, figure.add_subplot(grid[next(places), :]), seen, name)
    for layer in gated:
        row = next(places)
        _saturation(figure.add_subplot(grid[row, 0]), layer)
        _memory(figure.add_subplot(grid[row, 1]), layer)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=110)
    return buffer.getvalue()


def _colours(signed: bool) -> Any:
    colours = require("matplotlib.colors", extra="plot", purpose="a picture")
    above, below = (tuple(c / 255 for c in ink) for ink in (ABOVE, BELOW))
    inks = [below, (1, 1, 1), above] if signed else [(1, 1, 1), above]
    return colours.LinearSegmentedColormap.from_list("inks", inks)


def _map(figure: Any, axes: Any, values: Array, signed: bool, largest: float, first: int = 0) -> None:
    """Draw (T, rows) over the steps from `first` on, with its scale."""
    last = first + len(values) - 1
    low = -largest if signed else 0.0
    shown = binned(values, COLUMNS).T
    image = axes.imshow(
        shown, aspect="auto", interpolation="nearest", cmap=_colours(signed), vmin=low, vmax=largest,
        extent=(first - 0.5, last + 0.5, values.shape[1] - 0.5, -0.5),
    )  # fmt: skip
    figure.colorbar(image, ax=axes, pad=0.01, fraction=0.02)


def _strip(figure: Any, axes: Any, layer: Layer, part: str) -> None:
    shown = layer.parts[part][:, layer.order(part, ROWS)].astype(np.float64)
    gate = part in GATES
    _map(figure, axes, shown, not gate, 1.0 if gate else float(np.abs(shown).max()) or 1.0)
    named = "state" if part == "hidden" else f"{part} gate" if gate else part
    axes.set_title(f"{layer.name}: {named}", loc="left", fontsize=9)
    axes.set_ylabel("units", fontsize=8)


def _input(axes: Any, name: str, values: Array) -> None:
    flat = values.reshape(len(values), -1)
    if flat.shape[1] <= LINES:
        axes.plot(flat, linewidth=0.9)
        axes.set_xlim(-0.5, len(flat) - 0.5)
    else:
        top = float(np.abs(flat).max()) or 1.0
        shown = binned(flat.astype(np.float64), COLUMNS).T
        axes.imshow(
            shown, aspect="auto", interpolation="nearest", cmap=_colours(True), vmin=-top, vmax=top,
            extent=(-0.5, len(flat) - 0.5, flat.shape[1] - 0.5, -0.5),
        )  # fmt: skip
    axes.set_title(f"input {name}", loc="left", fontsize=9)
    axes.set_xlabel("step", fontsize=8)


def _explained(figure: Any, axes: Any, seen: Seen, name: str) -> None:
    found: Any = seen.explained
    values = found.inputs[name].reshape(len(found.inputs[name]), -1)
    _map(figure, axes, values, True, float(np.abs(values).max()) or 1.0, found.first)
    at = f" at step {found.step}" if seen.graph.specs[found.name].time else ""
    unit = found.unit[0] if len(found.unit) == 1 else found.unit
    axes.set_title(
        f"part of input {name} in unit {unit} of {found.name}{at}, by {found.method.replace('_', ' ')}",
        loc="left", fontsize=9,
    )  # fmt: skip
    axes.set_xlabel("step", fontsize=8)


def _saturation(axes: Any, layer: Layer) -> None:
    """Shares of steps at which gates are shut and open (Karpathy et al. 2015, arXiv:1506.02078)."""
    assert layer.profile is not None
    for gate, marker in zip(layer.profile.below, "osD^v", strict=False):
        axes.scatter(layer.profile.below[gate], layer.profile.above[gate], 14, marker=marker, alpha=0.6, label=gate)
    axes.plot([0, 1], [1, 0], color="silver", linewidth=0.7)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="share of steps below 0.1", ylabel="above 0.9")
    axes.set_title(f"{layer.name}: how often gates are shut or open", loc="left", fontsize=9)
    axes.legend(fontsize=8)


def _memory(axes: Any, layer: Layer) -> None:
    half: Any = layer.half_lives()
    longest = float(2 ** np.ceil(np.log2(max(8, len(layer.hidden)))))
    edges = 2.0 ** np.arange(-1, np.log2(longest) + 1)
    axes.hist(np.clip(half, edges[0], longest), bins=edges, color=tuple(c / 255 for c in ABOVE))
    axes.set_xscale("log", base=2)
    axes.set(xlabel="half-life in steps", ylabel="units")
    axes.set_title(f"{layer.name}: how long units remember", loc="left", fontsize=9)


__all__ = ["FORMATS", "library", "plot"]


def __dir__() -> list[str]:
    return __all__
