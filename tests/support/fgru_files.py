"""Graphs for files, and files whose headers or tensors are not what a writer makes."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from fastgru.checks import selftest
from fastgru.files import fgru
from fastgru.graph import (
    GRU,
    LSTM,
    RNN,
    Activate,
    Activation,
    Add,
    ApplyMask,
    Average,
    BatchNorm,
    Concat,
    Constant,
    Dense,
    Dropout,
    Embedding,
    Graph,
    GraphBuilder,
    LayerNorm,
    Mask,
    Multiply,
    Reshape,
    Reverse,
    Scaler,
    Spec,
    State,
    Where,
    chain,
)

RNG = np.random.default_rng(1)


def normal(*shape: int, dtype: str = "float32") -> Any:
    return RNG.normal(size=shape).astype(dtype)


def every_op() -> Graph:
    """A graph with every op on rows, every optional weight and no attribute at its default."""
    b = GraphBuilder()
    ids = b.input("ids", Spec((), dtype="int"))
    x = b.add(Embedding(normal(7, 4)), ids, name="émb.1")
    mask = b.add(Mask(0.0), ids)
    x = b.add(Dropout(0.25), x)
    x = b.add(LayerNorm(normal(4), normal(4), eps=1e-3), x)
    x = b.add(Scaler(normal(1, dtype="float64"), normal(4) ** 2 + 1), x)
    x = b.add(BatchNorm(normal(4), normal(4) ** 2, normal(4), normal(4), eps=1e-2), x)
    x = b.add(ApplyMask(), x, mask)
    hard = Activation("hard_sigmoid", alpha=1 / 6)
    recurrent = {"mask_output": "carry", "clip": 5.0, "bias": normal(12), "bias_h": normal(12), "initial_h": normal(4)}
    options = {"gate_activation": hard, "activation": "relu", "output_activation": "softsign"}
    gru = GRU(
        normal(16, 4), normal(16, 4), normal(16), normal(16), normal(4), reset_after=False, output_gate=True,
        update_keeps="candidate", **options,
    )  # fmt: skip
    g = b.add(gru, x, mask)
    lstm = LSTM(
        normal(12, 4, dtype="float64"), normal(12, 4), peephole=normal(3, 4), projection=normal(4, 4), coupled=True,
        initial_c=normal(4), **recurrent, **options,
    )  # fmt: skip
    lstm_out = b.add(lstm, x)
    r = b.add(Reverse(), b.add(RNN(normal(4, 4), normal(4, 4), reverse=True, activation="elu"), x))
    total = b.add(Average(), b.add(Add(), g, r), b.add(Multiply(), lstm_out, r))
    y = b.add(Activate(hard), b.add(Concat(), total, g))
    last = b.add(GRU(normal(9, 8), normal(9, 3), return_sequences=False), y)
    return b.build(b.add(Dense(normal(2, 8), normal(2), "softmax"), y), last)


def small() -> Graph:
    return chain([GRU(normal(6, 3), normal(6, 2), normal(6)), Dense(normal(1, 2))])


REDUCED = ("float16", "bfloat16", "int8", "int8_affine")


def every_op_in(precision: str) -> Graph:
    """`every_op` with all matrices in that precision."""
    return every_op().with_ops(lambda n: n.op.replace(precision=precision) if n.op.matrices else n.op)


def small_in(precision: str) -> Graph:
    gru = GRU(normal(6, 3), normal(6, 2), normal(6), precision=precision)
    return chain([gru, Dense(normal(1, 2), precision=precision)])


def mixed() -> Graph:
    return chain(
        [GRU(normal(3, 1), normal(3, 1), precision="int8"), *(Dense([[0.3]], precision=p) for p in REDUCED[:2])]
    )


def sharing(precision: str = "float32", count: int = 3) -> Graph:
    """Nodes that hold one matrix, and one vector beside it."""
    weight, bias = normal(32, 32), np.zeros(32)
    return chain([Dense(weight, bias, "tanh", precision=precision) for _ in range(count)])


def looped() -> Graph:
    """Two inputs, and a state that a constant ages."""
    b = GraphBuilder()
    x, switch = b.input("x", Spec((1, 2))), b.input("switch", Spec((), False, "bool"))
    old = b.add(State(normal(2)))
    y = b.add(Where(), switch, old, b.add(Reshape((2,)), x))
    new = b.add(Multiply(), y, b.add(Constant(0.5)))
    return b.build(y, feedback={old: new})


def write(path: Any, graph: Graph, **changes: Any) -> None:
    options = {"dtype": "float32", "provenance": {"framework": "tést"}, "self_test": selftest.make(graph, None, {})}
    fgru.write(path, graph=graph, **{**options, **changes})


def assert_same_graph(a: Graph, b: Graph) -> None:
    assert a.inputs == b.inputs
    assert (a.outputs, a.feedback) == (b.outputs, b.feedback)
    assert len(a.nodes) == len(b.nodes)
    for m, n in zip(a.nodes, b.nodes, strict=True):
        assert (m.name, type(m.op), m.inputs, m.outputs) == (n.name, type(n.op), n.inputs, n.outputs)
        assert m.op.attributes() == n.op.attributes()
        assert m.op.weights().keys() == n.op.weights().keys()
        for field, array in m.op.weights().items():
            other = n.op.weights()[field]
            assert (array.dtype, array.shape, array.tobytes()) == (other.dtype, other.shape, other.tobytes())


# Round trips -------------------------------------------------------------------------------------


def rebuilt(path: Any, *, attributes: Any = None, remove: tuple[str, ...] = (), **arrays: Any) -> None:
    """One Dense(2, 3) in `path` with these arrays in place of its own, and a checksum that fits."""
    from safetensors.numpy import load, save

    precision = (attributes or {}).get("precision", "int8")
    write(path, chain([Dense(normal(2, 3), precision=precision)]))
    data = path.read_bytes()
    header, tensors = parts(data)[1], {**load(data), **arrays}
    weights = header["graph"]["nodes"][0]["weights"]
    for key in remove:
        tensors.pop(weights.pop(key))
    header["crc32"] = fgru._checksum(header, tensors)
    path.write_bytes(save(tensors, {"fastgru": json.dumps(header)}))


def parts(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    length = struct.unpack("<Q", data[:8])[0]
    outer = json.loads(data[8 : 8 + length])
    return outer, json.loads(outer["__metadata__"]["fastgru"]), data[8 + length :]


def join(outer: dict[str, Any], header: Any, body: bytes) -> bytes:
    text = header if isinstance(header, str) else json.dumps(header)
    raw = json.dumps({**outer, "__metadata__": {"fastgru": text}}).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def edit(path: Any, change: Any) -> None:
    """Apply `change` to the header and give it a checksum that fits, so that only the change is wrong."""
    outer, header, body = parts(path.read_bytes())
    change(header)
    data = join(outer, header, body)
    length = struct.unpack("<Q", data[:8])[0]
    tensors = fgru._load(data, fgru._parse(data[8 : 8 + length])[1])
    if "crc32" in header:
        header["crc32"] = fgru._checksum(header, tensors)
    path.write_bytes(join(outer, header, body))


def node(i: int, **changes: Any) -> Any:
    return lambda h: h["graph"]["nodes"][i].update(changes)


def attribute(name: str, value: Any) -> Any:
    return lambda h: h["graph"]["nodes"][0]["attributes"].update({name: value})
