"""Mutants of ONNX files: attributes, types, names, shapes, wires, tensors, and their bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fastgru.converters.onnx import oracle
from fastgru.converters.onnx.operators import OPERATORS

from . import files, values
from .files import FRAMEWORK, Mutant, flipped
from .onnx_seeds import seed_models

save = files.save
KINDS = sorted({kind for _, kind in OPERATORS} | {s.name for s in onnx.defs.get_all_schemas() if not s.deprecated})
TEXTS = ("", "x", "y", "reverse", "bidirectional", "SAME_UPPER", "SAME_LOWER", "VALID", "Sigmoid", "Affine", "linear",
         "cubic", "nearest", "bti,io->bto", "i->", "...a,ab->...b", "a" * 300, "ii->i", "edge",
         "reflect", "wrap")  # fmt: skip
DTYPES = ("float32", "float64", "int64", "int32", "int8", "uint8", "bool", "float16")


class Seed(NamedTuple):
    """A model as bytes, so that a copy is a parse, and the nodes of all seeds with their constants."""

    data: bytes
    donors: list[tuple[NodeProto, list[TensorProto]]]


class Draft:
    """A model while it is being changed."""

    def __init__(self, rng: random.Random, seed: Seed) -> None:
        self.rng, self.donors = rng, seed.donors
        self.proto = ModelProto.FromString(seed.data)

    @property
    def graph(self) -> GraphProto:
        """The graph, or one inside it."""
        inner = [a.g for n in self.proto.graph.node for a in n.attribute if a.type == AttributeProto.GRAPH]
        return self.rng.choice(inner) if inner and self.rng.random() < 0.2 else self.proto.graph

    @property
    def node(self) -> NodeProto:
        """A node, most often of the graph."""
        inside = [n for f in self.proto.functions for n in f.node]
        nodes = inside if inside and self.rng.random() < 0.1 else self.graph.node or self.proto.graph.node
        return self.rng.choice(nodes) if nodes else self.proto.graph.node.add()

    def names(self) -> list[str]:
        """All values."""
        graph = self.proto.graph
        found = [v.name for v in graph.input] + [t.name for t in graph.initializer]
        return found + [name for n in graph.node for name in n.output] or [""]


def attribute(d: Draft) -> None:
    """One attribute of a node: its value, its name, or whether it is there."""
    n, rng = d.node, d.rng
    if not n.attribute or rng.random() < 0.15:
        _foreign_attribute(d, n)
        return
    a = rng.choice(n.attribute)
    which = rng.random()
    if which < 0.1:
        n.attribute.remove(a)
    elif which < 0.15:
        a.name = rng.choice(("axis", "axes", "perm", "alpha", "mode", "value", ""))
    elif which < 0.2:
        a.type = rng.choice(AttributeProto.AttributeType.values())
    else:
        _change(a, rng)


def _foreign_attribute(d: Draft, n: NodeProto) -> None:
    """An attribute of the operator that the node does not have."""
    try:
        known = onnx.defs.get_schema(n.op_type, 17).attributes
    except onnx.defs.SchemaError:
        known = {}
    name = d.rng.choice([*known, "axis", "keepdims", "direction"])
    value = d.rng.choice((values.integer(d.rng, 1), [values.integer(d.rng, 1) for _ in range(d.rng.randrange(1, 4))],
                          values.number(d.rng, 1.0), d.rng.choice(TEXTS)))  # fmt: skip
    if isinstance(value, list):
        value = [_fit(v) for v in value]
    n.attribute.append(helper.make_attribute(name, _fit(value) if isinstance(value, int) else value))


def _fit(number: int) -> int:
    return max(-(2**63), min(2**63 - 1, number))


def _change(a: AttributeProto, rng: random.Random) -> None:
    kind = AttributeProto.AttributeType.Name(a.type)
    if kind == "INT":
        a.i = _fit(values.integer(rng, a.i))
    elif kind == "FLOAT":
        a.f = float(np.float32(max(-3e38, min(3e38, values.number(rng, a.f)))))
    elif kind == "STRING":
        a.s = rng.choice((*[t.encode() for t in TEXTS], b"\xff"))
    elif kind == "INTS":
        a.ints[:] = _list(list(a.ints), rng, lambda v: _fit(values.integer(rng, v)))
    elif kind == "FLOATS":
        a.floats[:] = _list(list(a.floats), rng, lambda v: v * 2)
    elif kind == "STRINGS":
        a.strings[:] = _list(list(a.strings), rng, lambda _: rng.choice(TEXTS).encode())
    elif kind == "TENSOR":
        _spoil(a.t, rng)


def _list(old: list[Any], rng: random.Random, change: Callable[[Any], Any]) -> list[Any]:
    which = rng.randrange(5)
    if which == 0 and old:
        del old[rng.randrange(len(old))]
    elif which == 1 and old:
        old.insert(rng.randrange(len(old)), rng.choice(old))
    elif which == 2:
        rng.shuffle(old)
    elif old:
        i = rng.randrange(len(old))
        old[i] = change(old[i])
    return old


def kind(d: Draft) -> None:
    """Another operator."""
    n = d.node
    n.op_type = d.rng.choice(KINDS)
    if d.rng.random() < 0.05:
        n.domain = d.rng.choice(("own", "com.microsoft", "ai.onnx", "ai.onnx.ml", "x"))


def rewire(d: Draft) -> None:
    """Another value as an input of a node, or one more or fewer; or another name of an output."""
    n, rng = d.node, d.rng
    which = rng.random()
    if which < 0.2 or not n.input:
        n.input.append(rng.choice((*d.names(), "")))
    elif which < 0.35:
        n.input.pop()
    elif which < 0.45 and n.output:
        n.output[rng.randrange(len(n.output))] = rng.choice((*d.names(), "", "new"))
    else:
        n.input[rng.randrange(len(n.input))] = rng.choice((*d.names(), ""))


def order(d: Draft) -> None:
    """Two nodes exchanged, one repeated under other names, or one gone."""
    nodes, rng = d.graph.node, d.rng
    if not nodes:
        return
    i, j, which = rng.randrange(len(nodes)), rng.randrange(len(nodes)), rng.random()
    copies = [NodeProto.FromString(n.SerializeToString()) for n in nodes]
    if which < 0.3:
        copies[i], copies[j] = copies[j], copies[i]
    elif which < 0.6:
        copies.insert(j, NodeProto.FromString(copies[i].SerializeToString()))
    else:
        del copies[i]
    del nodes[:]
    nodes.extend(copies)


def graft(d: Draft) -> None:
    """A node of another seed with its constants, reading values of this one; its outputs become outputs."""
    donor, constants = d.rng.choice(d.donors)
    n, names = NodeProto.FromString(donor.SerializeToString()), d.names()
    tag = f"_{d.rng.randrange(1000)}"
    own = {t.name for t in constants}
    for t in constants:
        copy = d.proto.graph.initializer.add()
        copy.CopyFrom(t)
        copy.name += tag
    n.input[:] = [name + tag if name in own else d.rng.choice(names) if name else "" for name in donor.input]
    n.output[:] = [name + tag if name else "" for name in donor.output]
    d.proto.graph.node.append(n)
    if d.rng.random() < 0.7:
        del d.proto.graph.output[:]
    d.proto.graph.output.append(helper.make_tensor_value_info(n.output[0], TensorProto.FLOAT, None))


def grafts(d: Draft) -> None:
    """Several nodes."""
    for _ in range(d.rng.randint(2, 4)):
        graft(d)


def ends(d: Draft) -> None:
    """Shape, type or name of an input or output; or another output."""
    rng = d.rng
    if rng.random() < 0.3:
        d.proto.graph.output.append(helper.make_tensor_value_info(rng.choice(d.names()), TensorProto.FLOAT, None))
        return
    v = rng.choice([*d.proto.graph.input, *d.proto.graph.output])
    t, which = v.type.tensor_type, rng.random()
    if which < 0.1:
        v.name = rng.choice(d.names())
    elif which < 0.2:
        v.type.ClearField("value")
    elif which < 0.35:
        t.elem_type = rng.choice((*TensorProto.DataType.values(), 99))
    elif which < 0.4:
        t.ClearField("shape")
    elif which < 0.6 or not t.shape.dim:
        t.shape.dim.add().dim_value = rng.choice((1, 2, 3))
    elif which < 0.7:
        del t.shape.dim[-1]
    else:
        _dim(rng.choice(t.shape.dim), rng)


def _dim(dim: Any, rng: random.Random) -> None:
    if rng.random() < 0.6:
        dim.dim_value = _fit(values.integer(rng, dim.dim_value or 1))
    else:
        dim.dim_param = rng.choice(("B", "T", "N", "T + 1", "2*T", "T // 2", "", "floor(T/2)", "(" * 100))


def tensor(d: Draft) -> None:
    """An initializer."""
    if d.proto.graph.initializer:
        _spoil(d.rng.choice(d.proto.graph.initializer), d.rng)


def _spoil(t: TensorProto, rng: random.Random) -> None:
    """Change numbers, sizes, type or place of a tensor."""
    which, name = rng.random(), t.name
    if which < 0.5:
        array = numpy_helper.to_array(t).copy()
        t.CopyFrom(numpy_helper.from_array(_changed(array, rng), name))
    elif which < 0.6:
        array = numpy_helper.to_array(t)
        with np.errstate(all="ignore"):
            other = array.astype(
                rng.choice(("float32", "float64", "int64", "int32", "int8", "uint8", "bool", "float16"))
            )
        t.CopyFrom(numpy_helper.from_array(other, name))
    elif which < 0.75:
        t.dims[:] = _list(list(t.dims) or [1], rng, lambda v: _fit(values.integer(rng, v)))
    elif which < 0.8:
        t.data_type = rng.choice((*TensorProto.DataType.values(), 99))
    elif which < 0.85:
        t.raw_data = t.raw_data[: rng.randrange(len(t.raw_data) + 1)]
    elif which < 0.9:
        t.data_location = TensorProto.EXTERNAL
        for key, value in (("location", rng.choice(("", "/dev/zero", "../x", "a\0b", "."))), ("offset", "-1")):
            entry = t.external_data.add()
            entry.key, entry.value = key, value
    else:
        array = numpy_helper.to_array(t)
        axis = rng.randrange(array.ndim) if array.ndim else 0
        array = np.concatenate([np.atleast_1d(array)] * 2, axis)
        t.CopyFrom(numpy_helper.from_array(array, name))


def _changed(array: Any, rng: random.Random) -> Any:
    if not array.size:
        return array
    flat = array.reshape(-1)
    for _ in range(rng.choice((1, 1, 3))):
        i = rng.randrange(flat.size)
        with np.errstate(all="ignore"):
            if array.dtype.kind == "f":
                flat[i] = np.float64(values.number(rng, float(flat[i]))).astype(array.dtype)
            elif array.dtype.kind == "b":
                flat[i] = not flat[i]
            elif array.dtype.kind in "iu":
                limits = np.iinfo(array.dtype)
                flat[i] = max(limits.min, min(limits.max, values.integer(rng, int(flat[i]))))
    return array


def versions(d: Draft) -> None:
    """Versions of operator sets, the file's format, and functions."""
    which = d.rng.random()
    if which < 0.6:
        d.rng.choice(d.proto.opset_import).version = d.rng.choice((*range(-1, 28), 2**40))
    elif which < 0.7:
        d.proto.ir_version = d.rng.choice((0, 1, 3, 7, 12, 99))
    elif d.proto.functions:
        f = d.rng.choice(d.proto.functions)
        f.name = d.rng.choice(("Double", "Tanh", "Add"))
        f.node.append(helper.make_node("Double", ["b"], ["c"], domain="own"))
    else:
        d.proto.opset_import.append(helper.make_opsetid(d.rng.choice(("", "own", "com.microsoft")), 1))


def nothing(d: Draft) -> None:
    """A sound file."""


CHANGES: tuple[tuple[int, Callable[[Draft], None]], ...] = (
    (24, attribute), (8, kind), (12, rewire), (5, order), (14, graft), (6, grafts), (8, ends), (20, tensor),
    (3, versions), (1, nothing),
)  # fmt: skip
WEIGHTS = tuple(weight for weight, _ in CHANGES)


def seeds() -> list[Seed]:
    """The models, and what can be taken from one to the other."""
    protos, donors = seed_models(), []
    for proto in protos:
        constants = {t.name: t for t in proto.graph.initializer}
        donors += [(n, [constants[i] for i in n.input if i in constants]) for n in proto.graph.node]
    return [Seed(proto.SerializeToString(), donors) for proto in protos]


def mutate(rng: random.Random, seed: Seed) -> Mutant:
    """A model with one to three changes of its structure, or of its bytes."""
    framework = rng.random() < FRAMEWORK
    if rng.random() < 0.08:
        return Mutant(flipped(seed.data, rng), ".onnx", {}, framework, True)
    draft = Draft(rng, seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        (change,) = rng.choices(CHANGES, WEIGHTS)
        try:
            change[1](draft)
        except (ValueError, TypeError, KeyError, IndexError):  # of a tensor that an earlier change spoilt
            continue
    data: bytes = draft.proto.SerializeToString()
    options: dict[str, Any] = {}
    if rng.random() < 0.1:
        names = [v.name for v in draft.proto.graph.input]
        options = rng.choice(
            ({"shapes": {n: [2, 3, 4] for n in names}}, {"states": {}}, {"fix": dict.fromkeys(names, 1)})
        )
    return Mutant(data, ".onnx", options, framework)


def _unasked(*_: Any) -> tuple[None, None, str]:
    return None, None, "not asked"


def attempt(mutant: Mutant) -> bool:
    """Convert and exercise a mutant; ONNX Runtime is asked about some."""
    if mutant.framework:
        return files.attempt(mutant)
    with mock.patch.object(oracle, "oracles", _unasked):
        return files.attempt(mutant)
