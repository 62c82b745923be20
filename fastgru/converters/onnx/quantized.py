"""Quantised operators: weights as the floats they stand for, activations rounded and clipped as the model says."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from ...errors import ConvertError
from ...graph import Add, Binary, Multiply
from ...graph.activations import CODES
from ...graph.affine import is_scale
from ..program.products import matmul
from ..program.values import Array, Tensor
from ..program.views import align, expanded, reshaped, with_ones
from .call import RANGES, Call, Translator
from .windows import convolve

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


def _spread(parameter: Array, shape: tuple[int, ...], axis: int) -> Array:
    """A constant scale or zero point that broadcasts with an array, as `_along` has those of a tensor."""
    if parameter.size == 1:
        return parameter.reshape(())
    axis = Call.axis(axis, len(shape))
    if parameter.ndim == 1:
        return parameter.reshape(-1, *[1] * (len(shape) - 1 - axis))
    if parameter.ndim != len(shape) or shape[axis] % max(parameter.shape[axis], 1):
        raise ConvertError(f"scale must be one number, one for each place of an axis or blocks of {list(shape)}, got "
                           f"shape {list(parameter.shape)}")  # fmt: skip
    return np.repeat(parameter, shape[axis] // parameter.shape[axis], axis)


def dequantize(call: Call) -> Parameter:
    """DequantizeLinear: (x - zero point) * scale."""
    axis = call.attr("axis", 1)
    call.attr("block_size")
    elem = call.attr("output_dtype", 0)
    if all(v is None or isinstance(v, np.ndarray) for v in call.inputs):
        x, scale, zero = call.array(0, "x"), call.array(1, "x_scale"), call.optional(2, "x_zero_point")
        difference = x.astype(np.float32)
        if zero is not None:
            difference = difference - _spread(zero, x.shape, axis).astype(np.float32)
        y = difference * _spread(scale, x.shape, axis).astype(np.float32)
        return np.asarray(y, dtype=helper.tensor_dtype_to_np_dtype(elem) if elem else scale.dtype)
    return floats(call, 0, axis, elem)


def floats(call: Call, index: int, axis: int = 1, elem: int = 0) -> Tensor:
    """What an input stands for by its scale and zero point, which are the next two inputs."""
    x, scale, zero = call.tensor(index), call.value(index + 1), call.value(index + 2) if call.given(index + 2) else None
    elem = elem or call.lift(scale).elem
    key = "rounded", x.value, _number(call, scale), 0.0 if zero is None else _number(call, zero)
    if made := call.emit.memo.get(key):
        return call.result(made, x.axes, elem)
    y = _less_zero(call, x, zero, axis)
    values, axes = align(call, [y, _along(call, x, scale, axis)])
    return call.result(call.add(Multiply(), *values), axes, elem)


def _less_zero(call: Call, x: Tensor, zero: Parameter | None, axis: int) -> Tensor:
    """Codes less their zero points, as floats: what they were made of, where those are the ones that were added."""
    number = 0.0 if zero is None else _number(call, zero)
    if number is not None and (made := call.emit.memo.get(("centred", x.value, number))):
        return call.result(made, x.axes, TensorProto.FLOAT)
    y = call.result(call.cast(x.value, "float"), x.axes, TensorProto.FLOAT)
    if zero is None:
        return y
    values, axes = align(call, [y, _along(call, x, zero, axis)])
    return call.result(call.add(Binary("sub"), *values), axes, TensorProto.FLOAT)


def _number(call: Call, parameter: Parameter) -> float | None:
    """A constant scale or zero point that is one for all."""
    array = call.emit.fixed(parameter.value) if isinstance(parameter, Tensor) else parameter
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def quantize(call: Call) -> Tensor:
    """QuantizeLinear: x / scale, rounded to even, plus the zero point, clipped to the integer's range."""
    axis = call.attr("axis", 1)
    call.attr("block_size")
    call.attr("saturate")
    call.attr("precision")
    return codes(call, call.tensor(0), 1, axis, call.attr("output_dtype", 0) or TensorProto.UINT8)


def codes(
    call: Call, x: Tensor, index: int, axis: int = 1, elem: int = TensorProto.UINT8, *, offset_first: bool = False
) -> Tensor:
    """`x` by the scale and zero point that are two inputs; the latter's type is that of the codes."""
    scale, zero = call.value(index), call.value(index + 1) if call.given(index + 1) else None
    if zero is not None:
        elem = call.lift(zero).elem
    offset = None if zero is None else _along(call, x, zero, axis)
    return quantized(call, x, _along(call, x, scale, axis), offset, elem, offset_first=offset_first)


def quantized(
    call: Call, x: Tensor, scale: Tensor, zero: Tensor | None, elem: int, *, offset_first: bool = False
) -> Tensor:
    """Rounded and clipped to a type of ONNX; of ties it matters whether the zero point is added first."""
    if elem not in RANGES:
        raise ConvertError(f"quantised type must be (u)int8 or (u)int16, got {TensorProto.DataType.Name(elem).lower()}")
    least, count = RANGES[elem]
    given = call.cast(x.value, "float")
    values, axes = align(call, [call.result(given, x.axes, TensorProto.FLOAT), scale])
    y = call.result(call.add(Binary("div"), *values), axes, TensorProto.FLOAT)
    number = 0.0 if zero is None else _number(call, zero)
    if number is not None and not offset_first:  # clipped before the zero point is added: nothing reads it, mostly
        value = call.unary("round", y.value)
        centred = call.binary("min", call.binary("max", value, least - number), least + count - 1 - number)
        codes = call.cast(call.binary("sub", centred, -number) if number else centred, "int")
        call.emit.memo["centred", codes, number] = centred
        step = _number(call, scale)
        if count == CODES and step is not None and is_scale(step):
            rounded = call.activate(given, "fake_quantize", alpha=step, beta=least - number)
            call.emit.memo["rounded", codes, step, number] = rounded
        return call.result(codes, y.axes, elem)
    if not offset_first:
        y = call.like(y, call.unary("round", y.value))
    if zero is not None:
        values, axes = align(call, [y, zero])
        y = call.result(call.add(Add(), *values), axes, TensorProto.FLOAT)
    whole = call.unary("round", y.value) if offset_first else y.value
    value = call.binary("min", call.binary("max", whole, least), least + count - 1)
    return call.result(call.cast(value, "int"), y.axes, elem)


def _centred(call: Call, index: int, zero: int, axis: int) -> Parameter:
    """An integer input less its zero point, as float; an array stays one."""
    value = call.value(index)
    if isinstance(value, np.ndarray) and not (call.given(zero) and isinstance(call.value(zero), Tensor)):
        return less(value, call.optional(zero, "zero point"), axis)
    x = call.lift(value)
    return _less_zero(call, x, call.value(zero) if call.given(zero) else None, axis % x.rank)


def _weight(call: Call, index: int, zero: int) -> Array:
    """Weights (O, ...) less their zero points, one for all or for each of O."""
    return less(call.array(index, "weights"), call.optional(zero, "zero point of the weights"), 0)


def less(codes: Array, zero: Array | None, axis: int) -> Array:
    """Integers less their zero points, one for all or for each place of an axis, as float32."""
    if zero is None:
        return codes.astype(np.float32)
    shape = [1] * codes.ndim
    if zero.size > 1:
        shape[axis] = -1
    return codes.astype(np.float32) - zero.astype(np.float32).reshape(shape)


def weights(call: Call, index: int, scale: int, zero: int, axis: int) -> Array:
    """Constant weights as the floats they stand for; scales and zero points are one for all, or along an axis."""
    own, codes = call.array(scale, "scale of the weights").astype(np.float32), call.array(index, "weights")
    if own.size not in (1, codes.shape[axis]):
        raise ConvertError(f"scale of the weights must be 1 or {codes.shape[axis]} numbers, got {own.size}")
    if own.size == 1:
        own = own.reshape(())
    elif own.ndim < 2:
        shape = [1] * codes.ndim
        shape[axis] = own.size
        own = own.reshape(shape)
    return less(codes, call.optional(zero, "zero point of the weights"), axis) * own


def matmul_integer(call: Call) -> Tensor:
    """MatMulInteger: the product of integers less their zero points."""
    y = matmul(call, _centred(call, 0, 2, -2), _centred(call, 1, 3, -1))
    return call.result(call.cast(y.value, "int"), y.axes, TensorProto.INT32)


def matmul_quantized(call: Call) -> Tensor:
    """QLinearMatMul: a product of quantised values, quantised."""
    if _is_layer(call):
        return _requantized(call, matmul(call, floats(call, 0), weights(call, 3, 4, 5, -1)), 6, 7)
    y = matmul(call, _centred(call, 0, 2, -2), _centred(call, 3, 5, -1))
    for index, axis in ((1, -2), (4, -1)):
        values, axes = align(call, [y, _along(call, y, call.value(index), axis % y.rank)])
        y = call.result(call.add(Multiply(), *values), axes, TensorProto.FLOAT)
    return _requantized(call, y, 6, 7)


def _is_layer(call: Call) -> bool:
    """Return True if weights are constant, and what they multiply has one scale and zero point."""
    codes, *parameters = [call.value(i) for i in (3, 4, 5)]
    if not isinstance(codes, np.ndarray) or codes.ndim != 2:
        return False
    each = all(isinstance(v, np.ndarray) and (v.size == 1 or v.shape == codes.shape[1:]) for v in parameters)
    return each and all(_number(call, call.value(i)) is not None for i in (1, 2))


def _requantized(call: Call, y: Tensor, scale: int, zero: int) -> Tensor:
    elem = call.lift(call.value(zero)).elem
    last = y.rank - 1
    return quantized(call, y, _along(call, y, call.value(scale), last), _along(call, y, call.value(zero), last), elem)


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
    "MatMulInteger": matmul_integer,
    "QLinearMatMul": matmul_quantized,
    "ConvInteger": conv_integer,
    "QLinearConv": conv_quantized,
}
