"""What a file holds for each layer at its top, in the three ways in which Keras arranges weights in HDF5."""

from __future__ import annotations

import re
from typing import NamedTuple

from ...errors import ConvertError
from .hdf5 import Group
from .values import Array

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
    for key, layer in sorted(container.groups.items(), key=lambda item: numbered(item[0])):
        name = layer.at("vars").attributes.get("name")
        paths = sorted(layer.walk(), key=lambda item: "backward_layer/" in item[0])
        arrays = {path: array for path, array in paths if SEEDS not in path.split("/")}
        found.append(Stored(name if isinstance(name, str) else key, arrays, numbered(key)[0]))
    return found


def by_nesting(group: Group) -> list[Stored]:
    """Layers of any other file: one for each group at the top."""
    return [Stored(name, dict(layer.walk())) for name, layer in group.groups.items()]


def numbered(key: str) -> tuple[str, int]:
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
