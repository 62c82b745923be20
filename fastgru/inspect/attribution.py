"""Attribution: how much each input of a model has to do with an output, on the float64 reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import graph as g
from .._arrays import as_array
from .._names import nearest
from ..errors import AttributionError
from ..graph.activations import F64
from .attribution_paths import integrate
from .attribution_relevance import MOVES, Relevance
from .attribution_targets import Inputs, Target, baseline_of, graph_of, inputs_of, target_of
from .gradients import ROWS, Gradients, Sweep, Values, evaluate, unrounded
from .gradients_cells import StepBack
from .gradients_tensor import Array, back_through

METHODS = ("gradient", "integrated_gradients", "lrp")
CONSERVED = 1e-6  # of relevance: how far its sum may be from the output, relative where that is above 1
LEAST = 1e-12  # tolerance: float64 rounds
EPSILON = 1e-3  # of the epsilon rule, that of Arras et al.'s code


class Parts(NamedTuple):
    """What an attribution adds up to, for each row: arrays (B,).

    Attributes
    ----------
    output : array
        The output that is explained, by the float64 reference.
    baseline : array
        The same for the baseline; zeros for methods without one.
    biases : dict of str to array
        By node, what belongs to biases and constants (lrp).
    states : dict of str to array
        By the keys of `Stream.state`, what belongs to the states before the first step (lrp).
    stabiliser : array
        What epsilon took (lrp).
    gap : array
        What is missing: output - baseline - all the others; NaN for gradients, which add up to nothing.
    """

    output: F64
    baseline: F64
    biases: dict[str, F64]
    states: dict[str, F64]
    stabiliser: F64
    gap: F64


def attribute(
    model: Any,
    x: Any,
    output: Any,
    method: str = "gradient",
    *,
    name: str | None = None,
    baseline: Any = None,
    state: Mapping[str, Any] | None = None,
    tolerance: float = 1e-4,
    epsilon: float = EPSILON,
    return_parts: bool = False,
) -> Any:
    """Return what each number of the input has to do with one number of the output.

    Computed in float64 on the reference, whatever the model computes in; a model with rounded weights is followed
    with these weights, and without rounding while it runs.

    Parameters
    ----------
    model : Model
    x : (T, I) or (B, T, I) array; ids: (T,) or (B, T)
        As a call of the model takes it; a tuple or mapping where there are several inputs.
    output : int, pair or array
        What to explain. A unit of the output, at its last step if it has time; a pair (step, unit), negative ones from
        the end; or an array of weights of the output's shape, whose weighted sum is explained. A unit of a frame of
        several axes is a tuple.
    method : {"gradient", "integrated_gradients", "lrp"}
        gradient: how fast the output changes with each number. integrated_gradients: how much of the output's
        difference to that of a baseline comes from each number (arXiv:1703.01365). lrp: how the output divides among
        inputs, biases and initial states (doi:10.18653/v1/W17-5221); `fastgru.inspect.attribution_relevance` lists the
        rules.
    name : str, optional
        Of the output, where there are several.
    baseline : array, tuple or mapping, optional
        Of integrated_gradients: what broadcasts to the input; zeros when omitted, and vectors of zeros for ids.
    state : mapping, optional
        Where to start from, as for a call of the model.
    tolerance : float
        How far integrated gradients may be from complete: absolute where the difference is up to 1, relative above.
    epsilon : float
        Of lrp: added to sums that relevance is divided by. Larger ones calm sums near zero.
    return_parts : bool
        Also return `Parts`, what it all adds up to.

    Returns
    -------
    float64 array of the shape of x, or a tuple or dict of them like x. An id gets the sum over its vector; what only
    chooses (a mask, a bool) gets 0. With `return_parts`, a pair of that and `Parts`.

    Raises
    ------
    ValueError, TypeError
        When an argument does not fit.
    GraphError
        When the method has no rule for a node, naming it.
    AttributionError
        When integrated gradients do not complete, relevance is not conserved, or neither is finite.

    Examples
    --------
    >>> from fastgru import Model
    >>> from fastgru.layers import Dense
    >>> model = Model([Dense(np.array([[1.0, -2.0]]))])
    >>> attribute(model, np.array([[3.0, 4.0]]), 0)
    array([[ 1., -2.]])
    >>> attribute(model, np.array([[3.0, 4.0]]), 0, "integrated_gradients")
    array([[ 3., -8.]])
    """
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    for what, value, least in (("tolerance", tolerance, LEAST), ("epsilon", epsilon, 0)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < np.inf:
            raise ValueError(f"{what} must be a number of at least {least:g}, got {value!r}")
    if baseline is not None and method != "integrated_gradients":
        raise ValueError(f"baseline must be omitted for method {method!r}, got one")
    graph = unrounded(graph_of(model))
    given = inputs_of(graph, x)
    with np.errstate(all="ignore"):
        work = _Work(graph, given, state)
        target = target_of(graph, output, name, work.values, batched=given.batched)
        if method == "lrp":
            found, parts = work.relevance(target, float(epsilon))
        elif method == "gradient":
            found, parts = work.gradient(target)
        else:
            found, parts = work.integrated(target, baseline_of(graph, given, baseline), float(tolerance))
        whole = work.of_inputs(found)
    if not all(np.isfinite(a).all() for a in whole.values()):
        raise AttributionError(f"attribution must be finite, got NaN or infinity: method {method!r} has none at this x")
    return (given.like(whole), parts) if return_parts else given.like(whole)


def _checked_state(graph: g.Graph, state: Any, batch: int) -> dict[str, F64]:
    """Return states to start from by key, (B, *shape) each.

    Raises
    ------
    ValueError, TypeError
        When a name, a shape or a number does not fit.
    """
    if state is None:
        return {}
    if not isinstance(state, Mapping):
        raise TypeError(f"state must be a mapping of names to arrays, got {type(state).__name__}")
    known = {slot.key: slot for slot in graph.states()}
    found = {}
    for key, given in state.items():
        if key not in known:
            raise ValueError(f"state must be of {nearest(key, known)}; got {key!r}")
        op, array = known[key].node.op, np.asarray(as_array(given, f"state[{key!r}]"), dtype=np.float64)
        shape = op.initial.shape if isinstance(op, g.State) else (known[key].size,)
        if array.shape not in (shape, (batch, *shape)):
            raise ValueError(f"state[{key!r}] must have shape {(batch, *shape)}, got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"state[{key!r}] must be finite, got NaN or infinity")
        found[key] = np.broadcast_to(array, (batch, *shape))
    return found


class _Work:
    """One attribution: the graph cut behind what turns ids into vectors, and the values of the inputs given."""

    def __init__(self, graph: g.Graph, given: Inputs, state: Any) -> None:
        self.graph, self.given = graph, given
        self.batch = len(next(iter(given.feeds.values())))
        self.state = _checked_state(graph, state, self.batch)
        self.values = evaluate(graph, given.feeds, self.state)
        self.lookups = _lookups(graph)
        cut = {node.outputs[0]: graph.specs[node.outputs[0]] for node in self.lookups}
        nodes = [node for node in graph.nodes if node not in self.lookups]
        self.inner = g.Graph({**graph.inputs, **cut}, nodes, graph.outputs, graph.feedback) if cut else graph
        floats = [name for name, spec in graph.inputs.items() if spec.dtype == "float"]
        self.entries = [*floats, *cut]

    def seeded(self, target: Target, values: Values, rules: Any, *, weighted: bool = False) -> Sweep:
        """Go back from the target to all entries."""
        times = len(next(iter(values.values()))) // self.batch
        seed = np.tile(target.weights, (times, *[1] * (target.weights.ndim - 1)))
        start = {key: np.tile(a, (times, *[1] * (a.ndim - 1))) for key, a in self.state.items()}
        sweep = Sweep(self.inner, values, rules, start)
        sweep.run({target.name: seed * values[target.name] if weighted else seed})
        return sweep

    def taken(self, sweep: Sweep) -> dict[str, F64]:
        """What the entries got."""
        return {n: sweep.found.get(n, np.zeros(sweep.values[n].shape)) for n in self.entries}

    def _sum(self, target: Target, values: Values) -> F64:
        y = values[target.name]
        weights = np.tile(target.weights, (len(y) // self.batch, *[1] * (y.ndim - 1)))
        return np.asarray((weights * y).reshape(len(y), -1).sum(axis=1))

    def gradient(self, target: Target) -> tuple[dict[str, F64], Parts]:
        """The gradient of the target."""
        sweep = self.seeded(target, self.values, Gradients())
        zeros, nothing = np.zeros(self.batch), np.full(self.batch, np.nan)
        return self.taken(sweep), Parts(self._sum(target, self.values), zeros, {}, {}, zeros, nothing)

    def relevance(self, target: Target, epsilon: float) -> tuple[dict[str, F64], Parts]:
        """The relevance of the entries, which with that of biases and states is the target."""
        book = Relevance(self.inner, self.batch, epsilon)
        sweep = self.seeded(target, self.values, book, weighted=True)
        found, output = self.taken(sweep), self._sum(target, self.values)
        states = {key: a.reshape(self.batch, -1).sum(axis=1) for key, a in sweep.states.items()}
        known = [a.reshape(self.batch, -1).sum(axis=1) for a in found.values()]
        gap = output - sum(known) - sum(states.values()) - sum(book.biases.values()) - book.stabiliser
        if not (np.abs(gap) <= CONSERVED * np.maximum(1.0, np.abs(output))).all():
            raise AttributionError(
                f"relevance must sum to the output {output[np.argmax(np.abs(gap))]:.6g}, got a gap of "
                f"{np.abs(gap).max():.2g}: sums near zero make shares too large; give a larger epsilon than {epsilon:g}"
            )
        return found, Parts(output, np.zeros(self.batch), book.biases, states, book.stabiliser, gap)

    def integrated(
        self, target: Target, baseline: dict[str, Array] | None, tolerance: float
    ) -> tuple[dict[str, F64], Parts]:
        """Gradients integrated from the baseline."""
        last = {name: self._external(name, self.values) for name in self.entries}
        first = {name: np.zeros_like(a) for name, a in last.items()}
        if baseline is not None:
            before = evaluate(self.graph, baseline, self.state)
            first = {name: self._external(name, before) for name in self.entries}
        fixed = {name: a for name, a in self.given.feeds.items() if name not in self.entries}

        def both(entries: dict[str, F64], times: int) -> tuple[F64, dict[str, F64]]:
            feeds = {name: np.tile(a, (times, *[1] * (a.ndim - 1))) for name, a in fixed.items()}
            start = {key: np.tile(a, (times, *[1] * (a.ndim - 1))) for key, a in self.state.items()}
            values = evaluate(self.inner, {**feeds, **entries}, start)
            sweep = self.seeded(target, values, Gradients())
            back = {n: a if self.inner.specs[n].time else a[:, 0] for n, a in self.taken(sweep).items()}
            return self._sum(target, values), back

        numbers = sum(a[:1].size for a in self.values.values())
        found, at_x, at_baseline, gap = integrate(both, first, last, self.batch, tolerance, numbers)
        found = {n: a if self.inner.specs[n].time else a[:, None] for n, a in found.items()}
        return found, Parts(at_x, at_baseline, {}, {}, np.zeros(self.batch), gap)

    def _external(self, name: str, values: Values) -> F64:
        """The value of an entry as `evaluate` takes it."""
        a = np.asarray(values[name], dtype=np.float64)
        return a if self.inner.specs[name].time else a[:, 0]

    def of_inputs(self, found: Mapping[str, F64]) -> dict[str, F64]:
        """What each input gets, of its shape: vectors are summed for their ids, which are followed to the inputs."""
        seeds: dict[str, F64] = {}
        for node in self.lookups:
            ids, back = node.inputs[-1], found[node.outputs[0]]
            axes = tuple(range(2, back.ndim)) if isinstance(node.op, g.Gather) else ()
            if isinstance(node.op, g.Gather):
                first, rank = 2 + node.op.axis, self.values[ids].ndim - 2
                axes = tuple(i for i in axes if not first <= i < first + rank)
            elif not isinstance(node.op, g.Cast):
                axes = (2 + node.op.axis if isinstance(node.op, g.OneHot) else back.ndim - 1,)
            summed = back.sum(axis=axes) if axes else back
            seeds[ids] = seeds.get(ids, 0.0) + summed
        sweep = Sweep(self.graph, self.values, _OfIds(self.graph))
        sweep.run(seeds)
        whole = {name: sweep.found.get(name, np.zeros(self.values[name].shape)) for name in self.graph.inputs}
        whole.update({name: a for name, a in found.items() if name in whole})
        return {n: a if self.graph.inputs[n].time else a[:, 0] for n, a in whole.items()}


def _lookups(graph: g.Graph) -> list[g.Node]:
    """Return the nodes that turn ids which follow from int inputs alone into floats."""
    ids = {name for name, spec in graph.inputs.items() if spec.dtype == "int"}
    fixed: set[str] = set()  # of no input
    found = []
    for node in graph.nodes:
        reads = node.inputs
        outputs = [v for v in node.outputs if graph.specs[v].dtype == "int"]
        if isinstance(node.op, g.Constant) or (reads and fixed.issuperset(reads)):
            fixed.update(node.outputs)
        elif reads and (ids | fixed).issuperset(reads) and ids.intersection(reads):
            if isinstance(node.op, g.Embedding | g.OneHot | g.Cast | g.Gather) and not outputs:
                if graph.specs[node.outputs[0]].dtype == "float":
                    found.append(node)
            else:
                ids.update(outputs)
    return found


class _OfIds:
    """The rules by which what ids get is followed to the inputs: those that are computed with share it."""

    def __init__(self, graph: g.Graph) -> None:
        self.ids = {name for name, spec in graph.inputs.items() if spec.dtype == "int"}
        for node in graph.nodes:
            if self.ids.intersection(node.inputs):
                self.ids.update(v for v in node.outputs if graph.specs[v].dtype == "int")

    def node(self, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
        """Return what each input gets."""
        if isinstance(node.op, MOVES):
            return back_through(ROWS, node, xs, ys, gs)
        live = [v in self.ids for v in node.inputs]
        same = [x.shape[1:] == y.shape[1:] for x, y in zip(xs, ys * len(xs), strict=False)]
        shared = [a and b for a, b in zip(live, same, strict=True)]
        return [gs[0] / sum(shared) if one else None for one in shared]

    def cell(self, node: g.Node) -> StepBack:
        """Raise: no cell reads ids."""
        raise AssertionError(node.name)


__all__ = ["METHODS", "Parts", "attribute"]


def __dir__() -> list[str]:
    return __all__
