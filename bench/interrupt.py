"""Measure how soon a long call ends after Ctrl-C: seconds from the signal to KeyboardInterrupt.

    python -m bench.interrupt

Zen 5, AVX-512, two cores: 0.005 to 0.072 s (the rows are printed with the largest last). What bounds it: signals are
looked at every 50 ms (WATCH_NS), work is cut into slices of 3 to 100 ms (SLICE_WORK), and the state is copied back.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from fastgru import Model
from fastgru import graph as g
from fastgru.graph import GraphBuilder, Spec
from fastgru.layers import LSTM, Bidirectional, Dense

DELAY = 0.3  # seconds before the signal


class Long(NamedTuple):
    """A call that takes many seconds."""

    model: Model
    shape: tuple[int, ...]


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape) / np.sqrt(shape[-1])


def lstm(units: int, inputs: int = 64) -> LSTM:
    return LSTM.from_torch(weights(4 * units, inputs), weights(4 * units, units))


def convolutions() -> Model:
    b = GraphBuilder()
    value = b.input("x", Spec((64,)))
    for _ in range(4):
        value = b.add(g.TimeConv(weights(64, 64, 9), before=8, activation="tanh"), value)
    return Model(b.build(value))


def numbers() -> Model:
    """Elementwise work alone, in blocks of the whole sequence."""
    b = GraphBuilder()
    value = b.input("x", Spec((256,)))
    for _ in range(40):
        value = b.add(g.Unary("sin"), b.add(g.Unary("exp"), value))
    return Model(b.build(b.add(g.TimeSoftmax(), value)))


def feedback() -> Model:
    b = GraphBuilder()
    x, state = b.input("x", Spec((128,))), b.add(g.State(np.zeros(128)))
    value = b.add(g.Activate("tanh"), b.add(g.Dense(weights(128, 256)), b.add(g.Concat(), x, state)))
    return Model(b.build(value, feedback={state: value}))


CASES: dict[str, Callable[[], Long]] = {
    "steps of one row": lambda: Long(Model([lstm(512)]), (1, 400_000, 64)),
    "both directions, one block": lambda: Long(Model([Bidirectional(lstm(256), lstm(256))]), (1, 200_000, 64)),
    "few steps of many rows": lambda: Long(Model([lstm(128)]), (20_000, 100, 64)),
    "wide products": lambda: Long(Model([Dense(weights(2048, 2048))] * 4), (1, 50_000, 2048)),
    "windows": lambda: Long(convolutions(), (1, 2_000_000, 64)),
    "numbers": lambda: Long(numbers(), (1, 400_000, 256)),
    "feedback": lambda: Long(feedback(), (1, 2_000_000, 128)),
    "float64": lambda: Long(Model([lstm(256)], dtype="float64"), (1, 200_000, 64)),
    "int8": lambda: Long(Model([lstm(512)]).quantize("int8"), (1, 600_000, 64)),
}


def interrupted(call: Callable[[], object]) -> float | None:
    """Seconds from a signal in the middle of `call` to its KeyboardInterrupt; None where the call ended without."""
    sent: list[float] = []

    def send() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(DELAY, send)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    timer.start()
    try:
        call()
    except KeyboardInterrupt:
        return time.monotonic() - sent[0]
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, handler)
    return None


def main() -> None:
    """Print the longest of three waits for every call, largest last."""
    argparse.ArgumentParser(prog="python -m bench.interrupt", description=__doc__).parse_args()
    rows = []
    for name, make in CASES.items():
        model, shape = make()
        x = np.full(shape, 0.01, np.float32)
        for threads in (1, 2):
            call = partial(model, x, threads=threads)
            seconds = max(interrupted(call) or np.inf for _ in range(3))
            rows.append((seconds, f"{name}, {threads} thread(s)"))
    for seconds, name in sorted(rows):
        print(f"{seconds:6.3f} s  {name}")


if __name__ == "__main__":
    main()
