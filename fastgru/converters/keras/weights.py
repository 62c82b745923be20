"""The arrays of every layer of a config by its path, also of layers in models inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, NamedTuple

from ...errors import ConvertError
from .cells import CONVOLUTIONAL, RECURRENT, cells_of, directions
from .custom import names_of
from .hdf5 import Group
from .layers import inner_layer, unwrapped
from .nodes import layers_of
from .program import wrapped_model
from .stored import CONTAINERS, SEEDS, Stored, numbered, snake
from .values import Array, Layer

Path = tuple[str, ...]
Weights = dict[Path, list[Array]]
Lookup = Callable[[Layer], list[Array]]
ATTENTION = ("query_dense", "key_dense", "value_dense", "output_dense")


def lookup(weights: Weights) -> Lookup:
    """From a layer to its arrays; none where the file has none."""
    return lambda layer: weights.get(layer.path, [])


# Legacy files, which name their arrays -----------------------------------------------------------


def from_names(layers: list[Stored], model: Layer) -> Weights:
    """The arrays of a legacy file.

    Raises
    ------
    ConvertError
        When the file has other layers than the config.
    """
    found: Weights = {}
    stored = {layer.name: layer for layer in layers}
    known = {layer.path[-1]: layer for layer in layers_of(model)[0]}
    extra = [str(s) for s in layers if s.arrays and s.name not in known]
    if extra:
        raise ConvertError(f"weights must all belong to layers of the config, got more: {'; '.join(extra)}")
    for name, layer in known.items():
        if name in stored:
            _assign(found, layer, stored[name].arrays)
    return found


def _assign(found: Weights, layer: Layer, arrays: Mapping[str, Array]) -> None:
    """Give a layer its arrays, which for a model are those of all its layers in one list."""
    model, _ = wrapped_model(layer)
    if model is None:
        found[layer.path] = list(arrays.values())
        return
    inside = layers_of(model)[0]
    owners = {name: i for i, part in enumerate(inside) for name in _names(part)}
    within: dict[str, set[int]] = {}
    for i, part in enumerate(inside):
        for name in _names_within(part):
            within.setdefault(name, set()).add(i)
    parts: list[dict[str, Array]] = [{} for _ in inside]
    for path, array in arrays.items():
        pieces = path.split("/")[:-1]
        found_in = [{owners[piece]} for piece in pieces if piece in owners]
        found_in += [within[piece] for piece in pieces if piece in within]
        if not found_in or len(found_in[0]) != 1:
            names = ", ".join(owners)
            raise ConvertError(f"array {path!r} of {layer} must belong to one of {names}, got none or several that fit")
        parts[next(iter(found_in[0]))][path] = array
    for part, own in zip(inside, parts, strict=True):
        _assign(found, part, own)


def _names(layer: Layer) -> Iterator[str]:
    """What Keras may call a layer in the names of its arrays."""
    yield layer.path[-1]
    while layer.class_name == "TimeDistributed":
        layer = inner_layer(layer)
        yield layer.name


def _names_within(layer: Layer) -> Iterator[str]:
    """The same of all layers of the model that a layer is or holds."""
    model, _ = wrapped_model(layer)
    for part in layers_of(model)[0] if model else ():
        yield from _names(part)
        yield from _names_within(part)


# Archives, whose groups are numbered class by class ----------------------------------------------


class Place(NamedTuple):
    """Where a layer's arrays are in an archive."""

    layer: Layer
    group: Group


def from_numbers(group: Group, model: Layer, custom: Container[str] = ()) -> Weights:
    """The arrays of an archive.

    Raises
    ------
    ConvertError
        When the file has other layers than the config, or other arrays than a layer.
    """
    places: dict[Path, Place] = {}
    _visit(group, model, places, model.shared)
    found: Weights = {}
    for path, (layer, own) in places.items():
        found[path] = _complete(own, layer, custom)
    lacking = [place.layer for path, place in places.items() if not found[path] and place.layer.shared is not None]
    if lacking:
        known: dict[str, dict[int, list[Array]]] = {}
        for path, (layer, _) in places.items():
            if found[path]:
                known.setdefault(_identity(layer), {})[id(found[path][0])] = found[path]
        for layer in lacking:
            found[layer.path] = _of_the_same(layer, known.get(_identity(layer), {}))
    return found


def _visit(group: Group, model: Layer, places: dict[Path, Place], shared: int | None) -> None:
    """Find the groups of a model's layers; `shared` marks those of a model whose weights may be elsewhere."""
    container = next((group.groups[c] for c in CONTAINERS if c in group.groups), Group())
    layers = layers_of(model)[0]
    own = _matched(container, layers)
    filled = [key for key, part in container.groups.items() if _held(part)]
    extra = [key for key in filled if not any(part is container.groups[key] for part in own.values())]
    if extra:
        raise ConvertError(f"weights must all belong to layers of the config, got more: {', '.join(extra)}")
    for layer in layers:
        part = own.get(layer.path[-1], Group())
        mark = layer.shared if layer.shared is not None else shared
        inside, depth = wrapped_model(layer)
        if inside is None:
            places[layer.path] = Place(layer._replace(shared=mark), part)
        else:
            _visit(
                part.at("/".join(["layer"] * depth)) if depth else part,
                inside,
                places,
                inside.shared if inside.shared is not None else mark,
            )


def _matched(container: Group, layers: list[Layer]) -> dict[str, Group]:
    """The group of each layer, by the names in it or else by the order within each class."""
    found: dict[str, Group] = {}
    classes: dict[str, list[Layer]] = {}
    for layer in layers:
        classes.setdefault(snake(layer.class_name), []).append(layer)
    for stem, members in classes.items():
        keys = sorted((k for k in container.groups if numbered(k)[0] == stem), key=numbered)
        names = {container.groups[k].at("vars").attributes.get("name"): k for k in keys}
        if {member.path[-1] for member in members} <= names.keys():
            keys = [names[member.path[-1]] for member in members]
        elif len(keys) != len(members):
            keys = [key for key in keys if _held(container.groups[key])]
        if keys and len(keys) != len(members):
            raise ConvertError(f"file must hold weights of {len(members)} layers {stem!r}, got {len(keys)}")
        found |= {m.path[-1]: container.groups[k] for m, k in zip(members, keys, strict=False)}
    return found


def _of_the_same(layer: Layer, others: dict[int, list[Array]]) -> list[Array]:
    """The arrays of a layer that Keras stored only where it met the object first."""
    if len(others) > 1:
        raise ConvertError(f"weights of {layer} must be stored once, got {len(others)} layers that could be the same")
    return next(iter(others.values()), [])


def _identity(layer: Layer) -> str:
    """What is the same wherever Keras writes one object."""
    return json.dumps([layer.class_name, layer.path[-1], _plain(layer.config)], sort_keys=True)


def _plain(config: Any) -> Any:
    """A config without Keras's numbers of objects, which it writes where it meets one again."""
    if isinstance(config, dict):
        return {k: _plain(v) for k, v in config.items() if k not in ("shared_object_id", "dtype", "build_config")}
    return [_plain(item) for item in config] if isinstance(config, list) else config


def _held(group: Group) -> list[str]:
    return [path for path, _ in group.walk() if SEEDS not in path.split("/")]


def _complete(group: Group, layer: Layer, custom: Container[str]) -> list[Array]:
    """A layer's arrays, checked to be all that its group holds."""
    held = _held(group)
    if any(name in custom for name in (*names_of(layer), *names_of(unwrapped(layer)))):
        arrays = list(_own_first(group))
    else:
        arrays = list(arrays_of(group, layer))
    if len(held) != len(arrays):
        raise ConvertError(f"{layer} must have {len(arrays)} arrays in the file, got {', '.join(held) or 'none'}")
    return arrays


def _own_first(group: Group) -> Iterator[Array]:
    """All arrays below, a layer's own before those of the layers inside it."""
    yield from (array for _, array in group.at("vars").walk())
    for name, inner in group.groups.items():
        if name not in ("vars", SEEDS):
            yield from _own_first(inner)


def arrays_of(group: Group, layer: Layer) -> Iterator[Array]:
    """A layer's arrays in Keras's order of creation, from its group in an archive."""
    if layer.class_name == "Bidirectional":
        for key, part in zip(("forward_layer", "backward_layer"), directions(layer), strict=True):
            yield from arrays_of(group.at(key), part)
    elif layer.class_name == "TimeDistributed":
        yield from arrays_of(group.at("layer"), inner_layer(layer))
    elif layer.class_name == "MultiHeadAttention":
        for key in ATTENTION:
            yield from (array for _, array in group.at(f"{key}/vars").walk())
    elif layer.class_name in CONVOLUTIONAL:
        yield from (array for _, array in group.at("cell/vars").walk())
    elif layer.class_name in RECURRENT:
        cells = cells_of(layer)
        seen: dict[str, int] = {}
        for cell in cells:
            stem = snake(cell.class_name)
            seen[stem] = number = seen.get(stem, -1) + 1
            key = f"cells/{stem}_{number}" if number else f"cells/{stem}"
            own = group.at(f"cell/{key}" if len(cells) > 1 or "cells" in group.at("cell").groups else "cell")
            yield from (array for _, array in own.at("vars").walk())
    else:
        yield from (array for _, array in group.at("vars").walk())
