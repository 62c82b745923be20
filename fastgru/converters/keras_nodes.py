"""Which layer reads what: the three ways in which Keras writes the connections of a model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import ConvertError, listed
from .keras_values import Layer, as_layer, shortened

DEPTH = 32  # of nested lists in a config; Keras writes less than ten
SEQUENTIAL, FUNCTIONAL = ("Sequential",), ("Functional", "Model")


class Reference(NamedTuple):
    """Output `tensor` of the call number `node` of a layer."""

    layer: str
    node: int
    tensor: int


class Call(NamedTuple):
    """One use of a layer: what it reads (references and constants), and the mask it is given explicitly."""

    layer: Layer
    node: int
    operands: tuple[Any, ...]
    mask: Reference | None


class Wiring(NamedTuple):
    """A model as calls of layers."""

    inputs: tuple[str, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Reference, ...]


def wiring(model: Any) -> Wiring:
    """The connections of a Sequential or Functional model's config.

    Raises
    ------
    ConvertError
        When it is neither, or malformed; unknown keyword arguments of calls are listed all at once.
    """
    config, items = _parts(model)
    layers = layers_of(model)
    names = [layer.name for layer in layers]
    twice = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ConvertError(f"names of layers must be unique, got {', '.join(map(repr, twice))} more than once")
    if model["class_name"] in SEQUENTIAL:
        return _sequential(layers, config)
    return _functional(layers, items, config)


def layers_of(model: Any) -> list[Layer]:
    """The layers of a Sequential or Functional model's config, in its order."""
    return [as_layer(item, where="layers of the model") for item in _parts(model)[1]]


def _parts(model: Any) -> tuple[dict[str, Any], list[Any]]:
    """The model's own config and the list of its layers' configs."""
    if not isinstance(model, dict) or model.get("class_name") not in SEQUENTIAL + FUNCTIONAL:
        got = model.get("class_name") if isinstance(model, dict) else model
        raise ConvertError(f"model must be Sequential or Functional, got {shortened(got)}")
    config = model.get("config")
    if isinstance(config, list):  # Sequential until Keras 2.2.2
        config = {"layers": config}
    if not isinstance(config, dict) or not isinstance(config.get("layers"), list) or not config["layers"]:
        raise ConvertError(f"config of the model must list its layers, got {shortened(config)}")
    return config, config["layers"]


def _sequential(layers: list[Layer], config: dict[str, Any]) -> Wiring:
    if layers[0].class_name != "InputLayer":
        first = layers[0]
        shape = first.config.get("batch_input_shape", config.get("build_input_shape"))
        layers = [Layer("InputLayer", f"{first.name}_input", {"batch_shape": shape}), *layers]
    calls = tuple(Call(layer, 0, (Reference(before.name, 0, 0),), None) for before, layer in itertools.pairwise(layers))
    return Wiring((layers[0].name,), (Call(layers[0], 0, (), None), *calls), (Reference(layers[-1].name, 0, 0),))


def _functional(layers: list[Layer], items: list[Any], config: dict[str, Any]) -> Wiring:
    inputs = tuple(_references(config.get("input_layers"), where="input_layers"))
    outputs = tuple(_references(config.get("output_layers"), where="output_layers"))
    calls: list[Call] = []
    problems: list[str] = []
    for layer, item in zip(layers, items, strict=True):
        nodes = item.get("inbound_nodes", [])
        if not isinstance(nodes, list):
            raise ConvertError(f"inbound_nodes of {layer} must be a list, got {shortened(nodes)}")
        if layer.class_name == "InputLayer":
            calls.append(Call(layer, 0, (), None))
            continue
        for i, node in enumerate(nodes):
            operands, options = _keras3(layer, node) if isinstance(node, dict) else _keras2(layer, node)
            mask = options.pop("mask", None)
            options.pop("training", None)
            for key, value in options.items():
                if value is not None:
                    problems.append(f"{layer} must be called without {key}, got {key}={shortened(value)}")
            if mask is not None and not isinstance(mask, Reference):
                problems.append(f"mask of {layer} must be the output of a layer, got {shortened(mask)}")
                mask = None
            calls.append(Call(layer, i, operands, mask))
    if problems:
        raise ConvertError(listed(problems))
    return Wiring(tuple(r.layer for r in inputs), tuple(calls), outputs)


def _references(tree: Any, *, where: str, depth: int = 0) -> Iterator[Reference]:
    """All references in nested lists of ``[layer, node, tensor, ...]`` (Keras 2, and both ends of Keras 3)."""
    if depth > DEPTH:
        raise ConvertError(f"{where} must be nested at most {DEPTH} deep, got more")
    if isinstance(tree, dict):
        tree = [tree[key] for key in sorted(tree)]  # the order of keras.tree.flatten
    if not isinstance(tree, list) or not tree:
        raise ConvertError(f"{where} must be a list of [layer, node, tensor], got {shortened(tree)}")
    if isinstance(tree[0], str):
        if len(tree) < 3 or not all(isinstance(n, int) for n in tree[1:3]):
            raise ConvertError(f"{where} must be a list of [layer, node, tensor], got {shortened(tree)}")
        yield Reference(tree[0], tree[1], tree[2])
        return
    for item in tree:
        yield from _references(item, where=where, depth=depth + 1)


def _keras2(layer: Layer, node: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """One inbound node ``[[layer, node, tensor, kwargs], ...]``."""
    operands = tuple(_references(node, where=f"inbound_nodes of {layer}"))
    items = [node] if isinstance(node[0], str) else node
    options: dict[str, Any] = {}
    for item in items:
        if isinstance(item, list) and len(item) > 3 and isinstance(item[3], dict):
            options.update(item[3])
    return operands, options


def _keras3(layer: Layer, node: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """One inbound node ``{"args": [...], "kwargs": {...}}``."""
    args, options = node.get("args", []), node.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(options, dict):
        raise ConvertError(f"inbound_nodes of {layer} must hold args and kwargs, got {shortened(node)}")
    return tuple(_tensors(args, layer)), {key: _tensor(value, layer) for key, value in options.items()}


def _tensors(tree: Any, layer: Layer, depth: int = 0) -> Iterator[Any]:
    if depth > DEPTH:
        raise ConvertError(f"inbound_nodes of {layer} must be nested at most {DEPTH} deep, got more")
    if isinstance(tree, list):
        for item in tree:
            yield from _tensors(item, layer, depth + 1)
    else:
        yield _tensor(tree, layer)


def _tensor(value: Any, layer: Layer) -> Any:
    """A `Reference` for ``{"class_name": "__keras_tensor__", ...}``; anything else as it is."""
    if not isinstance(value, dict) or value.get("class_name") != "__keras_tensor__":
        return value
    config = value.get("config")
    history = config.get("keras_history") if isinstance(config, dict) else None
    return next(_references(history, where=f"inbound_nodes of {layer}"))
