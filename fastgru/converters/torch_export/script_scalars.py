"""TorchScript's arithmetic on numbers, strings and lists, with sizes that are only known when the model runs."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...errors import ConvertError
from ..program.sizes import Dim, equal, product
from ..program.values import Tensor
from .call import RowOrder

DTYPES = {
    0: torch.uint8, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.int64, 5: torch.float16, 6: torch.float32,
    7: torch.float64, 11: torch.bool, 15: torch.bfloat16,
}  # fmt: skip
OF_KIND = {"float": 6, "int": 4, "bool": 11}


def _equal(a: Any, b: Any) -> bool:
    """Return True if two are equal; an open size differs from all that no batch or sequence has."""
    return equal(a, b) if isinstance(a, Dim) or isinstance(b, Dim) else bool(a == b)


def _known(value: Any) -> Any:
    """A value that is there before the model runs."""
    if isinstance(value, Tensor | RowOrder):
        raise ConvertError(f"number must be known to decide or to size something, got a computed value {value}")
    return value.reshape(()).item() if isinstance(value, np.ndarray) else value


def _truth(value: Any) -> bool:
    if isinstance(value, Dim):
        return True  # there is at least one row and one step
    return bool(_known(value))


def _length(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.size(0)
    return value.shape[0] if isinstance(value, np.ndarray) else len(value)


def _number(kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, Dim) else kind(_known(value))


def _size(value: Any, axis: Any = None) -> Any:
    sizes = list(value.sizes() if isinstance(value, Tensor) else value.shape)
    return sizes if axis is None else sizes[axis]


def _set_item(items: Any, index: Any, value: Any) -> Any:
    items[index] = value
    return items


def _append(items: Any, value: Any) -> Any:
    items.append(value)
    return items


def _slice(items: Any, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return items[start:end:step]


def _code(x: Any) -> int:
    """TorchScript's number for the dtype of an array or a value."""
    if isinstance(x, Tensor):
        return OF_KIND[x.spec.dtype]
    found = {np.dtype(np.float32): 6, np.dtype(np.float64): 7, np.dtype(np.int64): 4, np.dtype(np.bool_): 11}
    return found.get(x.dtype, 3)


def _same(value: Any) -> Any:
    return value


# Functions of numbers, strings and lists.
PLAIN: dict[str, Callable[..., Any]] = {
    "eq": _equal, "ne": lambda a, b: not _equal(a, b), "lt": operator.lt, "le": operator.le,
    "gt": operator.gt, "ge": operator.ge, "add": lambda a, b, alpha=1: a + (b if alpha == 1 else alpha * b),
    "sub": lambda a, b, alpha=1: a - (b if alpha == 1 else alpha * b), "mul": operator.mul,
    "div": operator.truediv, "floordiv": operator.floordiv, "remainder": operator.mod, "pow": operator.pow,
    "neg": operator.neg, "abs": abs, "sqrt": math.sqrt, "floor": math.floor, "ceil": math.ceil, "round": round,
    "log": math.log, "min": min, "max": max, "__and__": operator.and_, "__or__": operator.or_,
    "__not__": lambda a: not _truth(a), "__is__": operator.is_, "__isnot__": operator.is_not,
    "__contains__": operator.contains, "__getitem__": operator.getitem, "slice": _slice, "len": _length, "list": list,
    "Bool": _truth, "Int": _number(int), "Float": _number(float),
    "format": lambda text, *values: text.format(*values),
}  # fmt: skip
# Of lists, dicts and optional values, whatever they hold.
CONTAINERS: dict[str, Callable[..., Any]] = {
    "aten::__is__": operator.is_, "aten::__isnot__": operator.is_not, "aten::len": len, "aten::list": list,
    "aten::__getitem__": operator.getitem, "aten::_set_item": _set_item, "aten::append": _append, "aten::slice": _slice,
    "aten::add": operator.add, "aten::keys": list, "aten::values": lambda items: list(items.values()),
    "aten::items": lambda items: list(items.items()),
}  # fmt: skip
# What is known of a tensor.
OF_TENSORS: dict[str, Callable[..., Any]] = {
    "aten::size": _size, "aten::len": _length, "aten::dim": lambda x: len(_size(x)), "prim::dtype": _code,
    "aten::numel": lambda x: product(_size(x)), "aten::is_floating_point": lambda x: _code(x) in (6, 7),
    "prim::device": lambda x: "cpu", "prim::layout": lambda x: None, "prim::is_cuda": lambda x: False,
    "prim::requires_grad": lambda x: False,
    "aten::IntImplicit": _number(int), "aten::FloatImplicit": _number(float), "aten::ScalarImplicit": _number(_same),
    "aten::Int": _number(int), "aten::Float": _number(float), "aten::Bool": _truth, "aten::item": _number(_same),
    "prim::NumToTensor": _same,
}  # fmt: skip


def is_open(value: Any) -> bool:
    """Return True if a value is one of the graph, or a list with one."""
    if isinstance(value, list | tuple):
        return any(is_open(v) for v in value)
    return isinstance(value, Tensor | RowOrder)


def is_array(value: Any) -> bool:
    """Return True if a value is an array, or a list with one."""
    if isinstance(value, list | tuple):
        return any(is_array(v) for v in value)
    return isinstance(value, np.ndarray)
