"""The memory of plans and streams: counted before it is allocated, limited, and guarded."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from frame_cases import w

import fastgru
from fastgru import FastGruError, GraphError, MemoryLimitError, Model, memory
from fastgru import graph as g
from fastgru.files import fgru
from fastgru.graph import GraphBuilder, Spec
from fastgru.layers import LSTM, Dense

LARGE = 2**24  # the most steps that an op may say


def one(op: g.Op, spec: Spec) -> g.Graph:
    b = GraphBuilder()
    return b.build(b.add(op, b.input("x", spec), name="culprit"))


def bytes_of(stream: fastgru.Stream) -> int:
    return stream.__sizeof__() - object.__sizeof__(stream)


@pytest.fixture
def limit():
    """Set the limit for one test."""
    yield fastgru.set_memory_limit
    fastgru.set_memory_limit(None)


# Limits -------------------------------------------------------------------------------------------


LARGE_GRAPHS = [
    one(g.TimePad(LARGE, 0), Spec((1024,))),
    one(g.TimePad(0, LARGE), Spec((1024,))),
    one(g.TimePad(LARGE, LARGE, outside="reflect"), Spec((1024,))),
    one(g.OverlapAdd(4, 2, tail=-LARGE), Spec((4, 1024))),
    one(g.OverlapAdd(4, 2, tail=LARGE), Spec((4, 1024))),
    one(g.OverlapAdd(4, LARGE, tail=0), Spec((4, 1024))),
    one(g.Framing(LARGE, 1), Spec(())),
    one(g.Framing(1, LARGE), Spec(())),
    one(g.TimeSlice(stop=-LARGE), Spec((1024,))),
    one(g.TimeStep(-LARGE), Spec((1024,))),
]


@pytest.mark.parametrize("graph", LARGE_GRAPHS, ids=lambda graph: repr(graph.nodes[0].op)[:60])
def test_what_needs_too_much_is_refused_by_name_before_it_is_allocated(graph, limit):
    limit("16M")
    with pytest.raises(MemoryLimitError, match=r"must be at most 16 MiB, got .*node 'culprit' needs most"):
        Model(graph)


@pytest.mark.parametrize("mode", ["edge", "constant"])
def test_an_item_that_is_too_large_is_refused_before_anything_is_made_of_it(mode, limit):
    limit("256M")
    graph = one(g.Pad((0, 2**28), (2, 0), mode), Spec((2, 2)))
    with pytest.raises(MemoryLimitError, match="memory of one step of 'culprit' must be at most 256 MiB, got 4 GiB"):
        Model(graph)


def test_windows_over_what_follows_from_a_state_whose_loop_comes_later_are_refused():
    b = GraphBuilder()
    x, state = b.input("x", Spec((3,))), b.add(g.State(np.zeros(3)))
    pooled = b.add(g.TimePool("average", 4, 2, before=1, after=1), b.add(g.Unary("neg"), state))
    with pytest.raises(GraphError, match="what follows from states alone must give a step for every step"):
        Model(
            b.build(
                pooled, feedback={state: b.add(g.Add(), x, b.add(g.TimeConv(np.ones((3, 3, 3)), before=1, after=1), x))}
            )
        )


def test_states_that_meet_a_value_of_other_steps_are_refused():
    b = GraphBuilder()
    x, state = b.input("x", Spec((3,))), b.add(g.State(np.ones(2)))
    met = b.add(g.Multiply(), b.add(g.OverlapAdd(3, 2, tail=4), x), state)
    with pytest.raises(GraphError, match="values that meet must have steps at the same rate, got 2 rates"):
        Model(b.build(met, feedback={state: state}))


def test_sizes_that_multiply_stop_before_they_overflow(limit):
    limit("1G")
    b = GraphBuilder()
    value = b.input("x", Spec((1, 1)))
    for _ in range(12):  # 60 steps for every one, twelve times over: more than 2^64
        value = b.add(g.Reshape((1, 1)), b.add(g.OverlapAdd(1, 60, tail=0), value))
    with pytest.raises(MemoryLimitError, match="more than can be counted"):
        Model(b.build(value))


def test_an_output_that_would_be_too_large_is_refused(limit):
    model = Model(one(g.OverlapAdd(1, 1000, tail=0), Spec((1, 1000))))
    x = np.zeros((100, 1, 1000), np.float32)
    assert model(x).shape == (100_000, 1000)
    stream = model.stream()
    before = stream.state
    limit("100M")
    with pytest.raises(MemoryLimitError, match="output 'culprit' of this call must be at most 100 MiB, got 381"):
        stream.process(x)
    assert all(np.array_equal(before[k], v) for k, v in stream.state.items())


def test_streams_and_calls_are_limited_too(limit):
    model = Model([LSTM.from_torch(w(64, 8), w(64, 16))])
    limit(model.summary().memory.plan + model.summary().memory.stream)
    model.stream()
    with pytest.raises(MemoryLimitError, match=r"a stream of 100000 rows .*node 'lstm'"):
        model.stream(100_000)
    with pytest.raises(MemoryLimitError, match=r"a stream of 2 rows and 9 steps|a stream of 2 rows"):
        model(np.zeros((2, 100_000, 8), np.float32))


@pytest.mark.parametrize("batch", [0, -1, 2**31, 2**63, 2**64, True, 1.5, "2"])
def test_a_batch_that_is_none_is_refused(batch):
    with pytest.raises(ValueError, match=r"batch must be None or an integer from 1 to 2147483647, got"):
        Model([Dense(np.eye(2))]).stream(batch)


def test_the_limit_comes_from_the_environment_and_is_checked():
    code = "import fastgru; print(fastgru.get_memory_limit())"

    def run(text: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "FASTGRU_MEMORY_LIMIT": text}
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    assert run("3G").stdout.strip() == str(3 << 30)
    assert "FASTGRU_MEMORY_LIMIT must be a positive number of bytes or a text such as '512M', got 'much'" in (
        run("much").stderr
    )


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "", "G", "1X", "-1M", "0", "1" * 40])
def test_a_limit_that_is_no_size_is_refused(wrong):
    with pytest.raises(ValueError, match="limit must be a positive number of bytes"):
        fastgru.set_memory_limit(wrong)


def test_sizes_are_shown_as_people_say_them():
    assert [memory.shown(n) for n in (0, 1023, 1 << 10, 3 << 29, 1 << 50, 1 << 60)] == [
        "0 bytes", "1023 bytes", "1 KiB", "1.5 GiB", "1024 TiB", "more than can be counted",
    ]  # fmt: skip


# Counting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "int8", "int8_affine"])
@pytest.mark.parametrize("isa", [row[0] for row in fastgru.engine.isas() if row[1]])
def test_what_is_counted_is_what_is_allocated(precision, isa):
    b = GraphBuilder()
    x = b.input("x", Spec((9,)))
    value = b.add(g.LSTM(w(76, 9), w(76, 19), w(76)), b.add(g.TimeConv(w(9, 9, 3)), x))
    graph = b.build(b.add(g.LayerNorm(np.ones(7), np.zeros(7)), b.add(g.Dense(w(7, 19), w(7)), value)))
    model = Model(graph, isa=isa).quantize(precision)
    plan, counted = model._plan, model.summary().memory
    assert plan.bytes == counted.plan
    assert (
        fastgru.engine.stream_bytes(plan) == (bytes_of(model.stream()), counted.node) == (counted.stream, counted.node)
    )


def test_words_and_tables_are_counted(limit):
    b = GraphBuilder()
    ids = b.input("ids", Spec((), True, "int"))
    graph = b.build(b.add(g.GRU(w(12, 4), w(12, 4)), b.add(g.Embedding(w(50, 4)), ids)))
    model = Model(graph)
    assert model._plan.bytes == model.summary().memory.plan > 50 * 12 * 4
    limit(model.summary().memory.plan)
    with pytest.raises(MemoryLimitError, match="the model and a stream of one row"):
        Model(graph)


def test_more_step_rates_than_the_engine_counts_are_refused_by_load(tmp_path):
    b = GraphBuilder()
    value = b.input("x", Spec((4,)))
    for _ in range(40):
        value = b.add(g.TimeConv(w(4, 4, 2)), value)
    fgru.write(tmp_path / "m.fgru", graph=b.build(value), dtype="float32", provenance={}, self_test=None)
    with pytest.raises(
        FastGruError,
        match="layers that change the number of steps, and inputs with their own, must be fewer than 32, got 40",
    ):
        fastgru.load(tmp_path / "m.fgru")


# Threads and guards -------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [2, 3])
def test_a_recurrence_inside_an_item_with_lengths_runs_on_threads(threads):
    H, S, rows, I = 16, 200, 40, 4
    b = GraphBuilder()
    x, n = b.input("x", Spec((S, rows, I))), b.input("n", Spec((rows,), True, "int"))
    y = b.add_many(g.GRU(w(3 * H, I), w(3 * H, H), scan=True, operands=("lengths",)), x, n, outputs=2)
    model = Model(b.build(*y))
    rng = np.random.default_rng(1)
    xs = (rng.normal(size=(2, S, rows, I)).astype(np.float32), rng.integers(1, S + 1, size=(2, rows)))
    whole = model(xs)
    for _ in range(5):
        assert all(map(np.array_equal, whole, model(xs, threads=threads)))


GUARDED = """
import numpy as np
from fastgru import Model
from fastgru.graph import Dense, GraphBuilder, Spec
from fastgru.lowering import lower

b = GraphBuilder()
x = b.input("x", Spec((3,)))
hidden = b.add(Dense(np.ones((3, 3)), activation="tanh"), x, name="sum")
graph = b.build(b.add(Dense(np.ones((2, 3)), activation="tanh"), hidden))
right = lower.lower

def short(graph):
    lowered = right(graph)
    lowered.values[lowered.instructions[0].output].size -= 1
    return lowered

lower.lower = short
try:
    s = Model(graph).stream()
    s.process(np.ones((s.model._plan.block(1), 3), np.float32))
except SystemError as error:
    print(error)
"""


def test_guard_bytes_tell_which_buffer_was_overrun():
    environment = {**os.environ, "FASTGRU_GUARD": "1"}
    done = subprocess.run([sys.executable, "-c", GUARDED], env=environment, capture_output=True, text=True)
    assert "(node 'sum', " in done.stdout, done
    assert "was written behind its end" in done.stdout
