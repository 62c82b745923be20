"""Graph: a validated DAG of named ops; GraphBuilder: how every importer and `Model` make one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..errors import GraphError, listed
from .basic import Add, Average, Concat, Multiply
from .op import Op, Spec
from .recurrent import Bidirectional

MERGE_OPS: dict[str, type[Op]] = {"concat": Concat, "sum": Add, "mul": Multiply, "ave": Average}


@dataclass(frozen=True)
class Node:
    """An op, its unique name, and the names of the values it reads and writes."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class StateSlot(NamedTuple):
    """One recurrent state: its key in state dicts, its size, and whose it is."""

    key: str
    size: int
    node: Node
    name: str


class Graph:
    """What a network is: typed nodes in execution order. Checked when made, never changed after.

    Parameters
    ----------
    inputs : mapping of str to Spec
        Names and specs of the inputs.
    nodes : sequence of Node
        In an order in which every value is written before it is read.
    outputs : sequence of str
        Names of the values returned.

    Attributes
    ----------
    specs : dict of str to Spec
        The spec of every value.

    Raises
    ------
    GraphError
        Listing every problem found.
    """

    def __init__(self, inputs: Mapping[str, Spec], nodes: Sequence[Node], outputs: Sequence[str]) -> None:
        self.inputs = dict(inputs)
        self.nodes = tuple(nodes)
        self.outputs = tuple(outputs)
        self.specs: dict[str, Spec] = dict(self.inputs)
        problems: list[str] = []
        if not self.inputs:
            problems.append("graph must have at least one input, got none")
        names: set[str] = set()
        for node in self.nodes:
            if node.name in names:
                problems.append(f"name of a node must be unique, got {node.name!r} twice")
            names.add(node.name)
            problems += self._infer(node)
        if not self.outputs:
            problems.append("graph must have at least one output, got none")
        written = {*self.inputs, *(value for node in self.nodes for value in node.outputs)}
        problems += [f"output must be a value of the graph, got {n!r}" for n in self.outputs if n not in written]
        if problems:
            raise GraphError(listed(problems))

    def _infer(self, node: Node) -> list[str]:
        """Write the specs of one node's outputs, or say what is wrong with it."""
        missing = [v for v in node.inputs if v not in self.specs]
        if missing:
            return [f"node {node.name!r} must read values written before it, got {', '.join(map(repr, missing))}"]
        try:
            specs = node.op.infer(tuple(self.specs[v] for v in node.inputs))
        except GraphError as error:
            return [f"node {node.name!r} ({type(node.op).__name__}): {error}"]
        if len(specs) != len(node.outputs):
            return [f"node {node.name!r} must have {len(specs)} outputs, got {len(node.outputs)}"]
        problems = [f"value must be written once, got {v!r} again" for v in node.outputs if v in self.specs]
        self.specs.update(zip(node.outputs, specs, strict=True))
        return problems

    def with_ops(self, change: Callable[[Node], Op]) -> Graph:
        """The same nodes with other ops: `change` of each."""
        return Graph(self.inputs, [replace(node, op=change(node)) for node in self.nodes], self.outputs)

    def states(self) -> tuple[StateSlot, ...]:
        """All recurrent states in execution order; the key is ``"<node>.<state>"``."""
        return tuple(
            StateSlot(f"{node.name}.{name}", size, node, name)
            for node in self.nodes
            for name, size in node.op.states().items()
        )

    def not_streamable(self) -> list[str]:
        """Names of the nodes that need the whole sequence."""
        return [node.name for node in self.nodes if not node.op.streamable]

    def __repr__(self) -> str:
        ops = ", ".join(f"{n.name}: {type(n.op).__name__}" for n in self.nodes)
        return f"Graph([{ops}])"


class GraphBuilder:
    """Adds nodes one by one, naming what the caller does not name.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import Dense, Spec
    >>> b = GraphBuilder()
    >>> x = b.input("x", Spec((3,)))
    >>> y = b.add(Dense(np.ones((2, 3))), x)
    >>> b.build(y).specs[y].shape
    (2,)
    """

    def __init__(self) -> None:
        self._inputs: dict[str, Spec] = {}
        self._nodes: list[Node] = []
        self._taken: set[str] = set()

    def unique(self, stem: str) -> str:
        """`stem`, or `stem` with the first free number behind it."""
        name, i = stem, 0
        while name in self._taken:
            i += 1
            name = f"{stem}_{i}"
        self._taken.add(name)
        return name

    def input(self, name: str, spec: Spec) -> str:
        """Declare an input and return its value name."""
        name = self.unique(name)
        self._inputs[name] = spec
        return name

    def add(self, op: Op, *inputs: str, name: str | None = None) -> str:
        """Add a node with one output and return that value's name, which is the node's."""
        name = self.unique(name or op.kind)
        self._nodes.append(Node(name, op, inputs, (name,)))
        return name

    def add_layer(self, layer: Op | Bidirectional, *inputs: str, name: str | None = None) -> tuple[str, ...]:
        """Add an op or a `Bidirectional`; returns its output values (two when merge is None)."""
        if isinstance(layer, Bidirectional):
            stem = name or "bidirectional"
            ahead = self.add(layer.forward, *inputs, name=f"{stem}.forward")
            back = self.add(layer.backward, *inputs, name=f"{stem}.backward")
            if layer.merge is None:
                return (ahead, back)
            return (self.add(MERGE_OPS[layer.merge](), ahead, back, name=stem),)
        return (self.add(layer, *inputs, name=name),)

    def build(self, *outputs: str) -> Graph:
        """The finished graph with these values as outputs."""
        return Graph(self._inputs, self._nodes, outputs)


def chain(layers: Sequence[Any], *, names: Sequence[str | None] | None = None) -> Graph:
    """The graph of layers applied one after the other to one input named ``"x"``.

    The input's spec comes from the first layer that determines it.

    Raises
    ------
    GraphError
        When a layer is none, no layer determines the input, or neighbours do not fit.
    """
    problems = [
        f"layer {i} must be a layer of fastgru.layers, got {type(layer).__name__}"
        for i, layer in enumerate(layers)
        if not isinstance(layer, Op | Bidirectional)
    ]
    if problems or not layers:
        raise GraphError(listed(problems) if problems else "layers must have at least one layer, got none")
    known = (spec for layer in layers if (spec := layer.input_spec()) is not None)
    spec = next(known, None)
    if spec is None:
        raise GraphError("layers must have one that determines the input size, got none that does")
    builder = GraphBuilder()
    values: tuple[str, ...] = (builder.input("x", spec),)
    for layer, name in zip(layers, names or [None] * len(layers), strict=True):
        if len(values) > 1:
            raise GraphError("a layer with merge=None must be the last, got one in the middle")
        values = builder.add_layer(layer, *values, name=name)
    return builder.build(*values)
