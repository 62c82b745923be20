"""The input that a graph is tested with: seeded numbers, ids that index something, steps enough for every output."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConvertError, GraphError
from ..graph import (
    Binary,
    Concat,
    Dropout,
    Embedding,
    Expand,
    Framing,
    Gather,
    Graph,
    Mask,
    Node,
    OneHot,
    OverlapAdd,
    Recurrent,
    Reshape,
    Reverse,
    Slice,
    Spec,
    Tile,
    TimeConv,
    TimePool,
    TimeSlice,
    Transpose,
)
from ..reference import check_memory

Array = NDArray[Any]
Input = Array | dict[str, Array]

BATCH, STEPS, MASKED = 2, 16, 5  # rows, steps, and steps masked at the end of the last row where a graph masks
RUNS = 3  # of the reference whose values tolerances hold at once
FEWEST = 4  # steps of any value with time
MOST = 1 << 20  # steps of the input
LONG = 1 << 12  # steps from which on no more are taken than needed
# Seconds of the reference: for a step of a recurrent layer, of a node in a loop, of an overlap-add; for a number that a
# node reads or gives, and for a multiply-add. Measured on one of a busy machine's two cores (AVX2).
RECURRENT_SECONDS, STEP_SECONDS, OVERLAP_SECONDS = 8e-5, 3e-5, 3e-6
NUMBER_SECONDS, MAC_SECONDS = 1e-8, 3e-10
MOST_SECONDS = 0.7  # that one evaluation of more than `STEPS` steps may take, by these; a self-test takes three
MOST_ID = 1 << 31
COMPARISONS = ("less", "less_equal", "greater", "greater_equal")
PASSED_ON = (Dropout, Reshape, Transpose, Slice, Expand, Tile, Concat)  # ops whose output holds the numbers they read


def each(x: Input, change: Callable[[str, Array], Array]) -> Input:
    """`change` of the one array, or of every array by its name."""
    return {name: change(name, a) for name, a in x.items()} if isinstance(x, dict) else change("", x)


def draw(graph: Graph, rng: np.random.Generator, least: int = 0, exact: int = 0, *, apart: bool = False) -> Input:
    """The input of `selftest.make_input`, of at least so many steps, or of exactly as many.

    With `apart` of other steps for each base.
    """
    steps = exact or max(least, _steps(graph)) if any(spec.time for spec in graph.inputs.values()) else 0
    check_memory(graph, BATCH, steps, RUNS)
    own = _own_steps(graph, steps) if apart else {}
    arrays = {name: _draw(graph, name, spec, own.get(name, steps), rng) for name, spec in graph.inputs.items()}
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))


def _own_steps(graph: Graph, steps: int) -> dict[str, int]:
    """The steps of every input with time: fewer for each further base, where every value still has some."""
    timed = [name for name, spec in graph.inputs.items() if spec.time]
    own = {name: steps - min(graph.bases[name], steps - FEWEST) for name in timed}
    try:
        fits = min(graph.lengths(own).values(), default=FEWEST) >= FEWEST
    except GraphError:
        fits = False
    return own if fits else dict.fromkeys(timed, steps)


def _draw(graph: Graph, name: str, spec: Spec, steps: int, rng: np.random.Generator) -> Array:
    shape = (BATCH, steps, *spec.shape) if spec.time else (BATCH, *spec.shape)
    x: Array
    if spec.dtype == "float":
        x = rng.standard_normal(shape).astype(np.float32)
    else:
        bound = steps + 1 if counts_steps(graph, name) else 2
        x = rng.integers(0, id_bound(graph, name, bound), size=shape, dtype=np.int64)
        x = x.astype(bool) if spec.dtype == "bool" else x
    for node in readers(graph, name):
        if isinstance(node.op, Mask) and (spec.dtype == "float" or _is_id(node.op.value, graph, name)):
            with np.errstate(over="ignore"):  # a number beyond float32 masks nothing
                x[-1, -MASKED:] = node.op.value
    return x


def _is_id(value: float, graph: Graph, name: str) -> bool:
    """True if an id of that input can have the value that a mask leaves out."""
    return value.is_integer() and 0 <= value < id_bound(graph, name, MOST_ID)


def _steps(graph: Graph) -> int:
    """The fewest steps, doubled as often as it takes, that leave every value with time some: `FEWEST`, if they can."""
    try:
        return _steps_for(graph, FEWEST)
    except ConvertError:
        if not any(isinstance(node.op, TimeSlice) for node in graph.nodes):  # of which some have less in any sequence
            raise
        return _steps_for(graph, 1)


def _steps_for(graph: Graph, fewest: int) -> int:
    """The fewest steps, doubled as often as it takes, that leave every value with time so many."""
    strides = [
        op.hop if isinstance(op, Framing) else op.step if isinstance(op, TimeSlice) else op.stride
        for op in (node.op for node in graph.nodes)
        if isinstance(op, Framing | TimeConv | TimePool | TimeSlice)
    ]
    unit = math.lcm(*strides)
    steps = unit * -(-STEPS // unit)
    problems: dict[str, str] = {}  # by their words without numbers, each as it was met first
    while steps <= MOST:
        try:
            fits, problem = min(graph.lengths(steps).values()) >= fewest, "there are too few for an output"
        except GraphError as error:
            fits, problem = False, str(error)
        if fits:
            steps = _fewer(graph, unit, steps, fewest)
            _check_work(graph, steps)
            return steps
        last = re.sub(r"\d+", "#", problem)
        problems.setdefault(last, f"for {steps}, {problem}")
        steps *= 2
    raise ConvertError(
        f"graph must have a number of steps that fits it, got none up to {MOST}: {problems[last]}{_rates_hint(graph)}"
    )


def _rates_hint(graph: Graph) -> str:
    """Say what to do where no number of steps fits and several inputs meet."""
    timed = [name for name, spec in graph.inputs.items() if spec.time]
    meet = [name for name in timed if sum(graph.bases[name] == graph.bases[other] for other in timed) > 1]
    if not meet:
        return ""
    return (
        f"\nThe inputs {', '.join(map(repr, meet))} meet and must have as many steps as each other: where one has "
        "fewer by design, fix the numbers of steps of both in the source"
    )


def _fewer(graph: Graph, unit: int, steps: int, fewest: int) -> int:
    """Fewer steps than `steps` where that are many: a window of as many would otherwise be run as often."""
    below = steps // 2
    many = steps > LONG or (steps > STEPS and sum(seconds(graph, steps).values()) > MOST_SECONDS)
    while many and steps - below > unit:
        middle = below + (steps - below) // 2 // unit * unit
        try:
            fits = min(graph.lengths(middle).values()) >= fewest
        except GraphError:
            fits = False
        below, steps = (below, middle) if fits else (middle, steps)
    return steps


def _check_work(graph: Graph, steps: int) -> None:
    """Raise ConvertError if the reference would take too long for so many steps, naming the node that takes longest."""
    taken = seconds(graph, steps) if steps > STEPS else {}
    if sum(taken.values()) > MOST_SECONDS:
        worst = max(taken, key=taken.__getitem__)
        raise ConvertError(
            f"graph must have an output within so few steps that the float64 reference takes {MOST_SECONDS:g} s for "
            f"them, got {steps} steps, which take {sum(taken.values()):.2g} s, most of it at node {worst!r}"
        )


def seconds(graph: Graph, steps: int) -> dict[str, float]:
    """Estimate what the float64 reference takes for each node, for the self-test's rows of so many steps."""
    lengths, specs, found = graph.lengths(steps), graph.specs, {}
    for unit in graph.units():
        for node in unit.nodes:
            values = [*node.inputs, *node.outputs]
            count = max((lengths[v] for v in values if v in lengths), default=1)
            step = OVERLAP_SECONDS if isinstance(node.op, OverlapAdd) else STEP_SECONDS if unit.is_loop else 0.0
            step = RECURRENT_SECONDS if isinstance(node.op, Recurrent) and not node.op.scan else step
            numbers = sum(math.prod(specs[v].shape) for v in values)
            macs = node.op.macs_for(tuple(specs[v] for v in node.inputs))
            found[node.name] = count * (step + BATCH * (numbers * NUMBER_SECONDS + macs * MAC_SECONDS))
    return found


def readers(graph: Graph, name: str) -> list[Node]:
    """The nodes that read the input `name`, itself or passed on by ops that only move numbers."""
    return [node for node, _ in _reads(graph, name)]


def counts_steps(graph: Graph, name: str) -> bool:
    """True if an input says how many steps of each row count: compared with what has steps, or where to turn round."""
    if graph.inputs[name].time:
        return False
    for node, places in _reads(graph, name):
        if isinstance(node.op, Reverse):
            return True
        if isinstance(node.op, Binary) and node.op.function in COMPARISONS:
            (other,) = (v for i, v in enumerate(node.inputs) if i != places[0])
            if graph.specs[other] == Spec((), True, "int"):
                return True
    return False


def id_bound(graph: Graph, name: str, otherwise: int) -> int:
    """The ids of an input must be below this, so that whatever they index has them all."""
    bounds = (_bound(graph, node, places) for node, places in _reads(graph, name))
    return min((bound for bound in bounds if bound is not None), default=otherwise)


def _reads(graph: Graph, name: str) -> list[tuple[Node, list[int]]]:
    """Those nodes, and which of their inputs it is."""
    same = {name}
    for node in graph.nodes:
        if isinstance(node.op, PASSED_ON) and same.intersection(node.inputs):
            same.update(node.outputs)
    return [(node, at) for node in graph.nodes if (at := [i for i, v in enumerate(node.inputs) if v in same])]


def _bound(graph: Graph, node: Node, places: list[int]) -> int | None:
    """How many ids a node takes at the `places` of its inputs; None where it takes any."""
    op, data = node.op, graph.specs[node.inputs[0]]
    if isinstance(op, Embedding):
        return int(op.weight.shape[0])
    if isinstance(op, Gather) and 1 in places:
        return data.shape[op.axis]
    if isinstance(op, OneHot):
        return op.depth
    if isinstance(op, Recurrent) and op.scan and any(op.operands[i - 1] == "lengths" for i in places if i):
        return data.shape[0] + 1
    return None
