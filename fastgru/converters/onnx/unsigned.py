"""A model whose int8 weights are uint8 ones: the same products, exact in onnxruntime on every processor.

Without VNNI instructions its kernels for uint8 by int8 add pairs of products in int16, where large ones do not fit.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

# Of each operator with such products: the inputs that are weights, and those that are their zero points; and the zero
# point of the other operand, where that is one: it must not be int8, too, for which there is no such kernel.
WEIGHTS: dict[str, tuple[tuple[tuple[int, int], ...], int | None]] = {
    "MatMulInteger": (((1, 3),), 2),
    "ConvInteger": (((1, 3),), 2),
    "QLinearMatMul": (((3, 5),), 2),
    "QLinearConv": (((3, 5),), 2),
    "QGemm": (((3, 5),), 2),
    "DynamicQuantizeMatMul": (((1, 3),), None),
    "MatMulIntegerToFloat": (((1, 5),), 4),
    "DynamicQuantizeLSTM": (((1, 9), (2, 11)), None),
}
MIDDLE = 128


def signed(model: ModelProto) -> bool:
    """Whether any product has int8 weights."""
    tensors = {t.name: t for t in model.graph.initializer}
    return any(_pairs(node, tensors) for node in model.graph.node)


def unsigned(model: ModelProto) -> ModelProto:
    """The model itself, changed."""
    tensors = {t.name: t for t in model.graph.initializer}
    made: dict[str, str] = {}

    def moved(name: str) -> str:
        if name not in made:
            codes = numpy_helper.to_array(tensors[name]).astype(np.int16) + MIDDLE
            made[name] = f"{name}/unsigned"
            model.graph.initializer.append(numpy_helper.from_array(codes.astype(np.uint8), made[name]))
        return made[name]

    for node in model.graph.node:
        for weight, zero in _pairs(node, tensors):
            node.input[weight] = moved(node.input[weight])
            node.input.extend([""] * (zero + 1 - len(node.input)))
            if not node.input[zero]:
                node.input[zero] = "zero/unsigned"
                if "" not in made:
                    made[""] = node.input[zero]
                    middle = helper.make_tensor(node.input[zero], TensorProto.UINT8, [], [MIDDLE])
                    model.graph.initializer.append(middle)
            else:
                node.input[zero] = moved(node.input[zero])
    return model


def _pairs(node: NodeProto, tensors: dict[str, TensorProto]) -> list[tuple[int, int]]:
    """The inputs of a node that can be changed."""

    def is_int8(index: int, *, optional: bool) -> bool:
        name = node.input[index] if index < len(node.input) else ""
        return optional if not name else name in tensors and tensors[name].data_type == TensorProto.INT8

    pairs, other = WEIGHTS.get(node.op_type, ((), None))
    if other is not None and (other >= len(node.input) or not node.input[other] or is_int8(other, optional=False)):
        return []
    return [(w, z) for w, z in pairs if is_int8(w, optional=False) and is_int8(z, optional=True)]
