"""Inputs with numbers of steps of their own: an encoder and a decoder, networks side by side."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fastgru
from fastgru import Model, quantization, reference
from fastgru import graph as g
from fastgru.checks import selftest
from fastgru.errors import GraphError
from fastgru.graph import GraphBuilder, Spec

RNG = np.random.default_rng(7)
STEPS = ((9, 5), (5, 9), (1, 6), (6, 1), (7, 7), (200, 90))
TOLERANCE = 3e-6


def w(*shape):
    return RNG.normal(size=shape).astype(np.float32) * 0.4


def gru(inputs, units, **more):
    return g.GRU(w(3 * units, inputs), w(3 * units, units), w(3 * units), **more)


def cell_over(b, x, start, feedback, name):
    """tanh(W [x, h]) over the steps of x, (B, T, 2), from h = start, (B, 4)."""
    held = b.add(g.State(np.zeros(4, np.float32)), name=name)
    flag = b.add(g.State(np.zeros((), np.float32)), name=f"{name}.started")
    feedback[flag] = b.add(g.Activate(g.Activation("affine", alpha=0.0, beta=1.0)), flag)
    read = b.add(g.Where(), b.add(g.Cast("bool"), flag), held, start)
    feedback[held] = b.add(g.Dense(w(4, 6), w(4), activation="tanh"), b.add(g.Concat(), x, read))
    return feedback[held]


def encoder_decoder():
    """A layer whose last step starts a cell over another input."""
    b, feedback = GraphBuilder(), {}
    x, z = b.input("x", Spec((3,))), b.input("z", Spec((2,)))
    first = b.add(gru(3, 4), x)
    last = b.add(g.Dense(w(4, 4)), b.add(gru(4, 4, return_sequences=False), first))
    return b.build(first, b.add(g.Dense(w(2, 4)), cell_over(b, z, last, feedback, "h")), feedback=feedback)


def three_cells():
    """Two cells over two inputs, and one that starts from the end of the first, over the second."""
    b, feedback = GraphBuilder(), {}
    x, z, start = b.input("x", Spec((2,))), b.input("z", Spec((2,))), b.input("s", Spec((4,), time=False))
    one, two = (cell_over(b, value, start, feedback, name) for value, name in ((x, "one"), (z, "two")))
    end = b.add(gru(4, 4, return_sequences=False), one)
    return b.build(one, b.add(g.Add(), two, cell_over(b, z, end, feedback, "three")), feedback=feedback)


def other_rates():
    """Layers that change the number of steps, over either input; the fold of one joins the other."""
    b = GraphBuilder()
    x, z = b.input("x", Spec((3,))), b.input("z", Spec((2,)))
    fewer = b.add(g.TimePool("max", 2, 2, after=1), b.add(g.TimeConv(w(4, 3, 3), before=2, after=1), x))
    folded = b.add(g.TimeReduce("mean"), b.add(gru(4, 4), fewer))
    more = b.add(g.OverlapAdd(2, 2, tail=0), b.add(g.Reshape((2, 1)), z))
    return b.build(fewer, b.add(gru(5, 3), b.add(g.Concat(), more, folded)))


def side_by_side():
    """Two recurrent layers that never meet, one of which gives its last step alone."""
    b = GraphBuilder()
    x, z = b.input("x", Spec((3,))), b.input("z", Spec((2,)))
    return b.build(b.add(gru(3, 4), x), b.add(gru(2, 5, return_sequences=False), z))


def ends_that_meet():
    """The last steps of three sequences, joined."""
    b = GraphBuilder()
    layers = [g.LSTM(w(16, 3), w(16, 4), w(16), return_sequences=False) for _ in range(3)]
    ends = [b.add(layer, b.input(name, Spec((3,)))) for name, layer in zip("xzv", layers, strict=True)]
    return b.build(b.add(g.Dense(w(2, 12)), b.add(g.Concat(), *ends)))


GRAPHS = {make.__name__: make() for make in (encoder_decoder, three_cells, other_rates, side_by_side, ends_that_meet)}
each_graph = pytest.mark.parametrize("name", GRAPHS)


def drawn(graph, steps, batch=3):
    """Inputs of so many steps, in turn."""
    own = iter((*steps, *steps))
    shapes = {n: ((next(own),) if spec.time else ()) + spec.shape for n, spec in graph.inputs.items()}
    return {n: RNG.normal(size=(batch, *shape)).astype(np.float32) for n, shape in shapes.items()}


def outputs(y):
    return y if isinstance(y, tuple) else (y,)


def same(a, b):
    return all(x.shape == y.shape and np.array_equal(x, y) for x, y in zip(outputs(a), outputs(b), strict=True))


@pytest.mark.parametrize("isa", fastgru.cpu_info()["supported"])
@pytest.mark.parametrize("steps", STEPS, ids=str)
@each_graph
def test_the_engine_computes_what_the_reference_does(name, steps, isa):
    x = drawn(GRAPHS[name], steps)
    expected, _ = reference.run(GRAPHS[name], x)
    for got, wanted in zip(outputs(Model(GRAPHS[name], isa=isa)(x)), expected, strict=True):
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max() <= TOLERANCE


@pytest.mark.parametrize("steps", STEPS, ids=str)
@each_graph
def test_bits_are_those_of_single_rows_threads_and_tuples(name, steps):
    model = Model(GRAPHS[name])
    x = drawn(model.graph, steps, batch=5)
    whole = model(x)
    assert same(model(tuple(x.values())), whole)
    assert same(model(x, threads=2), whole)
    assert same(model(x), whole)  # by the stream that the first call left
    assert same(model({n: a[2] for n, a in x.items()}), tuple(y[2] for y in outputs(whole)))


def test_bits_are_those_of_threads_where_these_share_the_work():
    b = GraphBuilder()
    layers = [gru(64, 128), gru(128, 128, return_sequences=False)]
    x, z = b.input("x", Spec((64,))), b.input("z", Spec((128,)))
    model = Model(b.build(b.add(layers[0], x), b.add(layers[1], z)))
    for steps, batch in (((90, 40), 6), ((40, 90), 6), ((300, 7), 1)):
        given = drawn(model.graph, steps, batch)
        assert same(model(given, threads=2), model(given))


@each_graph
def test_predict_takes_sequences_of_any_numbers_of_steps(name):
    model = Model(GRAPHS[name])
    items = [{n: a[0] for n, a in drawn(model.graph, steps, 1).items()} for steps in (*STEPS, *STEPS[::-1])]
    for got, item in zip(model.predict(items), items, strict=True):
        assert same(got, model(item))
    whole = drawn(model.graph, (9, 5), 7)
    assert same(model.predict(whole, batch_size=3), model(whole))


def test_inputs_that_meet_must_have_one_number_of_steps():
    b = GraphBuilder()
    x, z, v = (b.input(n, Spec((2,))) for n in "xzv")
    model = Model(b.build(b.add(g.Add(), x, z), b.add(gru(2, 2), v)))
    assert model.graph.bases["x"] == model.graph.bases["z"] == 0 != model.graph.bases["v"]
    assert [y.shape[1] for y in model(drawn(model.graph, (4, 4, 9)))] == [4, 9]
    with pytest.raises(ValueError, match=r"inputs x, z must have the same number of steps, got \{'x': 4, 'z': 5\}"):
        model(drawn(model.graph, (4, 5, 9)))
    with pytest.raises(GraphError, match="must have one number of steps, got 4 of 'x' and 5 of 'z'"):
        reference.run(model.graph, drawn(model.graph, (4, 5, 9)))


def test_lengths_count_the_steps_of_inputs_that_have_as_many():
    model = Model(GRAPHS["side_by_side"])
    x = drawn(model.graph, (6, 6))
    first, last = model(x, lengths=[6, 2, 4])
    for i, n in enumerate((6, 2, 4)):
        one, end = model({name: a[i, :n] for name, a in x.items()})
        assert np.array_equal(first[i, :n], one)
        assert np.array_equal(last[i], end)
    with pytest.raises(ValueError, match=r"lengths and mask must be omitted where inputs have different numbers"):
        model(drawn(model.graph, (6, 5)), lengths=[5, 5, 5])


def test_a_stream_takes_as_many_steps_of_every_input():
    model = Model(GRAPHS["side_by_side"])
    x = drawn(model.graph, (9, 9))
    stream = model.stream(3)
    parts = [stream.process({n: a[:, i : i + 3] for n, a in x.items()}) for i in range(0, 9, 3)]
    assert np.array_equal(np.concatenate([p[0] for p in parts], axis=1), model(x)[0])
    assert np.array_equal(parts[-1][1], model(x)[1])
    with pytest.raises(ValueError, match="inputs must have the same number of steps"):
        stream.process(drawn(model.graph, (3, 4)))
    with pytest.raises(ValueError, match="known only at the end of the sequence"):
        Model(GRAPHS["encoder_decoder"]).stream()


@each_graph
def test_files_keep_a_self_test_of_different_numbers_of_steps(name, tmp_path):
    graph = GRAPHS[name]
    model = Model(graph, self_test=selftest.make(graph, None, {}))
    timed = [x.shape[1] for n, x in model.self_test.input.items() if graph.inputs[n].time]
    assert len(set(timed)) == len(timed)
    model.save(tmp_path / "m.fgru")
    x = drawn(graph, (9, 5))
    for again in (fastgru.load(tmp_path / "m.fgru"), pickle.loads(pickle.dumps(model))):
        assert selftest.verify(again).ok
        assert same(again(x), model(x))
    small = model.quantize("int8")
    expected, _ = reference.run(small.graph, x)
    assert all(np.abs(y - e).max() < 0.05 for y, e in zip(outputs(small(x)), expected, strict=True))


@each_graph
def test_errors_of_quantizing_are_measured_on_other_steps_for_each_base(name):
    graph = GRAPHS[name]
    model = Model(graph, self_test=selftest.make(graph, None, {}))
    x = drawn(graph, (9, 5))
    for calibration in (model.self_test.input, x, tuple(x.values())):
        small = model.quantize("int8", max_error=10.0, calibration=calibration)
        assert small.provenance["max_error"].startswith("10")
    assert "int8" in str(quantization.report(model.graph, small.graph, x))


def test_calibration_of_inputs_that_meet_must_have_one_number_of_steps():
    b = GraphBuilder()
    x, z = (b.input(n, Spec((2,))) for n in "xz")
    model = Model(b.build(b.add(g.Dense(w(2, 2)), b.add(g.Add(), x, z))))
    with pytest.raises(ValueError, match=r"one number of steps for inputs that meet, got \[4, 5\]"):
        model.quantize("int8", max_error=1.0, calibration={"x": np.ones((2, 4, 2)), "z": np.ones((2, 5, 2))})


@pytest.mark.parametrize("op", [g.Reverse(), g.TimeReduce("mean"), g.TimeSoftmax()], ids=lambda op: op.kind)
def test_lengths_are_refused_where_all_steps_are_turned_round_or_folded(op):
    """Steps behind a row's length would have a part in the others; a list of sequences has none."""
    b = GraphBuilder()
    model = Model(b.build(b.add(op, b.add(gru(3, 4), b.input("x", Spec((3,)))), name="all")))
    x = RNG.normal(size=(2, 6, 3)).astype(np.float32)
    for counted in ({"lengths": [6, 4]}, {"mask": np.ones((2, 6), bool)}):
        with pytest.raises(
            ValueError, match=rf"turned round or folded, as by 'all' \({type(op).__name__}\): give model.p"
        ):
            model(x, **counted)
    with pytest.raises(ValueError, match="turned round or folded"):
        model.predict(x, lengths=[6, 4])
    rows = [x[0], x[1, :4]]
    assert all(np.array_equal(a, model(row)) for a, row in zip(model.predict(rows), rows, strict=True))
