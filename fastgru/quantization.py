"""Choosing the precision of a graph's weights, layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from .errors import GraphError, listed
from .graph import PRECISIONS, Graph


def quantizable(graph: Graph) -> list[str]:
    """Names of the nodes whose weights have a precision."""
    return [node.name for node in graph.nodes if node.op.matrices]


def choose(graph: Graph, precision: str | Mapping[str, str], layers: Sequence[str] | None = None) -> dict[str, str]:
    """The precision of every node that has one: `precision` for all, for those of `layers`, or as a mapping says.

    Raises
    ------
    GraphError
        Listing every name and precision that does not exist.
    """
    names = quantizable(graph)
    if isinstance(precision, str):
        wanted = dict.fromkeys(names if layers is None else layers, precision)
    elif layers is not None:
        raise GraphError("layers must be omitted when precision is a mapping, got both")
    else:
        wanted = dict(precision)
    allowed = ", ".join(names) or "none"
    problems = [f"layer must be one with weight matrices ({allowed}), got {n!r}" for n in wanted if n not in names]
    given = sorted({str(p) for p in wanted.values()} - PRECISIONS.keys())
    problems += [f"precision must be one of {', '.join(PRECISIONS)}, got {p!r}" for p in given]
    if problems:
        raise GraphError(listed(problems))
    return wanted


def apply(graph: Graph, precisions: Mapping[str, str]) -> Graph:
    """`graph` with the named nodes' weights rounded to their precision; the others as they are.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import Dense, chain
    >>> apply(chain([Dense(np.ones((2, 3)))]), {"dense": "int8"}).nodes[0].op.precision
    'int8'
    """
    nodes = []
    for node in graph.nodes:
        if node.name in precisions:
            try:
                node = dataclasses.replace(node, op=node.op.replace(precision=precisions[node.name]))
            except GraphError as error:
                raise GraphError(f"node {node.name!r}: {error}") from error
        nodes.append(node)
    return Graph(graph.inputs, nodes, graph.outputs)
