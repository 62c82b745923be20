"""Rewrites that are each tried on the part of a graph they change, and then made in one draft of the whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

from ..errors import GraphError
from ..graph import Graph, Node
from .editing import Draft, makers_of, reads_of
from .gathering import Refused


class Rewrite(NamedTuple):
    """A change of a draft that rids the graph of states.

    Attributes
    ----------
    name : str
        The node that it replaces.
    states : collection of str
        The values of the State nodes that must be gone.
    enter : callable
        Changes a draft; raises Refused where it cannot.
    """

    name: str
    states: Collection[str]
    enter: Callable[[Draft], None]


class Parts:
    """A graph from which small graphs are cut."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.makers = makers_of(graph)
        self.place = {node.name: i for i, node in enumerate(graph.nodes)}

    def cut(self, outputs: Sequence[str], border: Iterable[str]) -> Graph:
        """Return what `outputs` need, but not what is in front of the values of `border`, which become inputs.

        Raises
        ------
        GraphError
            When that is no graph of its own.
        """
        graph, inputs = self.graph, dict.fromkeys(border)
        nodes: dict[str, Node] = {}
        waiting = list(outputs)
        while waiting:
            value = waiting.pop()
            if value not in self.makers:
                inputs[value] = None
            elif value not in inputs and (node := self.makers[value]).name not in nodes:
                nodes[node.name] = node
                waiting += reads_of(node, graph.feedback)
        ordered = sorted(nodes.values(), key=lambda node: self.place[node.name])
        states = [v for node in ordered for v in node.outputs if v in graph.feedback]
        return Graph({v: graph.specs[v] for v in inputs}, ordered, outputs, {v: graph.feedback[v] for v in states})


def applied(graph: Graph, rewrites: Sequence[Rewrite]) -> Graph:
    """Return `graph` after all rewrites that leave none of their states; itself where there is none."""
    kept = list(rewrites)
    while kept:
        draft = Draft(graph)
        entered = [rewrite for rewrite in kept if _entered(rewrite, draft)]
        try:
            new = draft.build(keep_states=False)
        except GraphError:  # something reads what a node does not give any longer
            kept = [rewrite for rewrite in kept if _builds(graph, rewrite)] if len(kept) == len(rewrites) else kept[:-1]
            continue
        left = {v for node in new.nodes for v in node.outputs}
        kept = [rewrite for rewrite in entered if left.isdisjoint(rewrite.states)]
        if kept and len(kept) == len(entered):
            return new
    return graph


def _entered(rewrite: Rewrite, draft: Draft) -> bool:
    if rewrite.name not in draft.nodes:
        return False
    try:
        rewrite.enter(draft)
    except Refused:
        return False
    return True


def _builds(graph: Graph, rewrite: Rewrite) -> bool:
    draft = Draft(graph)
    try:
        return _entered(rewrite, draft) and bool(draft.build(keep_states=False))
    except GraphError:
        return False
