"""Expressions over vectors of elements: sums of products of vectors, and products of a matrix and a vector.

A vector is an array of element numbers (see `elements`), so slices, joins and reshapes of any kind between two
operations leave no trace in an expression.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..graph import (
    SOFTMAX,
    Activate,
    Activation,
    Add,
    Average,
    BatchNorm,
    Binary,
    Constant,
    Dense,
    Graph,
    MatMul,
    Multiply,
    Node,
    Unary,
    precision_of,
)
from ..graph.activations import F64
from ..reference import f64
from .elements import MOVES, Elements, Ids

Key = bytes  # of a vector: its numbers
Term = tuple[Key, ...]  # the vectors of one product, sorted
Sum = dict[Term, F64]  # product -> its coefficient for each element
MOST_TERMS = 64  # of a sum that is expanded
MOST_FACTORS = 8  # of a term
STRAIGHT = ("linear", "affine")  # activations that are arithmetic
DEEPEST = 100  # operations on the way to a vector that is expanded


class Product(NamedTuple):
    """A matrix (N, K) times a vector of elements, plus a bias (N,)."""

    weight: F64
    bias: F64
    inputs: Ids


def _bends(node: Node) -> bool:
    """True for an activation that is no arithmetic."""
    return isinstance(node.op, Activate) and node.op.activation.name not in STRAIGHT


def key_of(ids: Ids) -> Key:
    """The key of a vector."""
    return np.ascontiguousarray(ids, dtype=np.int64).tobytes()


def ids_of(key: Key) -> Ids:
    """The vector of a key."""
    return np.frombuffer(key, dtype=np.int64)


def total(*sums: Sum) -> Sum:
    """The sum of sums, without what cancels."""
    found: Sum = {}
    for each in sums:
        for term, value in each.items():
            found[term] = found[term] + value if term in found else value
    return {term: value for term, value in found.items() if value.any()}


def scaled(a: Sum, factor: Any) -> Sum:
    """A sum times a number for each element."""
    return {term: value * factor for term, value in a.items()}


def multiplied(a: Sum, b: Sum) -> Sum:
    """The product of two sums, expanded."""
    return total(*({tuple(sorted(s + t)): u * v} for s, u in a.items() for t, v in b.items()))


def _is_large(a: Sum) -> bool:
    return len(a) > MOST_TERMS or max(map(len, a), default=0) > MOST_FACTORS


class Algebra:
    """The expressions of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.elements = Elements(graph)
        self._expanded: dict[tuple[Key, tuple[Key, ...]], Sum] = {}

    def maker(self, ids: Ids) -> tuple[Node, Ids] | None:
        """The node that computes all elements of a vector, and their places in its value."""
        found = self.elements.owner(ids)
        node = self.elements.makers.get(found[0]) if found else None
        return (node, found[1]) if found and node is not None else None

    def operand(self, node: Node, index: int, places: Ids) -> Ids:
        """What an elementwise node reads of an input for the elements at `places`."""
        frame = self.graph.specs[node.outputs[0]].shape
        return np.asarray(np.broadcast_to(self.elements.of(node.inputs[index]), frame).reshape(-1)[places])

    # Who reads what ---------------------------------------------------------------------------------

    @cached_property
    def _readers(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            for value in dict.fromkeys(node.inputs):
                found.setdefault(value, []).append(node)
        return found

    @cached_property
    def _states_fed(self) -> dict[str, list[tuple[int, str]]]:
        """For each value the states that it feeds, numbered in their order."""
        found: dict[str, list[tuple[int, str]]] = {}
        for i, (state, value) in enumerate(self.graph.feedback.items()):
            found.setdefault(value, []).append((i, state))
        return found

    def fed_by(self, value: str) -> list[str]:
        """The states, in order, that may be fed a value times a vector, activated or projected once each at most.

        The elements of a value are followed through moves and arithmetic to what reads them; an LSTM that hundreds
        follow is not compared with the states of them all.
        """
        owners = np.unique(self.elements.owners(self.elements.flat(value)))
        starts = [self.elements.owner_name(number) for number in owners.tolist() if number >= 0]
        waiting = [(start, True, True) for start in starts]
        seen, found = set(waiting), set(self._states_fed.get(value, []))
        while waiting:
            read, may_bend, may_project = waiting.pop()
            found.update(self._states_fed.get(read, []))
            for node in self._readers.get(read, []):
                bends, projects = _bends(node), type(node.op) in PRODUCTS
                if not (isinstance(node.op, MOVES) or type(node.op) in ARITHMETIC or projects):
                    continue
                if (bends and not may_bend) or (projects and not may_project):
                    continue
                step = (node.outputs[0], may_bend and not bends, may_project and not projects)
                if step not in seen:
                    seen.add(step)
                    waiting.append(step)
        return [state for _, state in sorted(found)]

    # Sums of products -------------------------------------------------------------------------------

    def expand(self, ids: Ids, stops: Sequence[Key] = (), depth: int = 0) -> Sum:
        """A vector as a sum of products of vectors: of those in `stops`, and of what is no arithmetic."""
        key = key_of(ids), tuple(stops)
        if key not in self._expanded:
            self._expanded[key] = self._expand(ids, stops, depth)
        return self._expanded[key]

    def _expand(self, ids: Ids, stops: Sequence[Key], depth: int) -> Sum:
        key = key_of(ids)
        alone: Sum = {(key,): np.ones(ids.size)}
        found = self.maker(ids) if key not in stops and depth < DEEPEST else None
        rule = ARITHMETIC.get(type(found[0].op)) if found else None
        if found is None or rule is None:
            return alone
        node, places = found

        def read(index: int) -> Sum:
            return self.expand(self.operand(node, index, places), stops, depth + 1)

        expanded = rule(node, places, read, self.graph)
        return alone if expanded is None or _is_large(expanded) else expanded

    # Terms of sums ----------------------------------------------------------------------------------

    def activated(self, key: Key) -> tuple[Activation, Ids] | None:
        """The elementwise activation that gives a vector, and the vector it takes."""
        found = self.maker(ids_of(key))
        if found is None or not isinstance(found[0].op, Activate) or found[0].op.activation.name == SOFTMAX:
            return None
        return found[0].op.activation, self.operand(found[0], 0, found[1])

    def product(self, key: Key) -> Product | None:
        """A vector as a constant matrix times another."""
        found = self.maker(ids_of(key))
        rule = PRODUCTS.get(type(found[0].op)) if found else None
        return rule(self, *found) if found and rule else None


# Arithmetic: (node, places, expansion of the input of a number, graph) -> the sum --------------------

Read = Callable[[int], Sum]


def _activate(node: Node, places: Ids, read: Read, graph: Graph) -> Sum | None:
    activation = node.op.activation  # type: ignore[attr-defined]
    if activation.name not in STRAIGHT:
        return None
    slope, shift = activation.parameters if activation.name == "affine" else (1.0, 0.0)
    return total(scaled(read(0), slope), _fixed(np.full(places.size, shift)))


def _multiply(node: Node, places: Ids, read: Read, graph: Graph) -> Sum | None:
    found = read(0)
    for i in range(1, len(node.inputs)):
        found = multiplied(found, read(i))
        if _is_large(found):
            return None
    return found


def _binary(node: Node, places: Ids, read: Read, graph: Graph) -> Sum | None:
    function = node.op.function  # type: ignore[attr-defined]
    if function == "sub":
        return total(read(0), scaled(read(1), -1.0))
    divisor = read(1) if function == "div" and graph.specs[node.outputs[0]].dtype == "float" else {}
    return scaled(read(0), 1.0 / divisor[()]) if set(divisor) == {()} and divisor[()].all() else None


def _batch_norm(node: Node, places: Ids, read: Read, graph: Graph) -> Sum:
    op: Any = node.op
    features = places % op.mean.size
    scale = f64(op.scale, np.ones(op.mean.size)) / np.sqrt(f64(op.variance) + op.eps)
    shift = f64(op.shift, np.zeros(op.mean.size)) - f64(op.mean) * scale
    return total(scaled(read(0), scale[features]), _fixed(shift[features]))


def _constant(node: Node, places: Ids, read: Read, graph: Graph) -> Sum | None:
    op: Any = node.op
    return _fixed(f64(op.value).reshape(-1)[places]) if op.dtype == "float" else None


def _fixed(values: F64) -> Sum:
    return total({(): values})


def _average(node: Node, places: Ids, read: Read, graph: Graph) -> Sum:
    return scaled(total(*map(read, range(len(node.inputs)))), 1.0 / len(node.inputs))


ARITHMETIC: Mapping[type[Any], Callable[[Node, Ids, Read, Graph], Sum | None]] = {
    Constant: _constant,
    Add: lambda node, places, read, graph: total(*map(read, range(len(node.inputs)))),
    Multiply: _multiply,
    Average: _average,
    Activate: _activate,
    BatchNorm: _batch_norm,
    Binary: _binary,
    Unary: lambda node, places, read, graph: scaled(read(0), -1.0) if node.op.function == "neg" else None,  # type: ignore[attr-defined]
}


# Products: (algebra, node, places) -> the product ---------------------------------------------------


def _dense(algebra: Algebra, node: Node, places: Ids) -> Product | None:
    op: Any = node.op
    if op.activation.name != "linear" or precision_of(op) != "float32":
        return None
    row, units = np.divmod(places, op.weight.shape[0])
    if np.ptp(row):
        return None
    inputs = algebra.elements.of(node.inputs[0]).reshape(-1, op.weight.shape[1])[row[0]]
    return Product(f64(op.weight)[units], f64(op.bias, np.zeros(op.weight.shape[0]))[units], inputs)


def _mat_mul(algebra: Algebra, node: Node, places: Ids) -> Product | None:
    """Of a matrix that is a constant and a vector; the constant may be either factor."""
    op: Any = node.op
    for side, exchanged in ((0, op.transpose_a), (1, op.transpose_b)):
        matrix = algebra.elements.constant(node.inputs[side])
        if matrix is None or matrix.ndim != 2:
            continue
        matrix = f64(matrix.T if exchanged else matrix)
        other = algebra.elements.of(node.inputs[1 - side])
        if other.ndim > 1 and (op.transpose_b, op.transpose_a)[side]:
            other = np.swapaxes(other, -1, -2)
        if side == 0:  # a column of the other: units run along the second last axis
            columns = other.shape[-1] if other.ndim > 1 else 1
            stack, rest = np.divmod(places, matrix.shape[0] * columns)
            units, column = np.divmod(rest, columns)
            vectors = np.swapaxes(other, -1, -2) if other.ndim > 1 else other
            vector = stack * columns + column
        else:
            matrix = matrix.T
            vectors = other
            vector, units = np.divmod(places, matrix.shape[0])
        if np.ptp(vector) == 0:
            return Product(matrix[units], np.zeros(units.size), vectors.reshape(-1, matrix.shape[1])[vector[0]])
    return None


PRODUCTS: Mapping[type[Any], Callable[[Algebra, Node, Ids], Product | None]] = {Dense: _dense, MatMul: _mat_mul}
