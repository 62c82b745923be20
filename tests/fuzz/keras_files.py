"""Mutants of .keras and .h5 files: the config, groups and arrays, the archive's entries, and their bytes."""

from __future__ import annotations

import io
import json
import random
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np

from fastgru.converters.keras import files as keras_files
from fastgru.converters.keras import hdf5, hdf5_child
from fastgru.converters.keras.layers import LAYERS
from fastgru.errors import OracleError

from . import files, values
from .files import FRAMEWORK, Mutant, flipped
from .keras_seeds import seed_files

save = files.save
SPOILT = (KeyError, OSError, OverflowError, RuntimeError, TypeError, ValueError)
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
TEXTS = ("", "x", "relu", "tanh", "softmax", "sigmoid", "same", "valid", "causal", "channels_first", "channels_last",
         "sum", "concat",
         "float16", "int32", "Functional", "Sequential", "InputLayer", "abc,cd->abd", "keras.src.ops.numpy",
         *LAYERS,
         "a" * 300, "\ud800")  # fmt: skip


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder of a value, and the key in it."""
    waiting = [tree]
    while waiting:
        holder = waiting.pop()
        for key in holder if isinstance(holder, dict) else range(len(holder)):
            yield holder, key
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])


def changed_config(text: str, rng: random.Random) -> str:
    """One to three values of a config changed, moved, taken from elsewhere in it, or nested deeply."""
    tree = json.loads(text)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        holder, key = rng.choice(places)
        which = rng.random()
        if which < 0.7:
            holder[key] = values.changed(rng, holder[key], TEXTS)
        elif which < 0.9:
            other, name = rng.choice(places)
            holder[key] = json.loads(json.dumps(other[name]))
        elif which < 0.97:
            del holder[key]
        else:
            for _ in range(rng.choice((3, 40, 300))):
                holder[key] = (
                    [holder[key]] if rng.random() < 0.5 else {"class_name": "Sequential", "config": holder[key]}
                )
    return json.dumps(tree)


# HDF5 --------------------------------------------------------------------------------------------


def changed_hdf5(data: bytes, rng: random.Random) -> bytes:
    """Arrays, groups, links and attributes changed; the config, too, where the file holds it."""
    stream = io.BytesIO(data)
    with warnings.catch_warnings(), h5py.File(stream, "r+") as file:
        warnings.simplefilter("ignore")
        if "model_config" in file.attrs and rng.random() < 0.6:
            text = changed_config(file.attrs["model_config"], rng)
            file.attrs["model_config"] = text.encode("utf-8", "surrogatepass")
            return _written(file, stream)
        names: list[str] = []
        file.visit(names.append)
        for _ in range(rng.choice((1, 1, 2))):
            try:
                _change_object(file, rng.choice(names), names, rng)
            except SPOILT:  # an earlier change took away what this one is of
                continue
        return _written(file, stream)


def _written(file: Any, stream: io.BytesIO) -> bytes:
    file.flush()
    return stream.getvalue()


def _change_object(file: Any, name: str, names: Sequence[str], rng: random.Random) -> None:
    item, which = file[name], rng.random()
    if which < 0.1:
        del file[name]
    elif which < 0.2:
        file.move(name, rng.choice(names) + rng.choice(("", "x", "_1", "\\a\\b")))
    elif which < 0.3:
        file[rng.choice(names) + rng.choice(("_1", "/a"))] = rng.choice(
            (item, h5py.SoftLink(name), h5py.ExternalLink("x", "/"))
        )
    elif which < 0.45 and len(item.attrs):
        key = rng.choice(list(item.attrs))
        item.attrs[key] = rng.choice(
            (1, "x", b"\xff", [1, 2], ["a", "b"], h5py.Empty("f"), np.float32(1), [b"a" * 300] * 20)
        )
    elif isinstance(item, h5py.Dataset):
        array = _changed_array(item[()], rng)
        del file[name]
        more = {"compression": "gzip"} if rng.random() < 0.05 and array.ndim else {}
        if rng.random() < 0.05:
            file.create_dataset(name, tuple(values.integer(rng, 3) for _ in range(2)), "f4")
        else:
            file.create_dataset(name, data=array, **more)
    else:
        item.create_dataset("0", data=np.ones(rng.randrange(4), np.float32))


def _changed_array(array: Any, rng: random.Random) -> Any:
    which = rng.random()
    with np.errstate(all="ignore"):
        if which < 0.3 and array.size:
            array = array.copy()
            array.reshape(-1)[rng.randrange(array.size)] = values.number(rng, 1.0)
            return array
        if which < 0.5:
            return array.astype(rng.choice(("f2", "f8", "i4", "i8", "u1", "?", "c8", ">f4")))
    if which < 0.6 or not array.ndim:
        return array.reshape(-1)
    axis = rng.randrange(array.ndim)
    if which < 0.7:
        return array.T
    return np.concatenate([array, array], axis) if which < 0.85 else array.take(range(min(1, array.shape[axis])), axis)


# Archives ----------------------------------------------------------------------------------------


def changed_archive(data: bytes, rng: random.Random) -> tuple[bytes, bool]:
    """One of the entries changed; and whether its bytes were damaged."""
    parts = read(data)
    which, damaged, method = rng.random(), False, zipfile.ZIP_STORED
    if which < 0.6:
        parts[CONFIG] = changed_config(parts[CONFIG].decode(), rng).encode("utf-8", "surrogatepass")
    elif which < 0.85:
        parts[WEIGHTS] = changed_hdf5(parts[WEIGHTS], rng)
    elif which < 0.9:
        parts[METADATA] = changed_config(parts[METADATA].decode(), rng).encode("utf-8", "surrogatepass")
    elif which < 0.95:
        name = rng.choice(list(parts))
        parts[name], damaged = flipped(parts[name], rng), True
    else:
        method = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        parts[rng.choice(list(parts))] += bytes(rng.choice((0, 1, 1 << 12, 1 << 22)))
    return packed(parts, method), damaged


def read(data: bytes) -> dict[str, bytes]:
    """The entries of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def packed(parts: dict[str, bytes], method: int) -> bytes:
    """An archive of these entries."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


# The runner calls these ---------------------------------------------------------------------------


def seeds() -> list[tuple[bytes, str]]:
    """Small models."""
    return seed_files()


def mutate(rng: random.Random, seed: tuple[bytes, str]) -> Mutant:
    """A file with changes of its structure, or of its bytes."""
    data, suffix = seed
    framework = rng.random() < FRAMEWORK
    if rng.random() < 0.04:
        return Mutant(flipped(data, rng), suffix, {}, framework, True)
    if suffix == ".h5":
        return Mutant(changed_hdf5(data, rng), suffix, {}, framework)
    data, damaged = changed_archive(data, rng)
    return Mutant(data, suffix, {}, framework, damaged)


def _read(source: Any) -> hdf5.Group:
    """`hdf5.read` in this process, which takes a tenth of the time; damaged files have a process of their own."""
    out = io.BytesIO()
    content = io.BytesIO(source if isinstance(source, bytes) else Path(source).read_bytes())
    hdf5_child.answer(h5py, content, len(content.getbuffer()), out)
    out.seek(0)
    return hdf5.Answer(out, lambda: "file must be read").group()


def _unasked(*_: Any) -> Any:
    raise OracleError("not asked")


def attempt(mutant: Mutant) -> bool:
    """Convert and exercise a mutant; Keras is asked about some."""
    read = hdf5.read if mutant.damaged else _read
    load = keras_files.FileOracle._load if mutant.framework else _unasked
    with mock.patch.object(keras_files, "read", read), mock.patch.object(keras_files.FileOracle, "_load", load):
        return files.attempt(mutant)
