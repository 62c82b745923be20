"""Op, the base of every node's content: frozen attributes and read-only weights, with shape inference."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from inspect import Parameter, Signature
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import numpy as np

from .._arrays import as_array
from .._names import closest
from ..errors import GraphError, listed
from .activations import SOFTMAX, Activation
from .fields import KINDS, Range, short, within
from .precision import PRECISIONS, Array, rounded
from .spec import Spec

if sys.version_info >= (3, 11):
    from typing import dataclass_transform
else:  # Python 3.10 runs the package; type checkers use a later one

    def dataclass_transform(**_: Any) -> Any:
        return lambda cls: cls


FLOATS = (np.dtype("float32"), np.dtype("float64"))
ANY_INT = Range()
REST = "..."  # the last of a `param`'s axes: any number of further ones
# Arrays of ops by id and by a precision that holds all their numbers: further ops hold them, too, instead of copies.
_HELD: WeakValueDictionary[tuple[int, str], Array] = WeakValueDictionary()


def held(array: Array) -> Array:
    """Return `array` as ops hold it: read-only, C-contiguous, float32 or float64; a copy unless an op made it."""
    if _is_held(array, "float32"):
        return array
    dtype = array.dtype if array.dtype in FLOATS else np.dtype("float32")
    with np.errstate(over="ignore"):  # of a longdouble beyond `dtype`
        return _hold(np.array(array, dtype=dtype, order="C"))


def _hold(array: Array, *precisions: str) -> Array:
    """Let further ops hold `array`, whose numbers these precisions hold exactly."""
    array.setflags(write=False)
    _HELD.update(((id(array), precision), array) for precision in ("float32", *precisions))
    return array


def _is_held(array: Array, precision: str) -> bool:
    return _HELD.get((id(array), precision)) is array and not array.flags.writeable


def param(*axes: str, optional: bool = False) -> Any:
    """A dataclass field that holds an array; `axes` name its dimensions, of which the last may be `REST`."""
    default = None if optional else dataclasses.MISSING
    return dataclasses.field(default=default, metadata={"axes": axes, "optional": optional})


class _FieldSignature:
    """The ``__signature__`` of each op's class, its fields in their order, made when first asked for."""

    def __init__(self) -> None:
        self.made: dict[type[Op], Signature] = {}

    def __get__(self, op: Op | None, cls: type[Op]) -> Signature:
        if cls not in self.made:
            parameters = []
            for field in dataclasses.fields(cls):
                default = Parameter.empty if field.default is dataclasses.MISSING else field.default
                kind = Parameter.POSITIONAL_OR_KEYWORD
                parameters.append(Parameter(field.name, kind, default=default, annotation=field.type))
            self.made[cls] = Signature(parameters)
        return self.made[cls]


@dataclass_transform(frozen_default=True, eq_default=False)
class Op:
    """The operation of a node. Subclasses become frozen dataclasses of attributes and weights.

    One ``__init__`` and one ``__setattr__`` serve them all: `dataclasses.dataclass` would compile three methods for
    each of fifty classes, a third of the time of importing the package.

    Fields made with `param` become read-only, C-contiguous float32 or float64 arrays; fields whose
    name ends in ``activation`` become `Activation`; tuples may be given as lists. An op with `matrices` has a
    field ``precision``, and those arrays are rounded to what it can hold.
    """

    kind: ClassVar[str] = ""
    blocker: ClassVar[str] = ""  # why the op needs the whole sequence, and what would not; empty where it streams
    matrices: ClassVar[tuple[str, ...]] = ()  # fields that `precision` rounds and multiplies in

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    _arrays: ClassVar[tuple[str, ...]] = ()  # fields made with `param`
    __signature__ = _FieldSignature()

    def __init_subclass__(cls) -> None:
        dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
        cls._arrays = tuple(f.name for f in dataclasses.fields(cls) if "axes" in f.metadata)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            given = self.__signature__.bind(*args, **kwargs)
        except TypeError as error:
            fields = [field.name for field in dataclasses.fields(self)]
            meant = [name for wrong in kwargs if wrong not in fields and (name := closest(wrong, fields))]
            hint = f": did you mean {meant[0]}?" if meant else ""
            raise TypeError(f"{type(self).__name__}: {error}{hint}") from None
        given.apply_defaults()
        for name, value in given.arguments.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def __setattr__(self, name: str, value: Any) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __post_init__(self) -> None:
        problems: list[str] = []
        ranges: list[str] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if "axes" in field.metadata:
                object.__setattr__(self, field.name, self._array(field, value))
            elif field.name.endswith("activation"):
                object.__setattr__(self, field.name, Activation.of(value))
            elif kind := KINDS.get(str(field.type)):
                try:
                    object.__setattr__(self, field.name, made := kind.make(value))
                except TypeError:
                    problems.append(f"{field.name} must be {kind.expected}, got {short(value)}")
                    continue
                except OverflowError:  # an integer for a float
                    problems.append(f"{field.name} must be finite, got {short(value)}")
                    continue
                within(ranges, field.name, made, field.metadata.get("range", ANY_INT))
        problems = problems or [*ranges, *self._round(), *self.problems()]
        if problems:
            raise GraphError(f"{type(self).__name__}: {listed(problems)}")

    def _array(self, field: dataclasses.Field[Any], value: Any) -> Array | None:
        axes, what = field.metadata["axes"], f"{type(self).__name__} {field.name}"
        if value is None:
            if field.metadata["optional"]:
                return None
            raise GraphError(f"{what} must be an array of shape ({', '.join(axes)}), got None")
        array = as_array(value, what)
        fits = array.ndim >= len(axes) - 1 if axes[-1:] == (REST,) else array.ndim == len(axes)
        if array.dtype.kind not in "fiu" or not fits:
            raise GraphError(
                f"{what} must be a real array of shape ({', '.join(axes)}), got {array.dtype} of shape {array.shape}"
            )
        if array.size == 0:
            raise GraphError(f"{what} must have no empty axis, got shape {array.shape}")
        return held(array)

    def _round(self) -> list[str]:
        """Round the matrices to the op's precision, or say why that cannot be."""
        precision = precision_of(self)
        if precision not in PRECISIONS:
            return [f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}"]
        for name in self.matrices if precision != "float32" else ():
            weight = getattr(self, name)
            if weight is None or _is_held(weight, precision):
                continue
            try:
                made = rounded(weight, precision)
            except GraphError as error:
                return [f"{name}: {error}"]
            same = made.dtype == weight.dtype and np.array_equal(made.view(np.uint32), weight.view(np.uint32))
            object.__setattr__(self, name, _hold(weight if same else made, precision))
        return []

    # What a subclass defines --------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Everything wrong with attributes and weights, as messages; empty when consistent."""
        return []

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        """Specs of the outputs. Raises GraphError when `inputs` do not fit."""
        raise GraphError(f"{type(self).__name__} must define infer, got an Op without it")

    def input_spec(self) -> Spec | None:
        """The spec of the first input when the op alone determines it."""
        return None

    def states(self) -> dict[str, int]:
        """Recurrent state per row: name to size, e.g. ``{"h": 64}``."""
        return {}

    def macs(self) -> int:
        """Multiply-accumulates per row and step, of a frame that has only the axis they act on."""
        return sum(w.size for w in self.weights().values() if w.ndim == 2)

    def macs_for(self, inputs: tuple[Spec, ...]) -> int:
        """Multiply-accumulates per row and step of the output, for inputs that `infer` accepts."""
        return self.macs()

    @property
    def streamable(self) -> bool:
        """Whether steps can be fed as they come."""
        return not self.blocker

    @property
    def stepwise(self) -> bool:
        """Whether the output has a step for each step of the inputs, made of none after it."""
        return True

    @property
    def fewest(self) -> int:
        """Steps that there must be where there are any."""
        return 0

    def output_length(self, length: int) -> int:
        """Steps of the output for `length` steps of the inputs."""
        return length

    # What every subclass has --------------------------------------------------------------------

    def operand(self, x: Array) -> Array:
        """What the matrices multiply in place of an activation (..., K), in float64."""
        return PRECISIONS[precision_of(self)].operand(x)

    def in_precision(self, precision: str) -> dict[str, Any]:
        """The fields of an op in another precision that are not those of this one."""
        return {"precision": precision}

    def stored_as(self, name: str) -> str:
        """The precision that stores the weight `name`: the op's own if it is one of the matrices, else float32."""
        return precision_of(self) if name in self.matrices else "float32"

    def bytes_of(self, name: str, item: int = 4) -> int:
        """Return the bytes of the weight `name`: a matrix as its precision stores it, any other `item` a number."""
        array, precision = getattr(self, name), self.stored_as(name)
        if precision == "float32":
            return int(array.size) * item
        row = PRECISIONS[precision]
        return int(array.size) * row.bytes + int(array.shape[0]) * row.row_bytes

    def weight_bytes(self, item: int = 4) -> int:
        """Return the bytes of all weights, each as `bytes_of` has it."""
        return sum(self.bytes_of(name, item) for name in self.weights())

    def weights(self) -> dict[str, Array]:
        """The arrays that are present, by field name."""
        return {name: array for name in self._arrays if (array := getattr(self, name)) is not None}

    def attributes(self) -> dict[str, Any]:
        """The fields that are not arrays; activations as dicts, so that the result is JSON."""
        named = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if "axes" not in f.metadata)
        return {n: dataclasses.asdict(v) if isinstance(v, Activation) else v for n, v in named}

    def replace(self, **changes: Any) -> Any:
        """A copy with some fields changed, validated again."""
        return dataclasses.replace(self, **changes)

    def holding(self, arrays: Mapping[str, Array]) -> Any:
        """A copy that holds other arrays of equal numbers in some fields, which are not checked again."""
        op = object.__new__(type(self))
        op.__dict__.update(self.__dict__, **arrays)
        return op

    def __repr__(self) -> str:
        shapes = [f"{k}={v.shape}" for k, v in self.weights().items()]
        return f"{type(self).__name__}({', '.join(shapes)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _build, (type(self), {**self.attributes(), **self.weights()})


def _build(cls: type[Op], fields: dict[str, Any]) -> Op:
    return cls(**fields)


def precision_of(op: Op) -> str:
    """The precision of an op's matrices; float32 where it has none."""
    return str(getattr(op, "precision", "float32"))


def check_shape(problems: list[str], name: str, array: Array | None, expected: tuple[int, ...]) -> None:
    """Append a problem when `array` is there and its shape is not `expected`."""
    if array is not None and array.shape != expected:
        problems.append(f"{name} must have shape {expected}, got {array.shape}")


def no_softmax(problems: list[str], name: str, activation: Activation) -> None:
    """Append a problem when a gate is given softmax, which acts on whole rows."""
    if activation.name == SOFTMAX:
        problems.append(f"{name} must be elementwise, got 'softmax'")


def one_float_row(op: Op, inputs: tuple[Spec, ...], size: int | None = None, *, masked: bool = False) -> Spec:
    """The one float input (…, F) most ops take, checked; `masked` allows a mask beside it."""
    allowed = (1, 2) if masked else (1,)
    if len(inputs) not in allowed:
        raise GraphError(f"number of inputs must be {' or '.join(map(str, allowed))}, got {len(inputs)}")
    x = inputs[0]
    if x.dtype != "float" or len(x.shape) != 1:
        raise GraphError(f"input must be float rows of one feature axis, got {x}")
    if size is not None and x.shape[0] != size:
        raise GraphError(f"input must have {size} features, got {x.shape[0]}")
    if len(inputs) == 2 and inputs[1] != Spec((), True, "bool"):
        raise GraphError(f"mask must be (B, T) bool, got {inputs[1]}")
    return x


def features(inputs: tuple[Spec, ...], size: int | None = None) -> Spec:
    """The one float input of any rank whose last axis an op acts on, checked."""
    if len(inputs) != 1:
        raise GraphError(f"number of inputs must be 1, got {len(inputs)}")
    x = inputs[0]
    if x.dtype != "float" or not x.shape:
        raise GraphError(f"input must be float with at least one frame axis, got {x}")
    if size is not None and x.shape[-1] != size:
        raise GraphError(f"input must have {size} features, got {x.shape[-1]}")
    return x
