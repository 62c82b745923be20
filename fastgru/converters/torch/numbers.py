"""Arrays that need no checkpoint: those of a ``.npz`` file, and those of a dict."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ... import memory
from ...errors import ConvertError
from ..damage import ZIPPED
from .packed import is_packed
from .rebuilt import Quantized, Unknown

DEPTH = 100  # dicts within each other that are looked into


def read_npz(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """The arrays of a file by name, in its order; nothing is unpickled, and sizes are checked before they are used."""
    arrays: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            memory.check(sum(info.file_size for info in archive.infolist()), f"unpacking {os.fspath(path)!r}", None)
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    name = info.filename.removesuffix(".npy")
                    arrays[name] = _read_npy(archive.read(info), f"array {name!r} of {what}")
    except ConvertError:
        raise
    except ZIPPED as error:
        raise ConvertError(f"{what} must be one that np.savez wrote, got one that cannot be read: {error}") from error
    if not arrays:
        raise ConvertError(f"{what} must hold arrays, got none")
    if all(name.startswith("arr_") and name[4:].isdecimal() for name in arrays):
        raise ConvertError(
            f"arrays of {what} must have the names of a state_dict, got {', '.join([*arrays][:3])}: "
            "save them with np.savez(path, **arrays)"
        )
    return arrays


def _read_npy(data: bytes, what: str) -> Any:
    """One array of numbers."""
    stream = io.BytesIO(data)
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, columns, dtype = read(stream)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, EOFError, TokenError) as error:
        raise ConvertError(f"{what} must be one of NumPy, got a header that cannot be read: {error}") from error
    if dtype.hasobject or dtype.kind not in "fiub":
        got = "objects, such as a dict" if dtype.hasobject else str(dtype)
        raise ConvertError(f"{what} must be of real numbers, got {got}: save them with np.savez(path, **arrays)")
    begin = stream.tell()
    if math.prod(shape) * dtype.itemsize != len(data) - begin or min(shape, default=0) < 0:
        raise ConvertError(f"{what} must have {shape} elements of {dtype}, got {len(data) - begin} bytes")
    flat = np.frombuffer(data, dtype, offset=begin).astype(dtype.newbyteorder("="), copy=False)
    return flat.reshape(shape, order="F" if columns else "C")


def plain(nested: Mapping[Any, Any], what: str) -> dict[Any, Any]:
    """A dict with arrays of NumPy for tensors and arrays of any kind; other values as they are."""
    return _plain(nested, what, DEPTH, {})


def _plain(nested: Mapping[Any, Any], what: str, depth: int, done: dict[int, dict[Any, Any]]) -> dict[Any, Any]:
    """The same, each dict once."""
    if id(nested) in done:
        return done[id(nested)]
    found = done[id(nested)] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and depth:
            found[key] = _plain(value, what, depth - 1, done)
        elif isinstance(value, np.ndarray):
            found[key] = _real(value, f"array {key!r} of {what}")
        elif _is_of(value, "Tensor"):
            found[key] = _of_tensor(value, f"{key!r} of {what}")
        elif isinstance(key, str) and is_packed(key):
            found[key] = _of_packed(value, f"{key!r} of {what}")
        elif hasattr(value, "__array__") and hasattr(value, "shape") and not isinstance(value, np.generic):
            found[key] = _real(np.asarray(value), f"array {key!r} of {what}")
        else:
            found[key] = value
    return found


def _is_of(value: Any, name: str) -> bool:
    """Return True for an object of a class of PyTorch, which need not be loaded."""
    return any(cls.__module__ in ("torch", "torch._C") and cls.__name__ == name for cls in type(value).__mro__)


def _of_tensor(value: Any, what: str) -> Any:
    """A tensor as an array, or its codes and scales."""
    from .oracle import to_numpy  # of PyTorch, which is loaded already where there is a tensor

    try:
        if not value.is_quantized:
            return to_numpy(value)
        if "per_tensor" in str(value.qscheme()):
            scales, axis = (np.asarray(value.q_scale()), np.asarray(value.q_zero_point())), None
        else:
            scales = to_numpy(value.q_per_channel_scales()), to_numpy(value.q_per_channel_zero_points())
            axis = value.q_per_channel_axis()
        return Quantized(value.int_repr().cpu().numpy(), *scales, axis)
    except ConvertError as error:
        raise ConvertError(f"{what}: {error}") from error


def _of_packed(value: Any, what: str) -> Any:
    """A packed weight with what it unpacks to."""
    if _is_of(value, "Tensor"):
        return _of_tensor(value, what)
    if _is_of(value, "ScriptObject"):
        made = Unknown("torch.ScriptObject")
        made.state = _of_packed(value.__getstate__(), what)
        return made
    return type(value)(_of_packed(part, what) for part in value) if type(value) in (tuple, list) else value


def _real(array: Any, what: str) -> Any:
    """An array of real numbers; of the bfloat16 of other libraries, float32."""
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        raise ConvertError(f"{what} must be of real numbers, got {array.dtype}")
    return array
