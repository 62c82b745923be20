"""Scalers in a model: what a fitted one does, as nodes before the inputs and behind the outputs of a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._arrays import as_array
from ._names import nearest
from .checks import selftest
from .checks.samples import Input, each
from .checks.tolerances import FLOORS, IMPORT_SLACK, outputs_of, tolerances
from .errors import GraphError
from .graph import Add, Binary, Constant, Graph, Multiply, Node, Op, Scaler, Spec

Array = NDArray[Any]
KERAS_EPSILON = 1e-7  # keras.backend.epsilon(), the least standard deviation that Normalization divides by
SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)  # normal numbers
KNOWN = (
    "a StandardScaler, MinMaxScaler, RobustScaler or MaxAbsScaler of scikit-learn, a Normalization layer of Keras, "
    "or a pair (mean, scale)"
)


class Fitted(NamedTuple):
    """(x - mean) / scale, then clipped to a range where there is one.

    Attributes
    ----------
    mean, scale : float64 arrays
    clip : (float, float) or None
    name : str
        The class it came from.
    """

    mean: Array
    scale: Array
    clip: tuple[float, float] | None
    name: str


# Reading -------------------------------------------------------------------------------------------


def fitted(scaler: Any, what: str) -> Fitted:
    """Read a scaler that was fitted, by the attributes that its kind has; `what` is what the user calls it.

    Raises
    ------
    TypeError
        When it is of no known kind.
    ValueError
        When it was not fitted, or a number is not finite or a scale zero.

    Examples
    --------
    >>> fitted(([1.0, 2.0], 4.0), "scaler")[:2]
    (array([1., 2.]), array(4.))
    """
    name = type(scaler).__name__
    if isinstance(scaler, tuple | list):
        if len(scaler) != 2:
            raise TypeError(f"{what} must be {KNOWN}, got a {name} of {len(scaler)} items")
        return _checked((*scaler, None), "mean and scale", what)
    for attributes, read in READERS.items():
        if all(_is_data(scaler, attribute) for attribute in attributes):
            return _checked(read(scaler), name, what)
    if any(cls.__name__ in CLASSES for cls in type(scaler).__mro__):
        method = "adapt" if hasattr(scaler, "adapt") else "fit"
        raise ValueError(f"{what} must be fitted, got a {name} without its numbers: call its {method} first")
    raise TypeError(f"{what} must be {KNOWN}, got {name}")


def _is_data(scaler: Any, attribute: str) -> bool:
    """True if the attribute is there and holds numbers, as no method does."""
    return hasattr(scaler, attribute) and not callable(getattr(scaler, attribute))


def _standard(scaler: Any) -> tuple[Any, Any, Any]:
    centred, spread = getattr(scaler, "with_mean", True), getattr(scaler, "with_std", True)
    return scaler.mean_ if centred else None, scaler.scale_ if spread else None, None


def _min_max(scaler: Any) -> tuple[Any, Any, Any]:
    """x * scale_ + min_, which is 0 at -min_ / scale_."""
    factor = np.asarray(scaler.scale_, np.float64)
    clip = tuple(scaler.feature_range) if getattr(scaler, "clip", False) else None
    return -np.asarray(scaler.min_, np.float64) / factor, 1.0 / factor, clip


def _robust(scaler: Any) -> tuple[Any, Any, Any]:
    centred, spread = getattr(scaler, "with_centering", True), getattr(scaler, "with_scaling", True)
    return scaler.center_ if centred else None, scaler.scale_ if spread else None, None


def _max_abs(scaler: Any) -> tuple[Any, Any, Any]:
    return None, scaler.scale_, (-1.0, 1.0) if getattr(scaler, "clip", False) else None


def _normalization(layer: Any) -> tuple[Any, Any, Any]:
    """Of Keras: mean and variance, with axes of one before those of the features; `invert` does the opposite."""
    mean = _numpy(layer.mean)
    spread = np.maximum(np.sqrt(_numpy(layer.variance)), KERAS_EPSILON)
    if not getattr(layer, "axis", True):  # one number for all features
        mean, spread = mean.reshape(()), spread.reshape(())
    mean, spread = (a[(0,) * (a.ndim - 1)] if a.ndim > 1 and a.size == a.shape[-1] else a for a in (mean, spread))
    return (-mean / spread, 1.0 / spread, None) if getattr(layer, "invert", False) else (mean, spread, None)


def _numpy(tensor: Any) -> Array:
    """A tensor of any backend of Keras as float64."""
    for attribute in ("detach", "cpu", "numpy"):  # PyTorch's own wish for these
        tensor = getattr(tensor, attribute)() if hasattr(tensor, attribute) else tensor
    return np.asarray(tensor, np.float64)


# attributes of a fitted scaler -> how to read mean, scale and the range it clips to
READERS: dict[tuple[str, ...], Callable[[Any], tuple[Any, Any, Any]]] = {
    ("data_min_", "min_", "scale_"): _min_max,
    ("center_", "scale_"): _robust,
    ("max_abs_", "scale_"): _max_abs,
    ("mean_", "scale_"): _standard,
    ("mean", "variance"): _normalization,
}
CLASSES = ("StandardScaler", "MinMaxScaler", "RobustScaler", "MaxAbsScaler", "Normalization")


def _checked(numbers: tuple[Any, Any, Any], name: str, what: str) -> Fitted:
    """Mean and scale as float64 arrays, where None is a mean of 0 or a scale of 1, and the range of the clip."""
    arrays, (mean, scale, clip) = [], numbers
    for part, given, default in (("mean", mean, 0.0), ("scale", scale, 1.0)):
        array = as_array(default if given is None else given, f"{part} of {what}")
        if array.dtype.kind not in "fiu":
            raise TypeError(f"{part} of {what} must be real numbers, got {array.dtype}")
        array = array.astype(np.float64)
        _check_numbers(array, part, what)
        arrays.append(array)
    return Fitted(arrays[0], arrays[1], None if clip is None else (float(clip[0]), float(clip[1])), name)


def _check_numbers(array: Array, part: str, what: str) -> None:
    """Raise ValueError for a mean, or a scale or its reciprocal, that float32 holds with fewer digits or not at all."""
    size = np.abs(array)
    if part == "mean":
        wrong, expected = ~(size <= LARGEST), "finite in float32"
    else:
        wrong = ~((size >= SMALLEST) & (size <= 1 / SMALLEST))
        expected = f"finite and not zero, from {SMALLEST:.3g} to {1 / SMALLEST:.3g} in float32"
    if wrong.any():
        place = np.unravel_index(int(np.argmax(wrong)), array.shape)
        feature = f" for feature {place[-1]}, counted from 0" if place else ""
        raise ValueError(f"{part} of {what} must be {expected}, got {array[place]}{feature}")


def by_name(given: Any, specs: Mapping[str, Spec], kind: str) -> dict[str, Fitted]:
    """The scalers of some inputs or outputs by their names, each of a shape that fits.

    Parameters
    ----------
    given : scaler, mapping of names to scalers, or None
    specs : mapping of str to Spec
        All inputs, or all outputs.
    kind : {"input", "output"}
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        if len(specs) > 1:
            raise ValueError(
                f"scalers must be a mapping of names, as there are the {kind}s {', '.join(specs)}, got one"
            )
        given = {next(iter(specs)): given}
    unknown = [name for name in given if name not in specs]
    if unknown:
        raise ValueError(f"{kind} to scale must be one of {nearest(unknown[0], specs)}, got {unknown[0]!r}")
    found = {}
    for name, scaler in given.items():
        spec, what = specs[name], f"scaler of {kind} {name!r}"
        if spec.dtype != "float":
            raise ValueError(f"{kind} to scale must hold floats, got {name!r} of {spec.dtype}")
        found[name] = fitted(scaler, what)
        shape = np.broadcast_shapes(found[name].mean.shape, found[name].scale.shape)
        single = shape == (1,) and kind == "output"  # one target, predicted for several steps ahead
        try:
            fits = np.broadcast_shapes(shape, spec.shape) == spec.shape
        except ValueError:
            fits = False
        if not fits or (shape == (1,) and spec.shape[-1:] != (1,) and not single):
            features = spec.shape[-1] if spec.shape else 1
            raise ValueError(f"{what} must have {features} features, got numbers of shape {shape}")
    return found


# Writing -------------------------------------------------------------------------------------------


def scaled(graph: Graph, inputs: Mapping[str, Fitted], outputs: Mapping[str, Fitted]) -> Graph:
    """`graph` with its inputs scaled before anything reads them, and its outputs scaled back.

    Names of inputs, outputs and states stay, so an output that is an input itself is that input as it is given.
    """
    return _Drawing(graph).scaled(inputs, outputs)


class _Drawing:
    """New nodes around those of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values, self.names = set(graph.specs), {node.name for node in graph.nodes}
        self.renamed: dict[str, str] = {}
        self.before: list[Node] = []
        self.after: list[Node] = []

    def scaled(self, inputs: Mapping[str, Fitted], outputs: Mapping[str, Fitted]) -> Graph:
        graph = self.graph
        if both := [name for name in outputs if name in graph.inputs]:
            raise GraphError(f"output to scale must be computed by the model, got {both[0]!r}, which is an input")
        for name, scaler in inputs.items():
            value = self.add(self.before, Scaler(scaler.mean, scaler.scale), name, name="scaler")
            for function, bound in zip(("max", "min"), scaler.clip or (), strict=False):
                limit = self.add(self.before, Constant(np.array(bound)), name=f"scaler_{function}")
                value = self.add(self.before, Binary(function), value, limit, name="scaler_clip")
            self.renamed[name] = value
        for name, scaler in outputs.items():
            self.renamed[name] = raw = self.unique(self.values, f"{name}.raw")
            scale = self.add(self.after, Constant(scaler.scale), name="unscale_factor")
            value = self.add(self.after, Multiply(), raw, scale, name="unscale")
            mean = self.add(self.after, Constant(scaler.mean), name="unscale_mean")
            self.after.append(Node(self.unique(self.names, "unscaled"), Add(), (value, mean), (name,)))
        nodes = [
            replace(n, inputs=self.now(n.inputs), outputs=tuple(self.renamed.get(v, v) for v in n.outputs))
            for n in graph.nodes
        ]
        feedback = {self.now((a,))[0]: self.now((b,))[0] for a, b in graph.feedback.items()}
        return Graph(graph.inputs, [*self.before, *nodes, *self.after], graph.outputs, feedback)

    def now(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Map each value to the name under which its readers now find it."""
        return tuple(self.renamed.get(name, name) for name in names)

    def add(self, nodes: list[Node], op: Op, *inputs: str, name: str) -> str:
        """Append a node; returns the value it writes."""
        value = self.unique(self.values, name)
        nodes.append(Node(self.unique(self.names, name), op, inputs, (value,)))
        return value

    def unique(self, taken: set[str], stem: str) -> str:
        """`stem`, or `stem` with the first free number behind it."""
        name, number = stem, 0
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        return name


# Testing -------------------------------------------------------------------------------------------


def self_test(
    test: selftest.SelfTest | None,
    graph: Graph,
    inputs: Mapping[str, Fitted],
    outputs: Mapping[str, Fitted],
    dtype: str,
) -> selftest.SelfTest:
    """The self-test of a scaled `graph`: that of the model before, its input scaled back and its outputs like them.

    Where rounding of the new input moves an output further than an import may be off, the expected outputs are the
    reference's.
    """
    if test is None:
        return selftest.make(graph, None, {}, dtype=dtype)
    only = next(iter(graph.inputs))
    x: Input = each(test.input, lambda name, a: _unscaled(inputs.get(name or only), a))
    expected = outputs_of(graph, x)
    if not all(np.isfinite(y).all() for y in expected):
        return selftest.make(graph, None, {}, dtype=dtype)
    own = tuple(_unscaled(outputs.get(n), y) for n, y in zip(graph.outputs, test.outputs, strict=True))
    limits = tolerances(graph, x, expected, [FLOORS[str(y.dtype)] for y in own])
    errors = [float(np.abs(a - b).max()) for a, b in zip(own, expected, strict=True)]
    if all(e <= max(IMPORT_SLACK * t, r) for e, (t, r) in zip(errors, limits, strict=True)):
        return selftest.SelfTest(test.seed, x, own, test.source)
    return selftest.SelfTest(test.seed, x, expected, selftest.REFERENCE_SOURCE)


def _unscaled(scaler: Fitted | None, array: Array) -> Array:
    """An array scaled back, in its own dtype."""
    if scaler is None:
        return array
    with np.errstate(over="ignore"):
        return (array.astype(np.float64) * scaler.scale + scaler.mean).astype(array.dtype)


def told(inputs: Mapping[str, Fitted], outputs: Mapping[str, Fitted]) -> str:
    """Return what was done, for a model's provenance."""
    done = [f"{s.name} of input {name!r}" for name, s in inputs.items()]
    return ", ".join([*done, *(f"{s.name} undone of output {name!r}" for name, s in outputs.items())])
