"""The cases of ``cases.toml``, and their networks and inputs: the same arrays for every engine."""

from __future__ import annotations

import itertools
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgru import reference
from fastgru.graph import Graph, chain
from fastgru.layers import GRU, LSTM, Bidirectional

if TYPE_CHECKING:
    from .network import Real

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_name("cases.toml")
F32 = NDArray[np.float32]
CELLS: dict[str, tuple[Any, int]] = {"gru": (GRU, 3), "lstm": (LSTM, 4)}
PRECISIONS = ("float32", "float16", "bfloat16", "int8", "int8_affine")
CHECKED_STEPS = 4  # a carried state is checked over as many steps, all with the same frame


class Weights(NamedTuple):
    """One layer in one direction, in PyTorch's layout and gate order."""

    w_ih: F32  # (G*H, I)
    w_hh: F32  # (G*H, H)
    b_ih: F32  # (G*H,)
    b_hh: F32  # (G*H,)


@dataclass(frozen=True)
class Case:
    """One row of the benchmark: a recurrent network by its sizes, one by its layers, or a real model by its name."""

    name: str
    cell: str = ""
    input: int = 0  # I
    hidden: int = 0  # H
    steps: int = 1  # T
    batch: int = 1  # B
    layers: int = 1
    bidirectional: bool = False
    ragged: tuple[int, int] | None = None  # shortest and longest row
    threads: int = 1
    model: str = ""
    network: tuple[dict[str, Any], ...] = ()  # layers, as bench/layers.py reads them
    frame: tuple[int, ...] = ()  # what these read of each row: (*frame)
    open: bool = False  # the first axis of `frame` is time, of any length
    title: str = ""  # a real model, or a network, for people
    streaming: bool = False  # one step a call, the state carried from call to call
    tolerance: dict[str, float] = field(default_factory=dict)  # by precision, where it is not the file's

    @property
    def lengths(self) -> list[int] | None:
        """Steps of each row that count: evenly spread, shuffled."""
        if self.ragged is None:
            return None
        even = np.linspace(*self.ragged, self.batch).round().astype(int)
        return [int(n) for n in np.random.default_rng(0).permutation(even)]


@dataclass(frozen=True)
class Problem:
    """A case with its arrays: a generated network, or a real model."""

    case: Case
    graph: Graph  # the network as fastgru has it: what the reference runs; the first of a real model
    x: NDArray[Any]  # (B, T, I) float32; of a real model what its first network reads
    weights: list[list[Weights]] = field(default_factory=list)  # layers, then directions; none for a real model
    real: Real | None = None

    @property
    def checked_calls(self) -> int:
        """How many calls, one after the other, are checked."""
        if self.real:
            return len(self.real.inputs)
        return CHECKED_STEPS if self.case.streaming else 1

    def feed(self, call: int) -> None:
        """Make the input of one of these calls what engines read."""
        if self.real:
            self.real.put(self.real.inputs[call])

    def expected(self) -> Any:
        """What these calls must return (B, T, features): by the float64 reference, or as a real model's files say."""
        if self.real:
            return self.real.expected.reshape(1, -1, self.real.expected.shape[-1])
        x, mask = self.x, None
        if self.case.streaming:
            x = np.repeat(x, CHECKED_STEPS, axis=1)
        if self.case.lengths is not None:
            mask = np.arange(x.shape[1]) < np.array(self.case.lengths)[:, None]
        return joined(reference.run(self.graph, x, mask=mask)[0])


class Section(NamedTuple):
    """A table of the report: its title, its cases, the precisions shown of each, and what they are compared with."""

    title: str
    cases: list[str]
    precisions: list[str]
    peers: str = ""  # a pattern of the ids of the engines compared with; empty for all


class Suite(NamedTuple):
    """All that the data file says."""

    cases: list[Case]
    sections: list[Section]
    tolerance: dict[str, float]


def joined(outputs: Any) -> Any:
    """Several outputs (..., features) side by side; a single one as it is."""
    if isinstance(outputs, tuple):
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=-1)
    return outputs


def read(path: Path = FILE) -> Suite:
    """The data file."""
    data = tomllib.loads(path.read_text())
    cases = [case for row in data["cases"] for case in expand(row)]
    sections = [Section(**row) for row in data.get("sections", [])]
    return Suite(cases, sections, data["tolerance"])


def expand(row: dict[str, Any]) -> list[Case]:
    """One case for each combination of cell and size."""
    if "model" in row:
        return [Case(name=row["model"], **row)]
    if "network" in row:
        return [_ordinary(row, batch) for batch in row["batch"]]
    fields = {key: value for key, value in row.items() if key not in ("cell", "size")}
    if "ragged" in fields:
        fields["ragged"] = tuple(fields["ragged"])
    fields["streaming"] = fields.get("steps", 1) == 1
    found = []
    for cell, (inputs, hidden) in itertools.product(row["cell"], row["size"]):
        case = Case(name="", cell=cell, input=inputs, hidden=hidden, **fields)
        suffixes = [
            f"-layers{case.layers}" if case.layers > 1 else "",
            "-bidirectional" if case.bidirectional else "",
            "-ragged" if case.ragged else "",
            f"-threads{case.threads}" if case.threads > 1 else "",
        ]
        name = f"{cell}-{inputs}-{hidden}-t{case.steps}-b{case.batch}" + "".join(suffixes)
        found.append(replace(case, name=name))
    return found


def _ordinary(row: dict[str, Any], batch: int) -> Case:
    """A network by its layers, for a batch of one size."""
    several = f", batch of {batch}" if batch > 1 else ""
    own = {"name": f"{row['name']}-b{batch}", "title": row["title"] + several, "batch": batch}
    return Case(**{**row, **own, "network": tuple(row["network"]), "frame": tuple(row["frame"])})


def _imported(case: Case) -> Problem:
    """The problem of a network by its layers: its ONNX file, as fastgru imports it."""
    import fastgru

    from .layers import build
    from .network import Network, OnnxFile, alone

    data, shape = build(case.network, (case.batch, *case.frame), open_time=case.open)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(data)
        graph = fastgru.convert(path).graph
    x = np.random.default_rng(1).normal(size=(case.batch, *case.frame)).astype(np.float32)
    network = Network(graph, x, False, {"onnx": OnnxFile(data, shape)}, batch=case.batch)
    expected = reference.run(graph, network.frames())[0][0]
    return Problem(case, graph, x, real=alone(network, x[None].copy(), expected.reshape(-1, shape[-1])))


def make(case: Case) -> Problem:
    """The arrays of a case, the same in every run.

    Raises
    ------
    FileNotFoundError
        When the files of a real model are not there.
    """
    if case.network:
        return _imported(case)
    if case.model:
        from .real import REAL

        real = REAL[case.model](case.streaming)
        return Problem(case, real.networks[0].graph, real.networks[0].x, real=real)
    rng = np.random.default_rng(0)
    cls, gates = CELLS[case.cell]
    directions = 2 if case.bidirectional else 1
    scale = 1 / np.sqrt(case.hidden)

    def array(*shape: int) -> F32:
        return rng.uniform(-scale, scale, shape).astype(np.float32)

    weights, inputs = [], case.input
    for _ in range(case.layers):
        rows = gates * case.hidden
        shapes = ((rows, inputs), (rows, case.hidden), (rows,), (rows,))
        weights.append([Weights(*(array(*shape) for shape in shapes)) for _ in range(directions)])
        inputs = directions * case.hidden
    layers = [[cls.from_torch(*w) for w in layer] for layer in weights]
    graph = chain([layer[0] if directions == 1 else Bidirectional(*layer) for layer in layers])
    x = rng.normal(size=(case.batch, case.steps, case.input)).astype(np.float32)
    return Problem(case, graph, x, weights)
