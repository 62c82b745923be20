"""The arguments of an attribution: inputs with their batch axis, and the output that is explained as weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .._arrays import as_array
from .._names import nearest
from ..graph import Graph, Spec
from ..graph.activations import F64
from ..graph.fields import short
from ..reference.tensor import DTYPES
from .finite import check_finite

Array = Any
KINDS = {"float": ("fiu", "real numbers"), "int": ("iu", "integer ids"), "bool": ("b", "bools")}


class Inputs(NamedTuple):
    """Inputs by name with a batch axis, and how to give arrays of their shapes back as they came.

    Attributes
    ----------
    feeds : dict
        (B, T, *frame) or (B, *frame): float64, int64 or bool.
    batched : bool
        False where the arrays came without a batch axis.
    form : type
        dict, tuple, or None for a single array.
    """

    feeds: dict[str, Array]
    batched: bool
    form: type | None

    def like(self, found: Mapping[str, Array]) -> Any:
        """Return arrays by name in the form in which the inputs came."""
        own = {name: found[name] if self.batched else found[name][0] for name in self.feeds}
        if self.form is dict:
            return own
        return tuple(own.values()) if self.form is tuple else next(iter(own.values()))


def inputs_of(graph: Graph, x: Any, what: str = "x") -> Inputs:
    """Return inputs as `Model.__call__` takes them, checked.

    Raises
    ------
    ValueError, TypeError
        When names, shapes or numbers do not fit.
    """
    form: type | None = None
    names = list(graph.inputs)
    if isinstance(x, Mapping):
        form, given = dict, dict(x)
        if set(given) != set(names):
            raise ValueError(f"{what} must have the inputs {', '.join(names)}, got {nearest(None, given)}")
    elif isinstance(x, tuple) or len(names) > 1:
        form = tuple
        if not isinstance(x, tuple | list) or len(x) != len(names):
            got = f"{len(x)} arrays" if isinstance(x, tuple | list) else "one array"
            raise ValueError(f"{what} must be a tuple or mapping of the inputs {', '.join(names)}, got {got}")
        given = dict(zip(names, x, strict=True))
    else:
        given = {names[0]: x}
    arrays = {name: as_array(given[name], f"{what} of input {name!r}" if form else what) for name in names}
    for name, spec in graph.inputs.items():
        _check_kind(_named(what, name, form), spec, arrays[name])
    ranks = {name: arrays[name].ndim - len(spec.shape) - spec.time for name, spec in graph.inputs.items()}
    batched = all(rank == 1 for rank in ranks.values())
    if not batched and any(rank != 0 for rank in ranks.values()):
        name = next(name for name, rank in ranks.items() if rank != 0)
        raise ValueError(f"{_named(what, name, form)} must have shape {graph.shown(name)}, got {arrays[name].shape}")
    feeds = {
        name: _checked(_named(what, name, form), graph.shown(name), spec, arrays[name], batched)
        for name, spec in graph.inputs.items()
    }
    rows = {name: len(a) for name, a in feeds.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"inputs must have one batch, got {', '.join(f'{n} of {name!r}' for name, n in rows.items())}")
    return Inputs(feeds, batched, form)


def _check_kind(what: str, spec: Spec, array: Array) -> None:
    """Raise TypeError unless an array is of the kind of number that an input takes."""
    kinds, expected = KINDS[spec.dtype]
    if array.dtype.kind not in kinds:
        raise TypeError(f"{what} must be {expected}, got {array.dtype}")


def _named(what: str, name: str, form: type | None) -> str:
    return f"input {name!r} of {what}" if form else what


def _checked(what: str, shown: str, spec: Spec, array: Array, batched: bool) -> Array:
    """Return an array of one input with a batch axis, in the reference's type."""
    if array.shape[array.ndim - len(spec.shape) :] != spec.shape:
        raise ValueError(f"{what} must have shape {shown}, got {array.shape}")
    lead = array.shape[: batched + spec.time]
    if 0 in lead:
        raise ValueError(f"{what} must have at least one {'step' if lead[-1] == 0 else 'row'}, got shape {array.shape}")
    check_finite(what, array)
    found = array.astype(DTYPES[spec.dtype])
    return found if batched else found[None]


def baseline_of(graph: Graph, inputs: Inputs, baseline: Any) -> dict[str, Array] | None:
    """Return a baseline for every input, of the inputs' shapes; None where none is given: zeros."""
    if baseline is None:
        return None
    names = list(graph.inputs)
    if not isinstance(baseline, Mapping):
        parts = baseline if isinstance(baseline, tuple) else (baseline,) * len(names)
        if len(parts) != len(names):
            raise ValueError(f"baseline must have the inputs {', '.join(names)}, got {len(parts)} arrays")
        baseline = dict(zip(names, parts, strict=True))
    wrong = [name for name in baseline if name not in names]
    if wrong:
        raise ValueError(f"baseline must be of the inputs {nearest(wrong[0], names)}, got {wrong[0]!r}")
    found = {}
    for name, spec in graph.inputs.items():
        x = inputs.feeds[name]
        if name not in baseline:
            found[name] = np.zeros_like(x) if spec.dtype == "float" else x
            continue
        given = as_array(baseline[name], f"baseline of {name!r}")
        try:
            wide = np.broadcast_to(given, x.shape)
        except ValueError:
            raise ValueError(f"baseline of {name!r} must broadcast to the input {x.shape}, got {given.shape}") from None
        _check_kind(f"baseline of {name!r}", spec, given)
        found[name] = _checked(f"baseline of {name!r}", graph.shown(name), spec, wide, True)
    return found


class Target(NamedTuple):
    """The output that is explained: its name, and weights (B, T, *frame), T = 1 where it has no time."""

    name: str
    weights: F64


def target_of(graph: Graph, output: Any, name: str | None, values: Mapping[str, Array], *, batched: bool) -> Target:
    """Return the weights of an output.

    Parameters
    ----------
    output : int, pair or array
        See `fastgru.inspect.attribute`.

    Raises
    ------
    ValueError, TypeError
        When there is no such output, step or unit.
    """
    if name is None and len(graph.outputs) > 1:
        raise ValueError(f"name must be that of one output, {nearest(None, graph.outputs)}; got none")
    if name is not None and name not in graph.outputs:
        raise ValueError(f"name must be that of an output, {nearest(name, graph.outputs)}; got {name!r}")
    name = graph.outputs[0] if name is None else name
    spec, y = graph.specs[name], values[name]
    if spec.dtype != "float":
        raise ValueError(f"output {name!r} must hold floats to be explained, got {spec.dtype}")
    if (isinstance(output, np.ndarray) and output.ndim) or isinstance(output, list):
        return Target(name, _weights(graph, output, name, y, batched=batched))
    step, unit = output if isinstance(output, tuple) and len(output) == 2 and spec.time else (-1, output)
    frame = unit if isinstance(unit, tuple) else (unit,)
    frame = () if not spec.shape and frame in ((), (0,)) else frame
    whole = [n for n in (step, *frame) if isinstance(n, bool) or not isinstance(n, int | np.integer)]
    if whole:
        expected = (
            "a unit, a pair (step, unit), or an array of weights" if spec.time else "a unit, or an array of weights"
        )
        raise TypeError(f"output must be {expected}, got {short(output)}")
    if len(frame) != len(spec.shape):
        raise ValueError(f"unit of output {name!r} must be {_count(spec.shape)}, got {short(unit)}")
    at = (int(step) if spec.time else 0, *map(int, frame))
    for place, size, axis in zip(at, y.shape[1:], ["step", *["unit"] * len(frame)], strict=True):
        if not -size <= place < size:
            raise ValueError(f"{axis} of output {name!r} must be in {-size}..{size - 1}, got {place}")
    weights, index = np.zeros(y.shape), (slice(None), *at)  # type: Any, Any
    weights[index] = 1.0
    return Target(name, weights)


def _count(shape: tuple[int, ...]) -> str:
    return "a whole number" if len(shape) == 1 else f"a tuple of {len(shape)} whole numbers, as the frame is {shape}"


def _weights(graph: Graph, given: Any, name: str, y: Array, *, batched: bool) -> F64:
    """Return an array of weights, which has the shape of the output as a call returns it."""
    weights = as_array(given, "output")
    shape = y.shape if graph.specs[name].time else (y.shape[0], *y.shape[2:])
    shape = shape if batched else shape[1:]
    if weights.dtype.kind not in "fiub" or weights.shape != shape:
        raise ValueError(f"weights must have the shape {shape} of output {name!r}, got {weights.dtype} {weights.shape}")
    check_finite("weights", weights)
    return weights.astype(np.float64).reshape(y.shape)


def graph_of(model: Any) -> Graph:
    """Return the graph of a model, or raise TypeError."""
    graph = model if isinstance(model, Graph) else getattr(model, "graph", None)
    if isinstance(graph, Graph):
        return graph
    hint = "; a compiled plan has no graph, load its .fgru file" if type(model).__name__ == "CompiledModel" else ""
    raise TypeError(f"model must be a Model, got {type(model).__name__}{hint}")
