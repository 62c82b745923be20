"""Keras 3 on the backend that KERAS_BACKEND names, PyTorch unless told otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from fastgru.graph import (
    GRU,
    LSTM,
    Concat,
    Dense,
    Embedding,
    Graph,
    Multiply,
    Recurrent,
    TimeReduce,
    TimeSoftmax,
)
from fastgru.graph.dialects import CANONICAL

from ..cases import Problem, joined
from ..network import Call, Network
from . import Base, Run

KERAS_ORDER = {"gru": "zrn", "lstm": "ifgo"}


def to_keras(op: Any, array: Any) -> Any:
    """`array` (G*H, ...) in Keras's gate order, transposed."""
    blocks = dict(zip(CANONICAL[op.cell], np.split(array, op.gates), strict=True))
    return np.concatenate([blocks[gate] for gate in KERAS_ORDER[op.cell]]).T


class Keras(Base):
    """A functional model of the graph, stateful where a step is asked; of a real model the file, where Keras reads it.

    On PyTorch it is called in inference mode, 10 % faster there than ``predict_on_batch``, which compiles elsewhere.
    """

    name = module = reads = "keras"

    def available(self) -> str | None:
        os.environ.setdefault("KERAS_BACKEND", "torch")
        return super().available()

    def version(self) -> str:
        import keras

        return f"{keras.__version__} on {keras.backend.backend()}"

    def has(self, network: Network) -> bool:
        return super().has(network) or all(type(node.op) in LAYERS for node in network.graph.nodes)

    def generated(self, problem: Problem) -> Run:
        case, x = problem.case, problem.x
        mask = None if case.lengths is None else np.arange(x.shape[1]) < np.array(case.lengths)[:, None]
        model = self._functional(problem.graph, x, case.streaming, mask)
        call = self._call(model, [x] if mask is None else [x, mask])
        return Run(call, lambda y: joined(tuple(np.asarray(part) for part in (y if isinstance(y, list) else [y]))))

    def network(self, network: Network) -> Call:
        import keras

        if self.reads in network.files:
            return self._call(keras.saving.load_model(network.files[self.reads], compile=False), [network.x])
        frames = network.frames()
        x = frames[None, None] if network.streaming else frames[None]
        return self._call(self._functional(network.graph, x, network.streaming, None), [x])

    @staticmethod
    def _call(model: Any, feed: Any) -> Call:
        """A call of `model`."""
        import keras

        if keras.backend.backend() != "torch":
            return lambda: model.predict_on_batch(feed)
        import torch

        torch.set_num_threads(1)
        tensors = [torch.from_numpy(array) for array in feed]

        def call() -> Any:
            with torch.inference_mode():
                return model(tensors, training=False)

        return call

    @staticmethod
    def _functional(graph: Graph, x: Any, stateful: bool, mask: Any) -> Any:
        """The graph as a model of x (B, T, I) or ids (B, T), and of the mask where there is one."""
        import keras

        source = keras.Input(batch_shape=x.shape, dtype=str(x.dtype))
        masked = None if mask is None else keras.Input(batch_shape=mask.shape, dtype="bool")
        values = dict.fromkeys(graph.inputs, source)
        for node in graph.nodes:
            xs = [values[v] for v in node.inputs]
            if isinstance(node.op, Recurrent):
                values[node.outputs[0]] = recurrent(keras, node.op, xs[0], stateful, masked)
            else:
                values[node.outputs[0]] = LAYERS[type(node.op)](keras, node.op, *xs)
        inputs = [source] if masked is None else [source, masked]
        return keras.Model(inputs, [values[name] for name in graph.outputs])


def recurrent(keras: Any, op: Any, x: Any, stateful: bool, mask: Any) -> Any:
    """A GRU or LSTM with its weights, applied."""
    layers = keras.layers
    options: dict[str, Any] = {
        "activation": op.activation.name, "recurrent_activation": op.gate_activation.name,
        "return_sequences": True, "stateful": stateful, "go_backwards": op.reverse, "zero_output_for_mask": True,
    }  # fmt: skip
    rows = np.zeros(op.gates * op.hidden_size, np.float32)
    bias = [0.0 if b is None else b for b in (op.bias, op.bias_h)]
    if isinstance(op, GRU):
        layer = layers.GRU(op.hidden_size, reset_after=op.reset_after, **options)
        both = np.stack([to_keras(op, rows + b) for b in bias])
        biases = both if op.reset_after else both.sum(axis=0)
    else:
        layer = layers.LSTM(op.hidden_size, **options)
        biases = to_keras(op, rows + bias[0] + bias[1])
    y = layer(x, mask=mask)
    layer.set_weights([to_keras(op, op.weight_x), to_keras(op, op.weight_h), biases])
    return keras.ops.flip(y, axis=1) if op.reverse else y


def weighted(layer: Any, x: Any, *arrays: Any) -> Any:
    """`layer` applied, with these weights."""
    y = layer(x)
    layer.set_weights([array for array in arrays if array is not None])
    return y


def dense(keras: Any, op: Any, x: Any) -> Any:
    options = {"activation": op.activation.name, "use_bias": op.bias is not None}
    return weighted(keras.layers.Dense(len(op.weight), **options), x, op.weight.T, op.bias)


# ops to functions of Keras, the op and its inputs; recurrences need more
LAYERS: dict[type[Any], Callable[..., Any]] = {
    GRU: recurrent,
    LSTM: recurrent,
    Dense: dense,
    Embedding: lambda keras, op, x: weighted(keras.layers.Embedding(*op.weight.shape), x, op.weight),
    Concat: lambda keras, op, *xs: keras.layers.Concatenate()(list(xs)),
    Multiply: lambda keras, op, *xs: keras.layers.Multiply()(list(xs)),
    TimeSoftmax: lambda keras, op, x: keras.layers.Softmax(axis=1)(x),
    TimeReduce: lambda keras, op, x: getattr(keras.ops, op.function)(x, axis=1),
}

ENGINES = [Keras()]
