"""Nodes out that nothing needs."""

from __future__ import annotations

from ..graph import Graph
from .editing import live


def drop_dead(graph: Graph) -> Graph:
    """`graph` without what its outputs do not need, states that only feed themselves included."""
    kept = live(graph.nodes, graph.outputs, graph.feedback)
    if len(kept) == len(graph.nodes):
        return graph
    left = {value for node in kept for value in node.outputs}
    return Graph(graph.inputs, kept, graph.outputs, {v: s for v, s in graph.feedback.items() if v in left})


def drop_dead_but_states(graph: Graph) -> Graph:
    """`graph` without what neither its outputs nor its states need: state dicts stay as they are."""
    kept = live(graph.nodes, graph.outputs, graph.feedback, [node for node in graph.nodes if node.op.states()])
    return graph if len(kept) == len(graph.nodes) else Graph(graph.inputs, kept, graph.outputs, graph.feedback)
