"""A file that ``torch.save`` wrote, of any age: its nested containers with NumPy arrays for tensors, without torch."""

from __future__ import annotations

import os
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

from ...errors import ConvertError
from .archive import Archive
from .legacy import read_pickles

# How files of other kinds begin -> what they are, and what to do.
HEADS = (
    (b"PK", "a truncated one: copy or download it again"),
    (b"\x93NUMPY", "one array of NumPy: save all arrays with np.savez(path, **arrays), with the names of a state_dict"),
)


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """The nested containers of a file that ``torch.save`` wrote, with NumPy arrays for tensors.

    Parameters
    ----------
    path : path
        A zip archive as PyTorch 1.6 and later write it, or pickles and storages as those before did.

    Returns
    -------
    dict, list, tuple, array, number, str, bytes, None or Unknown
        Arrays are read-only views of the file's storages; bfloat16 becomes float32. A
        ``torch.dtype`` becomes its name, a ``torch.Size`` a tuple. Objects of other classes are `Unknown`.

    Raises
    ------
    ConvertError
        When the file is TorchScript, truncated, corrupt, larger unpacked than packed, or no checkpoint.
    """
    what = f"checkpoint {os.fspath(path)!r}"
    size = os.path.getsize(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # pickletools, of escapes that no writer makes
            if zipfile.is_zipfile(path):  # which raises BadZipFile, too
                with zipfile.ZipFile(path) as archive:
                    return Archive(archive, size, what).content()
            data = Path(path).read_bytes()
            if data[:1] != b"\x80":
                raise ConvertError(f"{what} must be one that torch.save wrote, got {_described(data)}")
            return read_pickles(data, what)
    except (zipfile.BadZipFile, struct.error, OSError, EOFError, NotImplementedError, ValueError, Warning) as error:
        if isinstance(error, ConvertError):
            raise
        raise ConvertError(f"{what} must be intact, got one that cannot be read: {error}") from error


def _described(data: bytes) -> str:
    """What a file that is no checkpoint seems to be, by its first bytes."""
    if not data:
        return "an empty file"
    if data[257:262] == b"ustar":
        return "a tar archive, as PyTorch wrote before 0.1.10: load it with an old PyTorch and save it again"
    return next((kind for head, kind in HEADS if data.startswith(head)), "another format or a damaged file")
