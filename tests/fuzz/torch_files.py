"""Mutants of PyTorch checkpoints: the pickle's opcodes and arguments, the storages, the archive, and their bytes."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from torch_cases import CASES, FILES

from fastgru.converters.torch.checkpoint import read_checkpoint
from fastgru.layers import GRU, LSTM, Dense, LayerNorm, like

from . import files, values
from .files import Mutant, flipped

save, attempt = files.save, files.attempt
ENTRIES = ("data.pkl", "version", "byteorder", "data/0", "data/1", "constants.pkl")
GLOBALS = ("collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "x",
           "torch FloatStorage", "torch HalfStorage", "torch BFloat16Storage", "torch LongStorage", "torch BoolStorage",
           "torch Size", "torch float32", "os system", "builtins eval")  # fmt: skip
CODES = (*(bytes([code]) for code in b"()}]t\x85suaeRbNQ02\x88.\x94"), b"G\x7f\xf8" + bytes(6), b"\x8e" + b"\xff" * 8)
PLAIN = ("types_2", "types_4", "wrapped", "two_layers")
LIKES: tuple[Any, ...] = (None, [like(GRU), like(Dense)], [like(LSTM)], [like(Dense), like(LayerNorm)])


class Seed(NamedTuple):
    """A checkpoint and the layers that it is converted with; a suffix where it is no zip of a pickle and storages."""

    data: bytes
    like: Any
    suffix: str = ""


class Draft:
    """A checkpoint while it is being changed: its opcodes, and the other entries."""

    def __init__(self, rng: random.Random, seed: Seed) -> None:
        self.rng = rng
        with zipfile.ZipFile(io.BytesIO(seed.data)) as archive:
            self.entries = {info.filename: archive.read(info) for info in archive.infolist()}
        self.name = next(name for name in self.entries if name.endswith("/data.pkl"))
        content = self.entries[self.name]
        found = list(pickletools.genops(content))
        ends = [position for _, _, position in found[1:]] + [len(content)]
        self.ops = [(op.name, arg, content[at:end]) for (op, arg, at), end in zip(found, ends, strict=True)]

    def packed(self) -> bytes:
        """The archive."""
        self.entries[self.name] = b"".join(code for _, _, code in self.ops)
        stream = io.BytesIO()
        method = zipfile.ZIP_STORED if self.rng.random() < 0.98 else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(stream, "w", method) as archive:
            for name, content in self.entries.items():
                archive.writestr(name, content)
        return stream.getvalue()


# Changes -----------------------------------------------------------------------------------------


def argument(d: Draft) -> None:
    """The argument of one opcode: a number, a text, a name, or an index of the memo."""
    at = d.rng.choice([i for i, (_, arg, _) in enumerate(d.ops) if arg is not None] or [0])
    name, arg, _ = d.ops[at]
    if name == "GLOBAL":
        d.ops[at] = (name, arg, b"c" + d.rng.choice(GLOBALS).replace(" ", "\n").encode() + b"\n")
    elif name.endswith(("PUT", "GET")):
        code = b"r" if name.endswith("PUT") else b"j"
        d.ops[at] = (name, arg, code + struct.pack("<I", abs(values.integer(d.rng, arg)) % 2**32))
    elif isinstance(arg, str):
        texts = ("", "x", "weight", "bias", "weight_ih_l0", "state_dict", "cuda:0", "storage", arg + "0", "a" * 300)
        d.ops[at] = (name, arg, _text(d.rng.choice(texts)))
    elif isinstance(arg, int):
        d.ops[at] = (name, arg, _number(values.integer(d.rng, arg)))


def number(d: Draft) -> None:
    """One of the integers: most are sizes, strides and offsets."""
    at = [i for i, (name, _, _) in enumerate(d.ops) if name.startswith("BININT")]
    if at:
        i = d.rng.choice(at)
        d.ops[i] = (d.ops[i][0], d.ops[i][1], _number(values.integer(d.rng, d.ops[i][1])))


def text(d: Draft) -> None:
    """One of the texts becomes another of them, or another key of a layer."""
    at = [i for i, (name, _, _) in enumerate(d.ops) if name == "BINUNICODE"]
    if at:
        other = d.ops[d.rng.choice(at)][1]
        more = (other.replace("_l0", "_l1"), other.replace("bias", "weight"), f"0.{other}", other.split(".")[-1])
        d.ops[d.rng.choice(at)] = ("BINUNICODE", other, _text(d.rng.choice((other, *more))))


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def opcodes(d: Draft) -> None:
    """Opcodes exchanged, repeated, gone, or put in."""
    i, j, which = d.rng.randrange(len(d.ops)), d.rng.randrange(len(d.ops)), d.rng.random()
    if which < 0.2:
        d.ops[i], d.ops[j] = d.ops[j], d.ops[i]
    elif which < 0.4:
        low, high = sorted((i, j))
        d.ops[low:low] = d.ops[low : min(high, low + 12)] * d.rng.choice((1, 1, 30))
    elif which < 0.6:
        del d.ops[i]
    elif which < 0.9:
        d.ops.insert(i, ("NEW", None, d.rng.choice(CODES)))
    else:
        d.ops[i:i] = [("NEW", None, d.rng.choice((b"(", b"]", b"\x85")))] * d.rng.choice((3, 300, 30_000))


def storage(d: Draft) -> None:
    """The bytes of a storage: numbers, or how many."""
    names = [name for name in d.entries if "/data/" in name]
    if not names:
        return
    name, which = d.rng.choice(names), d.rng.random()
    content = bytearray(d.entries[name])
    if which < 0.6 and len(content) >= 4:
        at = d.rng.randrange(len(content) // 4) * 4
        content[at : at + 4] = struct.pack("<f", min(3e38, max(-3e38, values.number(d.rng, 1.0))))
    elif which < 0.8:
        del content[d.rng.randrange(len(content) + 1) :]
    else:
        content = content * 2
    d.entries[name] = bytes(content)


def entry(d: Draft) -> None:
    """An entry renamed, gone, or added."""
    name, which = d.rng.choice(list(d.entries)), d.rng.random()
    root = d.name.removesuffix("/data.pkl")
    other = f"{d.rng.choice((root, 'x', '..'))}/{d.rng.choice(ENTRIES)}"
    if which < 0.4 and name != d.name:
        d.entries[other] = d.entries.pop(name)
    elif which < 0.6 and name != d.name:
        del d.entries[name]
    elif other != d.name:
        d.entries[other] = d.rng.choice((b"", b"big", b"little", b"1", bytes(100)))


def nothing(d: Draft) -> None:
    """A sound file."""


CHANGES: tuple[tuple[int, Callable[[Draft], None]], ...] = (
    (20, argument), (25, number), (20, text), (15, opcodes), (12, storage), (5, entry), (2, nothing),
)  # fmt: skip
WEIGHTS = tuple(weight for weight, _ in CHANGES)


# The runner calls these ---------------------------------------------------------------------------


def seeds() -> list[Seed]:
    """The golden checkpoints, which torch wrote."""
    cases = [*((case, layers) for case, (layers, _) in CASES.items()), *((case, None) for case in PLAIN)]
    zipped = [Seed((FILES / f"{case}.pt").read_bytes(), layers) for case, layers in cases]
    return [*zipped, *_others()]


def _others() -> list[Seed]:
    """The format before zip, a plain pickle of arrays, and an archive of NumPy."""
    arrays = read_checkpoint(FILES / "gru.pt")
    archive = io.BytesIO()
    np.savez(archive, **arrays)
    plain = pickle.dumps({"params": {name: np.array(a) for name, a in arrays.items()}}, protocol=4)
    legacy = (FILES / "legacy.pth").read_bytes()
    return [Seed(legacy, None, ".pth"), Seed(plain, None, ".pkl"), Seed(archive.getvalue(), None, ".npz")]


def mutate(rng: random.Random, seed: Seed) -> Mutant:
    """A checkpoint with one to three changes of its structure, or of its bytes."""
    layers = seed.like if rng.random() < 0.9 else rng.choice(LIKES)
    options = {} if layers is None else {"like": layers}
    suffix = rng.choice((".pt", ".pth"))
    if seed.suffix:
        return Mutant(flipped(seed.data, rng), seed.suffix, options, damaged=True)
    if rng.random() < 0.08:
        return Mutant(flipped(seed.data, rng), suffix, options, damaged=True)
    draft = Draft(rng, seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        (change,) = rng.choices(CHANGES, WEIGHTS)
        change[1](draft)
    return Mutant(draft.packed(), suffix, options)
