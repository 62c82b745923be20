"""Operations of Keras 3 on tensors, which functional models hold beside layers: ``x + y``, `keras.ops`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Add, Binary, Multiply, Op, Where
from ..program import formulas, gathers, joins, products, reductions
from ..program.pairs import Scores
from ..program.time import flipped
from ..program.values import Tensor
from ..program.views import joint, with_ones, without
from .activations import HARD_SIGMOID_SLOPE
from .activations import softmax as over_axes
from .draft import Draft, axes_in
from .items import item
from .reshaping import reshape as reshape_layer
from .rows import axes_of, one
from .stored import snake
from .values import Context, Layer, Value, Version, shortened

COMPARISONS = ("Greater", "GreaterEqual", "Less", "LessEqual", "Equal")
BINARY = {
    "Divide": "div", "TrueDivide": "div", "Arctan2": "atan2", "Maximum": "max", "Minimum": "min",
    **{name: snake(name) for name in COMPARISONS},
}  # fmt: skip
# Class -> function of every element, without arguments.
FUNCTIONS = {
    "Negative": "neg", "Absolute": "abs", "Arcsin": "asin", "Arccos": "acos", "Arctan": "atan", "Arcsinh": "asinh",
    "Arccosh": "acosh", "Arctanh": "atanh",
    **{
        name: snake(name)
        for name in (
            "Abs", "Sqrt", "Exp", "Log", "Sign", "Reciprocal", "Floor", "Ceil", "Sin", "Cos", "Tan", "Sinh", "Cosh",
            "Erf", "Square", "Rsqrt", "Log1p", "Log2", "Log10", "Exp2", "Expm1", "Trunc", "Tanh", "Sigmoid", "Relu",
            "Relu6", "Silu", "Softplus", "Softsign", "Selu", "HardSilu", "HardTanh", "LogSigmoid", "TanhShrink",
            "SparsePlus", "SparseSigmoid", "Mish",
        )
    },
}  # fmt: skip
# Class -> function, and its numbers: their keys in the config and their defaults.
WITH_NUMBERS: dict[str, tuple[str, dict[str, tuple[str, float]]]] = {
    "Elu": ("elu", {"alpha": ("alpha", 1.0)}), "Celu": ("celu", {"alpha": ("alpha", 1.0)}),
    "LeakyRelu": ("leaky_relu", {"alpha": ("negative_slope", 0.2)}),
    "HardShrink": ("hard_shrink", {"lambd": ("threshold", 0.5)}),
    "SoftShrink": ("soft_shrink", {"lambd": ("threshold", 0.5)}),
    "Squareplus": ("squareplus", {"spread": ("b", 4.0)}),
    "Threshold": ("threshold", {"threshold": ("threshold", 0.0), "value": ("default_value", 0.0)}),
}  # fmt: skip
REDUCTIONS = {
    "Mean": "mean", "Sum": "sum", "Max": "max", "Min": "min", "Prod": "prod", "Logsumexp": "log_sum_exp",
}  # fmt: skip


Affine = Callable[[float, bool], tuple[float, float]]  # of a number, and whether it is the first operand


def _operands(layer: Layer, operands: list[Any], b: Draft) -> list[Tensor | float]:
    """Values as tensors, and numbers as they are."""
    wrong = [x for x in operands if not isinstance(x, Value | int | float) or isinstance(x, bool)]
    if wrong or not any(isinstance(x, Value) for x in operands):
        raise ConvertError(f"{layer} must be of outputs of layers and numbers, got {shortened(operands)}")
    return [_number(b, b.read(x)) if isinstance(x, Value) else float(x) for x in operands]


def _number(b: Draft, x: Tensor) -> Tensor:
    """Truth values as numbers."""
    return b.like(x, b.cast(x.value, "float")) if x.spec.dtype == "bool" else x


def _pair(layer: Layer, operands: list[Any], b: Draft) -> tuple[Tensor | float, Tensor | float]:
    found = _operands(layer, operands, b)
    if len(found) != 2:
        raise ConvertError(f"{layer} must have 2 operands, got {len(found)}")
    return found[0], found[1]


def _lifted(b: Draft, x: Tensor | float) -> Tensor:
    return x if isinstance(x, Tensor) else b.lift(np.asarray(x, np.float64))


def _joined(layer: Layer, operands: list[Any], b: Draft, op: Op) -> Tensor:
    return joint(b, op, *(_lifted(b, x) for x in _pair(layer, operands, b)))


def _linear(layer: Layer, operands: list[Any], b: Draft, op: Op, affine: Affine) -> Tensor:
    """An op of two values; of a value and a number that `affine` knows the scale and the shift for."""
    x, y = _pair(layer, operands, b)
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        return joint(b, op, x, y)
    value, number = (x, y) if isinstance(x, Tensor) else (y, x)
    assert isinstance(value, Tensor)
    assert isinstance(number, float)
    return b.like(value, b.affine(value.value, *affine(number, number is x)))


def _power(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    x, exponent = _pair(layer, operands, b)
    if isinstance(x, Tensor) and isinstance(exponent, float):
        return b.like(x, formulas.power(b, x.value, exponent))
    return joint(b, Binary("pow"), _lifted(b, x), _lifted(b, exponent))


def _floor_divide(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    return formulas.apply(b, _joined(layer, operands, b, Binary("div")), "floor")


def _choice(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    condition, *found = _operands(layer, operands, b)
    if len(found) != 2:
        raise ConvertError(f"{layer} must have 3 operands, got {1 + len(found)}")
    truth = _lifted(b, condition)
    truth = b.like(truth, b.cast(truth.value, "bool"))
    return joint(b, Where(), truth, *(_lifted(b, x) for x in found))


def _single(layer: Layer, operands: list[Any]) -> Value:
    if not all(isinstance(x, Value) for x in operands):
        raise ConvertError(f"{layer} must be of outputs of layers, got {shortened(operands)}")
    return one(layer, operands)


def _logic(layer: Layer, operands: list[Any], b: Draft, function: str) -> Tensor:
    """A function of truth values; numbers are true unless they are zero."""
    found = [x for x in _operands(layer, operands, b) if isinstance(x, Tensor)]
    if len(found) != len(operands) or len(found) != (1 if function == "not" else 2):
        raise ConvertError(f"{layer} must be of outputs of layers, got {shortened(operands)}")
    truths = [b.like(x, b.cast(x.value, "bool")) for x in found]
    if function == "not":
        return b.like(truths[0], b.unary("not", truths[0].value))
    return joint(b, Binary(function), *truths)


def _cast(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    to, x = str(layer.get("dtype")), b.read(_single(layer, operands))
    kind = "bool" if to == "bool" else "int" if "int" in to else "float"
    return b.like(x, b.cast(x.value, kind))


def _function(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    """A function of every element."""
    name, keys = WITH_NUMBERS.get(layer.class_name) or (FUNCTIONS[layer.class_name], {})
    numbers = {number: layer.number(key, default=default) for number, (key, default) in keys.items()}
    return formulas.apply(b, b.read(_single(layer, operands)), name, **numbers)


def _hard_sigmoid(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    return formulas.apply(b, b.read(_single(layer, operands)), "hard_sigmoid", alpha=HARD_SIGMOID_SLOPE[3], beta=0.5)


def _gelu(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    approximate = layer.flag("approximate", default=True)
    return formulas.gelu(b, b.read(_single(layer, operands)), "tanh" if approximate else "none")


def _axes(layer: Layer, x: Value, *, default: Any = None) -> list[int]:
    """The axes of the config, as those of the tensor."""
    return axes_in(x, axes_of(layer, x, layer.config.get("axis", default)))


def _softmax(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    return over_axes(layer, layer.get("axis", default=-1), b, _single(layer, operands))


def _of_axis(
    layer: Layer, operands: list[Any], b: Draft, function: Callable[[Draft, Tensor, int], Tensor], default: Any = None
) -> Tensor:
    """A function along one axis."""
    x = _single(layer, operands)
    axes = _axes(layer, x, default=default)
    if len(axes) != 1:
        raise ConvertError(f"axis of {layer} must be one axis, got {shortened(layer.config.get('axis'))}")
    return function(b, b.read(x), axes[0])


def _clip(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    bounds = {"low": layer.number("x_min"), "high": layer.number("x_max")}
    return formulas.apply(b, b.read(_single(layer, operands)), "clip", **bounds)


def _fold(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    """Mean, sum, largest or least along axes."""
    x, keep = _single(layer, operands), layer.flag("keepdims", default=False)
    return reductions.reduced(b, b.read(x), _axes(layer, x, default=0), REDUCTIONS[layer.class_name], keep)


def _spread(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    """Variance or standard deviation along axes, with no correction."""
    x, keep = _single(layer, operands), layer.flag("keepdims", default=False)
    y = reductions.variance(b, b.read(x), _axes(layer, x, default=0), 0, keep)
    return formulas.apply(b, y, "sqrt") if layer.class_name == "Std" else y


def _place(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    keep = layer.flag("keepdims", default=False)
    return _of_axis(layer, operands, b, lambda b, x, a: reductions.place(b, x, a, layer.class_name.lower(), keep))


def _new_axis(layer: Layer, rank: int) -> int:
    """The place of an axis that is made, among `rank` of them."""
    axis = layer.config.get("axis")
    if isinstance(axis, bool) or not isinstance(axis, int) or not -rank <= axis < rank:
        raise ConvertError(f"axis of {layer} must be a place among {rank}, got {shortened(axis)}")
    return axis % rank


def _expand(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    x = _single(layer, operands)
    return with_ones(b, b.read(x), [_new_axis(layer, x.rank + 1)])


def _squeeze(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    x = _single(layer, operands)
    return without(b, b.read(x), _axes(layer, x))


def _reshape(layer: Layer, operands: list[Any], b: Draft) -> Value:
    shape = layer.get("newshape")
    if not isinstance(shape, list) or not shape or shape[0] not in (-1, None):
        raise ConvertError(f"newshape of {layer} must leave the batch open, got {shortened(shape)}")
    found: Value = reshape_layer(
        layer._replace(config={"target_shape": shape[1:]}), [], [_single(layer, operands)], b.ctx
    )[0]
    return found


def _transpose(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    x, axes = _single(layer, operands), layer.get("axes")
    if not isinstance(axes, list) or sorted(map(str, axes)) != sorted(map(str, range(x.rank))):
        raise ConvertError(f"axes of {layer} must be an order of {x.rank} axes, got {shortened(axes)}")
    return b.read(x).permuted(axes)


def _swapped(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    x = b.read(_single(layer, operands))
    order, pair = list(range(x.rank)), [layer.integer(key, least=-x.rank) for key in ("axis1", "axis2")]
    if max(pair) >= x.rank:
        raise ConvertError(f"axes of {layer} must be within {x.rank}, got {pair}")
    order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
    return x.permuted(order)


def _values(layer: Layer, operands: list[Any], b: Draft) -> list[Tensor]:
    """Operands that are all outputs of layers."""
    if not operands or not all(isinstance(x, Value) for x in operands):
        raise ConvertError(f"operands of {layer} must be outputs of layers, got {shortened(operands)}")
    return [b.read(x) for x in operands]


def _stack(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    """One element of a new axis for each operand."""
    values = _values(layer, operands, b)
    return joins.stacked(b, values, _new_axis(layer, values[0].rank + 1))


def _split(layer: Layer, operands: list[Any], b: Draft) -> list[Tensor]:
    """Equal parts of an axis, or those between some places of it."""
    value, given = _single(layer, operands), layer.get("indices_or_sections")
    x, axes = b.read(value), _axes(layer, value)
    whole, places = x.spec.shape[x.frame_axis(axes[0])], given if isinstance(given, list) else None
    if places is None and not (isinstance(given, int) and given > 0 and whole % given == 0):
        raise ConvertError(f"sections of {layer} must divide {whole}, got {shortened(given)}")
    bounds = [0, *places, whole] if places is not None else [*range(0, whole + 1, whole // given)]
    return joins.split(b, x, [end - start for start, end in itertools.pairwise(bounds)], axes[0])


def _matmul(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    values = _values(layer, operands, b)
    if len(values) != 2:
        raise ConvertError(f"{layer} must have 2 operands, got {len(values)}")
    return _no_scores(layer, products.matmul(b, *values))


def _einsum(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    return _no_scores(layer, products.einsum(b, str(layer.get("subscripts")), _values(layer, operands, b)))


def _no_scores(layer: Layer, made: Tensor | Scores) -> Tensor:
    """Return a product; raise where it is of all steps by all steps, which the attention layers put off."""
    if isinstance(made, Scores):
        raise made.refused(f"result of {layer}")
    return made


def _triangle(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    offset = layer.integer("k", default=0, least=-(2**31))
    return gathers.triangle(b, b.read(_single(layer, operands)), offset, upper=layer.class_name == "Triu")


def _take_along(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    """The elements of an axis that indices, the second operand, name for each of the others."""
    values = _values(layer, operands, b)
    axis = axes_in(operands[0], axes_of(layer, operands[0], layer.get("axis")))[0]
    ids = values[1]
    return gathers.gather_elements(b, values[0], b.like(ids, b.cast(ids.value, "int")), axis)


Operation = Callable[[Layer, list[Any], Draft], Any]
OPERATIONS: dict[str, Operation] = {
    "Add": partial(_linear, op=Add(), affine=lambda n, first: (1.0, n)),
    "Multiply": partial(_linear, op=Multiply(), affine=lambda n, first: (n, 0.0)),
    "Subtract": partial(_linear, op=Binary("sub"), affine=lambda n, first: (-1.0, n) if first else (1.0, -n)),
    **{name: partial(_joined, op=Binary(function)) for name, function in BINARY.items()},
    "Power": _power, "Mod": partial(_joined, op=Binary("mod")), "FloorDivide": _floor_divide, "Where": _choice,
    **dict.fromkeys((*FUNCTIONS, *WITH_NUMBERS), _function), "HardSigmoid": _hard_sigmoid, "Gelu": _gelu,
    **{f"Logical{name.title()}": partial(_logic, function=name) for name in ("and", "or", "xor", "not")},
    "Cast": _cast, "Clip": _clip, "Softmax": _softmax,
    "LogSoftmax": partial(_of_axis, function=partial(formulas.softmax, log=True), default=-1),
    "Glu": partial(_of_axis, function=formulas.glu, default=-1),
    "Cumsum": partial(_of_axis, function=reductions.cumulative),
    **dict.fromkeys(REDUCTIONS, _fold), "Var": _spread, "Std": _spread, "Argmax": _place, "Argmin": _place,
    "ExpandDims": _expand, "Squeeze": _squeeze, "Reshape": _reshape, "Transpose": _transpose, "Stack": _stack,
    "Matmul": _matmul, "Einsum": _einsum, "Split": _split, "Swapaxes": _swapped, "Tril": _triangle, "Triu": _triangle,
    "TakeAlongAxis": _take_along, "Flip": partial(_of_axis, function=flipped), "GetItem": item,
}  # fmt: skip


def is_operation(layer: Layer, version: Version) -> bool:
    """Return True for an operation of `OPERATIONS`, which unlike a layer of the same name has nothing trainable."""
    return version.major >= 3 and layer.class_name in OPERATIONS and "trainable" not in layer.config


def convert(layer: Layer, operands: list[Any], ctx: Context) -> list[Value]:
    """Translate an operation on values and numbers; its results carry no mask, as in Keras."""
    b = Draft(layer.name, ctx)
    made = OPERATIONS[layer.class_name](layer, operands, b)
    found = made if isinstance(made, list) else [made]
    return [b.finish(y) if isinstance(y, Tensor) else y for y in found]
