"""Which layer reads what within one model: the three ways in which Keras writes the connections."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...errors import ConvertError
from .values import Layer, as_layer, shortened

DEPTH = 32  # of nested lists in a config; Keras writes less than ten
SEQUENTIAL, FUNCTIONAL = ("Sequential",), ("Functional", "Model")
MODELS = SEQUENTIAL + FUNCTIONAL


class Reference(NamedTuple):
    """Output `tensor` of the call number `node` of a layer."""

    layer: str
    node: int
    tensor: int


class Call(NamedTuple):
    """One use of a layer: what it reads (references and constants), and its keyword arguments."""

    layer: Layer
    node: int
    operands: tuple[Any, ...]
    options: dict[str, Any]
    keys: tuple[str, ...] = ()  # names of the operands, where the layer was called with a dict


class Wiring(NamedTuple):
    """A model as calls of layers."""

    inputs: tuple[str, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Reference, ...]


def is_model(layer: Layer) -> bool:
    """Whether a layer is a model of other layers."""
    own = layer.module is None or layer.module.split(".")[0] in ("keras", "tf_keras", "tensorflow")
    return layer.class_name in MODELS and isinstance(layer.config.get("layers"), list) and own


def wiring(model: Layer) -> Wiring:
    """The connections of a Sequential or Functional model.

    Raises
    ------
    ConvertError
        When it is neither, or malformed.
    """
    layers, items = layers_of(model)
    twice = [name for name, count in Counter(layer.name for layer in layers).items() if count > 1]
    if twice:
        raise ConvertError(f"names of layers must be unique, got {', '.join(map(repr, twice[:8]))} more than once")
    if model.class_name in SEQUENTIAL:
        return _sequential(layers)
    return _functional(layers, items, model.config)


def layers_of(model: Layer) -> tuple[list[Layer], list[Any]]:
    """The layers of a model in its order, and what the config says of each."""
    items = model.config.get("layers")
    if not isinstance(items, list) or not items:
        raise ConvertError(f"config of the model must list its layers, got {shortened(model.config)}")
    layers = [as_layer(item, where="layers of the model") for item in items]
    inside = model.path
    return [layer._replace(path=(*inside, layer.name), name="/".join((*inside, layer.name))) for layer in layers], items


def as_model(value: Any) -> Layer:
    """What ``config.json`` or ``model_config`` holds."""
    if not isinstance(value, dict) or value.get("class_name") not in MODELS:
        got = value.get("class_name") if isinstance(value, dict) else value
        raise ConvertError(f"model must be Sequential or Functional, got {shortened(got)}")
    return as_layer(value, where="model")._replace(path=())


def _sequential(layers: list[Layer]) -> Wiring:
    if layers[0].class_name != "InputLayer":
        first = layers[0]
        shape = first.config.get("batch_input_shape", first.config.get("build_input_shape"))
        path = (*first.path[:-1], f"{first.path[-1]}_input")
        config = {"batch_shape": shape, "dtype": first.config.get("dtype")}
        layers = [Layer("InputLayer", "/".join(path), {"batch_shape": shape}, path=path), *layers]
        if first.class_name == "Embedding":
            layers[0].config["dtype"] = config["dtype"] if isinstance(config["dtype"], str) else None
    calls = tuple(Call(b, 0, (Reference(a.path[-1], 0, 0),), {}) for a, b in itertools.pairwise(layers))
    start = Call(layers[0], 0, (), {})
    return Wiring((layers[0].path[-1],), (start, *calls), (Reference(layers[-1].path[-1], 0, 0),))


def _functional(layers: list[Layer], items: list[Any], config: dict[str, Any]) -> Wiring:
    inputs = tuple(_references(config.get("input_layers"), where="input_layers"))
    outputs = tuple(_references(config.get("output_layers"), where="output_layers"))
    calls: list[Call] = []
    older: set[str] = set()  # layers whose calls are written as Keras 2 does
    for layer, item in zip(layers, items, strict=True):
        nodes = item.get("inbound_nodes", [])
        if not isinstance(nodes, list):
            raise ConvertError(f"inbound_nodes of {layer} must be a list, got {shortened(nodes)}")
        if layer.class_name == "InputLayer":
            calls.append(Call(layer, 0, (), {}))
            continue
        for i, node in enumerate(nodes):
            keys: tuple[str, ...] = ()
            if isinstance(node, dict):
                operands, options, keys = _keras3(layer, node)
            else:
                older.add(layer.path[-1])
                operands, options = _keras2(layer, node)
            calls.append(Call(layer, i, operands, options, keys))
    return _renumbered(Wiring(tuple(r.layer for r in inputs), tuple(calls), outputs), older)


def _renumbered(wires: Wiring, older: set[str]) -> Wiring:
    """References to calls of models inside, counted from 0.

    A model's first node is the one that made it. Keras 2 counts it everywhere; Keras 3 in the list of outputs alone,
    and only for Functional.
    """
    inner = {call.layer.path[-1]: call.layer for call in wires.calls if is_model(call.layer)}
    if not inner:
        return wires
    every = [r for call in wires.calls for r in _found((call.operands, call.options))] + list(wires.outputs)
    least: dict[str, int] = {}
    for r in every:
        least[r.layer] = min(r.node, least.get(r.layer, r.node))

    def shift(r: Reference, *, output: bool) -> Reference:
        if r.layer not in inner:
            return r
        if r.layer in older:
            return r._replace(node=r.node - min(1, least[r.layer]))
        return r._replace(node=r.node - (output and inner[r.layer].class_name in FUNCTIONAL))

    def shifted(tree: Any) -> Any:
        if isinstance(tree, Reference):
            return shift(tree, output=False)
        if isinstance(tree, list):
            return [shifted(item) for item in tree]
        return tree

    calls = tuple(
        call._replace(
            operands=tuple(shifted(o) for o in call.operands), options={k: shifted(v) for k, v in call.options.items()}
        )
        for call in wires.calls
    )
    return wires._replace(calls=calls, outputs=tuple(shift(r, output=True) for r in wires.outputs))


def _found(tree: Any) -> Iterator[Reference]:
    """The references in nested lists and dicts, whose depth is bounded where they are read."""
    if isinstance(tree, Reference):
        yield tree
    elif isinstance(tree, list | tuple | dict):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from _found(item)


def references(call: Call) -> list[Reference]:
    """All that a call reads."""
    return list(_found((call.operands, call.options)))


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
            options.update({key: _legacy(value, layer) for key, value in item[3].items()})
    return operands, options


def _legacy(value: Any, layer: Layer) -> Any:
    """A keyword argument as Keras 2 writes it: references as ``[layer, node, tensor]``, maybe in a list."""
    if isinstance(value, list) and value and isinstance(value[0], str | list):
        where = f"inbound_nodes of {layer}"
        if value[0] == "_CONSTANT_VALUE":
            return value[2] if len(value) > 2 else None
        found = list(_references(value, where=where))
        return found[0] if isinstance(value[0], str) else found
    return value


def _keras3(layer: Layer, node: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any], tuple[str, ...]]:
    """One inbound node ``{"args": [...], "kwargs": {...}}``."""
    args, options = node.get("args", []), node.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(options, dict):
        raise ConvertError(f"inbound_nodes of {layer} must hold args and kwargs, got {shortened(node)}")
    keys: tuple[str, ...] = ()
    if len(args) == 1 and isinstance(args[0], dict) and "class_name" not in args[0]:
        keys = tuple(sorted(args[0]))
    read = {key: _tree(value, layer) for key, value in options.items()}
    return tuple(_flat([_tree(item, layer) for item in args])), read, keys


def _flat(tree: Any) -> Iterator[Any]:
    if isinstance(tree, list):
        for item in tree:
            yield from _flat(item)
    else:
        yield tree


def _tree(value: Any, layer: Layer, depth: int = 0) -> Any:
    """A `Reference` for ``{"class_name": "__keras_tensor__", ...}``, also within lists and dicts; the rest as it is."""
    where = f"inbound_nodes of {layer}"
    if depth > DEPTH:
        raise ConvertError(f"{where} must be nested at most {DEPTH} deep, got more")
    if isinstance(value, list):
        return [_tree(item, layer, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") != "__keras_tensor__":
        if "class_name" in value:
            return value
        return [_tree(value[key], layer, depth + 1) for key in sorted(value)]
    config = value.get("config")
    history = config.get("keras_history") if isinstance(config, dict) else None
    return next(_references(history, where=where))
