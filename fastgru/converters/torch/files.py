"""PyTorch checkpoints and safetensors files to Graphs; torch itself is needed for neither, but for TorchScript."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from ...errors import ConvertError, require
from ...graph import Like
from .. import Imported
from .pickle import read_checkpoint
from .state_dict import assumed, import_state_dict

_SAFETENSORS = {  # the format's name of a dtype -> NumPy's; BF16 is widened to float32
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip


def import_checkpoint(path: str | os.PathLike[str], like: Sequence[Like] | None = None) -> Imported:
    """Import the state_dict in a ``.pt`` or ``.pth`` file.

    Parameters
    ----------
    path : path
        A file that ``torch.save(model.state_dict(), path)`` wrote, or a checkpoint that holds one.
    like : sequence of Like, optional
        See `fastgru.converters.torch.state_dict.import_state_dict`.

    Raises
    ------
    ConvertError
        When the file is damaged, holds more than tensors, or does not determine the layers.
    """
    what = f"checkpoint {os.fspath(path)!r}"
    return _imported(path, read_checkpoint(path), like, what)


def import_safetensors(path: str | os.PathLike[str], like: Sequence[Like] | None = None) -> Imported:
    """Import the state_dict in a ``.safetensors`` file, with PyTorch's names.

    The format sorts tensors and so loses the order of the layers: a file of several layers needs
    `like` with names.

    Raises
    ------
    ConvertError
        As `import_checkpoint`.
    """
    what = f"safetensors file {os.fspath(path)!r}"
    return _imported(path, _read_safetensors(path, what), like, what, ordered=False)


def _imported(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    like: Sequence[Like] | None,
    what: str,
    ordered: bool = True,
) -> Imported:
    """Import the arrays of a file; without `like`, the provenance says what was assumed."""
    graph = import_state_dict(arrays, like, what=what, ordered=ordered)
    provenance = {"framework": "PyTorch", "source": Path(path).name}
    if like is None and (taken := assumed(arrays, what)):
        provenance["assumed"] = taken
    return Imported(graph, provenance)


def import_script(source: Any, like: Sequence[Like] | None = None, **options: Any) -> Imported:
    """Import a TorchScript file or module, by torch: see `fastgru.converters.torch_export.script.import_script`."""
    require("torch", extra="torch", purpose="importing TorchScript")
    from ..torch_export import script as torch_script

    return torch_script.import_script(source, like, **options)


def _read_safetensors(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """Arrays by name, in the order of names."""
    try:
        entries: Any = deserialize(Path(path).read_bytes())  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ConvertError(f"{what} must be intact, got one that cannot be read: {error}") from error
    arrays = {}
    for name, entry in sorted(entries, key=lambda pair: pair[0]):
        code = _SAFETENSORS.get(entry["dtype"])
        if code is None:
            raise ConvertError(f"dtype of {name!r} must be one of {', '.join(_SAFETENSORS)}, got {entry['dtype']}")
        array = np.frombuffer(bytes(entry["data"]), code).reshape(entry["shape"])
        if entry["dtype"] == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        arrays[name] = array
    return arrays
