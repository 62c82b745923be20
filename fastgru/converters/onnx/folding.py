"""Constant folding: a node whose inputs are all known is run by onnx's own reference, if its result is small enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ...errors import ConvertError
from ..tensors.values import Array, elements

ALLOWANCE = 2**28  # bytes that folding may make beyond eight times the file's size
SHAPES = 2**10  # elements up to which an integer input is shown to shape inference
# Sizes that only running the node tells, none larger than the inputs.
SIFTING = {"Compress", "NonZero", "Unique"}
# The reference is written for clarity: these it runs element by element, or (recurrences) without all attributes.
SLOW = {
    "AveragePool", "Col2Im", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "GridSample", "LpPool", "LRN",
    "MaxPool", "QLinearConv", "Resize", "RoiAlign", "STFT", "Upsample",
}  # fmt: skip
LARGEST_SLOW = 2**16  # elements
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
        if node.op_type in SLOW and total > LARGEST_SLOW:
            return None
        if 8 * total > self._left:
            raise ConvertError(
                f"constants must have at most {self._left} bytes more, got a result of {total} elements of 8 bytes"
            )
        graph = helper.make_graph([node], "fold", _infos(arrays), [_info(n) for n in node.output if n])
        try:
            with np.errstate(all="ignore"):
                found = ReferenceEvaluator(graph, opsets=self._opsets).run(None, arrays)
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


def _unknown(node: NodeProto) -> int:
    raise ConvertError(f"size of {node.op_type}'s output must follow from its inputs, got none")


def _info(name: str, array: Array | None = None) -> onnx.ValueInfoProto:
    if array is None:
        return helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _infos(arrays: Mapping[str, Array]) -> list[onnx.ValueInfoProto]:
    return [_info(n, a) for n, a in arrays.items()]
