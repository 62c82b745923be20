"""Quantised operators: weights as the floats they stand for, activations rounded and clipped as the model says."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from ...errors import ConvertError
from ...graph import Add, Binary, Multiply, Where
from ..tensors.values import Array, Tensor
from ..tensors.views import align, reshaped, with_ones
from .call import RANGES, Call, Translator
from .convolutions import convolve
from .products import dense, multiply
from .reductions import reduced
from .shapes import expanded

Parameter = Array | Tensor


def dequantized(codes: Array, scale: Array, zero: Array | None, *, axis: int) -> Array:
    """Float32 from integers with a scale for all, or for each place along the first or another axis."""
    shape = [1] * codes.ndim
    if scale.ndim:
        shape[0] = scale.shape[0]
    if scale.ndim > 1 or (scale.ndim == 1 and scale.shape[0] != codes.shape[0]):
        shape[axis] = scale.shape[-1]
    difference = codes.astype(np.float32)
    if zero is not None:
        difference = difference - zero.astype(np.float32).reshape(shape)
    return difference * scale.astype(np.float32).reshape(shape)


def _along(call: Call, x: Tensor, parameter: Parameter, axis: int) -> Tensor:
    """A scale or zero point that broadcasts with `x`: one for all, for each place of an axis, or for blocks of it."""
    p = call.lift(parameter)
    p = call.result(call.cast(p.value, "float"), p.axes, TensorProto.FLOAT)
    if p.rank == 0 or p.sizes() == (1,):
        return reshaped(call, p, ())
    axis = call.axis(axis, x.rank)
    if p.rank == 1:
        return reshaped(call, p, (p.size(0), *[1] * (x.rank - 1 - axis)))
    block, rest = divmod(x.spec.shape[x.frame_axis(axis)], p.spec.shape[p.frame_axis(axis)])
    if p.rank != x.rank or rest:
        raise ConvertError(f"scale must be one number, one for each place of an axis or blocks of {x}, got {p}")
    spread = with_ones(call, p, [axis + 1])
    wide = [*p.sizes()[: axis + 1], block, *p.sizes()[axis + 1 :]]
    return reshaped(call, expanded(call, spread, wide), [*p.sizes()[:axis], -1, *p.sizes()[axis + 1 :]])


def dequantize(call: Call) -> Tensor:
    """DequantizeLinear: (x - zero point) * scale."""
    x, scale = call.tensor(0), call.value(1)
    axis = call.attr("axis", 1)
    call.attr("block_size")
    elem = call.attr("output_dtype", 0) or call.lift(scale).elem
    y = call.result(call.cast(x.value, "float"), x.axes, TensorProto.FLOAT)
    if call.given(2):
        values, axes = align(call, [y, _along(call, x, call.value(2), axis)])
        y = call.result(call.add(Binary("sub"), *values), axes, TensorProto.FLOAT)
    values, axes = align(call, [y, _along(call, x, scale, axis)])
    return call.result(call.add(Multiply(), *values), axes, elem)


def quantize(call: Call) -> Tensor:
    """QuantizeLinear: x / scale, rounded to even, plus the zero point, clipped to the integer's range."""
    x, scale = call.tensor(0), call.value(1)
    axis = call.attr("axis", 1)
    call.attr("block_size")
    call.attr("saturate")
    call.attr("precision")
    elem = call.attr("output_dtype", 0) or TensorProto.UINT8
    zero = call.value(2) if call.given(2) else None
    if isinstance(zero, Tensor | np.ndarray):
        elem = zero.elem if isinstance(zero, Tensor) else call.lift(zero).elem
    return _quantized(
        call, x, _along(call, x, scale, axis), None if zero is None else _along(call, x, zero, axis), elem
    )


def _quantized(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None, elem: int) -> Tensor:
    if elem not in RANGES:
        raise ConvertError(f"quantised type must be (u)int8 or (u)int16, got {TensorProto.DataType.Name(elem).lower()}")
    least, count = RANGES[elem]
    y = call.result(call.cast(x.value, "float"), x.axes, TensorProto.FLOAT)
    values, axes = align(call, [y, scale])
    y = call.result(call.unary("round", call.add(Binary("div"), *values)), axes, TensorProto.FLOAT)
    if zero is not None:
        values, axes = align(call, [y, zero])
        y = call.result(call.add(Add(), *values), axes, TensorProto.FLOAT)
    value = call.binary("min", call.binary("max", y.value, least), least + count - 1)
    return call.result(call.cast(value, "int"), y.axes, elem)


def dynamic_quantize(call: Call) -> list[Tensor]:
    """DynamicQuantizeLinear: uint8 with the scale of what the input holds."""
    x = call.tensor(0)
    low, high = (reduced(call, x, range(x.rank), f, False).value for f in ("min", "max"))
    low, high = call.binary("min", low, 0.0), call.binary("max", high, 0.0)
    scale = call.binary("div", call.add(Binary("sub"), high, low), 255.0)
    divisor = call.add(Where(), call.binary("equal", scale, 0.0), call.number(1.0, like=scale), scale)
    zero = call.unary("round", call.unary("neg", call.add(Binary("div"), low, divisor)))
    zero = call.binary("min", call.binary("max", zero, 0.0), 255.0)
    step, offset = (call.result(v, [], TensorProto.FLOAT) for v in (divisor, zero))
    y = _quantized(call, x, step, offset, TensorProto.UINT8)
    return [y, call.result(scale, [], x.elem), call.result(call.cast(zero, "int"), [], TensorProto.UINT8)]


def _centred(call: Call, index: int, zero: int, axis: int) -> Parameter:
    """An integer input less its zero point, as float; an array stays one."""
    value = call.value(index)
    if isinstance(value, np.ndarray) and not (call.given(zero) and isinstance(call.value(zero), Tensor)):
        return _less(value, call.optional(zero, "zero point"), axis)
    x = call.lift(value)
    y = call.result(call.cast(x.value, "float"), x.axes, TensorProto.FLOAT)
    if not call.given(zero):
        return y
    values, axes = align(call, [y, _along(call, x, call.value(zero), axis % x.rank)])
    return call.result(call.add(Binary("sub"), *values), axes, TensorProto.FLOAT)


def _weight(call: Call, index: int, zero: int) -> Array:
    """Weights (O, ...) less their zero points, one for all or for each of O."""
    return _less(call.array(index, "weights"), call.optional(zero, "zero point of the weights"), 0)


def _less(codes: Array, zero: Array | None, axis: int) -> Array:
    if zero is None:
        return codes.astype(np.float32)
    shape = [1] * codes.ndim
    if zero.size > 1:
        shape[axis] = -1
    return codes.astype(np.float32) - zero.astype(np.float32).reshape(shape)


def _product(call: Call, a: Parameter, b: Parameter) -> Tensor:
    x = call.lift(a)
    return dense(call, x, b.T, None) if isinstance(b, np.ndarray) and b.ndim == 2 else multiply(call, x, call.lift(b))


def matmul_integer(call: Call) -> Tensor:
    """MatMulInteger: the product of integers less their zero points."""
    y = _product(call, _centred(call, 0, 2, -2), _centred(call, 1, 3, -1))
    return call.result(call.cast(y.value, "int"), y.axes, TensorProto.INT32)


def matmul_quantized(call: Call) -> Tensor:
    """QLinearMatMul: a product of quantised values, quantised."""
    y = _product(call, _centred(call, 0, 2, -2), _centred(call, 3, 5, -1))
    for index, axis in ((1, -2), (4, -1)):
        values, axes = align(call, [y, _along(call, y, call.value(index), axis % y.rank)])
        y = call.result(call.add(Multiply(), *values), axes, TensorProto.FLOAT)
    return _requantized(call, y, 6, 7)


def _requantized(call: Call, y: Tensor, scale: int, zero: int) -> Tensor:
    elem = call.lift(call.value(zero)).elem
    last = y.rank - 1
    return _quantized(call, y, _along(call, y, call.value(scale), last), _along(call, y, call.value(zero), last), elem)


def conv_integer(call: Call) -> Tensor:
    """ConvInteger: a convolution of integers less their zero points."""
    x, weight = call.lift(_centred(call, 0, 2, -1)), _weight(call, 1, 3)
    y = convolve(call, x, weight, None)
    return call.result(call.cast(y.value, "int"), y.axes, TensorProto.INT32)


def conv_quantized(call: Call) -> Tensor:
    """QLinearConv: a convolution of quantised values, quantised; its bias has the scale of the product."""
    x, weight = call.lift(_centred(call, 0, 2, -1)), _weight(call, 3, 5)
    x_scale, w_scale = call.array(1, "x_scale"), call.array(4, "w_scale")
    scale = (x_scale * w_scale).astype(np.float32).reshape(-1, *[1] * (weight.ndim - 1))
    bias = call.optional(8, "B")
    bias = None if bias is None else bias.astype(np.float32) * np.broadcast_to(scale.reshape(-1), bias.shape)
    return _requantized(call, convolve(call, x, weight * scale, bias), 6, 7)


OPERATORS: dict[str, Translator] = {
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "DynamicQuantizeLinear": dynamic_quantize,
    "MatMulInteger": matmul_integer,
    "QLinearMatMul": matmul_quantized,
    "ConvInteger": conv_integer,
    "QLinearConv": conv_quantized,
}
