"""Ordinary networks as data: the ONNX file that a list of layers in ``cases.toml`` stands for.

A layer is a table whose first key names it, and says its size; the others are its options::

    network = [{ conv = 32, kernel = 3, pad = 1 }, { relu = true }, { columns = true }, { lstm = 64 }]

Tensors are (B, T, features) or, in front of ``columns``, (B, channels, height, width).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

Layer = Mapping[str, Any]
Shape = tuple[int, ...]
GATES = {"gru": 3, "lstm": 4}


class Building:
    """A file as it grows: its nodes and constants, the value that the next layer reads, and its shape."""

    def __init__(self, shape: Shape, *, open_time: bool) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.value, self.shape, self.given, self.open_time = "x", shape, shape, open_time

    def constant(self, array: Any) -> str:
        """Hold an array; returns its name."""
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weights(self, *shape: int, inputs: int) -> str:
        """Hold random weights, of which each output adds up so many; returns their name."""
        bound = inputs**-0.5
        return self.constant(self.rng.uniform(-bound, bound, shape).astype(np.float32))

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; returns its first output."""
        from onnx import helper

        names = [f"v{len(self.nodes)}" + (f"_{i}" if i else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0]

    def step(self, op: str, *inputs: str, **attributes: Any) -> None:
        """Add a node that reads the current value first and makes the next one."""
        self.value = self.node(op, self.value, *inputs, **attributes)

    def view(self, *sizes: int) -> None:
        """Reshape; 0 keeps an axis."""
        self.step("Reshape", self.constant(np.array(sizes, np.int64)))

    def file(self) -> bytes:
        """The whole file: its batch is open, and so is time where it was said to be."""
        import onnx
        from onnx import TensorProto, helper

        def typed(name: str, shape: Shape) -> Any:
            sizes = ["B", "T" if self.open_time else shape[1], *shape[2:]] if len(shape) > 1 else ["B"]
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)

        graph = helper.make_graph(
            self.nodes, "network", [typed("x", self.given)], [typed(self.value, self.shape)], self.constants
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString()
        return data


def convolve(b: Building, layer: Layer) -> None:
    """Convolve over all axes behind the channels; `depthwise`: each channel by itself."""
    spatial = len(b.shape) - 2
    kernel, stride, pad = (_each(layer.get(key, default), spatial) for key, default in
                           (("kernel", 1), ("stride", 1), ("pad", 0)))  # fmt: skip
    groups = b.shape[1] if "depthwise" in layer else 1
    channels = b.shape[1] if groups > 1 else layer["conv"]
    weight = b.weights(channels, b.shape[1] // groups, *kernel, inputs=b.shape[1] // groups * prod(kernel))
    b.step("Conv", weight, b.weights(channels, inputs=channels), kernel_shape=kernel, strides=stride, pads=[*pad, *pad],
           group=groups)  # fmt: skip
    sizes = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(b.shape[2:], kernel, stride, pad, strict=True)]
    b.shape = (b.shape[0], channels, *sizes)


def transposed(b: Building, layer: Layer) -> None:
    """Convolve transposed: more places behind it than before."""
    spatial, channels = len(b.shape) - 2, layer["transposed"]
    kernel, stride, pad = (_each(layer.get(key, default), spatial) for key, default in
                           (("kernel", 1), ("stride", 1), ("pad", 0)))  # fmt: skip
    weight = b.weights(b.shape[1], channels, *kernel, inputs=b.shape[1] * prod(kernel))
    b.step("ConvTranspose", weight, b.weights(channels, inputs=channels), kernel_shape=kernel, strides=stride,
           pads=[*pad, *pad])  # fmt: skip
    sizes = [(n - 1) * s + k - 2 * p for n, k, s, p in zip(b.shape[2:], kernel, stride, pad, strict=True)]
    b.shape = (b.shape[0], channels, *sizes)


def pool(b: Building, layer: Layer) -> None:
    """Take the maximum of windows that lie side by side."""
    kernel = _each(layer["pool"], len(b.shape) - 2)
    b.step("MaxPool", kernel_shape=kernel, strides=kernel)
    b.shape = (*b.shape[:2], *(n // k for n, k in zip(b.shape[2:], kernel, strict=True)))


def batch_norm(b: Building, layer: Layer) -> None:
    """Normalise channels by what training found."""
    n = b.shape[1]
    found = [b.weights(n, inputs=n) for _ in range(3)]
    b.step("BatchNormalization", *found, b.constant(b.rng.uniform(0.5, 2, n).astype(np.float32)))


def columns(b: Building, layer: Layer) -> None:
    """Let the columns of an image be the steps of a sequence."""
    batch, channels, height, width = b.shape
    b.step("Transpose", perm=[0, 3, 1, 2])
    b.view(0, width, channels * height)
    b.shape = (batch, width, channels * height)


def steps(b: Building, layer: Layer) -> None:
    """Let the last axis be the steps of a sequence."""
    b.step("Transpose", perm=[0, 2, 1])
    b.shape = (b.shape[0], b.shape[2], b.shape[1])


def causal(b: Building, layer: Layer) -> None:
    """Convolve over past steps, at distances of 1, 2, 4 and so on, with a ReLU, and add what came in each time."""
    channels, kernel = b.shape[2], layer["kernel"]
    groups = channels if layer.get("depthwise") else 1
    b.step("Transpose", perm=[0, 2, 1])
    for i in range(layer["causal"]):
        before, reach = b.value, (kernel - 1) * 2**i
        weight = b.weights(channels, channels // groups, kernel, inputs=channels // groups * kernel)
        b.step("Conv", weight, b.weights(channels, inputs=channels), kernel_shape=[kernel], dilations=[2**i],
               pads=[reach, 0], group=groups)  # fmt: skip
        b.step("Relu")
        b.step("Add", before)
    b.step("Transpose", perm=[0, 2, 1])


def dense(b: Building, layer: Layer) -> None:
    """Multiply by a matrix and add a bias."""
    inputs, outputs = b.shape[-1], layer["dense"]
    b.step("MatMul", b.weights(inputs, outputs, inputs=inputs))
    b.step("Add", b.weights(outputs, inputs=inputs))
    b.shape = (*b.shape[:-1], outputs)


def recurrent(b: Building, layer: Layer) -> None:
    """Run GRU or LSTM layers over time, forwards or both ways."""
    cell = next(iter(layer))
    hidden, directions = layer[cell], 2 if layer.get("bidirectional") else 1
    rows, options = GATES[cell] * hidden, {"linear_before_reset": 1} if cell == "gru" else {}
    b.step("Transpose", perm=[1, 0, 2])
    inputs = b.shape[2]
    for _ in range(layer.get("layers", 1)):
        matrices = [b.weights(directions, rows, n, inputs=hidden) for n in (inputs, hidden)]
        b.step(cell.upper(), *matrices, b.weights(directions, 2 * rows, inputs=hidden), hidden_size=hidden,
               direction="bidirectional" if directions == 2 else "forward", **options)  # fmt: skip
        b.step("Transpose", perm=[0, 2, 1, 3])
        b.view(0, 0, directions * hidden)
        inputs = directions * hidden
    b.step("Transpose", perm=[1, 0, 2])
    b.shape = (*b.shape[:2], inputs)


def norm(b: Building, layer: Layer) -> None:
    """Normalise the features of each step."""
    n = b.shape[-1]
    b.step("LayerNormalization", b.constant(np.ones(n, np.float32)), b.weights(n, inputs=n), axis=-1)


def attention(b: Building, layer: Layer) -> None:
    """Attend to all steps with so many heads, normalised before, and add what came in."""
    before, heads, (_, steps, width) = b.value, layer["attention"], b.shape
    norm(b, layer)
    dense(b, {"dense": 3 * width})
    b.view(0, steps, 3, heads, width // heads)
    b.step("Transpose", perm=[2, 0, 3, 1, 4])
    q, k, v = (b.node("Gather", b.value, b.constant(np.int64(i)), axis=0) for i in range(3))
    scores = b.node("MatMul", q, b.node("Transpose", k, perm=[0, 1, 3, 2]))
    scores = b.node("Mul", scores, b.constant(np.float32((width // heads) ** -0.5)))
    b.value = b.node("MatMul", b.node("Softmax", scores, axis=-1), v)
    b.step("Transpose", perm=[0, 2, 1, 3])
    b.view(0, steps, width)
    b.shape = (b.shape[0], steps, width)
    dense(b, {"dense": width})
    b.step("Add", before)


def feed_forward(b: Building, layer: Layer) -> None:
    """Widen, GELU, narrow, normalised before, and add what came in."""
    before, width = b.value, b.shape[-1]
    norm(b, layer)
    dense(b, {"dense": layer["feed_forward"]})
    inner = b.value
    half = b.node("Mul", inner, b.constant(np.float32(0.5)))
    error = b.node("Erf", b.node("Mul", inner, b.constant(np.float32(0.5**0.5))))
    b.value = b.node("Mul", half, b.node("Add", error, b.constant(np.float32(1))))
    dense(b, {"dense": width})
    b.step("Add", before)


def elementwise(op: str, **attributes: Any) -> Callable[[Building, Layer], None]:
    """A layer of one node that keeps the shape."""
    return lambda b, layer: b.step(op, **attributes)


LAYERS: dict[str, Callable[[Building, Layer], None]] = {
    "conv": convolve, "depthwise": convolve, "transposed": transposed, "pool": pool, "batch_norm": batch_norm,
    "columns": columns, "steps": steps, "causal": causal, "dense": dense, "gru": recurrent, "lstm": recurrent,
    "norm": norm, "attention": attention, "feed_forward": feed_forward, "relu": elementwise("Relu"),
    "sigmoid": elementwise("Sigmoid"), "tanh": elementwise("Tanh"), "softmax": elementwise("Softmax", axis=-1),
    "log_softmax": elementwise("LogSoftmax", axis=-1),
}  # fmt: skip


def build(network: Sequence[Layer], shape: Shape, *, open_time: bool) -> tuple[bytes, Shape]:
    """Return the ONNX file of a network that reads ``x`` of this shape, and the shape of what it gives."""
    b = Building(shape, open_time=open_time)
    for layer in network:
        LAYERS[next(iter(layer))](b, layer)
    return b.file(), b.shape


def _each(value: int | Sequence[int], axes: int) -> list[int]:
    return [value] * axes if isinstance(value, int) else list(value)
