"""Live Keras 3 models: their config and weights by their own methods, and their forward pass as oracle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ConvertError, listed, require
from ..graph import Like
from . import Imported
from .keras_config import graph_of
from .keras_values import Array, Version

CLASSES = ("keras.src.models.sequential.Sequential", "keras.src.models.functional.Functional")


def import_model(model: Any, like: Sequence[Like] | None = None) -> Imported:
    """A built `keras.Sequential` or functional `keras.Model`.

    Raises
    ------
    ConvertError
        When `like` is given, the model is not built, is a subclass with code of its own, or cannot be
        imported faithfully.
    """
    keras = require("keras", extra="keras", purpose="importing a Keras model")
    if like is not None:
        raise ConvertError("like must be None for a live model, which says what its layers are, got a list")
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if kind not in CLASSES:
        raise ConvertError(f"model must be {' or '.join(CLASSES)} and no subclass with code of its own, got {kind}")
    if not model.built:
        raise ConvertError(f"model {model.name!r} must be built before it is converted, got one without weights")
    problems = _own_functions(model)
    if problems:
        raise ConvertError(listed(problems))
    arrays = {layer.name: [_to_numpy(keras, w) for w in layer.weights] for layer in model.layers}
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))  # as config.json would hold it
    graph, ctx = graph_of(config, Version.of(keras.version()), lambda layer: arrays.get(layer.name, []))
    provenance = {"framework": f"Keras {keras.version()}", "source": kind, "backend": keras.config.backend()}
    if ctx.stateful:
        provenance["stateful"] = ", ".join(ctx.stateful)
    return Imported(graph, provenance, Oracle(keras, model))


def _own_functions(model: Any) -> list[str]:
    """Activations that are the user's code: Keras serializes one called "relu" as if it were its own."""
    found = []
    for layer in model._flatten_layers():
        for key in ("activation", "recurrent_activation"):
            function = getattr(layer, key, None)
            named: Any = function if hasattr(function, "__qualname__") else type(function)
            if function is not None and named.__module__.split(".")[0] != "keras":
                got = f"{named.__module__}.{named.__qualname__}"
                found.append(f"{key} of layer {layer.name!r} must be one of Keras's own, got {got}")
    return found


def _to_numpy(keras: Any, tensor: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


class Oracle:
    """A model's own forward pass at inference, on the CPU and from zero states: x (B, T, I) to its outputs."""

    def __init__(self, keras: Any, model: Any) -> None:
        self.keras, self.model = keras, model

    def __call__(self, x: np.ndarray[Any, Any]) -> tuple[Array, ...]:
        self._reset()
        with self.keras.device("cpu:0"):
            outputs = self.model.predict(x, batch_size=len(x), verbose=0)
        self._reset()
        return tuple(np.asarray(y) for y in self.keras.tree.flatten(outputs))

    def _reset(self) -> None:
        for layer in self.model.layers:
            if getattr(layer, "stateful", False):
                layer.reset_state()
