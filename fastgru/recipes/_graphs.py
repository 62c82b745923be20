"""Graphs inside of graphs: how a recipe puts framing and transforms around an imported network."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ConvertError
from ..graph import Graph, GraphBuilder


def insert(b: GraphBuilder, graph: Graph, *inputs: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Add the nodes of `graph`, reading the values `inputs`; returns its outputs and its feedback by their new names.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import Dense, Spec, chain
    >>> b = GraphBuilder()
    >>> y, _ = insert(b, chain([Dense(np.ones((2, 3)))]), b.input("frame", Spec((3,))))
    >>> b.build(*y)
    Graph([dense: Dense])
    """
    names = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        read = [names[value] for value in node.inputs]
        added = b.add_many(node.op, *read, outputs=len(node.outputs), name=node.name)
        names.update(zip(node.outputs, added, strict=True))
    return tuple(names[v] for v in graph.outputs), {names[a]: names[v] for a, v in graph.feedback.items()}


def expect(graph: Graph, inputs: Sequence[tuple[int, ...]], outputs: Sequence[tuple[int, ...]], what: str) -> Graph:
    """`graph`, whose inputs and outputs must have frames of these shapes.

    Raises
    ------
    ConvertError
        When they are others.
    """
    found = [graph.specs[v].shape for v in graph.inputs], [graph.specs[v].shape for v in graph.outputs]
    if found != (list(inputs), list(outputs)):
        wanted = f"frames of {_listed(inputs)} to {_listed(outputs)}"
        raise ConvertError(f"{what} must make {wanted}, got one of {_listed(found[0])} to {_listed(found[1])}")
    return graph


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes))
