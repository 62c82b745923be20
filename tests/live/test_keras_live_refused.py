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


def two_inputs() -> Any:
    a, b = keras.Input((None, 3), name="one"), keras.Input((None, 3), name="two")
    return keras.Model([a, b], L.Add()([a, b]))


def uses_state(x: Any) -> Any:
    return L.GRU(3, return_state=True, name="g")(x)[1]


def passes_state(x: Any) -> Any:
    _, state = L.GRU(3, return_state=True)(x)
    return L.GRU(3, name="g")(x, initial_state=state)


def two_masks(x: Any) -> Any:
    return L.GRU(2)(L.Concatenate()([L.Masking(1.0)(x), L.Masking(2.0)(x)]))


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


# name -> (model, the error)
REFUSED: dict[str, tuple[Any, str]] = {
    "unsupported": (
        lambda: chain(L.Conv1D(2, 1, name="conv"), L.Lambda(abs, name="odd")),
        r"2 problems:(.|\n)*'conv' must be a supported one, got Conv1D(.|\n)*'odd' .* got Lambda",
    ),
    "relu6": (lambda: chain(L.Dense(2, activation="relu6", name="d")), "activation of layer 'd' .* got 'relu6'"),
    "max_value": (lambda: chain(L.ReLU(max_value=6.0, name="r")), "max_value of layer 'r' .* must be None, got 6.0"),
    "leaky-threshold": (lambda: chain(L.ReLU(negative_slope=0.1, threshold=1.0)), "must have no threshold beside"),
    "function": (
        lambda: chain(L.Dense(2, activation=relu, name="d")),
        "activation of layer 'd' must be one of Keras's own, got .*relu",
    ),
    "axis": (lambda: chain(L.Softmax(axis=1, name="s")), "axis of layer 's' .* must be -1, got 1"),
    "norm-axis": (
        lambda: keras.Sequential([keras.Input((4, 3)), L.LayerNormalization(axis=1, name="n")]),
        r"axis of layer 'n' .* must be the last \(-1\), got \[1\]",
    ),
    "rms": (lambda: chain(L.LayerNormalization(rms_scaling=True)), "rms_scaling of .* must be False, got True"),
    "concatenate-axis": (
        lambda: functional(lambda x: L.Concatenate(axis=1, name="c")([x, x])),
        r"axis of layer 'c' .* must be the last \(-1\), got 1",
    ),
    "two-inputs": (two_inputs, "must have one input, got 2: one, two"),
    "state-out": (lambda: functional(uses_state), "not its states, got output 1 of 'g'"),
    "state-in": (lambda: functional(passes_state), "layer 'g' .* must be called without initial_state"),
    "two-masks": (lambda: functional(two_masks), "must share one mask, got 2 different ones"),
    "mask-as-data": (lambda: functional(mask_as_data), "outputs of the model must be outputs of layers, got masks"),
    "zero-last": (lambda: functional(zero_last), "zero_output_for_mask of layer 'g' .* with return_sequences"),
    "masked-softmax": (lambda: chain(L.Masking(), L.Softmax(name="s")), "layer 's' .* must have no mask on its input"),
    "nested": (lambda: chain(keras.Sequential([keras.Input((None, 3)), L.GRU(2)], name="n")), "'n' .* got Sequential"),
    "subclassed-model": (Mine, "no subclass with code of its own, got .*Mine"),
    "subclassed-layer": (lambda: chain(GRU2(2, name="g")), "'g' must be a supported one, got GRU2"),
    "unbuilt": (lambda: keras.Sequential([L.GRU(2)]), "must be built before it is converted"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`:UserWarning")
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
