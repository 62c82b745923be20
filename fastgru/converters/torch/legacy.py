"""Checkpoints as PyTorch wrote them before 1.6: pickles one behind the other, then the elements of the storages.

Also a plain pickle, such as one of a dict of NumPy arrays: the first of these, with nothing behind it.
"""

from __future__ import annotations

import io
import struct
from typing import Any

from numpy.typing import NDArray

from ...errors import ConvertError
from .archive import STORAGES, Budget, checked, elements_of
from .pickle import Machine

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
ITEM = {"f8": 8, "f4": 4, "f2": 2, "u2": 2, "i8": 8, "i4": 4, "i2": 2, "i1": 1, "u1": 1}
WIDE = {"ComplexFloatStorage": 8, "ComplexDoubleStorage": 16}


class Stored(Budget):
    """The storages of a file: their kinds are learnt from a first run of the pickle, their elements lie behind it."""

    def __init__(self, size: int, what: str) -> None:
        super().__init__(size, what)
        self.kinds: dict[str, str] = {}
        self.storages: dict[str, tuple[str, NDArray[Any]]] = {}
        self.surveying = True

    def read_storage(self, kind: str, key: str, count: int, view: Any) -> NDArray[Any] | None:
        """The elements of a storage, or of a part of it; None while nothing is known but its kind."""
        if self.surveying:
            if self.kinds.setdefault(key, kind) != kind:
                raise ConvertError(f"storage {key!r} of {self.what} must be of one kind, got {self.kinds[key]}, {kind}")
            return None
        if key not in self.storages:
            if kind in STORAGES:
                raise ConvertError(f"{self.what} must hold the elements of storage {key!r}, got none")
            return None
        if view is None:
            return checked(self.storages[key], kind, key, count, self.what)
        if type(view) is not tuple or len(view) != 3 or any(type(n) is not int or n < 0 for n in view[1:]):
            raise TypeError("a part of a storage without offset and size")
        whole, (_, offset, size) = self.storages[key], view
        return checked(whole, kind, key, offset + size, self.what)[offset:]

    def take(self, data: bytes, at: int, keys: Any) -> None:
        """Read the storages that begin at a byte: each the number of its elements, then these."""
        if type(keys) is not list or not all(isinstance(key, str) for key in keys):
            raise ConvertError(f"{self.what} must list the keys of its storages, got {type(keys).__name__}")
        for key in keys:
            kind = self.kinds.get(key, "")
            width = ITEM[STORAGES[kind][0]] if kind in STORAGES else WIDE.get(kind)
            if width is None:
                raise ConvertError(f"storage {key!r} of {self.what} must be one of {', '.join(STORAGES)}, got {kind!r}")
            (count,) = struct.unpack_from("<q", data, at)
            end = at + 8 + count * width
            if not 0 <= count <= len(data) or end > len(data):
                raise ConvertError(f"{self.what} must be whole, got {len(data)} bytes: storage {key!r} ends at {end}")
            if kind in STORAGES:
                self.storages[key] = (kind, elements_of(data[at + 8 : end], kind, "<"))
            at = end
        self.surveying = False


def read_pickles(data: bytes, what: str) -> Any:
    """What a file of pickles holds."""
    stream, stored = io.BytesIO(data), Stored(len(data), what)
    first = Machine(stored).run(stream)
    if type(first) is not int or first != MAGIC:
        if stored.kinds:
            raise ConvertError(f"{what} must hold the elements of its tensors, got a pickle alone")
        return first
    version = Machine(stored).run(stream)
    if version != VERSION:
        raise ConvertError(f"protocol of {what} must be {VERSION}, got {version!r}")
    Machine(stored).run(stream)  # what wrote it
    begin = stream.tell()
    Machine(stored).run(stream)
    keys = Machine(stored).run(stream)
    stored.take(data, stream.tell(), keys)
    stream.seek(begin)
    return Machine(stored).run(stream)
