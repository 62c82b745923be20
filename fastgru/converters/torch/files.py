"""Weights by PyTorch's names, from files and dicts, to Graphs; torch itself is needed for TorchScript alone."""

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
from .checkpoint import read_checkpoint
from .groups import find_weights
from .numbers import plain, read_npz
from .packed import nodes_of
from .state_dict import build

_SAFETENSORS = {  # the format's name of a dtype -> NumPy's; BF16 is widened to float32
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip


def import_checkpoint(
    path: str | os.PathLike[str],
    like: Sequence[Like] | None = None,
    *,
    key: str | None = None,
    ignore: Sequence[str] = (),
) -> Imported:
    """Import the weights in a file that ``torch.save`` wrote, such as ``.pt``, ``.pth``, ``.ckpt`` or ``.bin``.

    Parameters
    ----------
    path : path
        A file of a state_dict, or a checkpoint that holds one beside other objects, which are not looked at.
    like : sequence of Like, optional
        See `fastgru.converters.torch.state_dict.import_state_dict`.
    key, ignore
        See `fastgru.converters.torch.groups.find_weights`.

    Raises
    ------
    ConvertError
        When the file is damaged, holds no weights, or does not determine the layers.
    """
    what = f"checkpoint {os.fspath(path)!r}"
    return _imported(Path(path).name, read_checkpoint(path), like, what, key=key, ignore=ignore)


def import_safetensors(
    path: str | os.PathLike[str],
    like: Sequence[Like] | None = None,
    *,
    key: str | None = None,
    ignore: Sequence[str] = (),
) -> Imported:
    """Import the state_dict in a ``.safetensors`` file, with PyTorch's names.

    The format sorts tensors and so loses the order of the layers: a file of several layers needs
    `like` with names.

    Raises
    ------
    ConvertError
        As `import_checkpoint`.
    """
    what = f"safetensors file {os.fspath(path)!r}"
    arrays = _read_safetensors(path, what)
    return _imported(Path(path).name, arrays, like, what, ordered=False, key=key, ignore=ignore)


def import_npz(
    path: str | os.PathLike[str],
    like: Sequence[Like] | None = None,
    *,
    key: str | None = None,
    ignore: Sequence[str] = (),
) -> Imported:
    """Import the arrays of a ``.npz`` file, named as in a state_dict, in the order in which they were saved.

    Raises
    ------
    ConvertError
        As `import_checkpoint`.
    """
    what = f"file {os.fspath(path)!r}"
    return _imported(Path(path).name, read_npz(path, what), like, what, key=key, ignore=ignore, framework="NumPy")


def import_mapping(
    arrays: Mapping[str, Any],
    like: Sequence[Like] | None = None,
    *,
    key: str | None = None,
    ignore: Sequence[str] = (),
) -> Imported:
    """Import a dict of arrays or tensors: a state_dict, or a checkpoint as ``torch.load`` returns it.

    Raises
    ------
    ConvertError
        As `import_checkpoint`.
    """
    what = f"the {type(arrays).__name__}"
    return _imported(type(arrays).__name__, plain(arrays, what), like, what, key=key, ignore=ignore)


def _imported(
    source: str,
    nested: Any,
    like: Sequence[Like] | None,
    what: str,
    *,
    ordered: bool = True,
    key: str | None,
    ignore: Sequence[str],
    framework: str = "PyTorch",
) -> Imported:
    """Import weights; the provenance says what was assumed without `like`, and what was left out."""
    weights = find_weights(nested, what, key=key, ignore=ignore)
    built = build(weights, like, what, ordered)
    built.warn(source)
    graph, notes = built.graph, built.notes
    if coded := weights.precisions:
        kinds = " and ".join(sorted(set(coded.values())))
        notes["precision"] = f"dynamically quantized, computed here with {kinds} weights ({', '.join(coded)})"
    imported = Imported(graph, {"framework": framework, "source": source, **notes})
    return imported._replace(precisions=nodes_of(graph, coded))


def import_script(source: Any, like: Sequence[Like] | None = None, **options: Any) -> Imported:
    """Import a TorchScript file or module, by torch: see `fastgru.converters.torch_export.script.import_script`."""
    require("torch", extra="torch", purpose="importing TorchScript")
    from ..torch_export import script as torch_script

    return torch_script.import_script(source, like, **options)


def import_exported_program(source: Any, like: Sequence[Like] | None = None, **options: Any) -> Imported:
    """Import a ``.pt2`` file or an ExportedProgram: see `fastgru.converters.torch_export.programs`."""
    require("torch", extra="torch", purpose="importing exported programs")
    from ..torch_export import programs

    return programs.import_exported_program(source, like, **options)


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
