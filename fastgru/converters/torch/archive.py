"""The zip archive of a PyTorch checkpoint: entries that are stored as they are and fit in the file."""

from __future__ import annotations

import os
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._hints import named
from ...errors import ConvertError

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
}
# Tensors may share or repeat (stride 0) their storage, so they may take more than the file; this much more.
SHARING, SPARE = 16, 2**24


def describe(path: str | os.PathLike[str]) -> str:
    """What a file that is no zip seems to be."""
    with open(path, "rb") as file:
        head = file.read(16)
    if head.startswith(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"):  # torch's magic number, pickled
        return "the format before PyTorch 1.6: re-save it with torch.save(torch.load(path), path)"
    if head.startswith(b"PK"):
        return "a truncated one"
    return "another format or a damaged file"


class Archive:
    """The entries of one checkpoint.

    Raises
    ------
    ConvertError
        When entries declare more bytes than the file has, are compressed, or are not those of ``torch.save``.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int, what: str) -> None:
        self.archive, self.what = archive, what
        self.entries = {info.filename: info for info in archive.infolist()}
        if any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in self.entries):
            raise ConvertError(
                f"{what} must be written by torch.save, got TorchScript: save its state_dict() instead, "
                f"or name it .jit and give {named('example_inputs')}"
            )
        if sum(info.file_size for info in archive.infolist()) > size:
            raise ConvertError(f"{what} must unpack to at most its {size} bytes, got entries that declare more")
        roots = [name.removesuffix("/data.pkl") for name in self.entries if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ConvertError(f"{what} must hold one data.pkl, got {len(roots)}")
        self.root = roots[0]
        order = self.read("byteorder") if f"{self.root}/byteorder" in self.entries else b"little"
        if order not in (b"little", b"big"):
            raise ConvertError(f"byteorder of {what} must be 'little' or 'big', got {order[:16]!r}")
        self.byteorder = "<" if order == b"little" else ">"
        self.budget = SHARING * size + SPARE

    def read(self, name: str) -> bytes:
        """The bytes of an entry."""
        info = self.entries.get(f"{self.root}/{name}")
        if info is None:
            raise ConvertError(f"{self.what} must hold the entry {name!r}, got an archive without it")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise ConvertError(f"entry {name!r} of {self.what} must be stored as it is, got it compressed or encrypted")
        return self.archive.read(info)

    def spend(self, size: int, tensor: tuple[int, ...]) -> None:
        """Count bytes that tensors take unpacked."""
        self.budget -= size
        if self.budget < 0:
            raise ConvertError(f"tensors of {self.what} must fit its size, got one of shape {tensor} beyond it")

    def read_storage(self, name: str, key: str) -> NDArray[Any]:
        """All elements of the entry ``data/<key>``, a storage of class `name`."""
        code, meaning = STORAGES[name]
        data = self.read(f"data/{key}")
        dtype = np.dtype(self.byteorder + code)
        raw = np.frombuffer(data, dtype, count=len(data) // dtype.itemsize).astype(dtype.newbyteorder("="), copy=False)
        elements: NDArray[Any] = raw
        if meaning == "bfloat16":  # the upper half of a float32
            elements = (raw.astype(np.uint32) << 16).view(np.float32)
        elif meaning == "bool":
            elements = raw != 0
        elements.setflags(write=False)
        return elements
