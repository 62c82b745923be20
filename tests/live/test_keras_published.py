"""The arrays that Keras's own tests expect: those tests are run with fastgru in the place of the layers."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

import numpy as np
import pytest

from fastgru import reference
from fastgru.converters.keras.config import graph_of
from fastgru.converters.keras.values import Version
from fastgru.graph import Graph

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
pytest.importorskip("absl")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

LAYERS = ("SimpleRNN", "GRU", "LSTM", "Bidirectional")
# Keras's test module and class -> those of its tests that compare with printed arrays and need no states returned.
PUBLISHED = {
    ("gru_test", "GRUTest"): ("test_correctness", "test_masking", "test_pass_initial_state", "test_statefulness"),
    ("lstm_test", "LSTMTest"): ("test_correctness", "test_masking", "test_pass_initial_state", "test_statefulness"),
    ("simple_rnn_test", "SimpleRNNTest"): (
        "test_correctness", "test_masking", "test_pass_initial_state", "test_statefulness",
    ),
    ("bidirectional_test", "SimpleRNNTest"): (
        "test_correctness", "test_masking", "test_pass_initial_state", "test_statefulness",
    ),
}  # fmt: skip


class Replayed:
    """A Keras layer that is built by Keras and run by the float64 reference of its graph."""

    calls = 0

    def __init__(self, layer: Any) -> None:
        self.layer, self.state = layer, {}

    def graph(self, x: Any) -> Graph:
        self.layer(x)  # Keras makes the weights
        shape = [None, *x.shape[1:]]
        layers = [
            {"class_name": "InputLayer", "config": {"batch_shape": shape, "name": "x"}},
            keras.saving.serialize_keras_object(self.layer),
        ]
        nodes = [[], [[["x", 0, 0, {}]]]]
        for item, name, inbound in zip(layers, ("x", self.layer.name), nodes, strict=True):
            item.update(name=name, inbound_nodes=inbound)
        merged = getattr(self.layer, "merge_mode", "") is not None
        outputs = [[self.layer.name, 0, i] for i in range(1 if merged else 2)]
        config = {"layers": layers, "input_layers": [["x", 0, 0]], "output_layers": outputs}
        model = json.loads(json.dumps({"class_name": "Functional", "config": config}))
        weights = [np.asarray(keras.ops.convert_to_numpy(w)) for w in self.layer.weights]
        return graph_of(model, Version.of(keras.version()), lambda layer: weights)[0]

    def __call__(self, x: Any, *, mask: Any = None, initial_state: Any = None) -> Any:
        type(self).calls += 1
        graph = self.graph(x)
        state = self.state
        if initial_state is not None:
            parts = initial_state if isinstance(initial_state, list) else [initial_state]
            state = {slot.key: part for slot, part in zip(graph.states(), parts, strict=True)}
        outputs, final = reference.run(graph, x, state=state, mask=mask)
        if self.layer.stateful:
            self.state = final
        return outputs[0] if len(outputs) == 1 else outputs

    def reset_state(self) -> None:
        self.state = {}


class Stand:
    """The object that Keras's tests see as ``keras.src.layers``."""

    def __getattr__(self, name: str) -> Any:
        make = getattr(keras.layers, name)
        if name not in LAYERS:
            return make

        def build(*args: Any, **options: Any) -> Replayed:
            plain = {k: v.layer if isinstance(v, Replayed) else v for k, v in options.items()}
            return Replayed(make(*args, **plain))

        return build


@pytest.mark.parametrize(
    ("module", "test_class", "name"), [(*key, n) for key, names in PUBLISHED.items() for n in names]
)
def test_published_arrays(module, test_class, name, monkeypatch):
    published = importlib.import_module(f"keras.src.layers.rnn.{module}")
    monkeypatch.setattr(published, "layers", Stand())
    monkeypatch.setattr(Replayed, "calls", 0)
    case = getattr(published, test_class)
    methods = sorted(n for n in dir(case) if n == name or n.rstrip("0123456789") == name)
    assert methods
    for method in methods:
        getattr(case(method), method)()
    assert Replayed.calls
