"""Operations on tensors in functional models, ``x + y`` or ``x[:, -1]``, against Keras: live and through both files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras_cases import FORWARDS
from keras_live_cases import QUIET, L, check, dtype, float64, keras, randomised

from fastgru import Model
from fastgru.converters import to_graph
from fastgru.errors import ConvertError
from fastgru.passes import canonical

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
    "more-functions": lambda x, r: [
        O.gelu(x, approximate=True), O.celu(x, 0.7), O.hard_shrink(x, 0.2), O.soft_shrink(x, 0.3), O.squareplus(x, 2),
        O.threshold(x, 0.1, -2.0), O.sinh(x), O.cosh(x), O.arcsinh(x), O.arccosh(O.abs(x) + 1.5),
        O.arctanh(O.tanh(x)), O.arcsin(O.tanh(x)), O.arccos(O.tanh(x)), O.tan(x), O.log1p(O.abs(x)), O.expm1(x),
        O.log2(O.abs(x) + 1.0), O.log10(O.abs(x) + 1.0), O.trunc(x * 3), O.mod(x, 0.7), x // 0.4, x**3, x**0.0,
    ],
    "more-reductions": lambda x, r: [
        O.prod(x, axis=2), O.logsumexp(x, axis=1), O.logsumexp(x, axis=(1, 2), keepdims=True), O.var(x, axis=1),
        O.std(x, axis=(1, 2)), O.cumsum(x, axis=1), O.cumsum(x, axis=2), O.argmax(x, axis=2) * 1.0,
        O.log_softmax(x, axis=1), O.log_softmax(x), O.glu(x),
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
    "steps": lambda x, r: [
        x[:, 0], x[:, 2, 1:], x[:, -3], x[:, 1:], x[:, 1:-2, ::2], x[:, ::3], x[:, -4:], x[:, :3, 1], x[:, -5:-1:2],
        x[:, 1:5:2, None], x[:, 2:] - x[:, :-2], x[:, :, None][:, -2:, 0],
    ],
    "shapes": lambda x, r: [
        O.expand_dims(x, 2), O.expand_dims(r, -1), O.squeeze(O.expand_dims(x, -1), -1), O.reshape(r, (-1, 2, 2)),
        O.reshape(r, (-1, 1, 4)), O.stack([x, -x], axis=2), O.stack([r, r], axis=-1), O.flip(x, axis=1),
        O.flip(x, axis=-1),
        O.transpose(O.expand_dims(x, 2), (0, 1, 3, 2)), O.concatenate([x, -x], axis=-1),
    ],
    "matmul": lambda x, r: [O.matmul(x, O.stack([r, r], 2)), O.matmul(x[:, :, None], O.stack([r, r, r], 2)[:, None])],
    "einsum": lambda x, r: [
        O.einsum("btf,bf->bt", x, r), O.einsum("btf,btg->bfg", x, x), O.einsum("btf,bg->btgf", x, r),
        O.einsum("btf,btf,bg->bg", x, x, r), O.einsum("...f,...g->...g", r, r),
        O.einsum("bff->bf", r[:, :, None] * r[:, None]),
    ],
    "parts": lambda x, r: [
        *O.split(x, 2, axis=-1), *O.split(x, [1, 3], axis=2), O.swapaxes(O.expand_dims(x, 2), 2, -1),
        O.triu(x[:, :, None] * x[..., None], 1), O.tril(r[:, :, None] * r[:, None], -1),
        O.take_along_axis(x, O.argmax(x, axis=2, keepdims=True), axis=2),
    ],
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
    "no-axis-before-time": (lambda x, r: x[:, None], "must not add an axis in front of time"),
    "step-in-between": (lambda x, r: x[:, -3:2], "must not begin near its end and end near its beginning"),
    "batch": (lambda x, r: r[0], "must take the whole batch"),
    "mean-of-batch": (lambda x, r: O.mean(r, axis=0), "axis of .* must be an axis .* after the first"),
    "over-steps": (lambda x, r: O.matmul(O.transpose(x, (0, 2, 1)), x), "must keep time behind the batch"),
    "unknown": (lambda x, r: O.cumprod(x, axis=1), "must be a supported one, got Cumprod"),
    "product": (lambda x, r: O.prod(x, axis=1), "reduction over time must be none of products"),
    "reshaped": (lambda x, r: O.reshape(x, (-1, 8)), "must keep time as its first axis|elements"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    build, message = REFUSED[case]
    with pytest.raises(ConvertError, match=message):
        to_graph(randomised(model(build, None)))


@pytest.mark.parametrize("backwards", [False, True])
def test_the_last_step_of_a_layer_is_all_that_it_returns(backwards, float64):
    x = keras.Input((None, 4))
    y = L.LSTM(3, return_sequences=True, go_backwards=backwards)(x)
    found = to_graph(randomised(keras.Model(x, L.Dense(2)(y[:, -1]))))
    layer, *rest = canonical(found.graph).nodes
    assert [type(node.op).__name__ for node in (layer, *rest)][:1] == ["LSTM"]
    assert layer.op.return_sequences == backwards  # Keras turns the sequence round: its last step is the first


def test_steps_stream(float64):
    x = keras.Input((None, 4))
    y = L.GRU(3, return_sequences=True)(x[:, 2:] - x[:, :-2])
    found = to_graph(randomised(keras.Model(x, y[:, ::2])))
    assert not found.graph.not_streamable()
    given = np.random.default_rng(0).normal(size=(2, 11, 4))
    model = Model(found.graph, dtype="float64")
    whole, s = model(given), model.stream(2)
    parts = [s.process(given[:, t : t + 1]) for t in range(11)]
    assert np.array_equal(np.concatenate([*parts, s.flush()], axis=1), whole)
