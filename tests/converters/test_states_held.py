"""States that a source takes and returns: which of them layers hold."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru.converters.program.emit import Emitter, Start
from fastgru.converters.program.held import Held, StandIn, final_outputs, is_of_states
from fastgru.errors import ConvertError
from fastgru.graph import GRU, Activate, Concat, Spec


def layer() -> tuple[Emitter, str, str, str]:
    """A GRU over time that starts from a state, and the values of the state, of all its steps and of its end."""
    emit = Emitter()
    x, state = emit.input("x", Spec((2,))), emit.input("h", Spec((1, 3), time=False))
    op = GRU(np.ones((9, 2), np.float32), np.ones((9, 3), np.float32))
    (y,) = emit.add(op, x, name="gru")
    (end,) = emit.add(op.replace(return_sequences=False), x, name="gru.last")
    emit.starts.append(Start("gru", emit.reshape(state, (3,), name="start"), [end]))
    emit.finals.add(end)
    return emit, state, y, end


def test_a_state_that_comes_back_is_held() -> None:
    emit, state, _, end = layer()
    held = Held(emit, [state])
    assert held.problems == []
    assert held.holders(state) == {"gru"}
    assert held.comes_back(state, emit.reshape(end, (1, 3), name="h_out"))


def test_another_order_of_elements_is_not_held() -> None:
    emit, state, _, end = layer()
    turned = emit.slice(emit.reshape(end, (1, 3), name="h_out"), {1: slice(None, None, -1)}, name="turned")
    assert not Held(emit, [state]).comes_back(state, turned)


def test_a_state_that_is_returned_as_it_was_is_not_held() -> None:
    """The layer would go on from its own end, where the source starts from the same state at every call."""
    emit, state, _, _ = layer()
    with pytest.raises(ConvertError, match="must only be moved"):
        Held(emit, [state]).comes_back(state, state)


def test_a_start_that_is_computed_is_told() -> None:
    emit, state, _, end = layer()
    (computed,) = emit.add(Activate("tanh"), emit.reshape(state, (3,), name="start"), name="tanh")
    assert not is_of_states(emit, computed, [state])
    emit.starts.append(Start("other", computed, [end]))
    (problem,) = Held(emit, [state]).problems
    assert problem.startswith("initial state of layer 'other' over time must be elements of a state")


def test_a_start_of_constants_beside_elements_is_told() -> None:
    """The layer would go on from its own end, where the source starts part of it anew at every call."""
    emit, state, _, end = layer()
    zero = emit.constant(np.zeros(1), "float", name="zero")
    part = emit.slice(emit.reshape(state, (3,), name="flat"), {0: slice(0, 2)}, name="part")
    (start,) = emit.add(Concat(0), part, zero, name="joined")
    assert not is_of_states(emit, start, [state])
    emit.starts[:] = [Start("gru", start, [end])]
    (problem,) = Held(emit, [state]).problems
    assert "must be elements of a state alone, got constants beside them" in problem


def test_a_state_that_two_layers_start_from_is_not_held() -> None:
    emit, state, _, end = layer()
    (other,) = emit.add(GRU(np.ones((9, 2), np.float32), np.ones((9, 3), np.float32)), "x", name="other")
    emit.starts.append(Start("other", emit.starts[0].initial, [other]))
    held = Held(emit, [state])
    assert held.problems == []
    assert not held.comes_back(state, emit.reshape(end, (1, 3), name="h_out"))


def test_a_layer_that_starts_from_the_end_of_another_holds_no_state() -> None:
    """It would go on from its own end, where the source starts it from that of the other at every call."""
    emit, state, _, end = layer()
    (last,) = emit.add(StandIn((3,), "other"), name="other.end")
    emit.starts.append(Start("other", end, [last]))
    held = Held(emit, [state])
    assert held.problems[0].startswith("initial state of layer 'other' over time must be elements of a state")


def test_where_states_come_back_and_what_reads_them() -> None:
    emit, state, y, end = layer()
    back = emit.reshape(end, (1, 3), name="h_out")
    held = Held(emit, [state])
    assert held.returned([y, back, state]) == {state: [1]}
    assert held.read_by([y, back]) == set()
    assert held.read_by([y, state]) == {state}
    (stand_in,) = emit.add(StandIn((3,), "gru"), name="end")
    assert held.read_by([emit.add(Activate("tanh"), stand_in, name="tanh")[0]]) == {state}


def test_final_states_are_left_out_where_others_show_the_layer() -> None:
    emit, _, y, end = layer()
    assert final_outputs(emit, {"y": y, "h": end}) == ["h"]
    assert final_outputs(emit, {"h": end}) == []
