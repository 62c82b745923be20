"""Written-out cells become layers with the weights they were written from; what only resembles one stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graph_pairs import kinds, same
from written_out import LINEAR, UPDATES, H, Written, gru, lstm, normal, two_products, weights

from fastgru import graph as g
from fastgru.graph import Graph, Spec
from fastgru.passes import canonical, cell_rnn, cells


def the_layer(graph: Graph, kind: type[Any]) -> Any:
    """The one recurrent op of a graph that has no State."""
    (op,) = [node.op for node in graph.nodes if isinstance(node.op, g.Recurrent)]
    assert type(op) is kind
    assert not op.scan
    assert not graph.feedback
    return op


def holds(op: Any, **fields: Any) -> None:
    """The op has just these weights and attributes, and no other but at its default."""
    expected = type(op)(**fields)
    assert op.attributes() == expected.attributes()
    assert set(op.weights()) == set(expected.weights())
    for name, array in expected.weights().items():
        np.testing.assert_array_equal(getattr(op, name), array, err_msg=name)


def lstm_graph(op: g.LSTM, linear: Any = two_products, frame: tuple[int, ...] = (), **how: Any) -> Graph:
    w = Written(frame)
    h, c = w.state("h", op.output_size, op.initial_h), w.state("c", initial=op.initial_c)
    new_h, new_c = lstm(w, op.replace(initial_h=None, initial_c=None), linear, w.x, h, c, **how)
    w.feedback = {h: new_h, c: new_c}
    return w.build(w.act("relu", new_h))


def gru_graph(op: g.GRU, linear: Any = two_products, frame: tuple[int, ...] = (), **how: Any) -> Graph:
    w = Written(frame)
    h = w.state("h", initial=op.initial_h)
    new = gru(w, op, linear, w.x, h, **how)
    w.feedback = {h: new}
    return w.build(w.act("relu", new))


# LSTM ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["ifgo", "iofg", "gofi", ""])
@pytest.mark.parametrize("linear", LINEAR.values(), ids=LINEAR)
def test_lstm_however_its_sums_are_written(linear, order):
    arrays = weights(4)
    old = lstm_graph(g.LSTM(**arrays), linear, order=order)
    new = canonical(old)
    holds(the_layer(new, g.LSTM), **arrays)
    assert [type(n.op).__name__ for n in new.nodes] == ["LSTM", "Activate"]
    same(old, new)


LSTMS = {
    "activations": {"gate_activation": "hard_sigmoid", "activation": "relu", "output_activation": "softsign"},
    "linear_output": {"output_activation": "linear"},
    "one_activation": {"gate_activation": "tanh"},
    "peephole": {"peephole": normal(3, H)},
    "coupled": {"coupled": True},
    "coupled_peephole": {"coupled": True, "peephole": np.concatenate([normal(1, H), np.zeros((1, H)), normal(1, H)])},
    "learned": {"initial_h": normal(H), "initial_c": normal(H)},
}


@pytest.mark.parametrize("how", LSTMS.values(), ids=LSTMS)
@pytest.mark.parametrize("frame", [(), (1,), (1, 1)], ids=str)
def test_lstm_of_every_kind(how, frame):
    fields = weights(3 if how.get("coupled") else 4) | how
    old = lstm_graph(g.LSTM(**fields), frame=frame, order="")
    new = canonical(old)
    holds(the_layer(new, g.LSTM), **fields)
    same(old, new)


def test_lstm_with_a_projection():
    fields = weights(4, read=3) | {"projection": normal(3, H)}
    old = lstm_graph(g.LSTM(**fields))
    new = canonical(old)
    holds(the_layer(new, g.LSTM), **fields)
    same(old, new)


def test_forget_bias_and_gates_taken_after_the_sigmoid():
    arrays = weights(4)
    w = Written()
    h, c = w.state("h"), w.state("c")
    total = two_products(w, arrays["weight_x"], arrays["weight_h"], arrays["bias"], w.x, h)
    later = np.concatenate([np.zeros(H), np.ones(H), np.zeros(2 * H)]).astype(np.float32)
    bent = w.act("sigmoid", w.plus(total, w.constant(later)))
    i, f, o = (w.part(bent, k) for k in (0, 1, 3))
    new_c = w.plus(w.times(f, c), w.times(w.act("tanh", w.part(total, 2)), i))
    new_h = w.times(w.act("tanh", new_c), o)
    w.feedback = {h: new_h, c: new_c}
    old = w.build(new_h)
    new = canonical(old)
    holds(the_layer(new, g.LSTM), **arrays | {"bias": arrays["bias"] + later})
    assert [node.name for node in new.nodes] == [old.outputs[0]]
    same(old, new)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_layers_in_one_state_are_two_layers(axis):
    """As in dtln: states stacked along any axis, taken apart by slices and put together again."""
    w = Written((1,))
    shape = [2, H]
    shape.insert(axis, 2)
    s = w.b.add(g.State(normal(*shape)), name="s")

    def held(layer: int, which: int) -> str:
        starts = [layer, 0]
        starts.insert(axis, which)
        stops = [layer + 1, H]
        stops.insert(axis, which + 1)
        part = w.b.add(g.Slice(starts, stops, (1, 1, 1)), s)
        return w.b.add(g.Reshape((1, H)), part)

    def stacked(values: list[str], at: int) -> str:
        shapes = [[*w.b.build(v, feedback={s: s}).specs[v].shape] for v in values]
        for shape in shapes:
            shape.insert(at, 1)
        return w.b.add(g.Concat(at), *(w.b.add(g.Reshape(q), v) for q, v in zip(shapes, values, strict=True)))

    x, first, second = w.x, weights(4), weights(4) | {"weight_x": normal(4 * H, H)}
    ends = []
    for layer, arrays in enumerate((first, second)):
        x, c = lstm(w, g.LSTM(**arrays), two_products, x, held(layer, 0), held(layer, 1))
        ends.append((x, c))
    rows = [[w.b.add(g.Reshape((H,)), v) for v in kind] for kind in zip(*ends, strict=True)]
    w.feedback = {s: stacked([stacked(row, 0) for row in rows], axis)}
    old = w.build(x)
    new = canonical(old)
    layers = [node.op for node in new.nodes if isinstance(node.op, g.LSTM)]
    assert not new.feedback
    initial = np.moveaxis(old.nodes[0].op.initial, axis, 0)
    for i, (op, arrays) in enumerate(zip(layers, (first, second), strict=True)):
        holds(op, **arrays, initial_h=initial[0, i], initial_c=initial[1, i])
    same(old, new)


# GRU and RNN -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("keeps", ["state", "candidate"])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("order", ["rz", "zr", ""])
def test_gru_however_it_is_written(reset_after, keeps, update, order):
    again = {"bias_h": np.concatenate([np.zeros(2 * H, np.float32), normal(H)])} if reset_after else {}
    fields = weights(3) | again | {"reset_after": reset_after, "update_keeps": keeps}
    old = gru_graph(g.GRU(**fields), update=update, order=order)
    new = canonical(old)
    holds(the_layer(new, g.GRU), **fields)
    same(old, new)


@pytest.mark.parametrize("linear", LINEAR.values(), ids=LINEAR)
@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_however_its_sums_are_written(reset_after, linear):
    again = {"bias_h": np.concatenate([np.zeros(2 * H, np.float32), normal(H)])} if reset_after else {}
    fields = weights(3) | again | {"reset_after": reset_after, "initial_h": normal(H)}
    fields |= {"gate_activation": "hard_sigmoid", "activation": "relu"}
    old = gru_graph(g.GRU(**fields), linear, (1,))
    new = canonical(old)
    holds(the_layer(new, g.GRU), **fields)
    same(old, new)


def test_torch_gru_cell_with_one_product_a_side():
    """Both products of all three gates, each with its bias, cut in three."""
    op = g.GRU(**weights(3), bias_h=normal(3 * H))
    w = Written()
    h = w.state("h")
    gi, gh = w.b.add(g.Dense(op.weight_x, op.bias), w.x), w.b.add(g.Dense(op.weight_h, op.bias_h), h)
    r, z = (w.act("sigmoid", w.plus(w.part(gi, k), w.part(gh, k))) for k in range(2))
    n = w.act("tanh", w.plus(w.part(gi, 2), w.times(r, w.part(gh, 2))))
    new = w.plus(n, w.times(z, w.minus(h, n)))
    w.feedback = {h: new}
    old = w.build(new)
    layer = the_layer(canonical(old), g.GRU)
    np.testing.assert_array_equal(layer.weight_x, op.weight_x)
    np.testing.assert_array_equal(layer.weight_h, op.weight_h)
    same(old, canonical(old))


@pytest.mark.parametrize("linear", LINEAR.values(), ids=LINEAR)
def test_rnn_however_its_sum_is_written(linear):
    arrays = weights(1)
    w = Written()
    h = w.state("h", initial=normal(H))
    new = w.act("relu", linear(w, *arrays.values(), w.x, h))
    w.feedback = {h: new}
    old = w.build(new)
    holds(the_layer(canonical(old), g.RNN), **arrays, activation="relu", initial_h=old.nodes[0].op.initial)
    same(old, canonical(old))


def test_an_input_in_parts_is_joined():
    """A layer reads what its sums read: here two slices of the input in another order, and a constant."""
    arrays = weights(1)
    w = Written()
    h = w.state("h")
    late, early = (w.b.add(g.Slice(a, b, (1,)), w.x) for a, b in (((3,), (5,)), ((0,), (2,))))
    one = w.constant(np.float32([2.0]))
    x = w.b.add(g.Concat(), late, one, early)
    new = w.act("tanh", two_products(w, *arrays.values(), x, h))
    w.feedback = {h: new}
    old = w.build(new)
    op = the_layer(canonical(old), g.RNN)
    np.testing.assert_array_equal(op.weight_x, np.delete(arrays["weight_x"], 2, axis=1))
    np.testing.assert_allclose(op.bias, arrays["bias"] + arrays["weight_x"][:, 2] * np.float64(2), rtol=1e-15)
    same(old, canonical(old))


def test_constants_that_cells_share_are_no_hindrance():
    """One for both gates of two cells, whose matrices are constants too, and are read elsewhere."""
    w = Written()
    one = w.constant(np.ones(1))
    w.one_minus = lambda value: w.minus(one, value)  # type: ignore[method-assign]
    arrays = weights(3) | {"weight_x": normal(3 * H, 5), "bias_h": np.zeros(3 * H)}
    matrix = w.constant(arrays["weight_x"][: 2 * H])
    outputs = []
    for name in ("a", "b"):
        h = w.state(name)

        def linear(w: Written, wx: Any, wh: Any, bias: Any, x: str, h: str) -> str:
            return w.plus(w.b.add(g.MatMul(transpose_b=True), x, matrix), w.b.add(g.Dense(wh, bias), h))

        w.feedback[h] = gru(w, g.GRU(**arrays), linear, w.x, h)
        outputs.append(w.feedback[h])
    old = w.build(*outputs, w.b.add(g.Reduce("max", (0,)), matrix))
    new = canonical(old)
    assert kinds(new)["GRU"] == 2
    assert not new.feedback
    same(old, new)


# What stays ------------------------------------------------------------------------------------------


def stays(old: Graph) -> None:
    """No layer is made, and nothing changes."""
    new = canonical(old)
    assert not [node for node in new.nodes if isinstance(node.op, g.Recurrent) and not node.op.scan]
    assert set(new.feedback) == set(old.feedback)
    same(old, new)


def test_a_cell_state_that_is_an_output_stays():
    w = Written()
    h, c = w.state("h"), w.state("c")
    new_h, new_c = lstm(w, g.LSTM(**weights(4)), two_products, w.x, h, c)
    w.feedback = {h: new_h, c: new_c}
    stays(w.build(new_h, new_c))


def test_a_state_that_others_read_stays():
    w = Written()
    h = w.state("h")
    w.feedback = {h: gru(w, g.GRU(**weights(3), bias_h=normal(3 * H)), two_products, w.x, h)}
    stays(w.build(w.feedback[h], w.act("tanh", h)))


def test_an_input_made_of_the_state_stays():
    """Attention over what the state was a step before is no input of a layer without it."""
    w = Written()
    h = w.state("h")
    x = w.plus(w.x, w.b.add(g.Dense(normal(5, H), activation="tanh"), h))
    w.feedback = {h: gru(w, g.GRU(**weights(3), bias_h=normal(3 * H)), two_products, x, h)}
    stays(w.build(w.feedback[h]))


def test_several_rows_in_a_frame_stay():
    stays(gru_graph(g.GRU(**weights(3), bias_h=normal(3 * H)), frame=(3,)))


def test_quantised_products_stay():
    def rounded(w: Written, wx: Any, wh: Any, bias: Any, x: str, h: str) -> str:
        return w.plus(w.b.add(g.Dense(wx, bias, precision="int8"), x), w.b.add(g.Dense(wh, precision="int8"), h))

    stays(lstm_graph(g.LSTM(**weights(4)), rounded))


def test_no_input_stays():
    w = Written()
    h = w.state("h")
    new = w.act("tanh", w.b.add(g.Dense(normal(H, H), normal(H)), h))
    w.feedback = {h: new}
    stays(w.build(w.plus(new, w.b.add(g.Dense(normal(H, 5)), w.x))))


def test_an_input_without_time_stays():
    """The input is the same at every step, which no layer over time takes."""
    w = Written(time=False)
    clock = w.b.input("clock", Spec((H,)))
    h = w.state("h")
    new = w.act("tanh", two_products(w, *weights(1).values(), w.x, h))
    w.feedback = {h: new}
    stays(w.build(w.plus(new, clock)))


def test_values_given_from_without_stay():
    """A cell whose states are inputs and outputs is a step, and no layer."""
    w = Written()
    h, c = (w.b.input(name, Spec((H,))) for name in "hc")
    old = w.build(*lstm(w, g.LSTM(**weights(4)), two_products, w.x, h, c))
    assert canonical(old) is old


@pytest.mark.parametrize("wrong", ["output_of_old_c", "swapped", "product_twice", "candidate_gate"])
def test_what_only_resembles_an_lstm_stays(wrong):
    w = Written()
    h, c = w.state("h"), w.state("c")
    total = two_products(w, *weights(4).values(), w.x, h)
    i, f, o = (w.act("sigmoid", w.part(total, k)) for k in range(3))
    n = w.act("relu" if wrong == "candidate_gate" else "tanh", w.part(total, 3))
    i = w.act("softsign", w.part(total, 0)) if wrong == "candidate_gate" else i
    new_c = w.plus(w.times(f, c), w.times(i, n, *[i] * (wrong == "product_twice")))
    new_h = w.times(o, w.act("tanh", c if wrong == "output_of_old_c" else new_c))
    w.feedback = {h: new_c, c: new_h} if wrong == "swapped" else {h: new_h, c: new_c}
    stays(w.build(new_h))


@pytest.mark.parametrize("wrong", ["no_reset", "both_kept", "reset_reads_candidate", "twice"])
def test_what_only_resembles_a_gru_stays(wrong):
    w = Written()
    h = w.state("h")
    total, again = w.b.add(g.Dense(normal(3 * H, 5)), w.x), w.b.add(g.Dense(normal(3 * H, H)), h)
    r, z = (w.act("sigmoid", w.plus(w.part(total, k), w.part(again, k))) for k in range(2))
    if wrong == "reset_reads_candidate":
        r = w.act("sigmoid", w.times(w.part(total, 0), w.part(again, 0)))
    if wrong == "no_reset":
        n = w.act("tanh", w.plus(w.part(total, 2), w.part(again, 2)))
    else:
        n = w.act("tanh", w.plus(w.part(total, 2), w.times(r, w.part(again, 2))))
    keep = z if wrong == "both_kept" else w.one_minus(z)
    new = w.plus(w.times(z, h), w.times(keep, n), *[n] * (wrong == "twice"))
    w.feedback = {h: new}
    stays(w.build(new))


def test_a_proof_that_fails_refuses_the_layer(monkeypatch):
    """A matcher that finds the wrong weights changes nothing."""

    def wrong(algebra: Any, state: str) -> Any:
        for found in cell_rnn.match(algebra, state):
            yield found._replace(op=found.op.replace(weight_x=found.op.weight_x * np.float32(1 + 1e-7)))

    w = Written()
    h = w.state("h")
    new = w.act("tanh", two_products(w, *weights(1).values(), w.x, h))
    w.feedback = {h: new}
    old = w.build(new)
    monkeypatch.setattr(cells, "MATCHERS", (wrong,))
    stays(old)
    monkeypatch.setattr(cells, "MATCHERS", (wrong, cell_rnn.match))
    the_layer(canonical(old), g.RNN)


def test_deep_and_shared_arithmetic_ends():
    """Sums that double at every step have 2**200 terms, written out."""
    w = Written()
    h = w.state("h")
    value = w.plus(w.b.add(g.Dense(normal(H, 5)), w.x), h)
    for _ in range(200):
        value = w.times(w.plus(value, value), w.plus(value, value))
    w.feedback = {h: w.act("tanh", value)}
    old = w.build(w.feedback[h])
    assert canonical(old).feedback
