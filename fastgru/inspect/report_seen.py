"""All that the report shows, as arrays: the input, gates and states of one sequence, and what they say of memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from glob import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import graph as g
from .._hints import either, named
from .._names import nearest
from ..errors import AttributionError, GraphError
from .attribution import METHODS, Parts, attribute
from .attribution_targets import Inputs, inputs_of
from .profiles import LayerProfile, profile
from .tracing import look_of

if TYPE_CHECKING:
    from ..model import Model

Array = NDArray[Any]
EXPLAINED = 512  # steps that integrated gradients explain at most
FOLLOWED = 8192  # and a plain gradient


@dataclass(frozen=True)
class Layer:
    """A recurrent layer, or a state of a loop, as it ran.

    Attributes
    ----------
    name, kind : str
    parts : dict of str to (T, H) array
        Gates and states by name, for the sequence shown.
    profile : LayerProfile or None
        Shares and half-lives over all sequences; None of a state of a loop.
    means : dict of str to (H,) array
        Of each part, over all sequences.
    keeps : str
        The gate that says which share of the state is kept, with a minus in front where it says which is not; empty
        where none does.
    backwards : bool
    """

    name: str
    kind: str
    parts: dict[str, Array]
    profile: LayerProfile | None = None
    means: Mapping[str, Array] = field(default_factory=dict)
    keeps: str = ""
    backwards: bool = False

    @property
    def hidden(self) -> Array:
        """What the layer gives, (T, H)."""
        return self.parts["hidden"]

    @property
    def units(self) -> int:
        """H."""
        return int(self.hidden.shape[1])

    def activity(self) -> Array:
        """How much each unit moves: the standard deviation of its state, (H,)."""
        return np.asarray(self.hidden.std(axis=0) if self.profile is None else self.profile.std)

    def half_lives(self) -> Array | None:
        """Steps after which half of what a unit holds is left, (H,); None where no gate says so."""
        return self.profile.half_life if self.profile is not None and self.keeps else None

    def order(self, part: str, most: int) -> Array:
        """The units of a part to draw: those that move most, the ones that remember longest first."""
        values, half = self.parts[part], self.half_lives()
        units = values.shape[1]
        moves = self.activity() if units == self.units else values.std(axis=0)
        chosen = np.sort(np.argsort(-moves, kind="stable")[:most])
        if half is None or len(half) != units:
            return chosen
        return np.asarray(chosen[np.argsort(-half[chosen], kind="stable")])


class Explained(NamedTuple):
    """An attribution on one sequence: arrays (T', ...) by input, from step `first` on."""

    name: str
    step: int
    unit: tuple[int, ...]
    method: str
    first: int
    inputs: dict[str, Array]
    parts: Parts


@dataclass(frozen=True)
class Seen:
    """What the report shows.

    Attributes
    ----------
    inputs : dict of str to array
        Of the sequence shown, (T, *frame) or (*frame,).
    outputs : dict of str to array
        The same of the model's outputs.
    layers : list of Layer
    explained : Explained or str
        The attribution, or why there is none.
    """

    graph: g.Graph
    row: int
    rows: int
    inputs: dict[str, Array]
    outputs: dict[str, Array]
    layers: list[Layer]
    explained: Explained | str


def look(
    model: Model,
    x: Any,
    *,
    row: int = 0,
    name: str | None = None,
    step: int | None = None,
    unit: Any = None,
    method: str | None = None,
) -> Seen:
    """Run a model and its trace over x, and explain an output of one sequence.

    Raises
    ------
    ValueError, TypeError
        When an argument does not fit.
    """
    graph = model.graph
    given = inputs_of(graph, x)
    rows = len(next(iter(given.feeds.values())))
    if not -rows <= row < rows:
        raise ValueError(f"{named('row')} must be in {-rows}..{rows - 1}, got {row}")
    if method is not None and method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if name is not None and name not in graph.outputs:
        got = f"must be one of {nearest(name, graph.outputs)}, got {name!r}"
        raise ValueError(either(f"name of the output {got}", f"--explain {got}"))
    row %= rows
    outputs, layers = _run(model, given, row)
    inputs = {n: a[row] for n, a in given.feeds.items()}
    explained = _explain(model, given, row, outputs, _Wish(name or _first_float(graph), step, unit, method))
    return Seen(graph, row, rows, inputs, outputs, layers, explained)


def _first_float(graph: g.Graph) -> str:
    return next((n for n in graph.outputs if graph.specs[n].dtype == "float"), graph.outputs[0])


def _run(model: Model, given: Inputs, row: int) -> tuple[dict[str, Array], list[Layer]]:
    """The outputs of a sequence by name, and the layers that hold states."""
    cells, states = look_of(model).recurrent(), {n.outputs[0] for n in model.graph.nodes if isinstance(n.op, g.State)}
    known = look_of(model).points.known
    wanted = [name for name, p in known.items() if (p.part and p.node in cells) or name in states]
    one = _fed({name: a[row : row + 1] for name, a in given.feeds.items()})
    y, trace = model.trace(one, points=[escape(name) for name in wanted]) if wanted else (model(one), {})
    measured = profile(model, _fed(given.feeds)) if cells else None
    layers = []
    for name, op in cells.items():
        parts = {p.part: trace[n][0] for n, p in known.items() if p.part and p.node == name}
        assert measured is not None  # as there are cells
        means = {part: measured.points[f"{name}.{part}"].mean for part in parts}
        layers.append(Layer(name, type(op).__name__, parts, measured.layers[name], means, _keeps(op), op.reverse))
    for name in wanted:
        if name in states:
            values = trace[name][0]
            layers.append(Layer(name, "State", {"hidden": values.reshape(len(values), -1)}))
    outputs = y if isinstance(y, tuple) else (y,)
    return {name: a[0] for name, a in zip(model.graph.outputs, outputs, strict=True)}, layers


def _fed(feeds: dict[str, Array]) -> Any:
    """Return inputs as a call takes them."""
    return feeds if len(feeds) > 1 else next(iter(feeds.values()))


def _keeps(op: g.Recurrent) -> str:
    """Return the gate that says which share of the state is kept."""
    if isinstance(op, g.GRU):
        return "update" if op.update_keeps == "state" else "-update"
    return "forget" if isinstance(op, g.LSTM) else ""


# Attribution -----------------------------------------------------------------------------------------


class _Wish(NamedTuple):
    """What to explain: None where the reader leaves the choice."""

    name: str
    step: int | None
    unit: Any
    method: str | None


def _explain(model: Model, given: Inputs, row: int, outputs: dict[str, Array], wish: _Wish) -> Explained | str:
    """Explain an output of a sequence, or say why not."""
    graph, spec, y = model.graph, model.graph.specs[wish.name], outputs[wish.name]
    if spec.dtype != "float":
        return f"The output {wish.name!r} holds no real numbers, so nothing can be attributed."
    last = len(y) if spec.time else 1
    if not last:
        return "The output has no steps for so short an input."
    step = last - 1 if wish.step is None else wish.step
    if not -last <= step < last:
        raise ValueError(f"{named('step')} must be in {-last}..{last - 1}, got {step}")
    step %= last
    frame = y[step] if spec.time else y
    unit = _unit(frame, wish.unit, wish.name)
    feeds = {n: a[row : row + 1] for n, a in given.feeds.items()}
    timed = [n for n, s in graph.inputs.items() if s.time]
    steps = max((feeds[n].shape[1] for n in timed), default=1)
    first, state, method = 0, None, wish.method or "integrated_gradients"
    same = spec.time and last == steps and all(feeds[n].shape[1] == steps for n in timed)
    if not graph.not_streamable() and same and step + 1 < steps:  # later steps have nothing to do with it
        feeds = {n: a[:, : step + 1] if n in timed else a for n, a in feeds.items()}
        steps = step + 1
    if steps > EXPLAINED and method == "integrated_gradients":
        if _cuts(graph) and len({feeds[n].shape[1] for n in timed}) == 1:
            first = steps - EXPLAINED
            before = {n: a[:, :first] if n in timed else a for n, a in feeds.items()}
            state = model(_fed(before), return_state=True)[1]
            feeds = {n: a[:, first:] if n in timed else a for n, a in feeds.items()}
        else:
            method = "gradient"
    if steps - first > FOLLOWED:
        return (
            f"The input has {steps:,} steps, too many to go back through here. "
            "fastgru.inspect.attribute explains any number of them."
        )
    at = (step - first if spec.time and same else step, unit) if spec.time else unit
    try:
        found, parts = attribute(
            model, feeds, at, method, name=wish.name, state=state, return_parts=True
        )  # fmt: skip
    except (GraphError, AttributionError) as error:
        return f"No attribution by {method.replace('_', ' ')}: {error}."
    return Explained(wish.name, step, unit, method, first, {n: a[0] for n, a in found.items()}, parts)


def _unit(frame: Array, wished: Any, name: str) -> tuple[int, ...]:
    """The unit to explain: the one wished for, else the largest."""
    if wished is None:
        return tuple(int(i) for i in np.unravel_index(int(np.argmax(np.nan_to_num(frame))), frame.shape))
    unit = tuple(wished) if isinstance(wished, tuple | list) else (wished,)
    unit = () if not frame.ndim and unit == (0,) else unit
    if len(unit) != frame.ndim:
        raise ValueError(f"{named('unit')} of output {name!r} must be {frame.ndim} whole numbers, got {wished}")
    for i, n in zip(unit, frame.shape, strict=True):
        if not -n <= i < n:
            raise ValueError(f"{named('unit')} of output {name!r} must be in {-n}..{n - 1}, got {i}")
    return tuple(i % n for i, n in zip(unit, frame.shape, strict=True))


def _cuts(graph: g.Graph) -> bool:
    """True if a sequence may be cut in two: all that is carried from one part to the next is in the states."""
    return not graph.not_streamable() and all(
        (node.op.stepwise and not isinstance(node.op, g.Temporal)) or isinstance(node.op, g.Recurrent | g.TimeStep)
        for node in graph.nodes
    )
