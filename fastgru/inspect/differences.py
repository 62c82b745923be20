"""Differences: of data from the data that a model was profiled on, and of two models on the same data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import reference
from ..graph import Graph, Mask
from ..report.summary import plain_table
from .finite import check_inputs
from .profiles import _check_points, _gather, stored
from .statistics import Statistics
from .tracing import Look, batched, by_name, look_of, trace

if TYPE_CHECKING:
    from ..model import Model

Array = NDArray[Any]
MOVED = 0.5  # standard deviations that a unit's mean may move
BEGINS = 1e-5  # of the root mean square of a value: beyond it a difference is none of rounding in float32


class DriftRow(NamedTuple):
    """A point, or an input, on new data.

    Attributes
    ----------
    name : str
    shift : float
        How far the mean of a unit moved, in its stored standard deviations: the largest of all units,
    unit : int
        and which one that is.
    moved : float
        The share of units whose means moved by more than half of a standard deviation.
    outside : float
        The share of numbers outside of the range that was stored.
    """

    name: str
    shift: float
    unit: int
    moved: float
    outside: float

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        return self.name, f"{self.shift:.2f}", str(self.unit), f"{self.moved:.1%}", f"{self.outside:.2%}"


class Drift(NamedTuple):
    """How new data differs from that of a stored profile; ``str()`` of it is a table, the largest shift first."""

    rows: tuple[DriftRow, ...]

    def __str__(self) -> str:
        head = ("point", "shift (std)", "unit", "units moved", "outside range")
        return "\n".join(plain_table(head, [row.cells() for row in self.rows], ("",) * 5, 1)[:-2])

    def __repr__(self) -> str:
        return str(self)

    def __getitem__(self, name: Any) -> Any:
        """The row of a point by its name, or a field by its number."""
        if isinstance(name, str):
            return next(row for row in self.rows if row.name == name)
        return tuple.__getitem__(self, name)


def drift(model: Model, x: Any, *, lengths: Any = None, since: Mapping[str, Statistics] | None = None) -> Drift:
    """Compare data with the profile that is stored in a model.

    Parameters
    ----------
    x, lengths
        As for `profile`.
    since : mapping of str to Statistics, optional
        What to compare with in place of the stored profile: `Profile.points` of another.

    Raises
    ------
    ValueError
        When the model has no profile, or one of another model; when a number that counts is NaN or infinity.

    Examples
    --------
    >>> from fastgru import Model, inspect
    >>> from fastgru.layers import GRU
    >>> rng = np.random.default_rng(0)
    >>> model = Model([GRU.from_torch(rng.normal(size=(12, 3)), rng.normal(size=(12, 4)))])
    >>> x = rng.normal(size=(8, 50, 3))
    >>> model = inspect.store(model, inspect.profile(model, x))
    >>> drift(model, x)["input x"].shift < 0.01, drift(model, x + [0, 3, 0])["input x"].unit
    (True, 1)
    """
    known = stored(model) if since is None else since
    _check_points(known, "profile")
    found = _gather(model, x, lengths, known).points
    wrong = [n for n in found if n not in known or known[n].mean.shape != found[n].mean.shape]
    if wrong:
        raise ValueError(f"profile must be of this model, got one without its units of {wrong[0]!r}: make a new one")
    rows = []
    for name, now in found.items():
        was = known[name]
        usual = np.maximum(was.std, 0.01 * float(np.median(was.std)))
        usual = np.where(usual > 0, usual, np.maximum(1e-6, 1e-3 * np.abs(was.mean)))
        shift = np.abs(now.mean - was.mean) / usual
        unit = int(np.argmax(shift))
        outside = float(now.outside.sum() / max(1, now.count * now.outside.size))
        rows.append(DriftRow(name, float(shift[unit]), unit, float(np.mean(shift > MOVED)), outside))
    return Drift(tuple(sorted(rows, key=lambda row: -row.shift)))


# Two models ------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """A point in two models on the same data.

    Attributes
    ----------
    name : str
    largest : float
        The largest magnitude in the first model.
    error : float
        The largest difference,
    relative : float
        and the root mean square of all differences, by that of the first model's numbers.
    added : float
        The largest difference of what the second model's layer makes of the first model's inputs from what the first
        made of them, by the float64 reference: what this layer adds. NaN of a gate or state.
    """

    name: str
    largest: float
    error: float
    relative: float
    added: float

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        added = "" if np.isnan(self.added) else f"{self.added:.2g}"
        return self.name, f"{self.largest:.3g}", f"{self.error:.2g}", f"{self.relative:.2g}", added


class Differences(NamedTuple):
    """Two models point by point; ``str()`` of it is a table.

    Attributes
    ----------
    rows : tuple of Difference
        In the order in which the first model computes them.
    alone : tuple of str
        Points that only one of the models has.
    begins : str or None
        The first point whose relative difference is beyond what float32 rounds, 1e-5.
    worst : str or None
        The layer that adds most, relative to its largest number.
    """

    rows: tuple[Difference, ...]
    alone: tuple[str, ...]

    @property
    def begins(self) -> str | None:
        """The first point that differs by more than rounding."""
        return next((row.name for row in self.rows if row.relative > BEGINS), None)

    @property
    def worst(self) -> str | None:
        """The layer that adds most."""
        layers = [row for row in self.rows if not np.isnan(row.added) and row.added > 0]
        return max(layers, key=lambda row: row.added / max(row.largest, 1e-30)).name if layers else None

    def __str__(self) -> str:
        head = ("point", "largest value", "error", "relative", "added here")
        lines = plain_table(head, [row.cells() for row in self.rows], ("",) * 5, 1)[:-2]
        said = f"begins at {self.begins}" if self.begins else "no difference beyond rounding"
        if self.worst and self.begins:
            said += f"; {self.worst} adds most"
        return "\n".join([*lines, said, *([f"in one model alone: {', '.join(self.alone)}"] if self.alone else [])])

    def __repr__(self) -> str:
        return str(self)


def compare(a: Model, b: Model, x: Any, *, lengths: Any = None) -> Differences:
    """Compare two models point by point on the same data: one in float32 and one in int8, or before and after training.

    Parameters
    ----------
    a, b : Model
        Points are compared by their names. The first is what the second is measured by.
    x, lengths
        As for a call.

    Raises
    ------
    ValueError, TypeError
        When the models have other inputs, or no point in common; when one is no model; when a number that counts is NaN
        or infinity.

    Examples
    --------
    >>> from fastgru import Model
    >>> from fastgru.layers import GRU, Dense
    >>> rng = np.random.default_rng(0)
    >>> gru = GRU.from_torch(rng.normal(size=(48, 3)), rng.normal(size=(48, 16)))
    >>> a = Model([gru, Dense(rng.normal(size=(2, 16)))])
    >>> compare(a, a.quantize("int8", layers=["dense"]), rng.normal(size=(4, 20, 3))).begins
    'dense'
    """
    for model in (a, b):
        if not hasattr(type(model), "trace"):
            raise TypeError(f"models to compare must be two of fastgru.Model, got {type(model).__name__}")
    if {n: s.shape for n, s in a.inputs.items()} != {n: s.shape for n, s in b.inputs.items()}:
        told = [{n: str(s) for n, s in model.inputs.items()} for model in (a, b)]
        raise ValueError(f"models to compare must have the same inputs, got {told[0]} and {told[1]}")
    check_inputs(a, x, lengths)
    _, one = trace(a, x, "*", None, None, lengths, None)
    _, two = trace(b, x, "*", None, None, lengths, None)
    both = [name for name in one if name in two.names and one[name].shape == two[name].shape]
    if not both:
        raise ValueError("models to compare must have points of the same names and shapes, got none")
    added = _added(look_of(a), look_of(b), x, one, lengths)
    rows = []
    for name in both:
        first, second = np.asarray(one[name], np.float64), np.asarray(two[name], np.float64)
        error = np.abs(first - second)
        size = float(np.sqrt(np.mean(first * first))) if first.size else 0.0
        rms = float(np.sqrt(np.mean(error * error))) if error.size else 0.0
        relative = rms / size if size else (0.0 if rms == 0 else np.inf)
        rows.append(
            Difference(
                name, float(np.abs(first).max(initial=0)), float(error.max(initial=0)), relative,
                added.get(name, float("nan")),
            )
        )  # fmt: skip
    alone = [name for name in dict.fromkeys([*one.names, *two.names]) if name not in both]
    return Differences(tuple(rows), tuple(alone))


def _added(a: Look, b: Look, x: Any, seen: Mapping[str, Array], lengths: Any) -> dict[str, float]:
    """What each layer of the second model adds: its output on the first model's values, less the first model's output.

    Of layers whose inputs are all seen, and without lengths, which the reference takes for whole networks alone.
    """
    if lengths is not None:
        return {}
    rows = batched(a.model, x)
    given = by_name(a.model, x)
    values: dict[str, Any] = {n: np.asarray(v) if rows else np.asarray(v)[None] for n, v in given.items()}
    for point in a.points.known.values():
        if not point.part:
            values[point.value] = seen[point.name] if rows else seen[point.name][None]
    places = {point.value: point.name for point in b.points.known.values() if not point.part}
    found = {}
    for node in b.packed.nodes:
        made = node.outputs[0]
        if (
            made not in places or places[made] not in seen or not node.inputs or made not in values
            or isinstance(node.op, Mask) or any(v not in values for v in node.inputs)
        ):  # fmt: skip
            continue
        alone = Graph({v: b.packed.specs[v] for v in node.inputs}, [node], [made])
        wanted = reference.run(alone, {v: values[v] for v in alone.inputs})[0][0]
        found[places[made]] = float(np.abs(np.asarray(wanted) - values[made]).max(initial=0.0))
    return found


__all__ = ["Difference", "Differences", "Drift", "DriftRow", "compare", "drift"]
