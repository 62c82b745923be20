"""Dynamic quantisation: activations rounded to bytes by what they hold, and multiplied as integers.

ONNX takes one scale from all of a tensor. Over rows of a batch or steps of time, which come one after the other, there
is one for each row and step. What DynamicQuantizeLinear gives stands for itself until it is known what reads it: a
product of it that is scaled again is one node of precision int8_affine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto

from ...errors import ConvertError
from ...graph import Binary, Multiply, Where
from ..program.products import dense
from ..program.reductions import reduced
from ..program.values import Array, Tensor, symbols_of
from ..program.views import align
from .call import Call, Translator
from .quantized import conv_integer, less, matmul_integer, quantized, weights
from .windows import convolve

PRECISION = "int8_affine"
NOTE = "activations are rounded to bytes with a scale for each row and step, not one for the whole tensor"
READERS = (
    "MatMulInteger or ConvInteger, Cast and Mul by the scale must follow it, or DequantizeLinear; with fixed sizes of "
    "batch and steps any other may"
)


@dataclass(frozen=True, eq=False)
class Rounding:
    """One DynamicQuantizeLinear of `x`."""

    x: Tensor

    @property
    def open(self) -> bool:
        """Return True where there are several scales."""
        return bool(symbols_of(self.x.axes))

    @property
    def rows(self) -> bool:
        """Return True if each row of a product by the last axis has a scale of its own."""
        x = self.x
        return x.rank > 0 and x.is_frame(x.rank - 1) and prod(x.spec.shape) == x.size(x.rank - 1)

    def parts(self, call: Call) -> list[Tensor]:
        """The codes, the scale and the zero point."""
        frames = [i for i in range(self.x.rank) if self.x.is_frame(i)]
        low, high = (reduced(call, self.x, frames, f, self.open) for f in ("min", "max"))
        least, most = call.binary("min", low.value, 0.0), call.binary("max", high.value, 0.0)
        scale = call.binary("div", call.add(Binary("sub"), most, least), 255.0)
        divisor = call.add(Where(), call.binary("equal", scale, 0.0), call.number(1.0, like=scale), scale)
        zero = call.unary("round", call.unary("neg", call.add(Binary("div"), least, divisor)))
        zero = call.binary("min", call.binary("max", zero, 0.0), 255.0)
        step, offset = (call.result(v, low.axes, TensorProto.FLOAT) for v in (divisor, zero))
        y = quantized(call, self.x, step, offset, TensorProto.UINT8)
        whole = call.result(call.cast(zero, "int"), low.axes, TensorProto.UINT8)
        return [y, call.result(scale, low.axes, self.x.elem), whole]

    def rounded(self, call: Call) -> Tensor:
        """The floats that the codes stand for."""
        codes, scale, zero = self.parts(call)
        y = call.result(call.cast(codes.value, "float"), codes.axes, TensorProto.FLOAT)
        offset = call.result(call.cast(zero.value, "float"), zero.axes, TensorProto.FLOAT)
        for op, other in ((Binary("sub"), offset), (Multiply(), scale)):
            values, axes = align(call, [y, other])
            y = call.result(call.add(op, *values), axes, self.x.elem)
        return y


@dataclass(frozen=True, eq=False)
class Pending:
    """A value that a rounding takes part in, and is none of the graph yet."""

    of: Rounding

    def tensor(self, call: Call) -> Tensor:
        """As a value of the graph, where all have one scale."""
        if self.of.open:
            reader = call.node.op_type or "the caller of the model"
            raise ConvertError(
                f"what DynamicQuantizeLinear gives must be scaled again, got {reader} reading it: {READERS}"
            )
        return self.made(call)

    def made(self, call: Call) -> Tensor:
        """The value itself."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Part(Pending):
    """The codes, the scale or the zero point: the `index`-th output."""

    index: int

    def made(self, call: Call) -> Tensor:
        """The value itself."""
        return self.of.parts(call)[self.index]


@dataclass(frozen=True, eq=False)
class Scaled(Pending):
    """The scale times that of weights."""

    by: Array

    def made(self, call: Call) -> Tensor:
        """The value itself."""
        values, axes = align(call, [self.of.parts(call)[1], call.lift(self.by)])
        return call.result(call.add(Multiply(), *values), axes, TensorProto.FLOAT)


@dataclass(frozen=True, eq=False)
class Product(Pending):
    """The codes by `weight`, integers less their zero points: of MatMulInteger (K, N), of ConvInteger (O, I, ...)."""

    weight: Array
    call: Call
    elem: int = TensorProto.INT32

    def made(self, call: Call) -> Tensor:
        """The value itself."""
        codes, _, zero = self.of.parts(self.call)
        inputs = [codes, self.call.inputs[1], zero, *self.call.inputs[3:]]
        y = INTEGER[self.call.node.op_type](replace(self.call, inputs=inputs))
        return y if self.elem == y.elem else call.result(call.cast(y.value, "float"), y.axes, self.elem)

    def scaled(self, call: Call, by: Array) -> Tensor | None:
        """The product of what the codes and the weights stand for, `by` the scale of the latter; None for no such."""
        convolution = self.call.node.op_type == "ConvInteger"
        shape = by.shape[-self.weight.ndim :] if convolution else by.shape[-2:]  # right-aligned with the product
        units, at = (0, 1 - self.weight.ndim) if convolution else (1, -1)
        if by.size > 1 and (len(shape) < -at or by.size != shape[at] or by.size != self.weight.shape[units]):
            return None
        weight = self.weight * by.reshape([by.size if axis == units else 1 for axis in range(self.weight.ndim)])
        if convolution:
            return convolve(self.call, self.of.rounded(self.call), weight, None)
        if self.of.rows:
            return dense(call, self.of.x, weight.T, None, PRECISION)
        return dense(call, self.of.rounded(call), weight.T, None)


INTEGER: dict[str, Callable[[Call], Tensor]] = {"MatMulInteger": matmul_integer, "ConvInteger": conv_integer}


def dynamic_quantize(call: Call) -> list[Any]:
    """DynamicQuantizeLinear: uint8 with the scale of what the input holds."""
    of = Rounding(call.tensor(0))
    if of.open:
        call.emit.notes.setdefault(NOTE)
    elif not of.rows:
        return list(of.parts(call))
    return [Part(of, i) for i in range(3)]


def reading(call: Call) -> list[Any] | None:
    """The outputs of a node that reads what is pending; None where it is to be translated like any other."""
    values: list[Any] = call.inputs
    kind, first = call.node.op_type, values[0]
    if kind in INTEGER and _is_product(call, values):
        return [Product(first.of, _integers(call), call)]
    if kind == "Cast" and isinstance(first, Product) and call.attr("to") == TensorProto.FLOAT:
        return [replace(first, elem=TensorProto.FLOAT)]
    if kind == "Mul" and (found := _multiplied(call, values)) is not None:
        return [found]
    if kind == "DequantizeLinear" and _are_parts(values):
        call.attr("axis", 1)
        return [first.of.rounded(call)]
    if kind == "MatMulIntegerToFloat" and len(values) > 4 and _are_parts([values[0], values[2], values[4]]):
        more = [*values[5:], None, None][:2]
        return [fused(replace(call, inputs=[first.of.x, values[1], values[3], *more]))]
    settled(call)
    return None


def settled(call: Call) -> None:
    """Let a node read values of the graph in place of what is pending."""
    values: list[Any] = call.inputs
    call.inputs[:] = [v.tensor(call) if isinstance(v, Pending) else v for v in values]


def _are_parts(values: list[Any]) -> bool:
    """Return True if values are the parts of one rounding in their order."""
    return len(values) == 3 and all(_is_part(v, i) and v.of is values[0].of for i, v in enumerate(values))


def _is_part(value: Any, index: int) -> bool:
    return isinstance(value, Part) and value.index == index


def _is_product(call: Call, values: list[Any]) -> bool:
    """Return True if codes of one rounding, less their zero point, are multiplied by constant integers."""
    codes, _, zero = (*values, None, None)[:3]
    if zero is None or not (_is_part(codes, 0) and _is_part(zero, 2) and codes.of is zero.of):
        return False
    constant = isinstance(values[1], np.ndarray) and all(v is None or isinstance(v, np.ndarray) for v in values[3:])
    return constant and (call.node.op_type == "ConvInteger" or values[1].ndim == 2)


def _integers(call: Call) -> Array:
    zero = call.optional(3, "zero point of the weights")
    return less(call.array(1, "weights"), zero, 0 if call.node.op_type == "ConvInteger" else -1)


def _multiplied(call: Call, values: list[Any]) -> Any:
    """A scale times that of weights, or a product times both."""
    for a, b in (values, values[::-1]):
        if _is_part(a, 1) and isinstance(b, np.ndarray) and b.dtype == np.float32:
            return Scaled(a.of, b)
        if isinstance(a, Product) and a.elem == TensorProto.FLOAT and isinstance(b, Pending) and b.of is a.of:
            by = b.by if isinstance(b, Scaled) else np.ones((), np.float32) if _is_part(b, 1) else None
            if by is not None:
                return a.scaled(call, by)
    return None


# Microsoft's -------------------------------------------------------------------------------------------------------


def fused(call: Call) -> Tensor:
    """DynamicQuantizeMatMul: of floats by integer weights, the former rounded, with a bias."""
    of, weight = Rounding(call.tensor(0)), call.array(1, "B")
    if weight.ndim != 2:
        raise ConvertError(f"B must have 2 axes, got shape {weight.shape}")
    if of.open:
        call.emit.notes.setdefault(NOTE)
    weight, bias = weights(call, 1, 2, 3, -1), call.optional(4, "bias")
    if of.rows:
        return dense(call, of.x, weight.T, bias, PRECISION)
    return dense(call, of.rounded(call), weight.T, bias)


OPERATORS: dict[str, Translator] = {"DynamicQuantizeLinear": dynamic_quantize}
MICROSOFT: dict[str, Translator] = {"DynamicQuantizeMatMul": fused}
