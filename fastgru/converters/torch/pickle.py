"""Read the pickles of PyTorch checkpoints without torch and without unpickling.

`pickle` is not used: a pickle is a program, and its C interpreter builds objects, sets attributes and
sizes buffers as the program says. `Machine` interprets its opcodes over plain values, so nothing in a file can call or
allocate anything but what is written here and in `rebuilt`. Objects of all other classes, such as optimizers and
hyper-parameters beside the weights, become an `Unknown` each.
"""

from __future__ import annotations

import pickletools
import reprlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

from ...errors import ConvertError
from .rebuilt import CALLS, CONSTANTS, Array, Global, Pending, Storage, Unknown

MAX_OPCODES = 2**24  # of one pickle: about 500,000 tensors


class Storages(Protocol):
    """Where the elements of tensors are."""

    what: str

    def read_storage(self, kind: str, key: str, count: int, view: Any) -> Array | None:
        """The elements of a storage of a class of `archive.STORAGES`; None where they are not yet known."""
        ...

    def spend(self, size: int, tensor: tuple[int, ...]) -> None:
        """Count bytes that tensors take unpacked."""
        ...


_Mark = type("_Mark", (), {})


class Machine:
    """Runs one pickle: a stack, a memo, and a table of what each opcode does."""

    def __init__(self, source: Storages) -> None:
        self.source, self.what = source, source.what
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: BinaryIO) -> Any:
        """The object that the pickle ends with; the stream is then behind it."""
        for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
            if count >= MAX_OPCODES:
                raise ConvertError(f"pickle of {self.what} must have at most {MAX_OPCODES} opcodes, got more")
            action = _ACTIONS.get(opcode.name)
            if action is None:
                raise ConvertError(f"pickle of {self.what} must be one of a file, got {opcode.name} at byte {position}")
            try:
                action(self, argument)
            except (IndexError, KeyError, TypeError) as error:
                problem = f"pickle of {self.what} must be well formed, got {error} at byte {position}"
                raise ConvertError(problem) from error
        (result,) = self.stack
        if isinstance(result, _Mark | Storage | Global | Pending):
            raise ConvertError(f"{self.what} must hold tensors, got {type(result).__name__.strip('_')}")
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
        """Set items, key and value in turn, in the dict on the stack; those with keys of other kinds are left out."""
        target = self.stack[-1]
        if not isinstance(target, dict) or len(pairs) % 2:
            raise TypeError(f"items for a {type(target).__name__}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if isinstance(key, str | int | float | None):  # anything else may be costly to hash
                target[key] = value

    def extend(self, items: list[Any]) -> None:
        """Append to the list on the stack; what an object of another class is given is left out."""
        if type(self.stack[-1]) is list:
            self.stack[-1].extend(items)
        elif not isinstance(self.stack[-1], Unknown):
            raise TypeError(f"items for a {type(self.stack[-1]).__name__}")

    def refer(self, module: Any, name: Any) -> None:
        """Push a global by its name, which is never looked up."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a global without a name")
        full = f"{module}.{name}"
        self.stack.append(CONSTANTS[full] if full in CONSTANTS else Global(full))

    def call(self, function: Any, arguments: Any) -> None:
        """Push what a function returns for its arguments, or what stands for it."""
        if isinstance(function, Unknown):
            self.stack.append(Unknown(function.name))
        elif not isinstance(function, Global) or type(arguments) is not tuple:
            raise TypeError(f"a call of {reprlib.repr(function)}")
        elif function.name in CALLS:
            self.stack.append(CALLS[function.name](self, *arguments))
        else:
            self.stack.append(Unknown(function.name))

    def build(self) -> None:
        """Give an object its state: what is skipped keeps it unread, a dict (its ``_metadata``) does without."""
        target, state = self.pop(2)
        if isinstance(target, Unknown):
            target.state = state
        elif isinstance(target, Pending):
            made = target.build(self.what, state)
            if made is not target:
                self.memo.update(dict.fromkeys(target.places, made))
            target = made
        elif not isinstance(target, dict | list | Array):
            raise TypeError(f"attributes of a {type(target).__name__}")
        self.stack.append(target)

    def load_persistent(self, identity: Any) -> None:
        """Push what lies outside of the pickle: ("storage", class, key, device, size), or a class with its source."""
        kind = identity[0] if type(identity) is tuple and identity else None
        if kind == "module" and len(identity) > 1:
            self.stack.append(identity[1])
            return
        if kind != "storage" or len(identity) not in (5, 6):
            raise TypeError("a persistent id that is no storage")
        _, cls, key, _, count, *view = identity
        name = cls.name.rpartition(".")[2] if isinstance(cls, Global) else ""
        if not name.endswith("Storage") or not isinstance(key, str) or type(count) is not int or count < 0:
            raise TypeError("a storage that is not described by class, key and size")
        self.stack.append(Storage(name, self.source.read_storage(name, key, count, *view or [None])))


def _push(make: Callable[[Any], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, argument: machine.stack.append(make(argument))


def _tuple_of(count: int) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine.stack.append(tuple(machine.pop(count)))


def _put(machine: Machine, index: Any) -> None:
    place = len(machine.memo) if index is None else index
    value = machine.memo[place] = machine.stack[-1]
    if isinstance(value, Pending):
        value.places.append(place)


def _skip(machine: Machine, _: Any) -> None:
    pass


def _pop(machine: Machine, _: Any) -> None:
    machine.stack.pop()


def _pop_mark(machine: Machine, _: Any) -> None:
    machine.pop_mark()


def _dict_of(machine: Machine, _: Any) -> None:
    items = machine.pop_mark()
    machine.stack.append({})
    machine.fill(items)


def _instance(machine: Machine, name: Any) -> None:
    arguments = machine.pop_mark()
    machine.refer(*name.split(" ", 1))
    machine.call(machine.pop(1)[0], tuple(arguments))


def _object(machine: Machine, _: Any) -> None:
    cls, *arguments = machine.pop_mark()
    machine.call(cls, tuple(arguments))


def _frozen(machine: Machine, _: Any) -> None:
    machine.pop_mark()
    machine.stack.append(Unknown("builtins.frozenset"))


_ACTIONS: dict[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _skip),
    **dict.fromkeys(
        ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING",
         "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "BININT", "BININT1", "BININT2", "INT", "LONG",
         "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        _push(lambda a: a),
    ),
    "NONE": _push(lambda _: None),
    "NEWTRUE": _push(lambda _: True),
    "NEWFALSE": _push(lambda _: False),
    "EMPTY_DICT": _push(lambda _: {}),
    "EMPTY_LIST": _push(lambda _: []),
    "EMPTY_SET": _push(lambda _: Unknown("builtins.set")),
    "MARK": _push(lambda _: _Mark()),
    **{name: _tuple_of(n) for n, name in enumerate(("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"))},
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_mark())),
    "LIST": lambda m, _: m.stack.append(m.pop_mark()),
    "DICT": _dict_of,
    "FROZENSET": _frozen,
    "SETITEM": lambda m, _: m.fill(m.pop(2)),
    "SETITEMS": lambda m, _: m.fill(m.pop_mark()),
    "APPEND": lambda m, _: m.extend(m.pop(1)),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda m, _: m.extend(m.pop_mark())),
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, index: m.stack.append(m.memo[index])),
    "GLOBAL": lambda m, name: m.refer(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.refer(*m.pop(2)),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda m, _: m.call(*m.pop(2))),
    "NEWOBJ_EX": lambda m, _: m.call(*m.pop(3)[:2]),
    "INST": _instance,
    "OBJ": _object,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _push(lambda _: Unknown("an extension"))),
    "BUILD": lambda m, _: m.build(),
    "PERSID": lambda m, name: m.load_persistent(name),
    "BINPERSID": lambda m, _: m.load_persistent(*m.pop(1)),
}  # fmt: skip
