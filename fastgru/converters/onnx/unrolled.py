"""Recurrences that an ONNX file has step by step, as Scans: what tracing makes of a loop of Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from ..._hints import option
from ...errors import ConvertError
from ..damage import MALFORMED
from ..program.calls import Loop, Step
from ..program.rolling import FEWEST, Unrolled
from ..program.sizes import TIME
from ..program.values import elements
from .axes import Layout
from .reading import DEFAULT_DOMAINS, Source
from .scans import Body, Scan, Writer, joining, places, runs
from .steps import Reading, Shape, attribute, inferred

OLDEST_SCAN = 9  # opset
TAKING = {"Gather", "Slice", "Split", "SequenceAt"}  # operators that take a step of a sequence
MOST_ROUNDS = 100  # of loops that wait for others
LARGEST_PROVEN = 2**22  # elements of a value for which a first copy is run
SHOWN = 8  # steps in a message
BOUND = 1e-5  # on the difference of a first copy and the body from zeros, of numbers of about 1


@dataclass(frozen=True)
class Rolled:
    """A model with Scans in the place of loops that it had step by step.

    Parameters
    ----------
    source : Source
    sequences : tuple of (str, int, int)
        What recurrences run over: the name of a value, an axis of it, and for how many steps the file has them.
    new : frozenset of str
        Values that the file does not have.
    loops : frozenset of str
        The names of Scans and Loops that run over steps of which the file fixes how many.
    steps : int
        For how many the file is.
    """

    source: Source
    sequences: tuple[tuple[str, int, int], ...]
    new: frozenset[str]
    loops: frozenset[str]
    steps: int


def rolled(source: Source) -> Rolled | None:
    """Find the loops of a model, and its Scans over axes of fixed size; None where it has neither."""
    if source.opsets[""] < OLDEST_SCAN:
        return None
    finder = _found(source)
    given = [n for n in source.proto.graph.node if n.op_type in ("Scan", "Loop") and n.domain in DEFAULT_DOMAINS]
    if finder is None and not given:
        return None
    own = finder.source if finder else source
    shapes = finder.shapes if finder else inferred(source.proto)[0]
    sequences = tuple(dict.fromkeys([*(finder.sequences if finder else ()), *_scanned(source, given, shapes)]))
    if not sequences:
        return None
    before, after = ({v for n in s.proto.graph.node for v in n.output} for s in (source, own))
    names = {n.name or next(iter(n.output), "") for n in own.proto.graph.node if n.op_type in ("Scan", "Loop")}
    return Rolled(own, sequences, frozenset(after - before), frozenset(names), sequences[0][2])


def steps_of_time(source: Source, layout: Mapping[str, Layout]) -> str:
    """Say which steps of time a file takes one by one; nothing where it takes few."""
    if not _takes_steps(source.proto.graph):
        return ""
    try:
        reading = Reading(source, source.proto.graph.node, inferred(source.proto)[0])
    except (*MALFORMED, ConvertError):
        return ""
    taken: dict[tuple[str, int], set[int]] = {}
    for step in reading.steps.values():
        labels = layout.get(step.source, ())
        if step.source not in layout and len(reading.shapes.get(step.source) or ()) == 1:
            continue  # a list of sizes
        if step.source not in layout or (step.axis < len(labels) and labels[step.axis] == TIME):
            taken.setdefault((step.source, step.axis), set()).add(step.number)
    for (value, axis), numbers in taken.items():
        if len(numbers) >= FEWEST:
            shown = ", ".join(map(str, sorted(numbers)[:SHOWN])) + ", ..." * (len(numbers) > SHOWN)
            return (
                f"The file takes steps {shown} of {value!r} along axis {axis} one by one, as tracing writes out a loop "
                "of Python, and they are no recurrence that does the same at every step from the first to the last: "
                f"fix the size of that axis by {option('shapes')} to import them as they are, or export the loop as a "
                "Loop (of a scripted module) that counts to the axis's size"
            )
    return ""


def _takes_steps(graph: GraphProto) -> bool:
    """True if a graph has as many nodes that may take steps as a loop needs."""
    takes = sum(len(node.output) if node.op_type == "Split" else node.op_type in TAKING for node in graph.node)
    return takes >= FEWEST


def _scanned(
    source: Source, nodes: Sequence[NodeProto], shapes: Mapping[str, Shape]
) -> list[tuple[str, int, int]]:  # fmt: skip
    """Find the values of fixed size that Scans and Loops run over."""
    if not nodes:
        return []
    found = []
    reading = Reading(source, source.proto.graph.node, shapes)
    for node in nodes:
        if node.op_type == "Loop":
            found += _counted(reading, node)
            continue
        count = attribute(node, "num_scan_inputs", 0)
        values = list(node.input[len(node.input) - count :]) if count else []
        for value, axis in zip(values, attribute(node, "scan_input_axes", [0] * len(values)), strict=False):
            shape = shapes.get(value, ())
            if isinstance(axis, int) and -len(shape) <= axis < len(shape) and isinstance(n := shape[axis], int):
                found.append((value, axis % len(shape), n))
    return found


def _counted(reading: Reading, node: NodeProto) -> list[tuple[str, int, int]]:
    """The axis whose size is the number of steps of a Loop."""
    length = reading.maker(node.input[0], "SequenceLength") if node.input and node.input[0] else None
    if length is not None and (split := reading.splits.get(length.reads[0])):
        size = reading.shapes.get(split[0], ())[split[1] :][:1]
        return [(*split, size[0])] if size and isinstance(size[0], int) else []
    gather = reading.maker(node.input[0], "Gather") if node.input and node.input[0] else None
    sizes = reading.maker(gather.reads[0], "Shape") if gather else None
    place = reading.array(gather.reads[1]) if gather else None
    if sizes is None or place is None or place.size != 1:
        return []
    axis, shape = int(place.flat[0]), reading.shapes.get(sizes.reads[0], ())
    fixed = shape[axis] if -len(shape) <= axis < len(shape) else None
    return [(sizes.reads[0], axis % len(shape), fixed)] if isinstance(fixed, int) else []


def _found(source: Source) -> _Finder | None:
    """The loops that a model has step by step, if any are over all steps of an axis."""
    graph = source.proto.graph
    if not _takes_steps(graph):
        return None
    try:
        finder = _Finder(source)
        for _ in range(MOST_ROUNDS):
            if not finder.roll():
                break
    except (*MALFORMED, ConvertError):  # what is wrong with a file is told where its nodes are translated
        return None
    return finder if finder.sequences else None


class _Finder:
    """A model whose loops become Scans, those first that no other one waits for."""

    def __init__(self, source: Source) -> None:
        self.source, self.given = source, source.proto
        self.shapes, self.types = inferred(source.proto)
        self.scans: list[str] = []  # values that Scans give
        self.ends: dict[str, Step] = {}  # and the steps that some of them are
        self.sequences: list[tuple[str, int, int]] = []
        self.open: set[str] = set()  # values of which steps are taken along an axis of any size
        self.count = 0
        self.stem = "loop"
        while any(v.startswith(self.stem) for node in source.proto.graph.node for v in node.output):
            self.stem += "_"

    def roll(self) -> bool:
        """Put Scans in the place of some loops; False where there are no more."""
        graph = self.source.proto.graph
        reading = Reading(self.source, graph.node, self.shapes)
        reading.steps.update((v, step) for v, step in self.ends.items() if v in reading.made)
        lengths = reading.lengths()
        self.open = {s.source for s in reading.steps.values() if (s.source, s.axis) not in lengths}
        ways = Unrolled(reading.calls, reading.steps).find(lengths, stateless={*self.scans, *self.open})
        for loops in ways:
            scans = self._named(reading, loops)
            scans = [scan for scan in scans if self._settled(reading, scan)]
            writer = Writer(reading, scans, self.source.opsets[""], [o.name for o in graph.output]) if scans else None
            if writer is None or not writer.used:
                continue
            for scan in scans:
                own = writer.used[scan.name].sources if scan.name in writer.used else []
                if scan.loop.states or any(source in self.open for source, _ in own):
                    self.sequences += [(source, axis, scan.loop.count) for source, axis in own]
            self.shapes.update(writer.shapes)
            self.ends.update(writer.ends)
            self.scans += [name for scan in scans for name in scan.joins.values()]
            self._write(writer)
            return True
        return False

    def _named(self, reading: Reading, loops: Sequence[Loop]) -> list[Scan]:
        found = []
        for loop in loops:
            self.count += 1
            found.append(Scan(loop, f"{self.stem}{self.count}"))
        return found

    def _settled(self, reading: Reading, scan: Scan) -> bool:
        """True if the first copy is as the others, or does what they would from zeros, and what is made is joined."""
        loop, known = scan.loop, places([scan])
        unlike = bool(loop.first)
        met = False
        for call in reading.calls:
            joins = joining(reading, call)
            values = joins.values if joins else ()
            for run in runs(values, known, first=unlike):
                met = True
                if unlike:
                    at = run.start + (loop.count - 1 if run.backward else 0)
                    loop.first.setdefault(run.place.value, values[at])
        if not unlike:
            return met or bool(loop.states)
        zeros = _Proof(self, reading, loop).zeros() if scan.made() & loop.first.keys() else None
        if zeros is None:
            return False
        scan.zeros = zeros
        loop.copies[0] = dict(loop.first)
        return True

    def _write(self, writer: Writer) -> None:
        """Put other nodes in the place of those of the model, which then is a copy."""
        if self.source.proto is self.given:
            proto = ModelProto()
            proto.CopyFrom(self.given)
            self.source = replace(self.source, proto=proto)
        graph, nodes = self.source.proto.graph, writer.ordered()
        del graph.node[:], graph.value_info[:]
        graph.node.extend(nodes)
        graph.initializer.extend(writer.constants)


# A first copy that is unlike the others ----------------------------------------------------------------


class _Proof:
    """Runs a first copy as it is, and the body from zeros."""

    def __init__(self, finder: _Finder, reading: Reading, loop: Loop) -> None:
        self.finder, self.reading, self.loop = finder, reading, loop
        self.makers = {v: call for call in reading.calls for v in call.makes}
        self.body = Body(reading, loop, finder.source.opsets[""])
        self.body.fill()
        number = loop.count - 1 if loop.backward else 0
        first = {(s.source, s.axis): (v, s) for v, s in reading.steps.items() if s.number == number}
        self.rows = [first[key] for key in self.body.sources]  # the first copy's steps

    def zeros(self) -> dict[str, Any] | None:
        """The zeros from which the body makes what the first copy does, by state; None where it does not."""
        shapes = []
        for size in (2, 3):  # of what the file leaves open
            try:
                found = self._same(size)
            except Exception:  # whatever the reference raises on a file that is not sound, or knows not
                return None
            if found is None:
                return None
            shapes.append(found)
        return {
            s.read: np.zeros(
                [a if a == b else 1 for a, b in zip(*(found[s.read] for found in shapes), strict=True)], np.float32
            )
            for s in self.loop.states
            if s.initial is None
        }

    def _same(self, size: int) -> dict[str, tuple[int, ...]] | None:
        loop, pairs = self.loop, self.loop.first
        rng = np.random.default_rng(0)
        starts = [s.initial for s in loop.states if s.initial is not None]
        read = [*pairs.values(), *self.body.outer, *starts]
        nodes, free = self._cone(read, [row for row, _ in self.rows])
        feeds = {v: self._drawn(v, size, rng) for v in free}
        if any(feed is None for feed in feeds.values()):
            return None
        made = self._run(nodes, feeds, read)
        shapes = {s.read: made[pairs[s.made]].shape for s in loop.states}
        given = {v: made[v] for v in self.body.outer}
        for name, (row, step) in zip(self.body.rows, self.rows, strict=True):
            given[name] = np.squeeze(feeds[row], axis=step.axis) if step.form else feeds[row]
        for s in loop.states:
            zeros = np.zeros(shapes[s.read], np.float32)
            given[self.body.names[s.read]] = zeros if s.initial is None else made[s.initial]
        again = self._run(self.body.nodes, given, [self.body.names[v] for v in pairs], self.body.constants)
        same = all(
            again[self.body.names[v]].shape == made[w].shape
            and np.allclose(again[self.body.names[v]], made[w], rtol=BOUND, atol=BOUND)
            for v, w in pairs.items()
        )
        return shapes if same else None

    def _cone(self, values: Sequence[str], ends: Sequence[str]) -> tuple[list[NodeProto], list[str]]:
        """The nodes of the first copy, and the values from outside that they read, with its steps."""
        outer = {*self.body.outer, *(s.initial for s in self.loop.states)}
        inside: set[str] = set()
        free, waiting = dict.fromkeys(ends), [*values]
        while waiting:
            v = waiting.pop()
            if v in free or v in inside or not v or v in self.reading.constants:
                continue
            call = self.makers.get(v)
            if call is None or v in outer:
                free[v] = None
                continue
            inside.update(call.makes)
            waiting += call.reads
        calls = [call for call in self.reading.calls if call.makes[0] in inside]
        return [self._node(call.makes[0], call.reads) for call in calls], list(free)

    def _node(self, key: str, given: Sequence[str]) -> NodeProto:
        node = NodeProto()
        node.CopyFrom(self.reading.nodes[key])
        node.input[:] = given
        return node

    def _drawn(self, value: str, size: int, rng: np.random.Generator) -> Any:
        """Random numbers in the place of a value; None where its shape is not known, or large."""
        shape = self.finder.shapes.get(value)
        if shape is None:
            return None
        sizes = [n if isinstance(n, int) else size for n in shape]
        if elements(sizes) > LARGEST_PROVEN:
            return None
        dtype = helper.tensor_dtype_to_np_dtype(self.finder.types.get(value) or TensorProto.FLOAT)
        x = rng.standard_normal(sizes)
        return x.astype(dtype) if dtype.kind == "f" else (x > 0).astype(dtype)

    def _run(
        self, nodes: Sequence[NodeProto], feeds: Mapping[str, Any], outputs: Sequence[str],
        constants: Sequence[TensorProto] = (),
    ) -> dict[str, Any]:  # fmt: skip
        """Values that nodes make; none may be large."""
        own = {*feeds, *(t.name for t in constants)}
        made = {v for node in nodes for v in node.output}
        known = dict(feeds)
        for v in {v for node in nodes for v in node.input} | set(outputs):
            if v in self.reading.constants and v not in own:
                known[v] = self.finder.source.array(self.reading.constants[v], v)
        wanted = [v for v in dict.fromkeys(outputs) if v in made]
        if wanted:
            infos = [helper.make_empty_tensor_value_info(v) for v in known]
            graph = helper.make_graph(
                nodes, "first", infos, [helper.make_empty_tensor_value_info(v) for v in wanted], list(constants)
            )
            evaluator = ReferenceEvaluator(graph, opsets=dict(self.finder.source.opsets))
            with np.errstate(all="ignore"):
                known.update(zip(wanted, evaluator.run(None, known), strict=True))
        return {v: np.asarray(known[v]) for v in outputs}
