"""Choosing the precision of a graph's weights and the tier of its activations, layer by layer, and what that costs.

Errors are measured with the float64 reference, which rounds weights and activations as the engine does: they are
those of the rounding alone, the same on every machine.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import reference
from ._arrays import as_array
from ._hints import named
from ._names import nearest
from .checks import selftest
from .checks.samples import Input, id_bound
from .errors import CalibrationWarning, GraphError, listed
from .graph import PRECISIONS, TIERS, Graph, Node, Recurrent, Spec, precision_of, tier_of
from .graph.fields import short
from .report.summary import plain_table, weight_bytes

Array = NDArray[Any]
HEADINGS = (
    "layer", "kind", "precision", "activations", "weight error", "output error", "bytes before", "bytes after",
)  # fmt: skip
WORDS = 4  # the first columns, which are not numbers


def quantizable(graph: Graph) -> list[str]:
    """Names of the nodes whose weights have a precision."""
    return [node.name for node in graph.nodes if node.op.matrices]


def choose(
    graph: Graph, precision: str | Mapping[str, str] | None, layers: Sequence[str] | None = None
) -> dict[str, str]:
    """The precision of every node that has one: `precision` for all, for those of `layers`, or as a mapping says.

    None is the one that each has.

    Raises
    ------
    GraphError
        Listing every name and precision that does not exist.
    """
    names = quantizable(graph)
    if layers is not None and (isinstance(layers, str) or not _all_names(layers)):
        got = f"the string {layers!r}" if isinstance(layers, str) else short(layers)
        raise GraphError(f"layers must be a sequence of names, got {got}")
    if layers is not None and not layers:
        raise GraphError("layers must name at least one (or be omitted: then all change), got none")
    if precision is None:
        present = {node.name: precision_of(node.op) for node in graph.nodes}
        wanted = {name: present.get(name, "") for name in (names if layers is None else layers)}
    elif isinstance(precision, str):
        wanted = dict.fromkeys(names if layers is None else layers, precision)
    elif not isinstance(precision, Mapping):
        raise GraphError(f"precision must be a name or a mapping of layers to names, got {type(precision).__name__}")
    elif layers is not None:
        raise GraphError("layers must be omitted when precision is a mapping, got both")
    else:
        wanted = dict(precision)
    known = set(names)
    problems = [
        f"layer must be one with weight matrices ({nearest(n, names)}), got {n!r}" for n in wanted if n not in known
    ]
    given = [precision] if isinstance(precision, str) else sorted(map(str, set(wanted.values()) - {""}))
    problems += _unknown(given)
    if problems:
        raise GraphError(listed(problems))
    return wanted


def _all_names(layers: Any) -> bool:
    """True if `layers` is a collection of strings."""
    return isinstance(layers, Collection) and all(isinstance(name, str) for name in layers)


def apply(graph: Graph, precisions: Mapping[str, str], activations: str | None = None) -> Graph:
    """`graph` with the named nodes' weights rounded to their precision; the others as they are.

    `graph` itself when that changes nothing.

    Parameters
    ----------
    precisions : mapping
        As `choose` returns it.
    activations : {"exact", "fast"}, optional
        The tier of the gates of those nodes that are recurrent; as they are when omitted.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import Dense, chain
    >>> apply(chain([Dense(np.ones((2, 3)))]), {"dense": "int8"}).nodes[0].op.precision
    'int8'
    """
    changed = changes(graph, precisions, activations)
    if not changed:
        return graph

    def rounded(node: Node) -> Any:
        if node.name not in changed:
            return node.op
        try:
            return node.op.replace(**changed[node.name])
        except GraphError as error:
            raise GraphError(f"node {node.name!r}: {error}") from error

    return graph.with_ops(rounded)


def changes(graph: Graph, precisions: Mapping[str, str], activations: str | None = None) -> dict[str, dict[str, Any]]:
    """What `apply` changes: the new fields of each node that does not have them."""
    found = {}
    for node in graph.nodes:
        if node.name in precisions:
            precision = precisions[node.name]
            fields: dict[str, Any] = {} if precision == precision_of(node.op) else node.op.in_precision(precision)
            if activations and isinstance(node.op, Recurrent):
                fields |= node.op.in_tier(activations)
            if fields:
                found[node.name] = fields
    return found


def check_names(precision: Any, activations: str | None) -> None:
    """Raise GraphError if a precision or `activations` does not exist; names of layers are not checked."""
    given = precision.values() if isinstance(precision, Mapping) else [precision]
    if problems := _unknown(p for p in given if isinstance(p, str)):
        raise GraphError(listed(problems))
    if activations is not None and (not isinstance(activations, str) or activations not in TIERS):
        raise GraphError(f"activations must be one of {', '.join(TIERS)}, got {activations!r}")


def _unknown(precisions: Iterable[Any]) -> list[str]:
    """Return a problem for each precision that does not exist."""
    return [f"precision must be one of {', '.join(PRECISIONS)}, got {p!r}" for p in precisions if p not in PRECISIONS]


def check_tier(graph: Graph, names: Iterable[str], activations: str | None) -> None:
    """Raise GraphError where `activations` is no tier, or no node of `names` has gates that come in several."""
    if activations is None:
        return
    check_names(None, activations)
    wanted = set(names)
    if not any(tier_of(node.op) for node in graph.nodes if node.name in wanted):
        got = ", ".join(sorted(wanted)) or "no layer"
        raise GraphError(f"layers whose activations change must include one with sigmoid or tanh gates, got {got}")


# Calibration ---------------------------------------------------------------------------------------


def calibration_input(graph: Graph, x: Any = None) -> Input:
    """`x` with a batch axis, checked: (B, T, *frame) float64, or int64 ids; a seeded one when None.

    A mapping of names to arrays, or a tuple of them, where the graph has several inputs.

    Raises
    ------
    ValueError, TypeError
        When it is no array of finite numbers, has another shape than the graph's input, or an id is outside the
        vocabulary it indexes.
    """
    if x is None:
        return selftest.make_input(graph)
    if len(graph.inputs) == 1:
        ((name, spec),) = graph.inputs.items()
        return _calibration(graph, name, spec, x, "calibration")
    if isinstance(x, tuple) and len(x) == len(graph.inputs):
        x = dict(zip(graph.inputs, x, strict=True))
    if not isinstance(x, Mapping) or set(x) != set(graph.inputs):
        got = sorted(map(str, x)) if isinstance(x, Mapping) else type(x).__name__
        raise ValueError(f"calibration must be a mapping of the inputs {', '.join(graph.inputs)}, got {got}")
    arrays = {n: _calibration(graph, n, spec, x[n], f"calibration {n!r}") for n, spec in graph.inputs.items()}
    if len({len(array) for array in arrays.values()}) > 1:
        raise ValueError(f"calibration must have one batch, got {sorted(len(a) for a in arrays.values())} rows")
    steps: dict[int, set[int]] = {}  # of each base
    for n, base in ((n, graph.bases[n]) for n, spec in graph.inputs.items() if spec.time):
        steps.setdefault(base, set()).add(arrays[n].shape[1])
    if wrong := next((sorted(found) for found in steps.values() if len(found) > 1), None):
        raise ValueError(f"calibration must have one number of steps for inputs that meet, got {wrong}")
    return arrays


def warn_uncalibrated(option: str, how: str, *, stacklevel: int) -> None:
    """Warn that `option`, the limit, was measured on random input; `how` says how to give a typical one."""
    message = f"{option} is measured on random input, and errors on real data may be far larger: {how}"
    warnings.warn(message, CalibrationWarning, stacklevel=stacklevel + 1)


def measured_on(x: Input, *, given: bool) -> str:
    """Return what errors were measured on, for reports and provenance.

    Examples
    --------
    >>> measured_on(np.zeros((2, 16, 3)), given=False)
    'random input of shape (2, 16, 3)'
    """
    shape = ", ".join(f"{n!r} {a.shape}" for n, a in x.items()) if isinstance(x, dict) else str(x.shape)
    return f"{'the calibration' if given else 'random input'} of shape {shape}"


def _calibration(graph: Graph, name: str, spec: Spec, x: Any, what: str) -> Array:
    array = as_array(x, what)
    kinds, expected = {"int": ("iu", "integer ids"), "bool": ("b", "bools")}.get(spec.dtype, ("fiu", "real numbers"))
    if array.dtype.kind not in kinds:
        raise TypeError(f"{what} must be {expected}, got {array.dtype}")
    rank = spec.time + len(spec.shape)
    if array.ndim not in (rank, rank + 1) or array.shape[array.ndim - len(spec.shape) :] != spec.shape:
        raise ValueError(f"{what} must have shape {_shapes(spec)}, got {array.shape}")
    if array.size == 0:
        raise ValueError(f"{what} must have at least one row and step, got shape {array.shape}")
    if spec.dtype == "int":
        bound = id_bound(graph, name, 2**31)
        if array.min() < 0 or array.max() >= bound:
            raise ValueError(f"{what} must have ids in 0..{bound - 1}, got {array.min()}..{array.max()}")
    elif not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite, got {array[~np.isfinite(array)][0]}")
    array = array.astype({"int": np.int64, "bool": np.bool_}.get(spec.dtype, np.float64))
    return array if array.ndim > rank else array[None]


def _shapes(spec: Spec) -> str:
    """The shapes of one row and of several, e.g. ``"(T, 3) or (B, T, 3)"``."""
    axes = ["B"] + ["T"] * spec.time + [str(n) for n in spec.shape]
    return " or ".join(f"({', '.join(some)}{',' if len(some) == 1 else ''})" for some in (axes[1:], axes))


# Keeping layers as they are ------------------------------------------------------------------------


def within(
    graph: Graph, precisions: Mapping[str, str], x: Input, max_error: float, activations: str | None = None
) -> dict[str, str]:
    """The largest part of `precisions` that keeps every output within `max_error` of what `graph` gives.

    Each layer is measured alone; the worst are left out, one by one, until what remains holds.

    Parameters
    ----------
    precisions : mapping
        As `choose` returns it.
    x : array
        As `calibration_input` returns it.
    max_error : float
        Largest absolute error of any output, positive.
    activations : {"exact", "fast"}, optional
        As of `apply`.

    Returns
    -------
    dict
        Empty when even the best layer alone breaks `max_error`.

    Examples
    --------
    >>> from fastgru.graph import Dense, chain
    >>> both = chain([Dense(np.array([[0.3]])), Dense(np.array([[1.0]]))], names=["rounded", "exact"])
    >>> within(both, {"rounded": "float16", "exact": "float16"}, np.ones((1, 1, 1)), 1e-6)
    {'exact': 'float16'}
    """
    limit = positive(max_error)
    exact = _outputs(graph, x)
    alone = {name: _error(apply(graph, {name: p}, activations), x, exact) for name, p in precisions.items()}
    kept = dict(precisions)
    for name in sorted(alone, key=lambda n: (math.isnan(alone[n]), alone[n]), reverse=True):
        if _error(apply(graph, kept, activations), x, exact) <= limit:
            break
        del kept[name]
    return kept


def nothing_changed(
    graph: Graph, precisions: Mapping[str, str], x: Input, max_error: float, activations: str | None = None
) -> str:
    """Return the message of a `max_error` that no layer of `precisions` keeps: it names the one that errs least."""
    exact, changed = _outputs(graph, x), changes(graph, precisions, activations)
    alone = {n: _error(apply(graph, {n: precisions[n]}, activations), x, exact) for n in changed}
    name = min(alone, key=lambda n: (math.isnan(alone[n]), alone[n]))
    if not math.isfinite(alone[name]):
        return "nothing was changed: no layer may change, since an output would be infinite or NaN"
    digit = 10 ** (math.floor(math.log10(alone[name])) - 1)  # the second one
    enough = math.ceil(alone[name] / digit) * digit
    return (
        f"nothing was changed: {named('max_error')} must be at least {enough:.2g} for a layer to change, {name!r} "
        f"alone, got {max_error:g}"
    )


def positive(max_error: Any) -> float:
    """`max_error` as a float.

    Raises
    ------
    ValueError, TypeError
        When it is no positive number.
    """
    if isinstance(max_error, bool) or not isinstance(max_error, int | float | np.integer | np.floating):
        raise TypeError(f"max_error must be a positive number, got {max_error!r}")
    if not max_error > 0:
        raise ValueError(f"max_error must be a positive number, got {max_error!r}")
    try:
        return float(max_error)
    except OverflowError:  # an integer that no error reaches
        return math.inf


def _outputs(graph: Graph, x: Input) -> tuple[Array, ...]:
    return tuple(np.asarray(y, dtype=np.float64) for y in reference.run(graph, x)[0])


def _errors(graph: Graph, x: Input, exact: tuple[Array, ...]) -> tuple[float, ...]:
    """Largest absolute difference of each output from `exact`."""
    return tuple(float(np.abs(a - b).max()) for a, b in zip(_outputs(graph, x), exact, strict=True))


def _error(graph: Graph, x: Input, exact: tuple[Array, ...]) -> float:
    return float(np.max(_errors(graph, x, exact)))


# The report ----------------------------------------------------------------------------------------


class LayerReport(NamedTuple):
    """One layer that has weights.

    Attributes
    ----------
    name, kind, precision, activations : str
        The node's name, its op, the precision it was given, and the tier of its gates, empty where there is none.
    weight_error, relative_error : float
        Largest absolute change of a weight of its matrices, and the same over the largest of them.
    output_error : float
        Largest absolute error of any output of the model when this layer alone is changed.
    bytes_before, bytes_after : int
        Of its weights.
    """

    name: str
    kind: str
    precision: str
    activations: str
    weight_error: float
    relative_error: float
    output_error: float
    bytes_before: int
    bytes_after: int


class Report(NamedTuple):
    """What `report` returns; ``str()`` of it is a plain-text table.

    Attributes
    ----------
    rows : tuple of LayerReport
    errors : dict of str to float
        Largest absolute error of each output with all layers changed.
    bytes_before, bytes_after : int
        Of all weights, those that layers share counted once.
    measured_on : str
        The input of which all errors are.
    """

    rows: tuple[LayerReport, ...]
    errors: dict[str, float]
    bytes_before: int
    bytes_after: int
    measured_on: str = ""

    @property
    def max_error(self) -> float:
        """The largest error of all outputs."""
        return float(np.max(list(self.errors.values())))

    def __str__(self) -> str:
        errors = f"{self.outputs()}, on {self.measured_on}" if self.measured_on else self.outputs()
        return "\n".join([*plain_table(HEADINGS, self.cells(), self.total(), WORDS), errors])

    def __repr__(self) -> str:
        return str(self)

    def cells(self) -> list[tuple[str, ...]]:
        """The rows as text."""
        shown = [(f"{100 * r.relative_error:.2g}%", _small(r.output_error)) for r in self.rows]
        sizes = [(f"{r.bytes_before:,}", f"{r.bytes_after:,}") for r in self.rows]
        words = [(r.name, r.kind, r.precision, r.activations) for r in self.rows]
        return [(*a, *b, *c) for a, b, c in zip(words, shown, sizes, strict=True)]

    def total(self) -> tuple[str, ...]:
        """The totals as text, a cell for each heading."""
        return ("total", *[""] * WORDS, _small(self.max_error), f"{self.bytes_before:,}", f"{self.bytes_after:,}")

    def outputs(self) -> str:
        """The error of each output, on one line."""
        return "max error of " + ", ".join(f"{name!r} {_small(error)}" for name, error in self.errors.items())

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON."""
        return {**self._asdict(), "rows": [row._asdict() for row in self.rows]}


def report(before: Graph, after: Graph, x: Any = None) -> Report:
    """Compare a graph with the one that `apply` made of it.

    Parameters
    ----------
    before, after : Graph
        ``model.graph`` of both.
    x : array, optional
        Typical input to run both on, as `quantize` takes its calibration; random numbers when omitted, whose errors
        real data may exceed by far.

    Raises
    ------
    GraphError
        When they are not the same layers.
    ValueError, TypeError
        When `x` does not fit.

    Examples
    --------
    >>> from fastgru.graph import Dense, chain
    >>> before = chain([Dense(np.array([[127.0, 0.4]]))])
    >>> print(report(before, apply(before, {"dense": "int8"}), np.array([[[0.0, 10.0]]])))
    layer  kind   precision  activations  weight error  output error  bytes before  bytes after
    -------------------------------------------------------------------------------------------
    dense  Dense  int8                           0.31%             4             8            6
    -------------------------------------------------------------------------------------------
    total                                                          4             8            6
    max error of 'dense' 4, on the calibration of shape (1, 1, 2)
    """
    for name, graph in (("before", before), ("after", after)):
        if not isinstance(graph, Graph):
            raise TypeError(f"{name} must be a Graph (model.graph), got {type(graph).__name__}")
    array = calibration_input(before, x)
    exact = _outputs(before, array)
    if _skeleton(before) != _skeleton(after):
        raise GraphError(f"graphs to compare must have the same layers, got {before!r} and {after!r}")
    rows = [
        _row(before, old, new, array, exact)
        for old, new in zip(before.nodes, after.nodes, strict=True)
        if old.op.weights()
    ]
    errors = dict(zip(before.outputs, _errors(after, array, exact), strict=True))
    sizes = weight_bytes(before), weight_bytes(after)
    return Report(tuple(rows), errors, *sizes, measured_on(array, given=x is not None))


def _skeleton(graph: Graph) -> tuple[Any, ...]:
    """All but the ops' attributes and the values of their weights."""
    shapes = [{name: w.shape for name, w in node.op.weights().items()} for node in graph.nodes]
    kinds = [(node.name, type(node.op), node.inputs, node.outputs) for node in graph.nodes]
    return graph.inputs, graph.outputs, graph.feedback, kinds, shapes


def _row(before: Graph, old: Node, new: Node, x: Input, exact: tuple[Array, ...]) -> LayerReport:
    matrices = {field: w.astype(np.float64) for field, w in old.op.weights().items() if field in old.op.matrices}
    changed = max((float(np.abs(w - new.op.weights()[field]).max()) for field, w in matrices.items()), default=0.0)
    largest = max((float(np.abs(w).max()) for w in matrices.values()), default=0.0)
    error = 0.0
    if changed or old.op.attributes() != new.op.attributes():
        error = _error(before.with_ops(lambda node: new.op if node.name == new.name else node.op), x, exact)
    return LayerReport(
        old.name, type(old.op).__name__, precision_of(new.op), tier_of(new.op),
        changed, changed / largest if largest else 0.0, error, old.op.weight_bytes(), new.op.weight_bytes(),
    )  # fmt: skip


def _small(value: float) -> str:
    return f"{value:.2g}"


__all__ = ["LayerReport", "Report", "report"]


def __dir__() -> list[str]:
    return __all__
