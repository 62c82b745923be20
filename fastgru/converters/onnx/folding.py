"""Constant folding: a node whose inputs are all known is run by onnx's own reference, if its result is small enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ...errors import ConvertError
from ..program.values import Array, elements

ALLOWANCE = 2**28  # bytes of constants, and of weights, that a model may have beyond a multiple of the file's size
SHAPES = 2**10  # elements up to which an integer input is shown to shape inference
# Sizes that only running the node tells, none larger than the inputs.
SIFTING = {"Compress", "NonZero", "Unique"}
# The reference is written for clarity: only these are known to be a few calls of NumPy, whatever their inputs.
FAST = {
    "Abs", "Add", "And", "ArgMax", "ArgMin", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast",
    "CastLike", "Ceil", "Clip", "Compress", "Concat", "ConstantOfShape", "Cos", "CumSum", "DequantizeLinear", "Div",
    "Equal", "Exp", "Expand", "EyeLike", "Flatten", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "IsInf",
    "IsNaN", "Less", "LessOrEqual", "Log", "Mean", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or", "Pad", "Pow",
    "QuantizeLinear", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
    "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Round", "Shape",
    "Sign", "Sin", "Size", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose",
    "Trilu", "Unique", "Unsqueeze", "Where", "Xor",
}  # fmt: skip
PRODUCTS = {"MatMul", "Gemm"}
LARGEST_SLOW = 2**16  # elements of inputs and outputs of others
MOST_MACS = {"f": 2**34, "other": 2**28}  # of a product, of floats and of what BLAS does not know
LEFT = {"GRU", "LSTM", "RNN", "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
        "RandomUniformLike"}  # fmt: skip


class Folder:
    """Runs nodes on known inputs, within a budget of bytes for the whole model."""

    def __init__(self, opsets: Mapping[str, int], size: int) -> None:
        self._opsets = dict(opsets)
        self._left = ALLOWANCE + 8 * size

    def fold(self, node: NodeProto, inputs: Sequence[Array | None]) -> list[Array | None] | None:
        """The node's outputs; None when it is not one to fold.

        Raises
        ------
        ConvertError
            When the outputs would be too large, or the node does not fit its inputs.
        """
        if node.op_type in LEFT or any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute):
            return None
        arrays = {n: a for n, a in zip(node.input, inputs, strict=True) if a is not None}
        total = self._elements(node, arrays)
        if not _quick(node, arrays, total):
            return None
        if 8 * total > self._left:
            raise ConvertError(
                f"constants must have at most {self._left} bytes more, got a result of {total} elements of 8 bytes"
            )
        graph = helper.make_graph([node], "fold", _infos(arrays), [_info(n) for n in node.output if n])
        try:
            evaluator = ReferenceEvaluator(graph, opsets=self._opsets)
        except RuntimeError:  # it knows the operator in newer operator sets alone
            return None
        try:
            with np.errstate(all="ignore"):
                found = evaluator.run(None, arrays)
        except NotImplementedError:
            return None
        except Exception as error:  # whatever a reference of over two hundred operators may raise on bad input
            raise ConvertError(f"inputs must fit the operator, got {type(error).__name__}: {error}") from error
        results = dict(zip([n for n in node.output if n], found, strict=True))
        if not all(isinstance(a, np.ndarray | np.generic) for a in results.values()):
            return None
        self._left -= sum(np.asarray(a).nbytes for a in results.values())
        return [np.asarray(results[n]) if n else None for n in node.output]

    def _elements(self, node: NodeProto, arrays: Mapping[str, Array]) -> int:
        """How many numbers the outputs will hold."""
        small = {n: a for n, a in arrays.items() if a.dtype.kind in "iub" and a.size <= SHAPES}
        graph = helper.make_graph(
            [node], "sizes", _infos({n: a for n, a in arrays.items() if n not in small}),
            [_info(n) for n in node.output if n], [numpy_helper.from_array(a, n) for n, a in small.items()],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(d, v) for d, v in self._opsets.items()])
        try:
            inferred = onnx.shape_inference.infer_shapes(model)
        except (onnx.shape_inference.InferenceError, RuntimeError) as error:
            raise ConvertError(f"inputs must fit the operator, got {str(error).splitlines()[0]}") from error
        total = 0
        if node.op_type == "Range":
            start, limit, delta = (float(a.reshape(-1)[0]) for a in arrays.values())
            return max(0, int(-((start - limit) // delta))) + 1 if delta else 0
        for output in inferred.graph.output:
            dims = output.type.tensor_type.shape.dim
            if output.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
                total += elements(max(d.dim_value, 0) for d in dims)
            elif node.op_type in SIFTING:
                total += sum(a.size * max(a.ndim, 1) for a in arrays.values())
            else:
                total += _unknown(node)
        return total


def _quick(node: NodeProto, arrays: Mapping[str, Array], total: int) -> bool:
    """True if the reference runs the node in a time that is in proportion to its `total` results and the inputs."""
    known = list(arrays.values())
    if node.op_type in PRODUCTS and node.domain == "":
        kind = "f" if all(a.dtype.kind == "f" for a in known) else "other"
        return total * max((n for a in known for n in a.shape), default=1) <= MOST_MACS[kind]
    if node.op_type in FAST and node.domain == "":
        return True
    if node.op_type == "Einsum":  # every index runs over an axis of an input
        return elements(max(a.size, 1) for a in known) <= MOST_MACS["other"]
    return total + sum(a.size for a in known) <= LARGEST_SLOW


def _unknown(node: NodeProto) -> int:
    raise ConvertError(f"size of {node.op_type}'s output must follow from its inputs, got none")


def _info(name: str, array: Array | None = None) -> onnx.ValueInfoProto:
    if array is None:
        return helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _infos(arrays: Mapping[str, Array]) -> list[onnx.ValueInfoProto]:
    return [_info(n, a) for n, a in arrays.items()]
