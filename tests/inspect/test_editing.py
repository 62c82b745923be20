"""Edits: a change takes effect in its step, in all that follows from it, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from cells import CELLS, make_cell

from fastgru import Model
from fastgru.graph import GraphBuilder, Mask, Spec, State
from fastgru.layers import GRU, LSTM, Dense

RNG = np.random.default_rng(7)
EXACT = 3e-6
GATES = {"gru": ("update", "candidate", "output"), "lstm": ("input", "forget", "candidate", "output")}


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def unchanged(array):
    return array


@pytest.mark.parametrize("cell", CELLS)
def test_edits_that_change_nothing_keep_all_bits(cell, isa):
    op = make_cell(cell, 4, 19)
    model, x = Model([op, Dense(normal(2, op.output_size))], isa=isa), normal(2, 9, 4)
    plain, stream = model.stream(2), model.stream(2)
    y = stream.process(x[:, :3])
    assert bits(y) == bits(plain.process(x[:, :3]))
    names = ["h", *(["c"] if op.kind == "lstm" and "projection" not in cell else [])]
    names += [g for g in GATES.get(op.kind, ()) if "projection" not in cell and (g != "output" or op.kind == "lstm")]
    edits = [stream.edit(f"{op.kind}.{name}", unchanged) for name in names]
    for edit in edits:
        edit.__enter__()
    assert bits(stream.process(x[:, 3:6])) == bits(plain.process(x[:, 3:6]))
    for edit in reversed(edits):
        edit.__exit__(None, None, None)
    assert bits(stream.process(x[:, 6:])) == bits(plain.process(x[:, 6:]))
    assert all(bits(stream.state[key]) == bits(array) for key, array in plain.state.items())


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_state_that_is_set_is_what_the_next_step_starts_from(cell, precision, isa):
    op = make_cell(cell, 4, 19, precision=precision)
    model, x = Model([op], isa=isa), normal(6, 4)
    held = normal(op.output_size)
    stream, plain = model.stream(), model.stream()
    with stream.edit(f"{op.kind}.h", lambda h: held):
        for frame in x:
            y = stream.step(frame)
            if not getattr(op, "output_gate", False):
                assert bits(y) == bits(held)
    for frame in x[:-1]:
        plain.step(frame)
        state = plain.state
        state[f"{op.kind}.h"] = held
        plain.state = state
    plain.step(x[-1])
    state = plain.state
    state[f"{op.kind}.h"] = held
    assert all(bits(stream.state[key]) == bits(array) for key, array in state.items())


@pytest.mark.parametrize("cell", [c for c in CELLS if c.startswith("lstm") and "projection" not in c])
def test_a_cell_state_that_is_clamped_shows_in_the_same_step(cell, isa):
    op = make_cell(cell, 4, 19)
    model, x = Model([op], isa=isa), normal(3, 5, 4)
    stream = model.stream(3)
    with stream.edit("lstm.c", lambda c: np.clip(c, -0.1, 0.1)):
        y, trace = stream.trace(x)
    cells = np.float64(trace["lstm.cell"])
    assert np.abs(cells).max() <= np.float32(0.1)
    wanted = np.float64(trace["lstm.output"]) * op.output_activation(cells)
    assert np.abs(y - wanted).max() < EXACT
    assert np.abs(trace["lstm.hidden"] - wanted).max() < EXACT


@pytest.mark.parametrize("gate", ["input", "forget", "candidate", "output"])
@pytest.mark.parametrize("cell", ["lstm", "lstm-peephole", "lstm-coupled"])
def test_gates_of_an_lstm_are_set(cell, gate, isa):
    op = make_cell(cell, 4, 9)
    model, x = Model([op], isa=isa), normal(2, 6, 4)
    stream = model.stream(2)

    def close(array):
        array[:, 3] = 0
        return array

    with stream.edit(f"lstm.{gate}", close):
        y, t = stream.trace(x)
    assert not t[f"lstm.{gate}"][..., 3].any()
    assert t[f"lstm.{gate}"][..., 4].any()
    if op.coupled and gate == "forget":
        assert (t["lstm.input"][..., 3] == 1).all()
    before = np.concatenate([np.broadcast_to(op.initial_c, (2, 1, 9)), t["lstm.cell"][:, :-1]], axis=1)
    c = t["lstm.forget"] * before + t["lstm.input"] * t["lstm.candidate"]
    assert np.abs(t["lstm.cell"] - c).max() < EXACT
    assert np.abs(y - t["lstm.output"] * op.output_activation(np.float64(c))).max() < EXACT


@pytest.mark.parametrize("gate", ["update", "candidate", "output"])
@pytest.mark.parametrize("cell", [c for c in CELLS if c.startswith("gru") and c != "gru-hard"])
def test_gates_of_a_gru_are_set(cell, gate, isa):
    op = make_cell(cell, 4, 9)
    if gate == "output" and not op.output_gate:
        return
    stream, x = Model([op], isa=isa).stream(2), normal(2, 6, 4)

    def open_(array):
        array[:, 3] = 1
        return array

    with stream.edit(f"gru.{gate}", open_):
        y, t = stream.trace(x)
    assert (t[f"gru.{gate}"][..., 3] == 1).all()
    before = np.concatenate([np.broadcast_to(op.initial_h, (2, 1, 9)), t["gru.hidden"][:, :-1]], axis=1)
    z = t["gru.update"] if op.update_keeps == "state" else 1 - t["gru.update"]
    h = z * before + (1 - z) * t["gru.candidate"]
    assert np.abs(t["gru.hidden"] - h).max() < EXACT
    out = t["gru.output"] * op.output_activation(np.float64(h)) if op.output_gate else h
    assert np.abs(y - out).max() < EXACT


def test_an_ablation_is_that_of_a_network_without_the_unit():
    """A unit held at zero is one whose weights are zero."""
    gru, dense = GRU(normal(24, 3), normal(24, 8)), Dense(normal(2, 8))
    x = normal(2, 7, 3)

    def without(array: np.ndarray, axis: int) -> np.ndarray:
        array = array.copy()
        index = [slice(None)] * array.ndim
        index[axis] = 5
        array[tuple(index)] = 0
        return array

    cut = Model([gru.replace(weight_h=without(gru.weight_h, 1)), dense.replace(weight=without(dense.weight, 1))])

    def silence(h):
        h[:, 5] = 0
        return h

    stream = Model([gru, dense]).stream(2)
    with stream.edit("gru.h", silence):
        y = stream.process(x)
    assert np.abs(y - cut(x)).max() < EXACT


def test_several_edits_are_active_together_and_each_ends_by_itself():
    model, x = Model([GRU(normal(24, 3), normal(24, 8)), LSTM(normal(16, 8), normal(16, 4))]), normal(4, 3)
    stream = model.stream()
    with stream.edit("gru.h", lambda h: 0 * h + 1):
        with stream.edit("lstm.c", lambda c: 0 * c):
            _, trace = stream.trace(x)
            assert (trace["gru"] == 1).all()
            assert not trace["lstm.cell"].any()
        _, trace = stream.trace(x)
        assert (trace["gru"] == 1).all()
        assert trace["lstm.cell"].any()
    _, trace = stream.trace(x)
    assert not (trace["gru"] == 1).any()
    assert stream.copy().step(x[0]).shape == (4,)


def test_an_edit_that_raises_leaves_the_stream_as_it_was():
    model, x = Model([GRU(normal(24, 3), normal(24, 8))]), normal(4, 3)
    stream = model.stream()
    stream.process(x)
    before = stream.state["gru.h"]

    def fail(h):
        raise KeyError("no such unit")

    with stream.edit("gru.h", fail):
        with pytest.raises(KeyError, match="no such unit"):
            stream.process(x)
        assert bits(stream.state["gru.h"]) == bits(before)
        with pytest.raises(KeyError, match="no such unit"):
            stream.trace(x)
    assert bits(stream.state["gru.h"]) == bits(before)
    with (
        stream.edit("gru.h", lambda h: h[:3]),
        pytest.raises(
            ValueError, match=r"edit of 'gru\.h' must return numbers of shape \(8,\), got float32 of shape \(3,\)"
        ),
    ):
        stream.step(x[0])
    with stream.edit("gru.h", lambda h: None), pytest.raises(ValueError, match=r"must return numbers of shape \(8,\)"):
        stream.step(x[0])
    assert bits(stream.state["gru.h"]) == bits(before)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gru.c", r"name must be one of gru\.h, .*got 'gru\.c'"),
        ("gru", r"name must be one of .*got 'gru'"),
        ("gru.reset", "'gru.reset' can't be edited: a reset gate is applied inside of the product for the candidate"),
        ("dense", r"name must be one of .*got 'dense'"),
    ],
)
def test_names_that_are_none_list_the_nearest(name, told):
    stream = Model([GRU(normal(24, 3), normal(24, 8)), Dense(normal(2, 8))]).stream()
    with pytest.raises(ValueError, match=told):
        stream.edit(name, unchanged)


def test_other_mistakes_are_told_before_anything_runs():
    stream = Model([make_cell("lstm-projection", 3, 8)]).stream()
    with pytest.raises(ValueError, match=r"'lstm\.c' can't be edited: what the layer gives is a product of it; edit h"):
        stream.edit("lstm.c", unchanged)
    with pytest.raises(TypeError, match="change must be a function of an array, got int"):
        stream.edit("lstm.h", 0)
    with pytest.raises(TypeError, match=r"name must be a string like 'gru\.h', got int"):
        stream.edit(3, unchanged)
    b = GraphBuilder()
    from fastgru.graph import Add

    x, held = b.input("x", Spec((4,))), b.add(State(np.zeros(4, np.float32)), name="held")
    total = b.add(Add(), x, held)
    stream = Model(b.build(total, feedback={held: total})).stream()
    with pytest.raises(ValueError, match=r"one of a recurrent layer, got 'held': set stream\.state between steps"):
        stream.edit("held", unchanged)
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    y = b.add(GRU(normal(12, 3), normal(12, 4)), x, b.add(Mask(0.0), x), name="gru")
    with pytest.raises(ValueError, match="leaves out masked steps, which have no gates; edit its states"):
        Model(b.build(y)).stream().edit("gru.update", unchanged)
