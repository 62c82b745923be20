"""Two linear maps in a row as one, where that is less work; a lookup followed by one as a lookup of products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..graph import Dense, Embedding, Graph, Node, Op
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
    >>> import numpy as np
    >>> from fastgru.graph import chain
    >>> merge_products(chain([Dense(np.ones((4, 3))), Dense(np.ones((2, 4)))], names=["first", "second"]))
    Graph([second: Dense])
    """
    makers, uses, draft = makers_of(graph), uses_of(graph), Draft(graph)
    pairs = [
        (node, giver)
        for node in graph.nodes
        if isinstance(node.op, Dense) and uses[node.inputs[0]] == 1 and (giver := makers.get(node.inputs[0]))
        if is_plain(node) and is_plain(giver)
    ]
    merger = _Merger(graph, pairs)
    merged: set[str] = set()
    for node, giver in pairs:
        op = merger.merged(node, giver) if giver.name not in merged else None
        if op is not None:
            draft.put(replace(node, op=op, inputs=giver.inputs))
            merged.add(node.name)
    return draft.build() if merged else graph


class _Merger:
    """Merges pairs of nodes; those with the same weights once, and where that makes fewer numbers of all of them."""

    def __init__(self, graph: Graph, pairs: Sequence[tuple[Node, Node]]) -> None:
        self.holders = Counter(id(array) for node in graph.nodes for array in node.op.weights().values())
        self.pairs = Counter(_matrices(node.op, giver.op) for node, giver in pairs)
        self.known: dict[tuple[Any, ...], Op | None] = {}

    def merged(self, node: Node, giver: Node) -> Op | None:
        """One op for the two, or None."""
        op, first = node.op, giver.op
        if not isinstance(op, Dense) or not (isinstance(first, Embedding) or is_linear(giver)):
            return None
        arrays = (*op.weights().items(), *first.weights().items())
        key = (op.activation, type(first), *((name, id(array)) for name, array in arrays))
        if key not in self.known:
            self.known[key] = self._merged(op, first)
        return self.known[key]

    def _merged(self, op: Dense, first: Op) -> Op | None:
        weight, bias = f64(op.weight), f64(op.bias)
        if isinstance(first, Embedding) and len(first.weight) * len(weight) <= LARGEST_TABLE:
            return Embedding(op.activation(f64(first.weight) @ weight.T + bias))
        if isinstance(first, Dense) and self._pays(op, first):
            shift = bias if first.bias is None else bias + weight @ f64(first.bias)
            none = op.bias is None and first.bias is None
            joint: Op = op.replace(weight=weight @ f64(first.weight), bias=None if none else shift)
            return joint
        return None

    def _pays(self, op: Dense, first: Dense) -> bool:
        """True if the product has fewer numbers than both matrices, also where nodes share the one and the other."""
        joint = len(op.weight) * first.weight.shape[1]
        shares = sum(array.size / self.holders[id(array)] for array in (op.weight, first.weight))
        less = joint < op.weight.size + first.weight.size
        return bool(less) and joint / self.pairs[_matrices(op, first)] < shares


def _matrices(op: Op, first: Op) -> tuple[int, int]:
    return id(getattr(op, "weight", None)), id(getattr(first, "weight", None))
