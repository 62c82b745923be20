"""Traces: gates, states and layers' outputs of a model as it runs, by a second plan with the same arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._names import nearest
from ..engine import probe
from ..graph import Graph, Recurrent
from ..lowering.instructions import Line
from ..lowering.traced import lower_traced
from ..passes import fused
from ..running import Running
from .points import Point, Points

if TYPE_CHECKING:
    from ..engine import Plan, Stream
    from ..model import Model
    from .editing import Edit

Array = NDArray[Any]
MOST_PLANS = 8  # of a model, kept for calls with the same points


class Trace(Mapping[str, Array]):
    """Arrays by the names of points, in the order in which the model computes them.

    A gate or state of a layer of H units is (B, T, H), a layer's output as the model would give it; without B for a
    single sequence, without T for a step, or where a layer gives its last step alone. At steps that `lengths` or a mask
    leave out, gates are 0 and states keep what they were.

    Attributes
    ----------
    names : tuple of str
    """

    def __init__(self, arrays: Mapping[str, Array], aliases: Mapping[str, str]) -> None:
        self._arrays, self._aliases = arrays, aliases

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all points."""
        return tuple(self._arrays)

    def __getitem__(self, name: str) -> Array:
        own = self._arrays.get(name)
        if own is None and name in self._aliases:
            own = self._arrays[self._aliases[name]]
        if own is None:
            raise KeyError(f"trace must have the point, one of {nearest(name, self._arrays)}, got {name!r}")
        return own

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        rows = [(name, str(a.shape).replace("'", ""), *_range(a)) for name, a in self._arrays.items()]
        widths = [max(len(row[i]) for row in rows) for i in range(4)] if rows else []
        lines = [f"  {n:<{widths[0]}}  {s:<{widths[1]}}  {a:>{widths[2]}} to {b:>{widths[3]}}" for n, s, a, b in rows]
        return "\n".join([f"Trace of {len(rows)} point{'' if len(rows) == 1 else 's'}", *lines])


def _range(array: Array) -> tuple[str, str]:
    """The smallest and the largest number of an array as text."""
    if array.size == 0:
        return "nothing", "nothing"
    return f"{array.min():.3g}", f"{array.max():.3g}"


class Look:
    """What a model keeps to be traced: the names of its points, and the plans made for some."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.packed = fused(model.graph)
        self.points = Points(model.graph, self.packed)
        self.plans: dict[tuple[Point, ...], Traced] = {}

    def plan_for(self, points: tuple[Point, ...]) -> Traced:
        """The plan that shows these points; the oldest goes when there are too many."""
        found = self.plans.get(points)
        if found is None:
            if len(self.plans) >= MOST_PLANS:
                del self.plans[next(iter(self.plans))]
            found = self.plans[points] = Traced(self, points)
        return found

    def recurrent(self) -> dict[str, Recurrent]:
        """The recurrent layers whose steps can be seen, by name."""
        return {n.name: n.op for n in self.packed.nodes if isinstance(n.op, Recurrent) and not n.op.scan}


class Traced(Running):
    """A model's plan that shows some points, and runs as the model does."""

    def __init__(self, look: Look, points: Sequence[Point]) -> None:
        layers: dict[str, list[str]] = {}
        for point in points:
            if point.part:
                layers.setdefault(point.node, []).append(point.part)
        values = [point.value for point in points if not point.part]
        self.outputs_of_model = len(look.packed.outputs)
        shown = lower_traced(look.packed, values, layers)
        self.places = {
            point.name: shown.layers[point.node][0] if point.part else shown.values[point.value] for point in points
        }
        self.points = points
        self.aliases = {point.alias: point.name for point in points}
        self.parts = {p.name: shown.layers[p.node][1][p.part] for p in points if p.part}
        outputs = [shown.lowered.values[v] for v in shown.lowered.outputs]
        self.timed = {name: bool(outputs[at].time) for name, at in self.places.items()}
        self.several = len(outputs) > 1
        self.stepwise = not any(isinstance(ins, Line) for ins in shown.lowered.instructions)  # a step of all for each
        self._begin(look.model._plan_of(shown.lowered), look.model._signature)

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self._plan

    def check_steps(self, graph: Graph, x: Any, steps: Any) -> None:
        """Raise ValueError where a point has no such steps, before anything runs; of `x` that fits the model."""
        axis = 1 if batched(self, x) else 0
        shapes = {name: np.shape(a) for name, a in by_name(self, x).items() if self.inputs[name].time}
        if isinstance(steps, slice) or len(shapes) < len(self.inputs) or any(len(s) <= axis for s in shapes.values()):
            return
        counts = graph.lengths({name: shape[axis] for name, shape in shapes.items()})
        nodes = {node.name: node for node in graph.nodes}
        for point in self.points:
            value = nodes[point.node].inputs[0] if point.part else point.value
            if value in counts:
                _check_within(counts[value], steps, point.name)

    def split(self, outputs: Any, steps: Any, axis: int) -> tuple[Any, Trace]:
        """The model's output and the trace, of all that the plan gives; `axis` is that of time."""
        arrays = outputs if self.several else (outputs,)
        y = arrays[: self.outputs_of_model]
        found = {}
        for name, place in self.places.items():
            array = arrays[place]
            if name in self.parts:
                array = array[..., self.parts[name]]
            if steps is not None and self.timed[name]:
                array = _chosen(array, steps, axis, name)
            found[name] = array
        return (y if self.outputs_of_model > 1 else y[0]), Trace(found, self.aliases)


def _checked_steps(steps: Any) -> Any:
    """Return which steps to keep as a slice or an array of integers."""
    if steps is None or isinstance(steps, slice):
        return steps
    index = np.atleast_1d(np.asarray(steps))
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise TypeError(f"steps must be an integer, a slice or several integers, got {steps!r}")
    return index


def _chosen(array: Array, steps: Any, axis: int, name: str) -> Array:
    """Return some steps of an array."""
    count = array.shape[axis]
    if isinstance(steps, slice):
        return np.asarray(array[(slice(None),) * axis + (steps,)])
    _check_within(count, steps, name)
    return np.asarray(np.take(array, steps, axis=axis))


def _check_within(count: int, steps: Any, name: str) -> None:
    """Raise ValueError where some steps are none of so many."""
    wrong = [int(i) for i in steps if not -count <= i < count]
    if wrong:
        raise ValueError(f"steps must be within the {count} of {name!r}, got {wrong[0]}")


def look_of(model: Any) -> Look:
    """Return what a model keeps to be traced, made when it is first asked for."""
    own: Look | None = model.__dict__.get("_look")
    if own is None:
        own = model.__dict__["_look"] = Look(model)
    return own


def trace(
    model: Model, x: Any, points: str | Sequence[str], steps: Any, state: Any, lengths: Any, mask: Any
) -> tuple[Any, Trace]:
    """Run a model and show points of it; see `Model.trace`."""
    look, chosen = look_of(model), _checked_steps(steps)
    traced = look.plan_for(look.points.find(points))
    if chosen is not None:
        traced.check_steps(look.packed, x, chosen)
    outputs = traced(x, state=state, lengths=lengths, mask=mask, threads=1)
    return traced.split(outputs, chosen, 0 if chosen is None or not batched(traced, x) else 1)


def by_name(running: Running, x: Any) -> dict[str, Any]:
    """Return the inputs of a call by their names, as they are; fewer where some are missing."""
    names = list(running._signature.inputs)
    if isinstance(x, Mapping):
        return {name: x[name] for name in names if name in x}
    return dict(zip(names, x, strict=False)) if len(names) > 1 and isinstance(x, tuple | list) else {names[0]: x}


def batched(running: Running, x: Any) -> bool:
    """True if inputs have a batch axis."""
    specs = running._signature.inputs
    return any(np.ndim(a) > len(specs[name].shape) + specs[name].time for name, a in by_name(running, x).items())


def trace_stream(stream: Stream, x: Any, points: str | Sequence[str], steps: Any) -> tuple[Any, Trace]:
    """Run a step or a chunk of a stream and show points of it; see `Stream.trace`."""
    look, chosen = look_of_stream(stream), _checked_steps(steps)
    traced = look.plan_for(look.points.find(points))
    axis = 0 if stream.batch is None else 1
    chunk = _is_chunk(traced, x, axis)
    if steps is not None and not chunk:
        raise ValueError(f"steps must be omitted when x is a single step, got {steps!r}")
    twin = Watched.of(stream).twin_for(stream, traced)
    twin._follow(stream)
    if chunk or traced.stepwise:
        y, found = traced.split(twin.process(x) if chunk else twin.step(x), chosen, axis)
    else:
        y, found = _one_step(traced, *traced.split(twin.process(_as_chunk(x, traced, axis)), None, axis), axis)
    stream._follow(twin)
    return y, found


def _is_chunk(traced: Traced, x: Any, axis: int) -> bool:
    """True if inputs have a time axis; False if the first that may have one is a step."""
    specs = traced._signature.inputs
    timed = [(np.ndim(a), specs[name]) for name, a in by_name(traced, x).items() if specs[name].time]
    return not timed or timed[0][0] != len(timed[0][1].shape) + axis


def _as_chunk(x: Any, traced: Traced, axis: int) -> Any:
    """Steps as chunks of one."""
    specs = traced._signature.inputs
    made = {n: np.expand_dims(np.asarray(a), axis) if specs[n].time else a for n, a in by_name(traced, x).items()}
    return made if len(specs) > 1 else next(iter(made.values()))


def _one_step(traced: Traced, y: Any, found: Trace, axis: int) -> tuple[Any, Trace]:
    """The output and the trace of a chunk of one step without their axis of time."""
    arrays = {n: a.take(0, axis=axis) if traced.timed[n] and a.shape[axis] == 1 else a for n, a in found.items()}
    specs = list(traced.outputs.items())
    made = []
    for (name, spec), a in zip(specs, y if len(specs) > 1 else (y,), strict=True):
        if spec.time and a.shape[axis] != 1:
            raise ValueError(
                f"step must give one step of output {name!r}, got {a.shape[axis]} due now; give a chunk with an axis "
                "of time"
            )
        made.append(a.take(0, axis=axis) if spec.time else a)
    return (tuple(made) if len(specs) > 1 else made[0]), Trace(arrays, found._aliases)


def look_of_stream(stream: Stream) -> Look:
    """Return what a stream's model keeps to be traced.

    Raises
    ------
    TypeError
        When the model is a compiled plan.
    """
    if not hasattr(type(stream.model), "trace"):
        raise TypeError(
            "stream to look into must be of a model with its graph, got one of a compiled plan: load the .fgru file "
            "that it was compiled from"
        )
    return look_of(stream.model)


class Watched:
    """What a stream keeps to be looked into: a twin with a plan that shows points, and its edits.

    While edits are active the stream itself runs a plan that shows gates, and its own waits in `spare`.
    """

    def __init__(self, stream: Stream) -> None:
        from .editing import Editor

        self.look = look_of_stream(stream)
        self.traced: Traced | None = None
        self.twin: Stream | None = None
        self.spare: Stream | None = None
        self.editor = Editor(self.look.recurrent(), stream.batch is None)

    @classmethod
    def of(cls, stream: Stream) -> Watched:
        """The one of a stream, made when it is first asked for."""
        if stream._look is None:
            stream._look = cls(stream)
        found: Watched = stream._look
        return found

    def twin_for(self, stream: Stream, traced: Traced) -> Stream:
        """The stream of a plan that shows points, kept from call to call with the last plan."""
        if self.twin is None or self.traced is not traced:
            self.traced, self.twin = traced, probe.twin(stream, traced.plan)
        probe.edited_by(self.twin, self.editor if self.editor.edits else None)
        return self.twin

    def add(self, stream: Stream, edit: Edit) -> None:
        """Let an edit take effect from the next step on."""
        if not self.editor.edits:
            plain = self.look.plan_for(())
            self.spare = probe.twin(stream, plain.plan)
            self.spare._follow(stream)
            probe.exchange(stream, self.spare)
            probe.edited_by(stream, self.editor)
        self.editor.edits.append(edit)

    def remove(self, stream: Stream, edit: Edit) -> None:
        """End an edit."""
        self.editor.edits = [e for e in self.editor.edits if e is not edit]
        if not self.editor.edits and self.spare is not None:
            self.spare._follow(stream)
            probe.exchange(stream, self.spare)
            self.spare = None


__all__ = ["Look", "Trace", "trace"]
