"""An ONNX model to a Graph: axes decided, states paired, nodes translated, and what was decided written down."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from ..._hints import either, named, option
from ..._names import nearest
from ...errors import ConvertError, GraphError, listed
from ...graph import Activate, Constant, Graph, Op, Reverse, Spec, State, TimeReduce, TimeSoftmax, TimeStep
from ..layouts import Axes, Layouts, of_tensor
from ..program.emit import Emitter
from ..program.held import StandIn, final_outputs
from ..program.pairs import Scores
from ..program.sizes import BATCH, TIME, symbol
from ..program.values import Axis, Tensor, Unavailable, Value, is_time
from ..program.views import in_order
from .axes import Declared, Layout, asked, candidates, declared, declared_inputs, layouts_shown, over_steps
from .call import Call, NotConstant
from .exposed import Trail
from .folding import ALLOWANCE
from .graph import Translator
from .reading import Source, read
from .sorting import without_order
from .states import StatesApart, absorb, completed, pair
from .unrolled import Rolled, rolled, steps_of_time


class Unsupported(NotConstant):
    """A model has operators that nothing translates, and no other problem: no layout of its inputs helps."""


class LengthsApart(ConvertError):
    """An input of lengths is more than what a call of the model can be given as its own."""


@dataclass(frozen=True)
class Translation:
    """A translated model and what was decided on the way.

    Parameters
    ----------
    graph : Graph
    layouts : dict of str to Layout
        Axes of the inputs.
    outputs : dict of str to Tensor
        What the graph's outputs stand for, by their ONNX names.
    states : dict of str to str
        Inputs that became states, and the outputs with their next values.
    fixed : dict of str to array
        Inputs that were given.
    notes : tuple of str
        What a user should know.
    emit : Emitter
        What made the graph.
    left_out : dict of str to Tensor
        Outputs that are final states of layers over time, which the graph does not return.
    trail : Trail
        The nodes of the model that it was made of.
    rolled : Rolled or None
        The model with loops in place of what it has step by step, if that was translated.
    """

    graph: Graph
    layouts: dict[str, Layout]
    outputs: dict[str, Tensor]
    states: dict[str, str]
    fixed: dict[str, Any]
    notes: tuple[str, ...]
    emit: Emitter
    left_out: dict[str, Tensor] = field(default_factory=dict)
    trail: Trail = field(default_factory=Trail)
    rolled: Rolled | None = None


def layouts_of(found: Translation) -> Layouts:
    """Return the axes of a model's inputs and outputs."""
    inputs = {name: Axes(layout) for name, layout in found.layouts.items()}
    outputs = [of_tensor(y) for y in found.outputs.values()]
    return Layouts(inputs, outputs, found.states, {n: of_tensor(y) for n, y in found.left_out.items()})


def translate(
    source: Source | ModelProto,
    *,
    fix: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
    axes: Mapping[str, Sequence[str | None]] | None = None,
    states: Mapping[str, str] | None = None,
) -> Translation:
    """Translate a model that has been read; the arguments are those of `onnx_files.import_onnx`."""
    if not isinstance(source, Source):
        source = read(source)
    inputs = declared_inputs(source.proto.graph)
    outputs = {o.name: _declared_output(o) for o in source.proto.graph.output}
    fixed = _fixed(inputs, fix or {})
    for name in fixed:
        del inputs[name]
    pairs = pair(inputs, outputs, states)
    if states is None:
        pairs = completed(pairs, source.proto.graph)
    layouts, guesses = candidates(inputs, shapes or {}, axes or {})
    loops = rolled(source)
    found: Translation | list[ConvertError] = []
    if loops is not None:
        told = {*(shapes or {}), *(axes or {})}
        for layout in over_steps(layouts, loops.sequences, told):
            found = _first(loops.source, inputs, [layout], fixed, pairs, states)
            if isinstance(found, Translation) and _stays(loops, found, inputs):
                return replace(found, rolled=replace(loops, steps=_steps(loops, found, inputs)),
                               notes=(*found.notes, *_counted(loops, found)))  # fmt: skip
    met: list[ConvertError] = found if loops is not None and isinstance(found, list) else []
    found = _first(source, inputs, layouts, fixed, pairs, states)
    if isinstance(found, Translation):
        return found
    first, steps = found[0], steps_of_time(source, layouts[0])
    if steps and met and loops is not None:  # of the loops that were found, it says more
        names = ", ".join(sorted(loops.loops))
        first = NotConstant(
            f"{met[0]}\n({names}: recurrences that the file has step by step)", getattr(met[0], "inputs", frozenset())
        )
    elif steps:
        first = NotConstant(f"{first}\n{steps}", getattr(first, "inputs", frozenset()))
    if isinstance(first, Unsupported):
        raise first
    if not guesses and not any(isinstance(a, str) for layout in layouts[0].values() for a in layout):
        raise first
    raise NotConstant(
        f"{first}\nThis is with the axes {layouts_shown(layouts[0])}; sizes can be fixed by {option('shapes')} or "
        f"told by {option('axes')}: these are {asked(layouts[0])}",
        getattr(first, "inputs", frozenset()),
    ) from first


def _first(
    source: Source, inputs: Mapping[str, Declared], layouts: Sequence[dict[str, Layout]], fixed: Mapping[str, Any],
    pairs: dict[str, str], states: Mapping[str, str] | None,
) -> Translation | list[ConvertError]:  # fmt: skip
    """The translation for the first layout that has one, or why each has none.

    Where no `states` are told, those that no layer can hold are inputs and outputs.
    """
    failures: list[ConvertError] = []
    made: list[Translation] = []
    for layout in layouts:
        try:
            made.append(_with_layout(source, inputs, layout, fixed, pairs, states))
        except ConvertError as error:
            failures.append(error)
            continue
        if not any(_doubts(made[-1])):
            break
    return min(made, key=_rank) if made else failures


def _with_layout(
    source: Source, inputs: Mapping[str, Declared], layout: dict[str, Layout], fixed: Mapping[str, Any],
    pairs: dict[str, str], states: Mapping[str, str] | None,
) -> Translation:  # fmt: skip
    own, options = pairs, {"keep": states is not None}
    while True:
        try:
            found = _Attempt(source, inputs, layout, fixed, own, **options).run()
            break
        except LengthsApart:
            options["masked"] = True
        except StatesApart:
            if states or "apart" in options:
                raise
            own, options = {}, {"apart": True, "masked": True}
    told = (f"no layer can hold state {n}: it is given at every call, and {o} returned" for n, o in pairs.items())
    return replace(found, notes=(*found.notes, *told)) if own is not pairs else found


def _doubts(found: Translation) -> tuple[bool, bool]:
    """Reasons why another layout may be meant: loops that multiply weights, and time that cannot stream."""
    return bool(found.emit.unrolled), bool(found.graph.not_streamable())


def _rank(found: Translation) -> tuple[bool, int, bool]:
    """Return a key that is less for the better of two: less over time is worse than no stream."""
    multiplied, stays = _doubts(found)
    return multiplied, -sum(TIME in layout for layout in found.layouts.values()), stays


def _stays(loops: Rolled, found: Translation, inputs: Mapping[str, Declared]) -> bool:
    """True if loops became recurrences over time, and nothing else holds for the steps of the file alone.

    That is an output of fixed size that is of many steps; what reads another step by itself than the first or the last,
    as what was written out beside the loops; and what multiplies or divides by the number of steps, as a mean does.
    """
    merged = any(len(axis) > 1 and any(map(is_time, axis)) for y in found.outputs.values() for axis in y.axes)
    fixed = any(
        label == TIME and isinstance(n, int)
        for name, layout in found.layouts.items() for label, n in zip(layout, inputs[name].dims or (), strict=False)
    )  # fmt: skip
    single = any(isinstance(node.op, TimeStep) and node.op.index not in (0, -1) for node in found.graph.nodes)
    counts = {n for _, _, count in loops.sequences for n in (np.float32(count), np.float32(1 / count))}
    counted = any(not counts.isdisjoint(_numbers(node.op)) for node in found.graph.nodes)
    return loops.loops.isdisjoint(found.emit.unrolled) and not (merged and fixed) and not single and not counted


def _numbers(op: Op) -> list[np.float32]:
    """Return the single numbers that an op computes with."""
    if isinstance(op, Constant):
        return [np.float32(op.value.flat[0])] if op.value.size == 1 else []
    return [np.float32(op.activation.alpha)] if isinstance(op, Activate) and op.activation.name == "affine" else []


def _counted(loops: Rolled, found: Translation) -> list[str]:
    """Return what a user should know of loops that were written out."""
    counts = sorted({count for _, _, count in loops.sequences})
    steps = " and ".join(map(str, counts))
    return [f"a recurrence that the file has for {steps} steps runs over any number of them"]


def _steps(loops: Rolled, found: Translation, inputs: Mapping[str, Declared]) -> int:
    """The number of steps that a file with loops written out takes."""
    fixed = (
        n for name, layout in found.layouts.items()
        for label, n in zip(layout, inputs[name].dims or (), strict=False) if label == TIME and isinstance(n, int)
    )  # fmt: skip
    return next(fixed, loops.steps)


def _declared_output(value: Any) -> Declared:
    """An output as declared; its sizes are never relied on."""
    try:
        return declared(value)
    except ConvertError:
        return Declared(value.name, value.type.tensor_type.elem_type, None)


def _fixed(inputs: Mapping[str, Declared], fix: Mapping[str, Any]) -> dict[str, Any]:
    """The values of inputs that are given, as arrays of the inputs' types."""
    problems, found = [], {}
    for name, value in fix.items():
        if name not in inputs:
            problems.append(f"{named('fix')} must name inputs ({nearest(name, inputs)}), got {name!r}")
            continue
        dtype = helper.tensor_dtype_to_np_dtype(inputs[name].elem)
        try:
            array = np.asarray(value, dtype=dtype)
        except (TypeError, ValueError):
            problems.append(f"{named('fix')} of {name!r} must be {dtype} numbers, got {value!r}")
            continue
        dims = inputs[name].dims
        if dims is not None and (
            len(dims) != array.ndim
            or any(isinstance(d, int) and d != n for d, n in zip(dims, array.shape, strict=True))
        ):
            problems.append(f"{named('fix')} of {name!r} must be of shape {list(dims)}, got {array.shape}")
        found[name] = array
    if problems:
        raise ConvertError(listed(problems))
    return found


class _Attempt:
    """One translation, with one layout of the inputs."""

    def __init__(
        self, source: Source, inputs: Mapping[str, Declared], layouts: dict[str, Layout],
        fixed: Mapping[str, Any], pairs: dict[str, str], *, apart: bool = False, keep: bool = False,
        masked: bool = False,
    ) -> None:  # fmt: skip
        self.source, self.inputs, self.layouts, self.fixed, self.pairs = source, inputs, layouts, dict(fixed), pairs
        self.keep = keep  # final states of layers, whatever else there is
        self.emit = Emitter(ALLOWANCE + 16 * source.size)
        self.emit.apart, self.emit.masked = apart, masked
        self.emit.alike = any(
            label == BATCH and isinstance(n, int) for name, layout in layouts.items()
            for label, n in zip(layout, inputs[name].dims or (), strict=False)
        )  # fmt: skip
        self.timed = any(TIME in layout for layout in layouts.values())

    def run(self) -> Translation:
        try:
            return self.translated()
        except GraphError as error:
            raise ConvertError(str(error)) from error

    def translated(self) -> Translation:
        translator = Translator(self.source, self.emit)
        scope: ChainMap[str, Value] = ChainMap({**self.fixed, **{n: self.input(n) for n in self.inputs}})
        values = translator.graph(self.source.proto.graph, scope)
        names = [o.name for o in self.source.proto.graph.output]
        problems = translator.report()
        if problems and not translator.problems:
            raise Unsupported(listed(problems), translator.variable)
        if problems:
            raise NotConstant(listed(problems), translator.variable)
        outputs = {n: self.output(n, v) for n, v in zip(names, values, strict=True)}
        outputs = without_order(self.emit, outputs, {n for n, layout in self.layouts.items() if BATCH not in layout})
        found = self.finish(outputs, {n: scope[n] for n in self.pairs})
        return replace(found, trail=translator.trail, notes=(*translator.notes, *found.notes))

    def input(self, name: str) -> Tensor:
        """The value of an input, which is a state where it is paired."""
        declared, layout = self.inputs[name], self.layouts[name]
        shape = tuple(n for n in layout if isinstance(n, int))
        frames = iter(range(len(shape)))
        axes: list[Axis] = [(next(frames),) if isinstance(n, int) else (symbol(n),) for n in layout]
        if name in self.pairs:
            if declared.dtype != "float":
                raise ConvertError(f"state {name!r} must be float, got {declared.dtype}")
            (value,) = self.emit.add(State(np.zeros(shape, np.float32)), name=name)
        else:
            time = TIME in layout or (bool(self.pairs) and not self.timed)
            value = self.emit.input(name, Spec(shape, time, declared.dtype))
        return Tensor(value, tuple(axes), self.emit.specs[value], declared.elem)

    def output(self, name: str, value: Value) -> Tensor:
        """An output as a value of the graph with its frame in order."""
        call = Call.outside(name, self.source, self.emit)
        if isinstance(value, Scores):
            raise value.refused(f"output {name!r}")
        if not isinstance(value, Tensor | np.ndarray):
            reason = value.reason if isinstance(value, Unavailable) else "it is left out"
            raise ConvertError(f"output {name!r} must be a tensor: {reason}")
        return in_order(call, call.lift(value))

    def finish(self, values: dict[str, Tensor], states: dict[str, Value]) -> Translation:
        """The graph, once states are fed or found to be those of layers over time."""
        notes = []
        loops: dict[str, tuple[str, str]] = {}
        for name, output in self.pairs.items():
            state, following = states[name], values[output]
            assert isinstance(state, Tensor)
            if following.axes != state.axes or following.spec.shape != state.spec.shape:
                raise ConvertError(
                    f"state {name!r} must be returned in its shape {state}, got {output!r} of {following}"
                )
            loops[name] = (state.value, following.value)
        outputs = {n: y for n, y in values.items() if n not in self.pairs.values()} or values
        if self.timed:
            absorb(self.emit, loops)
            notes += [f"state {n} is that of layers over time" for n in loops]
            loops = {}
        left_out = {}
        if not self.emit.apart and not self.keep:
            ends = final_outputs(self.emit, {n: y.value for n, y in outputs.items()})
            left_out = {n: outputs[n] for n in ends}
            outputs = {n: y for n, y in outputs.items() if n not in ends}
            keeps = either("states={}", "--state none")
            notes += [
                f"output {n} is left out: it is the final state of layers over time ({keeps} keeps it)" for n in ends
            ]
        feedback = {**self.emit.feedback, **dict(loops.values())}
        graph = self.emit.build({n: y.value for n, y in outputs.items()}, feedback)
        if any(isinstance(node.op, StandIn) for node in graph.nodes):
            raise StatesApart("cell state at the end of an LSTM over time must be a state or left out, got it used")
        graph = self.paced(graph)
        notes += [f"{n} is given by lengths= of a call" for n in sorted(self.emit.lengths)]
        notes += self.emit.notes
        return Translation(graph, self.layouts, outputs, self.pairs, self.fixed, tuple(notes), self.emit, left_out)

    def paced(self, graph: Graph) -> Graph:
        """The graph without the input of lengths that those of a call take the place of.

        Raises
        ------
        LengthsApart
            When they cannot: they would count for more than the layers over time that read that input.
        """
        names = self.emit.lengths
        if not names:
            return graph
        whole = (State, Reverse, TimeReduce, TimeSoftmax, TimeStep)
        read = names.intersection(v for node in graph.nodes for v in node.inputs)
        if len(names) > 1 or read or self.emit.unpaced or any(isinstance(node.op, whole) for node in graph.nodes):
            raise LengthsApart("lengths of a call must only steer the layers over time, all of them, got others")
        inputs = {n: s for n, s in graph.inputs.items() if n not in names}
        return Graph(inputs, graph.nodes, graph.outputs, feedback=graph.feedback)
