"""What a pickle of PyTorch may call, by name: tensors, NumPy arrays and containers, as plain values."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ConvertError

Array = np.ndarray
DTYPES = ("float64", "double", "float32", "float", "float16", "half", "bfloat16", "int64", "long", "int32", "int",
          "int16", "short", "int8", "uint8", "uint16", "uint32", "uint64", "bool")  # fmt: skip
UNSIGNED = {name: np.dtype(name) for name in ("uint16", "uint32", "uint64")}  # of storages without a type of their own
MAX_AXES = 32  # what every NumPy from 1.26 on can hold


class Global(NamedTuple):
    """A name that a pickle mentions; never looked up anywhere but in `CALLS`."""

    name: str


class Storage(NamedTuple):
    """A flat array of elements; None where they are not yet known, or of a kind that is skipped."""

    kind: str
    elements: NDArray[Any] | None


class Unknown(dict[Any, Any]):
    """An object of a class that is not looked up, with the items it was given and the state that it was not.

    Attributes
    ----------
    name : str
        Of its class, or of the function that was to make it.
    state : object
        Its attributes, mostly a dict.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.state = name, None

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Quantized(NamedTuple):
    """A tensor of codes: the numbers are (codes - zero) * scale, of all elements or of each place along an axis."""

    codes: NDArray[Any]
    scale: NDArray[Any]
    zero: NDArray[Any]
    axis: int | None

    def numbers(self) -> NDArray[Any]:
        """Return the numbers in float32, as PyTorch computes them."""
        wide = [1] * self.codes.ndim
        if self.axis is not None:
            wide[self.axis] = -1
        scale, zero = (a.astype(np.float32).reshape(wide) for a in (self.scale, self.zero))
        return (self.codes.astype(np.float32) - zero) * scale


class Pending:
    """What NumPy makes in two steps; `places` are those of the memo that are to hold what it becomes."""

    def __init__(self) -> None:
        self.places: list[int] = []

    def build(self, what: str, state: Any) -> Any:
        """What it becomes with a state."""
        raise NotImplementedError


class _Dtype(Pending):
    """A dtype of NumPy: a letter and a size, then the order of bytes."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self.code, self.order = code, "<"

    def build(self, what: str, state: Any) -> Any:
        if type(state) is tuple and len(state) > 1 and state[1] in ("<", ">", "|"):
            self.order = state[1]
        return self

    def dtype(self) -> np.dtype[Any] | None:
        """The dtype, None of objects, text and records."""
        plain = re.fullmatch(r"[iu][1248]|f[248]|b1", self.code)
        return np.dtype(self.order + self.code) if plain else None


class _Ndarray(Pending):
    """An array of NumPy: nothing, then (version, shape, dtype, order of axes, bytes)."""

    def build(self, what: str, state: Any) -> Any:
        if type(state) is not tuple or len(state) != 5:
            raise TypeError("an array without shape, type and bytes")
        _, shape, dtype, columns, data = state
        return _numbers(what, dtype, shape, data, "F" if columns else "C")


def _numbers(what: str, dtype: Any, shape: Any, data: Any, order: str) -> Any:
    """An array of bytes that the pickle itself holds; `Unknown` where they are no numbers."""
    plain = dtype.dtype() if isinstance(dtype, _Dtype) else None
    if plain is None or not isinstance(data, bytes | bytearray):
        return Unknown("an array of objects")
    if type(shape) is not tuple or len(shape) > MAX_AXES or any(type(n) is not int or n < 0 for n in shape):
        raise ConvertError(f"shape of an array of {what} must be at most {MAX_AXES} counts, got {reprlib.repr(shape)}")
    if math.prod(shape) * plain.itemsize != len(data) or max(shape, default=0) >= 2**62:
        raise ConvertError(f"array of {what} must have {shape} elements, got {len(data)} bytes of {plain}")
    array = np.frombuffer(data, plain).astype(plain.newbyteorder("="), copy=False).reshape(shape, order=order)  # type: ignore[call-overload]
    array.setflags(write=False)
    return array


# Functions ---------------------------------------------------------------------------------------


def _tensor(machine: Any, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Any:
    """``torch._utils._rebuild_tensor_v2``: a view of a storage, checked to stay inside it."""
    if not isinstance(storage, Storage) or type(shape) is not tuple or type(strides) is not tuple:
        raise TypeError("a tensor without storage, shape or strides")
    elements = storage.elements
    if elements is None:
        return Unknown(f"torch.{storage.kind}")
    return _view(machine, elements, offset, shape, strides)


def _view(machine: Any, elements: NDArray[Any], offset: Any, shape: Any, strides: Any) -> NDArray[Any]:
    numbers = (offset, *shape, *strides)
    if any(type(n) is not int or not 0 <= n < 2**62 for n in numbers) or not len(shape) == len(strides) <= MAX_AXES:
        raise ConvertError(
            f"shape and strides of a tensor of {machine.what} must be at most {MAX_AXES} counts each, "
            f"got {reprlib.repr(shape)} and {reprlib.repr(strides)}"
        )
    machine.source.spend(math.prod(max(n, 1) for n in shape) * elements.itemsize, shape)
    if 0 in shape:
        return np.empty(shape, elements.dtype)
    end = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if end >= elements.size:
        raise ConvertError(
            f"tensor of {machine.what} must lie inside its storage of {elements.size} elements, "
            f"got shape {shape}, strides {strides}, offset {offset}"
        )
    # A stride along an axis of length 1 is never used and may be larger than NumPy takes.
    steps = [s * elements.itemsize if n > 1 else 0 for n, s in zip(shape, strides, strict=True)]
    return np.lib.stride_tricks.as_strided(elements[offset:], shape, steps, writeable=False)


def _typed_tensor(
    machine: Any, storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Any:
    """``torch._utils._rebuild_tensor_v3``: of a storage of bytes, with the type beside it."""
    if not isinstance(storage, Storage) or type(shape) is not tuple or type(strides) is not tuple:
        raise TypeError("a tensor without storage, shape or strides")
    plain = UNSIGNED.get(dtype) if isinstance(dtype, str) else None
    if plain is None or storage.elements is None or storage.elements.dtype != np.uint8:
        return Unknown(f"torch.Tensor of {dtype.name if isinstance(dtype, Global) else dtype}")
    whole = storage.elements[: storage.elements.size // plain.itemsize * plain.itemsize]
    return _view(machine, whole.view(plain), offset, shape, strides)


def _quantized(machine: Any, storage: Any, offset: Any, shape: Any, strides: Any, params: Any, *_: Any) -> Any:
    """``torch._utils._rebuild_qtensor``: codes with a scale and a zero point, or some of each along an axis."""
    codes = _tensor(machine, storage, offset, shape, strides)
    if not isinstance(codes, Array):
        return codes
    kind = params[0].name if type(params) is tuple and params and isinstance(params[0], Global) else None
    if kind == "torch.per_tensor_affine" and len(params) == 3 and all(type(n) in (int, float) for n in params[1:]):
        return Quantized(codes, np.asarray(params[1]), np.asarray(params[2]), None)
    if kind in ("torch.per_channel_affine", "torch.per_channel_affine_float_qparams") and len(params) == 4:
        scale, zero, axis = params[1:]
        along = codes.shape[axis] if type(axis) is int and 0 <= axis < codes.ndim else None
        if all(isinstance(a, Array) and a.shape == (along,) for a in (scale, zero)):
            return Quantized(codes, scale, zero, axis)
    raise TypeError("a quantized tensor without its scales")


def _parameter(machine: Any, tensor: Any, *_: Any) -> Any:
    """``torch._utils._rebuild_parameter``: the tensor."""
    if not isinstance(tensor, Array | Unknown | Quantized):
        raise TypeError("a parameter without a tensor")
    return tensor


def _of_subclass(machine: Any, function: Any, cls: Any, arguments: Any, state: Any = None) -> Any:
    """``torch._tensor._rebuild_from_type_v2``: a tensor of a subclass, as a plain one."""
    if not isinstance(function, Global) or CALLS.get(function.name) is _of_subclass:
        raise TypeError("a tensor within a tensor")
    machine.call(function, arguments)
    return machine.stack.pop()


def _dict(machine: Any, *arguments: Any) -> dict[Any, Any]:
    """An OrderedDict, defaultdict or so, of pairs where there are some."""
    found: dict[Any, Any] = {}
    for pairs in arguments:
        if isinstance(pairs, dict):
            found.update(pairs)
        elif isinstance(pairs, list) and all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
            machine.stack.append(found)
            machine.fill([part for pair in pairs for part in pair])
            machine.stack.pop()
    return found


def _size(machine: Any, shape: Any = ()) -> tuple[Any, ...]:
    if type(shape) is not tuple:
        raise TypeError("a torch.Size without a tuple")
    return shape


def _dtype(machine: Any, code: Any, *_: Any) -> Any:
    return _Dtype(code) if isinstance(code, str) else Unknown("numpy.dtype")


def _frombuffer(machine: Any, data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    return _numbers(machine.what, dtype, shape, data, "F" if order == "F" else "C")


def _scalar(machine: Any, dtype: Any, data: Any = None) -> Any:
    """A number of NumPy as one of Python."""
    array = _numbers(machine.what, dtype, (), data, "C")
    return array.item() if isinstance(array, Array) else array


def _encode(machine: Any, text: Any, codec: Any = None) -> Any:
    """Bytes, as pickles of Python 2 hold them."""
    return text.encode("latin1") if isinstance(text, str) and codec == "latin1" else Unknown("_codecs.encode")


CALLS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("collections.OrderedDict", "collections.defaultdict", "builtins.dict", "__builtin__.dict"), _dict),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _of_subclass,
    "torch.Size": _size,
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")
        for name, function in (
            ("multiarray._reconstruct", lambda machine, *_: _Ndarray()),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _frombuffer),
        )
    },
}
CONSTANTS: dict[str, Any] = {f"torch.{name}": name for name in DTYPES}  # globals that stand for a value
