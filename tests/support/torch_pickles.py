"""Checkpoints written opcode by opcode, so that a test can write what torch never would."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

GLOBAL_TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    encoded = pickle.encode_long(value)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(kind: str = "FloatStorage", key: str = "0", count: int = 6) -> bytes:
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, stored: bytes | None = None) -> bytes:
    stored = storage() if stored is None else stored
    return GLOBAL_TENSOR + b"(" + stored + number(offset) + numbers(*shape) + numbers(*strides) + b"\x89}tR"


def write(
    path: Path, body: bytes, *, data: bytes = bytes(24), compression: int = zipfile.ZIP_STORED, **entries: bytes
) -> Path:
    """A checkpoint with `body` as its pickle and one storage."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
        archive.writestr("archive/data/0", data)
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return path


# name -> (pickle, what the refusal says)
SKIPPED = "left out, unread"
OUTSIDE = "must lie inside its storage of 6 elements"
BODIES: dict[str, tuple[bytes, str]] = {
    "eval": (b"c__builtin__\neval\n" + b"(" + text("1") + b"tR", SKIPPED),
    "numpy": (b"cnumpy\nload\n(tR", SKIPPED),
    "dotted": (b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n)R", SKIPPED),
    "stack global": (text("os") + text("system") + b"\x93)R", SKIPPED),
    "instance": (b"(i__main__\nEvil\n", SKIPPED),
    "new object": (b"ccollections\nOrderedDict\n)\x81", SKIPPED),
    "extension": (b"\x82\x01", SKIPPED),
    "long string": (b"T\xff\xff\xff\x7fabc", "cannot be read"),
    "huge text": (b"\x8d" + b"\xff" * 7 + b"\x00abc", "cannot be read"),
    "huge bytearray": (b"\x96" + b"\xff" * 6 + b"\x00\x00abc", "cannot be read"),
    "huge memo": (b"}r\xff\xff\xff\xff", SKIPPED),
    "no stop": (b"", "cannot be read"),
    "two results": (b"}}", "cannot be read"),
    "mark result": (b"(", "must hold tensors, got Mark"),
    "storage result": (storage(), "must hold tensors, got Storage"),
    "pop nothing": (b"\x85", "a stack that is too short"),
    "no mark": (b"t", "must be well formed"),
    "no memo": (b"h\x07", "must be well formed"),
    "mark in tuple": (b"(\x85", "a stack that is too short"),
    "items for a list": (b"]" + text("a") + text("b") + b"s", "items for a list"),
    "odd items": (b"}(" + text("a") + b"u", "items for a dict"),
    "append to a dict": (b"}" + text("a") + b"a", "items for a dict"),
    "tuple as a key": (b"}))s", SKIPPED),
    "list as a key": (b"}](s", "a stack that is too short"),
    "attributes of a function": (GLOBAL_TENSOR + b"}b", "attributes of a Global"),
    "call of text": (text("a") + b")R", "a call of 'a'"),
    "call of a storage class": (b"ctorch\nFloatStorage\n)R", SKIPPED),
    "call without arguments": (GLOBAL_TENSOR + b")R", "must be well formed"),
    "call with a list": (b"ccollections\nOrderedDict\n]R", "a call of"),
    "ordered dict of pairs": (b"ccollections\nOrderedDict\n(]]atR", SKIPPED),
    "parameter of text": (b"ctorch._utils\n_rebuild_parameter\n(" + text("a") + b"\x88}tR", "a parameter without"),
    "size of text": (b"ctorch\nSize\n(" + text("a") + b"tR", "a torch.Size without a tuple"),
    "tensor of text": (tensor((1,), (1,), stored=text("a")), "a tensor without storage"),
    "persistent text": (text("a") + b"Q", "a persistent id that is no storage"),
    "complex": (tensor((9,), (9,), stored=storage("ComplexFloatStorage")), SKIPPED),
    "storage of a dtype": (storage("float32"), "a storage that is not described"),
    "storage elsewhere": (storage(key="7"), "must hold the entry 'data/7'"),
    "storage above": (storage(key="../data.pkl"), "must hold the entry"),
    "storage too large": (storage(count=7), "must be a FloatStorage of 7 elements, got FloatStorage of 6"),
    "storage huge": (storage(count=2**62), "got FloatStorage of 6"),
    "storage negative": (storage(count=-1), "a storage that is not described"),
    "storage as two types": (storage() + storage("LongStorage", count=1) + b"\x86", "must be a FloatStorage of 1"),
    "shape too long": (tensor((7,), (1,)), OUTSIDE),
    "stride too long": (tensor((2, 3), (4, 1)), OUTSIDE),
    "offset": (tensor((6,), (1,), 1), OUTSIDE),
    "huge stride": (tensor((2,), (2**61,)), OUTSIDE),
    "huge offset": (tensor((1,), (1,), 2**61), OUTSIDE),
    "overflow": (tensor((2, 2), (2**63, 2**63)), "must be at most 32 counts each"),
    "negative stride": (tensor((2,), (-1,), 1), "must be at most 32 counts each"),
    "negative offset": (tensor((2,), (1,), -1), "must be at most 32 counts each"),
    "negative shape": (tensor((-1,), (1,)), "must be at most 32 counts each"),
    "strides missing": (tensor((2, 3), (1,)), "must be at most 32 counts each"),
    "many axes": (tensor((1,) * 33, (1,) * 33), "must be at most 32 counts each"),
    "expanded without bound": (tensor((2**20, 2**20), (0, 0)), "must fit its size"),
    "empty without bound": (tensor((0, 2**40), (0, 0)), "must fit its size"),
    "expanded often": (b"(" + tensor((2**20,), (0,)) * 5 + b"t", "must fit its size"),
    "text as offset": (GLOBAL_TENSOR + b"(" + storage() + text("a") + numbers(1) * 2 + b"tR", "must be at most"),
}
