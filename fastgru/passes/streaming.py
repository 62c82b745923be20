"""Recurrences over one step of a frame whose states are fed back become layers that keep their state themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import GraphError
from ..graph import Graph, Node, Recurrent, Reshape, State
from .batches import Parts, Rewrite, applied
from .editing import Draft
from .elements import Elements
from .proof import proven


def make_streaming(graph: Graph) -> Graph:
    """`graph` with every scan of one step and one row, from states and back into them, as a layer over time."""
    scans = [node for node in graph.nodes if isinstance(node.op, Recurrent) and node.op.scan]
    if not scans:
        return graph
    elements, parts = Elements(graph), Parts(graph)
    found = [_rewrite(elements, node) for node in scans]
    return applied(graph, [rewrite for rewrite in found if rewrite and _proven(parts, rewrite)])


def _proven(parts: Parts, rewrite: Rewrite) -> bool:
    """True if a layer computes what a scan does with its states, cut out of the graph."""
    node = parts.graph.nodes[parts.place[rewrite.name]]
    try:
        local = parts.cut(node.outputs[:2], node.inputs[:1])
        same, draft = _rewrite(Elements(local), node), Draft(local)
        if same:
            same.enter(draft)
        return same is not None and accepted(local, draft, same.states) is not None
    except GraphError:
        return False


def _rewrite(elements: Elements, node: Node) -> Rewrite | None:
    """The change that puts a layer over time in the place of a scan of one step and row; None where it is none."""
    graph, op = elements.graph, node.op
    assert isinstance(op, Recurrent)
    steps, rows, features = graph.specs[node.inputs[0]].shape
    if (steps, rows) != (1, 1) or not graph.specs[node.inputs[0]].time:
        return None
    states = _states(elements, node, op)
    if states is None:
        return None
    start = {f"initial_{name}": initial_of(elements.makers[state]) for name, state in states.items()}
    layer = op.replace(scan=False, operands=(), reverse=False, **start)

    def enter(draft: Draft) -> None:
        x = draft.add(Reshape((features,)), node.inputs[0], name=f"{node.name}.x")
        y = draft.succeed(node, layer, x)
        for value in node.outputs[:2]:
            draft.use(draft.add(Reshape(graph.specs[value].shape), y, name=f"{node.name}.y"), of=value)

    return Rewrite(node.name, [*states.values()], enter)


def _states(elements: Elements, node: Node, op: Recurrent) -> dict[str, str] | None:
    """The State's value of each of the op's states, if all start from one and are fed back to it."""
    if set(op.operands) != {f"initial_{name}" for name in op.carried()}:
        return None
    graph = elements.graph
    operands = dict(zip(op.operands, node.inputs[1:], strict=True))
    sequence, *finals = (elements.flat(v) for v in node.outputs)
    found: dict[str, str] = {}
    for name, final in zip(op.carried(), finals, strict=True):
        ids = elements.flat(operands[f"initial_{name}"])
        state = next((v for v in elements.same(ids) if v in graph.feedback), None)
        ends = [final, sequence] if name == "h" else [final]
        if state is None or not any(np.array_equal(elements.flat(graph.feedback[state]), end) for end in ends):
            return None
        found[name] = state
    return found


def initial_of(node: Node) -> Any:
    """What a layer starts from in a State's place: None for zeros."""
    op = node.op
    assert isinstance(op, State)
    return op.initial.ravel() if op.initial.any() else None


def accepted(graph: Graph, draft: Draft, states: Iterable[str]) -> Graph | None:
    """What a draft builds, if it is rid of `states` (values of State nodes) and computes what `graph` does."""
    try:
        new = draft.build(keep_states=False)
    except GraphError:  # something reads what a layer does not give, such as its cell state
        return None
    kept = {v for node in new.nodes for v in node.outputs}
    return new if kept.isdisjoint(states) and proven(graph, new) else None
