"""Functions and methods that a traced forward may call, one row of a table for each."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ...errors import ConvertError
from ...graph import Activate, Activation, Add, BatchNorm, Concat, Dense, Embedding, LayerNorm, Multiply, Op, Reverse
from . import modules as torch_modules
from .activations import ROWS
from .values import Ignored, States, Value, embed

Handler = Callable[..., Any]  # (name, *args, **kwargs) of the call, with fx nodes replaced by values
_ALL = slice(None)

# A function with the arguments of a module's constructor behind its input.
AS_MODULES: dict[Any, type[nn.Module]] = {
    **{function: row.module for row in ROWS.values() for function in row.functions},
    torch.softmax: nn.Softmax,
    F.softmax: nn.Softmax,
}


def tensor(value: Any) -> Value:
    """`value` when it is a tensor of the graph, else an error that says what it is."""
    if isinstance(value, Value):
        return value
    if isinstance(value, tuple):
        raise ConvertError("input must be a tensor, got the tuple that a recurrent layer returns: take its first item")
    kinds = {States: "the state of a recurrent layer", Ignored: getattr(value, "what", "")}
    raise ConvertError(f"input must be a tensor, got {kinds.get(type(value), repr(value))}")


def axis(value: Value, dim: Any) -> str:
    """The letter of an axis given by number."""
    if type(dim) is not int or not -len(value.layout) <= dim < len(value.layout):
        raise ConvertError(f"dim must be an axis of {', '.join(value.layout)}, got {dim!r}")
    return value.layout[dim]


def require_features(value: Value, dim: int, who: str) -> None:
    """Raise unless axis `dim` of `value` holds the features."""
    if axis(value, dim) != "F":
        raise ConvertError(f"{who} must act on the features, got axis {dim} of {', '.join(value.layout)}")


def apply_module(module: nn.Module, name: str, x: Any) -> Value:
    """The output of a module that is not recurrent."""
    if isinstance(module, torch_modules.SAME):
        return tensor(x)
    value, op = tensor(x), torch_modules.to_op(module)
    if isinstance(op, Embedding):
        return embed(op, value, name)
    if "F" not in value.layout:
        raise ConvertError(f"input of {name!r} must have features, got ids with axes {', '.join(value.layout)}")
    if isinstance(op, Dense | LayerNorm):
        require_features(value, -1, type(op).__name__)
    if isinstance(op, BatchNorm):
        require_features(value, 1, "BatchNorm1d")
    if isinstance(module, nn.Softmax):
        require_features(value, module.dim, "Softmax")  # type: ignore[arg-type]
    return Value(op, (value,), name, value.layout)


def _as_module(cls: type[nn.Module]) -> Handler:
    def handle(name: str, x: Any, /, *args: Any, **kwargs: Any) -> Value:
        kwargs.pop("_stacklevel", None)  # where F.softmax says to warn
        if kwargs.get("dtype", ...) is None:
            del kwargs["dtype"]
        try:
            module = cls(*args, **kwargs)
        except TypeError as error:
            raise ConvertError(f"arguments must be those of torch.nn.{cls.__name__}, got {args} {kwargs}") from error
        return apply_module(module, name, x)

    return handle


def _dropout(name: str, x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    if training:
        raise ConvertError("training of dropout must be self.training, got True: outputs would be random")
    return tensor(x)


def _joined(op: Op, name: str, values: Sequence[Any]) -> Value:
    tensors = [tensor(value) for value in values]
    if len({value.layout for value in tensors}) > 1 or "F" not in tensors[0].layout:
        layouts = " and ".join(f"({', '.join(value.layout)})" for value in tensors)
        raise ConvertError(f"inputs must have features and the same axes, got {layouts}")
    return Value(op, tuple(tensors), name, tensors[0].layout)


def _arithmetic(scale: Callable[[float], tuple[float, float]], op: type[Op] | None) -> Handler:
    """`op` of two tensors, or alpha * x + beta with (alpha, beta) = scale(number)."""

    def handle(name: str, a: Any, b: Any) -> Value:
        number, other = (a, b) if isinstance(a, int | float) else (b, a)
        if isinstance(number, int | float) and (op is not None or number is b):
            alpha, beta = scale(number)
            return Value(Activate(Activation("affine", alpha, beta)), (tensor(other),), name, tensor(other).layout)
        if op is None:
            raise ConvertError("second operand must be a number, got a tensor")
        return _joined(op(), name, (a, b))

    return handle


def _reciprocal(number: float) -> tuple[float, float]:
    if number == 0:
        raise ConvertError("divisor must not be 0, got 0")
    return 1 / number, 0.0


def _cat(name: str, tensors: Sequence[Any], dim: Any = 0, axis: Any = None) -> Value:
    require_features(tensor(tensors[0]), dim if axis is None else axis, "concatenation")
    return tensor(tensors[0]) if len(tensors) == 1 else _joined(Concat(), name, tensors)


def _getitem(name: str, value: Any, index: Any) -> Any:
    if isinstance(value, tuple | Ignored):
        return value if isinstance(value, Ignored) else value[index]
    items = index if isinstance(index, tuple) else (index,)
    if isinstance(value, States):
        if isinstance(items[0], int) and all(item == _ALL for item in items[1:]):
            return value.take(items[0])
        raise ConvertError(f"index of a state must be one layer, got {index!r}")
    x = tensor(value)
    if items.count(...) == 1:
        at = items.index(...)
        items = (*items[:at], *[_ALL] * (len(x.layout) - len(items) + 1), *items[at + 1 :])
    chosen = {letter: item for letter, item in zip(x.layout, items, strict=False) if item != _ALL}
    if len(items) > len(x.layout) or chosen not in ({}, {"T": -1}):
        raise ConvertError(f"index of a tensor must be its last step, y[:, -1], got {index!r} of {', '.join(x.layout)}")
    return x.last() if chosen else x


def _transpose(name: str, value: Any, dim0: int, dim1: int) -> Value:
    x = tensor(value)
    first, second = axis(x, dim0), axis(x, dim1)
    return x.to(x.layout.translate(str.maketrans(first + second, second + first)))


def _permute(name: str, value: Any, *dims: Any) -> Value:
    x = tensor(value)
    order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    layout = "".join(axis(x, dim) for dim in order)
    if sorted(layout) != sorted(x.layout):
        raise ConvertError(f"dims must be a permutation of {', '.join(x.layout)}, got {order!r}")
    return x.to(layout)


def _squeeze(name: str, value: Any, dim: Any = None) -> Any:
    if isinstance(value, States) and len(value.values) == 1 and dim == 0:
        return value.take(0)
    raise ConvertError("only the state of a single layer can be squeezed, h.squeeze(0), got another value or axis")


def _flip(name: str, value: Any, *dims: Any) -> Value:
    x = tensor(value)
    order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
    if [axis(x, dim) for dim in order] != ["T"]:
        raise ConvertError(f"dims of flip must be the time axis of {', '.join(x.layout)}, got {order!r}")
    return Value(Reverse(), (x,), name, x.layout)


def _same(name: str, value: Any, *args: Any, **kwargs: Any) -> Any:
    if (args or kwargs) and not isinstance(value, Ignored):
        raise ConvertError(f"call must have no arguments, got {args} {kwargs}")
    return value


def _move(name: str, value: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(value, Ignored):
        raise ConvertError("only an initial state of zeros can be moved or cast, got a tensor")
    return value


def _zeros(name: str, *args: Any, **kwargs: Any) -> Ignored:
    return Ignored("zeros")


def _size(name: str, *args: Any, **kwargs: Any) -> Ignored:
    return Ignored("a size")


def _attribute(name: str, value: Any, attribute: str) -> Ignored:
    if attribute not in ("shape", "device", "dtype"):
        raise ConvertError(f"attribute of a tensor must be shape, device or dtype, got {attribute!r}")
    return Ignored(f"a {attribute}")


_add = _arithmetic(lambda n: (1.0, n), Add)
_multiply = _arithmetic(lambda n: (n, 0.0), Multiply)
_subtract = _arithmetic(lambda n: (1.0, -n), None)
_divide = _arithmetic(_reciprocal, None)

FUNCTIONS: dict[Any, Handler] = {
    **{function: _as_module(cls) for function, cls in AS_MODULES.items()},
    F.dropout: _dropout,
    **dict.fromkeys((operator.add, torch.add), _add),
    **dict.fromkeys((operator.mul, torch.mul, torch.multiply), _multiply),
    **dict.fromkeys((operator.sub, torch.sub), _subtract),
    **dict.fromkeys((operator.truediv, torch.div), _divide),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _cat),
    operator.getitem: _getitem,
    **dict.fromkeys((torch.transpose, torch.swapaxes, torch.swapdims), _transpose),
    torch.permute: _permute,
    torch.squeeze: _squeeze,
    torch.flip: _flip,
    **dict.fromkeys((torch.zeros, torch.zeros_like), _zeros),
    getattr: _attribute,
}
METHODS: dict[str, Handler] = {
    "relu": FUNCTIONS[torch.relu], "sigmoid": FUNCTIONS[torch.sigmoid], "tanh": FUNCTIONS[torch.tanh],
    "softmax": FUNCTIONS[torch.softmax], "add": _add, "mul": _multiply, "multiply": _multiply, "sub": _subtract,
    "div": _divide, "transpose": _transpose, "swapaxes": _transpose, "permute": _permute, "squeeze": _squeeze,
    "flip": _flip, "contiguous": _same, "detach": _same, "clone": _same, "requires_grad_": _move, "to": _move,
    "cuda": _move, "cpu": _move, "type_as": _move, "new_zeros": _zeros, "size": _size, "dim": _size,
}  # fmt: skip
# Calls whose result may share memory with their input: what an in-place call behind them changes.
VIEWS = (operator.getitem, torch.transpose, torch.swapaxes, torch.swapdims, torch.permute, torch.squeeze, F.dropout,
         "transpose", "swapaxes", "permute", "squeeze", "contiguous", "detach")  # fmt: skip
