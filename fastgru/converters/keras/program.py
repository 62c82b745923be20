"""A model with models inside as one list of steps, in an order in which everything is there before it is read."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...errors import ConvertError
from .layers import inner_layer
from .nodes import Call, Reference, Wiring, is_model, references, wiring
from .values import Layer, shortened

DEPTH = 24  # of models within models
STEPS = 20_000  # calls of layers in all
HIDE, SHOW = "<hide time>", "<show time>"

Trail = tuple[tuple[str, int], ...]


class Source(NamedTuple):
    """Output `tensor` of step number `step`."""

    step: int
    tensor: int


class Step(NamedTuple):
    """One use of a layer that is no model: what it reads is sources, constants, and lists of them.

    `trail` are the names and numbers of the calls of the models around it, and of its own; empty where no single call
    gives what the step does.
    """

    layer: Layer
    operands: tuple[Any, ...]
    options: dict[str, Any]
    trail: Trail = ()


class Program(NamedTuple):
    """A model's inputs (numbers of steps), its steps, and its outputs."""

    inputs: list[int]
    steps: list[Step]
    outputs: list[Source]


def program(model: Layer) -> Program:
    """The steps of a model and of all models inside, one after the other.

    Raises
    ------
    ConvertError
        When layers read in circles or what does not exist, or models are nested too deep or too often.
    """
    work = _Unrolling()
    wires = wiring(model)
    inputs = []
    calls = {call.layer.path[-1]: call for call in wires.calls if call.layer.class_name == "InputLayer"}
    for name in wires.inputs:
        if name not in calls:
            raise ConvertError(f"input_layers must be InputLayers of the model, got {name!r}")
        inputs.append(len(work.steps))
        work.append(calls[name].layer, (), {})
    return Program(inputs, work.steps, work.model(model, wires, [Source(i, 0) for i in inputs], ()))


class _Unrolling:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.known: dict[tuple[str, ...], Wiring] = {}

    def append(self, layer: Layer, operands: tuple[Any, ...], options: dict[str, Any], trail: Trail = ()) -> int:
        if len(self.steps) >= STEPS:
            raise ConvertError(f"model must have at most {STEPS} calls of layers, got more")
        self.steps.append(Step(layer, operands, options, trail))
        return len(self.steps) - 1

    def model(self, model: Layer, wires: Wiring, given: list[Source], trail: Trail) -> list[Source]:
        """Append the steps of one use of a model; returns its outputs."""
        if len(trail) > DEPTH:
            raise ConvertError(f"models must be nested at most {DEPTH} deep, got more at {model}")
        if len(given) != len(wires.inputs):
            raise ConvertError(f"{model} must be called with {len(wires.inputs)} inputs, got {len(given)}")
        done: dict[tuple[str, int], list[Source] | int] = {
            (name, 0): [source] for name, source in zip(wires.inputs, given, strict=True)
        }
        for call in _ordered(wires, done):
            where = str(call.layer)
            operands = tuple(_bound(o, done, where) for o in call.operands)
            options = {key: _bound(value, done, where) for key, value in call.options.items()}
            own = call.layer.path[-1], call.node
            done[own] = self.call(call, operands, options, (*trail, own))
        return [_resolve(r, done, "output of the model") for r in wires.outputs]

    def call(self, call: Call, operands: tuple[Any, ...], options: dict[str, Any], trail: Trail) -> list[Source] | int:
        layer = call.layer
        if is_model(layer):
            return self.inner(layer, self._inputs(call, operands), trail)
        inside, depth = wrapped_model(layer)
        if inside is None:
            return self.append(layer, operands, options, trail)
        outer = self._inputs(call, operands, one=True)
        for _ in range(depth):
            outer.append(Source(self.append(layer._replace(class_name=HIDE), (outer[-1],), {}), 0))
        ends = self.inner(inside, outer[-1:], (*trail, (inside.path[-1], 0)))
        whole = trail if len(ends) == 1 else ()
        for hidden in reversed(outer[:-1]):
            shown = layer._replace(class_name=SHOW)
            ends = [Source(self.append(shown, (end, hidden), {}, whole), 0) for end in ends]
        return ends

    def inner(self, model: Layer, given: list[Source], trail: Trail) -> list[Source]:
        """One use of a model inside."""
        if model.path not in self.known:
            self.known[model.path] = wiring(model)
        return self.model(model, self.known[model.path], given, trail)

    def _inputs(self, call: Call, operands: tuple[Any, ...], *, one: bool = False) -> list[Source]:
        """The operands of a model, by name where it was called with names."""
        if not all(isinstance(o, Source) for o in operands) or (one and len(operands) != 1):
            raise ConvertError(f"{call.layer} must be called with outputs of layers, got {shortened(operands)}")
        names = call.layer.config.get("input_layers")
        if call.keys and isinstance(names, list):
            found = dict(zip(call.keys, operands, strict=False))
            wanted = wiring(call.layer).inputs
            if set(wanted) != set(found):
                raise ConvertError(f"{call.layer} must be called with {', '.join(wanted)}, got {', '.join(found)}")
            return [found[name] for name in wanted]
        return list(operands)


def wrapped_model(layer: Layer) -> tuple[Layer | None, int]:
    """The model that a layer is or holds in so many TimeDistributed; None if it is another layer."""
    path, depth = layer.path, 0
    while layer.class_name == "TimeDistributed":
        layer, depth = inner_layer(layer), depth + 1
        path = (*path, layer.name)
    if not is_model(layer):
        return None, depth
    return (layer._replace(path=path, name="/".join(path)) if depth else layer), depth


def _ordered(wires: Wiring, done: dict[tuple[str, int], Any]) -> Iterator[Call]:
    """Calls after those that they read, otherwise in the order of the config.

    Raises
    ------
    ConvertError
        When that cannot be.
    """
    calls = [c for c in wires.calls if c.layer.class_name != "InputLayer" or (c.layer.path[-1], 0) not in done]
    waiting: dict[tuple[str, int], list[int]] = {}
    missing = []
    for i, call in enumerate(calls):
        reads = {(r.layer, r.node) for r in references(call)} - done.keys()
        missing.append(len(reads))
        for read in reads:
            waiting.setdefault(read, []).append(i)
    ready = [i for i, count in enumerate(missing) if count == 0]
    left = len(calls)
    while ready:
        call = calls[heapq.heappop(ready)]
        left -= 1
        yield call
        for i in waiting.pop((call.layer.path[-1], call.node), ()):
            missing[i] -= 1
            if missing[i] == 0:
                heapq.heappush(ready, i)
    if left:
        names = [repr(call.layer.name) for call, count in zip(calls, missing, strict=True) if count]
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise ConvertError(f"layers must read outputs of other layers, without loops, got {shown} that cannot")


def _bound(tree: Any, done: dict[tuple[str, int], Any], where: str) -> Any:
    """References within lists as sources."""
    if isinstance(tree, Reference):
        return _resolve(tree, done, where)
    if isinstance(tree, list):
        return [_bound(item, done, where) for item in tree]
    return tree


def _resolve(reference: Reference, done: dict[tuple[str, int], Any], where: str) -> Source:
    found = done.get((reference.layer, reference.node))
    if found is None:
        raise ConvertError(f"{where} must be the output of a layer, got call {reference.node} of {reference.layer!r}")
    if isinstance(found, int):
        return Source(found, reference.tensor)
    if not 0 <= reference.tensor < len(found):
        got = f"output {reference.tensor} of {reference.layer!r}"
        raise ConvertError(f"{where} must read one of {len(found)} outputs of a model, got {got}")
    source: Source = found[reference.tensor]
    return source
