"""Where an import departs from its source: every layer by the source's framework, the reference and the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import reference
from ..converters import Imported, LayerOutput, to_graph
from ..errors import OracleError
from ..graph import Graph, Node, State
from ..model import Model
from ..passes import canonical
from . import selftest, tracing
from .samples import Input
from .tracing import Row, difference, magnitude

Array = NDArray[Any]

HEADINGS = ("layer", "class", "value", "output", "largest value", "import error", "added here", "engine error")
WORDS = 4  # columns of words in front of the numbers


@dataclass(frozen=True)
class LayerRow:
    """What one layer of the source became.

    Attributes
    ----------
    name, kind : str
        Of the layer (module, call, node) in the source, and its class or operator.
    value : str
        The value of the imported graph that stands for its output.
    output : str
        The shape of that.
    largest : float
        Largest magnitude, by the source's framework.
    error : float
        Largest absolute difference of the float64 reference's from the framework's; infinite where they have
        different shapes, or one alone is NaN.
    new : float
        The same where the reference is given what the framework has in front of the layer: what the layer itself adds.
        NaN where the layer lies in a loop of states that the source does not show.
    engine : float
        Largest absolute difference of the engine's from the framework's; NaN where the value is gone from the graph
        that the engine runs.
    """

    name: str
    kind: str
    value: str
    output: str
    largest: float
    error: float
    new: float
    engine: float

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        errors = ("-" if isnan(e) else f"{e:.2g}" for e in (self.error, self.new, self.engine))
        return (self.name, self.kind, self.value, self.output, f"{self.largest:.3g}", *errors)


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes
    ----------
    rows : tuple of LayerRow, or of fastgru.tracing.Row
        Of the source's layers, in the order in which the source computes them; without a source to ask of the graph's
        nodes, by the engine and the reference.
    source : str
        The framework.
    missing : str
        Why it was not asked; empty where it was.
    """

    rows: tuple[LayerRow, ...] | tuple[Row, ...]
    source: str
    missing: str = ""

    @property
    def headings(self) -> tuple[str, ...]:
        """Of the columns."""
        return tracing.HEADINGS if self.missing else HEADINGS

    @property
    def words(self) -> int:
        """Columns of words in front of the numbers."""
        return tracing.WORDS if self.missing else WORDS

    @property
    def title(self) -> str:
        """What is compared with what, and why."""
        if self.missing:
            return f"nodes of the graph: the engine against the float64 reference, not {self.source}: {self.missing}"
        return f"layers of the source: the float64 reference (import) and the engine against {self.source}"

    @property
    def origin(self) -> LayerRow | Row | None:
        """The first row that adds at least half of what any adds, for its size; None where there is no error."""
        added = [(row.error if isnan(row.new) else row.new) / max(1.0, row.largest) for row in self.rows]
        most = max(added, default=0.0)
        return self.rows[next(i for i, e in enumerate(added) if e >= most / 2)] if most else None


def compare(
    source: Any, *, like: Any = None, dtype: str = "float32", isa: str | None = None, **options: Any
) -> Comparison:
    """Import a network and compare it with its source, layer by layer, on the input of its self-test.

    Unlike `fastgru.convert` this does not stop at a wrong import: it shows where it goes wrong.

    Parameters
    ----------
    source, like, **options
        As for `fastgru.convert`.
    dtype, isa : str
        Of the engine.

    Raises
    ------
    ConvertError
        When the source cannot be imported at all.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from fastgru.layers import GRU, Dense, like
    >>> found = compare(files("fastgru.data") / "pulse.pt", like=[like(GRU), like(Dense)])
    >>> found.missing, [row.name for row in found.rows]
    ('only its weights are at hand', ['gru', 'dense'])
    """
    imported = to_graph(source, compare, like=like, **options)
    graph = canonical(imported.graph)
    x = selftest.finite_input(graph, steps=imported.steps)[0]
    try:
        seen = _told(imported, x)
    except OracleError as why:
        framework = imported.provenance.get("framework", "its source")
        return Comparison(tracing.trace(graph, x, dtype=dtype, isa=isa), framework, str(why))
    assert imported.oracle is not None  # or there would be nothing told
    source = selftest.source_of(imported.oracle, imported.provenance)
    return Comparison(_rows(imported, graph, seen, x, dtype, isa), source)


def _told(imported: Imported, x: Input) -> list[LayerOutput]:
    """What the source tells of its layers, and of the outputs that are none of these as they are."""
    if imported.layers is None or imported.oracle is None:
        raise OracleError(imported.missing)
    try:
        seen = list(imported.layers(selftest.copied(x)))
    except OracleError:
        raise
    except Exception as error:  # whatever the frameworks raise where they run a model otherwise than as a whole
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise OracleError(f"its layers do not run one by one: {type(error).__name__}: {first}") from error
    outputs, known = imported.graph.outputs, {each.value for each in seen}
    if not known.issuperset(outputs):
        arrays = zip(outputs, imported.oracle(selftest.copied(x)), strict=True)
        seen += [LayerOutput(name, "output", name, np.asarray(y)) for name, y in arrays if name not in known]
    return seen


def _rows(
    imported: Imported, graph: Graph, seen: Sequence[LayerOutput], x: Input, dtype: str, isa: str | None
) -> tuple[LayerRow, ...]:
    values = list(dict.fromkeys(each.value for each in seen))
    specs = imported.graph.specs
    exact = dict(zip(values, reference.run(_with_outputs(imported.graph, values), x)[0], strict=True))
    left = [v for v in values if graph.specs.get(v) == specs[v] and v not in graph.inputs]
    result = Model(_with_outputs(graph, left), dtype=dtype, isa=isa)(x) if left else ()
    run = dict(zip(left, result if isinstance(result, tuple) else (result,), strict=True))
    known = _Known(imported.graph, x)
    for i, each in enumerate(seen):
        known.add(i, each, exact[each.value].shape)
    return tuple(
        LayerRow(
            each.name, each.kind, each.value, str(specs[each.value]), magnitude(each.array),
            _error(exact[each.value], each.array), known.added(i, each),
            _error(run[each.value], each.array) if each.value in run else nan,
        )
        for i, each in enumerate(seen)
    )  # fmt: skip


def _with_outputs(graph: Graph, outputs: Sequence[str]) -> Graph:
    return Graph(graph.inputs, graph.nodes, outputs, graph.feedback)


def _error(got: Any, wanted: Any) -> float:
    """The largest difference; infinite where one is NaN, or the shapes, but for a batch of one, are not the same."""
    same = got.ndim == wanted.ndim and got.shape[1:] == wanted.shape[1:] and wanted.shape[0] in (1, got.shape[0])
    error = difference(got, wanted) if same else inf
    return inf if isnan(error) else error


class _Known:
    """The values of a graph that the source has told, and the graph's inputs."""

    def __init__(self, graph: Graph, x: Input) -> None:
        self.graph = graph
        self.inputs: dict[str, Any] = dict(x) if isinstance(x, Mapping) else {next(iter(graph.inputs)): x}
        self.batch = next(iter(self.inputs.values())).shape[0]
        self.values: dict[str, Array] = dict(self.inputs)
        self.first: dict[str, int] = {}  # the layer that tells a value; those behind it only pass it on
        self.producers: dict[str, Node] = {v: node for node in graph.nodes for v in node.outputs}
        self.place = {node.name: i for i, node in enumerate(graph.nodes)}
        self.holders = {source: state for state, source in graph.feedback.items()}

    def add(self, i: int, seen: LayerOutput, shape: tuple[int, ...]) -> None:
        """What layer `i` of the source has for a value, where it has the right shape; a state that it feeds follows."""
        value, array = seen.value, seen.array
        if value in self.values or array.shape[1:] != shape[1:]:
            return
        self.first[value] = i
        self.values[value] = array = np.broadcast_to(array, shape)
        state = self.holders.get(value)
        if state is not None and state not in self.values:
            op = self.producers[state].op
            assert isinstance(op, State)
            held = np.broadcast_to(op.initial, (self.batch, 1, *op.initial.shape))
            self.values[state] = np.concatenate([held, array], axis=1)[:, :-1]

    def added(self, i: int, seen: LayerOutput) -> float:
        """The error of a value that is computed from what the source has in front of it."""
        if seen.value in self.values and self.first.get(seen.value) != i:
            return _error(self.values[seen.value], seen.array)
        part = self.part(seen.value)
        if part is None:
            return nan
        return _error(reference.run(part, {name: self.values[name] for name in part.inputs})[0][0], seen.array)

    def part(self, value: str) -> Graph | None:
        """The nodes between a value and the known ones in front of it; None where it is itself in front of it."""
        feedback = self.graph.feedback
        nodes: dict[str, Node] = {}
        inputs, waiting = list(self.inputs), [self.producers[value]]
        while waiting:
            node = waiting.pop()
            if node.name in nodes:
                continue
            nodes[node.name] = node
            for read in (*node.inputs, *(feedback[v] for v in node.outputs if v in feedback)):
                if read in self.values:
                    inputs.append(read)
                else:
                    waiting.append(self.producers[read])
        kept = sorted(nodes.values(), key=lambda node: self.place[node.name])
        written = {v: None for node in kept for v in node.outputs}
        if not written.keys().isdisjoint(inputs):
            return None
        fed = {state: feedback[state] for state in written if state in feedback}
        return Graph({name: self.graph.specs[name] for name in inputs}, kept, [value], fed)


__all__ = ["Comparison", "LayerRow", "compare"]


def __dir__() -> list[str]:
    return __all__
