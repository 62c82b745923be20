"""The network as an inline SVG drawing: boxes in the order of data, from top to bottom."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from ..graph import Graph, Node, Recurrent, State

MOST = 40  # boxes
PLAIN = 16  # nodes up to which all are drawn, those without weights too
WIDE, HIGH, ACROSS, DOWN = 176, 42, 196, 66
LETTERS = 24


class Box(NamedTuple):
    """A box: two lines of text, how it looks, and the boxes that it reads."""

    title: str
    text: str
    look: str
    reads: tuple[str, ...]


def drawing(graph: Graph) -> tuple[str, str]:
    """Return the drawing of a network, and a sentence on what it leaves out.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import Dense, chain
    >>> svg, left_out = drawing(chain([Dense(np.ones((2, 3)))]))
    >>> svg.startswith("<svg"), left_out
    (True, '')
    """
    every = len(graph.nodes) <= PLAIN
    kept = [n for n in graph.nodes if every or isinstance(n.op, State) or (n.op.weights() and n.op.kind != "constant")]
    kept = kept or list(graph.nodes)
    shown = kept[:MOST]
    boxes = _boxes(graph, shown)
    left = len(graph.nodes) - len(shown)
    words = "" if not left else f"{left} of its {len(graph.nodes)} operations are left out here: "
    if left:
        cut = len(kept) - len(shown)
        words += f"the last {cut} layers, and those without weights. " if cut else "those without weights. "
        words += "<code>fastgru info MODEL --graph network.svg</code> draws all."
    return _svg(boxes, graph, shown), words


def _boxes(graph: Graph, shown: list[Node]) -> dict[str, Box]:
    makers = {v: node for node in graph.nodes for v in node.outputs}
    names = {node.name for node in shown}

    def sources(value: str, seen: set[str]) -> list[str]:
        """The boxes that a value is made of, through what is left out."""
        if value in graph.inputs:
            return [f"in {value}"]
        if value in seen:
            return []
        seen.add(value)
        node = makers[value]
        if node.name in names:
            return [node.name]
        return [s for v in node.inputs for s in sources(v, seen)]

    found: dict[str, Box] = {}
    for name in graph.inputs:
        found[f"in {name}"] = Box(name, f"input {graph.shown(name)}", "end", ())
    for node in shown:
        reads = tuple(dict.fromkeys(s for v in node.inputs for s in sources(v, set())))
        found[node.name] = Box(node.name, _text(graph, node), _look(node), reads)
    for i, name in enumerate(graph.outputs):
        reads = tuple(dict.fromkeys(sources(name, set())))
        found[f"out {i}"] = Box(name, f"output {graph.shown(name)}", "end", reads)
    return found


def _text(graph: Graph, node: Node) -> str:
    kind = type(node.op).__name__
    if isinstance(node.op, Recurrent):
        return f"{kind}, {node.op.hidden_size} units{', backwards' if node.op.reverse else ''}"
    return f"{kind} {graph.shown(node.outputs[0])}"


def _look(node: Node) -> str:
    if isinstance(node.op, State):
        return "state"
    return "recurrent" if node.op.states() else "weights" if node.op.weights() else "plain"


def _places(boxes: dict[str, Box]) -> dict[str, tuple[float, int]]:
    """Return for each box its column, around a middle of 0, and its row: one below the lowest that it reads."""
    rows: dict[str, int] = {}
    for name, box in boxes.items():
        rows[name] = 1 + max((rows[r] for r in box.reads if r in rows), default=-1)
    last = max(rows.values())
    rows.update({name: last for name in rows if name.startswith("out ")})
    columns: dict[int, list[str]] = {}
    for name, row in rows.items():
        columns.setdefault(row, []).append(name)
    return {name: (i - (len(names) - 1) / 2, row) for row, names in columns.items() for i, name in enumerate(names)}


def _svg(boxes: dict[str, Box], graph: Graph, shown: list[Node]) -> str:
    places = _places(boxes)
    least = min(x for x, _ in places.values())
    width = round((max(x for x, _ in places.values()) - least) * ACROSS + WIDE + 24)
    height = max(row for _, row in places.values()) * DOWN + HIGH + 12
    at = {name: ((x - least) * ACROSS + 12, row * DOWN + 4) for name, (x, row) in places.items()}
    parts = []
    for name, box in boxes.items():
        x, y = at[name]
        for read in box.reads:
            a, b = at[read]
            parts.append(_line(a + WIDE / 2, b + HIGH, x + WIDE / 2, y, "edge"))
    makers = {v: node.name for node in shown for v in node.outputs}
    for state, fed in graph.feedback.items():
        if state in makers and fed in makers:
            (a, b), (x, y) = at[makers[fed]], at[makers[state]]
            parts.append(_line(a + WIDE, b + HIGH / 2, x + WIDE, y + HIGH / 2, "edge back"))
    for name, box in boxes.items():
        x, y = at[name]
        radius = HIGH / 2 if box.look == "end" else 6
        parts.append(
            f'<g class="box {box.look}"><title>{escape(box.title)}: {escape(box.text)}</title>'
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDE}" height="{HIGH}" rx="{radius:.0f}"/>'
            f'<text class="name" x="{x + WIDE / 2:.0f}" y="{y + 18:.0f}">{escape(_short(box.title))}</text>'
            f'<text x="{x + WIDE / 2:.0f}" y="{y + 33:.0f}">{escape(_short(box.text, 30))}</text></g>'
        )
    return (
        f'<svg class="network" viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img" '
        f'aria-label="Drawing of the network">{"".join(parts)}</svg>'
    )


def _line(a: float, b: float, x: float, y: float, look: str) -> str:
    middle = (b + y) / 2
    if "back" in look:
        out = max(a, x) + 10
        return f'<path class="{look}" d="M{a:.0f} {b:.0f}C{out:.0f} {b:.0f} {out:.0f} {y:.0f} {x:.0f} {y:.0f}"/>'
    return f'<path class="{look}" d="M{a:.0f} {b:.0f}C{a:.0f} {middle:.0f} {x:.0f} {middle:.0f} {x:.0f} {y:.0f}"/>'


def _short(text: str, most: int = LETTERS) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2 - 1) :]}"
