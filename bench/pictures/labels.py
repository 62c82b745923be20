"""Labels beside what they name, moved apart where they would touch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

from ..lookup import OURS
from .style import SMALL, Theme, patch


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move sorted places as little as possible so that neighbours are `gap` apart, within low..high.

    Places that would touch become a group around their mean, as pools of adjacent violators do. Where all do not fit,
    they share the range evenly.

    Examples
    --------
    >>> spread([1.0, 1.0, 5.0], 1.0, 0.0, 9.0)
    [0.5, 1.5, 5.0]
    """
    n = len(places)
    gap = min(gap, (high - low) / max(1, n - 1))
    groups: list[tuple[float, int]] = []  # the mean of places less their rank's share of gaps, and how many
    for i, place in enumerate(places):
        groups.append((place - i * gap, 1))
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            (a, m), (b, k) = groups[-2:]
            groups[-2:] = [((a * m + b * k) / (m + k), m + k)]
    starts = [min(max(start, low), high - (n - 1) * gap) for start, count in groups for _ in range(count)]
    return [start + i * gap for i, start in enumerate(starts)]


class Label(NamedTuple):
    """A text, its colour, and the point (x, y) of the data that it names."""

    x: float
    y: float
    text: str
    colour: str


def at_ends(axes: Any, labels: Sequence[Label], fontsize: float = SMALL) -> None:
    """Write labels right of the axes, at the heights of the points they name, with a thin line from each point."""
    figure = axes.figure
    box = axes.get_window_extent()
    ordered = sorted(labels, key=lambda label: label.y)
    wanted = [axes.transData.transform((label.x, label.y))[1] for label in ordered]
    gap = fontsize * 1.4 * figure.dpi / 72
    heights = spread(wanted, gap, box.y0 + gap / 2, box.y1 + gap / 2)
    shift, inch = axes.figure.transFigure.inverted(), figure.dpi
    for label, height in zip(ordered, heights, strict=True):
        start = axes.transData.transform((label.x, label.y))
        ends = [shift.transform(point) for point in ((start[0] + 4, start[1]), (box.x1 + 0.10 * inch, height))]
        figure.add_artist(_line(ends, label.colour))
        x, y = shift.transform((box.x1 + 0.13 * inch, height))
        figure.text(x, y, label.text, color=label.colour, fontsize=fontsize, va="center", fontweight=weight(label.text))


def weight(text: str) -> str:
    """Return the weight of a label's font: our own stand out."""
    return "bold" if text.startswith(OURS) else "normal"


def _line(ends: Sequence[Any], colour: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D(*zip(*ends, strict=True), color=colour, linewidth=0.8)


def near_points(axes: Any, labels: Sequence[Label], theme: Theme) -> None:
    """Write labels next to points of a scatter, each at the nearest place where it touches no point and no label."""
    from matplotlib.transforms import Bbox

    figure = axes.figure
    inside = axes.get_window_extent()
    spots = [axes.transData.transform((label.x, label.y)) for label in labels]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in spots]
    for (x, y), label in zip(spots, labels, strict=True):
        text = axes.text(
            0, 0, label.text, color=label.colour, fontsize=SMALL, va="center", fontweight=weight(label.text),
            bbox=patch(theme),
        )  # fmt: skip
        size = text.get_window_extent()
        for reach, (dx, dy) in product((9, 20, 34, 50, 70, 95), DIRECTIONS):
            left = x + dx * reach - (0 if dx > 0 else size.width if dx < 0 else size.width / 2)
            box = Bbox.from_bounds(left, y + dy * reach - size.height / 2, size.width, size.height)
            fits = inside.x0 < box.x0 and box.x1 < inside.x1 and inside.y0 < box.y0 and box.y1 < inside.y1
            if fits and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)
        text.set_position(axes.transData.inverted().transform((box.x0, (box.y0 + box.y1) / 2)))
        if reach > 9:
            end = (min(max(x, box.x0), box.x1), box.y0 if dy > 0 else box.y1 if dy < 0 else (box.y0 + box.y1) / 2)
            back = figure.transFigure.inverted()
            figure.add_artist(_line([back.transform((x, y)), back.transform(end)], label.colour))


DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8))  # right first
