"""What the layers of a Keras model compute, call by call, as the graph has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import LayerOutput
from .oracle import Oracle
from .program import Trail
from .values import Array, Seen


class Layers:
    """Runs a model call by call, and tells the values of its graph.

    Parameters
    ----------
    oracle : Oracle
        Of the model.
    seen : sequence of Seen
        Which outputs of its calls are values of the graph.
    """

    def __init__(self, oracle: Oracle, seen: Sequence[Seen]) -> None:
        self.oracle, self.seen = oracle, seen

    def __call__(self, x: Any) -> tuple[LayerOutput, ...]:
        inside = _Inside(self.oracle, self.seen)
        arrays = inside(x)
        return tuple(
            LayerOutput("/".join(name for name, _ in each.trail), inside.kinds[each.trail], each.value, array)
            for each, array in zip(inside.found, arrays, strict=True)
        )


class _Inside(Oracle):
    """The outputs of calls in place of the model's own."""

    def __init__(self, oracle: Oracle, seen: Sequence[Seen]) -> None:
        super().__init__(oracle.keras, oracle.model, oracle.held)
        self.seen = seen
        self.found: list[Seen] = []
        self.kinds: dict[Trail, str] = {}

    def forward(self, given: Any, arrays: list[Array]) -> list[Any]:
        """The outputs that are seen, in the order in which Keras computes them."""
        results: dict[Trail, list[Any]] = {}
        tensors = [
            self.keras.ops.convert_to_tensor(a, dtype=t.dtype) for a, t in zip(arrays, self.model.inputs, strict=True)
        ]
        self._walk(self.model, tensors, (), results)
        order = {trail: i for i, trail in enumerate(results)}
        seen = [s for s in self.seen if s.trail in results and s.tensor < len(results[s.trail])]
        self.found = sorted(seen, key=lambda s: (order[s.trail], s.tensor))
        return [results[s.trail][s.tensor] for s in self.found]

    def _walk(self, model: Any, inputs: list[Any], trail: Trail, results: dict[Trail, list[Any]]) -> list[Any]:
        """Run the nodes of a model as Keras does, and the models inside likewise; returns its outputs."""
        model = getattr(model, "_functional", model)  # of a Sequential
        known = {id(t): y for t, y in zip(model.inputs, inputs, strict=True)}
        nodes = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
        numbers = _numbers(nodes)
        for node in nodes:
            if node.is_input or not all(id(t) in known for t in node.input_tensors):
                continue
            operation = node.operation
            own = (*trail, (operation.name, numbers[id(node)]))
            args, kwargs = node.arguments.fill_in(known)
            if hasattr(operation, "_functional") or hasattr(operation, "_nodes_by_depth"):
                given = self.keras.tree.flatten(args)
                outputs = self._walk(operation, given, own, results)
            else:
                if getattr(operation, "_call_has_training_arg", False):
                    kwargs = {**kwargs, "training": False}
                outputs = self.keras.tree.flatten(operation(*args, **kwargs))
                results[own] = outputs
                self.kinds[own] = type(operation).__name__
            known.update((id(t), y) for t, y in zip(node.outputs, outputs, strict=True))
        return [known[id(t)] for t in model.outputs]


def _numbers(nodes: Sequence[Any]) -> dict[int, int]:
    """Which call of its layer each node is, of those within the model."""
    own = {id(node) for node in nodes}
    operations = {id(node.operation): node.operation for node in nodes}
    return {
        id(node): number
        for operation in operations.values()
        for number, node in enumerate(n for n in operation._inbound_nodes if id(n) in own)
    }
