"""A program to a graph: inputs, states and what they become, outputs; again where a layer cannot hold its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..._hints import either
from ...errors import ConvertError, listed
from ...graph import Graph, Recurrent, Spec, State
from ..program.emit import Emitter
from ..program.held import Held, StandIn, final_outputs
from ..program.pairs import Scores
from ..program.sizes import BATCH, TIME, Size, size_of, symbol
from ..program.steps import STEPS
from ..program.values import Array, Axis, Tensor, over_time
from ..program.views import in_order
from .axes import Labels
from .call import Call, Complex, RowOrder, Session
from .results import beside
from .sizes import Sizes
from .states import follow, pair

Shapes = dict[str, tuple[Size, ...]]


@dataclass(frozen=True)
class Input:
    """An argument, or a buffer that the program changes.

    Attributes
    ----------
    name : str
    labels : tuple
        ``"B"``, ``"T"`` or None for each axis.
    shape : tuple of int
    kind : str
        Of number: float, int or bool.
    initial : array, optional
        Of a buffer.
    every_step : bool
        True if its rows are the steps of sequences: a program of rows alone runs on each.
    """

    name: str
    labels: Labels
    shape: tuple[int, ...]
    kind: str
    initial: Array | None = None
    every_step: bool = False

    @property
    def frame(self) -> tuple[int, ...]:
        """The sizes that are fixed."""
        return tuple(n for n, label in zip(self.shape, self.labels, strict=True) if label is None)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes as atoms."""
        places = iter(range(len(self.shape)))
        rows: Axis = (BATCH, STEPS) if self.every_step else (BATCH,)
        return tuple(
            (next(places),) if label is None else rows if label == BATCH else (symbol(label),) for label in self.labels
        )

    @property
    def time(self) -> bool:
        """True if it has steps."""
        return TIME in self.labels or self.every_step

    def sizes(self) -> tuple[Size, ...]:
        """The sizes, those of batch and time open."""
        return tuple(
            n if label is None else size_of(symbol(label)) for n, label in zip(self.shape, self.labels, strict=True)
        )


class Program(Protocol):
    """A program that can be translated."""

    inputs: list[Input]
    buffers: dict[str, str]  # inputs that are buffers to the results that they become
    reached: int  # how far `run` came, the farther the more

    def sizes(self) -> Sizes:
        """Return its symbolic sizes."""
        ...

    def shapes(self) -> Shapes:
        """The shapes of the results."""
        ...

    def run(self, session: Session, values: Mapping[str, Tensor]) -> tuple[dict[str, Any], list[str]]:
        """The results by name, and every problem met."""
        ...


@dataclass(frozen=True)
class Translation:
    """A graph, and how it belongs to the program.

    Attributes
    ----------
    graph : Graph
    results : dict of str to Tensor
        Of the program to the graph's outputs, in order.
    pairs : dict of str to str
        States to the results that they become.
    whole : bool
        True if a call of the program is a whole sequence or a row; else it is a step of a stream.
    recurrent : bool
        True if anything runs over time.
    notes : tuple of str
    checkable : bool
        True if the program can be run on any input of the graph.
    emit : Emitter
        The emitter that made the graph.
    left_out : dict of str to Tensor
        Results that are final states of layers, which the graph does not return.
    laid : bool
        True if a fixed number of frames becomes samples, of which there could be any number.
    """

    graph: Graph
    results: dict[str, Tensor]
    pairs: dict[str, str]
    whole: bool
    recurrent: bool
    notes: tuple[str, ...]
    checkable: bool
    emit: Emitter
    left_out: dict[str, Tensor]
    laid: bool


class _Again(Exception):
    """A layer cannot be what it was taken for."""


@dataclass
class _Knowledge:
    """Findings of attempts that failed, which the next one heeds."""

    unfused: set[str]
    masked: bool = False


def translate(program: Program, states: Mapping[str, str] | None) -> Translation:
    """The graph of a program.

    Raises
    ------
    ConvertError
        Listing every problem.
    """
    sizes = program.sizes()
    inputs = {i.name: i.sizes() for i in program.inputs if i.initial is None}
    pairs = {**pair(inputs, program.shapes(), states), **program.buffers}
    known = _Knowledge(set())
    while True:
        before = len(known.unfused), known.masked
        try:
            return _Attempt(program, sizes, pairs, known).run(drop_finals=states is None)
        except _Again as again:
            if (len(known.unfused), known.masked) == before:
                raise ConvertError(str(again)) from again


class _Attempt:
    def __init__(self, program: Program, sizes: Sizes, pairs: dict[str, str], known: _Knowledge) -> None:
        self.program, self.pairs, self.known = program, pairs, known
        self.timed = any(i.time for i in program.inputs if i.name not in pairs)
        self.session = Session(Emitter(), sizes, self.timed, unfused=known.unfused, masked=known.masked)
        self.notes: list[str] = []

    def run(self, *, drop_finals: bool) -> Translation:
        """The translation."""
        values = {i.name: self.input(i) for i in self.program.inputs}
        results, problems = self.program.run(self.session, values)
        if problems:
            raise ConvertError(listed(problems))
        if self.session.emit.lengths and self.session.unpacked:
            self.known.masked = True
            raise _Again("packed sequences must not be mixed with others")
        kinds = Tensor | np.ndarray | Complex | RowOrder | Scores
        tensors = {n: self.output(n, v) for n, v in results.items() if isinstance(v, kinds)}
        self.notes += [beside(n, v) for n, v in results.items() if n not in tensors]
        missing = [n for n in self.pairs.values() if n not in tensors]
        if missing:
            raise ConvertError(f"states must become tensors, got none for {', '.join(missing)}")
        self.feed(values, tensors)
        returned = {n: y for n, y in tensors.items() if n not in self.pairs.values()} or tensors
        chosen = self.without_finals(returned) if drop_finals else returned
        left_out = {n: y for n, y in returned.items() if n not in chosen}
        if not chosen:
            raise ConvertError("forward must return a tensor, got none")
        graph = self.graph(chosen)
        recurrent = any(isinstance(n.op, Recurrent) and not n.op.scan for n in graph.nodes) or bool(graph.feedback)
        given = {n: o for n, o in self.pairs.items() if n not in self.program.buffers}
        whole = self.timed or not self.pairs
        checkable = not self.session.masked
        return Translation(
            graph,
            chosen,
            given,
            whole,
            recurrent,
            tuple(self.notes),
            checkable,
            self.session.emit,
            left_out,
            self.session.laid,
        )

    def input(self, i: Input) -> Tensor:
        """The value of an argument, which is a state where it is paired."""
        emit = self.session.emit
        if i.name in self.pairs:
            if i.kind != "float":
                raise ConvertError(f"state {i.name!r} must be float, got {i.kind}")
            if self.timed:
                value = emit.input(i.name, Spec(i.frame, time=False))
            else:
                (value,) = emit.add(
                    State(np.zeros(i.frame, np.float32) if i.initial is None else i.initial), name=i.name
                )
            self.session.states.append(value)
        else:
            value = emit.input(i.name, Spec(i.frame, i.time or (bool(self.pairs) and not self.timed), i.kind))
        return Tensor(value, i.axes, emit.specs[value], 0)

    def output(self, name: str, value: Any) -> Tensor:
        """A result with its frame in order."""
        call = Call(name, self.session)
        if isinstance(value, Scores):
            raise value.refused(f"output {name!r}")
        if isinstance(value, Complex | RowOrder):
            kind = "complex numbers: return torch.view_as_real of them" if isinstance(value, Complex) else "row numbers"
            raise ConvertError(f"output {name!r} must be a real tensor, got {kind}")
        y = in_order(call, call.tensor(value))
        if not y.spec.time and over_time(y):
            y = in_order(call, call.timed(y))
        return y

    def feed(self, values: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
        """Give every state what it becomes, where no layer holds it."""
        before = len(self.known.unfused)
        self.held = Held(self.session.emit, self.session.states)
        for name, result in self.pairs.items():
            source = follow(self.session, self.held, name, values[name], tensors[result])
            if len(self.known.unfused) > before:
                raise _Again(f"state {name!r} must be one that layers hold")
            if source is not None:
                self.session.emit.feedback[values[name].value] = source

    def without_finals(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs that are more than final states of layers over time."""
        ends = final_outputs(self.session.emit, {n: y.value for n, y in outputs.items()})
        keeps = either("states={}", "--state none")
        self.notes += [f"output {n!r} is left out: it is the final state of layers ({keeps} keeps it)" for n in ends]
        return {n: y for n, y in outputs.items() if n not in ends}

    def graph(self, outputs: Mapping[str, Tensor]) -> Graph:
        """The graph of these outputs, without what is not the caller's to give."""
        emit = self.session.emit
        keyed = {self.title(n, y): y for n, y in outputs.items()}
        if len(keyed) < len(outputs) or not keyed.keys().isdisjoint(emit.inputs):
            keyed = {f"output.{n}": y for n, y in outputs.items()}
        self.refuse_read_states([y.value for y in keyed.values()])
        graph = emit.build({n: y.value for n, y in keyed.items()}, emit.feedback)
        for node in graph.nodes:
            if isinstance(node.op, StandIn):
                self.refuse(node.op.owner)
        given = {*emit.lengths, *(self.pairs if self.timed else ())}
        read = {v for node in graph.nodes for v in node.inputs} & given
        if read & emit.lengths:
            self.known.masked = True
            raise _Again("lengths must only be those of packed sequences")
        if read:
            raise ConvertError(
                f"states must be those of layers over time, got {', '.join(sorted(read))} read elsewhere"
            )
        self.notes += [f"{n} is given by lengths= of a call" for n in sorted(emit.lengths)]
        inputs = {n: s for n, s in graph.inputs.items() if n not in given}
        return Graph(inputs, graph.nodes, graph.outputs, feedback=graph.feedback)

    def refuse_read_states(self, outputs: Sequence[str]) -> None:
        """Take back that layers hold a state that something else reads as well."""
        emit, feedback = self.session.emit, self.session.emit.feedback
        alive = emit.needed(outputs, feedback)
        before = len(self.known.unfused)
        for value in self.session.states:
            node = emit.producers.get(value)
            if node is not None and node.name in alive and value not in feedback:
                self.known.unfused |= self.held.holders(value)
        if len(self.known.unfused) > before:
            raise _Again("states must be those of layers alone, or of none")

    def title(self, name: str, y: Tensor) -> str:
        """The name of an output: its key, or where it has but a place that of the layer it comes from."""
        node = self.session.emit.producers.get(y.value)
        return name if node is None or not name[0].isdigit() else self.session.emit.stems[node.name]

    def refuse(self, owner: str) -> None:
        """Take back that a layer gives no final state."""
        if not owner:
            raise ConvertError("cache joined to a sequence must become its last steps alone, got other uses of these")
        self.known.unfused.add(owner)
        raise _Again(f"final state of {owner!r} must be its own")
