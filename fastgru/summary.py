"""Summary: the layers of a graph as a table of shapes, sizes and work."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .graph import Graph, Spec

HEADINGS = ("layer", "kind", "output", "parameters", "bytes", "MACs/step")


class Row(NamedTuple):
    """One layer.

    Attributes
    ----------
    name, kind, output : str
        The node's name, its op, and the shape of its output, e.g. ``"(B, T, 64)"``.
    parameters, bytes : int
        Numbers in its weights, and what they take in the model's dtype.
    macs : int
        Multiply-accumulates for one row each time it runs.
    """

    name: str
    kind: str
    output: str
    parameters: int
    bytes: int
    macs: int


class Totals(NamedTuple):
    """The sums over all layers, and the bytes of state that one row of a stream carries."""

    parameters: int
    bytes: int
    macs: int
    state_bytes: int


class Summary(NamedTuple):
    """What `summarise` returns; ``str()`` of it is a plain-text table.

    Attributes
    ----------
    dtype : str
    inputs : tuple of str
        Name and shape of every input.
    rows : tuple of Row
    totals : Totals
    """

    dtype: str
    inputs: tuple[str, ...]
    rows: tuple[Row, ...]
    totals: Totals

    def __str__(self) -> str:
        cells = [HEADINGS, *(tuple(map(_cell, row)) for row in self.rows)]
        total = ("total", "", "", *map(_cell, self.totals[:3]))
        widths = [max(len(row[i]) for row in [*cells, total]) for i in range(len(HEADINGS))]
        lines = [_line(row, widths) for row in [*cells, total]]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        head = f"input {', '.join(self.inputs)}; computes in {self.dtype}"
        tail = f"state of one row: {self.totals.state_bytes:,} bytes"
        return "\n".join([head, lines[0], rule, *lines[1:-1], rule, lines[-1], tail])

    def __repr__(self) -> str:
        return str(self)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON."""
        rows = [row._asdict() for row in self.rows]
        return {"dtype": self.dtype, "inputs": list(self.inputs), "rows": rows, "totals": self.totals._asdict()}


def summarise(graph: Graph, dtype: str) -> Summary:
    """The table of a graph whose weights are kept as `dtype`.

    Examples
    --------
    >>> from fastgru.graph import Dense, chain
    >>> summarise(chain([Dense(np.ones((2, 3)))]), "float32").rows[0]
    Row(name='dense', kind='Dense', output='(B, T, 2)', parameters=6, bytes=24, macs=6)
    """
    item = np.dtype(dtype).itemsize
    rows = []
    for node in graph.nodes:
        count = sum(int(w.size) for w in node.op.weights().values())
        output = ", ".join(_shape(graph.specs[value]) for value in node.outputs)
        rows.append(Row(node.name, type(node.op).__name__, output, count, count * item, int(node.op.macs())))
    totals = Totals(
        parameters=sum(r.parameters for r in rows),
        bytes=sum(r.bytes for r in rows),
        macs=sum(r.macs for r in rows),
        state_bytes=sum(slot.size for slot in graph.states()) * item,
    )
    inputs = tuple(f"{name} {spec}" for name, spec in graph.inputs.items())
    return Summary(dtype, inputs, tuple(rows), totals)


def _shape(spec: Spec) -> str:
    return str(spec).rsplit(" ", 1)[0]


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Names to the left, numbers to the right."""
    padded = (c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
    return "  ".join(padded).rstrip()
