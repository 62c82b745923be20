"""Summary: the layers of a graph as a table of shapes, sizes and work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..graph import Graph, Node, precision_of, tier_of

HEADINGS = ("layer", "kind", "precision", "output", "parameters", "bytes", "MACs/step")
SHARED = "shared with"  # a heading more, where layers share weights
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
        model's dtype. Shared weights count in the row of each layer that uses them.
    macs : int
        Multiply-accumulates for one row each time it runs.
    shared : str
        The first layer that uses weights of this one; empty where no layer before it does.
    """

    name: str
    kind: str
    precision: str
    output: str
    parameters: int
    bytes: int
    macs: int
    shared: str = ""


class Totals(NamedTuple):
    """The sums over all layers, of weights that several share once, and the bytes of a stream's state for one row."""

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
    layout : str
        What the axes of inputs and outputs are in the source and here; empty for a model made by hand.
    differs : str
        How far an import is from its source, where it was to be kept though it is.
    """

    dtype: str
    inputs: tuple[str, ...]
    rows: tuple[Row, ...]
    totals: Totals
    memory: Memory
    layout: str = ""
    differs: str = ""

    def __str__(self) -> str:
        head = [f"input {', '.join(self.inputs)}; computes in {self.dtype}"]
        if self.layout:
            head.append(f"axes: {self.layout}")
        if self.differs:
            head.append(f"differs from its source: {self.differs}")
        return "\n".join([*head, *plain_table(self.headings, self.cells(), self.total(), WORDS), self.sizes()])

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings of the table: `SHARED` is among them where layers share weights."""
        return (*HEADINGS, SHARED) if any(row.shared for row in self.rows) else HEADINGS

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
        return [tuple(map(_cell, row[: len(self.headings)])) for row in self.rows]

    def total(self) -> tuple[str, ...]:
        """The totals as text, a cell for each heading."""
        words = [""] * (WORDS - 1)
        return ("total", *words, *map(_cell, self.totals[:3]), *[""] * (len(self.headings) - len(HEADINGS)))

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON."""
        rows = [row._asdict() for row in self.rows]
        return {"dtype": self.dtype, "inputs": list(self.inputs), "rows": rows, "totals": self.totals._asdict(),
                "memory": self.memory._asdict(), "layout": self.layout, "differs": self.differs}  # fmt: skip


def summarise(graph: Graph, dtype: str, memory: Memory, layout: str = "", differs: str = "") -> Summary:
    """Return the table of a graph whose weights are kept as `dtype`, and which needs so much memory.

    `layout` and `differs` are what the provenance of an import says of its axes, and of its source.

    Examples
    --------
    >>> from fastgru.graph import Dense, chain
    >>> summarise(chain([Dense(np.ones((2, 3)))]), "float32", Memory(96, 4096, "dense")).rows[0]
    Row(name='dense', kind='Dense', precision='float32', output='(B, T, 2)', parameters=6, bytes=24, macs=6, shared='')
    """
    item = np.dtype(dtype).itemsize
    rows, counted = [], _Counted(item)
    for node in graph.nodes:
        op = node.op
        count = sum(int(w.size) for w in op.weights().values())
        reduced = precision_of(op) != "float32"
        precision = (precision_of(op) if reduced else dtype) if count else ""
        if (tier := tier_of(op)) not in ("", "exact"):
            precision += f", {tier}"
        output = ", ".join(map(graph.shown, node.outputs))
        kind, macs = type(op).__name__, op.macs_for(tuple(graph.specs[value] for value in node.inputs))
        rows.append(Row(node.name, kind, precision, output, count, op.weight_bytes(item), macs, counted.add(node)))
    totals = Totals(
        parameters=sum(counted.numbers.values()),
        bytes=sum(counted.bytes.values()),
        macs=sum(r.macs for r in rows),
        state_bytes=sum(slot.size for slot in graph.states()) * item,
    )
    inputs = tuple(f"{name} {graph.shown(name)} {spec.dtype}" for name, spec in graph.inputs.items())
    return Summary(dtype, inputs, tuple(rows), totals, memory, layout, differs)


def weight_bytes(graph: Graph) -> int:
    """Return what the weights of a graph take, those that nodes share counted once.

    Examples
    --------
    >>> from fastgru.graph import Dense, chain
    >>> weight = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> weight_bytes(chain([Dense(weight), Dense(weight)]))
    16
    """
    counted = _Counted(4)
    for node in graph.nodes:
        counted.add(node)
    return sum(counted.bytes.values())


class _Counted:
    """Weights counted once, however many nodes share them.

    Attributes
    ----------
    numbers : dict
        Of each array, by its id.
    bytes : dict
        Of each array as a precision stores it, by its id and the precision.
    """

    def __init__(self, item: int) -> None:
        self.item = item
        self.numbers: dict[int, int] = {}
        self.bytes: dict[tuple[int, str], int] = {}
        self._first: dict[int, str] = {}

    def add(self, node: Node) -> str:
        """Count the weights of a node; returns the first one counted before that shares any of them, or ""."""
        weights = node.op.weights()
        shared = [self._first[id(array)] for array in weights.values() if id(array) in self._first]
        for name, array in weights.items():
            self._first.setdefault(id(array), node.name)
            self.numbers[id(array)] = int(array.size)
            self.bytes[id(array), node.op.stored_as(name)] = node.op.bytes_of(name, self.item)
        return shared[0] if shared else ""


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
