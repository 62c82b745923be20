"""A real model as engines see it: its networks, the files they come in, and what one call is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgru.graph import Graph

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"
Array = NDArray[Any]
Call = Callable[[], Any]


def arrays(*path: str) -> dict[str, Any]:
    """The arrays of an .npz file."""
    with np.load(MODELS.joinpath(*path)) as file:
        return dict(file)


class OnnxFile(NamedTuple):
    """An ONNX file, and how it is fed: its frame is the one input that is neither a state nor a setting."""

    path: Path | bytes  # or what it holds
    y: tuple[int, ...]  # shape of the first output, the one that is compared
    states: Mapping[str, str] = {}  # output to the input of the next call
    settings: Mapping[str, Array] = {}  # inputs that never change


@dataclass(frozen=True)
class Network:
    """One network. Every call reads `x`, which engines may alias, and returns its outputs in any shape.

    Attributes
    ----------
    graph : Graph
        As fastgru has it, with one input.
    x : array
        What the next call reads, in the shape of the files below.
    streaming : bool
        Whether a call is one step, its state carried to the next.
    files : dict
        "onnx" to an `OnnxFile`; "tflite", "tflite int8" and "keras" to a path.
    calls : int
        How often one call of the case calls it.
    batch : int or None
        Rows of a call; None for one, without a batch axis.
    """

    graph: Graph
    x: Array
    streaming: bool
    files: Mapping[str, Any] = field(default_factory=dict)
    calls: int = 1
    batch: int | None = None

    def frames(self) -> Array:
        """`x` as fastgru takes it, the same memory: (*frame) of a step, (T, *frame) of a sequence; several have their
        batch in front, and no T where the network has no time."""
        (spec,) = self.graph.inputs.values()
        if self.batch is not None:
            return self.x.reshape(self.batch, *([-1] if spec.time else []), *spec.shape)
        return self.x.reshape(spec.shape if self.streaming else (-1, *spec.shape))


def only(calls: Sequence[Call]) -> Call:
    """The call of the only network."""
    (call,) = calls
    return call


@dataclass(frozen=True)
class Real:
    """What a case of a real model is: what is fed, what is expected, and how the networks' calls make one.

    Attributes
    ----------
    networks : list of Network
    inputs : sequence
        What the calls are fed while outputs are checked, one after the other; the last stays for the clock.
    expected : (calls, ...) array
        What these calls must return.
    put : callable
        Makes one of `inputs` what the next call reads.
    glue : callable
        The call of the case from one call of each network; None where only engines with a call of their `own` run it.
    own : dict
        By the name of an engine: from a precision to the call, where the engine has one of another kind.
    """

    networks: list[Network]
    inputs: Sequence[Any]
    expected: Array
    put: Callable[[Any], None]
    glue: Callable[[Sequence[Call]], Call] | None = only
    own: Mapping[str, Callable[[str], Call]] = field(default_factory=dict)

    def read(self, y: Any) -> Array:
        """What a call returns, as (1, T, features); outputs side by side."""
        parts = [np.asarray(part) for part in (y if isinstance(y, (tuple, list)) else (y,))]
        width = self.expected.shape[-1]
        if len(parts) == 1:
            return parts[0].reshape(1, -1, width)
        return np.concatenate([part.reshape(-1) for part in parts]).reshape(1, 1, width)


def alone(network: Network, inputs: Array, expected: Array) -> Real:
    """A case of one network: `inputs` (calls, ...) into its x; `expected` (calls * T, features)."""

    def put(value: Array) -> None:
        network.x[...] = value.reshape(network.x.shape)

    put(inputs[0])
    return Real([network], list(inputs), np.asarray(expected), put)
