"""Which arrays belong to which layer, in the three ways in which Keras arranges weights in HDF5."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..errors import ConvertError
from .keras_hdf5 import Group
from .keras_recurrent import RECURRENT, cells_of, directions
from .keras_values import Array, Layer

# Of .keras archives and .weights.h5 files; the second name is that of TensorFlow 2.12 and 2.13.
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
SEEDS = "seed_generator"


class Stored(NamedTuple):
    """A layer's arrays by their paths, in Keras's order of creation; `stem` is its class in snake case."""

    name: str
    arrays: dict[str, Array]
    stem: str | None = None

    def __str__(self) -> str:
        shapes = ", ".join(f"{_leaf(path)} {array.shape}" for path, array in self.arrays.items())
        return f"{self.name}: {shapes or 'no arrays'}"


def _leaf(path: str) -> str:
    name = path.rsplit("/", 1)[-1].removesuffix(":0")
    return path.replace("/vars/", "/").removeprefix("vars/") if name.isdigit() else name


def by_name(group: Group) -> list[Stored] | None:
    """Layers of a legacy file, which names its layers and weights in attributes; None when it does not.

    Raises
    ------
    ConvertError
        When a named array is not in the file.
    """
    names = group.strings("layer_names")
    if names is None:
        return None
    found = []
    for name in names:
        layer = group.at(name)
        arrays = {}
        for path in layer.strings("weight_names") or []:
            array = layer.array(path)
            if array is None:
                raise ConvertError(f"array {path!r} of layer {name!r} must be in the file, got none")
            arrays[path] = array
        found.append(Stored(name, arrays))
    return found


def by_number(group: Group) -> list[Stored] | None:
    """Layers of a Keras 3 file, which numbers its weights; None when it is not one."""
    container = next((group.groups[c] for c in CONTAINERS if c in group.groups), None)
    if container is None:
        return None
    found = []
    for key, layer in sorted(container.groups.items(), key=lambda item: _numbered(item[0])):
        name = layer.at("vars").attributes.get("name")
        paths = sorted(layer.walk(), key=lambda item: "backward_layer/" in item[0])
        arrays = {path: array for path, array in paths if SEEDS not in path.split("/")}
        found.append(Stored(name if isinstance(name, str) else key, arrays, _numbered(key)[0]))
    return found


def by_nesting(group: Group) -> list[Stored]:
    """Layers of any other file: one for each group at the top."""
    return [Stored(name, dict(layer.walk())) for name, layer in group.groups.items()]


def _numbered(key: str) -> tuple[str, int]:
    """``"gru_2"`` as ("gru", 2)."""
    match = re.fullmatch(r"(.+?)_(\d{1,9})", key)
    return (match[1], int(match[2])) if match else (key, 0)


def snake(name: str) -> str:
    """A class name as Keras writes it in files (keras/src/utils/naming.py).

    Examples
    --------
    >>> snake("SimpleRNN"), snake("BatchNormalization"), snake("ReLU")
    ('simple_rnn', 'batch_normalization', 're_lu')
    """
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def lookup_named(layers: list[Stored]) -> Callable[[Layer], list[Array]]:
    """From a layer of a config to its arrays in a legacy file."""
    known = {stored.name: list(stored.arrays.values()) for stored in layers}
    return lambda layer: known.get(layer.name, [])


def lookup_numbered(group: Group, layers: list[Layer]) -> Callable[[Layer], list[Array]]:
    """From a layer of a config to its arrays in an archive, whose groups are numbered class by class.

    Raises
    ------
    ConvertError
        When the file has other layers than the config.
    """
    container = next((group.groups[c] for c in CONTAINERS if c in group.groups), Group())
    found: dict[str, Group] = {}
    classes: dict[str, list[Layer]] = {}
    for layer in layers:
        classes.setdefault(snake(layer.class_name), []).append(layer)
    filled = [key for key, own in container.groups.items() if any(SEEDS not in p.split("/") for p, _ in own.walk())]
    for stem, members in classes.items():
        keys = sorted((k for k in container.groups if _numbered(k)[0] == stem), key=_numbered)
        names = {container.groups[k].at("vars").attributes.get("name"): k for k in keys}
        if {member.name for member in members} <= names.keys():
            keys = [names[member.name] for member in members]
        elif len(keys) != len(members):
            keys = [key for key in keys if key in filled]
        if keys and len(keys) != len(members):
            raise ConvertError(f"file must hold weights of {len(members)} layers {stem!r}, got {len(keys)}")
        found |= {m.name: container.groups[k] for m, k in zip(members, keys, strict=False)}
    extra = [key for key in filled if not any(own is container.groups[key] for own in found.values())]
    if extra:
        raise ConvertError(f"weights must all belong to layers of the config, got more: {', '.join(extra)}")
    return lambda layer: _complete(found.get(layer.name, Group()), layer)


def _complete(group: Group, layer: Layer) -> list[Array]:
    """A layer's arrays, checked to be all that its group holds."""
    arrays = list(arrays_of(group, layer))
    held = [path for path, _ in group.walk() if SEEDS not in path.split("/")]
    if len(held) != len(arrays):
        raise ConvertError(f"{layer} must have {len(arrays)} arrays in the file, got {', '.join(held) or 'none'}")
    return arrays


def arrays_of(group: Group, layer: Layer) -> Iterator[Array]:
    """A layer's arrays in Keras's order of creation, from its group in an archive."""
    if layer.class_name == "Bidirectional":
        for key, part in zip(("forward_layer", "backward_layer"), directions(layer), strict=True):
            yield from arrays_of(group.at(key), part)
    elif layer.class_name == "TimeDistributed":
        yield from (array for _, array in group.at("layer/vars").walk())
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
