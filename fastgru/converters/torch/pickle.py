"""Read a PyTorch checkpoint (the zip of a pickle and raw storages) without torch and without unpickling.

`pickle` is not used: a pickle is a program, and its C interpreter builds objects, sets attributes and
sizes buffers as the program says. `_Machine` interprets the few opcodes that a checkpoint of tensors
needs over plain values, so nothing in a file can call or allocate anything but what is written here.
"""

from __future__ import annotations

import io
import math
import os
import pickletools
import reprlib
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ConvertError
from .archive import STORAGES, Archive, describe

Array = NDArray[Any]

DTYPES = ("float64", "double", "float32", "float", "float16", "half", "bfloat16", "int64", "long", "int32", "int",
          "int16", "short", "int8", "uint8", "bool")  # fmt: skip
MAX_PICKLE = 2**26  # bytes of data.pkl: about 300,000 tensors
MAX_AXES = 32  # what every NumPy from 1.26 on can hold


class _Global(NamedTuple):
    """A name that a pickle mentions; never looked up anywhere but in `_CALLS`."""

    name: str


class _Storage(NamedTuple):
    """A flat array of elements and its size in bytes each as the file has them."""

    elements: Array


_Mark = type("_Mark", (), {})


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """The nested containers of a file that ``torch.save`` wrote, with NumPy arrays for tensors.

    Parameters
    ----------
    path : path
        A zip archive as PyTorch 1.6 and later write it.

    Returns
    -------
    dict, list, tuple, array, number, str or None
        Arrays are read-only views of the file's storages; bfloat16 becomes float32. A
        ``torch.dtype`` becomes its name, a ``torch.Size`` a tuple.

    Raises
    ------
    ConvertError
        When the file is of the older format, TorchScript, truncated, corrupt, larger unpacked than
        packed, or holds anything but tensors, containers, numbers and strings.
    """
    what = f"checkpoint {os.fspath(path)!r}"
    size = os.path.getsize(path)
    try:
        if not zipfile.is_zipfile(path):  # which raises BadZipFile, too
            raise ConvertError(f"{what} must be a zip archive, got {describe(path)}")
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # pickletools, of escapes that no writer makes
            with zipfile.ZipFile(path) as archive:
                return _Machine(Archive(archive, size, what)).run()
    except (zipfile.BadZipFile, struct.error, OSError, EOFError, NotImplementedError, ValueError, Warning) as error:
        if isinstance(error, ConvertError):
            raise
        raise ConvertError(f"{what} must be intact, got one that cannot be read: {error}") from error


class _Machine:
    """Runs the pickle of a checkpoint: a stack, a memo, and a table of what each opcode does."""

    def __init__(self, archive: Archive) -> None:
        self.archive, self.what = archive, archive.what
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, tuple[str, Array]] = {}

    def run(self) -> Any:
        """The object that the pickle ends with."""
        data = self.archive.read("data.pkl")
        if len(data) > MAX_PICKLE:
            raise ConvertError(f"data.pkl of {self.what} must have at most {MAX_PICKLE} bytes, got {len(data)}")
        for opcode, argument, position in pickletools.genops(io.BytesIO(data)):
            action = _ACTIONS.get(opcode.name)
            if action is None:
                raise ConvertError(
                    f"{self.what} must hold only tensors, containers, numbers and strings, "
                    f"got opcode {opcode.name} at byte {position}"
                )
            try:
                action(self, argument)
            except (IndexError, KeyError, TypeError) as error:
                problem = f"pickle of {self.what} must be well formed, got {error} at byte {position}"
                raise ConvertError(problem) from error
        (result,) = self.stack
        if isinstance(result, _Mark | _Storage):
            raise ConvertError(f"{self.what} must hold tensors, got {type(result).__name__}")
        return result

    def pop_mark(self) -> list[Any]:
        """Everything above the last mark."""
        at = len(self.stack) - 1
        while not isinstance(self.stack[at], _Mark):
            at -= 1
            if at < 0:
                raise IndexError("no mark")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def pop(self, count: int) -> list[Any]:
        """The last `count` values."""
        if count > len(self.stack) or any(isinstance(item, _Mark) for item in self.stack[len(self.stack) - count :]):
            raise IndexError("a stack that is too short")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def fill(self, pairs: list[Any]) -> None:
        """Set items, key and value in turn, in the dict on the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(pairs) % 2:
            raise TypeError(f"items for a {type(target).__name__}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str | int | float | None):  # anything else may be costly to hash
                raise TypeError(f"a key that is a {type(key).__name__}")
            target[key] = value

    def extend(self, items: list[Any]) -> None:
        """Append to the list on the stack."""
        if type(self.stack[-1]) is not list:
            raise TypeError(f"items for a {type(self.stack[-1]).__name__}")
        self.stack[-1].extend(items)

    def refer(self, module: Any, name: Any) -> None:
        """Push a global by name, or refuse it."""
        full = f"{module}.{name}"
        if full in _CALLS or (module == "torch" and (name in STORAGES or name in DTYPES)):
            self.stack.append(name if name in DTYPES else _Global(full))
            return
        raise ConvertError(
            f"{self.what} must hold only tensors, containers, numbers and strings, got the global {full}: "
            "save model.state_dict() instead"
        )

    def call(self) -> None:
        """Replace a function and its arguments by the result."""
        function, arguments = self.pop(2)
        if not isinstance(function, _Global) or function.name not in _CALLS or type(arguments) is not tuple:
            raise TypeError(f"a call of {reprlib.repr(function)}")
        self.stack.append(_CALLS[function.name](self, *arguments))

    def build(self) -> None:
        """Drop attributes of a dict (a state_dict's ``_metadata``); nothing else has any."""
        target, _ = self.pop(2)
        if type(target) is not dict:
            raise TypeError(f"attributes of a {type(target).__name__}")
        self.stack.append(target)

    def load_storage(self) -> None:
        """Replace a persistent id ("storage", class, key, device, size) by the storage."""
        (identity,) = self.pop(1)
        if type(identity) is not tuple or len(identity) != 5 or identity[0] != "storage":
            raise TypeError("a persistent id that is no storage")
        _, kind, key, _, count = identity
        name = kind.name.removeprefix("torch.") if isinstance(kind, _Global) else ""
        if name not in STORAGES or not isinstance(key, str) or type(count) is not int or count < 0:
            raise TypeError("a storage that is not described by class, key and size")
        known, elements = self.storages.get(key) or (name, self.archive.read_storage(name, key))
        if known != name or count > elements.size:
            raise ConvertError(
                f"storage {key!r} of {self.what} must be a {known} of {count} elements, got {name} of {elements.size}"
            )
        self.storages[key] = (name, elements)
        self.stack.append(_Storage(elements[:count]))


def _tensor(machine: _Machine, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Array:
    """``torch._utils._rebuild_tensor_v2``: a view of a storage, checked to stay inside it."""
    if not isinstance(storage, _Storage) or type(shape) is not tuple or type(strides) is not tuple:
        raise TypeError("a tensor without storage, shape or strides")
    numbers = (offset, *shape, *strides)
    if any(type(n) is not int or not 0 <= n < 2**62 for n in numbers) or not len(shape) == len(strides) <= MAX_AXES:
        raise ConvertError(
            f"shape and strides of a tensor of {machine.what} must be at most {MAX_AXES} counts each, "
            f"got {reprlib.repr(shape)} and {reprlib.repr(strides)}"
        )
    elements = storage.elements
    machine.archive.spend(math.prod(max(n, 1) for n in shape) * elements.itemsize, shape)
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


def _parameter(machine: _Machine, tensor: Any, *_: Any) -> Array:
    """``torch._utils._rebuild_parameter``: the tensor."""
    if not isinstance(tensor, np.ndarray):
        raise TypeError("a parameter without a tensor")
    return tensor


def _ordered_dict(machine: _Machine, *arguments: Any) -> dict[Any, Any]:
    if arguments:
        raise TypeError("an OrderedDict made from arguments")
    return {}


def _size(machine: _Machine, shape: Any) -> tuple[Any, ...]:
    if type(shape) is not tuple:
        raise TypeError("a torch.Size without a tuple")
    return shape


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
}


def _push(make: Callable[[Any], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, argument: machine.stack.append(make(argument))


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(tuple(machine.pop(count)))


def _put(machine: _Machine, index: Any) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _skip(machine: _Machine, _: Any) -> None:
    pass


_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _skip),
    **dict.fromkeys(
        ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _push(lambda a: a)
    ),
    "NONE": _push(lambda _: None),
    "NEWTRUE": _push(lambda _: True),
    "NEWFALSE": _push(lambda _: False),
    "EMPTY_DICT": _push(lambda _: {}),
    "EMPTY_LIST": _push(lambda _: []),
    "MARK": _push(lambda _: _Mark()),
    **{name: _tuple_of(n) for n, name in enumerate(("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"))},
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_mark())),
    "SETITEM": lambda m, _: m.fill(m.pop(2)),
    "SETITEMS": lambda m, _: m.fill(m.pop_mark()),
    "APPEND": lambda m, _: m.extend(m.pop(1)),
    "APPENDS": lambda m, _: m.extend(m.pop_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, index: m.stack.append(m.memo[index])),
    "GLOBAL": lambda m, name: m.refer(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.refer(*m.pop(2)),
    "REDUCE": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.load_storage(),
}
