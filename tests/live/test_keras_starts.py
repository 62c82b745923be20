"""Keras layers over time that start from a value, and the states in which they end: beside Keras."""

from __future__ import annotations

import numpy as np
import pytest
from keras_live_cases import keras

import fastgru

L = keras.layers
RNG = np.random.default_rng(2)
CLASSES = {"SimpleRNN": 1, "GRU": 1, "LSTM": 2}


def f(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def same(net, *given: np.ndarray) -> fastgru.Model:
    """Convert a model, and compare all its outputs."""
    model = fastgru.convert(net)
    alone = len(given) == 1
    got, expected = model(given[0] if alone else given), net(given[0] if alone else list(given))
    got = got if isinstance(got, tuple) else (got,)
    expected = expected if isinstance(expected, list | tuple) else [expected]
    for y, wanted in zip(got, expected, strict=True):
        wanted = keras.ops.convert_to_numpy(wanted)
        assert y.shape == wanted.shape
        assert np.abs(y - wanted).max() <= 1e-5
    return model


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("name", CLASSES)
def test_a_layer_that_starts_from_a_computed_value(name, sequences, backward):
    x, c = keras.Input((None, 2)), keras.Input((5,))
    starts = [L.Dense(4)(c) for _ in range(CLASSES[name])]
    layer = getattr(L, name)(4, return_sequences=sequences, return_state=True, go_backwards=backward)
    same(keras.Model([x, c], layer(x, initial_state=starts if len(starts) > 1 else starts[0])), f(2, 9, 2), f(2, 5))


def test_both_directions_start_from_computed_values():
    x, c = keras.Input((None, 2)), keras.Input((5,))
    layer = L.Bidirectional(L.LSTM(4, return_sequences=True))
    same(keras.Model([x, c], layer(x, initial_state=[L.Dense(4)(c) for _ in range(4)])), f(2, 9, 2), f(2, 5))


@pytest.mark.parametrize("name", CLASSES)
def test_all_states_in_which_a_layer_ends(name):
    x = keras.Input((None, 3))
    _, *ends = getattr(L, name)(4, return_state=True)(x)
    model = same(keras.Model(x, ends), f(2, 9, 3))
    assert len(model.graph.outputs) == CLASSES[name]


def test_a_decoder_starts_from_the_ends_of_an_encoder_over_the_same_steps():
    x, z = keras.Input((None, 3)), keras.Input((None, 2))
    _, h, c = L.LSTM(4, return_state=True)(x)
    same(keras.Model([x, z], L.LSTM(4, return_sequences=True)(z, initial_state=[h, c])), f(2, 9, 3), f(2, 9, 2))


def test_a_layer_that_starts_from_a_value_goes_on_in_a_stream():
    x, c = keras.Input((None, 2)), keras.Input((5,))
    net = keras.Model([x, c], L.GRU(4, return_sequences=True)(x, initial_state=L.Dense(4)(c)))
    model, given, start = fastgru.convert(net), f(1, 11, 2), f(1, 5)
    stream, whole = model.stream(), model((given, start))[0]
    for row, y in zip(given[0], whole, strict=True):
        assert np.array_equal(stream.step((row, start[0])), y)


def decoder(name: str, order: slice = slice(None)):
    """A step of a decoder: a layer's states are inputs, and outputs beside what a head makes."""
    x, states = keras.Input((None, 3), name="x"), [keras.Input((4,), name=f"s{i}") for i in range(CLASSES[name])]
    layer = getattr(L, name)(4, return_sequences=True, return_state=True, name="cell")
    y, *ends = layer(x, initial_state=states if len(states) > 1 else states[0])
    return keras.Model([x, *states], [L.Dense(2, name="head")(y), *ends[order]])


@pytest.mark.parametrize("form", ["live", "keras", "h5"])
@pytest.mark.parametrize("name", CLASSES)
def test_states_that_a_model_takes_and_gives_are_held_by_their_layer(name, form, tmp_path):
    net, source = decoder(name), None
    if form != "live":
        source = tmp_path / f"decoder.{form}"
        net.save(source)
    model, x = fastgru.convert(source or net), f(1, 7, 3)
    assert (list(model.graph.inputs), len(model.graph.outputs), model.graph.has_state_nodes()) == (["x"], 1, False)
    assert "are held by layer cell" in model.provenance["notes"]
    stream, states = model.stream(), [np.zeros((1, 4), np.float32)] * CLASSES[name]
    for t in range(7):
        y, *states = map(keras.ops.convert_to_numpy, net([x[:, t : t + 1], *states]))
        assert np.abs(stream.step(x[0, t]) - y[0, 0]).max() <= 1e-5


def test_states_stay_inputs_where_one_is_not_given_back():
    model = fastgru.convert(decoder("LSTM", slice(1)))
    assert list(model.graph.inputs) == ["x", "s0", "s1"]
    assert "notes" not in model.provenance


def stepped(net, x: np.ndarray, *states: np.ndarray, given: int = 0, place: int = 0) -> None:
    """Compare a stream with a model that is given its states, which are its last inputs and outputs."""
    model = fastgru.convert(net)
    assert list(model.graph.inputs) == [t.name for t in net.inputs[: 1 + given]]
    assert "are held by layer" in model.provenance["notes"]
    stream = model.stream()
    for t in range(x.shape[1]):
        outputs = [keras.ops.convert_to_numpy(y) for y in net([x[:, t : t + 1], *states])]
        states = outputs[len(outputs) - len(states) :]
        y = stream.step(x[0, t])
        y = y[place] if isinstance(y, tuple) else y
        assert np.abs(y - outputs[place][0, 0]).max() <= 1e-5


def test_states_in_one_input_and_one_output_are_held():
    """A user may join them: each element comes back to its place."""
    x, both = keras.Input((None, 3), name="x"), keras.Input((8,), name="both")
    y, h, c = L.LSTM(4, return_sequences=True, return_state=True)(x, initial_state=[both[:, :4], both[:, 4:]])
    stepped(keras.Model([x, both], [y, L.Concatenate()([h, c])]), f(1, 5, 3), np.zeros((1, 8), np.float32))


def test_states_in_another_order_are_no_states():
    x, both = keras.Input((None, 3), name="x"), keras.Input((8,), name="both")
    y, h, c = L.LSTM(4, return_sequences=True, return_state=True)(x, initial_state=[both[:, :4], both[:, 4:]])
    net = keras.Model([x, both], [y, L.Concatenate()([c, h])])
    assert list(same(net, f(2, 5, 3), f(2, 8)).graph.inputs) == ["x", "both"]


def test_a_state_that_comes_back_and_is_read_as_well_is_held():
    x, h, c = keras.Input((None, 3), name="x"), keras.Input((4,), name="h"), keras.Input((4,), name="c")
    y, *ends = L.LSTM(4, return_sequences=True, return_state=True)(x, initial_state=[h, c])
    head = L.Dense(2)(L.Concatenate()(ends))
    model = fastgru.convert(keras.Model([x, h, c], [y, head, *ends]))
    assert (list(model.graph.inputs), len(model.graph.outputs)) == (["x"], 2)
    net = keras.Model([x, h, c], [y, head])
    rows, zero = f(2, 7, 3), np.zeros((2, 4), np.float32)
    for own, wanted in zip(model(rows), net([rows, zero, zero]), strict=True):
        assert np.abs(own - keras.ops.convert_to_numpy(wanted)).max() <= 1e-5


def test_a_state_that_is_read_before_it_changes_stays_an_input():
    x, h = keras.Input((None, 3), name="x"), keras.Input((4,), name="h")
    y, end = L.GRU(4, return_sequences=True, return_state=True)(x, initial_state=h)
    model = same(keras.Model([x, h], [y, L.Dense(2)(h), end]), f(2, 7, 3), f(2, 4))
    assert list(model.graph.inputs) == ["x", "h"]


def test_a_state_that_two_layers_start_from_stays_an_input():
    x, h = keras.Input((None, 3), name="x"), keras.Input((4,), name="h")
    layers = [L.GRU(4, return_sequences=True, return_state=True) for _ in range(2)]
    (y, end), (z, _) = (layer(x, initial_state=h) for layer in layers)
    model = same(keras.Model([x, h], [y, z, end]), f(2, 7, 3), f(2, 4))
    assert list(model.graph.inputs) == ["x", "h"]


def test_a_state_has_no_time():
    x, h = keras.Input((None, 3)), keras.Input((None,), name="h")
    net = keras.Model([x, h], L.GRU(4)(x, initial_state=h))
    with pytest.raises(fastgru.ConvertError, match="features of input 'h' must be a positive number, got None"):
        fastgru.convert(net)


def test_states_of_a_layer_that_is_called_twice():
    x, h, k = keras.Input((None, 3), name="x"), keras.Input((4,), name="h"), keras.Input((4,), name="k")
    layer = L.GRU(4, return_sequences=True, return_state=True)
    (y, first), (z, second) = layer(x, initial_state=h), layer(L.Dense(3)(x), initial_state=k)
    zero = np.zeros((1, 4), np.float32)
    stepped(keras.Model([x, h, k], [L.Add()([y, z]), first, second]), f(1, 5, 3), zero, zero)


def test_states_of_one_layer_are_held_and_those_of_another_given():
    x, h, k = keras.Input((None, 3), name="x"), keras.Input((4,), name="h"), keras.Input((4,), name="k")
    y, end = L.GRU(4, return_sequences=True, return_state=True, name="a")(x, initial_state=h)
    y = L.GRU(4, return_sequences=True, name="b")(y, initial_state=k)
    model = fastgru.convert(keras.Model([x, k, h], [y, end]))
    assert (list(model.graph.inputs), len(model.graph.outputs)) == (["x", "k"], 1)


def test_states_of_a_layer_that_is_given_all_its_steps_at_once_stay_inputs():
    """Nothing is held from call to call by a layer whose steps lie in a frame."""
    x, h = keras.Input((5, 3), name="x"), keras.Input((4,), name="h")
    y, end = L.GRU(4, return_sequences=True, return_state=True)(x, initial_state=h)
    model = same(keras.Model([x, h], [L.Dense(2)(L.Flatten()(y)), end]), f(2, 5, 3), f(2, 4))
    assert list(model.graph.inputs) == ["x", "h"]


def test_a_layer_that_holds_its_states_has_the_mask_that_keras_gives_it():
    """None, for it is called with states."""
    words, h = keras.Input((None,), name="words"), keras.Input((4,), name="h")
    layer = L.GRU(4, return_sequences=True, return_state=True)
    y, end = layer(L.Embedding(20, 3, mask_zero=True)(words), initial_state=h)
    net, ids = keras.Model([words, h], [y, end]), RNG.integers(0, 3, (2, 9))
    wanted = keras.ops.convert_to_numpy(net([ids, np.zeros((2, 4), np.float32)])[0])
    assert np.abs(fastgru.convert(net)(ids) - wanted).max() <= 1e-5


@pytest.mark.parametrize("decoder", [False, True], ids=["encoder", "both"])
@pytest.mark.parametrize("name", CLASSES)
def test_words_that_are_masked(name, decoder):
    """An encoder whose ids end in zeros, and a decoder from its states, whose own mask Keras leaves out."""
    a, b, layer = keras.Input((None,)), keras.Input((None,)), getattr(L, name)
    _, *states = layer(4, return_state=True)(L.Embedding(20, 3, mask_zero=True)(a))
    y = layer(4, return_sequences=True)(L.Embedding(30, 2, mask_zero=decoder)(b), initial_state=states)
    net = keras.Model([a, b], L.Dense(5)(y))
    for steps in ((9, 7), (4, 11), (1, 1)):
        words, own = RNG.integers(1, 20, (3, steps[0])), RNG.integers(1, 30, (3, steps[1]))
        words[1, 2:], own[1, 3:] = 0, 0
        same(net, words, own)


def test_the_cell_state_of_a_masked_layer():
    a = keras.Input((None,))
    y, _, c = L.LSTM(4, return_sequences=True, return_state=True)(L.Embedding(20, 3, mask_zero=True)(a))
    words = RNG.integers(1, 20, (3, 9))
    words[0, :2], words[1, 4:], words[2, 3] = 0, 0, 0
    same(keras.Model(a, [y, c]), words)


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("steps", [None, 9])
@pytest.mark.parametrize("name", CLASSES)
def test_states_in_which_masked_layers_end_that_run_backwards(name, steps, sequences):
    x = keras.Input((steps, 3))
    masked = L.Masking()(x)
    given = {"return_sequences": sequences, "return_state": True}
    one = getattr(L, name)(4, go_backwards=True, **given)(masked)
    both = L.Bidirectional(getattr(L, name)(4, **given))(masked)
    rows = f(2, 9, 3)
    rows[0, 6:] = rows[1, :3] = rows[1, 5] = 0
    same(keras.Model(x, [*one, *both]), rows)


@pytest.mark.parametrize("steps", [None, 9])
@pytest.mark.parametrize("name", CLASSES)
def test_a_layer_that_starts_from_a_value_has_the_mask_that_it_is_given_by_name(name, steps):
    x, m, c = keras.Input((steps, 3)), keras.Input((steps,), dtype="bool"), keras.Input((5,))
    starts = [L.Dense(4)(c) for _ in range(CLASSES[name])]
    starts = starts if len(starts) > 1 else starts[0]
    layer, back = (
        getattr(L, name)(4, return_sequences=True, return_state=True, go_backwards=way) for way in (False, True)
    )
    y = [*layer(x, initial_state=starts, mask=m), *back(x, initial_state=starts, mask=m)]
    unmasked = getattr(L, name)(4)(L.Masking()(x), initial_state=starts)
    rows = f(2, 9, 3)
    rows[0, 6:] = rows[1, :3] = rows[1, 5] = 0
    same(keras.Model([x, m, c], [*y, unmasked]), rows, RNG.random((2, 9)) > 0.4, f(2, 5))


@pytest.mark.filterwarnings("ignore:Layer .flatten.* .of type Flatten. was passed an input with a mask")
def test_a_masked_layer_before_one_that_needs_all_steps_at_once():
    x = keras.Input((9, 3))
    y = L.Bidirectional(L.LSTM(4, return_sequences=True))(L.Masking()(x))
    rows = f(2, 9, 3)
    rows[0, 6:] = rows[1, :3] = rows[1, 5] = 0
    same(keras.Model(x, L.Dense(2)(L.Flatten()(y))), rows)
