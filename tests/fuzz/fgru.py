"""Mutants of .fgru files: their structure, with a correct checksum most often, and their bytes."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import fastgru

from . import values
from .exercise import exercise, temporary
from .seed_graphs import seed_files

CODES = {"float32": "F32", "float64": "F64", "int64": "I64", "float16": "F16", "uint16": "U16", "int8": "I8",
         "uint8": "U8", "int32": "I32", "bool": "BOOL"}  # fmt: skip


class Content(NamedTuple):
    """A file taken apart: the JSON header as text, so that a copy is a parse, and the tensors."""

    text: str
    tensors: dict[str, Any]
    donors: Sequence[tuple[dict[str, Any], dict[str, Any]]]  # nodes of all seeds, and the tensors of each


class Draft:
    """A file while it is being changed."""

    def __init__(self, rng: random.Random, seed: Content) -> None:
        self.rng, self.donors = rng, seed.donors
        self.header: dict[str, Any] = json.loads(seed.text)
        self.tensors = dict(seed.tensors)

    @property
    def graph(self) -> dict[str, Any]:
        """The graph of the header."""
        return self.header["graph"]

    @property
    def node(self) -> dict[str, Any]:
        """One of the nodes."""
        return self.rng.choice(self.graph["nodes"])

    def values(self) -> list[str]:
        """The names of all values."""
        names = [item["name"] for item in self.graph["inputs"]]
        return names + [name for node in self.graph["nodes"] for name in node["outputs"]]

    def without_test(self) -> None:
        """Drop the self-test, which no longer fits."""
        if self.header["self_test"] is not None:
            self.header["self_test"] = None
            self.tensors = {n: a for n, a in self.tensors.items() if not n.startswith("self_test.")}


# Changes -----------------------------------------------------------------------------------------


def attribute(d: Draft) -> None:
    """One attribute of a node."""
    fields = d.node["attributes"]
    if not fields:
        return
    name = d.rng.choice(list(fields))
    fields[name] = values.changed(d.rng, fields[name])
    if d.rng.random() < 0.6:
        d.without_test()


def hidden_attribute(d: Draft) -> None:
    """An attribute that files leave out at its default, or one that the op does not have."""
    name, value = d.rng.choice((
        ("precision", "int8"), ("precision", "bfloat16"), ("scan", True), ("operands", ["lengths"]),
        ("operands", ["initial_h"]), ("axis", 0), ("axis", -1), ("skip", values.integer(d.rng, 1)),
        ("tail", values.integer(d.rng, 0)), ("outside", "reflect"), ("outside", "edge"), ("odd", 1),
    ))  # fmt: skip
    d.node["attributes"][name] = value
    d.without_test()


def function(d: Draft) -> None:
    """Another function, mode or activation, most often one that there is."""
    names = {
        "function": [*fastgru.graph.UNARY, *fastgru.graph.BINARY, *fastgru.graph.REDUCTIONS, "argmin", "l2"],
        "mode": ["max", "average", "constant", "reflect", "edge", "wrap"],
        "dtype": ["float", "int", "bool"], "to": ["float", "int", "bool"], "outside": ["value", "edge", "reflect"],
    }  # fmt: skip
    fields = d.node["attributes"]
    for name, value in fields.items():
        if name in names:
            fields[name] = d.rng.choice(names[name])
        elif isinstance(value, dict):
            fields[name] = {"name": d.rng.choice([*fastgru.graph.ACTIVATIONS, "softmax"]), "alpha": None, "beta": None}
    d.without_test()


def kind(d: Draft) -> None:
    """Another op, with its own fields or with those of the old one."""
    d.node["op"] = d.rng.choice([*fastgru.graph.OPS])


def rewire(d: Draft) -> None:
    """Another value as the input of a node, or one more or fewer."""
    inputs, names = d.node["inputs"], d.values()
    which = d.rng.random()
    if which < 0.2 or not inputs:
        inputs.insert(d.rng.randint(0, len(inputs)), d.rng.choice(names))
    elif which < 0.3:
        inputs.pop()
    else:
        inputs[d.rng.randrange(len(inputs))] = d.rng.choice(names)
    d.without_test()


def outputs(d: Draft) -> None:
    """Other outputs."""
    names = d.values()
    d.graph["outputs"] = [d.rng.choice(names) for _ in range(d.rng.randint(1, 3))]
    d.without_test()


def order(d: Draft) -> None:
    """Two nodes exchanged, one repeated, or one gone."""
    nodes, which = d.graph["nodes"], d.rng.random()
    i, j = d.rng.randrange(len(nodes)), d.rng.randrange(len(nodes))
    if which < 0.3:
        nodes[i], nodes[j] = nodes[j], nodes[i]
    elif which < 0.6:
        nodes.insert(j, json.loads(json.dumps(nodes[i])))
    else:
        del nodes[i]


def graft(d: Draft) -> None:
    """A node of another seed, reading values of this one."""
    node, tensors = d.rng.choice(d.donors)
    node, names = json.loads(json.dumps(node)), d.values()
    tag = f"_{len(d.graph['nodes'])}{d.rng.randrange(100)}"
    node["name"] += tag
    if d.rng.random() < 0.8 or not all(name in d.tensors for name in node["weights"].values()):
        node["weights"] = {key: name + tag for key, name in node["weights"].items()}
        d.tensors.update({name + tag: array for name, array in tensors.items()})
    elif node["weights"]:  # the tensors of a node that is there
        d.header["format_version"] = 2
    node["inputs"] = [d.rng.choice(names[-3:]) for _ in node["inputs"]]
    node["outputs"] = [name + tag for name in node["outputs"]]
    d.graph["nodes"].append(node)
    if node["op"] == "state":
        d.graph.setdefault("feedback", {})[node["outputs"][0]] = d.rng.choice(d.values())
    d.graph["outputs"] = d.rng.choice((node["outputs"], d.graph["outputs"] + node["outputs"]))
    d.without_test()


def grafts(d: Draft) -> None:
    """Several nodes."""
    for _ in range(d.rng.randint(2, 5)):
        graft(d)


def feedback(d: Draft) -> None:
    """Other values fed back."""
    fed, names = d.graph.setdefault("feedback", {}), d.values()
    fed[d.rng.choice(list(fed) or names)] = d.rng.choice(names)


def input_(d: Draft) -> None:
    """Shape, time or dtype of an input."""
    if d.graph["inputs"]:
        item = d.rng.choice(d.graph["inputs"])
        key = d.rng.choice(("shape", "shape", "time", "dtype", "name"))
        item[key] = values.changed(d.rng, item[key], ("float", "int", "bool", "x", *d.values()))
        if d.rng.random() < 0.7:
            d.without_test()


def anything(d: Draft) -> None:
    """One value anywhere in the header."""
    holder: Any = d.header
    while True:
        key = d.rng.choice(range(len(holder)) if isinstance(holder, list) else list(holder))
        if not isinstance(holder[key], dict | list) or not holder[key] or d.rng.random() < 0.15:
            break
        holder = holder[key]
    holder[key] = values.changed(d.rng, holder[key])


def self_test(d: Draft) -> None:
    """The numbers of the self-test: ids out of range, NaN, other steps."""
    names = [name for name in d.tensors if name.startswith("self_test.")]
    if names:
        _spoil(d, d.rng.choice(names))


def tensor(d: Draft) -> None:
    """The numbers, the shape or the type of a tensor."""
    if d.tensors:
        _spoil(d, d.rng.choice(list(d.tensors)))
    if d.rng.random() < 0.5:
        d.without_test()


def _spoil(d: Draft, name: str) -> None:
    array, rng = d.tensors[name].copy(), d.rng
    which = rng.randrange(8)
    if which < 4 and array.size:
        flat = array.reshape(-1)
        extremes = values.FLOATS if array.dtype.kind == "f" else values.INTS
        for _ in range(rng.choice((1, 1, 3))):
            value = rng.choice(extremes)
            with np.errstate(all="ignore"):
                limits = None if array.dtype.kind == "f" else np.iinfo(array.dtype)
                value = value if limits is None else rng.choice((-1, 1)) * value
                flat[rng.randrange(array.size)] = value if limits is None else min(max(value, limits.min), limits.max)
    elif which == 4:
        with np.errstate(all="ignore"):
            array = array.astype(rng.choice(("float32", "float64", "int64", "float16", "int8", "uint16", "int32")))
    elif which == 5 and array.ndim:
        axis = rng.randrange(array.ndim)
        array = np.concatenate([array, array], axis) if rng.random() < 0.5 else array.take(range(1), axis)
    elif which == 6 and array.ndim > 1:
        array = np.ascontiguousarray(array.T)
    else:
        array = array.reshape(rng.choice(((-1,), (1, -1), (-1, 1))))
    d.tensors[name] = array


def share(d: Draft) -> None:
    """The tensor of one weight for another, most often in the version that allows it."""
    weights, others = d.node["weights"], d.node["weights"]
    if weights and others:
        key = d.rng.choice(list(weights))
        old, weights[key] = weights[key], d.rng.choice([*others.values(), d.rng.choice(list(d.tensors)), "nowhere"])
        if d.rng.random() < 0.7:
            d.tensors.pop(old, None)
    d.header["format_version"] = d.rng.choice((1, 2, 2, 2, 3))


def precision(d: Draft) -> None:
    """The dtype of the model."""
    d.header["options"]["dtype"] = d.rng.choice(("float64", "float32", "float16", 1))


def nothing(d: Draft) -> None:
    """A sound file."""


Change = Callable[[Draft], None]
CHANGES: tuple[tuple[int, Change], ...] = (
    (24, attribute), (3, hidden_attribute), (5, function), (2, kind), (6, rewire), (3, outputs), (4, order),
    (10, graft), (5, grafts), (2, feedback), (6, input_), (7, anything), (4, self_test), (10, tensor),
    (5, share), (1, precision), (1, nothing),
)  # fmt: skip
WEIGHTS = tuple(weight for weight, _ in CHANGES)


# The container -----------------------------------------------------------------------------------


def checksum(header: dict[str, Any], tensors: dict[str, Any]) -> int:
    """The CRC-32 of a file as `fastgru.files.fgru` defines it."""
    text = _dump({k: v for k, v in header.items() if k != "crc32"})
    crc = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        array = tensors[name]
        crc = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode("utf-8", "surrogatepass"), crc)
        crc = zlib.crc32(array.tobytes(), crc)
    return crc


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def packed(header: dict[str, Any], tensors: dict[str, Any], rng: random.Random) -> bytes:
    """The bytes of a file; in one of 40 with a table of tensors that lies."""
    at, table, parts = 0, {}, []
    for name, array in sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        data = array.tobytes()
        table[name] = {"dtype": CODES[array.dtype.name], "shape": [*array.shape], "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    outer: dict[str, Any] = {"__metadata__": {"fastgru": _dump(header)}, **table}
    if table and rng.random() < 0.025:
        entry = table[rng.choice(list(table))]
        key = rng.choice(list(entry))
        entry[key] = values.changed(rng, entry[key], (*CODES.values(), "F8"))
    text = json.dumps(outer, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def _flipped(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some of them changed, cut off, doubled or put in."""
    array = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, which = rng.randrange(len(array)), rng.random()
        if which < 0.6:
            array[at] = rng.randrange(256)
        elif which < 0.7:
            array[at : at + 8] = struct.pack("<Q", rng.choice((0, 1, 2**31, 2**32, 2**63, 2**64 - 1, len(data))))
        elif which < 0.8:
            del array[at : at + rng.randint(1, 64)]
        elif which < 0.9:
            array[at:at] = array[max(0, at - 16) : at]
        else:
            del array[at:]
        if not array:
            break
    return bytes(array)


# The runner calls these ---------------------------------------------------------------------------


def seeds() -> list[Content]:
    """Small models that have every op between them, taken apart."""
    files = [taken_apart(data) for data in seed_files()]
    donors = []
    for header, tensors in files:
        for node in header["graph"]["nodes"]:
            donors.append((node, {name: tensors[name] for name in node["weights"].values()}))
    return [Content(json.dumps(header), tensors, donors) for header, tensors in files]


def taken_apart(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON header and the tensors of a sound file."""
    from safetensors.numpy import load

    (length,) = struct.unpack("<Q", data[:8])
    outer = json.loads(data[8 : 8 + length])
    return json.loads(outer["__metadata__"]["fastgru"]), dict(sorted(load(data).items()))


def mutate(rng: random.Random, seed: Content) -> bytes:
    """A file with one to three changes of its structure, its checksum or its bytes."""
    draft = Draft(rng, seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        (change,) = rng.choices(CHANGES, WEIGHTS)
        try:
            change[1](draft)
        except (AttributeError, TypeError, KeyError, IndexError, ValueError):  # an earlier change left no such place
            continue
    header = draft.header
    if isinstance(header, dict) and rng.random() > 0.03:
        header["crc32"] = checksum(header, draft.tensors)
    data = packed(header, draft.tensors, rng)
    return _flipped(data, rng) if rng.random() < 0.04 else data


def attempt(mutant: bytes) -> bool:
    """Load a file, and run what it holds in every way."""
    path = temporary()
    path.write_bytes(mutant)
    model = fastgru.load(path)
    exercise(model, random.Random(zlib.crc32(mutant)))
    return True
