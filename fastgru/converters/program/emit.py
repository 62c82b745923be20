"""The graph under construction: ops are checked when they are added, moves that cancel are not made, dead nodes go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._names import FreeNames
from ...errors import ConvertError
from ...graph import Concat, Constant, Expand, Graph, Node, Op, Reshape, Slice, Spec, State, Transpose
from ...graph.sharing import Sharing
from .values import Array, elements

MOVES = (Concat, Constant, Expand, Reshape, Slice, Transpose)
LARGEST_FRAME = 2**27  # elements: half a gigabyte of float32 for one value of one row


@dataclass(frozen=True)
class Start:
    """The value that a layer over time starts from, and those that stand for its end."""

    layer: str
    initial: str
    finals: list[str]


class Emitter:
    """Collects nodes, names them, and knows the spec of every value.

    Parameters
    ----------
    budget : int, optional
        Bytes that the weights of all nodes may take, as `Sharing` counts them.
    """

    def __init__(self, budget: int | None = None) -> None:
        self.budget = budget
        self.inputs: dict[str, Spec] = {}
        self.specs: dict[str, Spec] = {}
        self.producers: dict[str, Node] = {}
        self.order: list[Node] = []
        self._names = FreeNames()
        self._sharing = Sharing()
        self.stems: dict[str, str] = {}  # what a node was to be called
        self.starts: list[Start] = []  # of layers over time that start from a value
        self.finals: set[str] = set()  # values that are final states of layers over time
        self.feedback: dict[str, str] = {}  # values of State nodes: what they hold one step later
        self.memo: dict[Any, str] = {}  # values made once
        self.apart = False  # whether layers over time keep a start or end that is a value in State nodes
        self.alike = False  # whether equal rows of a start stand for those of a batch that the source fixes
        self.unrolled: set[str] = set()  # loops of the source whose body is there once for every step
        self.notes: dict[str, None] = {}  # what a user should know, each once
        self.lengths: set[str] = set()  # inputs that only say how long sequences are
        self.masked = False  # whether these are values like others
        self.unpaced: set[str] = set()  # layers over time that run over all steps, whatever such an input says
        self.names: dict[str, str] = {}  # once it is built: values to what they are called in the graph

    def unique(self, stem: str) -> str:
        """`stem`, or `stem` with the first free number behind it."""
        return self._names.free(stem)

    def input(self, name: str, spec: Spec) -> str:
        """Declare an input of the graph."""
        self._bounded(name, spec)
        self._names.taken.add(name)
        self.inputs[name] = self.specs[name] = spec
        return name

    def add(self, op: Op, *inputs: str, name: str) -> tuple[str, ...]:
        """Add a node; returns the names of its outputs.

        Raises
        ------
        GraphError
            When the op does not take these inputs.
        ConvertError
            When a value is too large, or weights are beyond the budget.
        """
        op = self._sharing.op(op)
        if self.budget is not None and self._sharing.spent > self.budget:
            raise ConvertError(
                "weights must not multiply beyond what the file holds, got nodes that make or repeat more"
            )
        specs = op.infer(tuple(self.specs[v] for v in inputs))
        stem, name = name, self.unique(name)
        self.stems[name] = stem
        outputs = (name, *(self.unique(f"{name}.{i}") for i in range(1, len(specs))))
        for output, spec in zip(outputs, specs, strict=True):
            self._bounded(output, spec)
            self.specs[output] = spec
        node = Node(name, op, inputs, outputs)
        self.producers.update(dict.fromkeys(outputs, node))
        self.order.append(node)
        return outputs

    @staticmethod
    def _bounded(name: str, spec: Spec) -> None:
        if elements(spec.shape) > LARGEST_FRAME:
            raise ConvertError(f"value {name!r} must have at most {LARGEST_FRAME} elements, got shape {spec.shape}")

    def origins(self, value: str) -> frozenset[str]:
        """The inputs that a value is computed from; none where a state has a part in it."""
        found, seen, waiting = set(), {value}, [value]
        while waiting:
            name = waiting.pop()
            node = self.producers.get(name)
            if node is None:
                found.add(name)
            elif isinstance(node.op, State):
                return frozenset()
            else:
                waiting += [v for v in node.inputs if v not in seen]
                seen.update(node.inputs)
        return frozenset(found)

    # Moves: what a constant can do itself, or what undoes another move, makes no node -----------

    def constant(self, array: Any, dtype: str, *, name: str) -> str:
        """A node with a fixed value."""
        array = np.asarray(array)
        if dtype == "float":
            array = array.astype(np.float64 if array.dtype == np.float64 else np.float32)
        return self.add(Constant(array, dtype=dtype), name=name)[0]

    def fixed(self, value: str) -> Array | None:
        """The array of a value that is a constant's."""
        node = self.producers.get(value)
        return node.op.value if node is not None and isinstance(node.op, Constant) else None

    def reshape(self, value: str, shape: Sequence[int], *, name: str) -> str:
        """`value` with another frame."""
        node, shape = self.producers.get(value), tuple(shape)
        while node is not None and isinstance(node.op, Reshape):
            value = node.inputs[0]
            node = self.producers.get(value)
        if self.specs[value].shape == shape:
            return value
        if (array := self.fixed(value)) is not None:
            return self.constant(array.reshape(shape), self.specs[value].dtype, name=name)
        return self.add(Reshape(shape), value, name=name)[0]

    def transpose(self, value: str, perm: Sequence[int], *, name: str) -> str:
        """`value` with its frame axes in another order."""
        perm, shape = tuple(perm), self.specs[value].shape
        if perm == tuple(range(len(perm))):
            return value
        if (array := self.fixed(value)) is not None:
            return self.constant(array.transpose(perm), self.specs[value].dtype, name=name)
        moved = [i for i in perm if shape[i] != 1]
        if moved == sorted(moved):  # only axes of size 1 move
            return self.reshape(value, [shape[i] for i in perm], name=name)
        node = self.producers.get(value)
        if node is not None and isinstance(node.op, Transpose):
            return self.transpose(node.inputs[0], [node.op.perm[i] for i in perm], name=name)
        return self.add(Transpose(perm), value, name=name)[0]

    def expand(self, value: str, shape: Sequence[int], *, name: str) -> str:
        """`value` with its frame broadcast to another."""
        shape, spec = tuple(shape), self.specs[value]
        if spec.shape == shape:
            return value
        array = self.fixed(value)
        if array is not None and elements(shape) <= LARGEST_FRAME:
            return self.constant(np.broadcast_to(array, shape), spec.dtype, name=name)
        return self.add(Expand(shape), value, name=name)[0]

    def slice(self, value: str, parts: Mapping[int, slice], *, name: str) -> str:
        """`value` cut along some of its frame axes; the slices are as ``slice.indices`` gives them."""
        shape = self.specs[value].shape
        cuts = []
        for axis, n in enumerate(shape):
            start, stop, step = parts.get(axis, slice(None)).indices(n)
            cuts.append((start, stop if stop >= 0 else -n - 1, step))
        if cuts == [(0, n, 1) for n in shape]:
            return value
        if (array := self.fixed(value)) is not None:
            return self.constant(array[tuple(slice(*c) for c in cuts)], self.specs[value].dtype, name=name)
        starts, stops, steps = zip(*cuts, strict=True)
        return self.add(Slice(starts, stops, steps), value, name=name)[0]

    # The end ------------------------------------------------------------------------------------

    def build(self, outputs: Mapping[str, str], feedback: Mapping[str, str]) -> Graph:
        """The graph of what `outputs` (name to value) need; `feedback` maps states to their next values.

        Values are renamed to the outputs' names; `names` says how.
        """
        returned: list[str] = []
        for name, value in outputs.items():
            node = self.producers.get(value)
            if node is None or isinstance(node.op, State) or value in returned:
                value = self.add(Reshape(self.specs[value].shape), value, name=name)[0]
            returned.append(value)
        alive = self.needed(returned, feedback)
        kept = [node for node in self.order if node.name in alive]
        values = self._renamed(kept, dict(zip(returned, outputs, strict=True)))
        nodes = [
            Node(values[n.outputs[0]][0], n.op, tuple(values[v][1] for v in n.inputs),
                 tuple(values[v][1] for v in n.outputs)) for n in kept
        ]  # fmt: skip
        self.names = {value: own for value, (_, own) in values.items()}
        loops = {values[s][1]: values[v][1] for s, v in feedback.items() if s in alive}
        return Graph(self.inputs, nodes, [values[v][1] for v in returned], feedback=loops)

    def needed(self, values: Iterable[str], feedback: Mapping[str, str]) -> set[str]:
        """The names of the nodes that values depend on, also through states."""
        alive: set[str] = set()
        waiting = [*values]
        while waiting:
            node = self.producers.get(waiting.pop())
            if node is not None and node.name not in alive:
                alive.add(node.name)
                waiting += [*node.inputs, *(feedback[v] for v in node.outputs if v in feedback)]
        return alive

    def told(self, value: str, array: Array) -> tuple[str, Array] | None:
        """Return the value of the graph that was built, and its array, for an array (B, [T,] \\*frame) of a value.

        Where the value is gone because moves cancelled, they are undone; None where it is gone altogether. Of what the
        source repeats at every step and the graph does not, the first step counts.
        """
        spec = self.specs[value]
        if not spec.time and array.ndim == 2 + len(spec.shape):
            array = array[:, 0]
        while value not in self.names:
            node = self.producers.get(value)
            if node is None or not isinstance(node.op, Reshape | Transpose):
                return None
            (value,) = node.inputs
            shape, own = self.specs[value].shape, self.specs[node.outputs[0]].shape
            lead = array.ndim - len(own)
            if array.shape[max(lead, 0) :] != own:
                continue  # not what it should be, moved or not
            if isinstance(node.op, Reshape):
                array = array.reshape(*array.shape[:lead], *shape)
            else:
                array = array.transpose(*range(lead), *(lead + i for i in np.argsort(node.op.perm)))
        return self.names[value], array

    def _renamed(self, nodes: Sequence[Node], outputs: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """For every value that is left the names of its node and its own: the shortest go to what is no mere move."""
        found = {name: ("", name) for name in self.inputs}
        names = FreeNames([*self.inputs, *outputs.values()])

        def rank(node: Node) -> int:
            if isinstance(node.op, State):
                return 0
            return 1 if outputs.get(node.outputs[0]) == self.stems[node.name] else 2 + isinstance(node.op, MOVES)

        for node in sorted(nodes, key=rank):
            stem = self.stems[node.name]
            own = outputs.get(node.outputs[0]) == stem
            name = stem if own else names.free(stem)
            for i, value in enumerate(node.outputs):
                found[value] = (name, outputs.get(value) or (names.free(f"{name}.{i}") if i else name))
        return found
