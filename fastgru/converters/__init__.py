"""From a source model to a Graph: one package per framework, one row per source in `SOURCES`.

`tensors` is what they share. A converter ends at the Graph: it never sees the engine. Gate orders and bias layouts are
not here but in `fastgru.graph.dialects`. (The package is not called ``convert`` because `fastgru.convert` is the
function.)
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from .. import memory
from .._hints import either, named
from .._names import closest, nearest
from ..errors import ConvertError
from ..files.writing import naming
from ..graph import Graph, Like
from .damage import ZIPPED
from .kinds import advice, check_kind, kind_of
from .layouts import Layouts, declared, told

MAPPING = "collections.abc.Mapping"
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
    others : mapping of int to str
        Steps of further sequences that the import must be right for, where the source was looked at for some alone;
        and what it must do for that.
    steps : int
        The only number of steps that `oracle` and `layers` take, where the source has them one by one; or 0.
    layouts : Layouts or None
        The axes of inputs and outputs in the source; None where it has weights alone.
    precisions : mapping of str to str
        Nodes whose weights the source holds as codes of fewer bits, to the precision that these get in the model once
        the import is known to be right.
    """

    graph: Graph
    provenance: dict[str, str]
    oracle: Oracle | None = None
    layers: Layers | None = None
    missing: str = WEIGHTS_ONLY
    others: Mapping[int, str] = MappingProxyType({})
    steps: int = 0
    layouts: Layouts | None = None
    precisions: Mapping[str, str] = MappingProxyType({})

    def with_axes(self) -> Imported:
        """Return the same with the axes of inputs and outputs in its provenance."""
        if self.layouts is None:
            return self
        source = self.provenance["framework"].split()[0]
        found = {"axes": declared(self.layouts), "layout": told(self.graph, self.layouts, source)}
        if states := [f"{name} <- {output}" for name, output in self.layouts.states.items() if output is not None]:
            found["states"] = ", ".join(states)
        return self._replace(provenance={**self.provenance, **found})


class Source(NamedTuple):
    """A row of `SOURCES`: how a source is recognised and which function imports it."""

    name: str
    suffixes: tuple[str, ...]  # of files
    modules: tuple[str, ...]  # of a live object's class or one of its bases: "package.Class"
    importer: str  # "module:function" of this package, called as function(source, like, **options)
    options: tuple[str, ...] = ()  # further arguments of the importer
    holds: str = ""  # end of the name of an entry that a zip archive of `holding` must have
    holding: tuple[str, ...] = ()  # suffixes of other sources, whose files are these where they have the entry


_TRACED = ("example_inputs", "axes", "states")
_WEIGHTS = ("key", "ignore")
SOURCES = (
    Source("Keras archive", (".keras",), (), "keras.files:import_archive", ("custom", "ignore")),
    Source("Keras HDF5", (".h5", ".hdf5"), (), "keras.files:import_hdf5", ("custom", "ignore")),
    Source("live Keras model", (), ("keras.src.models.model.Model",), "keras.live:import_model", ("custom",)),
    Source(
        "PyTorch checkpoint",
        (".pt", ".pth", ".ckpt", ".bin", ".tar", ".pkl"),
        (),
        "torch.files:import_checkpoint",
        _WEIGHTS,
    ),
    Source("safetensors", (".safetensors",), (), "torch.files:import_safetensors", _WEIGHTS),
    Source("NumPy archive", (".npz",), (), "torch.files:import_npz", _WEIGHTS),
    Source("dict of arrays", (), (MAPPING,), "torch.files:import_mapping", _WEIGHTS),
    Source("ONNX", (".onnx",), (), "onnx.files:import_onnx", ("fix", "shapes", "axes", "states")),
    Source("audio plugin's model", (".json", ".aidax", ".nam"), (), "plugins.files:import_plugin", ("ignore",)),
    Source(
        "TorchScript",
        (".jit", ".ts"),
        ("torch.jit._script.ScriptModule",),
        "torch.files:import_script",
        (*_TRACED, "fix"),
        holds="/constants.pkl",
        holding=(".pt", ".pth", ".bin", ".ckpt"),
    ),
    Source(
        "exported program",
        (".pt2",),
        ("torch.export.exported_program.ExportedProgram",),
        "torch.files:import_exported_program",
        _TRACED,
    ),
    Source("forecaster of darts", (), ("darts.models.forecasting.rnn_model.RNNModel",), "forecasters.darts:import_rnn"),
    Source(
        "forecaster of darts",
        (),
        ("darts.models.forecasting.block_rnn_model.BlockRNNModel",),
        "forecasters.darts:import_block",
    ),
    Source(
        "predictor of GluonTS",
        (),
        ("gluonts.torch.model.predictor.PyTorchPredictor",),
        "forecasters.gluonts:import_predictor",
    ),
    Source(
        "DeepAR of pytorch-forecasting",
        (),
        ("pytorch_forecasting.models.deepar._deepar.DeepAR", "pytorch_forecasting.models.deepar.DeepAR"),
        "forecasters.pytorch_forecasting:import_deepar",
    ),
    Source("live PyTorch module", (), ("torch.nn.modules.module.Module",), "torch.live:import_module", _TRACED),
)


FROM_TENSORFLOW = ": exports of TensorFlow are not read, save the model as .keras or .h5, or export it to .onnx"
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
        if Path(source).is_dir():
            hint = FROM_TENSORFLOW if (Path(source) / "saved_model.pb").exists() else ""
            raise ConvertError(f"file to convert must be a file, got the folder {os.fspath(source)!r}{hint}")
        for row in SOURCES:
            if suffix in row.holding and _holds(source, row.holds):
                return row
        for row in SOURCES:
            if suffix in row.suffixes:
                return row
        if suffix == ".fgru":
            raise ConvertError(
                f"file to convert must be one of another framework, got {os.fspath(source)!r}: "
                f"{either(f'open it with fastgru.load({os.fspath(source)!r})', 'it is one already, see fastgru info')}"
            )
        known = ", ".join(s for row in SOURCES for s in row.suffixes)
        hint = FROM_TENSORFLOW if suffix in (".tflite", ".pb") else _looks_like(source)
        raise ConvertError(f"file to convert must end in one of {known}, got {os.fspath(source)!r}{hint}")
    bases = {f"{c.__module__}.{c.__qualname__}" for c in type(source).__mro__}
    if isinstance(source, Mapping):
        bases.add(MAPPING)
    for row in SOURCES:
        if bases.intersection(row.modules):
            return row
    expected = "source must be a path, a torch.nn.Module, a keras.Model or a dict of arrays"
    if isinstance(source, type):
        raise ConvertError(f"{expected}, got the class {source.__qualname__}: give an instance with trained weights")
    kind = type(source)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    raise ConvertError(f"{expected}, got {'None' if source is None else name}")


def _looks_like(path: str | os.PathLike[str]) -> str:
    """Return what a file whose name says nothing seems to be, and how to name it."""
    kind = kind_of(path) if Path(path).is_file() else None
    return "" if kind is None else f": it looks like {kind.name}: {advice(kind)}"


def _holds(path: str | os.PathLike[str], entry: str) -> bool:
    """Return True for a zip archive in whose outer folder a name has this ending."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(entry) and name.count("/") == 1 for name in archive.namelist())
    except (*ZIPPED, NotImplementedError):
        return False


def to_graph(
    source: Any, caller: Callable[..., Any] | None = None, /, *, like: Sequence[Like] | None = None, **options: Any
) -> Imported:
    """Import `source` by the converter that its suffix or class selects; `options` that are None count as not given.

    Errors about options that do not exist suggest arguments of `caller`, too.
    """
    row = find_source(source)
    given = {name: value for name, value in options.items() if value is not None}
    unknown = [name for name in given if name not in row.options]
    if unknown:
        allowed = f"among {nearest(named(unknown[0]), map(named, row.options))}" if row.options else "omitted"
        got = ", ".join(map(named, unknown))
        meant = _meant(unknown[0], row.options, caller)
        raise ConvertError(f"options for {row.name} must be {allowed}, got {got}{meant}")
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
    module, function = row.importer.split(":")
    importer = getattr(importlib.import_module(f".{module}", __name__), function)
    with naming(source) if isinstance(source, str | os.PathLike) else contextlib.nullcontext():
        if isinstance(source, str | os.PathLike):
            check_kind(source)
        imported: Imported = importer(source, like, **given)
    return imported.with_axes()


def _meant(word: str, options: Sequence[str], caller: Callable[..., Any] | None) -> str:
    """Name the argument of `caller` that an unknown option is nearest to; nothing where another option is nearer."""
    parameters = () if caller is None else inspect.signature(caller).parameters.values()
    own = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    found = closest(word, [*options, *own])
    return f": did you mean {found}?" if found in own else ""
