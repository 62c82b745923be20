"""Profiles: what gates, memory and units of a model do on data; kept in a model, what later data is compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._arguments import counted_steps
from .._arrays import as_array
from ..graph import GRU, LSTM, Recurrent
from ..report.summary import plain_table
from .finite import check_finite, check_inputs
from .statistics import Running, Statistics
from .tracing import look_of, trace

if TYPE_CHECKING:
    from ..model import Model

Array = NDArray[Any]
LOW, HIGH = 0.1, 0.9  # a gate is saturated below and above
STILL = 1e-3  # a unit whose numbers all lie within so much of each other is constant, and dead if they do of 0
ROWS = 32  # of the batch, traced at a time
DIGITS = 4  # of the numbers that are kept in a model
KEY = "profile"  # of the provenance
GATES = ("update", "reset", "input", "forget", "output")
HEADINGS = ("layer", "gate", "below 0.1", "above 0.9", "half-life", "dead", "constant")


@dataclass(frozen=True)
class LayerProfile:
    """What a recurrent layer does on data. Arrays have a number for each unit.

    Attributes
    ----------
    name, kind : str
    below, above : dict of str to array
        Of each gate the share of steps at which it is below 0.1 and above 0.9.
    half_life : array
        Steps after which half of a unit's memory is left: ln(1/2) / ln(f), where f is the mean of what the layer keeps
        of a unit from step to step: the forget gate of an LSTM, the update gate of a GRU (1 - z where z is the share of
        the candidate). Infinite where f is 1, NaN for an RNN, which has no such gate. The time constant
        -1 / ln(f) is that of Tallec and Ollivier (2018, arXiv:1804.11188) and Mahto et al. (2021, arXiv:2009.12727).
    dead, constant : bool array
        Units whose state stays within 1e-3 of 0, and of itself.
    mean, std : array
        Of the state.
    follows : (units, features) array
        The correlation of each unit's state with each input feature at the same step; 0 where one is constant, NaN
        where the layer has other steps than the inputs.
    """

    name: str
    kind: str
    below: dict[str, Array]
    above: dict[str, Array]
    half_life: Array
    dead: Array
    constant: Array
    mean: Array
    std: Array
    follows: Array

    def followed(self, most: int = 3) -> list[list[tuple[int, float]]]:
        """Return the features that each unit follows most, with their correlations, the strongest first."""
        order = np.argsort(-np.abs(np.nan_to_num(self.follows)), axis=1)[:, :most]
        return [[(int(i), float(row[i])) for i in best] for row, best in zip(self.follows, order, strict=True)]

    def cells(self) -> list[tuple[str, ...]]:
        """The rows of a table, one for each gate."""
        life = self.half_life[np.isfinite(self.half_life)]
        median = f"{np.median(life):.3g} steps" if life.size else "none" if np.isnan(self.half_life).all() else "no end"
        units = len(self.dead)
        rest = (median, f"{int(self.dead.sum())} of {units}", f"{int(self.constant.sum())} of {units}")
        if not self.below:
            return [(self.name, "", "", "", *rest)]
        rows = [(g, f"{self.below[g].mean():.1%}", f"{self.above[g].mean():.1%}") for g in self.below]
        return [(self.name if i == 0 else "", *row, *(rest if i == 0 else ("", "", ""))) for i, row in enumerate(rows)]


class Profile:
    """What a model does on data; ``str()`` of it is a table.

    Attributes
    ----------
    layers : dict of str to LayerProfile
        Of the recurrent layers, in their order.
    points : dict of str to Statistics
        Mean, standard deviation and range of every unit of every point, and of every input.
    features : tuple of str
        What the columns of `LayerProfile.follows` are: ``"x[0]"`` and so on.
    steps : int
        Steps counted, of all sequences.
    """

    def __init__(
        self, layers: dict[str, LayerProfile], points: dict[str, Statistics], features: tuple[str, ...], steps: int
    ) -> None:
        self.layers, self.points, self.features, self.steps = layers, points, features, steps

    def __str__(self) -> str:
        rows = [row for layer in self.layers.values() for row in layer.cells()]
        total = (f"{self.steps:,} steps", *[""] * (len(HEADINGS) - 1))
        return "\n".join(plain_table(HEADINGS, rows, total, 2))

    def __repr__(self) -> str:
        return str(self)


def profile(model: Model, x: Any, *, lengths: Any = None) -> Profile:
    """Measure what gates, memory and units of a model do on data.

    Parameters
    ----------
    x : (B, T, I) or (T, I) array; ids: (B, T) or (T,)
        As for a call of the model. It is traced a few rows at a time.
    lengths : (B,) int array, optional
        As for a call: other steps are not counted.

    Returns
    -------
    Profile

    Raises
    ------
    ValueError
        When a number that counts is NaN or infinity, naming its place.

    Examples
    --------
    >>> from fastgru import Model
    >>> from fastgru.layers import GRU
    >>> rng = np.random.default_rng(0)
    >>> model = Model([GRU.from_torch(rng.normal(size=(12, 3)), rng.normal(size=(12, 4)))])
    >>> found = profile(model, rng.normal(size=(8, 50, 3)))
    >>> found.layers["gru"].half_life.shape, found.steps
    ((4,), 400)
    """
    gathered = _gather(model, x, lengths, {})
    layers = {}
    for name, op in look_of(model).recurrent().items():
        layers[name] = _layer(name, op, gathered)
    points = {name: found.statistics() for name, found in gathered.points.items()}
    return Profile(layers, points, gathered.features, gathered.steps)


def _layer(name: str, op: Recurrent, gathered: _Gathered) -> LayerProfile:
    """Return the profile of a layer."""
    gates = [g for g in GATES if f"{name}.{g}" in gathered.points]
    hidden = gathered.points[f"{name}.hidden"]
    kept = np.full(op.hidden_size, np.nan)
    if isinstance(op, LSTM):
        kept = gathered.points[f"{name}.forget"].mean
    elif isinstance(op, GRU):
        update = gathered.points[f"{name}.update"].mean
        kept = update if op.update_keeps == "state" else 1 - update
    with np.errstate(divide="ignore", invalid="ignore"):
        life = np.log(0.5) / np.log(kept)
    life[kept >= 1] = np.inf
    return LayerProfile(
        name, op.kind,
        {g: gathered.points[f"{name}.{g}"].below / max(1, gathered.points[f"{name}.{g}"].count) for g in gates},
        {g: gathered.points[f"{name}.{g}"].above / max(1, gathered.points[f"{name}.{g}"].count) for g in gates},
        life,
        np.maximum(np.abs(hidden.low), np.abs(hidden.high)) < STILL,
        hidden.high - hidden.low < STILL,
        hidden.mean, hidden.std,
        gathered.follows(name, op.output_size),
    )  # fmt: skip


class _Gathered:
    """Sums over the steps of all rows."""

    def __init__(self, ranges: Mapping[str, Statistics]) -> None:
        self.ranges = ranges
        self.points: dict[str, Running] = {}
        self.columns: Running | None = None  # all features of the inputs side by side
        self.products: dict[str, Any] = {}
        self.features: tuple[str, ...] = ()
        self.steps = 0

    def add(self, name: str, rows: Array) -> None:
        """Count rows (N, units) of a point."""
        if name not in self.points:
            self.points[name] = Running(rows.shape[1], LOW, HIGH, self.ranges.get(name))
        self.points[name].add(rows)

    def follows(self, layer: str, units: int) -> Array:
        """Return the correlations of a layer's state with the features of the inputs."""
        x = self.columns
        if x is None or layer not in self.products:
            return np.full((units, len(self.features)), np.nan)
        h = self.points[f"{layer}.hidden"]
        covariance = self.products[layer] / max(1, h.count) - np.outer(h.mean_of_shifted, x.mean_of_shifted)
        scale = np.outer(h.std, x.std)
        moving = (h.high - h.low > 0)[:, None] & (x.high - x.low > 0)[None]
        return np.asarray(np.where(moving, covariance / np.where(scale > 0, scale, 1.0), 0.0).clip(-1, 1))


def _gather(model: Model, x: Any, lengths: Any, ranges: Mapping[str, Statistics]) -> _Gathered:
    """Trace data a few rows at a time, and sum up what is seen."""
    check_inputs(model, x, lengths)
    found = _Gathered(ranges)
    layers = look_of(model).recurrent()
    for part, counted in _parts(model, x, lengths):
        _, seen = trace(model, _as_given(model, part), "*", None, None, counted, None)
        inputs = {n: a for n, a in part.items() if model.inputs[n].time and model.inputs[n].dtype == "float"}
        steps = max((a.shape[1] for n, a in part.items() if model.inputs[n].time), default=1)
        rows = {n: _rows(a, counted, steps) for n, a in inputs.items()}
        for name, flat in rows.items():
            found.add(f"input {name}", flat)
        alike = [n for n, a in inputs.items() if a.shape[1] == steps]
        x_rows = np.concatenate([rows[n] for n in alike], axis=1) if alike else None
        if x_rows is not None:
            if found.columns is None:
                found.columns = Running(x_rows.shape[1], LOW, HIGH, None)
            found.columns.add(x_rows)
            found.features = tuple(f"{n}[{i}]" for n in alike for i in range(rows[n].shape[1]))
        for name, array in seen.items():
            if array.dtype.kind == "f":
                found.add(name, _rows(array, counted, steps))
        for layer in layers:
            hidden = seen[f"{layer}.hidden"]
            if x_rows is not None and found.columns is not None and hidden.shape[1] == steps:
                h = found.points[f"{layer}.hidden"].shifted(_rows(hidden, counted, steps))
                product = h.T @ found.columns.shifted(x_rows)
                found.products[layer] = found.products.get(layer, 0.0) + product
        found.steps += int(np.sum(counted)) if counted is not None else steps * len(next(iter(part.values())))
    return found


def _rows(array: Array, counted: Any, steps: int) -> Array:
    """The steps of all rows that count, (N, units), in float64; of what has no steps or others, all."""
    flat = np.asarray(array, np.float64)
    if counted is not None and flat.ndim > 2 and flat.shape[1] == steps:
        return flat[np.arange(steps) < np.asarray(counted)[:, None]].reshape(int(np.sum(counted)), -1)
    lead = flat.shape[:2] if flat.ndim > 2 else flat.shape[:1]
    return flat.reshape(int(np.prod(lead)), -1)


def _parts(model: Model, x: Any, lengths: Any) -> Iterator[tuple[dict[str, Array], Any]]:
    """Yield the inputs by name and the lengths of a few rows at a time, all with a batch axis."""
    names = list(model.inputs)
    if isinstance(x, Mapping):
        given = {name: as_array(x[name], f"x[{name!r}]") for name in names if name in x}
    elif len(names) == 1:
        given = {names[0]: as_array(x, "x")}
    else:
        given = {n: as_array(a, f"x[{n!r}]") for n, a in zip(names, x, strict=True)}
    for name, array in given.items():
        spec = model.inputs[name]
        if array.ndim == len(spec.shape) + spec.time:
            given[name] = array[None]
    rows = min((len(a) for a in given.values()), default=0)
    timed = [a.shape[1] for n, a in given.items() if model.inputs[n].time and a.ndim > 1]
    if rows == 0 or 0 in timed:
        shape = np.shape(next(iter(given.values())))
        raise ValueError(f"x must have at least one sequence of one step, got shape {shape}")
    counts = None
    if lengths is not None:
        mask = counted_steps(lengths, None, rows, max(timed, default=1))
        counts = None if mask is None else np.asarray(mask).sum(axis=1)
    for begin in range(0, rows, ROWS):
        part = {name: a[begin : begin + ROWS] for name, a in given.items()}
        yield part, None if counts is None else counts[begin : begin + ROWS]


def _as_given(model: Model, part: dict[str, Array]) -> Any:
    return part if len(model.inputs) > 1 else next(iter(part.values()))


# Kept in a model -------------------------------------------------------------------------------------


def store(model: Model, found: Profile) -> Model:
    """Return the model with a profile in it, which `Model.save` keeps: what `drift` compares later data with.

    Statistics of every point and input are kept to four digits, in ``provenance["profile"]``; `Model.quantize` and
    `Model.compile` keep them, too.

    Raises
    ------
    TypeError
        When `found` is no profile.
    ValueError
        When a number of it is NaN or infinity, as where the model overflows.
    """
    from ..model import Model

    if not isinstance(found, Profile):
        raise TypeError(f"profile must be one that fastgru.inspect.profile returned, got {type(found).__name__}")
    _check_points(found.points, "profile")
    points = {name: s.as_lists(DIGITS) for name, s in found.points.items()}
    text = json.dumps({"steps": found.steps, "points": points}, separators=(",", ":"))
    return Model(
        model.graph, dtype=model.dtype, isa=model._forced_isa, gemm=model.gemm,
        provenance={**model.provenance, KEY: text}, self_test=model.self_test,
    )  # fmt: skip


def stored(model: Model) -> dict[str, Statistics]:
    """Return the statistics that `store` kept in a model, by point; those of inputs are ``"input <name>"``.

    Raises
    ------
    ValueError
        When there are none.
    """
    text = model.provenance.get(KEY)
    if text is None:
        raise ValueError("model must have a stored profile, got none: make one with store(model, profile(model, x))")
    try:
        found = {name: Statistics.of_lists(lists) for name, lists in json.loads(text)["points"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"stored profile must be one that store wrote, got another ({error})") from error
    _check_points(found, "stored profile")
    return found


def _check_points(points: Mapping[str, Statistics], what: str) -> None:
    """Raise ValueError where statistics are not finite."""
    for name, found in points.items():
        for field, array in found._asdict().items():
            check_finite(f"{field} of {name!r} in the {what}", array)


__all__ = ["LayerProfile", "Profile", "profile", "store", "stored"]
