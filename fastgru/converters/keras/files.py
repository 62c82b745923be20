"""Keras files, read without Keras: .keras archives, full-model HDF5, and weights-only HDF5 with `like`."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._hints import named
from ..._names import nearest
from ...errors import ConvertError, require
from ...graph import Like
from .. import Imported
from ..damage import RATIO, SLACK, ZIPPED, naming
from ..partial import CALLER, warn_unused, without
from .config import graph_of
from .custom import checked
from .defaults import Defaulted, with_defaults
from .hdf5 import Group, read
from .like import graph_like
from .loaded import FileOracle
from .nodes import as_model
from .stored import Stored, by_name, by_nesting, by_number
from .values import Context, Version
from .weights import Weights, from_names, from_numbers, lookup

SOUND = "a Keras file whose config and weights are of the kinds that Keras writes"
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def import_archive(
    path: str | os.PathLike[str],
    like: Sequence[Like] | None = None,
    custom: Mapping[str, Any] | None = None,
    ignore: Sequence[str] = (),
) -> Imported:
    """A ``.keras`` archive; with `like`, only the layers it names, whatever the config says.

    `ignore` are names of layers that `like` leaves out on purpose.
    `custom` are functions for the layers of the user's own: see `fastgru.converters.keras.custom`.

    Raises
    ------
    ConvertError
        When the archive is damaged or hostile, or the model cannot be imported faithfully.
    MissingExtraError
        When h5py is not installed.
    """
    require("h5py", extra="keras", purpose="reading Keras weights")
    name, hooks = Path(path).name, checked(custom)
    with naming(name, SOUND):
        parts = _members(path)
        version = _json(parts[METADATA], METADATA).get("keras_version")
        weights = read(parts[WEIGHTS])
        if like is not None:
            return _with_like(name, weights, like, version, ignore)
        _no_ignore(ignore)
        config = _json(parts[CONFIG], CONFIG)
        return _with_config(path, config, version, from_numbers(weights, as_model(config), hooks), hooks)


def import_hdf5(
    path: str | os.PathLike[str],
    like: Sequence[Like] | None = None,
    custom: Mapping[str, Any] | None = None,
    ignore: Sequence[str] = (),
) -> Imported:
    """An ``.h5`` or ``.hdf5`` file: a whole model, or weights only with `like`.

    `ignore` are names of layers that `like` leaves out on purpose.
    `custom` are functions for the layers of the user's own: see `fastgru.converters.keras.custom`.

    Raises
    ------
    ConvertError
        When the file is damaged or hostile, holds weights only and `like` is missing or wrong (the
        message lists the layers found), or the model cannot be imported faithfully.
    MissingExtraError
        When h5py is not installed.
    """
    require("h5py", extra="keras", purpose="reading Keras weights")
    name, hooks = Path(path).name, checked(custom)
    with naming(name, SOUND):
        file = read(path)
        weights = file.groups.get("model_weights", file)
        version = file.attributes.get("keras_version", weights.attributes.get("keras_version"))
        if like is not None or "model_config" not in file.attributes:
            return _with_like(name, weights, like, version, ignore)
        _no_ignore(ignore)
        config = _json(file.attributes["model_config"], "model_config")
        return _with_config(path, config, version, from_names(_layers(weights), as_model(config)), hooks)


def _with_config(
    path: str | os.PathLike[str], config: Any, version: Any, weights: Weights, hooks: Mapping[str, Callable[..., Any]]
) -> Imported:
    stored = sum(array.nbytes for arrays in weights.values() for array in arrays)
    wrote = Version.of(version)
    graph, ctx = graph_of(config, wrote, lookup(weights), custom=hooks, stored=stored)
    oracle = FileOracle(path, config, wrote, ctx.seen, ctx.held)
    found = _provenance(Path(path).name, version, ctx)
    return Imported(graph, found, oracle, oracle.layers, "", steps=ctx.steps, layouts=ctx.layouts)


def _no_ignore(ignore: Sequence[str]) -> None:
    """Raise ConvertError for layers to leave out of a model that describes itself."""
    if ignore:
        raise ConvertError(
            f"{named('ignore')} must come with {named('like')}, as the file describes its layers itself, got {ignore!r}"
        )


def _with_like(name: str, weights: Group, like: Sequence[Like] | None, version: Any, ignore: Sequence[str]) -> Imported:
    layers = [layer for layer in _layers(weights) if layer.arrays]
    kept = without([layer.name for layer in layers], ignore, "the file")
    layers = [layer for layer in layers if layer.name in kept]
    said = Defaulted(None) if like is None else with_defaults(like, version)
    graph, unused = graph_like(layers, said.like)
    total = sum(len(layer.arrays) for layer in layers)
    warn_unused(name, unused, set(kept) - set(unused), total, CALLER + 1)
    found = _provenance(name, version)
    if unused:
        found["unused"] = nearest("", unused)
    if said.notes:
        found["notes"] = "; ".join(said.notes)
        if said.assumed:
            warnings.warn(found["notes"], UserWarning, stacklevel=CALLER)
    return Imported(graph, found)


def _provenance(name: str, version: Any, ctx: Context | None = None) -> dict[str, str]:
    found = {"framework": f"Keras {version}" if isinstance(version, str) else "Keras", "source": name}
    if ctx is not None and ctx.stateful:
        found["stateful"] = ", ".join(ctx.stateful)
    if ctx is not None and ctx.held.notes:
        found["notes"] = "; ".join(ctx.held.notes)
    return found


def _layers(weights: Group) -> list[Stored]:
    """The file's layers, by whichever arrangement it has."""
    for arrangement in (by_name, by_number):
        layers = arrangement(weights)
        if layers is not None:
            return layers
    return by_nesting(weights)


def _members(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """The parts of an archive that are read."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, Path(path).stat().st_size)
            return {part: _member(archive, part) for part in (CONFIG, METADATA, WEIGHTS)}
    except (ConvertError, FileNotFoundError, PermissionError):
        raise
    except ZIPPED as error:
        raise ConvertError(f"file must be an undamaged archive, got one that cannot be read: {error}") from error


def _check_sizes(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive whose entries, all of which Keras unpacks when it is asked, take far more than the file."""
    unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > RATIO * size + SLACK:
        raise ConvertError(f"archive must unpack to at most {RATIO} times its {size} bytes, got {unpacked}")


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member's content.

    Raises
    ------
    ConvertError
        When it is missing, encrypted, or unpacks to far more than it takes.
    """
    if name not in archive.namelist():
        raise ConvertError(f"archive must hold {name}, got {', '.join(archive.namelist()[:8]) or 'nothing'}")
    info = archive.getinfo(name)
    if info.file_size > RATIO * info.compress_size + SLACK:
        raise ConvertError(
            f"{name} must unpack to at most {RATIO} times its {info.compress_size} bytes, got {info.file_size}"
        )
    with archive.open(info) as stream:
        content = stream.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise ConvertError(f"{name} must be {info.file_size} bytes long, got {len(content)}")
    return content


def _json(text: Any, where: str) -> dict[str, Any]:
    if not isinstance(text, str | bytes):
        raise ConvertError(f"{where} must be JSON text, got {type(text).__name__}")
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ConvertError(f"{where} must be JSON of sane depth, got too many levels") from error
    except ValueError as error:  # no JSON, or no UTF-8
        raise ConvertError(f"{where} must be undamaged JSON, got {error}") from error
    if not isinstance(value, dict):
        raise ConvertError(f"{where} must be a JSON object, got {type(value).__name__}")
    return value
