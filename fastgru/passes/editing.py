"""Draft: a graph being rewritten. Passes take a Graph, change a draft of it, and return the Graph it builds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from .._names import FreeNames
from ..graph import Graph, Node, Op, Reshape


class Draft:
    """The nodes of a graph under change.

    Values that take another's place do so under that one's name where it is an output of the graph. What nothing
    needs is left out of what is built.

    Attributes
    ----------
    nodes : dict of str to Node
        By name. New ones may stand anywhere: `build` puts all in order.
    feedback : dict of str to str
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = {node.name: node for node in graph.nodes}
        self.feedback = dict(graph.feedback)
        self._instead: dict[str, str] = {}
        self._names = FreeNames([*graph.inputs, *self.nodes, *(v for node in graph.nodes for v in node.outputs)])

    def unique(self, stem: str) -> str:
        """Return a name, of a node and of a value, that is not taken: `stem`, or `stem` and a number."""
        return self._names.free(stem)

    def add(self, op: Op, *inputs: str, name: str) -> str:
        """Add a node with one output and return that value."""
        name = self.unique(name)
        self.nodes[name] = Node(name, op, inputs, (name,))
        return name

    def put(self, node: Node) -> None:
        """Another node in the place of the one that has its name."""
        self.nodes[node.name] = node

    def succeed(self, node: Node, op: Op, *inputs: str) -> str:
        """Put a node with one output in the place of `node`, whose own are no longer written; returns the value."""
        del self.nodes[node.name]
        value = self.unique(f"{node.name}.0")
        self.nodes[node.name] = Node(node.name, op, inputs, (value,))
        return value

    def use(self, instead: str, of: str) -> None:
        """Let all that read a value read another."""
        self._instead[of] = instead

    @property
    def changed(self) -> bool:
        """Whether any value is replaced."""
        return bool(self._instead)

    def resolve(self, value: str) -> str:
        """What is read in a value's place."""
        while value in self._instead:
            value = self._instead[value]
        return value

    def build(self, *, keep_states: bool = True) -> Graph:
        """The graph of what its outputs need; `keep_states` keeps all that has a state as well."""
        names, final = self._output_names(), self._resolved()
        nodes = [
            replace(
                node,
                inputs=tuple(names.get(w, w) for v in node.inputs for w in [final.get(v, v)]),
                outputs=tuple(names.get(v, v) for v in node.outputs),
            )
            for node in self.nodes.values()
        ]
        made = {v for node in nodes for v in node.outputs}
        nodes += [
            Node(self.unique(f"{o}.view"), Reshape(self.graph.specs[o].shape), (names.get(w, w),), (o,))
            for o in dict.fromkeys(self.graph.outputs)
            if (w := final.get(o, o)) != o and o not in made
        ]
        known = {v: names.get(w, w) for v, source in self.feedback.items() for w in [final.get(source, source)]}
        feedback = {names.get(v, v): source for v, source in known.items()}
        roots = [node for node in nodes if keep_states and node.op.states()]
        kept = live(nodes, self.graph.outputs, feedback, roots)
        left = {v for node in kept for v in node.outputs}
        return Graph(
            self.graph.inputs, kept, self.graph.outputs, {v: source for v, source in feedback.items() if v in left}
        )

    def _resolved(self) -> dict[str, str]:
        """For each value that is replaced the one read in its place, each link of a chain followed once."""
        found: dict[str, str] = {}
        for value in self._instead:
            trail = []
            while value in self._instead and value not in found:
                trail.append(value)
                value = self._instead[value]
            found.update(dict.fromkeys(trail, found.get(value, value)))
        return found

    def _output_names(self) -> dict[str, str]:
        """New names of values: those that stand for an output get its name, and what had it another."""
        names: dict[str, str] = {}
        fixed = {*self.graph.inputs, *self.graph.outputs}
        for output in dict.fromkeys(self.graph.outputs):
            value = self.resolve(output)
            if value == output:
                continue
            names[output] = self.unique(output)
            if value not in fixed and value not in names:
                names[value] = output
        return names


def live(
    nodes: Iterable[Node], outputs: Sequence[str], feedback: Mapping[str, str], roots: Sequence[Node] = ()
) -> list[Node]:
    """The nodes that `outputs` and the nodes `roots` need, each behind those whose values it reads."""
    nodes = list(nodes)
    makers = {value: node for node in nodes for value in node.outputs}
    needed = {node.name for node in roots}
    waiting = [*outputs, *(v for node in roots for v in reads_of(node, feedback))]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in needed:
            needed.add(node.name)
            waiting += reads_of(node, feedback)
    return list(_ordered([node for node in nodes if node.name in needed], makers))


def reads_of(node: Node, feedback: Mapping[str, str]) -> list[str]:
    """Return what a node reads, and what its states are fed."""
    return [*node.inputs, *(feedback[v] for v in node.outputs if v in feedback)]


def _ordered(nodes: Sequence[Node], makers: Mapping[str, Node]) -> Iterator[Node]:
    """`nodes` in their order, but none before a node whose value it reads."""
    done: set[str] = set()
    for start in nodes:
        stack = [start]
        while stack:
            node = stack[-1]
            missing = [m for v in node.inputs if (m := makers.get(v)) is not None and m.name not in done]
            if missing and node.name not in done:
                stack.append(missing[0])
                continue
            stack.pop()
            if node.name not in done:
                done.add(node.name)
                yield node


def makers_of(graph: Graph) -> dict[str, Node]:
    """The node that writes each value."""
    return {value: node for node in graph.nodes for value in node.outputs}


def uses_of(graph: Graph) -> Counter[str]:
    """How often each value is read: by nodes, as an output, and to feed a state."""
    return Counter([*graph.outputs, *graph.feedback.values(), *(v for node in graph.nodes for v in node.inputs)])
