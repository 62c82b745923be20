"""The compiled plan: a file of instructions and packed weights, which is mapped into memory and not read.

::

    magic (8)  version, header bytes, CRC-32 of the header (uint32 each, little-endian)  header (JSON)
    packed weights for one instruction set, from a multiple of 4096 on, each array at a multiple of 64
    those for the next ...
    inputs of a call, in the same way

Processes that map one file share its pages, and only those that are used are read. That is why the CRC-32 of the
weights is compared on demand alone (`verify`); every field of the header is, before any of it is used as a size, an
index or an offset (`lowering.validation`), and the places inside sparse matrices are.
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
from dataclasses import fields
from functools import cache
from itertools import accumulate
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import FileFormatError, GraphError
from ..graph import Spec
from ..lowering import Lowered
from ..lowering.instructions import INSTRUCTIONS, Buffer, Layer, Phase
from ..lowering.validation import check
from ..running import Signature
from .attributes import expect, short
from .fields import Arrays, decoded_buffer, decoded_instruction, encoded_buffer, encoded_instruction
from .writing import naming, replace_file

Array = NDArray[Any]
SUFFIX = ".plan"
MAGIC = b"FGPLAN\r\n"  # an end of line, so that a transfer as text is seen
VERSION = 1  # of the container; what the instructions mean is told by `dialect`
PREFIX = struct.Struct("<8sIII")
PAGE = 4096
ALIGN = 64
TEST = "test"  # the section that is of no instruction set
MAX_HEADER = 64 << 20
MOST_ELEMENTS = 1 << 31
ENTRIES = (
    "made_by", "dialect", "byteorder", "provenance", "signature", "arrays", "values", "instructions", "inputs",
    "outputs", "states", "blockers", "loops", "clocks", "bases", "latency", "macs", "test", "sections",
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
    """What a file holds, its weights mapped."""

    lowered: Lowered
    signature: Signature
    provenance: dict[str, str]
    test: Test
    sections: dict[str, Section]  # of weights
    mapped: NDArray[np.uint8]
    crc32: int  # of the header, which has those of the weights

    def stored(self, isa: str) -> tuple[NDArray[np.uint8], list[int]]:
        """The weights for an instruction set, as `engine.Plan` takes them."""
        section = self.sections[isa]
        return self.mapped[section.at : section.at + section.bytes], list(section.facts)


@cache
def dialect() -> int:
    """A number that differs where instructions have other fields, codes or meanings: plans are not read across it."""
    told = [VERSION, *(f"{kind.code} {kind.mnemonic}" for kind in INSTRUCTIONS)]
    told += [f"{c.__name__}.{f.name}: {f.type}" for c in (*INSTRUCTIONS, Buffer, Layer, Phase) for f in fields(c)]
    return zlib.crc32(repr(told).encode())


# Writing -----------------------------------------------------------------------------------------


def write(
    path: str | os.PathLike[str],
    *,
    lowered: Lowered,
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
    arrays = Arrays()
    header = {
        "made_by": _version(), "dialect": dialect(), "byteorder": "little", "provenance": dict(provenance),
        "signature": _told_signature(signature),
        "values": [encoded_buffer(v, arrays) for v in lowered.values],
        "instructions": [encoded_instruction(ins, arrays) for ins in lowered.instructions],
        "arrays": [list(a.shape) for a in arrays.held],
        "latency": ceil(lowered.latency),
        **{name: getattr(lowered, name) for name in ("inputs", "outputs", "states", "blockers", "loops", "clocks",
                                                     "bases", "macs")},
    }  # fmt: skip
    bodies = {**{isa: _joined(each.arrays) for isa, each in packed.items()}, TEST: _joined(test.inputs)}
    facts = {isa: list(each.facts) for isa, each in packed.items()}
    sizes = {name: _pages(len(body)) for name, body in bodies.items()}
    rows = {name: [len(body), zlib.crc32(body), facts.get(name, [])] for name, body in bodies.items()}
    told = [[x.dtype.str, list(x.shape)] for x in test.inputs]
    text, at = b"", -1
    while at != (at := _pages(PREFIX.size + len(text))):  # where sections begin takes room in the header, too
        begins = dict(zip(sizes, accumulate(sizes.values(), initial=at), strict=False))
        sections = {name: [begins[name], *row] for name, row in rows.items()}
        header |= {"sections": sections, "test": {"inputs": told, "outputs": test.outputs}}
        text = json.dumps(header, separators=(",", ":")).encode()
    parts = [PREFIX.pack(MAGIC, VERSION, len(text), zlib.crc32(text)), text, bytes(at - PREFIX.size - len(text))]
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
    magic, version, length, crc = PREFIX.unpack(data[: PREFIX.size].tobytes())
    if magic != MAGIC:
        raise FileFormatError(f"file must be a compiled plan, got another file, which begins with {magic!r}")
    if version != VERSION:
        raise FileFormatError(f"plan must be of version {VERSION}, got {version}: {_again()}")
    if length > min(MAX_HEADER, len(data) - PREFIX.size):
        raise FileFormatError(f"header must be {length} bytes, got {len(data) - PREFIX.size}: the file is cut short")
    text = data[PREFIX.size : PREFIX.size + length].tobytes()
    if zlib.crc32(text) != crc:
        raise FileFormatError(
            f"checksum of the header must be {crc}, got {zlib.crc32(text)}: the contents were changed"
        )
    try:
        header = expect(json.loads(text), dict, "header")
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
    return _decoded(header, data, crc)


def _again() -> str:
    return "compile it again from its .fgru file, with fastgru compile"


def _decoded(header: dict[str, Any], data: NDArray[np.uint8], crc: int) -> Compiled:
    arrays = [_stand_in(shape) for shape in expect(header["arrays"], list, "arrays")]
    signature = _signature(header["signature"])
    lowered = Lowered(
        [decoded_buffer(v, arrays) for v in expect(header["values"], list, "values")],
        [decoded_instruction(v, arrays) for v in expect(header["instructions"], list, "instructions")],
        _ints(header["inputs"], "inputs"), _ints(header["outputs"], "outputs"),
        [_state(row) for row in expect(header["states"], list, "states")],
        _words(header["blockers"], "blockers"),
        expect(header["macs"], int, "macs"),
        tuple(_loop(row) for row in expect(header["loops"], list, "loops")),
        expect(header["clocks"], int, "clocks"), expect(header["bases"], int, "bases"),
        expect(header["latency"], int, "latency"),
    )  # fmt: skip
    if not 0 <= lowered.macs < 1 << 62 or not 0 <= lowered.latency < 1 << 59:
        raise FileFormatError("macs and latency must be positive and below 2**62, got others")
    try:
        check(
            lowered.values, lowered.instructions, inputs=lowered.inputs, outputs=lowered.outputs,
            states=lowered.states, loops=lowered.loops, clocks=lowered.clocks, bases=lowered.bases,
        )  # fmt: skip
    except GraphError as error:
        raise FileFormatError(str(error)) from error
    _check_signature(signature, lowered)
    sections = expect(header["sections"], dict, "sections")
    found = {isa: _section(isa, row, len(data)) for isa, row in sections.items()}
    if len(found) < 2 or TEST not in found:
        raise FileFormatError(f"plan must have sections of weights and of a test, got {short(list(found))}")
    test = _test(header["test"], signature, found.pop(TEST), data)
    return Compiled(lowered, signature, _words(header["provenance"], "provenance"), test, found, data, crc)


def _stand_in(shape: Any) -> Array:
    """An array of a shape whose numbers are not read: it takes no memory."""
    dims = tuple(_ints(shape, "shape of an array"))
    if len(dims) > 8 or not all(0 < n < MOST_ELEMENTS for n in dims) or prod(dims) >= MOST_ELEMENTS:
        raise FileFormatError(f"shape of an array must be of positive numbers, below 2**31 elements, got {short(dims)}")
    return np.broadcast_to(np.float32(0), dims)


def _ints(value: Any, what: str) -> list[int]:
    found = expect(value, list, what)
    if not all(type(n) is int for n in found):
        raise FileFormatError(f"{what} must be integers, got {short(found)}")
    return found  # type: ignore[no-any-return]


def _words(value: Any, what: str) -> dict[str, str]:
    found = expect(value, dict, what)
    if not all(type(text) is str for text in found.values()):
        raise FileFormatError(f"{what} must be text, got {short(found)}")
    return found  # type: ignore[no-any-return]


def _state(row: Any) -> tuple[str, int, str, tuple[int, ...]]:
    if type(row) is not list or len(row) != 4:
        raise FileFormatError(f"state must be a list of key, number, name and shape, got {short(row)}")
    key, number, name, shape = row
    return (
        expect(key, str, "key of a state"),
        expect(number, int, "number of a state"),
        expect(name, str, "name of a state"),
        tuple(_ints(shape, "shape of a state")),
    )


def _loop(row: Any) -> tuple[int, int, int]:
    begin, end, clock = (*_ints(row, "loop"), *[-1] * 3)[:3]
    return begin, end, clock


def _section(name: str, row: Any, size: int) -> Section:
    if type(row) is not list or len(row) != 4:
        raise FileFormatError(f"section {short(name)} must be a place, bytes, a checksum and facts, got {short(row)}")
    at, count, crc = _ints(row[:3], f"section {short(name)}")
    if at < 0 or count < 0 or at % PAGE or at + count > size:
        raise FileFormatError(
            f"section {short(name)} must lie in the file, of {size} bytes, got {count} from {at} on: it is cut short"
        )
    facts = tuple(_ints(row[3], f"facts of section {short(name)}"))
    if not all(-MOST_ELEMENTS <= fact < MOST_ELEMENTS for fact in facts):
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


def _check_signature(signature: Signature, lowered: Lowered) -> None:
    """Raise unless the signature is of the inputs and outputs of the plan."""
    for what, specs, numbers in (
        ("inputs", signature.inputs, lowered.inputs),
        ("outputs", signature.outputs, lowered.outputs),
    ):
        values = [lowered.values[n] for n in numbers]
        if list(specs) != [v.name for v in values] or any(
            s.shape != v.shape for s, v in zip(specs.values(), values, strict=True)
        ):
            raise FileFormatError(f"{what} of the signature must be those of the plan, got {short(list(specs))}")
    if set(signature.bases) != {name for name, spec in signature.inputs.items() if spec.time} or not all(
        0 <= base < lowered.bases for base in signature.bases.values()
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
