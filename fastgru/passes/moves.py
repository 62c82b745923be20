"""Moves that cancel: what holds the elements of an earlier value, in their order, becomes that value."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from math import prod

from ..graph import Graph, Reshape, Spec
from .editing import Draft
from .elements import LARGEST, Elements


def cancel_moves(graph: Graph) -> Graph:
    """`graph` with moves that undo each other out, and those that keep the order of elements as one Reshape.

    Examples
    --------
    >>> from fastgru.graph import GraphBuilder, Spec, Transpose, Unary
    >>> b = GraphBuilder()
    >>> x = b.input("x", Spec((2, 3)))
    >>> y = b.add(Transpose((1, 0)), b.add(Transpose((1, 0)), x))
    >>> cancel_moves(b.build(b.add(Unary("neg"), y, name="y")))
    Graph([y: Unary])
    """
    elements, draft = Elements(graph), Draft(graph)
    first: dict[tuple[bytes, Spec], str] = {}  # hash of numbers, in a row -> the value that had them first
    outputs = set(graph.outputs)
    fixed = outputs.union(graph.inputs)
    changed = False
    for value in elements.values():
        spec, node = graph.specs[value], elements.makers.get(value)
        if prod(spec.shape) > LARGEST:
            continue
        numbers = sha256(elements.flat(value).tobytes()).digest()
        source = first.setdefault((numbers, replace(spec, shape=())), value)
        if source == value or node is None or value not in elements.moved:
            continue
        if graph.specs[source].shape == spec.shape:
            if not (value in outputs and source in fixed):
                draft.use(source, of=value)
                changed = True
        elif not (isinstance(node.op, Reshape) and node.inputs == (source,)):
            draft.put(replace(node, op=Reshape(spec.shape), inputs=(source,)))
            changed = True
    return draft.build() if changed else graph
