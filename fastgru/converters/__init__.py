"""From a source model to a Graph: one package per framework, one row per source in `SOURCES`.

`tensors` is what they share. A converter ends at the Graph: it never sees the engine. Gate orders and bias layouts are
not here but in `fastgru.graph.dialects`. (The package is not called ``convert`` because `fastgru.convert` is the
function.)
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import memory
from .._files import naming
from .._hints import either, named
from .._names import nearest
from ..errors import ConvertError
from ..graph import Graph, Like

WEIGHTS_ONLY = "only its weights are at hand"


class LayerOutput(NamedTuple):
    """What a layer, module, call or node of the source gave for an input.

    Attributes
    ----------
    name, kind : str
        Of the layer in the source, and its class or operator.
    value : str
        The value of the imported graph that stands for it.
    array : array
        As the source's framework computed it, (B, [T,] \\*frame) as in the graph.
    """

    name: str
    kind: str
    value: str
    array: np.ndarray[Any, Any]


Oracle = Callable[[Any], tuple[np.ndarray[Any, Any], ...]]
Layers = Callable[[Any], tuple[LayerOutput, ...]]


class Imported(NamedTuple):
    """What a converter returns.

    Attributes
    ----------
    graph : Graph
    provenance : dict of str to str
        ``"framework"`` (name, and version where known), ``"source"`` (file name or class), and
        whatever else the source tells of itself.
    oracle : callable or None
        The source framework's own forward pass for a batch-first input (B, T, I), a dict by name where there are
        several, returning a tuple of arrays in the order of the graph's outputs. It may load the framework when it is
        first called, and raises `OracleError` where that cannot be. None where there is nothing to ask.
    layers : callable or None
        The same of the values inside, in the order in which the source computes them; a layer that is called twice is
        there twice. The values are those of `graph`, before any pass.
    missing : str
        Why `oracle` or `layers` is None.
    longer : int
        Steps of a second sequence that the import must be right for, where the source was looked at for a few; or 0.
    """

    graph: Graph
    provenance: dict[str, str]
    oracle: Oracle | None = None
    layers: Layers | None = None
    missing: str = WEIGHTS_ONLY
    longer: int = 0


class Source(NamedTuple):
    """A row of `SOURCES`: how a source is recognised and which function imports it."""

    name: str
    suffixes: tuple[str, ...]  # of files
    modules: tuple[str, ...]  # of a live object's class or one of its bases: "package.Class"
    importer: str  # "module:function" of this package, called as function(source, like, **options)
    options: tuple[str, ...] = ()  # further arguments of the importer


SOURCES = (
    Source("Keras archive", (".keras",), (), "keras.files:import_archive", ("custom",)),
    Source("Keras HDF5", (".h5", ".hdf5"), (), "keras.files:import_hdf5", ("custom",)),
    Source("live Keras model", (), ("keras.src.models.model.Model",), "keras.live:import_model", ("custom",)),
    Source("PyTorch checkpoint", (".pt", ".pth"), (), "torch.files:import_checkpoint"),
    Source("safetensors", (".safetensors",), (), "torch.files:import_safetensors"),
    Source("ONNX", (".onnx",), (), "onnx.files:import_onnx", ("fix", "shapes", "axes", "states")),
    Source(
        "TorchScript",
        (".jit",),
        ("torch.jit._script.ScriptModule",),
        "torch.files:import_script",
        ("example_inputs", "axes", "states", "fix"),
    ),
    Source(
        "live PyTorch module",
        (),
        ("torch.nn.modules.module.Module",),
        "torch.live:import_module",
        ("example_inputs", "axes", "states"),
    ),
)


BY_NAME = ("fix", "shapes", "axes", "states")  # options that say something of inputs


def find_source(source: Any) -> Source:
    """The row of `SOURCES` for a path or a live object.

    Raises
    ------
    ConvertError
        When no row fits; the message lists what does.
    """
    if isinstance(source, str | os.PathLike):
        suffix = Path(source).suffix.lower()
        for row in SOURCES:
            if suffix in row.suffixes:
                return row
        if suffix == ".fgru":
            raise ConvertError(
                f"file to convert must be one of another framework, got {os.fspath(source)!r}: "
                f"{either(f'open it with fastgru.load({os.fspath(source)!r})', 'it is one already, see fastgru info')}"
            )
        known = ", ".join(s for row in SOURCES for s in row.suffixes)
        raise ConvertError(f"file to convert must end in one of {known}, got {os.fspath(source)!r}")
    if isinstance(source, Mapping):
        raise ConvertError(
            f"source must be a path or a live model, got a mapping such as a state_dict ({type(source).__name__}): "
            "save it with torch.save(state_dict, 'weights.pt') and call fastgru.convert('weights.pt'), or convert the "
            "module itself"
        )
    bases = {f"{c.__module__}.{c.__qualname__}" for c in type(source).__mro__}
    for row in SOURCES:
        if bases.intersection(row.modules):
            return row
    raise ConvertError(
        f"source must be a path, a torch.nn.Module or a keras.Model, got {type(source).__module__}."
        f"{type(source).__qualname__}"
    )


def to_graph(source: Any, *, like: Sequence[Like] | None = None, **options: Any) -> Imported:
    """Import `source` by the converter that its suffix or class selects; `options` that are None count as not given."""
    row = find_source(source)
    given = {name: value for name, value in options.items() if value is not None}
    unknown = [name for name in given if name not in row.options]
    if unknown:
        allowed = f"among {nearest(named(unknown[0]), map(named, row.options))}" if row.options else "omitted"
        got = ", ".join(map(named, unknown))
        raise ConvertError(f"options for {row.name} must be {allowed}, got {got}")
    wrong = [name for name in BY_NAME if not isinstance(given.get(name, {}), Mapping)]
    if wrong:
        raise ConvertError(f"{wrong[0]} must be a mapping of names, got {given[wrong[0]]!r}")
    if isinstance(source, str | os.PathLike) and not Path(source).is_file():
        raise FileNotFoundError(f"file to convert must exist, got {os.fspath(source)!r}")
    if isinstance(source, str | os.PathLike):
        memory.check(Path(source).stat().st_size, f"reading {os.fspath(source)!r}", None)
    if like is not None:
        if isinstance(like, str) or not isinstance(like, Sequence):
            raise ConvertError(f"like must be a list such as [like(GRU), like(Dense)], got {type(like).__name__}")
        strange: list[Any] = [item for item in like if not isinstance(item, Like)]
        others = [item.__name__ if isinstance(item, type) else repr(item)[:40] for item in strange]
        if others or not like:
            got = ", ".join(others) if others else "an empty list"
            raise ConvertError(f"like must be a list such as [like(GRU), like(Dense)], got {got}")
        skips = [str(item) for item in like if item.inputs is not None]
        if skips and not row.name.startswith("Keras"):
            raise ConvertError(
                f"inputs in {named('like')} must be omitted for a {row.name}, got some for {', '.join(skips)}"
            )
    module, function = row.importer.split(":")
    importer = getattr(importlib.import_module(f".{module}", __name__), function)
    with naming(source) if isinstance(source, str | os.PathLike) else contextlib.nullcontext():
        imported: Imported = importer(source, like, **given)
    return imported
