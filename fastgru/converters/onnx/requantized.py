"""Microsoft's operators on quantised values: what they stand for is computed in float, and quantised again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Add, Multiply
from ..program.products import matmul
from ..program.reductions import reduced
from ..program.values import Tensor
from .activations import softmax
from .call import Call, Translator
from .dynamic import MICROSOFT as DYNAMIC
from .elementwise import choice, formula, joint
from .products import product
from .quantized import codes, dequantize, floats, quantize, weights
from .slices import concat
from .windows import global_pool, pooled


def on_floats(
    compute: Callable[[Call], Any], inputs: Sequence[int], scale: int, *, offset_first: bool = False
) -> Translator:
    """A translator for an operator on floats, of whose inputs some are quantised, as is its output.

    Parameters
    ----------
    compute : callable
        The translator of the operator.
    inputs : sequence of int
        Those inputs, each before its scale and zero point.
    scale : int
        The input that is the scale of the output, before its zero point.
    offset_first : bool
        Whether the zero point is added before the sum is rounded, which tells where ties go.
    """

    def translate(call: Call) -> Tensor:
        if call.attr("channels_last", 0):
            raise ConvertError("channels_last must be 0, got 1: take the file before onnxruntime optimised it")
        own: list[Any] = [call.value(i) for i in range(min(inputs))] + [floats(call, i) for i in inputs]
        return codes(call, compute(replace(call, inputs=own)), scale, offset_first=offset_first)

    return translate


def softmax_of_opset(call: Call) -> Tensor:
    """Softmax as the opset has it that the node says."""
    return softmax(replace(call, opset=int(call.attr("opset", 13))))


def mean(call: Call) -> Tensor:
    """The mean along axes, or of everything."""
    x = call.tensor(0)
    axes = call.axes(call.attr("axes") or range(x.rank), x.rank)
    return reduced(call, x, axes, "mean", bool(call.attr("keepdims", 1)))


def joined(call: Call) -> Tensor:
    """QLinearConcat: the output's scale and zero point come first."""
    own: list[Any] = [floats(call, i) for i in range(2, len(call.inputs), 3)]
    return codes(call, concat(replace(call, inputs=own)), 0)


def qgemm(call: Call) -> Any:
    """QGemm: a bias of integers has the scale of the product; without an output's scale floats are returned."""
    bias, transposed = call.optional(6, "C"), call.attr("transB", 0)
    weight = weights(call, 3, 4, 5, 0 if transposed else -1)
    y: Any = product(replace(call, inputs=[floats(call, 0), weight, None]))
    if bias is not None:
        scale = call.array(1, "a_scale").reshape(-1) * call.array(4, "b_scale").reshape(-1)
        bias = bias.astype(np.float32) * (
            scale * np.float32(call.attr("alpha", 1.0))
        )  # within alpha, as the product is
        y = joint(Add())(replace(call, inputs=[y, bias]))
    return codes(call, y, 7) if call.given(7) else y


def matmul_to_float(call: Call) -> Any:
    """MatMulIntegerToFloat: A, B, their scales, their zero points and a bias."""
    a, b, a_scale, b_scale, a_zero, b_zero, bias = (*call.inputs, None, None, None)[:7]
    one = floats(replace(call, inputs=[a, a_scale, a_zero]), 0)
    fixed = isinstance(b, np.ndarray)
    other = weights(call, 1, 3, 5, -1) if fixed else floats(replace(call, inputs=[b, b_scale, b_zero]), 0, axis=-1)
    y = matmul(call, one, other)
    return y if bias is None else joint(Add())(replace(call, inputs=[y, bias]))


MICROSOFT: dict[str, Translator] = {
    **DYNAMIC,
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "QLinearAdd": on_floats(joint(Add()), (0, 3), 6),
    "QLinearMul": on_floats(joint(Multiply()), (0, 3), 6),
    "QLinearSigmoid": on_floats(formula("sigmoid"), (0,), 3),
    "QLinearLeakyRelu": on_floats(formula("leaky_relu", alpha=0.01), (0,), 3),
    "QLinearSoftmax": on_floats(softmax_of_opset, (0,), 3),
    "QLinearAveragePool": on_floats(partial(pooled, mode="average"), (0,), 3, offset_first=True),
    "QLinearGlobalAveragePool": on_floats(partial(global_pool, function="mean"), (0,), 3),
    "QLinearReduceMean": on_floats(mean, (0,), 3),
    "QLinearWhere": on_floats(choice, (1, 4), 7),
    "QLinearConcat": joined,
    "QGemm": qgemm,
    "MatMulIntegerToFloat": matmul_to_float,
}
