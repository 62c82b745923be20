"""Two linear maps in a row as one, where that is less work; a lookup followed by one as a lookup of products."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..graph import Dense, Embedding, Graph, Node
from ..reference import f64
from .editing import Draft, makers_of, uses_of
from .neighbours import is_linear, is_plain

LARGEST_TABLE = 2**22  # numbers in a table of products, 16 MiB as float32


def merge_products(graph: Graph) -> Graph:
    """`graph` with a Dense that follows another, or an Embedding, merged with it.

    An Embedding that feeds a recurrent layer stays: the layer would multiply the table's rows by an identity of
    G*H columns, more than it multiplies now.

    Examples
    --------
    >>> from fastgru.graph import chain
    >>> merge_products(chain([Dense(np.ones((4, 3))), Dense(np.ones((2, 4)))], names=["first", "second"]))
    Graph([second: Dense])
    """
    makers, uses, draft = makers_of(graph), uses_of(graph), Draft(graph)
    merged: set[str] = set()
    for node in graph.nodes:
        giver = makers.get(node.inputs[0]) if isinstance(node.op, Dense) and uses[node.inputs[0]] == 1 else None
        if giver is None or giver.name in merged or not (is_plain(node) and is_plain(giver)):
            continue
        new = _merged(node, giver)
        if new is not None:
            draft.put(new)
            merged.add(node.name)
    return draft.build() if merged else graph


def _merged(node: Node, giver: Node) -> Node | None:
    """One node for two, under the name of the second."""
    op, first = node.op, giver.op
    assert isinstance(op, Dense)
    weight = f64(op.weight)
    bias = f64(op.bias, np.zeros(len(weight)))
    if isinstance(first, Embedding) and first.weight.shape[0] * len(weight) <= LARGEST_TABLE:
        table = op.activation(f64(first.weight) @ weight.T + bias)
        return replace(node, op=Embedding(table), inputs=giver.inputs)
    if isinstance(first, Dense) and is_linear(giver):
        joint = weight @ f64(first.weight)
        if joint.size < op.weight.size + first.weight.size:
            shift = bias if first.bias is None else bias + weight @ f64(first.bias)
            none = op.bias is None and first.bias is None
            return replace(node, op=op.replace(weight=joint, bias=None if none else shift), inputs=giver.inputs)
    return None
