"""How far outputs may be from those that a self-test expects: by their size, and by how the graph amplifies rounding.

Tolerances are absolute, one per output, the largest of four:

- a floor: `FLOORS` times the largest magnitude in that output, at least 1. In float32 it is 2e-6, some 17
  units in the last place, since each of the 16 steps rounds a state that the next one reads;
- `RESPONSE` times the change of the output when every weight, every input and every sum inside is moved by half a
  unit in its last place. A dot product in floating point is the exact product of data perturbed about so much, and
  its terms are added to what is by then as large as the sum; so this follows a network that amplifies rounding (large
  weights, relu recurrences, a softmax of large scores) without loosening the others;
- `ROUNDING` times the change of the output when the activations that int8 and bfloat16 weights meet, and those that
  fake_quantize rounds, are not rounded. One that lies between two codes may be rounded up in float32 and down in
  float64; both runs are then as far from the unrounded one as rounding moves it, and at most twice that from each
  other. Zero without either;
- twice the stored output's own error against the float64 reference, which `fastgru.selftest.make` bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import reference
from ..graph import Activation, Constant, CumSum, Graph, Mask, Node, Reduce, TimeReduce, precision_of
from ..graph.op import held
from .samples import Input, each

Array = NDArray[Any]

SEED = 0  # of the directions in which weights are moved
MORE = 8  # directions in which they are before an error is called one
FLOORS = {"float32": 2e-6, "float64": 1e-12}
RESPONSE = 16.0
ROUNDING = 2.0
# Of sources that compute in less: two units in the last place, and the unit by which weights and inputs are moved.
NARROW: dict[str, tuple[float, float]] = {"float16": (2.0**-9, 2.0**-11), "bfloat16": (2.0**-6, 2.0**-8)}
NARROW_RESPONSE = 4.0  # in place of RESPONSE; layers of 8 to 512 units in float16 are off by up to half of the change
IMPORT_SLACK = 4.0  # a framework's own kernels may round worse than ours; a wrong import is off by far more


def outputs_of(graph: Graph, x: Input, *, together: bool = False, moved: Any = None) -> tuple[Array, ...]:
    """The reference's outputs, in float64; `together` and `moved` as `reference.run` has them."""
    found = reference.run(graph, x, together=together, moved=moved)[0]
    return tuple(np.asarray(y, dtype=np.float64) for y in found)


def _moved(array: Array, unit: float, rng: np.random.Generator) -> Array:
    """`array` as float64 with every element moved by a relative `unit`, up or down at random."""
    return array.astype(np.float64) * (1.0 + unit * rng.choice([-1.0, 1.0], size=array.shape))


def _response(graph: Graph, x: Input, unit: float, direction: int = 0) -> tuple[Array, ...]:
    """The outputs when all weights, inputs and sums are moved by a relative `unit`.

    Of a graph that rounds nothing, so that what was moved stays so.
    """
    rng = np.random.default_rng(SEED + direction)
    known: dict[int, Array] = {}  # of weights that nodes share: moved once

    def once(weight: Array) -> Array:
        if id(weight) not in known:
            known[id(weight)] = held(_moved(weight, unit, rng))
        return known[id(weight)]

    def moved(node: Node) -> Any:
        if isinstance(node.op, Constant) and node.op.dtype != "float":
            return node.op
        return node.op.replace(**{f: once(w) for f, w in node.op.weights().items()})

    def rounded(node: Node, y: Array) -> Array:
        if y.dtype.kind != "f" or not _sums(graph, node):
            return y
        # What float32 holds is not rounded: counts of steps, ones and zeros, which others may compare.
        return np.where(y == y.astype(np.float32), y, _moved(y, unit, rng))

    moved_graph = graph.with_ops(moved)
    masked = any(isinstance(node.op, Mask) for node in graph.nodes)  # moved values would no longer match the mask's
    moved_x = each(x, lambda _, a: a if masked or a.dtype.kind != "f" else _moved(a, unit, rng))
    return outputs_of(moved_graph, moved_x, moved=rounded)


def _sums(graph: Graph, node: Node) -> bool:
    """True for a node that adds products or many of its numbers."""
    if isinstance(node.op, Reduce | TimeReduce):
        return node.op.function not in ("max", "min")
    return isinstance(node.op, CumSum) or node.op.macs_for(tuple(graph.specs[v] for v in node.inputs)) > 0


def _unrounded(graph: Graph) -> Graph:
    """`graph` with the values of its weights as they are, and activations that are not rounded."""

    def unrounded(node: Node) -> Any:
        op = node.op
        changes = op.in_precision("float32") if op.matrices else {}
        changes |= {name: "linear" for name, value in vars(op).items() if _rounds(value)}
        return op.replace(**changes) if changes else op

    return graph.with_ops(unrounded)


def _rounds(attribute: Any) -> bool:
    return isinstance(attribute, Activation) and attribute.name == "fake_quantize"


def _largest_differences(some: tuple[Array, ...], others: tuple[Array, ...]) -> list[float]:
    with np.errstate(invalid="ignore"):  # of infinities the difference is NaN, which no tolerance allows
        return [float(np.abs(a - b).max()) for a, b in zip(some, others, strict=True)]


def tolerances(
    graph: Graph, x: Input, expected: tuple[Array, ...], floors: list[float], precision: str = "float32"
) -> list[tuple[float, float]]:
    """Of every output what arithmetic (the floor or the response, the larger) and rounding are allowed.

    `precision` is that of a source that computes in one of `NARROW`.
    """
    floors, eps, factor = _units(floors, precision)
    smooth, unrounded = _smooth(graph, x, expected)
    response = _largest_differences(_response(smooth, x, eps), unrounded)
    rounding = _largest_differences(expected, unrounded)
    return [
        (max(floor * max(1.0, float(np.abs(y).max())), factor * moved), ROUNDING * rounded)
        for y, floor, moved, rounded in zip(expected, floors, response, rounding, strict=True)
    ]


def at_elements(
    graph: Graph, x: Input, expected: tuple[Array, ...], floors: list[float], precision: str = "float32"
) -> list[Array]:
    """Of every element of every output what its own response is allowed, by the largest of those to `MORE` directions.

    Where few numbers decide, as which of two scores is the larger, one direction may show little of it, and no other
    element shows any: this is asked where an error is above `tolerances`, and loosens nothing but such elements.
    """
    _, eps, factor = _units(floors, precision)
    smooth, unrounded = _smooth(graph, x, expected)
    largest = [np.zeros(y.shape) for y in expected]
    for direction in range(MORE):
        moved = _response(smooth, x, eps, direction)
        with np.errstate(invalid="ignore"):
            largest = [np.maximum(a, np.abs(b - y)) for a, b, y in zip(largest, moved, unrounded, strict=True)]
    return [factor * response for response in largest]


def _units(floors: list[float], precision: str) -> tuple[list[float], float, float]:
    """The floors, the unit by which numbers are moved, and how many times the response is allowed."""
    eps = float(np.finfo("float32" if max(floors) == FLOORS["float32"] else "float64").eps) / 2
    if precision not in NARROW:
        return floors, eps, RESPONSE
    floor, eps = NARROW[precision]
    return [max(floor, own) for own in floors], eps, NARROW_RESPONSE


def _smooth(graph: Graph, x: Input, expected: tuple[Array, ...]) -> tuple[Graph, tuple[Array, ...]]:
    """A graph that rounds nothing, and its outputs."""
    if all(
        precision_of(node.op) == "float32" and not any(map(_rounds, vars(node.op).values())) for node in graph.nodes
    ):
        return graph, expected
    smooth = _unrounded(graph)
    return smooth, outputs_of(smooth, x)
