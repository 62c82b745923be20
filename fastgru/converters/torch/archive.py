"""The zip archive of a PyTorch checkpoint: entries that are stored as they are and fit in the file."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConvertError
from .pickle import Machine

STORAGES = {  # torch storage class -> the NumPy type of its elements, and what to make of them
    "DoubleStorage": ("f8", None),
    "FloatStorage": ("f4", None),
    "HalfStorage": ("f2", None),
    "BFloat16Storage": ("u2", "bfloat16"),
    "LongStorage": ("i8", None),
    "IntStorage": ("i4", None),
    "ShortStorage": ("i2", None),
    "CharStorage": ("i1", None),
    "ByteStorage": ("u1", None),
    "BoolStorage": ("u1", "bool"),
    "UntypedStorage": ("u1", None),
    "QInt8Storage": ("i1", None),
    "QUInt8Storage": ("u1", None),
    "QInt32Storage": ("i4", None),
}
# Tensors may share or repeat (stride 0) their storage, so they may take more than the file; this much more.
SHARING, SPARE = 16, 2**24


class Budget:
    """How many bytes tensors may take unpacked, which is bounded by the size of their file."""

    def __init__(self, size: int, what: str) -> None:
        self.left, self.what = SHARING * size + SPARE, what

    def spend(self, size: int, tensor: tuple[int, ...]) -> None:
        """Count bytes that tensors take unpacked."""
        self.left -= size
        if self.left < 0:
            raise ConvertError(f"tensors of {self.what} must fit its size, got one of shape {tensor} beyond it")


def elements_of(data: Any, kind: str, byteorder: str) -> NDArray[Any]:
    """All elements of the bytes of a storage of class `kind`."""
    code, meaning = STORAGES[kind]
    dtype = np.dtype(byteorder + code)
    raw = np.frombuffer(data, dtype, count=len(data) // dtype.itemsize).astype(dtype.newbyteorder("="), copy=False)
    elements: NDArray[Any] = raw
    if meaning == "bfloat16":  # the upper half of a float32
        elements = (raw.astype(np.uint32) << 16).view(np.float32)
    elif meaning == "bool":
        elements = raw != 0
    elements.setflags(write=False)
    return elements


class Archive(Budget):
    """The entries of one checkpoint.

    Raises
    ------
    ConvertError
        When entries declare more bytes than the file has, are compressed, or are not those of ``torch.save``.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int, what: str) -> None:
        super().__init__(size, what)
        self.archive = archive
        self.entries = {info.filename: info for info in archive.infolist()}
        self.storages: dict[str, tuple[str, NDArray[Any]]] = {}
        if sum(info.file_size for info in archive.infolist()) > size:
            raise ConvertError(f"{what} must unpack to at most its {size} bytes, got entries that declare more")
        roots = [name.removesuffix("data.pkl") for name in self.entries if name.endswith("data.pkl")]
        if len(roots) != 1:
            raise ConvertError(f"{what} must hold one data.pkl, got {len(roots)}")
        self.root = roots[0]
        order = self.read("byteorder") if f"{self.root}byteorder" in self.entries else b"little"
        if order not in (b"little", b"big"):
            raise ConvertError(f"byteorder of {what} must be 'little' or 'big', got {order[:16]!r}")
        self.byteorder = "<" if order == b"little" else ">"

    def content(self) -> Any:
        """What the checkpoint holds."""
        return Machine(self).run(io.BytesIO(self.read("data.pkl")))

    def read(self, name: str) -> bytes:
        """The bytes of an entry."""
        info = self.entries.get(self.root + name)
        if info is None:
            raise ConvertError(f"{self.what} must hold the entry {name!r}, got an archive without it")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise ConvertError(f"entry {name!r} of {self.what} must be stored as it is, got it compressed or encrypted")
        return self.archive.read(info)

    def read_storage(self, kind: str, key: str, count: int, view: Any) -> NDArray[Any] | None:
        """The first `count` elements of the entry ``data/<key>``, a storage of class `kind`."""
        if kind not in STORAGES:
            return None
        known = self.storages.get(key) or (kind, elements_of(self.read(f"data/{key}"), kind, self.byteorder))
        self.storages[key] = known
        return checked(known, kind, key, count, self.what)


def checked(known: tuple[str, NDArray[Any]], kind: str, key: str, count: int, what: str) -> NDArray[Any]:
    """The first `count` elements of a storage, which must have them and be of the kind that is asked for."""
    stored, elements = known
    if stored != kind or count > elements.size:
        raise ConvertError(
            f"storage {key!r} of {what} must be a {stored} of {count} elements, got {kind} of {elements.size}"
        )
    return elements[:count]
