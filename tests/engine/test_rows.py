"""Rows of a stream taken and moved: each goes on with the bits that it has alone."""

from __future__ import annotations

import numpy as np
import pytest
from cells import CELLS, make_cell
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_runs import same_bits

from fastgru import Model
from fastgru.graph import Add, Average, GraphBuilder, OverlapAdd, Spec, State, TimeStep
from fastgru.layers import GRU, Dense, TimeConv

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32) / 2


def looped() -> Model:
    """A sum so far, by a State node."""
    b = GraphBuilder()
    held = b.add(State(np.zeros(3)))
    total = b.add(Add(), b.input("x", Spec((3,))), held)
    return Model(b.build(total, feedback={held: total}))


def strided() -> Model:
    return Model([TimeConv(normal(4, 3, 3), stride=2), GRU(normal(12, 4), normal(12, 4))])


MODELS = {
    **{name: lambda name=name: Model([make_cell(name, 3, 9)]) for name in CELLS},
    "two": lambda: Model([make_cell("gru-after", 3, 8), make_cell("lstm", 8, 5), Dense(normal(2, 5))]),
    "float64": lambda: Model([make_cell("lstm", 3, 9, dtype="float64")], dtype="float64"),
    "int8": lambda: Model([make_cell("gru-after", 3, 16), Dense(normal(2, 16))]).quantize("int8"),
    "convolution": lambda: Model([TimeConv(normal(4, 3, 5), before=4), make_cell("gru-after", 4, 6)]),
    "ahead": lambda: Model([TimeConv(normal(3, 3, 5), before=2, after=2)]),
    "valid": lambda: Model([TimeConv(normal(3, 3, 3))]),
    "loop": looped,
    "last": lambda: Model([make_cell("gru-after", 3, 6), TimeStep(-1)]),
}


@pytest.fixture(params=MODELS)
def model(request) -> Model:
    return MODELS[request.param]()


def chunk(rows: int, steps: int) -> np.ndarray:
    return np.random.default_rng([rows, steps]).normal(size=(rows, steps, 3)).astype(np.float32)


def test_rows_that_are_taken_go_on_as_they_would_have(model):
    x, rows = chunk(5, 7), [4, 0, 0, 3, 4, 1]
    stream = model.stream(batch=5)
    stream.process(x)
    taken = stream.take(rows)
    assert taken.batch == 6
    further = chunk(6, 6)
    y = taken.process(further)
    for i, row in enumerate(rows):
        alone = model.stream(batch=1)
        alone.process(x[row : row + 1])
        assert same_bits(alone.process(further[i : i + 1]), y[i : i + 1])
    untouched = model.stream(batch=5)
    untouched.process(x)
    assert same_bits(untouched.process(further[:5]), stream.process(further[:5]))


@settings(max_examples=60)
@given(rows=st.lists(st.integers(0, 5), min_size=6, max_size=6))
@pytest.mark.parametrize("name", ["two", "convolution", "loop", "float64"])
def test_rows_move_in_place(name, rows):
    model, x = MODELS[name](), chunk(6, 5)
    stream, twin = model.stream(batch=6), model.stream(batch=6)
    stream.process(x)
    twin.process(x)
    for _ in range(2):  # the state lies elsewhere after every other step
        stream.reorder(rows)
        twin = twin.take(rows)
        assert same_bits(stream.step(x[:, 0]), twin.step(x[:, 0]))
    for key, array in twin.state.items():
        assert same_bits(stream.state[key], array)


def test_a_stream_without_a_batch_axis_can_be_taken_from():
    model = MODELS["two"]()
    stream = model.stream()
    stream.process(chunk(1, 4)[0])
    taken, step = stream.take([0, 0, 0]), chunk(3, 1)[:, 0]
    y = taken.step(step)
    assert same_bits(stream.step(step[0]), y[0])
    stream.reorder([0])


def test_inputs_without_time_go_with_their_rows():
    b = GraphBuilder()
    y = b.add(Average(), b.input("x", Spec((3,))), b.input("still", Spec((3,), time=False)))
    model = Model(b.build(b.add(TimeConv(normal(3, 3, 3), before=1, after=1), y)))
    x, still = chunk(3, 4), normal(3, 3)
    stream = model.stream(batch=3)
    stream.process((x, still))
    taken = stream.take([2, 0])
    stream.reorder([1, 0, 2])
    ends, swapped = taken.flush(), stream.flush()
    for y, rows in ((ends, [2, 0]), (swapped, [1, 0, 2])):
        for i, row in enumerate(rows):
            alone = model.stream(batch=1)
            alone.process((x[row : row + 1], still[row : row + 1]))
            assert same_bits(alone.flush(), y[i : i + 1])


def test_rows_of_several_streams_meet_where_they_hold_as_many_steps():
    model, x = MODELS["convolution"](), chunk(3, 9)
    one, other = model.stream(batch=1), model.stream(batch=2)
    one.process(x[:1, :4])
    other.process(x[1:])
    stream = model.stream(batch=3)
    assert stream._adopt(other, [0, 1], [1, 2], True)
    assert stream._adopt(one, [0], [0], False)
    y = stream.step(x[:, 0])
    assert same_bits(one.step(x[:1, 0]), y[:1])
    assert same_bits(other.step(x[1:, 0]), y[1:])
    model = strided()
    one, other, stream = model.stream(batch=1), model.stream(batch=1), model.stream(batch=2)
    one.process(x[:1, :4])
    other.process(x[:1, :5])
    assert stream._adopt(one, [0], [0], True)
    assert not stream._adopt(other, [0], [1], False)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "rows must be one or more indices in 0..2, got []"),
        ([0, 3], "rows must be one or more indices in 0..2, got [0, 3]"),
        ([-1], "rows must be one or more indices in 0..2, got [-1]"),
        ([0.5], "rows must be one or more indices in 0..2, got [0.5]"),
        ([[0]], "rows must be one or more indices in 0..2, got [[0]]"),
        ([True], "rows must be one or more indices in 0..2, got [True]"),
    ],
)
def test_rows_that_a_stream_does_not_have(rows, message):
    stream = MODELS["two"]().stream(batch=3)
    for move in (stream.take, stream.reorder):
        with pytest.raises(ValueError, match="rows must be") as caught:
            move(rows)
        assert str(caught.value) == message
    with pytest.raises(ValueError, match="rows must be 3, one for each row of the stream, got 2"):
        stream.reorder([0, 1])


def test_overlapping_sums_go_with_their_rows():
    b = GraphBuilder()
    model = Model(b.build(b.add(OverlapAdd(6, 2), b.input("x", Spec((6,))))))
    x = np.random.default_rng(3).normal(size=(3, 5, 6)).astype(np.float32)
    stream = model.stream(batch=3)
    stream.process(x)
    taken = stream.take([2, 2, 0, 1])
    y = taken.process(x[[0, 1, 2, 0]])
    for i, row in enumerate([2, 2, 0, 1]):
        alone = model.stream(batch=1)
        alone.process(x[row : row + 1])
        assert same_bits(alone.process(x[[[0, 1, 2, 0][i]]]), y[i : i + 1])
