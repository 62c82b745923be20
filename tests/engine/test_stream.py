"""Streams: state in and out, reset of rows, copies, pickles, threads; no allocation of the caller's arrays."""

from __future__ import annotations

import pickle
import sys
import threading

import numpy as np
import pytest
from cells import make_cell

from fastgru import Model
from fastgru import graph as g
from fastgru.graph import GraphBuilder, Spec
from fastgru.layers import Bidirectional, Dense, Embedding

X = np.random.default_rng(6).normal(size=(4, 12, 5)).astype(np.float32)


@pytest.fixture
def model() -> Model:
    return Model([make_cell("gru-after", 5, 20), make_cell("lstm-projection", 20, 9), Dense(np.ones((2, 4)))])


def test_state_round_trips(model):
    stream = model.stream(4)
    stream.process(X[:, :5])
    state = stream.state
    assert {k: v.shape for k, v in state.items()} == {"gru.h": (4, 20), "lstm.h": (4, 4), "lstm.c": (4, 9)}
    want = stream.process(X[:, 5:])
    other = model.stream(4)
    other.state = state
    assert np.array_equal(other.process(X[:, 5:]), want)
    state["gru.h"][:] = 7
    assert not (stream.state["gru.h"] == 7).any()


def test_copies_and_pickles_go_on_alone(model):
    stream = model.stream()
    stream.process(X[0, :5])
    twins = [stream.copy(), pickle.loads(pickle.dumps(stream))]
    want = stream.process(X[0, 5:])
    for twin in twins:
        assert np.array_equal(twin.process(X[0, 5:]), want)


def test_reset_rows(model):
    stream = model.stream(4)
    stream.process(X[:, :5])
    before = stream.state
    stream.reset(rows=[1, 3])
    fresh, after = model.stream(4).state, stream.state
    for key in before:
        assert np.array_equal(after[key][[1, 3]], fresh[key][[1, 3]])
        assert np.array_equal(after[key][[0, 2]], before[key][[0, 2]])
    stream.reset(rows=np.array([True, False, True, False]))
    assert np.array_equal(stream.state["gru.h"], fresh["gru.h"])
    stream.process(X)
    stream.reset()
    assert np.array_equal(stream.process(X), model(X))


def test_out_is_written_in_place(model):
    stream, out = model.stream(), np.empty(2, np.float32)
    assert stream.step(X[0, 0], out=out) is out
    assert np.array_equal(out, model(X[0, :1])[0])
    ys = np.empty((4, 12, 2), np.float32)
    assert model(X, out=ys) is ys
    assert np.array_equal(ys, model(X))


def test_out_may_overlap_the_input():
    """As in NumPy: the result is that of a separate output, wherever the two lie in memory."""
    x = np.random.default_rng(7).normal(size=(5000, 3)).astype(np.float32)
    model = Model([make_cell("gru-after", 3, 3)])
    want = model(x)
    for shift in (0, 1, 3):
        memory = np.zeros((5003, 3), np.float32)
        memory[:5000] = x
        assert np.array_equal(model(memory[:5000], out=memory[shift : shift + 5000]), want)


def test_strided_double_and_list_input_is_converted(model):
    want = model(X)
    assert np.array_equal(model(X.astype(np.float64)), want)
    assert np.array_equal(model(np.asfortranarray(X)), want)
    wide = np.zeros((4, 24, 5), np.float32)
    wide[:, ::2] = X
    assert np.array_equal(model(wide[:, ::2]), want)
    assert np.array_equal(model.stream().step(X[0, 0].tolist()), want[0, 0])


def test_models_are_shared_by_threads_and_pickled(model):
    want = model(X)
    results: list[bool] = []

    def work() -> None:
        results.extend(bool(np.array_equal(model(X), want)) for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 200
    assert all(results)
    assert np.array_equal(pickle.loads(pickle.dumps(model))(X), want)


def test_a_running_stream_allocates_nothing(model):
    stream, out, frame = model.stream(), np.empty(2, np.float32), np.ascontiguousarray(X[0, 0])
    chunk, outs = np.ascontiguousarray(X[0]), np.empty((12, 2), np.float32)
    for _ in range(3):
        before = sys.getallocatedblocks()
        for _ in range(1000):
            stream.step(frame, out)
            stream.process(chunk, outs)
    assert sys.getallocatedblocks() - before <= 2  # the counters of this test itself


BAD_FRAMES = [
    (np.zeros(4, np.float32), r"x must have shape \(5,\), got \(4,\)"),
    (np.zeros((1, 5), np.float32), r"x must have shape \(5,\), got \(1, 5\)"),
    (np.float32(0), r"x must have shape \(5,\), got \(\)"),
]


@pytest.mark.parametrize(("frame", "message"), BAD_FRAMES)
def test_a_bad_frame_leaves_the_state_untouched(model, frame, message):
    stream = model.stream()
    stream.step(X[0, 0])
    before = stream.state
    with pytest.raises(ValueError, match=message):
        stream.step(frame)
    assert all(np.array_equal(stream.state[k], before[k]) for k in before)


BAD_CALLS = [
    ({"x": np.zeros((2, 0, 5), np.float32)}, ValueError, "x must have at least one step"),
    ({"x": np.zeros(5, np.float32)}, ValueError, r"x must have shape \(T, 5\) or \(B, T, 5\), got \(5,\)"),
    ({"x": np.zeros((2, 3, 6), np.float32)}, ValueError, r"x must have shape \(2, T, 5\), got \(2, 3, 6\)"),
    ({"x": np.zeros((3, 5), complex)}, TypeError, "x must be real numbers, got complex128"),
    ({"x": X, "lengths": [1, 2, 3, 13]}, ValueError, r"lengths must lie in 0\.\.12, got 13"),
    ({"x": X, "lengths": [1, 2]}, ValueError, r"lengths must be integers of shape \(4,\)"),
    ({"x": X, "lengths": [1.0] * 4}, ValueError, "lengths must be integers"),
    ({"x": X, "mask": np.ones((4, 12))}, ValueError, r"mask must be bool of shape \(4, 12\), got float64"),
    ({"x": X, "mask": np.ones((4, 12), bool), "lengths": [1] * 4}, ValueError, "lengths must be omitted"),
    (
        {"x": X, "state": {"gru.h": np.zeros(20)}},
        ValueError,
        r"state\['gru.h'\] must be real numbers of shape \(4, 20\)",
    ),
    ({"x": X, "state": {"gru": np.zeros(20)}}, ValueError, r"key of state must be one of .*, got 'gru'"),
    ({"x": X, "state": [1]}, TypeError, "state must be a dict of arrays, got list"),
    (
        {"x": X, "out": np.empty((4, 12, 3), np.float32)},
        ValueError,
        r"out must be .* of shape \(4, 12, 2\), got float32",
    ),
    ({"x": X, "out": np.empty((4, 12, 2))}, ValueError, "out must be a writable C-contiguous float32"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_CALLS)
def test_bad_calls_name_argument_expected_and_given(model, arguments, error, message):
    with pytest.raises(error, match=message):
        model(**arguments)
    assert np.array_equal(model(X), model(X))


def test_bad_states_and_rows(model):
    stream = model.stream(4)
    stream.process(X)
    before = stream.state
    for bad in ({}, {**before, "x": 1}, {**before, "gru.h": np.zeros((4, 19))}):
        with pytest.raises(ValueError, match="state"):
            stream.state = bad
    for rows in ([4], [-1], np.ones(3, bool), [0.5]):
        with pytest.raises(ValueError, match=r"rows must be indices in 0\.\.3"):
            stream.reset(rows=rows)
    assert all(np.array_equal(stream.state[k], before[k]) for k in before)
    with pytest.raises(ValueError, match="batch must be None or an integer from 1 to 2147483647, got 0"):
        model.stream(0)


def test_a_bidirectional_model_has_no_stream():
    cell = make_cell("gru-after", 5, 3)
    with pytest.raises(ValueError, match=r"work step by step, got 'bidirectional\.backward', which runs backwards"):
        Model([Bidirectional(cell, cell)]).stream()


# The short ways for what needs no conversion ------------------------------------------------------


def of_ids():
    rng = np.random.default_rng(7)
    return Model([Embedding(rng.normal(size=(7, 4))), make_cell("gru-after", 4, 8), Dense(rng.normal(size=(3, 8)))])


@pytest.mark.parametrize(
    "as_given",
    [int, np.int64, np.int32, np.uint8, np.array, lambda i: np.array(i, np.int16), lambda i: np.array(i, ">i8")],
    ids=["int", "int64", "int32", "uint8", "array", "array16", "swapped"],
)
def test_an_id_may_be_any_integer(as_given):
    model = of_ids()
    ids = [3, 0, 6, 6, 1]
    whole = model(np.array(ids))
    stream = model.stream()
    assert np.array_equal([stream.step(as_given(i)) for i in ids], whole)
    stream = model.stream(batch=2)
    both = np.array([ids, ids[::-1]])
    assert np.array_equal(np.stack([stream.step(both[:, t]) for t in range(5)], 1), model(both))  # strided ids
    stream.reset()
    columns = np.ascontiguousarray(both.T)
    assert np.array_equal(np.stack([stream.step(column) for column in columns], 1), model(both))


@pytest.mark.parametrize(
    ("wrong", "error", "got"),
    [(-1, ValueError, "-1"), (7, ValueError, "7"), (np.int64(7), ValueError, "7"), (2**70, TypeError, "object"),
     (True, TypeError, "bool"), (1.0, TypeError, "float64"), (np.array(-3), ValueError, "-3"),
     (np.array([1]), ValueError, r"\(1,\)"), (2**63, ValueError, str(2**63))],
)  # fmt: skip
def test_an_id_outside_of_the_table_is_refused_and_changes_nothing(wrong, error, got):
    stream = of_ids().stream()
    stream.step(2)
    before = stream.state
    with pytest.raises(error, match=f"x must .*got {got}"):
        stream.step(wrong)
    assert all(np.array_equal(before[k], v) for k, v in stream.state.items())


def test_ids_of_a_batch_outside_of_the_table_are_refused():
    model = of_ids()
    stream = model.stream(batch=2)
    with pytest.raises(ValueError, match=r"x must have ids in 0\.\.6, got 9"):
        stream.step(np.array([1, 9]))
    with pytest.raises(ValueError, match=r"x must have ids in 0\.\.6, got -2"):
        stream.process(np.array([[1, 2], [-2, 9]]))
    model(np.zeros((2, 3), int))
    with pytest.raises(ValueError, match=r"ids in 0\.\.6, got 7"):
        model(np.full((2, 3), 7))
    assert model(np.zeros((2, 3), int)).shape == (2, 3, 3)


def test_calls_in_any_order_give_what_a_fresh_model_gives():
    """A call leaves its stream to the next one, which may be of another kind."""
    layers, rng = [make_cell("gru-after", 5, 16), Dense(np.ones((2, 16)))], np.random.default_rng(8)
    model, long = Model(layers), 700  # steps: several blocks
    shapes = [(4,), (4,), (1,), (long,), (long,), (long + 1,), (3, 4), (3, 4), (2, 4), (4,)]
    arrays = [rng.normal(size=(*shape, 5)).astype(np.float32) for shape in shapes]
    for x in arrays:
        for given in (x, x, x.astype(np.float64), x.tolist(), np.asfortranarray(x), x[..., ::-1][..., ::-1]):
            assert np.array_equal(model(given), Model(layers)(x))
        out = np.empty((*x.shape[:-1], 2), np.float32)
        assert model(x, out=out) is out
        assert np.array_equal(out, Model(layers)(x))
        assert np.array_equal(model(x, lengths=1 if x.ndim == 2 else [1] * len(x))[..., :1, :], model(x)[..., :1, :])
        with pytest.raises(ValueError, match="must have shape"):
            model(x[..., :4])
        with pytest.raises(ValueError, match="out must"):
            model(x, out=out[..., :1])


def test_chunks_that_need_no_conversion_are_read_in_place():
    model = Model([make_cell("gru-after", 5, 16)])
    x = np.random.default_rng(9).normal(size=(2, 30, 5)).astype(np.float32)
    for batch, given in ((None, x[0]), (2, x)):
        whole, stream = model(given), model.stream(batch)
        cut = [np.ascontiguousarray(part) for part in np.split(given, [1, 4, 17], axis=-2)]
        assert np.array_equal(np.concatenate([stream.process(part) for part in cut], axis=-2), whole)
        for wrong in (given[..., :4], given[..., :0, :], np.zeros((3, 3, 5), np.float32), given[0, 0]):
            with pytest.raises(ValueError, match="x must have"):
                stream.process(np.ascontiguousarray(wrong))


@pytest.mark.parametrize("dtype", ["f8", "f2", ">f4", "i2", "u1", "i8", "?", "g"])
def test_a_frame_may_be_of_any_real_numbers(dtype):
    model = Model([make_cell("gru-after", 5, 16)])
    x = (3 * np.random.default_rng(10).normal(size=(2, 6, 5))).astype(dtype)
    whole = model(x.astype(np.float32))
    for batch, given, want in ((None, x[0], whole[0]), (2, x, whole)):
        stream = model.stream(batch)
        frames = [given[..., t, :] for t in range(6)]
        assert np.array_equal(np.stack([stream.step(frame) for frame in frames], -2), want)
        stream.reset()
        wide = [np.repeat(frame, 2, axis=-1)[..., ::2] for frame in frames]  # strided
        assert np.array_equal(np.stack([stream.step(frame) for frame in wide], -2), want)


@pytest.mark.parametrize("wrong", [np.ones(5, complex), np.ones(5, object), np.array(list("abcde")), np.ones(4, "f8"),
                                   np.ones((1, 5), "f8"), np.zeros(5, "M8[s]"), 3, np.ones((), "f8")])  # fmt: skip
def test_a_frame_that_does_not_fit_is_refused_and_changes_nothing(wrong):
    stream = Model([make_cell("gru-after", 5, 16)]).stream()
    stream.step(np.ones(5))
    before = stream.state["gru.h"].copy()
    with pytest.raises((TypeError, ValueError), match="x must"):
        stream.step(wrong)
    assert np.array_equal(before, stream.state["gru.h"])


def test_outputs_that_overlap_or_are_masked_are_refused():
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    model = Model(b.build(b.add(g.Unary("neg"), x), b.add(g.Unary("abs"), x)))
    xs, out = np.ones((4, 3), np.float32), np.empty((8, 3), np.float32)
    for wrong in ((out[:4], out[:4]), (out[:4], out[2:6])):
        with pytest.raises(ValueError, match=r"out\[1\] must not share memory with out\[0\]"):
            model(xs, out=wrong)
    with pytest.raises(ValueError, match=r"out\[0\] must be a writable"):
        model(xs, out=(np.ma.masked_array(out[:4], mask=True), out[4:]))
    assert model(xs, out=(out[:4], out[4:]))[1] is not None
    assert np.array_equal(out, np.concatenate([-xs, xs]))


@pytest.mark.parametrize(
    "make", [np.array, lambda x: np.array(x, np.longdouble), lambda x: np.array(x)[:, ::-1][:, ::-1]]
)
def test_numbers_beyond_float32_are_infinite_without_a_warning(make):
    b = GraphBuilder()
    model = Model(b.build(b.add(g.Activate("linear"), b.input("x", Spec((3,))))))
    x = make([[1e300, -1e300, 1.0]] * 3)
    wanted = np.array([np.inf, -np.inf, 1.0], np.float32)
    assert np.array_equal(model(x)[0], wanted)
    assert np.array_equal(model.stream().step(x[0]), wanted)
    assert np.array_equal(model.stream().process(x)[0], wanted)
