"""What a traced module computes inside, call by call, as the graph has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn

from ...graph import Graph
from .. import LayerOutput
from .oracle import Array, CellOracle, ModuleOracle, evaluating, to_array
from .values import Built, Value


def title(node: fx.Node) -> str:
    """The path of the module that is called, else the tracer's name of the call."""
    return str(node.target) if node.op == "call_module" else node.name


def describe(node: fx.Node, modules: Mapping[str, nn.Module]) -> str:
    """The class of the module, or the function, that is called."""
    if node.op == "call_module":
        return type(modules[str(node.target)]).__name__
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


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


class ModuleLayers:
    """Runs a module, and tells the values of its graph.

    Parameters
    ----------
    oracle : ModuleOracle
        What it is run on.
    traced : torch.fx.Graph
    values : mapping of fx.Node to Value, or to what is none
        What every call was translated to.
    built : Built
    """

    def __init__(self, oracle: ModuleOracle, traced: fx.Graph, values: Mapping[fx.Node, Any], built: Built) -> None:
        self.oracle, self.traced, self.values, self.built = oracle, traced, values, built

    def __call__(self, x: Any) -> tuple[LayerOutput, ...]:
        modules = dict(self.oracle.module.named_modules())
        recorder = Recorder(fx.GraphModule(self.oracle.module, self.traced))
        with evaluating(self.oracle.module):
            recorder.run(*self.oracle.arguments(x))
        return tuple(
            LayerOutput(title(node), describe(node, modules), *told)
            for node, found in self.values.items()
            if node.op.startswith("call")
            for value, tensor in _paired(found, recorder.results.get(node.name))
            if (told := self.told(value, tensor, x.shape[:2])) is not None
        )

    def told(self, value: Value, tensor: torch.Tensor, steps: tuple[int, ...]) -> tuple[str, Array] | None:
        """The name of a value in the graph, and its array; its last step where the graph has only that."""
        name = self.built.name(value)
        if name is not None:
            return name, self.array(tensor, value.layout, steps)
        last = value.ends.get("last", value.ends.get("final"))
        name = None if last is None else self.built.name(last)
        if name is None or value.op is None or not value.op.streamable:
            return None
        return name, self.array(tensor, value.layout, steps)[:, -1]

    def array(self, tensor: torch.Tensor, layout: str, steps: tuple[int, ...]) -> Array:
        """A tensor as (B, [T,] F); a module of rows was given every step as one."""
        tensor = tensor.permute(*(layout.index(letter) for letter in "BTF" if letter in layout))
        array = to_array(tensor)
        return array if "T" in self.oracle.layout else array.reshape(*steps, *array.shape[1:])


class CellLayers:
    """Runs a recurrent cell over time: there is nothing inside."""

    def __init__(self, module: nn.Module, graph: Graph) -> None:
        self.oracle, self.graph = CellOracle(module), graph

    def __call__(self, x: Any) -> tuple[LayerOutput, ...]:
        kind = type(self.oracle.module).__name__
        return (LayerOutput(kind.lower(), kind, self.graph.outputs[0], *self.oracle(x)),)


def _paired(value: Any, result: Any) -> Iterator[tuple[Value, torch.Tensor]]:
    """The tensors in a result that are values of the graph; a recurrent layer's first is."""
    if isinstance(value, Value) and isinstance(result, torch.Tensor) and result.is_floating_point():
        if result.ndim == len(value.layout):
            yield value, result
    elif isinstance(value, tuple) and isinstance(result, tuple):
        for inner, tensor in zip(value, result, strict=False):
            yield from _paired(inner, tensor)
