"""CompiledModel: a plan from a file, ready in the time that it takes to map it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from . import engine, memory
from .errors import FileFormatError, IsaError, VerificationError
from .files import compiled as file
from .files.origin import Origin, reopened
from .isa import KNOWN_ISAS, LANES, select_isa
from .running import Running

if TYPE_CHECKING:
    from .model import Model

FUSED = ("avx512", "avx2", "neon")  # round once in a * b + c, and have the same bits
GRAPH_ALONE = (  # of `Model`
    "compile", "graph", "quantize", "save", "self_test", "summary", "trace", "with_forecast", "with_scaler",
)  # fmt: skip


class CompiledModel(Running):
    """A model as `Model.compile` wrote it: it runs as the model does, with the same bits, and can't be changed.

    Made by `fastgru.load`. Its weights are mapped from the file: processes share them, and what is not used is never
    read. The file must stay as it is while the model lives: put another in its place by renaming, never write into it.
    """

    def __init__(self, path: str, contents: file.Compiled, isa: str | None, embedded: bytes | None = None) -> None:
        self._contents, self._forced_isa, self._embedded = contents, isa, embedded
        self._origin = Origin(path, contents.crc32)
        chosen = chosen_isa(contents, isa)
        plan = contents.plan(chosen)
        stream, node = engine.stream_bytes(plan)
        memory.check(stream, "a stream of one row of the compiled model", node)
        self._begin(plan, contents.signature)

    @property
    def provenance(self) -> dict[str, str]:
        """Return a copy of where the model came from."""
        return dict(self._contents.provenance)

    @property
    def gemm(self) -> str:
        """ "packed"."""
        return "packed"

    def verify(self) -> None:
        """Read all weights and compare their checksum; then replay the call that was stored, and compare its bits.

        Raises
        ------
        FileFormatError, VerificationError
        """
        file.check_weights(self._contents, self.isa)
        test = self._contents.test
        if self.isa not in test.outputs:
            raise VerificationError(
                f"plan must have outputs to compare with for {self.isa}, got none: compile it on a machine that runs it"
            )
        got = digests(self(test.inputs if len(test.inputs) > 1 else test.inputs[0]))
        wrong = [name for name, a, b in zip(self.outputs, test.outputs[self.isa], got, strict=True) if a != b]
        if wrong:
            raise VerificationError(f"output {wrong[0]!r} must have the bits that it had when the plan was compiled")

    def __getattr__(self, name: str) -> NoReturn:
        if name in GRAPH_ALONE:
            raise AttributeError(f"compiled plan has no {name!r}: load the .fgru file that it was compiled from")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __copy__(self) -> CompiledModel:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledModel:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._embedded is not None:
            return from_bytes, (self._embedded, self._forced_isa)
        return reopened, (*self._origin, self._forced_isa, None)

    def __repr__(self) -> str:
        names = f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}"
        return f"<fastgru.CompiledModel {names} isa={self.isa} of {', '.join(self._contents.sections)}>"


def load(
    path: str | os.PathLike[str], absolute: str, isa: str | None, *, verify: bool = False, embed: bool = False
) -> CompiledModel:
    """Map the plan at a path, which errors name as it is given; for `fastgru.load`."""
    contents = file.read(path)
    try:
        model = CompiledModel(absolute, contents, isa)
        if verify:
            model.verify()
    except (FileFormatError, IsaError, VerificationError) as error:
        raise type(error)(f"{os.fsdecode(path)}: {error}") from error
    if embed:
        model._embedded = bytes(model._contents.mapped)
    return model


def from_bytes(data: bytes, isa: str | None) -> CompiledModel:
    """Unpickle a plan that was loaded with ``embed=True``."""
    return CompiledModel("", file.parse(data), isa, data)


def chosen_isa(contents: file.Compiled, isa: str | None) -> str:
    """Return the instruction set to run: the one asked for, else the best of this machine that the file has.

    Raises
    ------
    IsaError
        When the machine has none of those of the file, or the file not the one asked for.
    """
    has = ", ".join(contents.sections)
    advice = "compile it for that, with fastgru compile --isa"
    if isa is not None or os.environ.get("FASTGRU_ISA"):
        wanted = select_isa(isa)
        if wanted not in contents.sections:
            raise IsaError(f"isa of this plan must be one of {has}, got {wanted!r}: {advice} {wanted}")
        return wanted
    runs = [name for name, supported, *_ in engine.isas() if supported]
    for name in runs:
        if name in contents.sections:
            return name
    raise IsaError(
        f"plan must be for an instruction set of this machine ({', '.join(runs)}), got {has}: {advice} {runs[0]}"
    )


def digests(outputs: Any) -> tuple[int, ...]:
    """Return the CRC-32 of each output's bytes."""
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    return tuple(zlib.crc32(np.ascontiguousarray(y).reshape(-1).view(np.uint8).data) for y in several)


# Compiling ---------------------------------------------------------------------------------------


def compile_model(model: Model, path: str | os.PathLike[str], isa: str | Sequence[str] | None) -> None:
    """Write the plan of a model; see `Model.compile`."""
    from .checks import selftest
    from .lowering.encoding import encode
    from .lowering.lower import lower
    from .model import Model
    from .passes import fused

    if model.dtype != "float32" or model.gemm != "packed":
        got = f"dtype {model.dtype!r} and gemm {model.gemm!r}"
        raise ValueError(f"model to compile must have dtype 'float32' and gemm 'packed', got {got}")
    names = (
        (model.isa,) if isa is None else tuple(map(str.strip, isa.split(","))) if isinstance(isa, str) else tuple(isa)
    )
    for name in names:
        if name not in KNOWN_ISAS:
            raise IsaError(f"isa must be some of {', '.join(KNOWN_ISAS)}, got {name!r}")
    program = encode(lower(fused(model.graph)))
    built = {name: supported for name, supported, *_ in engine.isas()}
    packed = {}
    for name in dict.fromkeys(names):
        plan = engine.Plan(program, isa=name, dtype="float32", lanes=0 if name in built else LANES[name])
        packed[name] = file.Packed(*plan.packed())
    test = (model.self_test or selftest.make(model.graph, None, {}, dtype="float32")).input
    kinds = {"float": np.float32, "int": np.int64, "bool": np.bool_}
    arrays = test.values() if isinstance(test, dict) else (test,)
    of_inputs = zip(arrays, model.inputs.values(), strict=True)
    given: tuple[Any, ...] = tuple(np.asarray(x, kinds[spec.dtype]) for x, spec in of_inputs)
    outputs = {}
    for name in packed:
        if built.get(name):
            outputs[name] = digests(Model(model.graph, isa=name)(given if len(given) > 1 else given[0]))
    alike = next((found for name, found in outputs.items() if name in FUSED), None)
    outputs |= {name: alike for name in packed if name in FUSED and alike is not None}
    file.write(
        path, program=program, signature=model._signature, provenance=model.provenance,
        test=file.Test(given, outputs), packed=packed,
    )  # fmt: skip


__all__ = ["CompiledModel"]
