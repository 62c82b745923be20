"""Small models that have every op, every precision and both dtypes between them, as .fgru files."""

from __future__ import annotations

import tempfile
from math import prod
from pathlib import Path

import frame_cases
import numpy as np

from fastgru import graph as g
from fastgru.checks import selftest
from fastgru.files import fgru
from fastgru.graph import Graph, GraphBuilder, Spec
from fastgru.passes import canonical

LARGEST = 160  # elements of a frame or weight of a seed


def _w(*shape: int) -> np.ndarray:
    return (np.random.default_rng(sum(shape)).normal(size=shape) / 2).astype(np.float32)


def single(op: g.Op, specs: list[Spec]) -> Graph:
    """One op on inputs of its own."""
    b = GraphBuilder()
    return _finished(b, op, [b.input(f"x{i}", spec) for i, spec in enumerate(specs)])


def _finished(b: GraphBuilder, op: g.Op, inputs: list[str]) -> Graph:
    specs = op.infer(tuple(b._inputs[name] for name in inputs))
    return b.build(*b.add_many(op, *inputs, outputs=len(specs)))


def _small(op: g.Op, specs: list[Spec]) -> bool:
    sizes = [prod(spec.shape) for spec in (*specs, *op.infer(tuple(specs)))]
    return max(*sizes, *(w.size for w in op.weights().values())) <= LARGEST


def _ids() -> Graph:
    b = GraphBuilder()
    ids = b.input("ids", Spec((), dtype="int"))
    x, mask = b.add(g.Embedding(_w(7, 4)), ids), b.add(g.Mask(0.0), ids)
    y = b.add(g.GRU(_w(9, 4), _w(9, 3), _w(9), mask_output="carry"), x, mask)
    return b.build(b.add(g.Dense(_w(2, 3), _w(2)), b.add(g.Dropout(0.2), y)), b.add(g.ApplyMask(), x, mask))


def _loop() -> Graph:
    b = GraphBuilder()
    x, switch = b.input("x", Spec((1, 2))), b.input("switch", Spec((), False, "bool"))
    old = b.add(g.State(_w(2)))
    y = b.add(g.Where(), switch, old, b.add(g.Reshape((2,)), x))
    new = b.add(g.Multiply(), y, b.add(g.Constant(0.5)))
    return b.build(y, feedback={old: new})


def _skip() -> Graph:
    b = GraphBuilder()
    x = b.input("x", Spec((4,)))
    y = b.add(g.TimeConv(_w(4, 4, 3), _w(4), before=1, after=1), x)
    z = b.add(g.LSTM(_w(16, 4), _w(16, 4), _w(16)), y)
    return b.build(b.add(g.Add(), z, y, x))


def _shared(precision: str) -> Graph:
    """Calls of one layer, and a table that is tied to the layer behind."""
    b = GraphBuilder()
    x = b.add(g.Embedding(_w(7, 4), precision=precision), b.input("ids", Spec((), dtype="int")))
    for _ in range(3):
        x = b.add(g.GRU(_w(12, 4), _w(12, 4), _w(12), precision=precision), x)
    return b.build(b.add(g.Dense(_w(7, 4), np.zeros(7), precision=precision), x))


def _audio() -> Graph:
    b = GraphBuilder()
    spectrum = b.add(g.RFFT(8), b.add(g.Framing(8, 4), b.input("samples", Spec(()))))
    return b.build(b.add(g.OverlapAdd(8, 4), b.add(g.IRFFT(8), spectrum)))


def _cells() -> list[Graph]:
    lstm = g.LSTM(_w(12, 4), _w(12, 3), _w(12), _w(12), _w(3), return_sequences=False, clip=2.0)
    gru = g.GRU(_w(9, 4), _w(9, 3), reset_after=False, reverse=True)
    rnn = g.RNN(_w(3, 4), _w(3, 3), activation="relu")
    both = g.Bidirectional(g.GRU(_w(9, 4), _w(9, 3)), gru)
    chains = [[lstm], [gru, g.Reverse()], [rnn, g.LayerNorm(_w(3))], [both]]
    for precision in ("int8", "bfloat16", "float16"):
        cell = g.GRU(_w(9, 4), _w(9, 3), _w(9), precision=precision)
        chains.append([cell, g.Dense(_w(2, 3), precision=precision)])
    return [g.chain(layers) for layers in chains]


def graphs() -> list[tuple[Graph, str]]:
    """The graphs and the dtype that each computes in."""
    cases = [*frame_cases.CASES, *frame_cases.TEMPORAL, *frame_cases.WHOLE, *frame_cases.LATEST]
    found = [single(op, specs) for _, op, specs in cases if _small(op, specs)]
    made = [_ids(), _loop(), _skip(), _audio(), *_cells(), single(g.Unary("isnan"), [Spec((3,))]),
            single(g.Cast("int"), [Spec((3,))]), single(g.Binary("and"), [Spec((3,), dtype="bool")] * 2),
            _shared("float32"), _shared("int8")]  # fmt: skip
    return [(graph, "float32") for graph in (*found, *made)] + [(graph, "float64") for graph in made[:5]]


def seed_files() -> list[bytes]:
    """The files, each with a self-test."""
    with tempfile.TemporaryDirectory() as folder:
        path, files = Path(folder) / "seed.fgru", []
        for graph, dtype in graphs():
            graph = canonical(graph)
            test = selftest.make(graph, None, {})
            fgru.write(path, graph=graph, dtype=dtype, provenance={"framework": "fuzz"}, self_test=test)
            files.append(path.read_bytes())
    return files
