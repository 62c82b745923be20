"""Graphs of one op, and its reference held against an oracle that sees single frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgru import reference
from fastgru.graph import Graph, GraphBuilder, Op, Spec

BATCH, STEPS = 2, 3


def graph_of(op: Op, *specs: Spec, outputs: int = 1) -> Graph:
    """The graph of one op on inputs of these specs."""
    b = GraphBuilder()
    names = [b.input(f"x{i}", spec) for i, spec in enumerate(specs)]
    return b.build(*b.add_many(op, *names, outputs=outputs, name="y"))


def infer(op: Op, *shapes: tuple[int, ...], dtype: str = "float") -> tuple[int, ...]:
    """The frame that an op makes of frames of one dtype."""
    return op.infer(tuple(Spec(shape, dtype=dtype) for shape in shapes))[0].shape


def spec_of(array: np.ndarray, time: bool) -> Spec:
    """The spec of (B, T, *frame) or (B, *frame)."""
    return Spec(array.shape[1 + time :], time, {"f": "float", "i": "int", "b": "bool"}[array.dtype.kind])


def check(
    op: Op, oracle: Callable[..., Any], *arrays: np.ndarray, untimed: tuple[int, ...] = (), atol: float = 1e-12
) -> None:
    """Every frame of the reference's output as `oracle` makes it of the inputs' frames; `untimed` inputs have no T."""
    timed = [i not in untimed for i in range(len(arrays))]
    given = [a if t else a[:, 0] for a, t in zip(arrays, timed, strict=True)]
    graph = graph_of(op, *map(spec_of, given, timed))
    (got,), _ = reference.run(graph, {f"x{i}": a for i, a in enumerate(given)})
    spec = graph.specs["y"]
    assert spec.time == any(timed)
    assert got.dtype == {"float": np.float64, "int": np.int64, "bool": np.bool_}[spec.dtype]
    for b in range(BATCH):
        for t in range(STEPS) if spec.time else [0]:
            frames = [a[b, t if time else 0] for a, time in zip(arrays, timed, strict=True)]
            y = got[b, t] if spec.time else got[b]
            assert y.shape == spec.shape
            np.testing.assert_allclose(y, oracle(*frames), rtol=0, atol=atol)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """(B, T, *shape) of normal numbers."""
    return np.random.default_rng([seed, *shape]).normal(size=(BATCH, STEPS, *shape))


def ints(low: int, high: int, *shape: int, seed: int = 0) -> np.ndarray:
    """(B, T, *shape) of integers in low..high - 1."""
    return np.random.default_rng([seed, *shape]).integers(low, high, size=(BATCH, STEPS, *shape))
