"""Kinds of files by what they hold, beside what their names say."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from .._hints import either
from ..errors import ConvertError
from .damage import ZIPPED

# Beginnings of files that are no model of any framework: what they are and what to do, and endings of files that may
# begin so.
NO_MODELS: tuple[tuple[bytes, str, tuple[str, ...]], ...] = (
    (b"version https://git-lfs", "a pointer of Git LFS: git lfs pull brings the file itself", ()),
    (b"<!doctype html", "a page of the web: download the file itself", ()),
    (b"<html", "a page of the web: download the file itself", ()),
    (b"\x1f\x8b\x08", "one that gzip compressed: unpack it first", (".safetensors",)),
)
HEAD = 64  # bytes of a file that tell its kind
PYTORCH = (".pt", ".pth", ".ckpt", ".bin", ".tar", ".pkl", ".jit", ".ts", ".pt2")
PICKLES = ("data.pkl", "constants.pkl", "archive_format", "serialized_exported_program.json")  # one is in each zip


class Kind(NamedTuple):
    """A kind of file: its name in messages, the endings that say so, the usual one first, and how it is known.

    `known` is called with the first bytes and, of a zip archive, the names of the entries.
    """

    name: str
    suffixes: tuple[str, ...]
    known: Callable[[bytes, Sequence[str]], bool]


def _is_safetensors(head: bytes) -> bool:
    return head[8:10] in (b'{"', b"{}") and int.from_bytes(head[:8], "little") < 1 << 40


def _is_onnx(head: bytes) -> bool:
    """True if a protobuf begins with the version of a ModelProto and another of its fields."""
    return head[:1] == b"\x08" and 0 < head[1] < 32 and head[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x28", b"\x3a", b"B")


KINDS = (
    Kind("a model of fastgru", (".fgru",), lambda head, names: _is_safetensors(head) and b'"fastgru' in head),
    Kind("a safetensors file", (".safetensors",), lambda head, names: _is_safetensors(head)),
    Kind("a Keras archive", (".keras",), lambda head, names: {"config.json", "model.weights.h5"} <= set(names)),
    Kind("an HDF5 file", (".h5", ".hdf5"), lambda head, names: head.startswith(b"\x89HDF\r\n")),
    Kind("a NumPy archive", (".npz",), lambda head, names: bool(names) and all(n.endswith(".npy") for n in names)),
    Kind(
        "a PyTorch file",
        PYTORCH,
        lambda head, names: head[:1] == b"\x80" or any(n.rpartition("/")[2] in PICKLES for n in names),
    ),
    Kind("an ONNX file", (".onnx",), lambda head, names: len(head) > 2 and _is_onnx(head)),
)


def kind_of(path: str | os.PathLike[str]) -> Kind | None:
    """Return the kind of a file by its content, None where it is of no known kind."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
    names: Sequence[str] = ()
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (*ZIPPED, NotImplementedError):
            return None  # its importer says what is wrong
    return next((kind for kind in KINDS if kind.known(head, names)), None)


def advice(kind: Kind) -> str:
    """Return what to do about a file that is of a kind which its name does not say."""
    if kind.suffixes[0] == ".fgru":
        return either("name it .fgru, and open it with fastgru.load", "it is one already, name it .fgru")
    return f"name it {kind.suffixes[0]}"


def check_kind(path: str | os.PathLike[str]) -> None:
    """Raise ConvertError where a file is no model, or one of another kind than its name says."""
    with open(path, "rb") as file:
        head = file.read(HEAD).lower()
    suffix = Path(path).suffix.lower()
    for begin, what, but in NO_MODELS:
        if head.startswith(begin) and suffix not in but:
            raise ConvertError(f"file to convert must be a model, got {what}")
    kind = kind_of(path)
    if kind is not None and suffix not in kind.suffixes:
        raise ConvertError(f"file to convert must be what its ending {suffix} says, got {kind.name}: {advice(kind)}")
