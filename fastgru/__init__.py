"""fastgru: run trained recurrent networks on the CPU, frame by frame in microseconds or by the batch.

    model = fastgru.convert("model.keras")     # or .onnx, .pt, a live PyTorch or Keras model
    y = model(x)                               # a sequence (T, I) or a batch (B, T, I)
    stream = model.stream()                    # then y = stream.step(frame), a frame (I,) at a time
    model.save("model.fgru")
    model = fastgru.load("model.fgru")

A model passes through three forms, each with one owner::

    trained file --converters--> Graph --lowering--> Plan --------> Stream
                                 what it is          packed weights  what changes
                                 (Python, frozen)    (Cython, shared) (Cython, one per caller)

A sequence is a stream processed in one chunk: every call takes the same path, so any batch and any
chunking gives the same bits.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import (
    CalibrationWarning,
    ConvertError,
    FastGruError,
    FileFormatError,
    GraphError,
    IsaError,
    MemoryLimitError,
    MissingExtraError,
    OracleError,
    VerificationError,
)

if TYPE_CHECKING:
    from .compiled import CompiledModel
    from .engine import Stream, get_num_threads, set_num_threads
    from .isa import cpu_info
    from .memory import get_memory_limit, set_memory_limit
    from .model import Model

__version__ = "0.1.0"


def convert(
    source: Any,
    *,
    like: Any = None,
    precision: str | Mapping[str, str] | None = None,
    activations: str | None = None,
    dtype: str = "float32",
    isa: str | None = None,
    gemm: str | None = None,
    check: bool = True,
    **options: Any,
) -> Model:
    """Import a trained network.

    Parameters
    ----------
    source : path or live model
        ``.keras .h5 .hdf5 .pt .pth .ckpt .bin .npz .safetensors .pt2 .jit .onnx``; ``.json .aidax .nam`` of audio
        plugins; a ``torch.nn.Module``, a ``torch.export.ExportedProgram``, a ``keras.Model``, or a dict of arrays such
        as a state_dict.
    like : list, optional
        For files that hold weights only: the layers they belong to, made with `fastgru.layers.like`.
    precision : {"float16", "bfloat16", "int8", "int8_affine"} or mapping, optional
        Of the weights, as for `Model.quantize`, which is called when the import is known to be right.
    activations : {"fast", "exact"}, optional
        Of the gates, as for `Model.quantize`.
    dtype, isa, gemm
        As for `Model`.
    check : bool
        False keeps an import that does not compute what its source does, or that the engine computes otherwise than
        the float64 reference; ``provenance["differs"]`` then says by how much. One that cannot be checked, since its
        outputs are not finite or the check would take too long, is kept without a self-test, and
        ``provenance["unchecked"]`` says why. Everything else that is refused still is.
    **options
        More facts about the source:

        - ONNX: ``fix``, values of inputs that are settings, ``{"sr": 16000}``; ``shapes``, sizes that the file leaves
          open; ``axes``, which axis of an input is the batch ``"B"`` and which is time ``"T"``; ``states``, which
          input carries on which output.
        - PyTorch modules: ``example_inputs``, arguments of forward, for modules that are no chain of known layers and
          take several arguments, or what their layers do not say; ``axes`` and ``states`` as for ONNX.
        - TorchScript: the same, and ``fix``.
        - PyTorch weights: ``key``, under which a checkpoint of several networks has them.
        - Files of weights: ``ignore``, names of arrays or layers to leave out. A warning names those that `like` leaves
          out without it.
        - Keras: ``custom``, functions for layers of your own, by the name of their class.

        The importers' docstrings say more, e.g. `fastgru.converters.onnx.files.import_onnx`.

    Returns
    -------
    Model
        With a self-test: the source framework's own output where it is at hand, else the float64
        reference's, and then ``provenance["unchecked"]`` says why. For files of PyTorch weights without `like`,
        ``provenance["assumed"]`` says what was assumed of steps and activations, and ``provenance["unused"]`` with
        `like` which arrays no layer took. Files of Keras are read without it;
        where it is installed, it is imported to check what came of them.

    Raises
    ------
    ConvertError
        When anything in the source is not understood, naming it; when the import, or the engine that runs it, does
        not compute what the source does: `fastgru.comparison.compare` shows in which layer.
    GraphError, ValueError
        When `precision` or `activations` does not fit; see `Model.quantize`.
    """
    from . import quantization
    from .checks import importing
    from .converters import to_graph
    from .model import Model, check_dtype
    from .passes import canonical

    if not isinstance(check, bool):
        raise TypeError(f"check must be True or False, got {check!r}")
    check_dtype(dtype)  # typing mistakes end here, not behind a long import
    quantization.check_names(precision, activations)
    imported = to_graph(source, convert, like=like, **options)
    graph = canonical(imported.graph)
    test, provenance = importing.make_test(imported, graph, dtype, check=check)
    model = Model(graph, dtype=dtype, isa=isa, gemm=gemm, provenance=provenance, self_test=test)
    if differs := importing.engine_differs(model, check=check):
        provenance["differs"] = "; ".join([*filter(None, [provenance.get("differs")]), differs])
        model = Model(graph, dtype=dtype, isa=isa, gemm=gemm, provenance=provenance, self_test=test)
    if precision is None and imported.precisions and (dtype, gemm or "packed") == ("float32", "packed"):
        kept = {node.name for node in graph.nodes if node.op.matrices}
        model = model.quantize({name: own for name, own in imported.precisions.items() if name in kept})
    if precision is None and activations is None:
        return model
    return model.quantize(precision, activations=activations)


def load(
    path: str | os.PathLike[str],
    *,
    verify: bool = False,
    isa: str | None = None,
    gemm: str | None = None,
    embed: bool = False,
) -> Model | CompiledModel:
    """Read a ``.fgru`` file, or map a plan that `Model.compile` wrote.

    A pickle of the model names the file, which must be there when it is read, as for processes of one machine.

    Parameters
    ----------
    verify : bool
        Replay the stored self-test first; of a plan, compare the checksum of all weights, too.
    isa : str, optional
        Instruction set; see `fastgru.cpu_info`.
    gemm : {"packed", "blas"}, optional
        As for `Model`.
    embed : bool
        Pickle the model with all its weights instead.

    Returns
    -------
    Model, or CompiledModel for a plan

    Raises
    ------
    FileFormatError
        When the file is not a whole and consistent one of these.
    IsaError
        When the machine does not run the instruction set, or the plan has none for it.
    VerificationError
        When the replay does not reproduce the stored output.
    """
    from pathlib import Path

    from .files.compiled import is_compiled

    # Not os.path.abspath, which takes "link/.." for the folder of the link.
    absolute = str(Path(os.fsdecode(path)).absolute())
    if is_compiled(path):
        from . import compiled

        if gemm not in (None, "packed"):
            raise ValueError(f"gemm of a compiled plan must be 'packed', got {gemm!r}")
        return compiled.load(path, absolute, isa, verify=verify, embed=embed)
    from .checks import selftest
    from .files import fgru
    from .files.origin import Origin
    from .model import Model

    contents, checksum = fgru.read_with_checksum(path)
    try:
        model = Model(
            contents.graph, dtype=contents.dtype, isa=isa, gemm=gemm, provenance=contents.provenance,
            self_test=contents.self_test,
        )  # fmt: skip
    except GraphError as error:
        raise FileFormatError(f"{os.fspath(path)}: the engine does not run this graph: {error}") from error
    if verify:
        selftest.verify(model)
    if not embed:
        model._origin = Origin(absolute, checksum)
    return model


__all__ = [
    "CalibrationWarning", "CompiledModel", "ConvertError", "FastGruError", "FileFormatError", "GraphError", "IsaError",
    "MemoryLimitError", "MissingExtraError", "Model", "OracleError", "Stream", "VerificationError", "convert",
    "cpu_info", "get_memory_limit", "get_num_threads", "load", "set_memory_limit", "set_num_threads",
]  # fmt: skip
# Modules that are part of the public interface.
_MODULES = (
    "backends", "checks", "decode", "errors", "forecasting", "generation", "graph", "inspect", "layers",
    "quantization", "report",
)  # fmt: skip
# Modules that are found under the names that they had before they moved into rooms, too; `dir` does not list them.
_MOVED = {
    "comparison": "checks.comparison", "drawing": "report.drawing", "fileformat": "files.fgru",
    "onnx_backend": "backends.onnx", "selftest": "checks.selftest", "summary": "report.summary",
    "tracing": "checks.tracing",
}  # fmt: skip
# Modules of the names that are imported when they are first used: NumPy and the engine take a tenth of a
# second, in which the command line could not yet answer Ctrl-C.
_HOMES = {
    "compiled": ("CompiledModel",),
    "engine": ("Stream", "get_num_threads", "set_num_threads"),
    "isa": ("cpu_info",),
    "memory": ("get_memory_limit", "set_memory_limit"),
    "model": ("Model",),
}


def __getattr__(name: str) -> Any:
    """Import a public name or a module of the package when it is first used."""
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(importlib.import_module(f".{home}", __name__), name)
            return value
    if name in _MOVED:
        return importlib.import_module(f".{_MOVED[name]}", __name__)
    hint = ""
    if not name.startswith("_"):
        try:
            return importlib.import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
        if name in importlib.import_module(".layers", __name__).__all__:
            hint = f": import it from {__name__}.layers"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, *(name for name in globals() if name.startswith("__"))])
