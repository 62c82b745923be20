"""Live Keras models that cannot be imported faithfully are refused by name, all problems at once."""

from __future__ import annotations

import os
from typing import Any

import pytest

from fastgru.converters import to_graph
from fastgru.errors import ConvertError
from fastgru.layers import GRU, like

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
L = keras.layers

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def chain(*layers: Any) -> Any:
    return keras.Sequential([keras.Input((None, 3)), *layers])


def functional(build: Any) -> Any:
    x = keras.Input((None, 3))
    return keras.Model(x, build(x))


def mask_as_data(x: Any) -> Any:
    return keras.ops.any(keras.ops.not_equal(x, 0.0), axis=-1)


def zero_last(x: Any) -> Any:
    return L.GRU(2, zero_output_for_mask=True, name="g")(L.Masking()(x))


def relu(x: Any) -> Any:
    """Not Keras's."""
    return 2 * x


class Mine(keras.Model):
    """A model with code of its own."""

    def call(self, x: Any) -> Any:
        return x


class GRU2(L.GRU):
    """A layer with code of its own."""


def frames(*layers: Any) -> Any:
    return keras.Sequential([keras.Input((None, 4, 4, 2)), *layers])


# name -> (model, the error)
def masked_words(inner: Any) -> Any:
    """Words of sentences, some of which are none, then a recurrence over the sentences."""
    ids = keras.Input((4, 6), dtype="int32")
    words = L.TimeDistributed(inner, name="words")(L.Embedding(9, 4, mask_zero=True)(ids))
    return keras.Model(ids, L.GRU(2, name="g")(words))


REFUSED: dict[str, tuple[Any, str]] = {
    "unsupported": (
        lambda: chain(L.CategoryEncoding(4, name="codes"), L.Lambda(abs, name="odd")),
        r"2 problems:(.|\n)*'codes' must be a supported one, got CategoryEncoding(.|\n)*'odd' .* got Lambda"
        r"(.|\n)*custom=\{'CategoryEncoding': function, 'Lambda': function\}",
    ),
    "einsum-of-time": (
        lambda: chain(L.EinsumDense("abc,cd->adb", (2, None), name="e")),
        "layer 'e' must keep time behind the batch, got a result ",
    ),
    "einsum-of-batch": (
        lambda: chain(L.EinsumDense("abc,cd->bad", (None, 2), name="e")),
        "layer 'e' must keep the batch in front, got a result ",
    ),
    "gate": (lambda: chain(L.GRU(2, activation="relu6", name="d")), "activation of layer 'd' .* got 'relu6'"),
    "sparsemax": (
        lambda: chain(L.Dense(2, activation="sparsemax", name="d")),
        "activation of layer 'd' .* got 'sparsemax'",
    ),
    "function": (
        lambda: chain(L.Dense(2, activation=relu, name="d")),
        "activation of layer 'd' must be one of Keras's own, got .*relu",
    ),
    "masked-heads": (
        lambda: functional(lambda x: L.MultiHeadAttention(1, 2, name="m")(L.Masking()(x), L.Masking()(x))),
        r"layer 'm' .* must have no mask, got one: backends of Keras differ .* leave out mask_zero or Masking",
    ),
    "open-attention": (
        lambda: functional(lambda x: L.Attention(name="a")([x, x], return_attention_scores=True)[1]),
        r"output of layer 'a' .*must not be of attention of all steps to all steps(.|\n)*"
        r"the model leaves the number of steps open",
    ),
    "open-flatten": (
        lambda: chain(L.Flatten(name="f")),
        r"layer 'f' .* not reach over time(.|\n)*leaves the number of steps open",
    ),
    "open-concatenate": (
        lambda: functional(lambda x: L.Concatenate(axis=1, name="c")([x, x])),
        "axis of layer 'c' .* must not be the time axis, got 1",
    ),
    "open-same": (
        lambda: chain(L.Conv1D(2, 3, strides=2, padding="same", name="c")),
        "layer 'c' .* must know the number",
    ),
    "mask-as-data": (lambda: functional(mask_as_data), "outputs of the model must be outputs of layers, got masks"),
    "zero-last": (lambda: functional(zero_last), "zero_output_for_mask of layer 'g' .* with return_sequences"),
    "masked-softmax": (lambda: chain(L.Masking(), L.Softmax(name="s")), "layer 's' .* must have no mask on its input"),
    "softmax-gate": (
        lambda: frames(L.ConvLSTM2D(2, 2, recurrent_activation="softmax", name="c")),
        "recurrent_activation of layer 'c' .* must be one of linear, .* got 'softmax'",
    ),
    "masked-words": (
        lambda: masked_words(L.GlobalAveragePooling1D()),
        "mask of layer 'g' .* must be of whole steps, got",
    ),
    "masked-within-steps": (lambda: masked_words(L.LSTM(3)), "layer 'words' .* no mask where its steps are within"),
    "interpolated": (
        lambda: frames(L.TimeDistributed(L.UpSampling2D(2, interpolation="bicubic"), name="u")),
        "interpolation of layer .* must be 'nearest' or 'bilinear', got 'bicubic'",
    ),
    "subclassed-model": (Mine, "no subclass with code of its own, got .*Mine"),
    "subclassed-layer": (lambda: chain(GRU2(2, name="g")), "'g' must be a supported one, got GRU2"),
    "unbuilt": (lambda: keras.Sequential([L.GRU(2)]), "must be built before it is converted"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore:Layer .* does not support masking:UserWarning")
def test_refused(case):
    build, message = REFUSED[case]
    with pytest.raises(ConvertError, match=message):
        to_graph(build())


def test_like_is_for_files():
    with pytest.raises(ConvertError, match="like must be None for a live model"):
        to_graph(chain(L.GRU(2)), like=[like(GRU)])


def test_regularizers_and_constraints_do_not_matter():
    class Mine(keras.constraints.Constraint):
        def __call__(self, w: Any) -> Any:
            return w

    layer = L.GRU(2, kernel_constraint=Mine(), recurrent_regularizer="l2", bias_initializer="ones", seed=3)
    assert [n.name for n in to_graph(chain(layer)).graph.nodes] == [layer.name]
