"""Prediction of many sequences has the bits of a call on each, in slices and batches of any size."""

from __future__ import annotations

import io
import sys
from collections import UserDict
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import graphs

from fastgru import Model, _predict, _progress
from fastgru import graph as g
from fastgru.graph import GraphBuilder, Spec
from fastgru.layers import GRU, LSTM, Bidirectional, Dense, Embedding, Mask, TimeConv, TimeReduce

RNG = np.random.default_rng(7)
LENGTHS = [5, 1, 30, 2, 5, 17, 16, 3, 31, 8, 5, 1, 29, 12]


def w(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) / 2).astype(np.float32)


def gru(inputs: int = 3, units: int = 5, **more: Any) -> GRU:
    return GRU(w(3 * units, inputs), w(3 * units, units), w(3 * units), **more)


def masked() -> g.Graph:
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    return b.build(b.add(gru(mask_output="carry"), x, b.add(Mask(0.0), x)))


def two() -> g.Graph:
    """A model of two inputs."""
    b = GraphBuilder()
    return b.build(b.add(gru(), b.add(g.Add(), b.input("a", Spec((3,))), b.input("b", Spec((3,))))))


LAYERS: dict[str, Any] = {
    "one layer": [gru()],
    "two directions": [Bidirectional(gru(), gru(reverse=True))],
    "backwards": [gru(reverse=True)],
    "the last step": [gru(), gru(5, return_sequences=False), Dense(w(2, 5), w(2))],
    "the last step of two directions": [
        Bidirectional(gru(return_sequences=False), gru(reverse=True, return_sequences=False))
    ],
    "a convolution that looks back": [TimeConv(w(4, 3, 3), w(4), before=2), gru(4)],
    "a convolution that looks ahead": [TimeConv(w(4, 3, 3), w(4), before=1, after=1), gru(4)],
    "a mean over time": [gru(), TimeReduce("mean")],
    "a stride": [TimeConv(w(4, 3, 3), stride=2, before=2), LSTM(w(16, 4), w(16, 4))],
    "a mask": masked(),
    "whole numbers": [gru(), Dense(w(4, 5), precision="int8")],
}


def same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    for y, z in zip(a, b, strict=True) if isinstance(a, tuple | list) else [(a, b)]:
        if isinstance(y, tuple):
            same(y, z)
            continue
        assert y.dtype == z.dtype
        np.testing.assert_array_equal(y, z)


@pytest.mark.parametrize("name", LAYERS)
def test_sequences_of_any_length_have_the_bits_of_calls_alone(name):
    model = Model(LAYERS[name])
    sequences = [w(n, 3) for n in LENGTHS]
    alone = [model(x) for x in sequences]
    for batch_size in (None, 1, 3, 100):
        same(model.predict(sequences, batch_size=batch_size), alone)
    same(model.predict((x for x in sequences), batch_size=2, threads=2), alone)


def test_only_models_that_look_back_or_are_recurrent_pad():
    padding = {name for name, layers in LAYERS.items() if Model(layers)._signature.pads}
    assert set(LAYERS) - padding == {"a convolution that looks ahead", "a mean over time", "a stride"}


@pytest.mark.parametrize("name", LAYERS)
def test_slices_of_an_array_have_the_bits_of_one_call(name):
    model, x = Model(LAYERS[name]), w(23, 16, 3)
    whole = model(x)
    for batch_size in (None, 1, 7, 23, 1000):
        same(model.predict(x, batch_size=batch_size), whole)
    if model._signature.pads:
        lengths = RNG.integers(0, 17, size=23)
        same(model.predict(x, lengths=lengths, batch_size=4), model(x, lengths=lengths))


@settings(deadline=None)  # a busy machine is no fault
@given(graphs(), st.lists(st.integers(1, 9), max_size=9), st.integers(1, 5))
def test_models_of_several_inputs_and_outputs(graph, lengths, batch_size):
    model = Model(graph)
    shapes = {name: (spec.time, spec.shape) for name, spec in graph.inputs.items()}
    sequences = [{n: w(*[steps] * timed, *shape) for n, (timed, shape) in shapes.items()} for steps in lengths]
    same(model.predict(sequences, batch_size=batch_size), [model(x) for x in sequences])
    x = {n: w(7, *[4] * timed, *shape) for n, (timed, shape) in shapes.items()}
    same(model.predict(x, batch_size=batch_size), model(x))
    same(model.predict(tuple(x[n] for n in graph.inputs), batch_size=batch_size), model(x))
    none = {n: array[:0] for n, array in x.items()}
    same(model.predict(none), (lambda y: tuple(a[:0] for a in y) if isinstance(y, tuple) else y[:0])(model(x)))


def test_ids():
    model = Model([Embedding(w(11, 4)), gru(4)])
    sequences = [RNG.integers(0, 11, size=n) for n in LENGTHS]
    same(model.predict(sequences, batch_size=4), [model(x) for x in sequences])
    same(model.predict([x.tolist() for x in sequences]), [model(x) for x in sequences])
    with pytest.raises(ValueError, match=r"^x\[1\] must have ids in 0\.\.10, got 11"):
        model.predict([[1, 2], [11]])


def test_rows_without_time_are_sliced_too():
    model, x = Model([Dense(w(2, 3))]), w(50, 3)
    graph = GraphBuilder()
    rows = Model(graph.build(graph.add(Dense(w(2, 3)), graph.input("x", Spec((3,), False)))))
    same(rows.predict(x, batch_size=7), rows(x))
    same(rows.predict(list(x), batch_size=7), list(rows(x)))
    assert rows.predict(x[:0]).shape == rows(x[:0]).shape == (0, 2)
    same(model.predict(x), model(x))


def test_through_blas_results_agree_within_rounding():
    model = Model([gru(units=33)], dtype="float64")
    sequences = [w(n, 3) for n in LENGTHS]
    for y, alone in zip(model.predict(sequences), map(model, sequences), strict=True):
        assert y.dtype == np.float64
        np.testing.assert_allclose(y, alone, rtol=0, atol=1e-12)


# Memory --------------------------------------------------------------------------------------------


class OnDisk:
    """What `h5py.Dataset` offers, with a note of the rows that were read."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, []

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.read.append((rows.start, rows.stop))
        return self._array[rows]

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise AssertionError("the whole was read")


def test_what_lies_on_disk_is_read_in_slices(tmp_path):
    model, x = Model([gru()]), w(20, 6, 3)
    dataset = OnDisk(x)
    same(model.predict(dataset, batch_size=8), model(x))
    assert dataset.read == [(0, 8), (8, 16), (16, 24)]
    np.save(tmp_path / "x.npy", x)
    same(model.predict(np.load(tmp_path / "x.npy", mmap_mode="r"), batch_size=3), model(x))


def test_a_generator_may_use_one_array_for_all_its_items():
    model, buffer = Model([gru()]), np.empty((5, 3), np.float32)

    def items():
        for i in range(40):
            buffer[:] = i / 40
            yield buffer

    expected = [model(np.full((5, 3), i / 40, np.float32)) for i in range(40)]
    same(model.predict(items()), expected)
    same(model.predict({"x": item} for item in items()), expected)


@pytest.mark.parametrize("mapping", [MappingProxyType, UserDict])
def test_inputs_by_name_in_any_mapping(mapping):
    model, x = Model(two()), {"a": w(4, 5, 3), "b": w(4, 5, 3)}
    expected = model(x)
    same(model(mapping(x)), expected)
    same(model(mapping(x)), expected)  # as the last call
    same(model.predict(mapping(x)), expected)
    rows = [mapping({name: array[i] for name, array in x.items()}) for i in range(4)]
    same(model.predict(rows), list(expected))
    streams = model.stream(), model.stream(batch=4)
    for t in range(5):
        same(streams[0].step(mapping({name: array[0, t] for name, array in x.items()})), expected[0, t])
        same(streams[1].step(mapping({name: array[:, t] for name, array in x.items()})), expected[:, t])
    with pytest.raises(ValueError, match=r"x must have the inputs \['a', 'b'\], got \['a'\]"):
        model(mapping({"a": x["a"]}))


@pytest.mark.parametrize("batch_size", [1 << 62, 1 << 70])
def test_a_batch_may_be_larger_than_any_input(batch_size):
    model, x = Model([gru()]), w(4, 5, 3)
    for sequences in (x, list(x), iter(x)):
        np.testing.assert_array_equal(model.predict(sequences, batch_size=batch_size), model(x))


def test_a_generator_is_asked_for_a_window_at_a_time(monkeypatch):
    model, taken, ran = Model([gru()]), [], []

    def items():
        for n in range(100):
            taken.append(n)
            yield w(1 + n % 7, 3)

    together = _predict._Runner.together
    monkeypatch.setattr(_predict._Runner, "together", lambda *a: ran.append(len(taken)) or together(*a))
    assert len(model.predict(items(), batch_size=2)) == 100
    assert ran[0] == 2 * _predict.BATCHES
    assert all(b - a <= 2 * _predict.BATCHES for a, b in pairwise(ran))


def test_long_sequences_make_small_batches():
    runner = _predict._Runner(model := Model([gru()]), model._plan, None, 1)
    assert runner.rows(1) == _predict.ROWS
    assert runner.rows(10**6) == _predict.SLICE_BYTES // (10**6 * (3 + 5) * 4) == 2
    assert runner.rows(10**9) == 1


@pytest.mark.parametrize("lengths", [[1], [7] * 9, list(range(1, 60)), [1, 1000, 2, 999, 3] * 5])
def test_batches_hold_each_sequence_once_and_pad_little(lengths):
    runner = _predict._Runner(model := Model([gru()]), model._plan, 8, 1)
    batches = list(runner.batches([(n,) for n in lengths]))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        steps = [lengths[i] for i in batch]
        assert len(batch) <= _predict.FEW or max(steps) <= _predict.PADDED * min(steps)


# Mistakes ------------------------------------------------------------------------------------------


def ragged() -> np.ndarray:
    """Two sequences of unequal length as an array of objects."""
    array = np.empty(2, object)
    array[:] = [w(5, 3), w(2, 3)]
    return array


def mistakes() -> list[tuple[Any, dict[str, Any], str]]:
    x = w(4, 5, 3)
    return [
        (None, {}, r"x must be an array of numbers, got None"),
        ("abc", {}, r"x must be an array of numbers, got 'abc'"),
        (3, {}, r"x must have shape \(T, 3\) or \(B, T, 3\), got \(\)"),
        (x[..., :2], {}, r"x must have shape \(B, T, 3\), got \(4, 5, 2\)"),
        (w(40, 5, 2), {}, r"x must have shape \(B, T, 3\), got \(40, 5, 2\)"),
        (w(40, 5, 5, 3), {}, r"x must have shape \(B, T, 3\), got \(40, 5, 5, 3\)"),
        (w(40, 0, 3), {}, r"x must have at least one step, got shape \(40, 0, 3\)"),
        (w(40, 5, 3), {"lengths": [3.0] * 40}, r"lengths must be integers of shape \(40,\), got float64 of shape \(40"),
        (w(40, 5, 3), {"lengths": [3] * 39 + [9]}, r"lengths must lie in 0\.\.5, got 9"),
        ([[1.0, 2, 3], [4, 5, 6]], {}, r"x must be a list of sequences, got one sequence of 2 steps: wrap it as \[x\]"),
        ([*w(2, 3).tolist(), [1.0]], {}, r"x must be a list of sequences, got one sequence of 3 steps"),
        (ragged(), {}, r"x must be an array of numbers or a list of sequences, got 2 objects: give list\(x\)"),
        ([x[0], x[0, :, :2]], {}, r"x\[1\] must have shape \(T, 3\), got \(5, 2\)"),
        ([x[0], x[0, :0]], {}, r"x\[1\] must have at least one step, got shape \(0, 3\)"),
        ([x[0], None], {}, r"x\[1\] must have shape \(T, 3\), got \(\)"),
        (iter([x[0], "a"]), {}, r"x\[1\] must have shape \(T, 3\), got \(\)"),
        ({"y": x}, {}, r"x must have the inputs \['x'\], got \['y'\]"),
        (x, {"batch_size": 0}, r"batch_size must be a positive integer or None, got 0"),
        (x, {"batch_size": True}, r"batch_size must be a positive integer or None, got True"),
        (x, {"threads": 0}, r"threads must be an integer from 1 to \d+, got 0"),
        (x, {"lengths": [1, 2]}, r"lengths must be integers of shape \(4,\), got int64 of shape \(2,\)"),
        ([x[0]], {"lengths": [1]}, r"lengths must be omitted for a list of sequences"),
    ]


@pytest.mark.parametrize(("x", "options", "message"), mistakes())
def test_mistakes(x, options, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        Model([gru()]).predict(x, **options)


def test_arrays_of_all_inputs_in_a_list_are_told_of_a_tuple():
    model, x = Model(two()), [w(4, 5, 3), w(4, 5, 3)]
    with pytest.raises(
        ValueError, match=r"^x must be a tuple or a mapping of the inputs \['a', 'b'\], got a list: give"
    ):
        model.predict(x)
    same(model.predict(tuple(x)), model(tuple(x)))


def test_no_sequences_give_no_results():
    assert Model([gru()]).predict([]) == []
    assert Model([gru()]).predict(iter(())) == []


def test_a_ragged_list_in_a_call_is_told_of_predict_and_lengths():
    with pytest.raises(ValueError, match=r"its items differ in shape, give model\.predict\(x\) .* as lengths"):
        Model([gru()])([w(2, 3), w(4, 3)])


# No rows -------------------------------------------------------------------------------------------


def test_a_call_without_rows_gives_none():
    model, x = Model([gru(), gru(5)]), np.zeros((0, 6, 3))
    y, state = model(x, return_state=True)
    assert (y.shape, y.dtype) == ((0, 6, 5), np.float32)
    assert {key: array.shape for key, array in state.items()} == {"gru.h": (0, 5), "gru_1.h": (0, 5)}
    assert model(x, state=state, lengths=np.zeros(0, int)).shape == (0, 6, 5)
    out = np.zeros((0, 6, 5), np.float32)
    assert model(x, out=out) is out
    wrong = ({"lengths": [1]}, {"lengths": 0}, {"mask": np.ones((1, 6), bool)}, {"mask": np.ones((0, 5), bool)},
             {"mask": np.True_}, {"state": {}}, {"out": out[:, :5]})  # fmt: skip
    assert model(x, mask=np.ones((0, 6), bool)).shape == (0, 6, 5)
    for more in wrong:
        with pytest.raises(ValueError, match=next(iter(more))):
            model(x, **more)
    with pytest.raises(ValueError, match="x must have at least one step"):
        model(np.zeros((0, 0, 3)))


# Progress ------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("kind", "after", "shows"), [(Terminal, 0.0, True), (Terminal, 60.0, False), (io.StringIO, 0.0, False)]
)
def test_progress_is_for_long_work_on_a_terminal(kind, after, shows, monkeypatch):
    stderr = kind()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(_progress, "AFTER", after)
    monkeypatch.setenv("TERM", "xterm")
    Model([gru()]).predict([w(3, 3)] * 9, batch_size=1, progress=True)
    assert ("9/9" in stderr.getvalue()) is shows
