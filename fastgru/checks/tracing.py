"""Find where an error arises: compare the engine with the float64 reference, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import reference
from .._arrays import as_array
from ..graph import Graph, Mask, Node, State
from ..model import Model
from .samples import Input

HEADINGS = ("node", "op", "output", "largest value", "error", "added here")
WORDS = 3  # columns of words in front of the numbers


@dataclass(frozen=True)
class Row:
    """One value of a graph.

    Attributes
    ----------
    name, kind : str
        Of the node.
    output : str
        Its shape.
    largest : float
        Largest magnitude, by the reference.
    error : float
        Largest absolute difference of the engine's from the reference's.
    new : float
        The same where the reference is given the engine's inputs of this node: what the node itself adds, over all
        steps where it keeps a state.
    """

    name: str
    kind: str
    output: str
    largest: float
    error: float
    new: float

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        return (self.name, self.kind, self.output, f"{self.largest:.3g}", f"{self.error:.2g}", f"{self.new:.2g}")


def trace(graph: Graph, x: Input, *, dtype: str = "float32", isa: str | None = None) -> tuple[Row, ...]:
    """Compare the engine with the reference at every value of a graph.

    Parameters
    ----------
    x : array or mapping of input name to array
        As `Model.__call__` takes them, with a batch axis.
    dtype, isa : str
        Of the engine.

    Returns
    -------
    tuple of Row
        In execution order. The first row with an error much above its neighbours' is where to look.

    Examples
    --------
    >>> from fastgru.graph import Dense, chain
    >>> [row.name for row in trace(chain([Dense(np.ones((2, 3)))]), np.ones((1, 4, 3), np.float32))]
    ['dense']
    """
    shown = [(node, value) for node in graph.nodes for value in node.outputs if not isinstance(node.op, Mask)]
    names = [value for _, value in shown]
    whole = Graph(graph.inputs, graph.nodes, names, graph.feedback)
    got = dict(zip(names, _as_tuple(Model(whole, dtype=dtype, isa=isa)(x)), strict=True))
    feeds = x if isinstance(x, Mapping) else {next(iter(graph.inputs)): x}
    known = {**{name: as_array(a, name) for name, a in feeds.items()}, **got}
    wanted = dict(zip(names, reference.run(whole, x)[0], strict=True))
    masks = {value: node for node in graph.nodes for value in node.outputs if isinstance(node.op, Mask)}
    rows = []
    for node, v in shown:
        error = difference(got[v], wanted[v])
        new = _new(graph, node, v, known, masks) if node.inputs or isinstance(node.op, State) else error
        rows.append(Row(node.name, type(node.op).__name__, str(graph.specs[v]), magnitude(wanted[v]), error, new))
    return tuple(rows)


def _new(graph: Graph, node: Node, value: str, known: Mapping[str, Any], masks: Mapping[str, Node]) -> float:
    """The error that a node adds over the whole sequence, as its states begin alike in the engine and the reference."""
    if isinstance(node.op, State):
        fed = known[graph.feedback[value]]
        held = np.broadcast_to(node.op.initial, (len(fed), 1, *node.op.initial.shape))
        return difference(known[value], np.concatenate([held, fed], axis=1)[:, :-1])
    before = list(dict.fromkeys(masks[v] for v in node.inputs if v in masks))  # the engine gives no masks as outputs
    read = [v for n in (*before, node) for v in n.inputs if v not in masks]
    alone = Graph({v: graph.specs[v] for v in read}, [*before, node], node.outputs)
    found = reference.run(alone, {v: known[v] for v in alone.inputs})[0]
    return difference(known[value], found[node.outputs.index(value)])


def _as_tuple(y: Any) -> tuple[Any, ...]:
    return y if isinstance(y, tuple) else (y,)


def magnitude(array: Any) -> float:
    """The largest magnitude in an array."""
    return float(np.abs(np.asarray(array, np.float64)).max(initial=0.0))


def difference(a: Any, b: Any) -> float:
    """The largest difference; equal infinities and NaN in the same place are none."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        return float(np.where(same, 0.0, np.abs(a - b)).max(initial=0.0))


__all__ = ["Row", "trace"]


def __dir__() -> list[str]:
    return __all__
