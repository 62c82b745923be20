"""How far outputs may be from those that a self-test expects: by their size, and by how the graph amplifies rounding.

Tolerances are absolute, one per output, the largest of four:

- a floor: `FLOORS` times the largest magnitude in that output, at least 1. In float32 it is 2e-6, some 17
  units in the last place, since each of the 16 steps rounds a state that the next one reads;
- `RESPONSE` times the change of the output when every weight and input is moved by half a unit in its last
  place. A dot product in floating point is the exact product of data perturbed about so much, so this
  follows a network that amplifies rounding (large weights, relu recurrences) without loosening the others;
- `ROUNDING` times the change of the output when the activations that int8 and bfloat16 weights meet are not
  rounded. One that lies between two codes may be rounded up in float32 and down in float64; both runs are then as
  far from the unrounded one as rounding moves it, and at most twice that from each other. Zero without such
  weights;
- twice the stored output's own error against the float64 reference, which `fastgru.selftest.make` bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import reference
from ._samples import Input, each
from .graph import Constant, Graph, Mask, Node, precision_of

Array = NDArray[Any]

SEED = 0  # of the directions in which weights are moved
FLOORS = {"float32": 2e-6, "float64": 1e-12}
RESPONSE = 16.0
ROUNDING = 2.0
IMPORT_SLACK = 4.0  # a framework's own kernels may round worse than ours; a wrong import is off by far more


def outputs_of(graph: Graph, x: Input) -> tuple[Array, ...]:
    """The reference's outputs, in float64."""
    return tuple(np.asarray(y, dtype=np.float64) for y in reference.run(graph, x)[0])


def _moved(array: Array, unit: float, rng: np.random.Generator) -> Array:
    """`array` as float64 with every element moved by a relative `unit`, up or down at random."""
    return array.astype(np.float64) * (1.0 + unit * rng.choice([-1.0, 1.0], size=array.shape))


def _response(graph: Graph, x: Input, expected: tuple[Array, ...], unit: float) -> list[float]:
    """How far each output moves when all weights and inputs are moved by a relative `unit`.

    Of a graph that rounds nothing, so that what was moved stays so.
    """
    rng = np.random.default_rng(SEED)

    def moved(node: Node) -> Any:
        if isinstance(node.op, Constant) and node.op.dtype != "float":
            return node.op
        return node.op.replace(**{f: _moved(w, unit, rng) for f, w in node.op.weights().items()})

    moved_graph = graph.with_ops(moved)
    masked = any(isinstance(node.op, Mask) for node in graph.nodes)  # moved values would no longer match the mask's
    moved_x = each(x, lambda _, a: a if masked or a.dtype.kind != "f" else _moved(a, unit, rng))
    return _largest_differences(outputs_of(moved_graph, moved_x), expected)


def _unrounded(graph: Graph) -> Graph:
    """`graph` with the values of its weights as they are, and activations that are not rounded."""
    return graph.with_ops(lambda node: node.op.replace(precision="float32") if node.op.matrices else node.op)


def _largest_differences(some: tuple[Array, ...], others: tuple[Array, ...]) -> list[float]:
    with np.errstate(invalid="ignore"):  # of infinities the difference is NaN, which no tolerance allows
        return [float(np.abs(a - b).max()) for a, b in zip(some, others, strict=True)]


def tolerances(graph: Graph, x: Input, expected: tuple[Array, ...], floors: list[float]) -> list[tuple[float, float]]:
    """Of every output what arithmetic (the floor or the response, the larger) and rounding are allowed."""
    unit = max(floors)
    eps = np.finfo("float32" if unit == FLOORS["float32"] else "float64").eps / 2
    smooth, unrounded = graph, expected
    if any(precision_of(node.op) != "float32" for node in graph.nodes):
        smooth = _unrounded(graph)
        unrounded = outputs_of(smooth, x)
    response = _response(smooth, x, unrounded, float(eps))
    rounding = _largest_differences(expected, unrounded)
    return [
        (max(floor * max(1.0, float(np.abs(y).max())), RESPONSE * moved), ROUNDING * rounded)
        for y, floor, moved, rounded in zip(expected, floors, response, rounding, strict=True)
    ]
