"""Keras activation names, functions and layers as activations of the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ConvertError
from ..graph import Activation
from .keras_values import Layer, Version, as_layer, shortened

# Names that mean the same in every Keras: name -> (activation, alpha).
PLAIN: dict[str, tuple[str, float | None]] = {
    "linear": ("linear", None),
    "sigmoid": ("sigmoid", None),
    "tanh": ("tanh", None),
    "relu": ("relu", None),
    "softmax": ("softmax", None),
    "softsign": ("softsign", None),
    "softplus": ("softplus", None),
    "elu": ("elu", 1.0),
    "leaky_relu": ("leaky_relu", 0.2),  # keras/src/activations/activations.py: negative_slope=0.2
}
# clip(0.2 x + 0.5) until Keras 2, relu6(x + 3) / 6 since Keras 3.
HARD_SIGMOID_SLOPE = {2: 0.2, 3: 1 / 6}


def relu(layer: Layer, version: Version) -> Activation:
    """`keras.layers.ReLU`: x where x > threshold, else slope * (x - threshold)."""
    slope, threshold = layer.number("negative_slope", default=0.0), layer.number("threshold", default=0.0)
    if layer.config.get("max_value") is not None:
        raise ConvertError(f"max_value of {layer} must be None, got {layer.config['max_value']!r}")
    if threshold == 0:
        return Activation("leaky_relu", alpha=slope) if slope else Activation("relu")
    if slope:
        raise ConvertError(f"{layer} must have no threshold beside negative_slope={slope:g}, got {threshold:g}")
    return Activation("thresholded_relu", alpha=threshold)


def leaky_relu(layer: Layer, version: Version) -> Activation:
    """`keras.layers.LeakyReLU`: its slope was called alpha until Keras 2."""
    key = "negative_slope" if "negative_slope" in layer.config else "alpha"
    return Activation("leaky_relu", alpha=layer.number(key))


def softmax(layer: Layer, version: Version) -> Activation:
    """`keras.layers.Softmax` over the last axis."""
    if layer.get("axis", default=-1) not in (-1, [-1]):
        raise ConvertError(f"axis of {layer} must be -1, got {layer.config['axis']!r}")
    return Activation("softmax")


# Class of an activation layer -> its activation.
LAYERS: dict[str, Callable[[Layer, Version], Activation]] = {
    "ReLU": relu,
    "LeakyReLU": leaky_relu,
    "ELU": lambda layer, version: Activation("elu", alpha=layer.number("alpha")),
    "ThresholdedReLU": lambda layer, version: Activation("thresholded_relu", alpha=layer.number("theta")),
    "Softmax": softmax,
    "Activation": lambda layer, version: named(layer, "activation", version),
}


def named(layer: Layer, key: str, version: Version) -> Activation:
    """The activation that a layer's config holds under `key`: a name, a function, or a layer.

    Raises
    ------
    ConvertError
        When it is not one that the graph can express.
    """
    if key not in layer.config:
        raise ConvertError(f"{layer} must have {key!r} in its config, got none")
    value = layer.config[key]
    if isinstance(value, dict) and str(value.get("class_name")) in LAYERS:
        inner = as_layer(value, where=f"{key} of {layer}")
        return LAYERS[inner.class_name](inner, version)
    if value is None:
        return Activation("linear")
    if value == "hard_sigmoid":
        return Activation("hard_sigmoid", alpha=HARD_SIGMOID_SLOPE[3 if version.major >= 3 else 2], beta=0.5)
    if isinstance(value, str) and value in PLAIN:
        name, alpha = PLAIN[value]
        return Activation(name, alpha=alpha)
    known = ", ".join([*PLAIN, "hard_sigmoid", *(n for n in LAYERS if n != "Activation")])
    raise ConvertError(f"{key} of {layer} must be one of {known}, got {shortened(_what(value))}")


def _what(value: Any) -> Any:
    return value.get("class_name", value) if isinstance(value, dict) else value
