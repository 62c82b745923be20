"""Mutants of safetensors files: names, types, shapes and offsets of the header, the numbers, and their bytes."""

from __future__ import annotations

import json
import random
import struct
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save as serialized

from fastgru.layers import GRU, LSTM, BatchNorm, Dense, Embedding, LayerNorm, like

from . import files, values
from .files import Mutant, flipped

save, attempt = files.save, files.attempt
DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "BOOL", "F8_E5M2", "F4", "C64", "", "f32")
NAMES = (
    "",
    "weight",
    "bias",
    "rnn.weight_ih_l0",
    "rnn.weight_hh_l1",
    "rnn.weight_ih_l0_reverse",
    "__metadata__",
    "a" * 300,
    "é",
)


class Seed(NamedTuple):
    """The header and the numbers of a file, and the layers that it is converted with."""

    header: str
    data: bytes
    like: Any


def _w(*shape: int) -> Any:
    return (np.random.default_rng(sum(shape)).normal(size=shape) / 2).astype(np.float32)


def _recurrent(gates: int, name: str, inputs: int = 4, hidden: int = 3, suffix: str = "_l0") -> dict[str, Any]:
    rows = gates * hidden
    return {f"{name}.weight_ih{suffix}": _w(rows, inputs), f"{name}.weight_hh{suffix}": _w(rows, hidden),
            f"{name}.bias_ih{suffix}": _w(rows), f"{name}.bias_hh{suffix}": _w(rows)}  # fmt: skip


def _models() -> list[tuple[dict[str, Any], Any]]:
    dense = {"head.weight": _w(2, 3), "head.bias": _w(2)}
    norm = {"norm.weight": _w(3), "norm.bias": _w(3)}
    batch = {f"norm.{name}": np.abs(_w(3)) + 0.5 for name in ("weight", "bias", "running_mean", "running_var")}
    both = {**_recurrent(4, "rnn"), **_recurrent(4, "rnn", suffix="_l0_reverse")}
    deep = {**_recurrent(3, "rnn"), **_recurrent(3, "rnn", inputs=3, suffix="_l1")}
    return [
        (_recurrent(3, "rnn"), None), (both, None), (deep, None), (dense, None),
        ({**_recurrent(3, "rnn"), **dense}, [like(GRU, name="rnn"), like(Dense, name="head", activation="tanh")]),
        ({**_recurrent(4, "rnn"), **norm}, [like(LSTM, name="rnn"), like(LayerNorm, name="norm")]),
        ({**_recurrent(3, "rnn"), **batch}, [like(GRU, name="rnn"), like(BatchNorm, name="norm")]),
        ({"table.weight": _w(7, 4), **_recurrent(3, "rnn")}, [like(Embedding, name="table"), like(GRU, name="rnn")]),
    ]  # fmt: skip


def seeds() -> list[Seed]:
    """Small state_dicts."""
    found = []
    for arrays, layers in _models():
        data = serialized(arrays)
        (length,) = struct.unpack("<Q", data[:8])
        found.append(Seed(data[8 : 8 + length].decode(), data[8 + length :], layers))
    return found


def changed(header: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One entry's name, type, shape or offsets, or an entry more or fewer."""
    name, which = rng.choice(list(header)), rng.random()
    item = header[name]
    if which < 0.2:
        header[rng.choice((*NAMES, name.replace("ih", "hh"), name + "_l1"))] = header.pop(name)
    elif which < 0.3:
        del header[name]
    elif which < 0.4:
        header[rng.choice(NAMES)] = json.loads(json.dumps(rng.choice((item, {"a": "b"}, None))))
    elif isinstance(item, dict) and item:
        key = rng.choice(list(item))
        item[key] = values.changed(rng, item[key], DTYPES)
        if key == "shape" and rng.random() < 0.5:
            item["shape"] = item["shape"][::-1] if isinstance(item["shape"], list) else [-1]
    return header


def reshaped(header: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The shape and type of an entry, of as many bytes as before."""
    item = rng.choice(list(header.values()))
    count = int(np.prod(item["shape"]))
    width = rng.choice((1, 1, 2, 3))
    if count % width == 0:
        item["shape"] = rng.choice(
            ([width, count // width], [count // width, width], [count], [1, count, 1], [0, count])
        )
    if rng.random() < 0.2:
        item["dtype"] = rng.choice(("I32", "U32"))
    return header


def mutate(rng: random.Random, seed: Seed) -> Mutant:
    """A file with one to three changes of its header or numbers, or of its bytes."""
    header, data = json.loads(seed.header), bytearray(seed.data)
    options = {"like": seed.like} if seed.like is not None and rng.random() < 0.9 else {}
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        try:
            header = rng.choice((changed, reshaped))(header, rng)
        except (KeyError, IndexError, TypeError, AttributeError):  # an earlier change took away what this one is of
            continue
    if rng.random() < 0.4:
        at = rng.randrange(len(data) // 4) * 4
        data[at : at + 4] = struct.pack("<f", min(3e38, max(-3e38, values.number(rng, 1.0))))
    text = json.dumps(header).encode()
    if rng.random() < 0.02:
        text = b"[" * rng.choice((10, 100_000)) + text
    text += b" " * (-len(text) % 8)
    whole = struct.pack("<Q", len(text)) + text + bytes(data)
    damaged = rng.random() < 0.1
    return Mutant(flipped(whole, rng) if damaged else whole, ".safetensors", options, damaged=damaged)
