"""Steps taken from a sequence: windows of them, slices of time, single steps; whole, in chunks, with lengths."""

from __future__ import annotations

import numpy as np
import pytest
from cells import ISAS
from frame_cases import w
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru import GraphError, Model, reference
from fastgru import graph as g
from fastgru.graph import GraphBuilder, Spec

QUICK = settings(max_examples=80, deadline=None)
ROWS = 3
INDICES = (-1, 0, -3, 2)


def alone(op: g.Op, *frame: int, dtype: str = "float") -> g.Graph:
    b = GraphBuilder()
    return b.build(b.add(op, b.input("x", Spec(frame, dtype=dtype)), name="y"))


def steps(length: int, *frame: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(ROWS, length, *frame)).astype(np.float32)


def chunks(model: Model, x: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    """Return what a stream and its copies give for the parts of x, and at the end."""
    s, parts = model.stream(ROWS), []
    for a, b in zip([0, *cuts], [*cuts, x.shape[1]], strict=True):
        parts.append(s.process(x[:, a:b]))
        s = s.copy()
    return [*parts, s.flush()]


# Slices ----------------------------------------------------------------------------------------------


@QUICK
@given(st.data())
def test_slices_take_the_steps_that_python_takes(data):
    length, start = data.draw(st.integers(1, 14)), data.draw(st.integers(-16, 16))
    stop, step = data.draw(st.none() | st.integers(-16, 16)), data.draw(st.integers(1, 5))
    op, x = g.TimeSlice(start, stop, step), steps(length, 2)
    graph, wanted = alone(op, 2), x[:, start:stop:step]
    assert op.output_length(length) == wanted.shape[1]
    assert np.array_equal(reference.run(graph, {"x": x})[0][0], wanted)
    model = Model(graph)
    assert np.array_equal(model(x), wanted)
    streams = start >= 0 and (stop is None or stop < 0)
    assert streams == (not model._plan.blockers)
    if streams:
        for cuts in (sorted(data.draw(st.sets(st.integers(1, 14), max_size=3)) & set(range(1, length))),
                     list(range(1, length))):  # fmt: skip
            assert np.array_equal(np.concatenate(chunks(model, x, cuts), axis=1), wanted)


def test_a_slice_is_late_by_what_it_leaves_out_at_the_end():
    assert Model(alone(g.TimeSlice(stop=-4), 2)).stream().latency == 4
    assert Model(alone(g.TimeSlice(start=3, stop=-4), 2)).stream().latency == 7
    s = Model(alone(g.TimeSlice(start=2), 2)).stream()
    given = [len(s.process(np.ones((1, 2), "f"))) for _ in range(5)]
    assert given == [0, 0, 1, 1, 1]


def test_many_steps_are_skipped_without_being_kept():
    model = Model(alone(g.TimeSlice(start=2**24), 8))
    assert model.stream().__sizeof__() < 100_000 + Model(alone(g.TimeSlice(start=1), 8)).stream().__sizeof__()
    s = model.stream()
    assert s.process(np.ones((1000, 8), "f")).shape == (0, 8)
    assert s.state["y.held"] == 1000 - 2**24


def test_streams_can_be_saved_while_they_skip():
    model, x = Model(alone(g.TimeSlice(start=5, stop=-2, step=2), 2)), steps(16, 2)
    s, again = model.stream(ROWS), model.stream(ROWS)
    s.process(x[:, :3])
    again.state = s.state
    for part in (x[:, 3:9], x[:, 9:]):
        assert np.array_equal(s.process(part), again.process(part))
    with pytest.raises(ValueError, match="reset all rows"):
        s.reset([0])
    s.reset()
    s.reset([1])
    assert np.array_equal(np.concatenate([s.process(x), s.flush()], axis=1), x[:, 5:-2:2])


def test_steps_meet_those_behind_them():
    """x[:, 2:] - x[:, :-2] in a stream: the one drops steps, the other waits."""
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    graph = b.build(b.add(g.Binary("sub"), b.add(g.TimeSlice(2), x), b.add(g.TimeSlice(stop=-2), x)))
    model, given = Model(graph), steps(11, 3)
    wanted = given[:, 2:] - given[:, :-2]
    assert np.array_equal(model(given), wanted)
    for cuts in ([1, 2, 5], list(range(1, 11))):
        assert np.array_equal(np.concatenate(chunks(model, given, cuts), axis=1), wanted)
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    model = Model(b.build(b.add(g.Add(), x, b.add(g.TimeSlice(-2), x))))
    with pytest.raises(ValueError, match=r"inputs of node .* must have one number of steps"):
        model(given)
    assert np.array_equal(model(given[:, :2]), 2 * given[:, :2])


def test_a_layer_behind_a_slice_runs_over_its_steps():
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    graph = b.build(b.add(g.GRU(w(12, 3), w(12, 4)), b.add(g.TimeSlice(1, -1, 3), x)))
    model, given = Model(graph), steps(14, 3)
    whole = model(given)
    assert np.abs(whole - reference.run(graph, {"x": given})[0][0]).max() < 3e-6
    assert np.array_equal(np.concatenate(chunks(model, given, [4, 5]), axis=1), whole)
    with pytest.raises(ValueError, match="lengths and mask must be omitted"):
        model(given, lengths=[3, 4, 5])


# Windows ---------------------------------------------------------------------------------------------


@QUICK
@given(st.data())
def test_windows_of_any_frame(data):
    length, size, hop = (data.draw(st.integers(1, n)) for n in (14, 4, 4))
    dilation = data.draw(st.integers(1, 3))
    before, after = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5))
    frame = data.draw(st.sampled_from([(), (1,), (2, 3), (1, 2)]))
    op, x = g.Framing(size, hop, dilation, before, after), steps(length, *frame)
    padded = np.pad(x, [(0, 0), (before, after), *[(0, 0)] * len(frame)])
    places = range(0, padded.shape[1] - op.extent + 1, hop)
    picked = [padded[:, p : p + op.extent : dilation] for p in places]
    wanted = np.stack(picked, axis=1) if picked else np.zeros((ROWS, 0, size, *frame), "f")
    wanted = wanted.reshape(*wanted.shape[:3], *(() if frame == (1,) else frame))
    graph = alone(op, *frame)
    assert np.array_equal(reference.run(graph, {"x": x})[0][0], wanted)
    model = Model(graph)
    assert np.array_equal(model(x), wanted)
    assert np.array_equal(np.concatenate(chunks(model, x, list(range(1, length))), axis=1), wanted)


def test_windows_keep_their_dtype():
    b = GraphBuilder()
    x = b.input("x", Spec((2,), dtype="int"))
    small = b.add(g.Binary("less"), x, b.add(g.Constant([3, 3], "int")))
    frames = g.Framing(2, 1, before=1)
    model = Model(b.build(b.add(frames, x), b.add(frames, small)))
    given = np.arange(2 * 3 * 2).reshape(2, 3, 2)
    whole, few = model(given)
    assert (whole.dtype, few.dtype) == (np.int64, np.bool_)
    before = np.pad(given, [(0, 0), (1, 0), (0, 0)])[:, :-1]
    assert np.array_equal(whole, np.stack([before, given], axis=2))
    assert np.array_equal(few[:, 1:], whole[:, 1:] < 3)
    assert not few[:, 0, 0].any()


def test_causal_windows_lie_in_loops():
    b = GraphBuilder()
    x, state = b.input("x", Spec((2,))), b.add(g.State(np.zeros(2)))
    seen = b.add(g.Framing(3, 1, before=2), b.add(g.Add(), x, state))
    y = b.add(g.Activate("tanh"), b.add(g.Reduce("sum", (0,), keepdims=False), seen))
    graph = b.build(y, feedback={state: y})
    given = steps(9, 2)
    assert np.abs(Model(graph)(given) - reference.run(graph, {"x": given})[0][0]).max() < 3e-6


# Single steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("frame", [(), (5,), (2, 3)])
def test_a_step_is_of_those_that_count(index, frame, isa):
    graph, x = alone(g.TimeStep(index), *frame), steps(9, *frame)
    model = Model(graph, isa=isa)
    assert np.array_equal(model(x), x[:, index])
    lengths = np.array([9, 4, 0])
    by_length = model(x, lengths=lengths)
    for y, row, n in zip(by_length, x, lengths, strict=True):
        assert np.array_equal(y, row[:n][index] if n else np.zeros(frame))
    mask = np.random.default_rng(1).random((ROWS, 9)) < 0.4
    mask[2] = False
    got = model(x, mask=mask)
    assert np.array_equal(got, reference.run(graph, {"x": x}, mask=mask)[0][0])
    for y, row, valid in zip(got, x, mask, strict=True):
        enough = valid.sum() >= graph.nodes[0].op.fewest
        assert np.array_equal(y, row[valid][index] if enough else np.zeros(frame))


@pytest.mark.parametrize("reverse", [False, True])
def test_the_last_step_is_what_a_recurrence_that_keeps_nothing_ends_with(reverse):
    kept = g.RNN(np.eye(4), np.zeros((4, 4)), activation="linear", return_sequences=False, reverse=reverse)
    old, new = Model(alone(kept, 4)), Model(alone(g.TimeStep(0 if reverse else -1), 4))
    x, mask = steps(8, 4), np.random.default_rng(3).random((ROWS, 8)) < 0.5
    for counted in ({}, {"lengths": [8, 3, 0]}, {"mask": mask}):
        assert np.array_equal(old(x, **counted), new(x, **counted))


def test_a_step_holds_numbers_beside_others_that_are_none():
    x = steps(4, 3)
    x[:, -1] = [1.0, np.nan, -np.inf]
    assert np.array_equal(Model(alone(g.TimeStep(), 3))(x), x[:, -1], equal_nan=True)


@pytest.mark.parametrize("index", INDICES)
def test_a_stream_gives_the_step_of_those_so_far(index):
    model, x = Model(alone(g.TimeStep(index), 2)), steps(9, 2)
    s = model.stream(ROWS)
    for t in range(9):
        so_far = x[:, : t + 1]
        wanted = so_far[:, index] if t + 1 >= g.TimeStep(index).fewest else np.zeros((ROWS, 2))
        assert np.array_equal(s.step(x[:, t]), wanted)
        s = s.copy()
    again = model.stream(ROWS)
    again.state = s.state
    assert np.array_equal(again.process(x[:, :2]), s.process(x[:, :2]))
    assert np.array_equal(s.flush(), np.concatenate([x, x[:, :2]], axis=1)[:, index])
    for part in chunks(model, x, [4, 7])[2:]:
        assert np.array_equal(part, x[:, index])


@pytest.mark.parametrize("index", INDICES)
def test_single_rows_begin_anew(index):
    model, x = Model(alone(g.TimeStep(index), 2)), steps(5, 2)
    s = model.stream(ROWS)
    s.process(x)
    s.reset([1])
    got = s.process(x)
    assert np.array_equal(got[1], x[1, index])
    assert np.array_equal(got[0], np.concatenate([x, x], axis=1)[0, index])


@pytest.mark.parametrize(("index", "fewest"), [(-3, 3), (4, 5)])
def test_sequences_that_are_too_short_are_refused(index, fewest):
    graph = alone(g.TimeStep(index), 2)
    with pytest.raises(ValueError, match=f"node 'y' takes a step must have at least {fewest}, got 2: give a longer"):
        Model(graph)(steps(2, 2))
    with pytest.raises(GraphError, match=f"must have at least {fewest}, got 2"):
        reference.run(graph, {"x": steps(2, 2)})
    with pytest.raises(GraphError, match=f"input of node 'y' must have at least {fewest} steps, got 2"):
        graph.lengths(2)


def test_steps_of_any_dtype():
    b = GraphBuilder()
    x = b.input("x", Spec((), dtype="int"))
    model = Model(b.build(b.add(g.TimeStep(), x), b.add(g.TimeStep(0), b.add(g.Mask(2.0), x))))
    last, first = model(np.array([[2, 7, 5], [1, 0, 2]]))
    assert (last.dtype, first.dtype) == (np.int64, np.bool_)
    assert (last.tolist(), first.tolist()) == ([5, 2], [False, True])


def test_the_last_steps_of_any_number_are_a_window():
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    model = Model(b.build(b.add(g.TimeStep(), b.add(g.Framing(4, 1), x))))
    given = steps(9, 3)
    assert np.array_equal(model(given), given[:, -4:])
    s = model.stream(ROWS)
    assert np.array_equal([s.step(given[:, t]) for t in range(9)][-1], given[:, -4:])


def test_predict_takes_the_last_step_of_each_sequence():
    model = Model([g.GRU(w(12, 3), w(12, 4)), g.Dense(w(2, 4)), g.TimeStep()])
    sequences = [steps(n, 3)[0] for n in (7, 2, 11)]
    for got, x in zip(model.predict(sequences), sequences, strict=True):
        assert np.array_equal(got, model(x))


def test_a_loop_starts_at_the_step_of_another():
    """The end of one loop, read by the next; the first step of a state that only delays."""
    b = GraphBuilder()
    x, state = b.input("x", Spec((2,))), b.add(g.State(np.ones(2)))
    y = b.add(g.Activate("tanh"), b.add(g.Add(), x, state))
    graph = b.build(b.add(g.TimeStep(), y), b.add(g.TimeStep(0), state), b.add(g.TimeStep(-2), state),
                    feedback={state: y})  # fmt: skip
    given = steps(7, 2)
    for got, wanted in zip(Model(graph)(given), reference.run(graph, {"x": given})[0], strict=True):
        assert np.abs(got - wanted).max() < 3e-6
