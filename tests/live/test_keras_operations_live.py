"""Operations on tensors in functional models, ``x + y`` or ``x[:, -1]``, against Keras: live and through both files."""

from __future__ import annotations

from typing import Any

import pytest
from keras_cases import FORWARDS
from keras_live_cases import QUIET, L, check, dtype, float64, keras, randomised

from fastgru.converters import to_graph
from fastgru.errors import ConvertError

pytestmark = QUIET
__all__ = ["dtype", "float64"]  # fixtures
O = keras.ops

# name -> outputs of x (T, 4) and r (4,)
ALONG_TIME: dict[str, Any] = {
    "numbers": lambda x, r: [x * 2.0 + 1, 3 * x - 1.5, 1.0 - x, x / 3.0, 2.0 / (x * x + 1.0), x**2, -x],
    "values": lambda x, r: [x + x * x, x - r[:, None, :], x / (O.abs(x) + 1.0), O.maximum(x, 0.5), O.minimum(x, -x)],
    "functions": lambda x, r: [
        O.tanh(x), O.sigmoid(x), O.relu(x), O.relu6(x), O.silu(x), O.gelu(x, approximate=False), O.softplus(x),
        O.leaky_relu(x, 0.3), O.elu(x, 0.7), O.hard_sigmoid(x), O.selu(x), O.exp(x), O.sin(x), O.cos(x), O.square(x),
        O.sqrt(O.abs(x)), O.log(O.abs(x) + 1.0), O.rsqrt(O.square(x) + 1.0), O.sign(x), O.floor(x), O.ceil(x),
        O.clip(x, -0.5, 0.5), O.erf(x), O.reciprocal(O.square(x) + 0.5), O.arctan(x), O.arctan2(x, r[:, None, :]),
    ],
    "reductions": lambda x, r: [
        O.mean(x, axis=1), O.sum(x, axis=-1, keepdims=True), O.max(x, axis=1, keepdims=True), O.min(x, axis=2),
        O.mean(x, axis=(1, 2)), O.sum(x * x, axis=-1), x - O.mean(x, axis=1, keepdims=True),
    ],
    "softmax": lambda x, r: [O.softmax(x, axis=1), O.softmax(x), O.softmax(r)],
    "choices": lambda x, r: [
        O.where(x > 0, x, 0.0), O.where(x <= 0.5, x, -x), O.where(O.greater_equal(x, r[:, None, :]), 1.0, x),
    ],
    "items": lambda x, r: [
        x[:, -1], x[:, -1, :], x[..., :2], x[:, :, 1], x[:, :, -3:-1], r[:, 1:], r[:, None], r[:, 0],
        x[..., None], x[:, -1, 2], x[:, :, None, ::2],
    ],
    "shapes": lambda x, r: [
        O.expand_dims(x, 2), O.expand_dims(r, -1), O.squeeze(O.expand_dims(x, -1), -1), O.reshape(r, (-1, 2, 2)),
        O.reshape(r, (-1, 1, 4)), O.stack([x, -x], axis=2), O.stack([r, r], axis=-1), O.flip(x, axis=1),
        O.flip(x, axis=-1),
        O.transpose(O.expand_dims(x, 2), (0, 1, 3, 2)), O.concatenate([x, -x], axis=-1),
    ],
    "matmul": lambda x, r: [O.matmul(x, O.stack([r, r], 2))],
    "between-layers": lambda x, r: [L.GRU(3)(x + L.GRU(4, return_sequences=True)(x)) * 0.5 + L.Dense(3)(x[:, -1])],
}  # fmt: skip


def model(build: Any, steps: int | None) -> Any:
    x, r = keras.Input((steps, 4), name="x"), keras.Input((4,), name="r")
    return keras.Model([x, r], build(x, r))


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("case", ALONG_TIME)
def test_along_time(case, forward, float64, tmp_path):
    live = check(model(ALONG_TIME[case], None), tmp_path, forward, "float64")
    assert live.graph.inputs["x"].time


# name -> outputs of x (6, 4) and r (4,), of which one needs the steps within a frame
ON_FRAMES: dict[str, Any] = {
    "items": lambda x, r: [x[:, 1:4], x[:, 0], x[:, ::2, 1:], x[:, -2], O.flip(x, 1), x[:, None], x[:, 5, 3]],
    "attention": lambda x, r: [
        O.matmul(O.softmax(O.matmul(r[:, None, :], O.transpose(x, (0, 2, 1))) / 2.0, axis=-1), x),
        O.matmul(x, O.transpose(x, (0, 2, 1))),
    ],
    "concatenated": lambda x, r: [O.concatenate([x, x * 2.0, r[:, None, :]], axis=1), O.stack([x, -x], axis=1)],
}


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("case", ON_FRAMES)
def test_on_frames(case, forward, float64, tmp_path):
    live = check(model(ON_FRAMES[case], 6), tmp_path, forward, "float64")
    assert not live.graph.inputs["x"].time


REFUSED: dict[str, tuple[Any, str]] = {
    "first-step": (lambda x, r: x[:, 0], "must take all steps or the last one"),
    "batch": (lambda x, r: r[0], "must take the whole batch"),
    "mean-of-batch": (lambda x, r: O.mean(r, axis=0), "axis of .* must be an axis .* after the first"),
    "over-steps": (lambda x, r: O.matmul(O.transpose(x, (0, 2, 1)), x), "must keep time where it is"),
    "unknown": (lambda x, r: O.cumsum(x, axis=1), "must be a supported one, got Cumsum"),
    "approximate": (lambda x, r: O.gelu(x, approximate=True), "approximate of .* must be False"),
    "reshaped": (lambda x, r: O.reshape(x, (-1, 8)), "must keep time as its first axis|elements"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    build, message = REFUSED[case]
    with pytest.raises(ConvertError, match=message):
        to_graph(randomised(model(build, None)))
