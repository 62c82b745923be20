"""Operators on one element of each input at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from ...errors import ConvertError
from ...graph import Add, Average, Binary, Multiply, Op, Where
from ..tensors.values import Tensor, Value
from ..tensors.views import align
from .call import NARROW_FLOATS, RANGES, Call, Translator, dtype_of

BOOL = TensorProto.BOOL


def unary(function: str, elem: int | None = None) -> Translator:
    """A translator for a function of `graph.UNARY`."""

    def translate(call: Call) -> Tensor:
        x = call.tensor(0)
        return wrapped(call, call.result(call.unary(function, x.value), x.axes, elem or x.elem))

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
    if not isinstance(exponent, Tensor) and exponent.size == 1 and exponent.ndim <= x.rank:
        special = POWERS.get(float(exponent.reshape(-1)[0]))
        if special is not None and dtype_of(x.elem) == "float":
            return call.result(special(call, x.value), x.axes, x.elem)
    values, axes = align(call, [x, call.lift(exponent)])
    kinds = [call.emit.specs[v].dtype for v in values]
    common = "float" if "float" in kinds else "int"
    y = call.add(Binary("pow"), *(call.cast(v, common) for v in values))
    return call.result(call.cast(y, kinds[0]), axes, x.elem)


POWERS: dict[float, Callable[[Call, str], str]] = {
    2.0: lambda call, x: call.add(Multiply(), x, x),
    1.0: lambda call, x: x,
    0.5: lambda call, x: call.unary("sqrt", x),
    -1.0: lambda call, x: call.unary("reciprocal", x),
}


def modulo(call: Call) -> Tensor:
    """Mod: with the sign of the divisor, or of the dividend with ``fmod=1``."""
    x, signed = call.tensor(0), call.attr("fmod", 0)
    values, axes = align(call, [x, call.tensor(1)])
    if not signed:
        return call.result(call.add(Binary("mod"), *values), axes, x.elem)
    a, b = values
    rest = call.add(Binary("mod"), call.unary("abs", a), call.unary("abs", b))
    return call.result(call.add(Multiply(), rest, call.unary("sign", a)), axes, x.elem)


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
    other = call.value(1)
    return cast_to(call, call.tensor(0), other.elem if isinstance(other, Tensor) else call.lift(other).elem)


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


def tangent(call: Call) -> Tensor:
    """Tan."""
    x = call.tensor(0)
    return call.result(call.binary("div", call.unary("sin", x.value), call.unary("cos", x.value)), x.axes, x.elem)


def arc(sine: bool) -> Translator:
    """Asin or Acos: the angle of (sqrt(1 - x^2), x), or of (x, sqrt(1 - x^2))."""

    def translate(call: Call) -> Tensor:
        x = call.tensor(0)
        below = call.activate(x.value, "affine", alpha=-1.0, beta=1.0)
        above = call.activate(x.value, "affine", alpha=1.0, beta=1.0)
        other = call.unary("sqrt", call.add(Multiply(), below, above))
        return call.result(call.binary("atan2", *((x.value, other) if sine else (other, x.value))), x.axes, x.elem)

    return translate


OPERATORS: dict[str, Translator] = {
    **{
        name: unary(function)
        for name, function in {
            "Abs": "abs", "Neg": "neg", "Sqrt": "sqrt", "Exp": "exp", "Log": "log", "Reciprocal": "reciprocal",
            "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign", "Sin": "sin", "Cos": "cos",
            "Atan": "atan", "Erf": "erf",
        }.items()
    },
    "Not": unary("not", BOOL),
    "IsNaN": unary("isnan", BOOL),
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
    "Tan": tangent,
    "Asin": arc(sine=True),
    "Acos": arc(sine=False),
    "Where": choice,
    "Clip": clip,
    "Identity": identity,
    "Dropout": dropout,
    "Cast": cast,
    "CastLike": cast_like,
}  # fmt: skip
