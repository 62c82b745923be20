"""Where the elements of values come from, through ops that only move them.

Every element that an op computes gets a number. An op that moves elements is run by its own reference formula on
these numbers, so every layout is followed alike: what a value holds is an array of the numbers it was moved from.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Concat, Constant, Dropout, Expand, Gather, Graph, Node, Pad, Reshape, Slice, Tile, Transpose
from ..reference import on_frames
from .editing import makers_of

Ids = NDArray[np.int64]
MOVES = (Reshape, Transpose, Slice, Concat, Expand, Tile, Pad, Gather, Dropout)
NOTHING = -1  # what padding holds
LARGEST = 2**20  # elements of a frame that is followed
MOST = 2**26  # of all values that only move elements: half a gigabyte of numbers


class Elements:
    """The numbers of all elements of a graph.

    Attributes
    ----------
    graph : Graph
    makers : dict of str to Node
    moved : dict of str to array
        The numbers that each value holds whose node only moves elements.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers = makers_of(graph)
        self.moved: dict[str, Ids] = {}
        self._first: dict[str, int] = {}
        self._starts: list[int] = []
        self._owners: list[str] = []
        self._count = 0
        self._left = MOST
        for name in graph.inputs:
            self._number(name)
        for node in graph.nodes:
            if self._moves(node):
                self.moved[node.outputs[0]] = self._move(node)
            else:
                for value in node.outputs:
                    self._number(value)
        self._bounds = np.array(self._starts, np.int64)

    def _number(self, value: str) -> None:
        self._first[value] = self._count
        self._starts.append(self._count)
        self._owners.append(value)
        self._count += prod(self.graph.specs[value].shape)

    def _moves(self, node: Node) -> bool:
        if not isinstance(node.op, MOVES):
            return False
        if isinstance(node.op, Gather) and not self._known_places(node, node.op.axis):
            return False
        sizes = [prod(self.graph.specs[v].shape) for v in (*node.inputs, *node.outputs)]
        self._left -= sizes[-1]
        return max(sizes) <= LARGEST and self._left >= 0

    def _known_places(self, node: Node, axis: int) -> bool:
        """Whether the ids of a Gather are constant, and none is outside of the axis."""
        ids = self.constant(node.inputs[1])
        n = self.graph.specs[node.inputs[0]].shape[axis]
        return ids is not None and bool(((ids >= -n) & (ids < n)).all())

    def _move(self, node: Node) -> Ids:
        op = node.op.replace(value=NOTHING) if isinstance(node.op, Pad) else node.op
        frames = [self.of(v) for v in node.inputs]
        if isinstance(op, Gather):
            frames[1] = np.asarray(self.constant(node.inputs[1]), dtype=np.int64)
        return np.asarray(on_frames(op, *frames)[0])

    def constant(self, value: str) -> Any:
        """The array of a value that a Constant gives, or None."""
        node = self.makers.get(value)
        return node.op.value if node is not None and isinstance(node.op, Constant) else None

    def of(self, value: str) -> Ids:
        """The numbers of a value's elements, in its frame."""
        if value in self.moved:
            return self.moved[value]
        shape, first = self.graph.specs[value].shape, self._first[value]
        return np.arange(first, first + prod(shape)).reshape(shape)

    def flat(self, value: str) -> Ids:
        """The numbers of a value's elements, in C order."""
        return self.of(value).ravel()

    def owner(self, ids: Ids) -> tuple[str, Ids] | None:
        """The one value that computes all these elements, and their places in it; None where there are several."""
        low, high = int(ids.min()), int(ids.max())
        if low < 0:
            return None
        name = self._owners[bisect_right(self._starts, low) - 1]
        first = self._first[name]
        return (name, ids - first) if high < first + prod(self.graph.specs[name].shape) else None

    def owners(self, ids: Ids) -> NDArray[np.int64]:
        """For every element a number that tells its owner; `NOTHING` for padding."""
        return np.asarray(np.where(ids < 0, NOTHING, np.searchsorted(self._bounds, ids, side="right") - 1))

    def owner_name(self, number: int) -> str:
        """The value that a number of `owners` tells."""
        return self._owners[number]

    def values(self) -> Iterator[str]:
        """All values, in the order in which they are written."""
        yield from self.graph.inputs
        for node in self.graph.nodes:
            yield from node.outputs

    def same(self, ids: Ids) -> list[str]:
        """The values that hold just these elements in this order, in whatever frame."""
        ids = ids.ravel()
        found = self.owner(ids)
        whole = found is not None and prod(self.graph.specs[found[0]].shape) == ids.size
        first = [found[0]] if found and whole and np.array_equal(found[1], np.arange(ids.size)) else []
        return first + [v for v in self._by_numbers.get(_hash(ids), []) if np.array_equal(self.flat(v), ids)]

    @cached_property
    def _by_numbers(self) -> dict[int, list[str]]:
        """The values that only move elements, by a hash of the numbers that they hold."""
        found: dict[int, list[str]] = {}
        for value, ids in self.moved.items():
            found.setdefault(_hash(ids), []).append(value)
        return found

    @cached_property
    def _readings(self) -> dict[int, list[tuple[str, str]]]:
        """For each owner the values with elements of it that more than a move reads, each with the state it feeds.

        The state is "" where the value is read by a node or is an output.
        """
        graph = self.graph
        nodes = (v for node in graph.nodes if node.outputs[0] not in self.moved for v in node.inputs)
        read = [(v, "") for v in dict.fromkeys((*nodes, *graph.outputs))]
        read += [(v, state) for state, v in graph.feedback.items()]
        owners: dict[str, list[int]] = {}
        found: dict[int, list[tuple[str, str]]] = {}
        for value, state in read:
            if value not in owners:
                owners[value] = np.unique(self.owners(self.flat(value))).tolist() if value in self.moved else []
                if value in self.graph.feedback and value not in self.moved:
                    owners[value] = [int(self.owners(self.flat(value)[:1])[0])]
            for number in owners[value]:
                found.setdefault(number, []).append((value, state))
        return found

    def read_of(self, state: str) -> list[str]:
        """The values with elements of a State's that more than a move reads, but for what only feeds it itself."""
        number = int(self.owners(self.flat(state)[:1])[0])
        return list(dict.fromkeys(v for v, fed in self._readings.get(number, []) if fed != state))


def _hash(ids: Ids) -> int:
    return hash(np.ascontiguousarray(ids).tobytes())
