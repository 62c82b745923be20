"""Proof of a rewrite: what it changed, run by the reference before and after on random inputs for several steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import GraphError
from ..graph import Constant, Graph, Node, Spec
from ..reference import run

ROWS, STEPS = 3, 5
TOLERANCE = 1e-9  # of the largest magnitude of a value: far above rounding in float64, far below a wrong gate


def proven(old: Graph, new: Graph) -> bool:
    """Whether all that two graphs do not share is the same function, from their states' initial values on.

    What they share is cut off, and its values are drawn at random. As every step of a cut graph is made of its inputs
    up to that step, equal parts make equal wholes.
    """
    before, after = _unshared(old, new), _unshared(new, old)
    compared = _compared(new, before, after)
    if not compared:
        return True
    rng = np.random.default_rng(0)
    specs = _border(old, before) | _border(new, after)
    clock = "clock"  # a further input, which only says how many steps there are
    while clock in specs or any(clock in node.outputs for node in (*before, *after)):
        clock += "_"
    specs[clock] = Spec(())
    drawn = {name: _draw(rng, spec) for name, spec in specs.items()}
    try:
        pairs = zip(*(_run(graph, nodes, specs, compared, drawn) for graph, nodes in ((old, before), (new, after))),
                    strict=True)  # fmt: skip
        return all(_equal(a, b) for a, b in pairs)
    except (GraphError, IndexError, ValueError):  # random numbers that an op refuses, or no graph of its own
        return False


def _compared(new: Graph, before: Sequence[Node], after: Sequence[Node]) -> list[str]:
    """The values that both parts write and the rest of the graph needs."""
    names = {node.name for node in after}
    shared = [node for node in new.nodes if node.name not in names]
    read = [*new.outputs, *(v for node in shared for v in node.inputs)]
    read += [new.feedback[v] for node in shared for v in node.outputs if v in new.feedback]
    made = {v for node in after for v in node.outputs} & {v for node in before for v in node.outputs}
    return [v for v in dict.fromkeys(read) if v in made]


def _unshared(graph: Graph, other: Graph) -> list[Node]:
    """The nodes of `graph` that `other` has not, and the constants that they read."""
    theirs = {node.name: node for node in other.nodes}

    def differs(node: Node) -> bool:
        match = theirs.get(node.name)
        return match is None or match.op is not node.op or (match.inputs, match.outputs) != (node.inputs, node.outputs)

    def fed(values: Sequence[str], by: Graph) -> list[str | None]:
        return [by.feedback.get(v) for v in values]

    found = [n for n in graph.nodes if differs(n) or fed(n.outputs, graph) != fed(n.outputs, other)]
    read = {v for node in found for v in node.inputs}
    names = {node.name for node in found}
    return [
        n for n in graph.nodes if isinstance(n.op, Constant) and n.name not in names and n.outputs[0] in read
    ] + found


def _border(graph: Graph, nodes: Sequence[Node]) -> dict[str, Spec]:
    """What `nodes` read and do not write."""
    written = {v for node in nodes for v in node.outputs}
    read = [v for node in nodes for v in node.inputs] + [graph.feedback[v] for v in written if v in graph.feedback]
    return {v: graph.specs[v] for v in sorted(read) if v not in written}


def _draw(rng: np.random.Generator, spec: Spec) -> Any:
    shape = (ROWS, *[STEPS] * spec.time, *spec.shape)
    if spec.dtype == "float":
        return rng.normal(size=shape)
    return rng.integers(0, 2, size=shape).astype(bool if spec.dtype == "bool" else np.int64)


def _run(
    graph: Graph, nodes: Sequence[Node], specs: dict[str, Spec], outputs: Sequence[str], drawn: dict[str, Any]
) -> tuple[Any, ...]:
    """The values `outputs` of a part of a graph."""
    written = {v for node in nodes for v in node.outputs}
    feedback = {v: source for v, source in graph.feedback.items() if v in written}
    return run(Graph(specs, nodes, outputs, feedback), drawn)[0]


def _equal(a: Any, b: Any) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    return bool(np.isfinite(a).all() and np.abs(a - b).max() <= TOLERANCE * np.abs(a).max())
