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
from fastgru.layers import Activate, Add, Dense, Multiply

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


def test_a_cell_of_the_users_own_takes_no_mask():
    x = keras.Input((None, 3))
    net = keras.Model(x, L.RNN(IndependentCell(4), return_sequences=True)(L.Masking()(x)))
    with pytest.raises(ConvertError, match="with a cell of custom must have no mask on its input"):
        fastgru.convert(net, custom={"IndependentCell": independent})


@pytest.mark.parametrize("key", ["return_state", "go_backwards", "stateful"])
def test_a_cell_of_the_users_own_runs_forward_from_its_own_start(key):
    x = keras.Input((None, 3), batch_size=2)
    y = L.RNN(IndependentCell(4), return_sequences=True, **{key: True})(x)
    net = keras.Model(x, y[0] if key == "return_state" else y)
    with pytest.raises(ConvertError, match=f"{key} of layer 'rnn.*' .* must be False with a cell of custom, got True"):
        fastgru.convert(net, custom={"IndependentCell": independent})
