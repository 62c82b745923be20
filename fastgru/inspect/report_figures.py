"""Figures of the report: heat maps as PNG, curves and points as SVG, both inside of the page.

Colours are two inks of growing opacity, or variables of the page's style: what is zero shows the paper, light or dark.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ABOVE, BELOW = (32, 116, 222), (222, 104, 20)  # inks of numbers above and below zero
LEVELS = 100  # of opacity
GRID = 40  # places along each side of a plot of points


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(indices: Array, palette: Sequence[tuple[int, int, int, int]]) -> bytes:
    """Encode rows of indices (H, W) of a palette of at most 256 colours with opacity as a PNG file."""
    height, width = indices.shape
    rows = np.zeros((height, width + 1), np.uint8)  # filter 0 in front of each row
    rows[:, 1:] = indices
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = b"".join(bytes(c[:3]) for c in palette)
    opacity = bytes(c[3] for c in palette)
    parts = (
        (b"IHDR", header), (b"PLTE", colours), (b"tRNS", opacity), (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def data_uri(file: bytes) -> str:
    """Return a PNG file as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(file).decode()}"


def _palette() -> list[tuple[int, int, int, int]]:
    steps = [round(255 * level / LEVELS) for level in range(LEVELS + 1)]
    return [*((*BELOW, step) for step in reversed(steps[1:])), *((*ABOVE, step) for step in steps)]


def heat(values: Array, largest: float) -> bytes:
    """Draw (rows, columns) as a PNG: zero is clear, `largest` full ink, numbers below zero in the other ink."""
    scaled = np.nan_to_num(values / largest if largest > 0 else np.zeros_like(values))
    return png((np.rint(np.clip(scaled, -1, 1) * LEVELS) + LEVELS).astype(np.uint8), _palette())


# Fewer steps and rows --------------------------------------------------------------------------------


def binned(values: Array, most: int) -> Array:
    """Return (T, ...) as at most so many rows: means of as many consecutive steps, as nearly as T divides.

    Examples
    --------
    >>> binned(np.arange(6.0), 3).tolist()
    [0.5, 2.5, 4.5]
    """
    steps = len(values)
    if steps <= most:
        return values
    edges = np.linspace(0, steps, most + 1).astype(int)
    sums = np.add.reduceat(values.astype(np.float64), edges[:-1], axis=0)
    return np.asarray(sums / np.diff(edges).reshape(-1, *[1] * (values.ndim - 1)))


def enveloped(values: Array, most: int) -> Array:
    """Return a curve (T,) as at most so many points: the least and the largest of every piece, in turn."""
    if len(values) <= most:
        return values
    edges = np.linspace(0, len(values), most // 2 + 1).astype(int)[:-1]
    both = np.stack([np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges)], axis=1)
    return np.asarray(both.reshape(-1))


# SVG -------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Return a number with three digits that count."""
    if not math.isfinite(value):
        return "no end" if value > 0 else str(value)
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e5 else f"{value:.3g}"


def curves(lines: Sequence[Array], low: float, high: float, label: str) -> str:
    """Draw curves over the whole width; the page writes their axes."""
    spread = (high - low) or 1.0
    drawn = []
    for i, line in enumerate(lines):
        x = np.linspace(0, 1000, len(line)) if len(line) > 1 else np.array([0.0, 1000.0])
        y = 100 - 96 * (np.resize(line, len(x)) - low) / spread - 2
        points = " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x, y, strict=True))
        drawn.append(f'<polyline class="c{i % 6}" points="{points}"/>')
    zero = 100 - 96 * (0 - low) / spread - 2
    axis = f'<line class="zero" x1="0" x2="1000" y1="{zero:.1f}" y2="{zero:.1f}"/>' if low < 0 < high else ""
    return (
        f'<svg class="curves" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}">{axis}{"".join(drawn)}</svg>'
    )


def points(x: Array, y: Array, across: str, up: str, label: str) -> str:
    """Draw a square of points in 0..1, units in one place as one larger point."""
    places: dict[tuple[int, int], list[int]] = {}
    for unit, (a, b) in enumerate(zip(x, y, strict=True)):
        places.setdefault((round(float(a) * GRID), round(float(b) * GRID)), []).append(unit)
    drawn = []
    for (a, b), units in places.items():
        radius = min(12.0, 3.0 * math.sqrt(len(units)))
        named = ", ".join(map(str, units[:8])) + (f" and {len(units) - 8} more" if len(units) > 8 else "")
        title = f"<title>unit{'s' if len(units) > 1 else ''} {named}</title>" if len(places) <= 64 else ""
        drawn.append(
            f'<circle cx="{46 + 200 * a / GRID:.0f}" cy="{210 - 200 * b / GRID:.0f}" r="{radius:.1f}">{title}</circle>'
        )
    ticks = "".join(
        f'<text x="{46 + 200 * t:.0f}" y="226" text-anchor="middle">{t:g}</text>'
        f'<text x="40" y="{214 - 200 * t:.0f}" text-anchor="end">{t:g}</text>'
        for t in (0, 0.5, 1)
    )
    return (
        f'<svg class="points" viewBox="0 0 262 248" role="img" aria-label="{escape(label)}">'
        f'<path class="frame" d="M46 10v200h200"/><path class="limit" d="M46 10L246 210"/>{"".join(drawn)}{ticks}'
        f'<text x="146" y="242" text-anchor="middle">{escape(across)}</text>'
        f'<text transform="translate(10 110) rotate(-90)" text-anchor="middle">{escape(up)}</text></svg>'
    )


def bars(counts: Sequence[int], names: Sequence[str], label: str) -> str:
    """Draw counts as bars with names under them."""
    width, top = 250 / max(1, len(counts)), max([*counts, 1])
    drawn = []
    for i, (count, name) in enumerate(zip(counts, names, strict=True)):
        tall, middle = 180 * count / top, width * (i + 0.5)
        drawn.append(
            f'<rect x="{width * i + 1.5:.1f}" y="{200 - tall:.1f}" width="{width - 3:.1f}" height="{tall:.1f}"/>'
            f'<text x="{middle:.1f}" y="214" text-anchor="middle">{escape(name)}</text>'
        )
        if count:
            drawn.append(f'<text x="{middle:.1f}" y="{196 - tall:.1f}" text-anchor="middle">{count}</text>')
    return (
        f'<svg class="bars" viewBox="0 0 250 236" role="img" aria-label="{escape(label)}">'
        f'<path class="frame" d="M0 200h250"/>{"".join(drawn)}'
        '<text x="125" y="232" text-anchor="middle">half-life in steps</text></svg>'
    )
