"""Summary: the layers of a graph as a table of shapes, sizes and work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .graph import Graph, Spec, precision_of, tier_of

HEADINGS = ("layer", "kind", "precision", "output", "parameters", "bytes", "MACs/step")
WORDS = 4  # the first columns, which are not numbers


class Row(NamedTuple):
    """One layer.

    Attributes
    ----------
    name, kind, precision, output : str
        The node's name, its op, the precision of its weights (empty without weights) and the tier of its gates
        where that is not exact, and the shape of its output, e.g. ``"(B, T, 64)"``.
    parameters, bytes : int
        Numbers in its weights, and what they take: matrices as their precision stores them, the others in the
        model's dtype.
    macs : int
        Multiply-accumulates for one row each time it runs.
    """

    name: str
    kind: str
    precision: str
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


class Memory(NamedTuple):
    """Bytes that a model needs, known before any is allocated.

    Attributes
    ----------
    plan : int
        Of the packed weights; at most, where some are sparse.
    stream : int
        Of a stream of one row on one thread.
    node : str or None
        The node that needs most of the stream.
    """

    plan: int
    stream: int
    node: str | None


class Summary(NamedTuple):
    """What `summarise` returns; ``str()`` of it is a plain-text table.

    Attributes
    ----------
    dtype : str
    inputs : tuple of str
        Name and shape of every input.
    rows : tuple of Row
    totals : Totals
    memory : Memory
    """

    dtype: str
    inputs: tuple[str, ...]
    rows: tuple[Row, ...]
    totals: Totals
    memory: Memory

    def __str__(self) -> str:
        head = f"input {', '.join(self.inputs)}; computes in {self.dtype}"
        return "\n".join([head, *plain_table(HEADINGS, self.cells(), self.total(), WORDS), self.sizes()])

    def sizes(self) -> str:
        """The memory that is needed, as a line of text."""
        return (
            f"state of one row: {self.totals.state_bytes:,} bytes; memory: packed weights {self.memory.plan:,} bytes, "
            f"a stream of one row {self.memory.stream:,} bytes"
        )

    def __repr__(self) -> str:
        return str(self)

    def cells(self) -> list[tuple[str, ...]]:
        """The rows as text."""
        return [tuple(map(_cell, row)) for row in self.rows]

    def total(self) -> tuple[str, ...]:
        """The totals as text, a cell for each heading."""
        return ("total", *[""] * (WORDS - 1), *map(_cell, self.totals[:3]))

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON."""
        rows = [row._asdict() for row in self.rows]
        return {"dtype": self.dtype, "inputs": list(self.inputs), "rows": rows, "totals": self.totals._asdict(),
                "memory": self.memory._asdict()}  # fmt: skip


def summarise(graph: Graph, dtype: str, memory: Memory) -> Summary:
    """Return the table of a graph whose weights are kept as `dtype`, and which needs so much memory.

    Examples
    --------
    >>> from fastgru.graph import Dense, chain
    >>> summarise(chain([Dense(np.ones((2, 3)))]), "float32", Memory(96, 4096, "dense")).rows[0]
    Row(name='dense', kind='Dense', precision='float32', output='(B, T, 2)', parameters=6, bytes=24, macs=6)
    """
    item = np.dtype(dtype).itemsize
    rows = []
    for node in graph.nodes:
        op = node.op
        count = sum(int(w.size) for w in op.weights().values())
        reduced = precision_of(op) != "float32"
        precision = (precision_of(op) if reduced else dtype) if count else ""
        if (tier := tier_of(op)) not in ("", "exact"):
            precision += f", {tier}"
        output = ", ".join(_shape(graph.specs[value]) for value in node.outputs)
        kind, macs = type(op).__name__, op.macs_for(tuple(graph.specs[value] for value in node.inputs))
        rows.append(Row(node.name, kind, precision, output, count, op.weight_bytes(item), macs))
    totals = Totals(
        parameters=sum(r.parameters for r in rows),
        bytes=sum(r.bytes for r in rows),
        macs=sum(r.macs for r in rows),
        state_bytes=sum(slot.size for slot in graph.states()) * item,
    )
    inputs = tuple(f"{name} {spec}" for name, spec in graph.inputs.items())
    return Summary(dtype, inputs, tuple(rows), totals, memory)


def _shape(spec: Spec) -> str:
    return str(spec).rsplit(" ", 1)[0]


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str], words: int) -> list[str]:
    """Lines of a table: the first `words` columns to the left, the others, numbers, to the right."""
    cells = [headings, *rows, total]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]
    rule = "-" * len(lines[0])
    return [line.rstrip() for line in (lines[0], rule, *lines[1:-1], rule, lines[-1])]
