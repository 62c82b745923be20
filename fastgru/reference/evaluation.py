"""Evaluating a graph: node by node over all steps, and feedback loops step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import graph as g
from .. import memory
from ..errors import GraphError
from ..graph.activations import F64
from ..graph.bases import steps_differ
from .cells import TOGETHER, State, f64, initial_state, run_recurrent
from .tensor import ALIGNED, DTYPES, LEAD, Array, Formula, aligned
from .tensor import FORMULAS as TENSOR
from .windows import FORMULAS as WINDOWS
from .windows import time_step

FORMULAS: dict[type[g.Op], Formula] = {**TENSOR, **WINDOWS}
Moved = Callable[[g.Node, Array], Array]


def apply(op: g.Op, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """The outputs of an op that keeps no state, for inputs (B, T, *frame) of one B and T."""
    if isinstance(op, ALIGNED):
        inputs = aligned(inputs)
    with np.errstate(all="ignore"):  # infinities and NaN are values like others
        y = FORMULAS[type(op)](op, *inputs)
    return tuple(y) if isinstance(y, tuple) else (y,)


def on_frames(op: g.Op, *frames: Any) -> tuple[Array, ...]:
    """The outputs of an op for single frames: what `run` gives for one row and step.

    Examples
    --------
    >>> on_frames(g.Transpose((1, 0)), np.ones((2, 3)))[0].shape
    (3, 2)
    """
    return tuple(y[0, 0] for y in apply(op, [np.asarray(frame)[None, None] for frame in frames]))


class _Run:
    """One evaluation of a graph: the values known so far, and the states at the end."""

    def __init__(
        self, graph: g.Graph, feeds: Mapping[str, Any], state: Mapping[str, Any], mask: Any, moved: Moved | None
    ) -> None:
        self.graph = graph
        self.state = state
        self.moved = moved
        self.mask = None if mask is None else np.asarray(mask, dtype=bool)
        self.final: State = {}
        self.values: dict[str, Array] = {}
        for name, spec in graph.inputs.items():
            array: Array = np.asarray(feeds[name], dtype=DTYPES[spec.dtype])
            self.values[name] = array if spec.time else array[:, None]
        self.batch = next(iter(self.values.values())).shape[0]
        timed = [n for n, spec in graph.inputs.items() if spec.time]
        self.steps = {graph.bases[n]: self.values[n].shape[1] for n in reversed(timed)}  # of each base

    def all(self) -> None:
        """Evaluate every node, each loop as a whole."""
        for unit in self.graph.units():
            self.loop(unit.nodes) if unit.is_loop else self.alone(unit.nodes[0])

    # Single nodes -------------------------------------------------------------------------------

    def inputs(self, node: g.Node, values: Mapping[str, Array]) -> list[Array]:
        """The node's inputs, broadcast to one B and T."""
        arrays = [values[v] for v in node.inputs]
        steps = {v: x.shape[1] for v, x in zip(node.inputs, arrays, strict=True) if self.graph.specs[v].time}
        if len(set(steps.values())) > 1:
            raise GraphError(steps_differ(f"inputs of node {node.name!r}", steps))
        lead = np.broadcast_shapes((1, 1), *(x.shape[:LEAD] for x in arrays))
        return [np.broadcast_to(x, (*lead, *x.shape[LEAD:])) for x in arrays]

    def alone(self, node: g.Node) -> None:
        """Evaluate a node over all steps."""
        if isinstance(node.op, g.State):
            self.delay(node, node.op)
        elif _keeps_state(node.op):
            self.recur(node, self.values, self.values, self.start(node), self.mask)
        elif isinstance(node.op, g.TimeStep) and self.mask is not None:
            self.values[node.outputs[0]] = time_step(node.op, self.inputs(node, self.values)[0], self.mask)
        else:
            self.values.update(zip(node.outputs, self.applied(node, self.values), strict=True))

    def applied(self, node: g.Node, values: Mapping[str, Array]) -> tuple[Array, ...]:
        """The outputs of a node that keeps no state, for these values."""
        inputs = self.inputs(node, values)
        try:
            outputs = apply(node.op, inputs)
        except GraphError as error:
            raise GraphError(f"node {node.name!r}: {error}") from error
        return outputs if self.moved is None else tuple(self.moved(node, y) for y in outputs)

    def delay(self, node: g.Node, op: g.State) -> None:
        """A State outside of loops: what feeds it, one step later."""
        fed = self.full(self.values[self.graph.feedback[node.outputs[0]]])
        steps = [self.held(node, op)]
        for t in range(fed.shape[1]):
            mask = None if self.mask is None else self.mask[:, t : t + 1]
            steps.append(self.kept(fed[:, t : t + 1], steps[-1], mask))
        joined = np.concatenate(steps, axis=1)
        self.values[node.outputs[0]], self.final[node.name] = joined[:, :-1], joined[:, -1]

    def kept(self, fed: Array, held: Array, mask: Any) -> Array:
        """Return the value of a State behind a step, (B, 1, *frame): what it was fed where the step counts."""
        if mask is None:
            return fed
        return np.where(mask.reshape(mask.shape + (1,) * (fed.ndim - LEAD)), fed, held)

    def held(self, node: g.Node, op: g.State) -> F64:
        """Return the value of a State at the first step, (B, 1, *frame)."""
        first = f64(self.state.get(node.name, op.initial))
        return np.broadcast_to(first, (self.batch, *op.initial.shape))[:, None]

    def start(self, node: g.Node) -> State:
        """The states of a recurrent node before the first step: those given, else the op's own."""
        found = initial_state(node.op, self.batch)  # type: ignore[arg-type]
        found.update({n: f64(self.state[k]) for n in found if (k := f"{node.name}.{n}") in self.state})
        return found

    def recur(
        self, node: g.Node, values: Mapping[str, Array], into: dict[str, Array], start: State, mask: Any
    ) -> State:
        """Run a recurrent node from `start`; returns its states, which are also the final ones so far."""
        x, *masks = map(self.full, self.inputs(node, values))
        masks += [] if mask is None else [mask]
        y, state = run_recurrent(node.op, x, start, np.logical_and.reduce(masks) if masks else None)  # type: ignore[arg-type]
        into[node.outputs[0]] = y if y.ndim == x.ndim else y[:, None]
        self.final.update({f"{node.name}.{n}": a for n, a in state.items()})
        return state

    def full(self, x: Array) -> Array:
        """`x` for every row, where it depends on none."""
        return np.broadcast_to(x, (self.batch, *x.shape[1:]))

    # Loops --------------------------------------------------------------------------------------

    def loop(self, nodes: Sequence[g.Node]) -> None:
        """Evaluate the nodes of a feedback loop step by step."""
        written = {v: self.graph.specs[v] for node in nodes for v in node.outputs}
        read = {v for node in nodes for v in node.inputs if v not in written}
        timed = {v for v in read if self.graph.specs[v].time}
        counts = {v: self.values[v].shape[1] for v in sorted(timed)}
        lengths = sorted(set(counts.values()))
        if len(lengths) > 1:
            raise GraphError(steps_differ(f"values read by the loop of {nodes[0].name!r}", counts))
        past = {v: [np.zeros((self.batch, 0, *spec.shape), DTYPES[spec.dtype])] for v, spec in written.items()}
        held = {n.outputs[0]: self.held(n, n.op) for n in nodes if isinstance(n.op, g.State)}
        states = {n.name: self.start(n) for n in nodes if _keeps_state(n.op) and not isinstance(n.op, g.State)}
        for t in range(lengths[0] if lengths else self.steps.get(self.graph.bases[nodes[0].outputs[0]], 1)):
            now = {v: self.values[v][:, t : t + 1] if v in timed else self.values[v] for v in read} | held
            mask = None if self.mask is None else self.mask[:, t : t + 1]
            for node in nodes:
                if node.name in states:
                    states[node.name] = self.recur(node, now, now, states[node.name], mask)
                elif node.outputs[0] not in held:
                    self.step(node, now, past)
            for v, arrays in past.items():
                arrays.append(now[v])
            held = {v: self.kept(now[self.graph.feedback[v]], held[v], mask) for v in held}
        self.values.update((v, np.concatenate(arrays, axis=1)) for v, arrays in past.items())
        for node in nodes:
            if node.outputs[0] in held:
                self.final[node.name] = held[node.outputs[0]][:, 0]

    def step(self, node: g.Node, now: dict[str, Array], past: Mapping[str, list[Array]]) -> None:
        """Write what a node of a loop gives at this step; one that looks back sees all steps so far."""
        values = now
        if isinstance(node.op, g.Temporal):
            values = now | {v: np.concatenate([*past[v], now[v]], axis=1) for v in node.inputs if v in past}
        outputs = self.applied(node, values)
        now.update({v: self.full(y[:, -1:]) for v, y in zip(node.outputs, outputs, strict=True)})


def _keeps_state(op: g.Op) -> bool:
    return bool(op.states())


def check_memory(graph: g.Graph, batch: int, steps: int | Mapping[str, int], runs: int = 1) -> None:
    """Raise MemoryLimitError if the values of all nodes, which `runs` evaluations hold, need more than the limit.

    Parameters
    ----------
    steps : int or mapping of str to int
        As `Graph.lengths` takes them.
    """
    try:
        lengths = graph.lengths(steps)
    except GraphError:
        return  # the evaluation says so and names the node
    needed = {v: batch * lengths.get(v, 1) * math.prod(spec.shape) * 8 for v, spec in graph.specs.items()}
    memory.check(runs * sum(needed.values()), "the float64 reference", max(needed, key=needed.__getitem__))


def _check_axes(graph: g.Graph, feeds: Mapping[str, Any]) -> None:
    """Raise GraphError unless every input is there, with a batch axis, a time axis where it has one, and its frame."""
    for name, spec in graph.inputs.items():
        if name not in feeds:
            raise GraphError(f"x must have the inputs {', '.join(graph.inputs)}, got {', '.join(map(str, feeds))}")
        shape, axes = np.shape(feeds[name]), ["B", *["T"] * spec.time, *map(str, spec.shape)]
        if len(shape) != len(axes) or shape[len(axes) - len(spec.shape) :] != spec.shape:
            alone = len(shape) == len(axes) - 1 and shape[len(shape) - len(spec.shape) :] == spec.shape
            hint = ": add the batch axis B in front, x[None]" if alone else ""
            raise GraphError(f"input {name!r} must have shape ({', '.join(axes)}), got {shape}{hint}")


def run(
    graph: g.Graph,
    x: Any,
    *,
    state: Mapping[str, Any] | None = None,
    mask: Any = None,
    together: bool = False,
    moved: Moved | None = None,
) -> tuple[tuple[Any, ...], State]:
    """Evaluate `graph` in float64.

    Parameters
    ----------
    x : (B, T, *frame) or (B, *frame) array, or a mapping of input name to array
    state : mapping, optional
        ``"<node>.<state>"`` to (B, size), and the names of State nodes to (B, *frame); what is missing starts from the
        op's initial state.
    mask : (B, T) bool array, optional
        Steps that count: the others change no state.
    together : bool
        Round the operands of products by one scale for all rows and steps that are multiplied at once, not for each.
    moved : callable, optional
        Gives, for a node that keeps no state and one of its outputs, the array that others read in its place: to see
        what follows from an error there.

    Returns
    -------
    outputs : tuple of arrays
    state : dict
        The final states, keyed like `state`.

    Raises
    ------
    GraphError
        When an input has another shape; when ids lie outside of what they index, or the number of steps does not
        fit, naming the node.
    MemoryLimitError
        When the values would need more than `fastgru.memory` allows.
    """
    feeds = x if isinstance(x, Mapping) else {next(iter(graph.inputs)): x}
    _check_axes(graph, feeds)
    shapes = [np.shape(feeds[name]) for name in graph.inputs]
    steps = {n: shape[1] for (n, spec), shape in zip(graph.inputs.items(), shapes, strict=True) if spec.time}
    check_memory(graph, shapes[0][0], steps)
    work = _Run(graph, feeds, state or {}, mask, moved)
    token = TOGETHER.set(together)
    try:
        with np.errstate(all="ignore"):  # infinities and NaN are values like others
            work.all()
    finally:
        TOGETHER.reset(token)
    outputs = [work.full(work.values[name]) for name in graph.outputs]
    timed = [graph.specs[name].time for name in graph.outputs]
    return tuple(y if time else y[:, 0] for y, time in zip(outputs, timed, strict=True)), work.final
