"""Threads change nothing but time: the same bits, no thread before it is asked for, fork, and errors."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl

import fastgru
from fastgru import Model
from fastgru.graph import PRECISIONS
from fastgru.layers import GRU, LSTM, Bidirectional, Dense

RNG = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)


def gru(inputs: int, hidden: int, **attributes: object) -> GRU:
    shapes = (3 * hidden, inputs), (3 * hidden, hidden), (3 * hidden,), (3 * hidden,)
    return GRU.from_torch(*(weights(*s) for s in shapes), **attributes)


def lstm(inputs: int, hidden: int, features: int | None = None, **attributes: object) -> LSTM:
    shapes = (4 * hidden, inputs), (4 * hidden, features or hidden), (4 * hidden,), (4 * hidden,)
    projection = None if features is None else weights(features, hidden)
    return LSTM.from_torch(*(weights(*s) for s in shapes), w_hr=projection, **attributes)


# name -> layers and shape of the input; each large enough to be split in the way its name says.
CASES = {
    "rows": ([gru(64, 128), Dense(weights(5, 128))], (7, 60, 64)),
    "layers": ([gru(64, 64), lstm(64, 80), gru(80, 96, reset_after=False), Dense(weights(5, 96))], (1, 200, 64)),
    "last step": ([gru(64, 64), lstm(64, 80, return_sequences=False), Dense(weights(5, 80))], (1, 200, 64)),
    "directions": ([Bidirectional(gru(64, 64), gru(64, 64)), Bidirectional(lstm(128, 64), lstm(128, 64))], (1, 99, 64)),
    "panels": ([gru(512, 512), Dense(weights(5, 512))], (1, 10, 512)),
    "panels, two phases": ([gru(300, 301, reset_after=False)], (1, 7, 300)),
    "panels, projected": ([lstm(64, 512, 100)], (1, 9, 64)),
    "panels, output gate": ([GRU(weights(4 * 300, 300), weights(4 * 300, 300), output_gate=True)], (1, 9, 300)),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CASES)
def test_any_number_of_threads_gives_the_same_bits(name, precision):
    layers, shape = CASES[name]
    model = Model(layers)
    model = model if precision == "float32" else model.quantize(precision)
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    whole, state = model(x, return_state=True)
    lengths = np.random.default_rng(2).integers(0, shape[1] + 1, size=shape[0])
    ragged = model(x, lengths=lengths)
    for threads in (2, 3, 5):
        y, end = model(x, threads=threads, return_state=True)
        assert np.array_equal(y, whole)
        assert all(np.array_equal(end[key], state[key]) for key in state)
        assert np.array_equal(model(x, lengths=lengths, threads=threads), ragged)


@pytest.mark.parametrize("name", ["rows", "layers", "panels", "panels, two phases"])
def test_a_stream_may_use_threads_and_change_their_number(name):
    layers, (batch, steps, inputs) = CASES[name]
    model = Model(layers)
    x = np.random.default_rng(3).normal(size=(batch, steps, inputs)).astype(np.float32)
    one, two = model.stream(batch, threads=1), model.stream(batch)
    try:
        for start in range(0, steps, 5):
            chunk = np.ascontiguousarray(x[:, start : start + 5])
            fastgru.set_num_threads(1 + start // 5 % 3)
            assert np.array_equal(one.process(chunk), two.process(chunk))
    finally:
        fastgru.set_num_threads(1)


def test_pruned_layers_run_on_threads():
    w = weights(3 * 512, 512)
    keep = np.random.default_rng(4).random((3, 64, 1, 128, 1)) < 0.2
    w = (w.reshape(3, 64, 8, 128, 4) * keep).reshape(3 * 512, 512).astype(np.float32)
    model = Model([GRU(w, w)])
    x = np.random.default_rng(5).normal(size=(6, 512)).astype(np.float32)
    assert np.array_equal(model(x), model(x, threads=2))


def test_no_thread_starts_before_it_is_asked_for():
    code = """
import numpy as np, fastgru, threading
from fastgru import engine
from fastgru.layers import GRU
w = np.ones((3 * 64, 64), np.float32) / 64
model = fastgru.Model([GRU(w, w)])
x = np.ones((8, 50, 64), np.float32)
model(x)
assert engine.worker_threads() == 0, "a thread runs that nobody asked for"
model(x, threads=2)
assert engine.worker_threads() == 1
"""
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


def test_a_packed_model_leaves_blas_alone():
    """It brings no BLAS library into the process and sets no pool's number of threads, nor takes its own from it."""
    code = """
import os, numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
before, tasks = threadpool_info(), os.path.isdir("/proc/self/task") and len(os.listdir("/proc/self/task"))
import fastgru
from fastgru import engine
from fastgru.layers import GRU
w = np.ones((3 * 64, 64), np.float32) / 64
model = fastgru.Model([GRU(w, w)])
x = np.ones((8, 50, 64), np.float32)
model(x)
assert threadpool_info() == before, (before, threadpool_info())
assert not tasks or len(os.listdir("/proc/self/task")) == tasks, "a call on one thread started others"
with threadpool_limits(1):
    limited = threadpool_info()
    model(x, threads=3)
    assert engine.worker_threads() == 2
    assert threadpool_info() == limited
assert threadpool_info() == before
"""
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_limits_on_blas_change_no_bits(name, threads):
    layers, shape = CASES[name]
    model = Model(layers)
    x = np.random.default_rng(7).normal(size=shape).astype(np.float32)
    free = model(x, threads=threads)
    with threadpoolctl.threadpool_limits(1):
        assert np.array_equal(model(x, threads=threads), free)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_starts_threads_of_its_own():
    code = """
import os, numpy as np, fastgru, warnings
from fastgru import engine
from fastgru.layers import GRU
warnings.simplefilter("ignore")  # Python warns of forking beside threads from 3.12 on: that is what is tested
w = np.ones((3 * 64, 64), np.float32) / 64
model = fastgru.Model([GRU(w, w)])
x = np.ones((8, 50, 64), np.float32)
y = model(x, threads=2)
pid = os.fork()
if pid == 0:
    ok = engine.worker_threads() == 0 and (model(x, threads=2) == y).all() and engine.worker_threads() == 1
    os._exit(0 if ok else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert (model(x, threads=2) == y).all()
"""
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


def test_python_threads_share_a_model_that_uses_threads():
    layers, shape = CASES["rows"]
    model = Model(layers)
    xs = np.random.default_rng(6).normal(size=(12, *shape)).astype(np.float32)
    expected = [model(x) for x in xs]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda x: model(x, threads=2), xs))
    assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("bad", [0, -1, 65, 2.0, True, "2"])
def test_a_bad_number_of_threads_is_named(bad):
    layers, shape = CASES["rows"]
    model = Model(layers)
    message = "threads must be an integer from 1 to 64, got "
    for call in (
        lambda: model(np.zeros(shape, np.float32), threads=bad),
        lambda: model.stream(threads=bad),
        lambda: fastgru.set_num_threads(bad),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert fastgru.get_num_threads() == 1
