"""Points: the names of what can be traced in a model, and the patterns that choose some."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from .. import reference
from .._names import FreeNames, nearest
from ..checks import samples
from ..graph import Graph, Mask, Node, Op, Recurrent
from ..lowering.traced import parts

MOST_FOUND = 64  # patterns whose points are kept
ROUNDING = 1e-9  # of two ways to compute a value in float64, relative to its largest number


class Point(NamedTuple):
    """Something that a plan computes at every step.

    Attributes
    ----------
    name : str
        ``"<layer>"`` for a layer's output, ``"<layer>.<part>"`` for a gate or state; layers as in `Model.summary`.
    alias : str
        The same with the kind of the layer, with a number from the second of a kind on.
    node : str
        Of the graph as it is packed.
    part : str
        Of a recurrent layer: ``"update"``, ``"hidden"`` and so on; empty for an output.
    value : str
        Of an output, the value in that graph.
    """

    name: str
    alias: str
    node: str
    part: str = ""
    value: str = ""


class Points:
    """All that can be traced in a model, in the order in which it is computed.

    Attributes
    ----------
    known : dict of str to Point
    joined : dict of str to str
        Layers whose output the plan does not compute, and why, as a clause.
    """

    def __init__(self, graph: Graph, packed: Graph) -> None:
        self.known: dict[str, Point] = {}
        self.joined: dict[str, str] = {}
        self._found: dict[tuple[str, ...], tuple[Point, ...]] = {}  # by patterns
        kinds = _kinds(graph)
        names = _value_names(graph)
        said = _same_values(graph, packed)
        for node in packed.nodes:
            layer = node.name
            if isinstance(node.op, Recurrent) and not node.op.scan:
                for part in parts(node.op):
                    self._add(Point(f"{layer}.{part}", f"{kinds.get(layer, layer)}.{part}", layer, part))
            if isinstance(node.op, Mask):
                continue
            for value in node.outputs:
                if value in said:
                    own = names[said[value]]
                    self._add(Point(own, kinds.get(own, own), layer, value=value))
        for value, name in names.items():
            if name not in self.known:
                self.joined[name] = _where(value, graph, said, names)

    def _add(self, point: Point) -> None:
        self.known.setdefault(point.name, point)

    def find(self, patterns: str | Iterable[str]) -> tuple[Point, ...]:
        """Return the points that match any of these shell patterns, in the order in which they are computed.

        Raises
        ------
        TypeError, ValueError
            When a pattern is no string, or matches nothing: with the names nearest to it.
        """
        wanted = [patterns] if isinstance(patterns, str) else _listed(patterns)
        if (known := self._found.get(tuple(wanted))) is not None:
            return known
        problems, found = [], set[str]()
        for pattern in wanted:
            matched = [p.name for p in self.known.values() if any(fnmatchcase(n, pattern) for n in (p.name, p.alias))]
            found.update(matched)
            if not matched:
                problems.append(self._problem(pattern))
        if problems:
            raise ValueError("; ".join(problems))
        if len(self._found) >= MOST_FOUND:
            self._found.clear()
        points = self._found[tuple(wanted)] = tuple(point for name, point in self.known.items() if name in found)
        return points

    def _problem(self, pattern: str) -> str:
        """Say why a pattern matches nothing."""
        for name, why in self.joined.items():
            if fnmatchcase(name, pattern):
                return f"point {pattern!r} is not computed by itself in this model: {why}"
        aliases = [p.alias for p in self.known.values()]
        names = nearest(pattern, dict.fromkeys([*self.known, *aliases]))
        return f"points must match some of {names}, got {pattern!r}"


def _listed(patterns: Any) -> list[str]:
    if not isinstance(patterns, Iterable):
        raise TypeError(f"points must be a pattern or several, got {type(patterns).__name__}")
    found = list(patterns)
    for pattern in found:
        if not isinstance(pattern, str):
            raise TypeError(f"points must be strings, got {pattern!r}")
    if not found:
        raise ValueError("points must be at least one pattern, got none: '*' matches everything")
    return found


def _kinds(graph: Graph) -> dict[str, str]:
    """Return what layers are called by their kind: "gru", "gru_1" and so on, by their names."""
    free = FreeNames()
    return {node.name: free.free(_snake(type(node.op).__name__)) for node in graph.nodes}


def _snake(name: str) -> str:
    """GRU is gru, TimeConv time_conv."""
    out = ""
    for i, c in enumerate(name):
        new = c.isupper() and i and (not name[i - 1].isupper() or name[i + 1 : i + 2].islower())
        out += f"_{c.lower()}" if new else c.lower()
    return out


def _value_names(graph: Graph) -> dict[str, str]:
    """Return what the outputs of layers are called: by the layer, or by the value where a layer has several."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Mask):
            found.update({value: node.name if len(node.outputs) == 1 else value for value in node.outputs})
    return found


def _same_values(graph: Graph, packed: Graph) -> dict[str, str]:
    """Return which values of `packed` are which of `graph`.

    A pass that joins two layers leaves one node, with the name of the first and the value of the last: names alone do
    not tell. Where anything was joined, the float64 reference does, on random input.
    """
    mine = [v for node in packed.nodes for v in node.outputs if not isinstance(node.op, Mask)]
    if packed is graph or _untouched(graph, packed):
        return {v: v for v in mine}
    theirs = [v for node in graph.nodes for v in node.outputs if not isinstance(node.op, Mask)]
    x = samples.draw(graph, np.random.default_rng(0))
    ours = _reference(packed, mine, x)
    wanted = _reference(graph, theirs, x)
    found = {}
    for value, array in ours.items():
        alike = [name for name, other in wanted.items() if _alike(array, other)]
        if alike:
            found[value] = value if value in alike else alike[-1]
    return found


def _untouched(graph: Graph, packed: Graph) -> bool:
    """True if all that is packed are layers of the graph as they are."""
    ops: dict[str, Op] = {node.name: node.op for node in graph.nodes}
    return all(ops.get(node.name) is node.op for node in packed.nodes) and len(ops) == len(packed.nodes)


def _reference(graph: Graph, values: Sequence[str], x: Any) -> dict[str, Any]:
    """Return values of a graph by the reference."""
    whole = Graph(graph.inputs, graph.nodes, values, graph.feedback)
    return dict(zip(values, reference.run(whole, x)[0], strict=True))


def _alike(a: Any, b: Any) -> bool:
    """True if two arrays are the same numbers but for the rounding of float64."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    largest = np.abs(b).max(initial=0.0)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=ROUNDING * (largest or 1.0), equal_nan=True))


def _where(value: str, graph: Graph, said: dict[str, str], names: dict[str, str]) -> str:
    """Say what stands for a value that the plan does not compute: the first one behind it that it does."""
    reached, queue = {value}, [value]
    while queue:
        at = queue.pop(0)
        for node in _readers(graph, at):
            for made in node.outputs:
                if made in said.values():
                    return f"the plan joins it with what follows, up to {names[made]!r}"
                if made not in reached and made in names:
                    reached.add(made)
                    queue.append(made)
    return "the plan leaves it out"


def _readers(graph: Graph, value: str) -> list[Node]:
    return [node for node in graph.nodes if value in node.inputs]


__all__ = ["Point", "Points"]
