"""The compiled plan: a file of instructions and packed weights, which is mapped into memory and not read.

::

    magic (8)  version, bytes of the words, bytes of the header, CRC-32 of both (uint32 each, little-endian)  zeros
    words (int64), from 64 on: the instructions, the values between them, shapes of arrays (`lowering.encoding`)
    header (JSON): what is text, and where sections lie
    packed weights for one instruction set, from a multiple of 4096 on, each array at a multiple of 64
    those for the next ...
    inputs of a call, in the same way

Processes that map one file share its pages, and only those that are used are read. That is why the CRC-32 of the
weights is compared on demand alone (`verify`). Every word is checked before it is used as a size, an index or a place
(``include/fastgru/plan/``), by the engine, which reads them into the structs that it runs; the header is here, and the
places inside sparse matrices where weights are placed.
"""

from __future__ import annotations

import json
import mmap
import os
import stat
import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import engine
from ..errors import FileFormatError, GraphError
from ..graph import Spec
from ..graph.activations import ACTIVATIONS
from ..isa import LANES
from ..lowering.codes import FOLDS, FUNCTIONS, PHASES, SHOWN
from ..lowering.encoding import STATE_NAMES, Program, decode
from ..lowering.instructions import INSTRUCTIONS, Buffer, Layer, Micro, Operand, Phase, Rows
from ..lowering.kinds import KINDS
from ..lowering.structs import fields_of
from ..running import Signature
from .attributes import expect, short
from .writing import naming, replace_file

if TYPE_CHECKING:
    from ..lowering.lower import Lowered

Array = NDArray[Any]
SUFFIX = ".plan"
MAGIC = b"FGPLAN\r\n"  # an end of line, so that a transfer as text is seen
VERSION = 2  # of the container; what the instructions mean is told by `dialect`
PREFIX = struct.Struct("<8sIIII")
PAGE = 4096
ALIGN = 64
TEST = "test"  # the section that is of no instruction set
MAX_HEADER = 64 << 20  # bytes of words and header
MOST_FACT = 1 << 31
ENTRIES = (
    "made_by", "dialect", "byteorder", "provenance", "signature", "texts", "blockers", "test", "sections",
)  # fmt: skip
SIGNATURE = ("inputs", "outputs", "bases", "pads", "whole", "lengths")


class Packed(NamedTuple):
    """The weights for one instruction set: arrays in order, and what packing each matrix found in its weights."""

    arrays: Sequence[NDArray[np.uint8]]
    facts: Sequence[int]


class Test(NamedTuple):
    """One call: its inputs, in the order of the signature, and by instruction set the CRC-32 of each output's bytes."""

    inputs: tuple[Array, ...]
    outputs: dict[str, tuple[int, ...]]  # of those that the compiling machine knew them of


class Section(NamedTuple):
    """A part of the file: of weights, with what packing each matrix found in them."""

    at: int
    bytes: int
    crc32: int
    facts: tuple[int, ...]


class Compiled(NamedTuple):
    """Contents of a file, its weights mapped; the words of the program are not checked yet."""

    program: Program
    signature: Signature
    provenance: dict[str, str]
    test: Test
    sections: dict[str, Section]  # of weights
    mapped: NDArray[np.uint8]
    crc32: int  # of words and header, which has those of the weights

    def stored(self, isa: str) -> tuple[NDArray[np.uint8], list[int]]:
        """The weights for an instruction set, as `engine.Plan` takes them."""
        section = self.sections[isa]
        return self.mapped[section.at : section.at + section.bytes], list(section.facts)

    def plan(self, isa: str, **options: Any) -> engine.Plan:
        """Return the plan for an instruction set, with the weights of the file, or with other options of the engine.

        Raises
        ------
        FileFormatError
            When the instructions are not ones that the engine can run, with all that is wrong; when weights or
            signature are not theirs.
        """
        if not options:
            options = {"stored": self.stored(isa)}
        try:
            made = engine.Plan(self.program, isa=isa, dtype="float32", check=True, **options)
        except GraphError as error:
            raise FileFormatError(str(error)) from error
        _check_signature(self.signature, made)
        return made

    def listed(self) -> tuple[Lowered, list[int]]:
        """Return the instructions, and the bytes that each packs for the first instruction set; raises as `plan`."""
        isa = next(iter(self.sections))
        if isa not in LANES:
            raise FileFormatError(f"sections must be of {', '.join(LANES)} and a test, got {short(isa)}")
        made = self.plan(isa, stored=self.stored(isa), lanes=LANES[isa])
        return decode(self.program), made.packed_bytes


@cache
def dialect() -> int:
    """A number that differs where instructions have other fields, codes or meanings: plans are not read across it."""
    told = [VERSION, STATE_NAMES, *KINDS.values(), *(f"{kind.code} {kind.mnemonic}" for kind in INSTRUCTIONS)]
    told += [FUNCTIONS, FOLDS, PHASES, SHOWN, {name: row.code for name, row in ACTIVATIONS.items()}]
    classes = (*INSTRUCTIONS, Buffer, Layer, Phase, Micro, Operand, Rows)
    told += [f"{c.__name__}.{f.name}: {f.kind} {f.optional}" for c in classes for f in fields_of(c)]
    return zlib.crc32(repr(told).encode())


# Writing -----------------------------------------------------------------------------------------


def write(
    path: str | os.PathLike[str],
    *,
    program: Program,
    signature: Signature,
    provenance: Mapping[str, str],
    test: Test,
    packed: Mapping[str, Packed],
) -> None:
    """Write a plan to `path`, whole or not at all.

    Raises
    ------
    OSError
        When the file cannot be written; a file that was there is then untouched.
    """
    header = {
        "made_by": _version(), "dialect": dialect(), "byteorder": "little", "provenance": dict(provenance),
        "signature": _told_signature(signature), "texts": program.texts, "blockers": program.blockers,
    }  # fmt: skip
    words = program.words.astype("<i8").tobytes()
    bodies = {**{isa: _joined(each.arrays) for isa, each in packed.items()}, TEST: _joined(test.inputs)}
    facts = {isa: list(each.facts) for isa, each in packed.items()}
    sizes = {name: _pages(len(body)) for name, body in bodies.items()}
    rows = {name: [len(body), zlib.crc32(body), facts.get(name, [])] for name, body in bodies.items()}
    told = [[x.dtype.str, list(x.shape)] for x in test.inputs]
    text, at = b"", -1
    while at != (at := _pages(ALIGN + len(words) + len(text))):  # where sections begin takes room in the header, too
        begins = dict(zip(sizes, accumulate(sizes.values(), initial=at), strict=False))
        sections = {name: [begins[name], *row] for name, row in rows.items()}
        header |= {"sections": sections, "test": {"inputs": told, "outputs": test.outputs}}
        text = json.dumps(header, separators=(",", ":")).encode()
    prefix = PREFIX.pack(MAGIC, VERSION, len(words), len(text), zlib.crc32(words + text))
    parts = [prefix.ljust(ALIGN, b"\0"), words, text, bytes(at - ALIGN - len(words) - len(text))]
    for body in bodies.values():
        parts += [body, bytes(_pages(len(body)) - len(body))]
    replace_file(path, b"".join(parts))


def _version() -> str:
    from .. import __version__

    return str(__version__)


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


def _joined(arrays: Sequence[Array]) -> bytes:
    return b"".join(part for a in arrays for part in (a.tobytes(), bytes(-a.nbytes % ALIGN)))


def _told_signature(signature: Signature) -> dict[str, Any]:
    specs = {"inputs": signature.inputs, "outputs": signature.outputs}
    told = {key: [[name, list(s.shape), s.time, s.dtype] for name, s in found.items()] for key, found in specs.items()}
    rest = {name: getattr(signature, name) for name in ("bases", "pads", "whole", "lengths")}
    return {**told, **rest}


# Reading -----------------------------------------------------------------------------------------


def is_compiled(path: str | os.PathLike[str]) -> bool:
    """True of a regular file that begins as a compiled plan does; False where it cannot be read."""
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            return stat.S_ISREG(os.fstat(file.fileno()).st_mode) and file.read(len(MAGIC)) == MAGIC
    except (OSError, TypeError, ValueError):
        return False


def read(path: str | os.PathLike[str]) -> Compiled:
    """Map a plan.

    Raises
    ------
    FileFormatError
        When the file is malformed, cut short, inconsistent, or of another version; it says what to do.
    OSError
        When there is no such file or it cannot be read.
    """
    name = os.fspath(path)
    try:
        with naming(path), open(name, "rb", opener=_open_nonblocking) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileFormatError("compiled plan must be a regular file, got something else")
            if os.fstat(file.fileno()).st_size == 0:
                raise FileFormatError("file must be a compiled plan, got an empty file")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _read(np.frombuffer(mapped, np.uint8))
    except FileFormatError as error:
        raise FileFormatError(f"{os.fsdecode(name)}: {error}") from error


def parse(data: bytes) -> Compiled:
    """Read a plan from memory, a copy that is aligned; raises what `read` does."""
    room = np.empty(len(data) + ALIGN, np.uint8)
    begin = -room.ctypes.data % ALIGN
    held = room[begin : begin + len(data)]
    held[:] = np.frombuffer(data, np.uint8)
    return _read(held)


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read(data: NDArray[np.uint8]) -> Compiled:
    if len(data) < PREFIX.size:
        raise FileFormatError(f"file must be a compiled plan, got {len(data)} bytes")
    magic, version, count, length, crc = PREFIX.unpack(data[: PREFIX.size].tobytes())
    if magic != MAGIC:
        raise FileFormatError(f"file must be a compiled plan, got another file, which begins with {magic!r}")
    if version != VERSION:
        raise FileFormatError(f"plan must be of version {VERSION}, got {version}: {_again()}")
    if count + length > min(MAX_HEADER, len(data) - ALIGN) or count % 8:
        raise FileFormatError(
            f"header must be {count + length} bytes, got {max(0, len(data) - ALIGN)}: the file is cut short"
        )
    text = data[ALIGN : ALIGN + count + length].tobytes()
    if zlib.crc32(text) != crc:
        raise FileFormatError(
            f"checksum of the header must be {crc}, got {zlib.crc32(text)}: the contents were changed"
        )
    try:
        header = expect(json.loads(text[count:]), dict, "header")
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"header must be JSON, got other text: {error}") from error
    if set(header) != set(ENTRIES):
        raise FileFormatError(f"header must have the entries {', '.join(ENTRIES)}, got {short(list(header))}")
    if header["dialect"] != dialect():
        made_by = short(header["made_by"])
        raise FileFormatError(f"plan must be of this fastgru ({_version()}), got one made by {made_by}: {_again()}")
    if header["byteorder"] != sys.byteorder:
        raise FileFormatError(
            f"byte order of the plan must be that of this machine, {sys.byteorder}, got {short(header['byteorder'])}: "
            "compile it for a machine of this kind"
        )
    return _decoded(header, np.frombuffer(text, np.int64, count // 8), data, crc)


def _again() -> str:
    return "compile it again from its .fgru file, with fastgru compile"


def _decoded(header: dict[str, Any], words: NDArray[np.int64], data: NDArray[np.uint8], crc: int) -> Compiled:
    texts = expect(header["texts"], list, "texts")
    if not set(map(type, texts)) <= {str}:
        raise FileFormatError(f"texts must be text, got {short(texts)}")
    program = Program(words, texts, None, _words(header["blockers"], "blockers"))
    signature = _signature(header["signature"])
    sections = expect(header["sections"], dict, "sections")
    found = {isa: _section(isa, row, len(data)) for isa, row in sections.items()}
    if len(found) < 2 or TEST not in found:
        raise FileFormatError(f"plan must have sections of weights and of a test, got {short(list(found))}")
    test = _test(header["test"], signature, found.pop(TEST), data)
    return Compiled(program, signature, _words(header["provenance"], "provenance"), test, found, data, crc)


def _ints(value: Any, what: str) -> list[int]:
    found = expect(value, list, what)
    if not set(map(type, found)) <= {int}:
        raise FileFormatError(f"{what} must be integers, got {short(found)}")
    return found  # type: ignore[no-any-return]


def _words(value: Any, what: str) -> dict[str, str]:
    found = expect(value, dict, what)
    if not set(map(type, found.values())) <= {str}:
        raise FileFormatError(f"{what} must be text, got {short(found)}")
    return found  # type: ignore[no-any-return]


def _section(name: str, row: Any, size: int) -> Section:
    if type(row) is not list or len(row) != 4:
        raise FileFormatError(f"section {short(name)} must be a place, bytes, a checksum and facts, got {short(row)}")
    at, count, crc = _ints(row[:3], f"section {short(name)}")
    if at < 0 or count < 0 or at % PAGE or at + count > size:
        raise FileFormatError(
            f"section {short(name)} must lie in the file, of {size} bytes, got {count} from {at} on: it is cut short"
        )
    facts = tuple(_ints(row[3], f"facts of section {short(name)}"))
    if not all(-MOST_FACT <= fact < MOST_FACT for fact in facts):
        raise FileFormatError(f"facts of section {short(name)} must be below 2**31, got {short(facts)}")
    return Section(at, count, crc, facts)


def _signature(value: Any) -> Signature:
    found = expect(value, dict, "signature")
    if set(found) != set(SIGNATURE):
        raise FileFormatError(f"signature must have {', '.join(SIGNATURE)}, got {short(found)}")
    bases = expect(found["bases"], dict, "bases of the signature")
    _ints([*bases.values()], "bases of the signature")
    whole, lengths = found["whole"], found["lengths"]
    if whole is not None and not (type(whole) is list and [type(text) for text in whole] == [str, str]):
        raise FileFormatError(f"whole of the signature must be two names or null, got {short(whole)}")
    if lengths is not None and type(lengths) is not str:
        raise FileFormatError(f"lengths of the signature must be a name or null, got {short(lengths)}")
    return Signature(
        _specs(found["inputs"], "inputs"), _specs(found["outputs"], "outputs"), bases,
        expect(found["pads"], bool, "pads of the signature"), None if whole is None else (whole[0], whole[1]), lengths,
    )  # fmt: skip


def _specs(value: Any, what: str) -> dict[str, Spec]:
    found: dict[str, Spec] = {}
    for row in expect(value, list, f"{what} of the signature"):
        if type(row) is not list or len(row) != 4:
            raise FileFormatError(f"{what} of the signature must be name, shape, time and type, got {short(row)}")
        name, shape, time, dtype = row
        try:
            spec = Spec(tuple(_ints(shape, "shape")), expect(time, bool, "time"), expect(dtype, str, "type"))
        except GraphError as error:
            raise FileFormatError(f"{what} of the signature: {error}") from error
        found[expect(name, str, f"name of {what}")] = spec
    return found


def _check_signature(signature: Signature, plan: engine.Plan) -> None:
    """Raise unless the signature is of the inputs and outputs of the plan."""
    for what, specs, numbers in (
        ("inputs", signature.inputs, plan.inputs),
        ("outputs", signature.outputs, plan.outputs),
    ):
        if list(specs) != [plan.names[n] for n in numbers] or any(
            s.shape != plan.shapes[n] for s, n in zip(specs.values(), numbers, strict=True)
        ):
            raise FileFormatError(f"{what} of the signature must be those of the plan, got {short(list(specs))}")
    if set(signature.bases) != {name for name, spec in signature.inputs.items() if spec.time} or not all(
        0 <= base < plan.bases for base in signature.bases.values()
    ):
        raise FileFormatError(f"bases of the signature must be of the timed inputs, got {short(signature.bases)}")


def _test(value: Any, signature: Signature, section: Section, data: NDArray[np.uint8]) -> Test:
    found = expect(value, dict, "test")
    if set(found) != {"inputs", "outputs"}:
        raise FileFormatError(f"test must have inputs and outputs, got {short(list(found))}")
    outputs = {
        isa: tuple(_ints(row, "outputs of the test"))
        for isa, row in expect(found["outputs"], dict, "outputs of the test").items()
    }
    inputs, at = [], section.at
    for row in expect(found["inputs"], list, "inputs of the test"):
        if type(row) is not list or len(row) != 2 or row[0] not in ("<f4", "<i8", "|b1"):
            raise FileFormatError(f"input of the test must have a type and a shape, got {short(row)}")
        shape, dtype = tuple(_ints(row[1], "shape of the test")), np.dtype(row[0])
        size = prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or at + size > section.at + section.bytes:
            raise FileFormatError(f"input of the test must lie in its section, got one of shape {short(shape)}")
        inputs.append(data[at : at + size].view(dtype).reshape(shape))
        at += -(-size // ALIGN) * ALIGN
    counts = {len(row) for row in outputs.values()}
    if len(inputs) != len(signature.inputs) or counts - {len(signature.outputs)}:
        raise FileFormatError("test must have the inputs and outputs of the plan, got others")
    return Test(tuple(inputs), outputs)


def check_weights(found: Compiled, isa: str) -> None:
    """Read all weights for an instruction set; FileFormatError unless they are those that were written."""
    data, section = found.stored(isa)[0], found.sections[isa]
    crc = zlib.crc32(data.data)
    if crc != section.crc32:
        raise FileFormatError(f"checksum of the weights must be {section.crc32}, got {crc}: the contents were changed")
