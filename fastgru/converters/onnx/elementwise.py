"""Operators on one element of each input at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto, helper

from ...errors import ConvertError
from ...graph import Add, Average, Binary, Multiply, Op, Where
from ..program.formulas import apply, remainder
from ..program.formulas import power as raised
from ..program.values import Tensor, Value
from ..program.views import align
from .call import NARROW_FLOATS, RANGES, Call, Translator, dtype_of

BOOL = TensorProto.BOOL


def formula(name: str, **defaults: float) -> Translator:
    """A translator for a formula of `FORMULAS`, whose numbers are attributes."""

    def translate(call: Call) -> Tensor:
        numbers = {key: float(call.attr(key, default)) for key, default in defaults.items()}
        y = apply(call, call.tensor(0), name, **numbers)
        return wrapped(call, y if y.spec.dtype != "bool" else replace(y, elem=BOOL))

    return translate


def joint(op: Op, elem: int | None = None) -> Translator:
    """A translator for an op of all inputs, which broadcast."""

    def translate(call: Call) -> Tensor:
        tensors = [call.tensor(i) for i in range(len(call.inputs))]
        values, axes = align(call, tensors)
        return wrapped(call, call.result(call.add(op, *values), axes, elem or tensors[0].elem))

    return translate


def chained(function: str) -> Translator:
    """A translator for a function of two values applied to one or more inputs in turn."""

    def translate(call: Call) -> Tensor:
        x = call.tensor(0)
        for i in range(1, len(call.inputs)):
            values, axes = align(call, [x, call.tensor(i)])
            x = call.result(call.add(Binary(function), *values), axes, x.elem)
        return x

    return translate


def wrapped(call: Call, x: Tensor) -> Tensor:
    """Arithmetic of narrow integers wraps around, which the graph's wider ones do not."""
    if x.elem not in RANGES:
        return x
    least, count = RANGES[x.elem]
    shifted = call.binary("sub", x.value, float(least)) if least else x.value
    value = call.binary("mod", shifted, float(count))
    value = call.add(Add(), value, call.number(float(least), like=value)) if least else value
    return call.result(value, x.axes, x.elem)


def power(call: Call) -> Tensor:
    """Pow, whose common exponents have cheaper names."""
    x, exponent = call.tensor(0), call.value(1)
    number = isinstance(exponent, np.ndarray) and exponent.size == 1 and exponent.ndim <= x.rank
    if number and x.spec.dtype == "float":
        return call.like(x, raised(call, x.value, float(np.asarray(exponent).reshape(()))))
    values, axes = align(call, [x, call.lift(exponent)])
    kinds = [call.emit.specs[v].dtype for v in values]
    common = "float" if "float" in kinds else "int"
    y = call.add(Binary("pow"), *(call.cast(v, common) for v in values))
    return call.result(call.cast(y, kinds[0]), axes, x.elem)


def modulo(call: Call) -> Tensor:
    """Mod: with the sign of the divisor, or of the dividend with ``fmod=1``."""
    return remainder(call, call.tensor(0), call.tensor(1), of_dividend=bool(call.attr("fmod", 0)))


def infinite(call: Call) -> Tensor:
    """IsInf, of both signs or one."""
    x = call.tensor(0)
    positive, negative = call.attr("detect_positive", 1), call.attr("detect_negative", 1)
    if positive and negative:
        value = call.binary("equal", call.unary("abs", x.value), np.inf)
    elif positive or negative:
        value = call.binary("equal", x.value, np.inf if positive else -np.inf)
    else:
        value = call.binary("less", x.value, -np.inf)
    return call.result(value, x.axes, BOOL)


def choice(call: Call) -> Tensor:
    """Where."""
    tensors = [call.tensor(i) for i in range(3)]
    values, axes = align(call, tensors)
    return call.result(call.add(Where(), *values), axes, tensors[1].elem)


def clip(call: Call) -> Tensor:
    """Clip, whose bounds were attributes before opset 11."""
    x = call.tensor(0)
    value = x.value
    for index, (name, function) in enumerate((("min", "max"), ("max", "min")), 1):
        if call.opset < 11:
            bound = call.attr(name)
            value = value if bound is None else call.binary(function, value, bound)
        elif call.given(index):
            bound = call.tensor(index)
            value = call.binary(function, value, call.reshape(bound.value, ()))
    return call.result(value, x.axes, x.elem)


def identity(call: Call) -> Value:
    """Identity."""
    return call.value(0)


def dropout(call: Call) -> list[Value]:
    """Dropout, which does nothing when not training."""
    call.attr("ratio")
    call.attr("seed")
    training = call.optional(2, "training_mode") if call.opset >= 12 else None
    if training is not None and training.any():
        raise ConvertError("training_mode must be false, got true")
    x = call.value(0)
    if isinstance(x, Tensor) and len(x.spec.shape) == x.rank and len(call.node.output) > 1:
        return [x, np.ones(x.sizes(), dtype=bool)]
    return [x]


def cast(call: Call) -> Tensor:
    """Cast; narrower floats are computed like float32."""
    call.attr("saturate")
    return cast_to(call, call.tensor(0), int(call.attr("to")))


def cast_like(call: Call) -> Tensor:
    """CastLike."""
    call.attr("saturate")
    other = call.value(1)  # perhaps without elements
    elem = other.elem if isinstance(other, Tensor) else int(helper.np_dtype_to_tensor_dtype(other.dtype))
    return cast_to(call, call.tensor(0), elem)


def cast_to(call: Call, x: Tensor, elem: int) -> Tensor:
    """`x` as another element type."""
    target = dtype_of(elem)
    if elem in NARROW_FLOATS:
        raise ConvertError(f"type to cast to must not be rounded to, got {TensorProto.DataType.Name(elem).lower()}")
    y = call.result(call.cast(x.value, target), x.axes, elem)
    if elem == x.elem or dtype_of(x.elem) == "bool":
        return y
    return wrapped(call, y) if target == "int" and not _holds(elem, x.elem) else y


def _holds(wide: int, narrow: int) -> bool:
    """Whether an integer type has every value of another one."""
    if wide not in RANGES:
        return True
    if narrow not in RANGES:
        return False
    (a, m), (b, n) = RANGES[wide], RANGES[narrow]
    return bool(a <= b and b + n <= a + m)


OPERATORS: dict[str, Translator] = {
    **{
        name: formula(name.lower())
        for name in (
            "Abs", "Neg", "Sqrt", "Exp", "Log", "Reciprocal", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Tan",
            "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Erf", "Not", "IsNaN",
        )
    },
    "IsInf": infinite,
    "Add": joint(Add()),
    "Sum": joint(Add()),
    "Mul": joint(Multiply()),
    "Mean": joint(Average()),
    "Sub": joint(Binary("sub")),
    "Div": joint(Binary("div")),
    **{
        name: joint(Binary(function), BOOL)
        for name, function in {
            "And": "and", "Or": "or", "Xor": "xor", "Equal": "equal", "Less": "less", "LessOrEqual": "less_equal",
            "Greater": "greater", "GreaterOrEqual": "greater_equal",
        }.items()
    },
    "Min": chained("min"),
    "Max": chained("max"),
    "Pow": power,
    "Mod": modulo,
    "Where": choice,
    "Clip": clip,
    "Identity": identity,
    "Dropout": dropout,
    "Cast": cast,
    "CastLike": cast_like,
}  # fmt: skip
