"""Traces: the reference's gates and states, and the bits of a call that shows nothing."""

from __future__ import annotations

import numpy as np
import pytest
from cells import CELLS, make_cell
from gates import parts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import graphs

from fastgru import Model
from fastgru.graph import PRECISIONS, Add, Graph, GraphBuilder, Mask, Spec, State, chain
from fastgru.layers import GRU, LSTM, Activate, BatchNorm, Dense, Dropout, Embedding, TimeConv

RNG = np.random.default_rng(4)
EXACT = 3e-6  # of float32 against the reference, in a few steps
ROUNDED = {"float32": EXACT, "float16": EXACT, "bfloat16": 0.02, "int8": 0.02, "int8_affine": 0.02}


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_gates_and_states_are_the_references_and_outputs_keep_their_bits(cell, precision, isa):
    op = make_cell(cell, 5, 19, precision=precision)
    model = Model([op, Dense(normal(3, op.output_size), precision=precision)], isa=isa)
    x = normal(3, 7, 5)
    y, trace = model.trace(x)
    assert bits(y) == bits(model(x))
    wanted = parts_of(model.graph.nodes[0].op, x)
    kind = op.kind
    assert trace.names == (*(f"{kind}.{name}" for name in wanted), kind, "dense")
    for name, array in wanted.items():
        assert np.abs(trace[f"{kind}.{name}"] - array).max() < ROUNDED[precision], name
    assert bits(trace["dense"]) == bits(y)
    assert bits(trace[kind]) == bits(Model([op], isa=isa)(x))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_states_are_those_that_calls_return(cell, reverse, isa):
    op = make_cell(cell, 4, 16, reverse=reverse)
    model = Model([op], isa=isa)
    x = normal(2, 6, 4)
    _, state = model(x, return_state=True)
    _, trace = model.trace(x)
    last = 0 if reverse else -1
    for name, short in {"hidden": "h", "cell": "c"}.items():
        if f"{op.kind}.{short}" in state:
            assert bits(trace[f"{op.kind}.{name}"][:, last]) == bits(state[f"{op.kind}.{short}"])
    for name, array in parts_of(op, x).items():
        assert np.abs(trace[f"{op.kind}.{name}"] - array).max() < EXACT, name


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_gates_of_a_block_that_runs_at_once_are_those_of_single_steps(cell, reverse, precision, isa):
    """A cell state is shown step by step; without it, all steps of a block are one call of the kernel."""
    for inputs, batch in ((4, 3), (4, 1), (1, 1)):
        op = make_cell(cell, inputs, 19, reverse=reverse, precision=precision)
        model, x = Model([op], isa=isa), normal(batch, 7, inputs)
        _, whole = model.trace(x)
        names = [name for name in whole.names if not name.endswith(".cell")]
        y, trace = model.trace(x, names)
        assert bits(y) == bits(model(x))
        assert all(bits(trace[name]) == bits(whole[name]) for name in names)


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=2),
    inputs=st.integers(1, 9), hidden=st.integers(1, 40), batch=st.integers(1, 9), steps=st.integers(1, 9),
    precision=st.sampled_from(sorted(PRECISIONS)), fast=st.booleans(), last=st.booleans(), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_any_shape_keeps_its_bits(cells, inputs, hidden, batch, steps, precision, fast, last, seed):
    rng, layers, size = np.random.default_rng(seed), [], inputs
    for i, cell in enumerate(cells):
        whole = not last or i < len(cells) - 1
        layers.append(make_cell(cell, size, hidden, seed=seed, precision=precision, return_sequences=whole))
        size = layers[-1].output_size
    model = Model(layers)
    if fast and "fast" not in repr(model) and not any("hard" in c or "clip" in c or "relu" in c for c in cells):
        model = model.quantize(activations="fast")
    x = rng.normal(size=(batch, steps, inputs)).astype(np.float32)
    lengths = rng.integers(1, steps + 1, size=batch)
    for options in ({}, {"lengths": lengths}):
        y, trace = model.trace(x, **options)
        wanted, state = model(x, return_state=True, **options)
        assert bits(y) == bits(wanted)
        for key, array in state.items():
            layer, _, short = key.rpartition(".")
            if short in ("h", "c"):
                assert bits(trace[f"{layer}.{'hidden' if short == 'h' else 'cell'}"][:, -1]) == bits(array)
    stream, plain = model.stream(batch), model.stream(batch)
    for t in range(steps):
        y, _ = stream.trace(x[:, t])
        assert bits(y) == bits(plain.step(x[:, t]))
    assert all(bits(stream.state[key]) == bits(array) for key, array in plain.state.items())


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_layers_of_any_graph_are_those_of_the_reference(data):
    graph = data.draw(graphs())
    model = Model(graph)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = {n: rng.normal(size=(2, *(5,) * s.time, *s.shape)).astype(np.float32) for n, s in graph.inputs.items()}
    y, trace = model.trace(x)
    plain = model(x)
    for a, b in zip(*(v if isinstance(v, tuple) else (v,) for v in (y, plain)), strict=True):
        assert bits(a) == bits(b)
    shown = [n for n in graph.nodes if n.name in trace]
    whole = Graph(graph.inputs, graph.nodes, [n.outputs[0] for n in shown], graph.feedback)
    from fastgru import reference

    for node, wanted in zip(shown, reference.run(whole, x)[0], strict=True):
        largest = max(1.0, np.abs(wanted).max(initial=0.0))
        assert np.abs(trace[node.name] - wanted).max(initial=0.0) < 1e-3 * largest, node.name


def test_float64_models_are_traced(isa):
    pytest.importorskip("scipy")
    for cell in CELLS:
        op = make_cell(cell, 4, 9, dtype="float64")
        model = Model([op], dtype="float64", isa=isa)
        x = RNG.normal(size=(2, 5, 4))
        y, trace = model.trace(x)
        assert bits(y) == bits(model(x))
        for name, array in parts_of(op, x).items():
            assert trace[f"{op.kind}.{name}"].dtype == np.float64
            assert np.abs(trace[f"{op.kind}.{name}"] - array).max() < 1e-12, name


def two_layers(**attributes) -> Model:
    return Model([
        GRU(normal(24, 3), normal(24, 8), **attributes), Dropout(0.5), GRU(normal(12, 8), normal(12, 4)),
        Dense(normal(2, 4)),
    ])  # fmt: skip


def test_points_are_chosen_by_patterns_and_come_in_the_order_of_the_model():
    model, x = two_layers(), normal(2, 5, 3)
    assert model.trace(x, "dense")[1].names == ("dense",)
    assert model.trace(x, ["dense", "gru_1.*", "gru.update"])[1].names == (
        "gru.update", "gru_1.update", "gru_1.reset", "gru_1.candidate", "gru_1.hidden", "dense",
    )  # fmt: skip
    assert model.trace(x, "gru*.reset")[1].names == ("gru.reset", "gru_1.reset")
    assert len(model.trace(x)[1]) == len(model.trace(x, "*")[1]) == 11


def test_layers_are_found_by_their_kind_beside_their_names():
    graph = chain([GRU(normal(24, 3), normal(24, 8)), LSTM(normal(16, 8), normal(16, 4))], names=["encoder", "rnn"])
    _, trace = Model(graph).trace(normal(5, 3), ["gru.update", "lstm", "rnn.cell"])
    assert trace.names == ("encoder.update", "rnn.cell", "rnn")
    assert trace["gru.update"] is trace["encoder.update"]
    assert trace["encoder.update"].shape == (5, 8)
    with pytest.raises(KeyError, match=r"one of encoder\.update, rnn\.cell, rnn, got 'encoder\.upd'"):
        trace["encoder.upd"]


def test_a_trace_tells_what_it_holds():
    _, trace = two_layers().trace(np.zeros((1, 5, 3), np.float32), ["gru.update", "dense"])
    assert repr(trace).splitlines() == [
        "Trace of 2 points",
        "  gru.update  (1, 5, 8)  0.5 to 0.5",
        "  dense       (1, 5, 2)    0 to   0",
    ]
    assert dict(trace).keys() == {"gru.update", "dense"}


def test_values_are_named_after_what_they_are():
    """The plan computes tanh(dense), scaled by the norm in the weights behind it: that is the norm's input."""
    graph = chain(
        [Dense(normal(4, 3)), Activate("tanh"), BatchNorm(normal(4), abs(normal(4))), GRU(normal(12, 4), normal(12, 4))]
    )
    model, x = Model(graph), normal(2, 5, 3)
    _, trace = model.trace(x)
    assert trace.names == ("activate", "gru.update", "gru.reset", "gru.candidate", "gru.hidden", "gru")
    whole = Graph(graph.inputs, graph.nodes, ["activate"], graph.feedback)
    assert np.abs(trace["activate"] - Model(whole)(x)).max() < EXACT
    with pytest.raises(ValueError, match=r"^point 'dense' is not computed by itself in this model: the plan joins it"):
        model.trace(x, "dense")
    with pytest.raises(ValueError, match=r"joins it with what follows, up to 'gru'$"):
        model.trace(x, "batch_norm")


def test_embeddings_that_plans_join_with_their_readers_are_shown():
    table = normal(7, 4)
    model = Model([Embedding(table), GRU(normal(12, 4), normal(12, 4))])
    ids = RNG.integers(0, 7, size=(2, 5))
    y, trace = model.trace(ids)
    assert np.array_equal(trace["embedding"], table[ids])
    assert bits(y) == bits(model(ids))


def test_steps_choose_some():
    model, x = two_layers(), normal(2, 6, 3)
    _, whole = model.trace(x)
    for steps, index in ((3, [3]), (slice(1, 4), [1, 2, 3]), ([5, 0, -2], [5, 0, 4])):
        _, trace = model.trace(x, steps=steps)
        assert all(np.array_equal(trace[name], whole[name][:, index]) for name in whole)


def test_values_with_steps_of_their_own_and_without():
    model = Model([TimeConv(normal(4, 3, 3), stride=2), GRU(normal(12, 4), normal(12, 4), return_sequences=False)])
    y, trace = model.trace(normal(2, 9, 3))
    assert (trace["time_conv"].shape, trace["gru.update"].shape) == ((2, 4, 4), (2, 4, 4))
    assert trace["gru"].shape == (2, 4)
    assert bits(trace["gru"]) == bits(y) == bits(trace["gru.hidden"][:, -1])


def test_steps_that_do_not_count_have_no_gates():
    model, x = Model([LSTM(normal(16, 3), normal(16, 4))]), normal(2, 6, 3)
    _, trace = model.trace(x, lengths=[6, 2])
    assert not trace["lstm.input"][1, 2:].any()
    assert trace["lstm.input"][0].all()
    assert (trace["lstm.cell"][1, 2:] == trace["lstm.cell"][1, 1]).all()


def test_states_of_other_recurrences_are_shown():
    b = GraphBuilder()
    x = b.input("x", Spec((4,)))
    held = b.add(State(np.zeros(4, np.float32)), name="held")
    total = b.add(Add(), x, held, name="total")
    model = Model(b.build(total, feedback={held: total}))
    values = normal(2, 5, 4)
    y, trace = model.trace(values)
    assert trace.names == ("held", "total")
    assert bits(trace["total"]) == bits(y)
    assert not trace["held"][:, 0].any()
    assert bits(trace["held"][:, 1:]) == bits(y[:, :-1])


def test_masks_of_the_graph_leave_steps_out():
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    y = b.add(GRU(normal(12, 3), normal(12, 4)), x, b.add(Mask(0.0), x), name="gru")
    model = Model(b.build(y))
    values = normal(2, 5, 3)
    values[0, 2] = 0
    _, trace = model.trace(values)
    assert not trace["gru.update"][0, 2].any()
    assert (trace["gru.hidden"][0, 2] == trace["gru.hidden"][0, 1]).all()


# Streams --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [None, 3])
def test_streams_are_traced_as_they_go(batch):
    model = two_layers()
    lead = () if batch is None else (batch,)
    x = normal(*lead, 9, 3)
    _, whole = model.trace(x)
    stream, plain = model.stream(batch), model.stream(batch)
    shown = []
    for t in range(3):
        y, trace = stream.trace(x[..., t, :], ["gru.*", "dense"])
        assert bits(y) == bits(plain.step(x[..., t, :]))
        shown.append({name: a[..., None, :] for name, a in trace.items()})
    y = stream.step(x[..., 3, :])  # traced or not: one stream
    assert bits(y) == bits(plain.step(x[..., 3, :]))
    y, trace = stream.trace(x[..., 4:, :], ["gru.*", "dense"])
    assert bits(y) == bits(plain.process(x[..., 4:, :]))
    for name in trace:
        parts = [part[name] for part in shown]
        got = np.concatenate([*parts, trace[name]], axis=-2)
        assert bits(got) == bits(np.delete(whole[name], 3, axis=-2)), name


def test_layers_that_look_ahead_are_traced_as_a_stream_gives_them():
    model = Model([TimeConv(normal(4, 3, 3), before=1, after=1), GRU(normal(12, 4), normal(12, 4))])
    x = normal(8, 3)
    stream, plain = model.stream(), model.stream()
    y, trace = stream.trace(x)
    assert bits(y) == bits(plain.process(x))
    assert trace["gru.update"].shape == (7, 4)
    assert bits(stream.flush()) == bits(plain.flush())
    with pytest.raises(ValueError, match="step must give one step of output 'gru', got 0 due now"):
        model.stream().trace(x[0])


def test_a_call_that_fails_leaves_the_stream_as_it_was():
    model, x = two_layers(), normal(6, 3)
    stream = model.stream()
    stream.process(x)
    before = stream.state
    for wrong in ({"points": "lstm.cell"}, {"steps": 9}, {"steps": 0.5}):
        with pytest.raises((ValueError, TypeError)):
            stream.trace(x, **wrong)
    with pytest.raises(ValueError, match="x must have shape"):
        stream.trace(normal(6, 4))
    assert all(bits(stream.state[key]) == bits(array) for key, array in before.items())


# Mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "told"),
    [
        ("gru.updat", r"points must match some of gru\.update, .* \(\d+ in all\), got 'gru\.updat'"),
        ("lstm.*", "got 'lstm"),
        (["gru.*", "dens"], "points must match some of dense, .*got 'dens'"),
        ([], "points must be at least one pattern, got none: '\\*' matches everything"),
    ],
)
def test_points_that_match_nothing_name_the_nearest(points, told):
    with pytest.raises(ValueError, match=told):
        two_layers().trace(normal(5, 3), points)


@pytest.mark.parametrize(("points", "told"), [(3, "a pattern or several, got int"), ([3], "must be strings, got 3")])
def test_points_must_be_strings(points, told):
    with pytest.raises(TypeError, match=told):
        two_layers().trace(normal(5, 3), points)


@pytest.mark.parametrize(
    ("steps", "told"),
    [(7, "steps must be within the 5 of 'gru.update', got 7"), (1.5, "steps must be an integer, a slice or several")],
)
def test_steps_must_be_some_of_the_sequence(steps, told):
    with pytest.raises((ValueError, TypeError), match=told):
        two_layers().trace(normal(5, 3), steps=steps)


def test_streams_of_several_inputs_are_traced():
    b = GraphBuilder()
    a, c = b.input("a", Spec((3,))), b.input("c", Spec((3,)))
    model = Model(b.build(b.add(GRU(normal(12, 3), normal(12, 4)), b.add(Add(), a, c), name="gru")))
    x = {"a": normal(5, 3), "c": normal(5, 3)}
    _, whole = model.trace(x)
    stream = model.stream()
    for t in range(2):
        _, trace = stream.trace({name: array[t] for name, array in x.items()})
        assert all(bits(trace[name]) == bits(whole[name][t]) for name in whole)
    _, trace = stream.trace((x["a"][2:], x["c"][2:]), steps=-1)
    assert all(bits(trace[name]) == bits(whole[name][4:]) for name in whole)
    with pytest.raises(ValueError, match="steps must be within the 5 of 'add', got 5"):
        model.trace(x, steps=5)


def test_compiled_plans_say_where_to_trace(tmp_path):
    from fastgru import load

    two_layers().compile(tmp_path / "m.plan")
    plan = load(tmp_path / "m.plan")
    with pytest.raises(AttributeError, match=r"compiled plan has no 'trace': load the \.fgru file"):
        plan.trace(normal(5, 3))
    with pytest.raises(TypeError, match=r"got one of a compiled plan: load the \.fgru file"):
        plan.stream().trace(normal(5, 3))
