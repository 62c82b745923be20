"""Reading HDF5 into plain dicts of NumPy arrays, bounded and without following links out of the file."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConvertError, GraphError, require
from .values import Array, shortened

DEPTH = 24  # of groups; Keras nests about six
OBJECTS = 100_000
# Keras does not compress. Arrays that others compressed shrink little; only a hostile file unpacks to more.
RATIO = 64
SLACK = 1 << 20
TRAINING = ("optimizer", "optimizer_weights", "_optimizer")
ATTRIBUTES = ("name", "layer_names", "weight_names", "model_config", "keras_version", "backend")


@dataclass
class Group:
    """A group of an HDF5 file, read: subgroups, arrays and the attributes that Keras writes."""

    groups: dict[str, Group] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    def at(self, path: str) -> Group:
        """The subgroup at ``"a/b"``, or an empty one."""
        here = self
        for part in path.split("/"):
            here = here.groups.get(part, Group())
        return here

    def array(self, path: str) -> Array | None:
        """The array at ``"a/b/c"``, or None."""
        head, _, tail = path.rpartition("/")
        return (self.at(head) if head else self).arrays.get(tail)

    def walk(self, prefix: str = "") -> Iterator[tuple[str, Array]]:
        """Every array below with its path; numbered names in the order of their numbers."""
        for name in sorted(self.arrays, key=lambda n: (len(n), n) if n.isdigit() else (0, n)):
            yield prefix + name, self.arrays[name]
        for name, group in self.groups.items():
            yield from group.walk(f"{prefix}{name}/")

    def strings(self, attribute: str) -> list[str] | None:
        """A list of strings; HDF5 limits an attribute's size, so Keras splits long ones into name0, name1, ..."""
        whole = self.attributes.get(attribute)
        if whole is None:
            parts = [self.attributes[k] for i in range(OBJECTS) if (k := f"{attribute}{i}") in self.attributes]
            whole = [s for part in parts for s in part] if parts else None
        if whole is None or (isinstance(whole, list) and all(isinstance(s, str) for s in whole)):
            return whole
        raise ConvertError(f"{attribute} must be a list of strings, got {shortened(whole)}")


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what h5py and zipfile raise on damaged files into a ConvertError that names the file."""
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except (ConvertError, GraphError) as error:
        raise ConvertError(f"{name}: {error}") from error
    except (
        OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, EOFError, zlib.error, zipfile.BadZipFile,
        MemoryError,
    ) as error:  # fmt: skip
        raise ConvertError(f"{name} must be an undamaged Keras file, got {type(error).__name__}: {error}") from error


def read(source: str | os.PathLike[str] | bytes) -> Group:
    """All of an HDF5 file except the optimizer's state.

    Parameters
    ----------
    source : path or bytes
        A file, or its content.

    Raises
    ------
    ConvertError
        When the file holds links, foreign storage, other than numbers, or unpacks to far more than its size.
    MissingExtraError
        When h5py is not installed.
    """
    h5py = require("h5py", extra="keras", purpose="reading Keras weights")
    size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
    with h5py.File(io.BytesIO(source) if isinstance(source, bytes) else os.fspath(source), "r") as file:
        return _Reader(h5py, budget=RATIO * size + SLACK).group(file)


class _Reader:
    """Walks a file and keeps count of what it has read."""

    def __init__(self, h5py: Any, *, budget: int) -> None:
        self.h5py, self.budget, self.objects = h5py, budget, OBJECTS

    def group(self, source: Any, depth: int = 0) -> Group:
        if depth > DEPTH:
            raise ConvertError(f"groups must be nested at most {DEPTH} deep, got more at {source.name!r}")
        result = Group(attributes=_attributes(source))
        for name in source:
            if depth == 0 and name in TRAINING:
                continue
            self.objects -= 1
            if self.objects < 0:
                raise ConvertError(f"file must hold at most {OBJECTS} objects, got more")
            link = source.get(name, getlink=True)
            if not isinstance(link, self.h5py.HardLink):
                raise ConvertError(f"{name!r} must be stored in the file itself, got a {type(link).__name__}")
            item = source[name]
            # TensorFlow on Windows wrote whole paths with backslashes as one name.
            *parents, leaf = name.split("\\")
            here = result
            for part in parents:
                here = here.groups.setdefault(part, Group())
            if isinstance(item, self.h5py.Group):
                _merge(here.groups.setdefault(leaf, Group()), self.group(item, depth + 1))
            elif isinstance(item, self.h5py.Dataset):
                here.arrays[leaf] = self.array(item)
        return result

    def array(self, item: Any) -> Array:
        if item.is_virtual or item.external:
            raise ConvertError(f"array {item.name!r} must be stored in the file itself, got external storage")
        if item.dtype.kind not in "fiub":
            raise ConvertError(f"array {item.name!r} must hold numbers, got {item.dtype}")
        self.budget -= item.dtype.itemsize * int(np.prod(item.shape or (1,), dtype=object))
        if self.budget < 0:
            limit = f"{RATIO} times the file's size"
            raise ConvertError(f"arrays must take at most {limit}, got more at {item.name!r} of shape {item.shape}")
        return np.asarray(item[()])


def _merge(target: Group, source: Group) -> None:
    target.groups.update(source.groups)
    target.arrays.update(source.arrays)
    target.attributes.update(source.attributes)


def _attributes(source: Any) -> dict[str, Any]:
    """The attributes of `ATTRIBUTES` (or numbered parts of them), as str or list of str."""
    return {
        key: _text(source.attrs[key])
        for key in source.attrs
        if key in ATTRIBUTES or (key.rstrip("0123456789") in ("layer_names", "weight_names"))
    }


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, np.ndarray):
        return [_text(v) for v in value.tolist()] if value.ndim else _text(value.item())
    return value
