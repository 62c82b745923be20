"""Helpers of the live Keras tests: weights that tell gates apart, inputs, the check of a model and both its files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_cases import Forward, assert_close

from fastgru.converters import Imported, to_graph
from fastgru.graph import Mask

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
L = keras.layers

BATCH, TIME, FEATURES = 3, 6, 3
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}
# Keras's torch backend, turning its own tensors into arrays.
QUIET = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def set_dtype(name: str, monkeypatch: Any) -> Iterator[str]:
    """Make Keras compute and store in `name`, without rounding matrix products to float32 as it does for JAX."""
    from keras.src.backend.common import dtypes

    if name == "float64":
        monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)
    yield name
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture(params=["float64", "float32"])
def dtype(request, monkeypatch):
    """The type in which Keras computes and stores."""
    yield from set_dtype(request.param, monkeypatch)


@pytest.fixture
def float64(monkeypatch):
    yield from set_dtype("float64", monkeypatch)


def randomised(model: Any) -> Any:
    """The model with weights that tell gates and biases apart."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if "int" in str(weight.dtype):
            continue
        values = rng.uniform(-0.7, 0.7, weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
    return model


def draw(imported: Imported, model: Any = None) -> Any:
    """Inputs of the graph's own specs, with masked steps (zeros) at the start, in the middle and at the end."""
    rng = np.random.default_rng(2)
    masked = any(isinstance(node.op, Mask) for node in imported.graph.nodes)
    found = {}
    for i, (name, spec) in enumerate(imported.graph.inputs.items()):
        known = None if model is None else model.inputs[i].shape[1] if spec.time else None
        steps = TIME if known is None else known
        shape = (BATCH, *[steps] * spec.time, *spec.shape)
        x = rng.integers(1, 7, shape) if spec.dtype == "int" else 2.0 * rng.normal(size=shape)
        x = x > 0 if spec.dtype == "bool" else x
        if spec.time and masked:
            x[0, 2:4] = x[1, :2] = x[2, 4:] = 0
        found[name] = x
    return found if len(found) > 1 else next(iter(found.values()))


def chain(*layers: Any, ids: bool = False, time: bool = True) -> Any:
    """A Sequential model of `layers`."""
    shape = (None,) if ids else (None, FEATURES) if time else (FEATURES,)
    return keras.Sequential([keras.Input(shape, dtype="int32" if ids else None), *layers])


def check(model: Any, folder: Path, forward: Forward, dtype: str, custom: Any = None, scale: float = 1.0) -> Imported:
    """The live model and both its files give what Keras computes, within the tolerance times `scale`."""
    live = to_graph(randomised(model), custom=custom)
    x = draw(live, model)
    expected = live.oracle(x)
    largest = max(1.0, *(float(np.abs(y).max()) for y in expected))
    tolerance = TOLERANCE[dtype] * largest * scale
    assert_close(forward(live.graph, x), expected, tolerance)
    for suffix in (".keras", ".h5"):
        path = folder / f"model{suffix}"
        model.save(path)
        stored = to_graph(path, custom=custom)
        assert_close(forward(stored.graph, x), expected, tolerance)
        assert [n.name for n in stored.graph.nodes] == [n.name for n in live.graph.nodes]
        assert stored.provenance["framework"] == f"Keras {keras.version()}"
    return live
