"""Layers of the user's own in live models and both files, against Keras running the user's code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras_cases import FORWARDS
from keras_live_cases import QUIET, L, check, dtype, float64, keras

import fastgru
from fastgru.errors import ConvertError
from fastgru.graph import Constant
from fastgru.layers import Activate, Activation, Add, Concat, Dense, Multiply

pytestmark = QUIET
__all__ = ["dtype", "float64"]  # fixtures
Input = keras.Input


class Squeeze(L.Layer):
    """Squeeze and excitation, by layers inside and a weight of its own; what it does with a mask it does not say."""

    def __init__(self, ratio: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self.ratio = ratio

    def build(self, shape: Any) -> None:
        self.gain = self.add_weight(shape=(shape[-1],), name="gain")
        self.down, self.up = L.Dense(shape[-1] // self.ratio), L.Dense(shape[-1])
        self.down.build(shape)
        self.up.build((*shape[:-1], shape[-1] // self.ratio))

    def call(self, x: Any) -> Any:
        return x * self.gain * keras.ops.sigmoid(self.up(keras.ops.relu(self.down(x))))

    def get_config(self) -> Any:
        return {**super().get_config(), "ratio": self.ratio}


def squeeze(config: dict[str, Any], weights: list[Any]) -> Any:
    gain, down, down_bias, up, up_bias = weights
    assert down.shape[1] == len(gain) // config["ratio"]

    def build(builder: Any, x: str) -> str:
        small = builder.add(Dense(down.T, down_bias, activation="relu"), x)
        scale = builder.add(Dense(up.T, up_bias, activation="sigmoid"), small)
        return builder.add(Multiply(), x, scale, builder.add(Constant(gain)))

    return build


@pytest.mark.parametrize("forward", FORWARDS)
def test_custom_layer(forward, dtype, tmp_path):
    """Also within a model, where the hook goes by the layer's whole name."""
    x = Input((None, 4))
    inner = keras.Sequential([Input((None, 4)), Squeeze(name="own")], name="inner")
    model = keras.Model(x, L.GRU(3)(inner(Squeeze(4, name="squeeze")(x))))
    with keras.saving.custom_object_scope({"Squeeze": Squeeze}):
        check(model, tmp_path, forward, dtype, custom={"Squeeze": squeeze})
        check(model, tmp_path, forward, dtype, custom={"squeeze": squeeze, "inner/own": squeeze})


# Cells ---------------------------------------------------------------------------------------------


class IndependentCell(L.Layer):
    """relu(x W + u h)"""

    def __init__(self, units, **rest):
        super().__init__(**rest)
        self.units = self.state_size = units

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.units), name="w")
        self.u = self.add_weight(shape=(self.units,), name="u")

    def call(self, x, states):
        h = keras.ops.relu(keras.ops.matmul(x, self.w) + self.u * states[0])
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def independent(config, weights):
    w, u = weights

    def build(builder, x):
        h = builder.state(np.zeros(config["units"]))
        kept = builder.add(Multiply(), h, builder.add(Constant(u)))
        new = builder.add(Activate("relu"), builder.add(Add(), builder.add(Dense(w.T), x), kept))
        builder.feed(h, new)
        return new

    return build


@pytest.mark.parametrize("sequences", [False, True])
def test_a_cell_of_the_users_own_runs_over_time(sequences):
    x = keras.Input((None, 3))
    net = keras.Model(x, L.Dense(2)(L.RNN(IndependentCell(4), return_sequences=sequences, name="rnn")(x)))
    model = fastgru.convert(net, custom={"IndependentCell": independent})
    given = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    whole = model(given)
    assert np.abs(whole - keras.ops.convert_to_numpy(net(given))).max() <= 1e-6
    if sequences:
        stream = model.stream()
        assert all(np.array_equal(stream.step(row), y) for row, y in zip(given[0], whole[0], strict=True))


def test_an_unknown_cell_names_the_way_on():
    x = keras.Input((None, 3))
    net = keras.Model(x, L.RNN(IndependentCell(4))(x))
    with pytest.raises(ConvertError, match=r"or have a function by custom=\{'IndependentCell': function\} that builds"):
        fastgru.convert(net)


def same(net, *given):
    """Convert a model with cells of the user's own, and compare all its outputs."""
    known = {"IndependentCell": independent, "PairCell": pair}
    cells = {type(layer.cell).__name__ for layer in net.layers if isinstance(layer, L.RNN)}
    model = fastgru.convert(net, custom={name: known[name] for name in cells})
    got, expected = model(given if len(given) > 1 else given[0]), net(list(given) if len(given) > 1 else given[0])
    got = got if isinstance(got, tuple) else (got,)
    for y, wanted in zip(got, keras.tree.flatten(expected), strict=True):
        assert np.abs(y - keras.ops.convert_to_numpy(wanted)).max() <= 1e-5
    return model


class PairCell(L.Layer):
    """Two states of unequal sizes."""

    state_size = (4, 3)

    def build(self, shape):
        self.w, self.u = self.add_weight(shape=(shape[-1], 4)), self.add_weight(shape=(4, 3))

    def call(self, x, states):
        h, c = states
        c = keras.ops.tanh(h @ self.u + 0.5 * c)
        h = x @ self.w + 0.3 * h
        return keras.ops.concatenate([h, c], -1), [h, c]


def pair(config, weights):
    w, u = weights

    def build(builder, x):
        h, c = builder.state(np.zeros(4)), builder.state(np.zeros(3))
        half = builder.add(Activation("affine", 0.5, 0.0), c)
        new_c = builder.add(Activate("tanh"), builder.add(Add(), builder.add(Dense(u.T), h), half))
        kept = builder.add(Activation("affine", 0.3, 0.0), h)
        new_h = builder.add(Add(), builder.add(Dense(w.T), x), kept)
        builder.feed(h, new_h)
        builder.feed(c, new_c)
        return builder.add(Concat(), new_h, new_c)

    return build


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("cell", [lambda: IndependentCell(4), PairCell])
def test_a_cell_of_the_users_own_has_a_mask_a_direction_and_states(cell, sequences, backward):
    x = keras.Input((None, 3))
    options = {"return_sequences": sequences, "go_backwards": backward}
    ends = L.RNN(cell(), return_state=True, **options)(x)
    masked = L.RNN(cell(), return_state=True, zero_output_for_mask=sequences, **options)(L.Masking()(x))
    carried = L.RNN(cell(), **options)(L.Masking()(x))
    given = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    given[0, 6:] = given[1, :3] = given[1, 5] = 0
    same(keras.Model(x, [*ends, *masked, carried]), given)


@pytest.mark.parametrize("steps", [None, 7])
def test_a_cell_of_the_users_own_starts_from_values(steps):
    x, c = keras.Input((steps, 3)), keras.Input((5,))
    one = L.RNN(IndependentCell(4), return_sequences=True)(x, initial_state=L.Dense(4)(c))
    two = L.RNN(PairCell(), return_state=True)(x, initial_state=[L.Dense(4)(c), L.Dense(3)(c)])
    rng = np.random.default_rng(1)
    given = rng.normal(size=(2, 7, 3)).astype(np.float32), rng.normal(size=(2, 5)).astype(np.float32)
    same(keras.Model([x, c], [one, *two]), *given)


def test_a_cell_of_the_users_own_may_be_stateful():
    x = keras.Input((None, 3), batch_size=2)
    net = keras.Model(x, L.RNN(IndependentCell(4), stateful=True, name="rnn")(x))
    model = fastgru.convert(net, custom={"IndependentCell": independent})
    assert model.provenance["stateful"] == "rnn"


def test_a_cell_that_is_given_too_many_states():
    x, c = keras.Input((None, 3)), keras.Input((4,))
    net = keras.Model([x, c], L.RNN(PairCell())(x, initial_state=[L.Dense(4)(c), L.Dense(3)(c)]))
    with pytest.raises(ConvertError, match=r"initial_state of layer 'rnn.*' .* must have 1 values, got 2"):
        fastgru.convert(
            net, custom={"PairCell": lambda config, weights: independent({"units": 4}, (weights[0], np.ones(4)))}
        )
