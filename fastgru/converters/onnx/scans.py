"""Loops that were written out, as Scan nodes in the place of their copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ..program.calls import Call, Loop, Step
from .exposed import rename
from .reading import reads
from .steps import Reading, Shape, attribute, has_graphs

AXES_ARE_INPUTS = 13  # opset from which on Squeeze and Unsqueeze take their axes as an input


@dataclass(frozen=True)
class Join:
    """A value of a body at every step, along `axis`, which the value has (`squeezed`, of size 1) or which is new."""

    value: str
    axis: int
    backward: bool
    squeezed: bool


@dataclass
class Scan:
    """A loop on its way to a node of this name; `zeros` are the states that start from them."""

    loop: Loop
    name: str
    zeros: dict[str, Any] = field(default_factory=dict)
    joins: dict[Join, str] = field(default_factory=dict)  # to the outputs that readers ask for
    finals: dict[str, str] = field(default_factory=dict)

    def joined(self, join: Join) -> str:
        """The output with all steps of a value."""
        return self.joins.setdefault(join, f"{self.name}.steps{len(self.joins)}")

    def final(self, value: str) -> str:
        """The output with the last one of a state."""
        return self.finals.setdefault(value, f"{self.name}.last{len(self.finals)}")

    def made(self) -> set[str]:
        """Values that the body makes."""
        return {v for call in self.loop.body for v in call.makes}


@dataclass(frozen=True)
class Place:
    """A value of a copy: that of `value` of the body."""

    scan: Scan
    value: str
    copy: int


def places(scans: Sequence[Scan]) -> dict[str, Place]:
    """The values of all copies of loops."""
    return {
        copy[value]: Place(scan, value, t) for scan in scans for t, copy in enumerate(scan.loop.copies)
        for value in scan.made() if value in copy
    }  # fmt: skip


# Joining steps ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Joining:
    """A call that joins values along an axis, which they have or which is `new`."""

    values: Sequence[str]
    axis: int
    new: bool


@dataclass(frozen=True)
class Run:
    """Values of all copies of a loop among what is joined, from `start` on; `backward` from the last copy."""

    start: int
    place: Place
    backward: bool


def joining(reading: Reading, call: Call) -> Joining | None:
    """Return the values that a call joins, if its axis can be told."""
    node, values, new = reading.nodes[call.makes[0]], list(call.reads), 0
    if node.op_type == "ConcatFromSequence" and reading.lists.get(call.reads[0]):
        values, new = list(reading.lists[call.reads[0]]), attribute(node, "new_axis", 0)
    elif node.op_type != "Concat":
        return None
    axis, shape = attribute(node, "axis", 0), reading.shapes.get(values[-1])
    if axis < 0:
        axis = axis + len(shape) + new if shape is not None else axis
    return Joining(values, axis, bool(new)) if axis >= 0 else None


def runs(values: Sequence[str], known: Mapping[str, Place], *, first: bool = False) -> list[Run]:
    """The runs of values of all copies, in order; with `first` also those that lack the first copy."""
    found, at = [], 0
    while at < len(values):
        run = next((r for backward in (False, True) if (r := _run(values, at, known, backward, first))), None)
        found += [run] if run else []
        at += run.place.scan.loop.count if run else 1
    return found


def _run(values: Sequence[str], at: int, known: Mapping[str, Place], backward: bool, first: bool) -> Run | None:
    middle = known.get(values[at + 1]) if at + 1 < len(values) else None
    count = middle.scan.loop.count if middle else 0
    if middle is None or at + count > len(values):
        return None
    order = range(count - 1, -1, -1) if backward else range(count)
    same = all(
        known.get(v) == Place(middle.scan, middle.value, t) or (first and t == 0 and v not in known)
        for v, t in zip(values[at : at + count], order, strict=True)
    )
    return Run(at, middle, backward) if same else None


# Nodes -----------------------------------------------------------------------------------------------


class Body:
    """The graph of a Scan.

    Attributes
    ----------
    sources : list of (str, int)
        The sequences that it takes a step of, and along which axis.
    outer : list of str
        What it reads from outside.
    """

    def __init__(self, reading: Reading, loop: Loop, opset: int) -> None:
        self.reading, self.loop, self.opset = reading, loop, opset
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.names: dict[str, str] = {}
        made = {v for call in loop.body for v in call.makes}
        self.states = [f"{self.named(s.made)}.before{i}" for i, s in enumerate(loop.states)]
        self.names.update((s.read, name) for s, name in zip(loop.states, self.states, strict=True))
        self.sources = list(dict.fromkeys((s.source, s.axis) for s in loop.sequences.values()))
        self.rows = [f"{source}.step{axis}" for source, axis in self.sources]
        for value, step in loop.sequences.items():  # also those that are states of the next step
            row = self.rows[self.sources.index((step.source, step.axis))]
            self.names[value] = self.moved("Unsqueeze", row, step.axis) if step.form else row
        self.outer = list(dict.fromkeys(
            v for call in loop.body for v in call.reads if v and v not in made and v not in self.names
        ))  # fmt: skip

    def named(self, value: str) -> str:
        """Return the name of a value in the body: that of the first copy that has it."""
        base = self.loop.copies[0].get(value) or value
        return self.names.setdefault(value, f"{base}.own")

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node of one output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def moved(self, kind: str, value: str, axis: int) -> str:
        """`value` with an axis of size 1 more or less."""
        name = f"{value}.{kind.lower()}{axis}.{len(self.nodes)}"
        if self.opset < AXES_ARE_INPUTS:
            return self.add(kind, [value], name, axes=[axis])
        self.constants.append(numpy_helper.from_array(np.array([axis]), f"{name}.axes"))
        return self.add(kind, [value, f"{name}.axes"], name)

    def fill(self) -> None:
        """Add the calls."""
        for call in self.loop.body:
            original = self.reading.nodes[call.makes[0]]
            node = NodeProto()
            node.CopyFrom(original)
            first = self.loop.copies[0].get(call.makes[0], call.makes[0])
            node.name = (self.reading.nodes[first].name if first in self.reading.nodes else node.name) or first
            node.input[:] = [self.names.get(v, v) for v in call.reads]
            node.output[:] = [o and self.named(v) for o, v in zip(original.output, call.makes, strict=True)]
            self.nodes.append(node)

    def graph(self, name: str, joins: Sequence[Join]) -> GraphProto:
        """The graph, with the states and what is joined as outputs."""
        outputs = [
            self.add("Identity", [self.names[s.made]], f"{name}.next{i}") for i, s in enumerate(self.loop.states)
        ]
        for i, join in enumerate(joins):
            value = self.names[join.value]
            value = self.moved("Squeeze", value, join.axis) if join.squeezed else value
            outputs.append(self.add("Identity", [value], f"{name}.made{i}"))
        given, made = ([ValueInfoProto(name=n) for n in names] for names in ([*self.states, *self.rows], outputs))
        return helper.make_graph(self.nodes, name, given, made, self.constants)


class Writer:
    """Writes the nodes that outputs need, and Scans where they read what loops make.

    Parameters
    ----------
    reading : Reading
    scans : sequence of Scan
    opset : int
    outputs : sequence of str
        Of the graph.
    """

    def __init__(self, reading: Reading, scans: Sequence[Scan], opset: int, outputs: Sequence[str]) -> None:
        self.reading, self.opset = reading, opset
        self.places = places(scans)
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.shapes: dict[str, Shape] = {}  # of values that are new
        self.ends: dict[str, Step] = {}  # last values of states, as steps of what has all of them
        self.used: dict[str, Body] = {}  # of Scans by name
        self._makers = {v: call for call in reading.calls for v in call.makes}
        self._starts: set[tuple[str, str]] = set()  # of Scans by name: calls that their states start from
        self._waiting: list[str] = []
        self._made: set[str] = set()
        for output in outputs:
            own = self.read(reading.own(output))
            if own != output:
                self.nodes.append(helper.make_node("Identity", [own], [output]))
        while self._waiting:
            value = self._waiting.pop()
            call = self._makers.get(value)
            key = call.makes[0] if call else value
            if key not in self._made and key in reading.nodes:
                self._made.add(key)
                self._call(call) if call else self.nodes.append(reading.nodes[key])
        for scan in scans:
            if scan.name in self.used:
                self._scan(scan, self.used[scan.name])

    def read(self, value: str) -> str:
        """Return the name of a value, which then is written."""
        if value in self.places:
            return self._single(self.places[value])
        self._waiting.append(value)
        return value

    def ordered(self) -> list[NodeProto]:
        """The nodes in an order in which they can run."""
        makers = {v: i for i, node in enumerate(self.nodes) for v in node.output if v}
        before = {i: {makers[v] for v in reads(node) if v in makers} for i, node in enumerate(self.nodes)}
        return [self.nodes[i] for i in TopologicalSorter(before).static_order()]

    def constant(self, array: Any, name: str) -> str:
        """A new constant."""
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def _call(self, call: Call) -> None:
        node = NodeProto()
        node.CopyFrom(self.reading.nodes[call.makes[0]])
        joins = joining(self.reading, call)
        found = [run for run in runs(joins.values, self.places) if self._fits(run, joins)] if joins else []
        if joins is None or not found:
            if has_graphs(node):
                rename(node, {v: self.reading.own(v) for v in reads(node)})
                self._waiting += call.reads
            else:
                node.input[:] = [v and self._read_by(call, v) for v in call.reads]
            self.nodes.append(node)
            return
        inputs, at = [], 0
        for run in found:
            inputs += [
                self._wide(v, joins, f"{call.makes[0]}.{i}") for i, v in enumerate(joins.values[at : run.start], at)
            ]
            inputs.append(self._all(run, joins))
            at = run.start + run.place.scan.loop.count
        inputs += [self._wide(v, joins, f"{call.makes[0]}.{i}") for i, v in enumerate(joins.values[at:], at)]
        whole = len(inputs) == 1
        self.nodes.append(helper.make_node("Identity" if whole else "Concat", inputs, call.makes, name=node.name))
        if not whole:
            self.nodes[-1].attribute.append(helper.make_attribute("axis", joins.axis))

    def _fits(self, run: Run, joins: Joining) -> bool:
        """True if steps side by side along a new axis are those along the axis of what joins them, or can become so."""
        shape = self.reading.shapes.get(run.place.scan.loop.copies[1].get(run.place.value, ""))
        if joins.new or (shape is not None and joins.axis < len(shape) and shape[joins.axis] == 1):
            return True
        return (
            shape is not None and joins.axis < len(shape) and all(isinstance(n, int) for n in shape[joins.axis + 1 :])
        )

    def _wide(self, value: str, joins: Joining, name: str) -> str:
        """A value that is joined to others, with the axis along which that is."""
        own = self.read(value)
        if not joins.new:
            return own
        if self.opset < AXES_ARE_INPUTS:
            self.nodes.append(helper.make_node("Unsqueeze", [own], [name], axes=[joins.axis]))
        else:
            axes = self.constant(np.array([joins.axis]), f"{name}.axes")
            self.nodes.append(helper.make_node("Unsqueeze", [own, axes], [name]))
        return name

    # What loops make -----------------------------------------------------------------------------------

    def _use(self, scan: Scan) -> Scan:
        """A loop that somebody reads, and so all that it reads."""
        if scan.name not in self.used:
            body = self.used[scan.name] = Body(self.reading, scan.loop, self.opset)
            self._waiting += [*body.outer, *(source for source, _ in body.sources)]
            for state in scan.loop.states:
                self._begin(scan, state.initial)
        return scan

    def _begin(self, scan: Scan, initial: str | None) -> None:
        """Write what a state starts from, which may be made of the first step as the first copy does."""
        waiting = [] if initial is None else [initial]
        self._waiting += waiting
        while waiting:
            call = self._makers.get(waiting.pop())
            if call is not None and (scan.name, call.makes[0]) not in self._starts:
                self._starts.add((scan.name, call.makes[0]))
                waiting += call.reads

    def _read_by(self, call: Call, value: str) -> str:
        """Return the name of what a call reads: of the first copy itself where its loop starts from the call."""
        place = self.places.get(value)
        if place is None or place.copy or (place.scan.name, call.makes[0]) not in self._starts:
            return self.read(value)
        self._waiting.append(value)
        return value

    def _single(self, place: Place) -> str:
        """A value of one copy, for a reader outside of the loop."""
        scan, loop = self._use(place.scan), place.scan.loop
        if place.copy == loop.count - 1 and any(s.made == place.value for s in loop.states):
            return scan.final(place.value)
        steps = scan.joined(Join(place.value, 0, loop.backward, False))
        number = loop.count - 1 - place.copy if loop.backward else place.copy
        name = f"{steps}.{number}"
        if name not in self._made:
            self._made.add(name)
            index = self.constant(np.array(-1 if number == loop.count - 1 else number), f"{name}.index")
            self.nodes.append(helper.make_node("Gather", [steps, index], [name], name=name, axis=0))
            shape = self.reading.shapes.get(loop.copies[1].get(place.value, ""))
            if shape is not None:
                self.shapes[name] = shape
        return name

    def _all(self, run: Run, joins: Joining) -> str:
        """A value of all copies."""
        scan, axis = self._use(run.place.scan), joins.axis
        shape = self.reading.shapes.get(scan.loop.copies[1].get(run.place.value, ""))
        squeezed = not joins.new and shape is not None and shape[axis] == 1
        name = scan.joined(Join(run.place.value, axis, run.backward, squeezed))
        if joins.new or squeezed:
            return name
        merged = f"{name}.merged"
        if merged not in self._made:
            self._made.add(merged)
            rest = shape[axis + 1 :] if shape is not None else ()
            target = self.constant(np.array([0] * axis + [-1, *rest]), f"{merged}.shape")
            self.nodes.append(helper.make_node("Reshape", [name, target], [merged], name=merged))
        return merged

    def _scan(self, scan: Scan, body: Body) -> None:
        loop = scan.loop
        body.fill()
        graph = body.graph(f"{scan.name}.body", list(scan.joins))
        initial = [
            self.constant(scan.zeros[s.read], f"{scan.name}.zeros{i}") if s.initial is None else s.initial
            for i, s in enumerate(loop.states)
        ]
        finals = [scan.final(s.made) for s in loop.states]  # ONNX Runtime wants all of them named
        joins = list(scan.joins)
        attributes: dict[str, Any] = {
            "body": graph, "num_scan_inputs": len(body.sources), "scan_input_axes": [axis for _, axis in body.sources],
            "scan_input_directions": [int(loop.backward)] * len(body.sources),
            **({"scan_output_axes": [j.axis for j in joins]} if joins else {}),
            **({"scan_output_directions": [int(j.backward) for j in joins]} if joins else {}),
        }  # fmt: skip
        inputs = [*initial, *(source for source, _ in body.sources)]
        node = helper.make_node("Scan", inputs, [*finals, *scan.joins.values()], name=scan.name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        for s, name in zip(loop.states, finals, strict=True):
            steps = scan.joins.get(Join(s.made, 0, loop.backward, False))
            shape = self.reading.shapes.get(loop.copies[1].get(s.made, ""))
            if steps is not None:
                self.ends[name] = Step(steps, 0, 0 if loop.backward else loop.count - 1, False)
            if shape is not None:
                self.shapes[name] = shape
        for join, name in scan.joins.items():
            shape = self.reading.shapes.get(loop.copies[1].get(join.value, ""))
            if shape is not None:
                self.shapes[name] = (*shape[: join.axis], loop.count, *shape[join.axis + join.squeezed :])
