"""The ONNX model of a problem, shared by the engines that read ONNX: one node a layer, state in and out for a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .cases import Problem, Weights
from .network import Network

ONNX_ORDER = {"gru": "zrn", "lstm": "iofg"}
TORCH_ORDER = {"gru": "rzn", "lstm": "ifgo"}


class OnnxModel(NamedTuple):
    """A model and how it is fed."""

    data: bytes
    inputs: dict[str, Any]  # arrays by name, states among them
    outputs: dict[str, tuple[int, ...]]  # shapes by name, the one that is compared first
    carried: dict[str, str]  # output to the input of the next call
    read: Callable[[Any], Any]  # the first output as (B, T, features)


def stacked(cell: str, layer: list[Weights]) -> dict[str, Any]:
    """W (D, G*H, I), R (D, G*H, H), B (D, 2*G*H) in ONNX's gate order."""

    def reorder(array: Any) -> Any:
        order = TORCH_ORDER[cell]
        blocks = dict(zip(order, np.split(array, len(order)), strict=True))
        return np.concatenate([blocks[gate] for gate in ONNX_ORDER[cell]])

    rows = [tuple(map(reorder, weights)) for weights in layer]
    return {
        "W": np.stack([w for w, _, _, _ in rows]),
        "R": np.stack([u for _, u, _, _ in rows]),
        "B": np.stack([np.concatenate([b, c]) for _, _, b, c in rows]),
    }


def build(problem: Problem) -> OnnxModel:
    """The model of a generated case."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    case, layers = problem.case, problem.weights
    directions, lengths = len(layers[0]), case.lengths
    states = ("h", "c") if case.cell == "lstm" else ("h",)
    shape = (directions, case.batch, case.hidden)
    feeds: dict[str, Any] = {"x": np.ascontiguousarray(problem.x.transpose(1, 0, 2))}
    if lengths is not None:
        feeds["lengths"] = np.array(lengths, np.int32)
    nodes, constants, carried = [], [], {}
    attributes: dict[str, Any] = {"linear_before_reset": 1} if case.cell == "gru" else {}
    value = "x"
    for i, layer in enumerate(layers):
        names = {name: f"{name}{i}" for name in ("W", "R", "B")}
        constants += [numpy_helper.from_array(a, names[n]) for n, a in stacked(case.cell, layer).items()]
        inputs = [value, *names.values(), "lengths" if lengths is not None else ""]
        outputs = [f"y{i}"]
        if case.streaming:
            inputs += [f"{s}{i}" for s in states]
            outputs += [f"{s}{i}_out" for s in states]
            feeds.update({f"{s}{i}": np.zeros(shape, np.float32) for s in states})
            carried.update({f"{s}{i}_out": f"{s}{i}" for s in states})
        nodes.append(
            helper.make_node(
                case.cell.upper(), inputs, outputs, hidden_size=case.hidden,
                direction="bidirectional" if case.bidirectional else "forward",
                **attributes,
            )
        )  # fmt: skip
        if i + 1 < len(layers):  # (T, D, B, H) to (T, B, D*H)
            width = numpy_helper.from_array(np.array([case.steps, case.batch, directions * case.hidden]), f"shape{i}")
            constants.append(width)
            nodes.append(helper.make_node("Transpose", [f"y{i}"], [f"t{i}"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"t{i}", f"shape{i}"], [f"x{i + 1}"]))
            value = f"x{i + 1}"
    last = f"y{len(layers) - 1}"
    shapes = {last: (case.steps, directions, case.batch, case.hidden), **dict.fromkeys(carried, shape)}

    def typed(name: str, array: Any) -> Any:
        kind = TensorProto.INT32 if name == "lengths" else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, list(array))

    graph = helper.make_graph(
        nodes, "case", [typed(n, a.shape) for n, a in feeds.items()], [typed(n, s) for n, s in shapes.items()],
        constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)

    def read(y: Any) -> Any:
        return y.transpose(2, 0, 1, 3).reshape(case.batch, case.steps, -1)

    return OnnxModel(model.SerializeToString(), feeds, shapes, carried, read)


def shipped(network: Network) -> OnnxModel:
    """The file of a model; sizes of states that it leaves open are 1."""
    import onnx

    file = network.files["onnx"]
    model = onnx.load_from_string(file.path) if isinstance(file.path, bytes) else onnx.load(file.path)
    feeds: dict[str, Any] = dict(file.settings)
    for value in model.graph.input:
        if value.name in file.states.values():
            shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
            feeds[value.name] = np.zeros(shape, np.float32)
        elif value.name not in feeds:
            feeds[value.name] = network.x
    shapes = {model.graph.output[0].name: file.y, **{o: feeds[i].shape for o, i in file.states.items()}}
    return OnnxModel(model.SerializeToString(), feeds, shapes, dict(file.states), lambda y: y)
