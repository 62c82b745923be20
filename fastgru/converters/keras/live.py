"""Live Keras 3 models: their config and weights by their own methods."""

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
from .inside import Layers
from .oracle import Oracle
from .values import Version
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
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(_said(model))))  # as config.json would hold it
    graph, ctx = graph_of(config, Version.of(keras.version()), lookup(weights), custom=hooks, stored=stored)
    provenance = {"framework": f"Keras {keras.version()}", "source": kind, "backend": keras.config.backend()}
    if ctx.stateful:
        provenance["stateful"] = ", ".join(ctx.stateful)
    if ctx.held.notes:
        provenance["notes"] = "; ".join(ctx.held.notes)
    oracle = Oracle(keras, model, ctx.held)
    return Imported(graph, provenance, oracle, Layers(oracle, ctx.seen), "", steps=ctx.steps, layouts=ctx.layouts)


def _said(model: Any) -> Any:
    """The model whose config says each call: that of a Sequential names a layer once that is in it twice."""
    return model if len({id(layer) for layer in model.layers}) == len(model.layers) else model._functional


def _kind(model: Any) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _weights(keras: Any, model: Any, path: tuple[str, ...]) -> Weights:
    """The arrays of every layer, those of models inside by their paths."""
    found: Weights = {}
    for layer in model.layers:
        own = (*path, layer.name)
        inner, place = layer, own
        while type(inner).__name__ == "TimeDistributed":
            inner = inner.layer
            place = (*place, inner.name)
        if _kind(inner) in CLASSES:
            found |= _weights(keras, inner, place)
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
