"""Recurrences over one step of a frame whose states are fed back become layers that keep their state themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import GraphError
from ..graph import Graph, Node, Recurrent, Reshape, State
from .editing import Draft
from .elements import Elements
from .proof import proven


def make_streaming(graph: Graph) -> Graph:
    """`graph` with every scan of one step and one row, from states and back into them, as a layer over time."""
    for name in [node.name for node in graph.nodes if isinstance(node.op, Recurrent) and node.op.scan]:
        node = next((node for node in graph.nodes if node.name == name), None)
        if node is not None and isinstance(node.op, Recurrent):
            graph = _as_layer(graph, node, node.op) or graph
    return graph


def _as_layer(graph: Graph, node: Node, op: Recurrent) -> Graph | None:
    steps, rows, features = graph.specs[node.inputs[0]].shape
    if (steps, rows) != (1, 1) or not graph.specs[node.inputs[0]].time:
        return None
    states = _states(graph, node, op)
    if states is None:
        return None
    draft = Draft(graph)
    x = draft.add(Reshape((features,)), node.inputs[0], name=f"{node.name}.x")
    start = {f"initial_{name}": initial_of(graph, state) for name, state in states.items()}
    y = draft.succeed(node, op.replace(scan=False, operands=(), reverse=False, **start), x)
    for value in node.outputs[:2]:
        draft.use(draft.add(Reshape(graph.specs[value].shape), y, name=f"{node.name}.y"), of=value)
    return accepted(graph, draft, states)


def _states(graph: Graph, node: Node, op: Recurrent) -> dict[str, str] | None:
    """The State's value of each of the op's states, if all start from one and are fed back to it."""
    if set(op.operands) != {f"initial_{name}" for name in op.carried()}:
        return None
    elements = Elements(graph)
    operands = dict(zip(op.operands, node.inputs[1:], strict=True))
    sequence, *finals = (elements.flat(v) for v in node.outputs)
    found: dict[str, str] = {}
    for name, final in zip(op.carried(), finals, strict=True):
        ids = elements.flat(operands[f"initial_{name}"])
        state = next((v for v in graph.feedback if np.array_equal(elements.flat(v), ids)), None)
        ends = [final, sequence] if name == "h" else [final]
        if state is None or not any(np.array_equal(elements.flat(graph.feedback[state]), end) for end in ends):
            return None
        found[name] = state
    return found


def initial_of(graph: Graph, state: str) -> Any:
    """What a layer starts from in a State's place: None for zeros."""
    op = next(node.op for node in graph.nodes if state in node.outputs)
    assert isinstance(op, State)
    return op.initial.ravel() if op.initial.any() else None


def accepted(graph: Graph, draft: Draft, states: Mapping[str, str]) -> Graph | None:
    """What a draft builds, if it is rid of `states` (values of State nodes) and computes what `graph` does."""
    try:
        new = draft.build(keep_states=False)
    except GraphError:  # something reads what a layer does not give, such as its cell state
        return None
    kept = {v for node in new.nodes for v in node.outputs}
    return new if kept.isdisjoint(states.values()) and proven(graph, new) else None
