"""The ``.fgru`` file: a safetensors container whose one metadata entry, ``"fastgru"``, is a JSON header.

The header holds the graph (nodes that name the tensors of their weights), the options of the model, where
it came from, its self-test, and a CRC-32 of all that and of the tensors. Equal models make equal bytes.
A reader trusts nothing: sizes are checked before anything is allocated or parsed, and whatever is wrong is a
`FileFormatError` that names file, node and field.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .. import memory
from .._hints import either
from ..checks.selftest import SelfTest
from ..errors import FileFormatError
from ..graph import Graph
from . import encoding
from .attributes import expect, short
from .encoding import FORMAT_VERSION, Array
from .writing import naming, replace_file

SUFFIX = ".fgru"
FOREIGN = (  # of what `convert` reads
    ".keras", ".h5", ".hdf5", ".pt", ".pth", ".ckpt", ".bin", ".tar", ".pkl", ".npz", ".safetensors", ".pt2", ".jit",
    ".ts", ".onnx", ".json", ".aidax", ".nam",
)  # fmt: skip
METADATA_KEY = "fastgru"
MAX_HEADER = 16 << 20  # bytes of the container's own header, the JSON header within it
MAX_FILE = 16 << 30
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"), "U16": np.dtype("<u2"), "I8": np.dtype("i1"),
}  # fmt: skip

__all__ = ["FORMAT_VERSION", "SUFFIX", "Contents", "read", "write"]


class Contents(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    graph : Graph
    dtype : str
        What the model computes in.
    provenance : dict of str to str
    self_test : SelfTest or None
    """

    graph: Graph
    dtype: str
    provenance: dict[str, str]
    self_test: SelfTest | None


# Writing -----------------------------------------------------------------------------------------


def write(
    path: str | os.PathLike[str], *, graph: Graph, dtype: str, provenance: Mapping[str, str], self_test: SelfTest | None
) -> None:
    """Write a model to `path`, whole or not at all.

    Raises
    ------
    FileFormatError
        When an attribute, name or provenance entry cannot be said in the file, or `path` is named like a file of
        another framework.
    OSError
        When the file cannot be written; a file that was there is then untouched.
    """
    from safetensors.numpy import save

    suffix = Path(os.fsdecode(path)).suffix
    if suffix.lower() in FOREIGN:
        name = os.fsdecode(path)
        raise FileFormatError(
            f"file of a model must not be named like one of another framework ({suffix}), got {name!r}: "
            f"write {name.removesuffix(suffix) + SUFFIX!r}"
        )
    try:
        header, tensors = encoding.encode(graph, dtype, provenance, self_test)
        header["crc32"] = _checksum(header, tensors)
        data = save(tensors, {METADATA_KEY: _dump(header)})
        _parse(data[8 : 8 + _header_length(data[:8], len(data))])  # what cannot be read back is not written
    except FileFormatError as error:
        raise FileFormatError(f"{os.fspath(path)}: {error}") from error
    replace_file(path, data)


def _dump(header: Any) -> str:
    try:
        return json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise FileFormatError(f"number in the header must be finite, got another ({error})") from error


def _checksum(header: dict[str, Any], tensors: Mapping[str, Array]) -> int:
    """CRC-32 of the header without its own entry, and of every tensor's name, type, shape and bytes."""
    crc = zlib.crc32(_dump({k: v for k, v in header.items() if k != "crc32"}).encode())
    for name in sorted(tensors):
        array = tensors[name]
        crc = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, crc)
    return crc


# Reading -----------------------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> Contents:
    """Read a model; raises what `read_with_checksum` does."""
    return read_with_checksum(path)[0]


def read_with_checksum(path: str | os.PathLike[str]) -> tuple[Contents, int]:
    """Read a model, and the CRC-32 of all of it.

    Raises
    ------
    FileFormatError
        When the file is malformed, truncated, too large, of another version or inconsistent.
    OSError
        When there is no such file or it cannot be read.
    """
    name = os.fspath(path)  # an integer would be an open file
    try:
        with naming(path), open(name, "rb", opener=_open_nonblocking) as file:
            return _read(file)
    except FileFormatError as error:
        raise FileFormatError(f"{os.fsdecode(name)}: {error}{_how_to_convert(os.fsdecode(name))}") from error


def _open_nonblocking(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe, which `_read` then refuses."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read(file: BinaryIO) -> tuple[Contents, int]:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise FileFormatError("model must be a regular file, got something else")
    size = status.st_size
    if size > MAX_FILE:
        raise FileFormatError(f"size of the file must be at most {MAX_FILE} bytes, got {size}")
    memory.check(2 * size, "reading the model", None)  # of its bytes and of the tensors in them
    prefix = file.read(8)
    length = _header_length(prefix, size)
    raw = file.read(length)
    if len(raw) != length:
        raise FileFormatError(f"header must be {length} bytes, got {len(raw)}: the file is cut short")
    header, declared = _parse(raw)
    total = sum(n for _, _, n in declared.values())
    if 8 + length + total != size:
        raise FileFormatError(f"size of the file must be {8 + length + total} bytes as its header says, got {size}")
    data = prefix + raw + file.read(total)
    contents = _load(data, declared)
    graph, dtype, provenance, self_test = encoding.decode(header, contents)
    crc = _checksum(header, contents)
    if header["crc32"] != crc:
        raise FileFormatError(f"checksum must be {header['crc32']!r}, got {crc}: the contents were changed")
    return Contents(graph, dtype, provenance, self_test), crc


def _how_to_convert(path: str) -> str:
    """Say how to import a file that its name says is of another framework; empty for other names."""
    if Path(path).suffix.lower() not in FOREIGN:
        return ""
    words = ["fastgru", "convert", path, "-o", Path(path).with_suffix(SUFFIX).name]
    return f": import it with {either(f'fastgru.convert({path!r})', shlex.join(words))}"


def _header_length(prefix: bytes, size: int) -> int:
    """The declared length of the container's header, if the file can hold it."""
    if min(len(prefix), size) < 8:
        raise FileFormatError(f"file must be a .fgru model, got a file of {size} bytes")
    length = int(struct.unpack("<Q", prefix)[0])
    if length > MAX_HEADER:
        raise FileFormatError(
            f"file must be a .fgru model, got another file{either(f', which begins with {prefix!r}', '')}"
        )
    if length > size - 8:
        raise FileFormatError(f"header must be {length} bytes, got {size - 8}: the file is cut short")
    return length


def _parse(raw: bytes) -> tuple[dict[str, Any], dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]]:
    """The JSON header, and type, shape and bytes of every tensor the container declares."""
    outer = expect(_json(raw, "container header"), dict, "container header")
    if "__metadata__" not in outer:
        how = either("fastgru.convert(path)", "fastgru convert")
        raise FileFormatError(f"file must be a .fgru model, got safetensors of weights: import it with {how}")
    metadata = expect(outer.pop("__metadata__"), dict, "metadata")
    if set(metadata) != {METADATA_KEY}:
        raise FileFormatError(f"metadata must have the one entry {METADATA_KEY!r}, got {short(list(metadata))}")
    text = expect(metadata[METADATA_KEY], str, f"metadata entry {METADATA_KEY!r}")
    header = expect(_json(text, "header"), dict, "header")
    return header, {name: _tensor(name, entry) for name, entry in outer.items()}


def _tensor(name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    where = f"tensor {short(name)}"
    entry = expect(entry, dict, where)
    if set(entry) != {"dtype", "shape", "data_offsets"}:
        raise FileFormatError(f"{where} must have dtype, shape and data_offsets, got {short(sorted(entry))}")
    code, shape = entry["dtype"], expect(entry["shape"], list, f"shape of {where}")
    if not isinstance(code, str) or code not in DTYPES:
        raise FileFormatError(f"dtype of {where} must be one of {', '.join(DTYPES)}, got {short(code)}")
    if len(shape) > 8 or not all(type(n) is int and 0 < n <= MAX_FILE for n in shape):
        raise FileFormatError(f"shape of {where} must be up to 8 positive integers, got {short(shape)}")
    size = DTYPES[code].itemsize
    for n in shape:
        size *= n
    offsets = entry["data_offsets"]
    whole = isinstance(offsets, list) and len(offsets) == 2 and all(type(n) is int for n in offsets)
    if not whole or offsets[0] < 0 or offsets[1] - offsets[0] != size:
        raise FileFormatError(f"data_offsets of {where} must span its {size} bytes, got {short(offsets)}")
    return DTYPES[code], tuple(shape), size


def _json(text: str | bytes, what: str) -> Any:
    """Parse JSON without NaN, without an object that says one thing twice, and without deep nesting."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise FileFormatError(f"{what} must have unique keys, got one twice among {short(list(found))}")
        return found

    def finite(name: str) -> Any:
        raise FileFormatError(f"number in the {what} must be finite, got {name}")

    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(decoded, object_pairs_hook=once, parse_constant=finite)
    except RecursionError as error:
        raise FileFormatError(f"{what} must be JSON of reasonable depth, got deeper nesting") from error
    except FileFormatError:
        raise
    except ValueError as error:  # of json, of UTF-8, and of an integer with too many digits
        raise FileFormatError(f"{what} must be JSON in UTF-8, got something else: {error}") from error


def _load(data: bytes, declared: Mapping[str, tuple[np.dtype[Any], tuple[int, ...], int]]) -> dict[str, Array]:
    """All tensors by safetensors, which checks that they fill the file without gaps or overlaps."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except SafetensorError as error:
        raise FileFormatError(f"container must be valid safetensors, got: {error}") from error
    for name, (dtype, shape, _) in declared.items():
        array = tensors.get(name)
        if array is None or array.dtype != dtype or array.shape != shape:
            raise FileFormatError(f"tensor {short(name)} must be {dtype} of shape {shape}, got another")
    return tensors
