"""Ctrl-C in a long call: the call ends early with KeyboardInterrupt, and the stream is as it was before.

How soon is measured by ``python -m bench.interrupt``.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time

import numpy as np
import pytest
from frame_cases import w

from bench.interrupt import CASES, interrupted
from fastgru import Model
from fastgru.layers import GRU


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_a_long_call_ends_early_and_leaves_the_stream_as_it_was(name, threads):
    model, (rows, steps, *shape) = CASES[name]()
    long = np.full((rows, steps, *shape), 0.01, np.float32)
    rng = np.random.default_rng(0)
    few = rng.normal(size=(rows, min(steps, 60), *shape)).astype(np.float32)[: 1 if rows == 1 else 16]
    whole = model(few)
    if model.graph.not_streamable():
        out = np.full((rows, steps, *whole.shape[2:]), np.nan, np.float32)
        assert interrupted(lambda: model(long, out=out, threads=threads)) is not None
        assert np.isnan(out).any() or (out == 0).any()  # not written, or made of what was not
    else:
        stream, twin = model.stream(rows, threads=threads), model.stream(rows)
        start = long[:, :3] + 1
        assert np.array_equal(stream.process(start), twin.process(start))
        assert interrupted(lambda: stream.process(long)) is not None
        assert all(np.array_equal(value, twin.state[key]) for key, value in stream.state.items())
        assert np.array_equal(stream.process(start), twin.process(start))
        assert np.array_equal(stream.step(start[:, 0]), twin.step(start[:, 0]))
    assert np.array_equal(model(few), whole)


def lasting(model: Model, shape: tuple[int, ...], seconds: float) -> np.ndarray:
    """A sequence of one row that takes so long, also where a sanitizer makes a step a hundred times as long."""
    model(few := np.full((1, 100, *shape), 0.01, np.float32))
    start = time.perf_counter()
    model(few)
    return np.full((1, int(100 * seconds / (time.perf_counter() - start)) + 1, *shape), 0.01, np.float32)


def test_a_handler_that_returns_lets_the_call_go_on():
    model, (_, _, *shape) = CASES["steps of one row"]()
    x = lasting(model, shape, 1.0)
    seen: list[int] = []
    old = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    try:
        timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        timer.start()
        whole = model(x)
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert seen == [signal.SIGUSR1]
    assert np.array_equal(whole, model.stream(1).process(x))


def test_a_call_of_another_thread_goes_on():
    model = Model([GRU.from_torch(w(768, 64), w(768, 256))])
    results: queue.Queue[np.ndarray] = queue.Queue()
    x = lasting(model, (64,), 1.0)
    worker = threading.Thread(target=lambda: results.put(model(x)))
    worker.start()
    assert interrupted(lambda: time.sleep(600)) is not None
    assert np.array_equal(results.get(), model(x))
    worker.join()
