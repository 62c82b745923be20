"""Operations of Keras 3 on tensors, which functional models hold beside layers: ``x + y``, `keras.ops`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import ConvertError
from ...graph import Concat, MatMul, Reshape, Reverse, Transpose
from .activations import COMPOSED, HARD_SIGMOID_SLOPE, PLAIN, clip
from .formulas import Formula, act, add, affine, binary, emit, mul, reduce, softmax, unary, where
from .items import Part, cut, item
from .merging import aligned
from .reshaping import reshape as reshape_layer
from .rows import axes_of, frame_axis, one
from .stored import snake
from .values import AcrossTime, Context, Layer, Value, Version, shortened

COMPARISONS = ("Greater", "GreaterEqual", "Less", "LessEqual", "Equal")
BINARY = {
    "Divide": "div", "TrueDivide": "div", "Power": "pow", "Arctan2": "atan2", "Maximum": "max", "Minimum": "min",
    "Mod": "mod",
    **{name: snake(name) for name in COMPARISONS},
}  # fmt: skip
UNARY = {
    "Negative": "neg", "Absolute": "abs", "Abs": "abs", "Sqrt": "sqrt", "Exp": "exp", "Log": "log", "Sign": "sign",
    "Reciprocal": "reciprocal", "Floor": "floor", "Ceil": "ceil", "Sin": "sin", "Cos": "cos", "Erf": "erf",
    "Arctan": "atan",
}  # fmt: skip
REDUCTIONS = {"Mean": "mean", "Sum": "sum", "Max": "max", "Min": "min"}


def _operands(layer: Layer, operands: list[Any], ctx: Context) -> list[Any]:
    """Values of one rank, and numbers as they are."""
    wrong = [x for x in operands if not isinstance(x, Value | int | float) or isinstance(x, bool)]
    if wrong or not any(isinstance(x, Value) for x in operands):
        raise ConvertError(f"{layer} must be of outputs of layers and numbers, got {shortened(operands)}")
    values = iter(aligned(layer, [x for x in operands if isinstance(x, Value)], ctx))
    return [next(values) if isinstance(x, Value) else float(x) for x in operands]


def _pair(layer: Layer, operands: list[Any], ctx: Context) -> tuple[Any, Any]:
    found = _operands(layer, operands, ctx)
    if len(found) != 2:
        raise ConvertError(f"{layer} must have 2 operands, got {len(found)}")
    return found[0], found[1]


def _sum(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    a, b = _pair(layer, operands, ctx)
    if isinstance(a, float) or isinstance(b, float):
        return affine(b, 1.0, a) if isinstance(a, float) else affine(a, 1.0, b)
    return add(a, b)


def _product(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    a, b = _pair(layer, operands, ctx)
    if isinstance(a, float) or isinstance(b, float):
        return affine(b, a) if isinstance(a, float) else affine(a, b)
    return mul(a, b)


def _difference(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    a, b = _pair(layer, operands, ctx)
    if isinstance(a, float) or isinstance(b, float):
        return affine(b, -1.0, a) if isinstance(a, float) else affine(a, 1.0, -b)
    return binary("sub", a, b)


def _two(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    return binary(BINARY[layer.class_name], *_pair(layer, operands, ctx))


def _choice(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    found = _operands(layer, operands, ctx)
    if len(found) != 3:
        raise ConvertError(f"{layer} must have 3 operands, got {len(found)}")
    return where(*found)


def _single(layer: Layer, operands: list[Any]) -> Value:
    if not all(isinstance(x, Value) for x in operands):
        raise ConvertError(f"{layer} must be of outputs of layers, got {shortened(operands)}")
    return one(layer, operands)


def _function(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    """An activation."""
    x, name = _single(layer, operands), snake(layer.class_name)
    if name == "hard_sigmoid":
        return act(name, x, HARD_SIGMOID_SLOPE[3], 0.5)
    if name == "gelu" and layer.config.get("approximate", True):
        raise ConvertError(f"approximate of {layer} must be False, got True")
    if name in ("leaky_relu", "elu", "celu"):
        key = "negative_slope" if name == "leaky_relu" else "alpha"
        if name != "celu" or layer.number(key, default=1.0) == 1.0:
            return act(PLAIN[name][0], x, layer.number(key, default=PLAIN[name][1]))
        raise ConvertError(f"alpha of {layer} must be 1, got {layer.config[key]!r}")
    if name in PLAIN:
        plain, alpha, beta = PLAIN[name]
        return act(plain, x, alpha, beta)
    return COMPOSED[name](x)


def _softmax(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    x = _single(layer, operands)
    return softmax(x, axes_of(layer, x, layer.get("axis", default=-1))[0])


def _clip(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    return clip(_single(layer, operands), layer.number("x_min"), layer.number("x_max"))


def _fold(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    """Mean, sum, largest or least along axes."""
    x = _single(layer, operands)
    axes, keep = axes_of(layer, x, layer.config.get("axis", 0)), layer.flag("keepdims", default=False)
    y = reduce(REDUCTIONS[layer.class_name], x, axes, keepdims=keep)
    if not keep or axes[0] >= 0:
        return y
    frame = (1, *(1 if i in axes else n for i, n in enumerate(x.frame)))
    return Formula(Reshape(frame), (y,))


def _expand(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    x = _single(layer, operands)
    axis = layer.config.get("axis")
    if isinstance(axis, bool) or not isinstance(axis, int) or not -x.rank <= axis <= x.rank or axis == 0:
        raise ConvertError(f"axis of {layer} must be a place after the first axis, got {shortened(axis)}")
    at = (axis if axis > 0 else axis + x.rank + 1) - 1 - x.timed
    if at < 0:
        raise AcrossTime(f"axis of {layer} must not be before time, got {axis}")
    return Formula(Reshape((*x.frame[:at], 1, *x.frame[at:])), (x,))


def _squeeze(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    x = _single(layer, operands)
    axis = frame_axis(layer, x, layer.get("axis"))
    if x.frame[axis] != 1:
        raise ConvertError(f"axis of {layer} must have one element, got {x.spec}")
    return Formula(Reshape((*x.frame[:axis], *x.frame[axis + 1 :])), (x,))


def _reshape(layer: Layer, operands: list[Any], ctx: Context) -> Value:
    shape = layer.get("newshape")
    if not isinstance(shape, list) or not shape or shape[0] not in (-1, None):
        raise ConvertError(f"newshape of {layer} must leave the batch open, got {shortened(shape)}")
    found: Value = reshape_layer(
        layer._replace(config={"target_shape": shape[1:]}), [], [_single(layer, operands)], ctx
    )[0]
    return found


def _transpose(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    x, axes = _single(layer, operands), layer.get("axes")
    fixed = [*range(1 + x.timed)]
    if not isinstance(axes, list) or sorted(map(str, axes)) != sorted(map(str, range(x.rank))) or axes[0] != 0:
        raise ConvertError(f"axes of {layer} must be an order that keeps the batch first, got {shortened(axes)}")
    if axes[: len(fixed)] != fixed:
        raise AcrossTime(f"axes of {layer} must keep time where it is, got {axes}")
    return Formula(Transpose(tuple(a - len(fixed) for a in axes[len(fixed) :])), (x,))


def _stack(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    """One element of a new axis for each operand."""
    parts = [_expand(layer, [x], ctx) for x in operands]
    sizes = {part.op.shape for part in parts if isinstance(part.op, Reshape)}
    if len(sizes) != 1 or len({x.timed for x in operands}) != 1:
        raise ConvertError(f"operands of {layer} must have one shape, got {shortened([x.spec for x in operands])}")
    x = operands[0]
    axis = int(layer.config["axis"])
    at = (axis if axis > 0 else axis + x.rank + 1) - 1 - x.timed
    return Formula(Concat(at), tuple(parts))


def _matmul(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    if len(operands) != 2 or not all(isinstance(x, Value) for x in operands):
        raise ConvertError(f"{layer} must have 2 operands, got {shortened(operands)}")
    a, b = operands
    if a.rank != b.rank or a.rank < 3:
        raise ConvertError(f"operands of {layer} must have one number of axes, got {a.spec} and {b.spec}")
    if b.timed or (a.timed and a.rank > 3):
        raise AcrossTime(
            f"operands of {layer} must have time in the rows of the first alone, got {a.spec} and {b.spec}"
        )
    return Formula(MatMul(), (a, b))


def _flip(layer: Layer, operands: list[Any], ctx: Context) -> Formula:
    x = _single(layer, operands)
    (axis,) = axes_of(layer, x, layer.get("axis"))
    return Formula(Reverse(), (x,)) if axis < 0 else Formula(cut(x.frame, {axis: Part(step=-1)}), (x,))


Operation = Callable[[Layer, list[Any], Context], Any]
ACTIVATIONS = (
    "Tanh", "Sigmoid", "Relu", "Relu6", "Silu", "Gelu", "Softplus", "Softsign", "Elu", "Celu", "Selu", "LeakyRelu",
    "HardSigmoid", "HardSilu", "HardTanh", "HardShrink", "SoftShrink", "LogSigmoid", "TanhShrink", "Squareplus",
    "SparsePlus",
)  # fmt: skip
OPERATIONS: dict[str, Operation] = {
    "Add": _sum, "Multiply": _product, "Subtract": _difference, "Where": _choice, "Softmax": _softmax, "Clip": _clip,
    **dict.fromkeys(BINARY, _two),
    **{name: lambda layer, xs, ctx, f=f: unary(f, _single(layer, xs)) for name, f in UNARY.items()},  # type: ignore[misc]
    "Square": lambda layer, xs, ctx: mul(_single(layer, xs), _single(layer, xs)),
    "Rsqrt": lambda layer, xs, ctx: unary("reciprocal", unary("sqrt", _single(layer, xs))),
    **dict.fromkeys(REDUCTIONS, _fold), **dict.fromkeys(ACTIVATIONS, _function),
    "ExpandDims": _expand, "Squeeze": _squeeze, "Reshape": _reshape, "Transpose": _transpose, "Stack": _stack,
    "Matmul": _matmul, "Flip": _flip, "GetItem": item,
}  # fmt: skip


def is_operation(layer: Layer, version: Version) -> bool:
    """Whether this is an operation of `OPERATIONS`, which unlike a layer of the same name has nothing trainable."""
    return version.major >= 3 and layer.class_name in OPERATIONS and "trainable" not in layer.config


def convert(layer: Layer, operands: list[Any], ctx: Context) -> Value:
    """What an operation makes of values and numbers; it carries no mask, as in Keras."""
    return emit(OPERATIONS[layer.class_name](layer, operands, ctx), ctx, layer.name)
