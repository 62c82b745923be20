"""Run a traced program call by call, and compare its inner values with those of the graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import fx

from ...errors import OracleError
from .. import LayerOutput
from ..program.values import Tensor
from .build import Translation
from .dispatch import leaves
from .oracle import ExportOracle, Run


class Recorder(fx.Interpreter):
    """Runs a traced module call by call, and keeps what every call returns."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.results: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The result of one call."""
        result = super().run_node(n)
        self.results[n.name] = result.clone() if isinstance(result, torch.Tensor) else result  # may be changed later
        return result

    def tensors(self) -> dict[str, Any]:
        """Everything that calls returned, by the keys of `Seen`."""
        return {f"{name}:{i}": y for name, result in self.results.items() for i, y in enumerate(leaves([result]))}


class Seen(NamedTuple):
    """A tensor that a call returned, as it was translated; `key` is the tracer's name of the call and a place."""

    key: str
    name: str
    kind: str
    tensor: Tensor


def seen_in(values: Mapping[fx.Node, Any], describe: Callable[[fx.Node], tuple[str, str]]) -> Iterator[Seen]:
    """The tensors that calls returned and that are float values of the graph.

    Parameters
    ----------
    values : mapping of fx.Node to object
        The translation of every call.
    describe : callable
        Tells the name and the kind of a call.
    """
    for node, value in values.items():
        if node.op.startswith("call") and node.target is not operator.getitem:
            for i, tensor in enumerate(leaves([value])):
                if isinstance(tensor, Tensor) and tensor.spec.dtype == "float":
                    yield Seen(f"{node.name}:{i}", *describe(node), tensor)


class Traced(Protocol):
    """A program that can be run call by call."""

    buffers: dict[str, str]

    def seen(self) -> Iterator[Seen]:
        """Yield the results of its calls as they were translated."""
        ...

    def recorded(self, given: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
        """Return the results of its calls for arguments and buffers, by the keys of `Seen`; its own by their names."""
        ...


class ExportLayers:
    """Runs a traced program as an oracle runs its module, and tells the values of its graph.

    Parameters
    ----------
    program : Traced
        Which has been translated.
    found : Translation
    oracle : ExportOracle
        Of the module that it comes from.
    """

    def __init__(self, program: Traced, found: Translation, oracle: ExportOracle) -> None:
        self.program, self.found, self.oracle = program, found, oracle

    def __call__(self, x: Any) -> tuple[LayerOutput, ...]:
        own = self.oracle
        seen = list(self.program.seen())
        tensors = {each.key: each.tensor for each in seen}
        try:
            arrays = ExportOracle(own.module, self._start, own.ports, tensors, own.whole)(x)
        except OracleError as error:
            raise OracleError(f"its layers do not run one by one: {error}") from error
        told = [self.found.emit.told(t.value, array) for t, array in zip(tensors.values(), arrays, strict=True)]
        return tuple(
            LayerOutput(each.name, each.kind, *values)
            for each, values in zip(seen, told, strict=True)
            if values is not None
        )

    @contextmanager
    def _start(self) -> Iterator[Run]:
        held: dict[str, Any] = {}  # what has become of buffers

        def call(given: dict[str, Any]) -> dict[str, Any]:
            found = self.program.recorded(given, held)
            held.update((name, found[name]) for name in self.program.buffers)
            return found

        yield call
