"""An ONNX model to a Graph: axes decided, states paired, nodes translated, and what was decided written down."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from ..._hints import named, option
from ..._names import nearest
from ...errors import ConvertError, GraphError, listed
from ...graph import Graph, Spec, State
from ..tensors.emit import Emitter
from ..tensors.values import Axis, Tensor, Unavailable, Value, is_time
from ..tensors.views import in_order
from .axes import Declared, Layout, candidates, declared, declared_inputs, layouts_shown
from .call import Call, NotConstant
from .exposed import Trail
from .folding import ALLOWANCE
from .graph import Translator
from .reading import Source, read
from .states import FinalState, StatesApart, absorb, ends_only, pair


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
    trail : Trail
        The nodes of the model that it was made of.
    """

    graph: Graph
    layouts: dict[str, Layout]
    outputs: dict[str, Tensor]
    states: dict[str, str]
    fixed: dict[str, Any]
    notes: tuple[str, ...]
    emit: Emitter
    trail: Trail = field(default_factory=Trail)


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
    layouts, guesses = candidates(inputs, shapes or {}, axes or {})
    failures: list[ConvertError] = []
    for layout in layouts:
        try:
            return _Attempt(source, inputs, layout, fixed, pairs).run()
        except StatesApart as error:
            failures.append(error)
        except ConvertError as error:
            failures.append(error)
            continue
        if states is None:
            try:
                found = _Attempt(source, inputs, layout, fixed, {}, apart=True).run()
                told = (
                    f"no layer can hold state {n}: it is given at every call, and {o} returned"
                    for n, o in pairs.items()
                )
                return replace(found, notes=(*found.notes, *told))
            except ConvertError as error:
                failures[-1] = error
    first = failures[0]
    if not guesses and not any(isinstance(a, str) for layout in layouts[0].values() for a in layout):
        raise first
    raise NotConstant(
        f"{first}\nThis is with the axes {layouts_shown(layouts[0])}; sizes can be fixed by {option('shapes')} or "
        f"told by {option('axes')}",
        getattr(first, "inputs", frozenset()),
    ) from first


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
        self, source: Source, inputs: Mapping[str, Declared], layouts: dict[str, Layout], fixed: dict[str, Any],
        pairs: dict[str, str], *, apart: bool = False,
    ) -> None:  # fmt: skip
        self.source, self.inputs, self.layouts, self.fixed, self.pairs = source, inputs, layouts, fixed, pairs
        self.emit = Emitter(ALLOWANCE + 16 * source.size)
        self.emit.apart = apart
        self.timed = any(is_time(a) for layout in layouts.values() for a in layout)

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
        if problems:
            raise NotConstant(listed(problems), translator.variable)
        outputs = {n: self.output(n, v) for n, v in zip(names, values, strict=True)}
        return replace(self.finish(outputs, {n: scope[n] for n in self.pairs}), trail=translator.trail)

    def input(self, name: str) -> Tensor:
        """The value of an input, which is a state where it is paired."""
        declared, layout = self.inputs[name], self.layouts[name]
        shape = tuple(n for n in layout if isinstance(n, int))
        frames = iter(range(len(shape)))
        axes: list[Axis] = [(next(frames),) if isinstance(n, int) else (n,) for n in layout]
        if name in self.pairs:
            if declared.dtype != "float":
                raise ConvertError(f"state {name!r} must be float, got {declared.dtype}")
            (value,) = self.emit.add(State(np.zeros(shape, np.float32)), name=name)
        else:
            time = any(is_time(a) for a in layout) or (bool(self.pairs) and not self.timed)
            value = self.emit.input(name, Spec(shape, time, declared.dtype))
        return Tensor(value, tuple(axes), self.emit.specs[value], declared.elem)

    def output(self, name: str, value: Value) -> Tensor:
        """An output as a value of the graph with its frame in order."""
        call = Call.outside(name, self.source, self.emit)
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
            absorb(self.emit, loops, self.emit.starts)
            notes += [f"state {n} is that of layers over time" for n in loops]
            loops = {}
        ends = [n for n, y in outputs.items() if ends_only(self.emit, y.value)]
        if len(ends) < len(outputs) and not self.emit.apart:
            outputs = {n: y for n, y in outputs.items() if n not in ends}
            notes += [f"output {n} is left out: it is the final state of layers over time" for n in ends]
        feedback = {**self.emit.feedback, **dict(loops.values())}
        graph = self.emit.build({n: y.value for n, y in outputs.items()}, feedback)
        if any(isinstance(node.op, FinalState) for node in graph.nodes):
            raise StatesApart("cell state at the end of an LSTM over time must be a state or left out, got it used")
        notes += [f"{n} is given by lengths= of a call" for n in sorted(self.emit.lengths)]
        graph = _without_inputs(graph, self.emit.lengths)
        return Translation(graph, self.layouts, outputs, self.pairs, self.fixed, tuple(notes), self.emit)


def _without_inputs(graph: Graph, names: set[str]) -> Graph:
    """The graph without inputs that no node reads."""
    if not names:
        return graph
    read = {v for node in graph.nodes for v in node.inputs} & names
    if read:
        raise ConvertError(f"lengths must only steer layers over time, got {sorted(read)} read elsewhere")
    inputs = {n: s for n, s in graph.inputs.items() if n not in names}
    return Graph(inputs, graph.nodes, graph.outputs, feedback=graph.feedback)
