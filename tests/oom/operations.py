"""Operations that run out of memory: the state each starts from, the call, and the check of its result."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import fastgru
from fastgru import graph as g
from fastgru.layers import GRU, LSTM, Dense

RNG = np.random.default_rng(0)
FOLDER = tempfile.TemporaryDirectory()


def weights(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)


def gru(inputs: int, hidden: int) -> GRU:
    return GRU.from_torch(weights(3 * hidden, inputs), weights(3 * hidden, hidden))


def lstm(inputs: int, hidden: int) -> LSTM:
    return LSTM.from_torch(weights(4 * hidden, inputs), weights(4 * hidden, hidden))


def frames(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def clocked_graph() -> g.Graph:
    """A strided convolution, a recurrence at its rate, and a scan inside of each step."""
    b = g.GraphBuilder()
    x = b.input("x", g.Spec((6,)))
    low = b.add(g.TimeConv(weights(8, 6, 3), stride=2, before=2), x)
    items = b.add(g.Reshape((2, 1, 4)), b.add(gru(8, 8), low))
    scan = GRU(weights(15, 4), weights(15, 5), scan=True)
    return b.build(b.add_many(scan, items, outputs=2)[0])


LAYERS = [gru(6, 8), lstm(8, 8), Dense(weights(3, 8))]
SMALL = fastgru.Model(LAYERS)
GRAPH = clocked_graph()
CLOCKED = fastgru.Model(GRAPH)
ROWS = fastgru.Model([gru(64, 128)])
SIDES = fastgru.Model([gru(64, 128), lstm(128, 128)])
PANELS = fastgru.Model([gru(320, 320)])
W, R = weights(18, 6), weights(18, 6)
X, BATCH = frames(12, 6), frames(4, 12, 6)
LONG, WIDE = frames(40, 64), frames(2, 320)
OUT = np.empty((12, 6), np.float32)


def loadable() -> str:
    path = str(Path(FOLDER.name) / "small.fgru")
    SMALL.save(path)
    return path


def checkpoint() -> str:
    path = str(Path(FOLDER.name) / "gru.safetensors")
    gates = {"weight_ih_l0": (24, 6), "weight_hh_l0": (24, 8), "bias_ih_l0": (24,), "bias_hh_l0": (24,)}
    save_file({f"gru.{name}": weights(*shape) for name, shape in gates.items()}, path)
    return path


FILE, CHECKPOINT = loadable(), checkpoint()
PICKLED = pickle.dumps(SMALL)


def begun(model: fastgru.Model, x: np.ndarray, **options: Any) -> fastgru.Stream:
    """A stream that has a state."""
    stream = model.stream(None if x.ndim == 2 else len(x), **options)
    stream.process(x)
    return stream


def run_small(model: fastgru.Model) -> list[Any]:
    return [model(X)]


def run_copy(stream: fastgru.Stream) -> list[Any]:
    return [stream.process(X)]


@dataclass(frozen=True)
class Operation:
    """`call` of a fresh subject runs out of memory; `look` makes arrays of its result, equal for every run."""

    make: Callable[[], Any]
    call: Callable[[Any], Any]
    look: Callable[[Any], list[Any]] = lambda result: [result]


def threaded(model: fastgru.Model, x: np.ndarray) -> Operation:
    """The first call on two threads of a stream: it makes their views and scratch."""
    return Operation(lambda: model.stream(None if x.ndim == 2 else len(x), threads=2), lambda s: s.process(x))


def states(state: dict[str, np.ndarray]) -> list[Any]:
    return [state[key] for key in sorted(state)]


def set_state(stream: fastgru.Stream) -> fastgru.Stream:
    stream.state = begun_state
    return stream


begun_state = begun(SMALL, X).state
OPERATIONS = {
    "load": Operation(lambda: FILE, fastgru.load, run_small),
    "convert": Operation(lambda: CHECKPOINT, fastgru.convert, run_small),
    "convert to int8": Operation(lambda: CHECKPOINT, lambda p: fastgru.convert(p, precision="int8"), run_small),
    "model": Operation(lambda: LAYERS, fastgru.Model, run_small),
    "model with clocks": Operation(lambda: GRAPH, fastgru.Model, run_small),
    "model of shared weights": Operation(
        lambda: [GRU(W, R), GRU(W.copy(), R.copy(), precision="int8")] * 2, fastgru.Model, run_small
    ),
    "model unpickled": Operation(lambda: PICKLED, pickle.loads, run_small),
    "quantize": Operation(lambda: SMALL, lambda m: m.quantize("int8"), run_small),
    "call": Operation(lambda: SMALL, lambda m: m(X)),
    "call with lengths": Operation(lambda: SMALL, lambda m: m(BATCH, lengths=[3, 12, 0, 7])),
    "call with clocks": Operation(lambda: CLOCKED, lambda m: m(BATCH)),
    "stream": Operation(lambda: SMALL, lambda m: m.stream(), run_copy),
    "stream with clocks": Operation(lambda: CLOCKED, lambda m: m.stream(), run_copy),
    "step": Operation(lambda: begun(SMALL, X), lambda s: s.step(X[0])),
    "step converted": Operation(lambda: begun(SMALL, X), lambda s: s.step(X[0].tolist())),
    "process": Operation(lambda: begun(SMALL, X), lambda s: s.process(X)),
    "process converted": Operation(lambda: begun(SMALL, X), lambda s: s.process(X.astype(np.float64))),
    "process of a batch": Operation(lambda: begun(SMALL, BATCH), lambda s: s.process(BATCH)),
    "process with clocks": Operation(lambda: begun(CLOCKED, X), lambda s: s.process(X[:5])),
    "flush": Operation(lambda: begun(CLOCKED, X), lambda s: s.flush()),
    "state": Operation(lambda: begun(CLOCKED, X), lambda s: s.state, states),
    "state set": Operation(lambda: begun(SMALL, X[:3]), set_state, run_copy),
    "reset": Operation(lambda: begun(SMALL, BATCH), lambda s: s.reset([1, 2]), lambda _: []),
    "copy": Operation(lambda: begun(SMALL, X), lambda s: s.copy(), run_copy),
    "copy with clocks": Operation(lambda: begun(CLOCKED, X), lambda s: s.copy(), run_copy),
    "stream pickled": Operation(lambda: begun(SMALL, X), lambda s: pickle.loads(pickle.dumps(s)), run_copy),
    "threads, rows": threaded(ROWS, np.stack([LONG] * 4)),
    "threads, layers": threaded(SIDES, LONG),
    "threads, panels": threaded(PANELS, WIDE),
}
