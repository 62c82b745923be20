"""What stands next to a node, with nothing between them but views that keep every element."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Activation, Graph, Node, Reshape, Transpose, precision_of
from .editing import uses_of
from .elements import LARGEST, Elements

VIEWS = (Reshape, Transpose)


class Neighbours:
    """A graph whose nodes are asked for their neighbours."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.elements = Elements(graph)
        self.uses = uses_of(graph)
        self._readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for value in node.inputs:
                self._readers.setdefault(value, []).append(node)

    def behind(self, value: str) -> Node | None:
        """The node whose value is read as `value` and nowhere else."""
        while True:
            node = self.elements.makers.get(value)
            if node is None or self.uses[value] != 1 or prod(self.graph.specs[value].shape) > LARGEST:
                return None
            if not isinstance(node.op, VIEWS):
                return node
            (value,) = node.inputs

    def ahead(self, value: str) -> tuple[Node, str] | None:
        """The node that alone reads a value, and as what."""
        while True:
            readers = self._readers.get(value, [])
            if self.uses[value] != 1 or len(readers) != 1 or prod(self.graph.specs[value].shape) > LARGEST:
                return None
            if not isinstance(readers[0].op, VIEWS):
                return readers[0], value
            (value,) = readers[0].outputs

    def carried(self, array: NDArray[Any], *, source: str, to: str) -> NDArray[Any]:
        """Numbers for the elements of `source`, as they lie in `to`, which is a view of it or it of that."""
        specs, elements = self.graph.specs, self.elements
        flat = np.broadcast_to(array, specs[source].shape).reshape(-1)
        found, places = elements.owner(elements.flat(to)), elements.owner(elements.flat(source))
        assert found is not None
        assert places is not None
        by_owner = np.empty_like(flat)
        by_owner[places[1]] = flat
        return np.asarray(by_owner[found[1]].reshape(specs[to].shape))


def is_plain(node: Node) -> bool:
    """Whether a node multiplies in float32."""
    return precision_of(node.op) == "float32"


def is_linear(node: Node) -> bool:
    """Whether a node multiplies in float32, and has room for an activation."""
    return is_plain(node) and ends_linear(node)


def ends_linear(node: Node) -> bool:
    """Whether a node has room for an activation, in whatever precision it multiplies."""
    activation = getattr(node.op, "activation", None)
    return isinstance(activation, Activation) and activation.name == "linear"


def per_channel(array: NDArray[Any], axis: int) -> NDArray[Any] | None:
    """The numbers (C,) along one axis of a frame, where they are the same along all others."""
    rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    return rows[:, 0] if (rows == rows[:, :1]).all() else None
