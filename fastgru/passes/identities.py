"""Nodes out that return what they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph import (
    Activate,
    Add,
    Average,
    Cast,
    Concat,
    Dropout,
    Expand,
    Graph,
    Multiply,
    Node,
    Op,
    Pad,
    Reshape,
    Slice,
    Spec,
    Tile,
    TimePad,
    TimeSlice,
    Transpose,
)
from .editing import Draft


def _whole(op: Slice, x: Spec) -> bool:
    return all(s == slice(0, n, 1) for s, n in zip(op.slices(), x.shape, strict=True))


# op -> whether it returns its only input, of this spec
IDENTITIES: dict[type[Op], Callable[[Any, Spec], bool]] = {
    Dropout: lambda op, x: True,
    Activate: lambda op, x: op.activation.name == "linear",
    Add: lambda op, x: True,
    Multiply: lambda op, x: True,
    Average: lambda op, x: True,
    Concat: lambda op, x: True,
    Cast: lambda op, x: op.to == x.dtype,
    Reshape: lambda op, x: op.shape == x.shape,
    Expand: lambda op, x: op.shape == x.shape,
    Transpose: lambda op, x: op.perm == tuple(range(len(x.shape))),
    Slice: _whole,
    Pad: lambda op, x: not any((*op.before, *op.after)),
    Tile: lambda op, x: set(op.repeats) <= {1},
    TimePad: lambda op, x: op.before == op.after == 0,
    TimeSlice: lambda op, x: op.stepwise,
}


def is_identity(graph: Graph, node: Node) -> bool:
    """Whether a node returns its only input."""
    test = IDENTITIES.get(type(node.op))
    return test is not None and len(node.inputs) == 1 and test(node.op, graph.specs[node.inputs[0]])


def drop_identities(graph: Graph) -> Graph:
    """`graph` without nodes that return what they are given.

    An output of the graph that is also another's, or an input, keeps its node: it has nothing else to its name.

    Examples
    --------
    >>> from fastgru.graph import Dense, chain
    >>> drop_identities(chain([Dense([[1.0]]), Dropout()], names=["dense", "dropout"]))
    Graph([dense: Dense])
    """
    draft, outputs = Draft(graph), set(graph.outputs)
    fixed = outputs.union(graph.inputs)
    for node in graph.nodes:
        if is_identity(graph, node):
            (x,), (y,) = node.inputs, node.outputs
            if not (y in outputs and draft.resolve(x) in fixed):
                draft.use(x, of=y)
    return draft.build() if draft.changed else graph
