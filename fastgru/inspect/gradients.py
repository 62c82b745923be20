"""Reverse mode over a graph: from gradients, or relevance, of outputs to those of every value, state and input.

Forward values come from the float64 reference; going back, each op has a row in a table that stands beside the
reference's formulas: `ROWS` for gradients, and that of `attribution_relevance` for relevance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from .. import graph as g
from .. import reference
from ..graph.activations import F64
from ..reference import State, f64, initial_state, run_recurrent
from ..reference.tensor import LEAD
from .gradients_cells import STEPS_BACK, StepBack, sequence_back
from .gradients_tensor import ROWS as TENSOR
from .gradients_tensor import Array, Row, back_through
from .gradients_windows import ROWS as WINDOWS

ROWS: dict[type[g.Op], Row] = {**TENSOR, **WINDOWS}
Values = dict[str, Array]


class Rules(Protocol):
    """How a sweep goes back through nodes."""

    def node(self, node: g.Node, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
        """Return what the inputs of a node get, None for those that are no floats."""

    def cell(self, node: g.Node) -> StepBack:
        """Return one step back of a recurrent node."""


class Gradients:
    """The rules of plain gradients."""

    def node(self, node: g.Node, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
        """Return vector-Jacobian products."""
        return back_through(ROWS, node, xs, ys, gs)

    def cell(self, node: g.Node) -> StepBack:
        """Return the step of `STEPS_BACK`."""
        return STEPS_BACK[type(node.op)]


def unrounded(graph: g.Graph) -> g.Graph:
    """Return a graph whose products round no activations; weights keep the numbers that their precision gave them.

    Rounding has a gradient of zero wherever it has one: what an int8 model computes is followed as if it did not round
    while it ran.
    """

    def change(node: g.Node) -> g.Op:
        if g.precision_of(node.op) == "float32":
            return node.op
        op: g.Op = node.op.replace(**node.op.in_precision("float32"))
        return op

    rounded = any(g.precision_of(node.op) != "float32" for node in graph.nodes)
    return graph.with_ops(change) if rounded else graph


def evaluate(graph: g.Graph, feeds: Mapping[str, Any], state: Mapping[str, Any] | None = None) -> Values:
    """Return every value of a graph by name, (B, T, *frame), with T = 1 where it has no time."""
    names = [value for node in graph.nodes for value in node.outputs]
    whole = g.Graph(graph.inputs, graph.nodes, names, graph.feedback) if names else graph
    found: Values = dict(zip(names, reference.run(whole, feeds, state=state)[0], strict=True)) if names else {}
    found.update({name: np.asarray(feeds[name]) for name in graph.inputs})
    return {name: a if graph.specs[name].time else a[:, None] for name, a in found.items()}


def keeps_state(op: g.Op) -> bool:
    """True of a recurrent layer that runs along time."""
    return isinstance(op, g.Recurrent) and not op.scan


class Sweep:
    """One way back through a graph.

    Attributes
    ----------
    found : dict
        Of every value that something flowed to: an array of its shape.
    states : dict
        The same of the states before the first step, by the keys of `Graph.states`: (B, *shape).
    """

    def __init__(self, graph: g.Graph, values: Values, rules: Rules, state: Mapping[str, Any] | None = None) -> None:
        self.graph, self.values, self.rules, self.given = graph, values, rules, state or {}
        self.found: dict[str, F64] = {}
        self.states: dict[str, F64] = {}
        self.batch = len(next(iter(values.values())))

    def run(self, seeds: Mapping[str, F64]) -> None:
        """Go back from what some values are given, arrays (B, T, *frame) of their shapes."""
        for name, seed in seeds.items():
            self.give(name, seed)
        for unit in reversed(self.graph.units()):
            if unit.is_loop:
                self.loop(unit.nodes)
            else:
                self.alone(unit.nodes[0])

    def give(self, name: str, more: F64, at: slice = slice(None)) -> None:
        """Add to what a value got, over some of its steps."""
        if name not in self.found:
            self.found[name] = np.zeros(self.values[name].shape)
        into = self.found[name]
        if into.shape[1] == 1 and more.shape[1] > 1:  # a value without time, read at every step
            more = more.sum(axis=1, keepdims=True)
        into[:, at if self.graph.specs[name].time else slice(None)] += more

    # Single nodes -------------------------------------------------------------------------------

    def alone(self, node: g.Node) -> None:
        """Go back through a node over all steps."""
        if not any(v in self.found for v in node.outputs):
            return
        gs = [self.found.get(v, np.zeros(0)) for v in node.outputs]
        gs = [a if a.size else np.zeros(self.values[v].shape) for a, v in zip(gs, node.outputs, strict=True)]
        if isinstance(node.op, g.State):
            self.give(self.graph.feedback[node.outputs[0]], gs[0][:, 1:], slice(0, -1))
            self.begin(node.name, gs[0][:, 0])
            return
        xs = self.inputs(node, slice(None))
        if keeps_state(node.op):
            start = self.start(node)
            none = {name: np.zeros_like(a) for name, a in start.items()}
            back = gs[0] if node.op.return_sequences else gs[0][:, 0]  # type: ignore[attr-defined]
            gx, first = self.recur(node, xs, start, back, none)
            self.give(node.inputs[0], gx)
            self.end(node, first)
            return
        self.spread(node, self.rules.node(node, xs, [self.values[v] for v in node.outputs], gs), slice(None))

    def inputs(self, node: g.Node, at: slice) -> list[Array]:
        """The node's inputs over some steps, broadcast to one number of steps."""
        arrays = [self.values[v] for v in node.inputs]
        arrays = [a[:, at] if self.graph.specs[v].time else a for v, a in zip(node.inputs, arrays, strict=True)]
        steps = max(
            (a.shape[1] for v, a in zip(node.inputs, arrays, strict=True) if self.graph.specs[v].time), default=1
        )
        return [np.broadcast_to(a, (a.shape[0], steps, *a.shape[LEAD:])) for a in arrays]

    def spread(self, node: g.Node, backs: Sequence[Any], at: slice) -> None:
        """Give the inputs of a node what is theirs."""
        for value, back in zip(node.inputs, backs, strict=True):
            if back is not None:
                self.give(value, back, at)

    def start(self, node: g.Node) -> State:
        """The states of a recurrent node before the first step."""
        found = initial_state(node.op, self.batch)  # type: ignore[arg-type]
        found.update({n: f64(self.given[k]) for n in found if (k := f"{node.name}.{n}") in self.given})
        return found

    def recur(self, node: g.Node, xs: Sequence[Array], start: State, gy: F64, final: State) -> tuple[F64, State]:
        """Go back through a recurrent node over the steps of its inputs."""
        mask = xs[1] if len(xs) > 1 else None
        return sequence_back(self.rules.cell(node), node.op, xs[0], start, mask, gy, final)  # type: ignore[arg-type]

    def begin(self, key: str, first: F64) -> None:
        """Keep what the state `key` got before the first step."""
        self.states[key] = self.states.get(key, 0.0) + first

    def end(self, node: g.Node, first: State) -> None:
        """Keep what the states of a recurrent node got."""
        for name, array in first.items():
            self.begin(f"{node.name}.{name}", array)

    # Loops --------------------------------------------------------------------------------------

    def loop(self, nodes: Sequence[g.Node]) -> None:
        """Go back through a feedback loop, from the last step to the first."""
        if not any(v in self.found for node in nodes for v in node.outputs):
            return
        held = [node for node in nodes if isinstance(node.op, g.State)]
        steps = self.values[held[0].outputs[0]].shape[1]
        for node in nodes:
            for v in node.outputs:
                self.found.setdefault(v, np.zeros(self.values[v].shape))
        before = {node.name: self.trajectory(node, steps) for node in nodes if keeps_state(node.op)}
        after = {name: {n: np.zeros_like(a) for n, a in states[0].items()} for name, states in before.items()}
        for t in reversed(range(steps)):
            for node in reversed(nodes):
                if isinstance(node.op, g.State):
                    continue
                if node.name in before:
                    self.recur_once(node, t, before[node.name][t], after)
                else:
                    self.once(node, t)
            for node in held:
                (value,) = node.outputs
                back = self.found[value][:, t : t + 1]
                if t:
                    self.give(self.graph.feedback[value], back, slice(t - 1, t))
                else:
                    self.begin(node.name, back[:, 0])
        for node in nodes:
            if node.name in after:
                self.end(node, after[node.name])

    def once(self, node: g.Node, t: int) -> None:
        """Go back through one step of a node; one that looks back gives to all steps before."""
        at = slice(0, t + 1) if isinstance(node.op, g.Temporal) else slice(t, t + 1)
        gs, ys = [], []
        for value in node.outputs:
            here = self.found[value][:, at].copy()
            here[:, :-1] = 0.0
            gs.append(here)
            ys.append(self.values[value][:, at])
        self.spread(node, self.rules.node(node, self.inputs(node, at), ys, gs), at)

    def recur_once(self, node: g.Node, t: int, before: State, after: dict[str, State]) -> None:
        """Go back through one step of a recurrent node in a loop."""
        at = slice(t, t + 1)
        gy = self.found[node.outputs[0]][:, at]
        gx, after[node.name] = self.recur(node, self.inputs(node, at), before, gy, after[node.name])
        self.give(node.inputs[0], gx, at)

    def trajectory(self, node: g.Node, steps: int) -> list[State]:
        """The states of a recurrent node in a loop before each step."""
        states = [self.start(node)]
        for t in range(steps - 1):
            x, *masks = self.inputs(node, slice(t, t + 1))
            states.append(run_recurrent(node.op, x, states[-1], masks[0] if masks else None)[1])  # type: ignore[arg-type]
        return states
