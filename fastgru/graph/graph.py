"""Graph: a validated DAG of named ops; GraphBuilder: how every importer and `Model` make one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..errors import GraphError, listed
from . import loops
from .bases import bases, steps_differ
from .basic import Add, Average, Concat, Multiply
from .fields import short
from .loops import Unit
from .op import Op
from .recurrent import Bidirectional
from .sharing import Sharing
from .spec import Spec
from .tensor import State

MERGE_OPS: dict[str, type[Op]] = {"concat": Concat, "sum": Add, "mul": Multiply, "ave": Average}
LAST_AT_EVERY_STEP = "reads at every step what is known only at the end of the sequence; give whole sequences"


@dataclass(frozen=True)
class Node:
    """An op, its unique name, and the names of the values it reads and writes."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class StateSlot(NamedTuple):
    """One state: its key in state dicts, its size, and whose it is; the `name` of a State node's own is empty."""

    key: str
    size: int
    node: Node
    name: str


class Graph:
    """What a network is: typed nodes in execution order. Checked when made, never changed after.

    Weights exist once: nodes with equal weights hold one array, see `Sharing`.

    Parameters
    ----------
    inputs : mapping of str to Spec
        Names and specs of the inputs.
    nodes : sequence of Node
        In an order in which every value is written before it is read.
    outputs : sequence of str
        Names of the values returned.
    feedback : mapping of str to str
        Name of the value of each State node to that of the value that it holds one step later.

    Attributes
    ----------
    specs : dict of str to Spec
        The spec of every value.
    bases : dict of str to int
        Of every value with time: inputs of one base must have one number of steps (`fastgru.graph.bases`).

    Raises
    ------
    GraphError
        Listing every problem found.
    """

    def __init__(
        self,
        inputs: Mapping[str, Spec],
        nodes: Sequence[Node],
        outputs: Sequence[str],
        feedback: Mapping[str, str] | None = None,
    ) -> None:
        problems = [*_wrong_values(inputs, outputs, feedback), *_wrong_nodes(nodes)]
        if problems:
            raise GraphError(listed(problems))
        self.inputs = dict(inputs)
        self.nodes = _shared(nodes)
        self.outputs = tuple(outputs)
        self.feedback = dict(feedback or {})
        self.specs: dict[str, Spec] = dict(self.inputs)
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
        problems = problems or self._feedback_problems()
        if problems:
            raise GraphError(listed(problems))
        self.bases = bases(self.inputs, self.nodes, self.specs, self.feedback)

    def _feedback_problems(self) -> list[str]:
        found = loops.problems(self.nodes, self.specs, self.feedback)
        if self.has_state_nodes() and not any(spec.time for spec in self.inputs.values()):
            found.append("graph with State nodes must have an input with time, got none")
        return found

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
        sharing = Sharing()  # so that no more than one of equal arrays is kept until all ops are made
        nodes = [replace(node, op=sharing.op(change(node))) for node in self.nodes]
        return Graph(self.inputs, nodes, self.outputs, self.feedback)

    def loops(self) -> tuple[tuple[Node, ...], ...]:
        """The nodes of each feedback loop, in execution order."""
        return loops.loops(self.nodes, self.feedback)

    def units(self) -> list[Unit]:
        """Single nodes and whole feedback loops, each behind those whose values it reads or is fed."""
        return loops.units(self.nodes, self.feedback)

    def has_state_nodes(self) -> bool:
        """Whether any node is a `State`."""
        return any(isinstance(node.op, State) for node in self.nodes)

    def shown(self, name: str) -> str:
        """The axes of a value, e.g. ``"(B, T, 64)"``; T2 where its steps are those of a second base."""
        axes = ["B"]
        if name in self.bases:
            axes.append(f"T{self.bases[name] + 1}" if self.bases[name] else "T")
        return f"({', '.join([*axes, *map(str, self.specs[name].shape)])})"

    def lengths(self, length: int | Mapping[str, int]) -> dict[str, int]:
        """The number of steps of every value that has time.

        Parameters
        ----------
        length : int or mapping of str to int
            Steps of the inputs, or of each by name.

        Raises
        ------
        GraphError
            Naming the nodes whose inputs have different numbers of steps, and the states fed another number.
        """
        timed = [name for name, spec in self.inputs.items() if spec.time]
        found = {name: length if isinstance(length, int) else length[name] for name in timed}
        of_base = {self.bases[name]: found[name] for name in reversed(timed)}
        problems = []
        for unit in self.units():
            states = [value for node in unit.nodes for value in node.outputs if value in self.feedback]
            reads = [*(v for node in unit.nodes for v in node.inputs), *(self.feedback[v] for v in states)]
            known = [found[v] for v in reads if v in found]
            if states and not known:  # as many as the inputs where none is read
                known = [of_base.get(self.bases[states[0]], 0)]
            found.update(dict.fromkeys(states, max(known, default=0)))
            problems += self._count_steps(unit.nodes, found)
        if problems:
            raise GraphError(listed(problems))
        return found

    def _count_steps(self, nodes: Sequence[Node], found: dict[str, int]) -> list[str]:
        """Write the steps of what these nodes give from those in `found`, or say where they differ."""
        problems = []
        for node in nodes:
            counts = {value: found[value] for value in node.inputs if value in found}
            lengths = sorted(set(counts.values()))
            if len(lengths) > 1:
                problems.append(steps_differ(f"inputs of node {node.name!r}", counts))
            if lengths and 0 < lengths[-1] < node.op.fewest:
                problems.append(
                    f"input of node {node.name!r} must have at least {node.op.fewest} steps, got {lengths[-1]}"
                )
            timed = [value for value in node.outputs if self.specs[value].time]
            found.update(dict.fromkeys(timed, node.op.output_length(lengths[-1])) if lengths else {})
        return problems

    def states(self) -> tuple[StateSlot, ...]:
        """All states in execution order; the key is ``"<node>.<state>"``, or the name of a State node."""
        return tuple(
            StateSlot(f"{node.name}.{name}" if name else node.name, size, node, name)
            for node in self.nodes
            for name, size in node.op.states().items()
        )

    def not_streamable(self) -> dict[str, str]:
        """The nodes that need the whole sequence by name, and why."""
        found: dict[str, str] = {}
        final: set[str] = set()  # values that a sequence has only at its end
        for node in self.nodes:
            if not node.op.streamable:
                found[node.name] = node.op.blocker
            timed = any(self.specs[value].time for value in node.outputs)
            if timed and final.intersection(node.inputs):
                found.setdefault(node.name, LAST_AT_EVERY_STEP)
            elif not timed and any(self.specs[value].time or value in final for value in node.inputs):
                final.update(node.outputs)
        return found

    def __repr__(self) -> str:
        ops = ", ".join(f"{n.name}: {type(n.op).__name__}" for n in self.nodes)
        return f"Graph([{ops}])"


def _shared(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes, those with equal weights with ops that hold one array."""
    sharing = Sharing()
    ops = ((node, sharing.op(node.op)) for node in nodes)
    return tuple(node if op is node.op else replace(node, op=op) for node, op in ops)


def _wrong_values(inputs: Any, outputs: Any, feedback: Any) -> list[str]:
    """Problems with the types of what a graph is made of, but for its nodes."""
    problems = []
    if not isinstance(inputs, Mapping) or not all(isinstance(name, str) for name in inputs):
        problems.append(f"inputs must be a mapping of names to Specs, got {short(inputs)}")
    else:
        wrong = {name: spec for name, spec in inputs.items() if not isinstance(spec, Spec)}
        problems += [f"input {name!r} must be a Spec, got {short(spec)}" for name, spec in wrong.items()]
    if not _are_names(outputs):
        problems.append(f"outputs must be a sequence of names, got {short(outputs)}")
    if feedback is not None and not (
        isinstance(feedback, Mapping) and _are_names(list(feedback)) and _are_names(list(feedback.values()))
    ):
        problems.append(f"feedback must be a mapping of names to names, got {short(feedback)}")
    return problems


def _wrong_nodes(nodes: Any) -> list[str]:
    """Problems with the types of what nodes are made of."""
    if not isinstance(nodes, Sequence) or isinstance(nodes, str):
        return [f"nodes must be a sequence of Nodes, got {short(nodes)}"]
    problems = []
    for node in nodes:
        if not isinstance(node, Node):
            problems.append(f"node must be a Node, got {short(node)}")
        elif not isinstance(node.name, str):
            problems.append(f"name of a node must be a string, got {short(node.name)}")
        elif not isinstance(node.op, Op):
            problems.append(f"op of node {node.name!r} must be an op of fastgru.graph, got {short(node.op)}")
        elif not (_are_names(node.inputs) and _are_names(node.outputs)):
            got = f"{short(node.inputs)} and {short(node.outputs)}"
            problems.append(f"inputs and outputs of node {node.name!r} must be sequences of names, got {got}")
    return problems


def _are_names(names: Any) -> bool:
    return isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)


def _kind(op: Any) -> str:
    """The kind of an op, by which nodes are named."""
    if not isinstance(op, Op):
        hint = ": add it with add_layer" if isinstance(op, Bidirectional) else ""
        raise GraphError(f"op must be an op of fastgru.graph, got {type(op).__name__}{hint}")
    return op.kind


class GraphBuilder:
    """Adds nodes one by one, naming what the caller does not name.

    Attributes
    ----------
    sharing : Sharing
        The weights of all nodes, each once.

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
        self.sharing = Sharing()
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}  # of each stem: the last that was tried

    def unique(self, stem: str) -> str:
        """`stem`, or `stem` with the first free number behind it."""
        if not isinstance(stem, str):
            raise GraphError(f"name must be a string, got {short(stem)}")
        name = stem = str(stem)  # not a string of NumPy
        while name in self._taken:
            self._numbers[stem] = self._numbers.get(stem, 0) + 1
            name = f"{stem}_{self._numbers[stem]}"
        self._taken.add(name)
        return name

    def input(self, name: str, spec: Spec) -> str:
        """Declare an input and return its value name."""
        if not isinstance(spec, Spec):
            raise GraphError(f"spec must be a Spec, got {short(spec)}")
        name = self.unique(name)
        self._inputs[name] = spec
        return name

    def add(self, op: Op, *inputs: str, name: str | None = None) -> str:
        """Add a node with one output and return that value's name, which is the node's."""
        name = self.unique(name or _kind(op))
        self._nodes.append(Node(name, self.sharing.op(op), inputs, (name,)))
        return name

    def add_many(self, op: Op, *inputs: str, outputs: int, name: str | None = None) -> tuple[str, ...]:
        """Add a node with that many outputs; returns their names: the node's, and with ``.1``, ``.2``, ... behind it.

        Examples
        --------
        >>> import numpy as np
        >>> from fastgru.graph import RNN, Spec
        >>> b = GraphBuilder()
        >>> x = b.input("x", Spec((7, 4, 3)))
        >>> b.add_many(RNN(np.ones((2, 3)), np.ones((2, 2)), scan=True), x, outputs=2)
        ('rnn', 'rnn.1')
        """
        if isinstance(outputs, bool) or not isinstance(outputs, int | np.integer) or outputs < 1:
            raise GraphError(f"outputs must be a positive integer, got {short(outputs)}")
        stem = name or _kind(op)
        while True:
            name = self.unique(stem)
            names = (name, *(f"{name}.{i}" for i in range(1, outputs)))
            if self._taken.isdisjoint(names[1:]):
                break
        self._taken.update(names)
        self._nodes.append(Node(name, self.sharing.op(op), inputs, names))
        return names

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

    def build(self, *outputs: str, feedback: Mapping[str, str] | None = None) -> Graph:
        """The finished graph with these values as outputs; `feedback` as for `Graph`."""
        return Graph(self._inputs, self._nodes, outputs, feedback)


def _described(layer: Any) -> str:
    """Return what stands in the place of a layer, in words."""
    if isinstance(layer, type) and issubclass(layer, Op | Bidirectional):
        return f"the class {layer.__name__}, not a {layer.__name__} made with its weights"
    return type(layer).__name__


def chain(layers: Sequence[Any], *, names: Sequence[str | None] | None = None) -> Graph:
    """The graph of layers applied one after the other to one input named ``"x"``.

    The input's spec comes from the first layer that determines it.

    Raises
    ------
    GraphError
        When a layer is none, no layer determines the input, or neighbours do not fit.
    """
    if isinstance(layers, str | Op | Bidirectional) or not isinstance(layers, Iterable):
        raise GraphError(f"layers must be a list of layers, got {short(layers)}")
    layers = list(layers)
    problems = [
        f"layer {i} must be a layer of fastgru.layers, got {_described(layer)}"
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
