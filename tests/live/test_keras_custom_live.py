"""Layers of the user's own in live models and both files, against Keras running the user's code."""

from __future__ import annotations

from typing import Any

import pytest
from keras_cases import FORWARDS
from keras_live_cases import QUIET, L, check, dtype, float64, keras

from fastgru.graph import Constant
from fastgru.layers import Dense, Multiply

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
