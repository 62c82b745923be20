"""Live Keras 3 models: their config and weights by their own methods, and their forward pass as oracle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import ConvertError, listed, require
from ...graph import Like
from .. import Imported
from .config import graph_of
from .custom import Hook, checked
from .values import Array, Version
from .weights import Weights, lookup

CLASSES = ("keras.src.models.sequential.Sequential", "keras.src.models.functional.Functional")
FUNCTIONS = ("activation", "recurrent_activation")


def import_model(model: Any, like: Sequence[Like] | None = None, custom: Mapping[str, Any] | None = None) -> Imported:
    """A built `keras.Sequential` or functional `keras.Model`.

    `custom` are functions for the layers of the user's own: see `fastgru.converters.keras.custom`.

    Raises
    ------
    ConvertError
        When `like` is given, the model is not built, is a subclass with code of its own, or cannot be
        imported faithfully.
    """
    keras = require("keras", extra="keras", purpose="importing a Keras model")
    if like is not None:
        raise ConvertError("like must be None for a live model, which says what its layers are, got a list")
    kind = _kind(model)
    if kind not in CLASSES:
        raise ConvertError(f"model must be {' or '.join(CLASSES)} and no subclass with code of its own, got {kind}")
    if not model.built:
        raise ConvertError(f"model {model.name!r} must be built before it is converted, got one without weights")
    hooks = checked(custom)
    problems = _own_functions(model, hooks)
    if problems:
        raise ConvertError(listed(problems))
    weights = _weights(keras, model, ())
    stored = sum(array.nbytes for arrays in weights.values() for array in arrays)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))  # as config.json would hold it
    graph, ctx = graph_of(config, Version.of(keras.version()), lookup(weights), custom=hooks, stored=stored)
    provenance = {"framework": f"Keras {keras.version()}", "source": kind, "backend": keras.config.backend()}
    if ctx.stateful:
        provenance["stateful"] = ", ".join(ctx.stateful)
    return Imported(graph, provenance, Oracle(keras, model))


def _kind(model: Any) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _weights(keras: Any, model: Any, path: tuple[str, ...]) -> Weights:
    """The arrays of every layer, those of models inside by their paths."""
    found: Weights = {}
    for layer in model.layers:
        own = (*path, layer.name)
        inner = getattr(layer, "layer", None)
        if _kind(layer) in CLASSES:
            found |= _weights(keras, layer, own)
        elif _kind(inner) in CLASSES and type(layer).__name__ == "TimeDistributed":
            found |= _weights(keras, inner, (*own, inner.name))  # type: ignore[union-attr]
        else:
            found[own] = [np.asarray(keras.ops.convert_to_numpy(w)) for w in layer.weights]
    return found


def _own_functions(model: Any, hooks: Mapping[str, Hook]) -> list[str]:
    """Activations that are the user's code: Keras serializes one called "relu" as if it were its own."""
    found = []
    for layer in model._flatten_layers():
        for key in FUNCTIONS:
            function = getattr(layer, key, None)
            named: Any = function if hasattr(function, "__qualname__") else type(function)
            own = function is not None and named.__module__.split(".")[0] != "keras"
            if own and named.__name__ not in hooks and type(layer).__module__.split(".")[0] == "keras":
                got = f"{named.__module__}.{named.__qualname__}"
                found.append(f"{key} of layer {layer.name!r} must be one of Keras's own, got {got}")
    return found


class Oracle:
    """A model's own forward pass at inference, on the CPU and from zero states.

    Takes what the imported graph takes, an array or several by name, and returns a tuple of its outputs. Rows are
    passed on in the model's own number where it has one. A number of steps other than the model's goes through
    `call`, which does not check it.
    """

    def __init__(self, keras: Any, model: Any) -> None:
        self.keras, self.model = keras, model

    def __call__(self, x: Any) -> tuple[Array, ...]:
        arrays = self._arrays(x)
        rows = len(arrays[0])
        batch = next((t.shape[0] for t in self.model.inputs if t.shape[0] is not None), rows)
        parts = []
        for start in range(0, rows, batch):
            chosen = [np.arange(start, start + batch).clip(max=rows - 1)] * len(arrays)
            parts.append(self._run([a[i] for a, i in zip(arrays, chosen, strict=True)]))
        return tuple(np.concatenate(ys)[:rows] for ys in zip(*parts, strict=True))

    def _arrays(self, x: Any) -> list[Array]:
        """The inputs in the order of the model's."""
        if not isinstance(x, Mapping):
            return [np.asarray(a) for a in (x if isinstance(x, tuple | list) else [x])]
        return [np.asarray(x[t._keras_history.operation.name]) for t in self.model.inputs]

    def _run(self, arrays: list[Array]) -> tuple[Array, ...]:
        fits = all(
            all(m is None or m == n for m, n in zip(t.shape[1:], a.shape[1:], strict=True))
            for t, a in zip(self.model.inputs, arrays, strict=True)
        )
        structure = getattr(self.model, "_inputs_struct", None)
        single = structure is None or not isinstance(structure, list | tuple | dict)
        given = arrays[0] if single else self.keras.tree.pack_sequence_as(structure, arrays)
        self._reset()
        with self.keras.device("cpu:0"):
            if fits:
                outputs = self.model.predict(given, batch_size=len(arrays[0]), verbose=0)
            else:
                tensors = self.keras.tree.map_structure(self.keras.ops.convert_to_tensor, given)
                outputs = self.model.call(tensors, training=False)
        self._reset()
        return tuple(np.asarray(self.keras.ops.convert_to_numpy(y)) for y in self.keras.tree.flatten(outputs))

    def _reset(self) -> None:
        for layer in self.model._flatten_layers():
            if getattr(layer, "stateful", False) and hasattr(layer, "reset_state"):
                layer.reset_state()
