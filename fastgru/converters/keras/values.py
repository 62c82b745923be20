"""Layers of a config, values of the graph and the model that they belong to, with checks of all three."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ConvertError
from ...graph import Constant, Op, Spec
from ..layouts import Axes, Layouts
from ..program.emit import Emitter
from ..program.sizes import BATCH, TIME
from ..program.values import NeedsSequenceLength
from .leading import spread

Array = NDArray[Any]

AcrossTime = NeedsSequenceLength
MAX_ELEMENTS = 1 << 26  # of a frame; a config may say any number
SPARE = 1 << 28  # bytes of weights beyond what the file holds, of constants and of layers called again


class Layer(NamedTuple):
    """One layer of a config.

    Attributes
    ----------
    class_name : str
    name : str
        With the names of the models around it in front: ``"encoder/gru"``.
    config : dict
    module : str or None
        Of its class, where the file says so.
    path : tuple of str
        Where its weights are: its own name and those of the models around it.
    call : dict
        Keyword arguments of the call being converted.
    shared : int or None
        Keras's number of the object: where two layers have one, their weights are stored once.
    """

    class_name: str
    name: str
    config: dict[str, Any]
    module: str | None = None
    path: tuple[str, ...] = ()
    call: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    shared: int | None = None

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.class_name})"

    def get(self, key: str, *, default: Any = None) -> Any:
        """`config[key]`, or `default` when there is one; else an error that names layer and key."""
        if key in self.config:
            return self.config[key]
        if default is None:
            raise ConvertError(f"{self} must have {key!r} in its config, got none")
        return default

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """A boolean of the config."""
        value = self.get(key, default=default)
        if not isinstance(value, bool):
            raise ConvertError(f"{key} of {self} must be true or false, got {value!r}")
        return value

    def number(self, key: str, *, default: float | None = None) -> float:
        """A finite number of the config; arrays of one element count, as TensorFlow writes some."""
        value = self.get(key, default=default)
        if isinstance(value, dict) and value.get("class_name") == "__numpy__":
            value = value.get("config", {}).get("value")
        if isinstance(value, dict) and value.get("type") == "ndarray":
            value = value.get("value")
        array = np.asarray(value)
        if array.size != 1 or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ConvertError(f"{key} of {self} must be a number, got {value!r}")
        return float(array.reshape(()))

    def integer(self, key: str, *, default: int | None = None, least: int = 1) -> int:
        """A whole number of the config, at least `least`."""
        return self.integers(key, 1, default=default, least=least)[0]

    def integers(self, key: str, count: int, *, default: Any = None, least: int = 1) -> tuple[int, ...]:
        """`count` whole numbers of the config, where one number stands for as many."""
        value = self.get(key, default=default)
        values = [value] * count if isinstance(value, int) else value
        if not _integers(values, least) or len(values) != count:
            what = f"{count} whole numbers of {least} or more" if count > 1 else f"a whole number of {least} or more"
            raise ConvertError(f"{key} of {self} must be {what}, got {shortened(value)}")
        return tuple(values)

    def one_of(self, key: str, allowed: tuple[str, ...], *, default: str | None = None) -> str:
        """A word of the config."""
        value = self.get(key, default=default)
        if value not in allowed:
            raise ConvertError(f"{key} of {self} must be {' or '.join(map(repr, allowed))}, got {shortened(value)}")
        return str(value)


def _integers(values: Any, least: int) -> bool:
    if not isinstance(values, list | tuple):
        return False
    return all(isinstance(v, int) and not isinstance(v, bool) and least <= v <= 2**31 for v in values)


def as_layer(value: Any, *, where: str) -> Layer:
    """A `Layer` from the dict that Keras writes for one.

    Raises
    ------
    ConvertError
        When it is none.
    """
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        raise ConvertError(f"{where} must be a layer's config with a class_name, got {shortened(value)}")
    config = value.get("config")
    if isinstance(config, list):  # Sequential until Keras 2.2.2
        config = {"layers": config}
    if not isinstance(config, dict):
        raise ConvertError(f"config of {value['class_name']} in {where} must be an object, got {shortened(config)}")
    name = value.get("name", config.get("name"))
    name = name if isinstance(name, str) else value["class_name"]
    module, shared = value.get("module"), value.get("shared_object_id", config.get("shared_object_id"))
    if value.get("registered_name") not in (None, value["class_name"]):
        module = str(value["registered_name"])
    return Layer(
        value["class_name"], name, config, module if isinstance(module, str) else None, (name,),
        shared=shared if isinstance(shared, int) else None,
    )  # fmt: skip


def shortened(value: Any) -> str:
    """`repr` of a value from a file, at most 80 characters of it."""
    try:
        text = repr(value)
    except RecursionError:
        return "something nested too deep"
    return text if len(text) <= 80 else text[:77] + "..."


class Version(NamedTuple):
    """The Keras that wrote a model: it decides what some names mean."""

    major: int
    minor: int
    tensorflow: bool  # written by tf.keras while a Keras without TensorFlow still existed

    @classmethod
    def of(cls, text: Any) -> Version:
        """From ``"2.2.4-tf"`` or ``"3.13.2"``."""
        match = re.match(r"(\d+)\.(\d+)", text) if isinstance(text, str) else None
        if match is None:
            raise ConvertError(f"keras_version must be like '2.2.4', got {text!r}")
        return cls(int(match[1]), int(match[2]), text.endswith("-tf"))

    @property
    def zeroes_masked_bidirectional(self) -> bool:
        """True if Bidirectional writes zeros at masked steps: in all but the Keras before it became tf.keras."""
        return self.tensorflow or (self.major, self.minor) >= (2, 4)

    @property
    def masks_started(self) -> bool:
        """True if a layer that is called with an initial state skips masked steps: Keras 3 gives it no mask then."""
        return self.major < 3


@dataclass(frozen=True)
class Value:
    """A value of the graph as a layer of Keras sees it: a tensor of `rank` axes, of which the first is the batch.

    Attributes
    ----------
    name : str
    spec : Spec
    mask : Value or None
        The mask that travels with it in Keras.
    steps : int or None
        The length of the time axis, where the model says it.
    hidden : bool
        Inside of TimeDistributed: layers see the frame alone.
    lead : tuple of int
        Axes in front of the frame that layers do not see, for they are inside of TimeDistributed, nor does `spec` tell.
    """

    name: str
    spec: Spec
    mask: Value | None = None
    steps: int | None = None
    hidden: bool = False
    lead: tuple[int, ...] = ()

    @property
    def timed(self) -> bool:
        """True if Keras's axis 1 is the graph's time."""
        return self.spec.time and not self.hidden

    @property
    def frame(self) -> tuple[int, ...]:
        """The axes after batch and time."""
        return self.spec.shape

    @property
    def rank(self) -> int:
        """The number of axes that Keras counts, batch included."""
        return 1 + self.timed + len(self.frame)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The axes that Keras counts without the batch; None for a time of any length."""
        return (*[self.steps] * self.timed, *self.frame)

    @property
    def axes(self) -> Axes:
        """The axes that Keras counts."""
        return axes_of(self.shape)

    def masked(self, mask: Value | None) -> Value:
        """The same with another mask."""
        return replace(self, mask=mask)

    def inside(self) -> Value:
        """The same from inside of TimeDistributed: without its first axis after the batch, which its mask loses too."""
        mask = None if self.mask is None or self.mask.rank <= 2 else self.mask.inside()
        if self.timed:
            return replace(self, hidden=True, mask=mask)
        if not self.frame:
            raise ConvertError(f"input of TimeDistributed must have an axis of steps, got {self.spec}")
        spec = replace(self.spec, shape=self.frame[1:])
        return replace(self, spec=spec, lead=(*self.lead, self.frame[0]), mask=mask)

    def outside(self, x: Value, ctx: Context) -> Value:
        """The same from outside of the TimeDistributed that was called with `x`, whose mask it has."""
        if x.timed:
            return replace(self, hidden=False, mask=x.mask)
        whole = ctx.with_lead(self, (*x.lead, x.frame[0]))
        spec = replace(whole.spec, shape=(x.frame[0], *whole.frame))
        return replace(whole, spec=spec, lead=x.lead, mask=x.mask)


UNKNOWN_MASK = Value("", Spec((), True, "bool"))  # what a custom layer made of a mask: nobody can say


class Seen(NamedTuple):
    """Output number `tensor` of a call of a layer, which is known by `trail`, and the value of the graph that it is."""

    trail: tuple[tuple[str, int], ...]
    tensor: int
    value: str


class HeldStates(NamedTuple):
    """Inputs and outputs of a model that its layers hold.

    Attributes
    ----------
    inputs : mapping of str to str
        Names of the inputs to the places of the outputs that are their next values.
    outputs : tuple of int, optional
        The places of the outputs that stay; None where all do.
    notes : tuple of str
    """

    inputs: Mapping[str, str] = {}
    outputs: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()


class Later(NamedTuple):
    """An output that costs something, made when a layer reads it.

    Attributes
    ----------
    make : callable
    end : Value or None
        Stands for the output where the model returns it, and a layer may hold it as a state.
    """

    make: Callable[[], Value]
    end: Value | None = None


@dataclass
class Context:
    """The model that layers are converted into."""

    version: Version
    custom: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    emit: Emitter = field(default_factory=Emitter)
    stateful: list[str] = field(default_factory=list)
    masks: dict[tuple[str, float, int], Value] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    states: list[str] = field(default_factory=list)  # inputs without time, which layers may hold
    held: HeldStates = field(default_factory=HeldStates)
    layouts: Layouts | None = None
    insist: bool = False  # on time as the model's: a layer that needs all of its steps at once is given them as a frame
    gathered: bool = False  # True once a layer was given so many steps, as many as its input has
    steps: int = 0  # of the inputs, where the model is right for no other number of them
    met: set[str] = field(default_factory=set)  # keys of `custom` that the model has

    def add(self, op: Op, *inputs: Value, name: str | None, mask: Value | None = None) -> Value:
        """Add a node; shapes are inferred at once so that an error falls on the layer that causes it."""
        return self.add_many(op, *inputs, name=name)[0].masked(mask)

    def add_many(self, op: Op, *inputs: Value, name: str | None) -> list[Value]:
        """Add a node with several outputs."""
        lengths = {x.steps for x in inputs if x.spec.time} - {None}
        if len(lengths) > 1:
            raise AcrossTime(f"inputs must have one number of steps, got {sorted(n for n in lengths if n)}")
        specs = op.infer(tuple(x.spec for x in inputs))
        lead = max((x.lead for x in inputs), key=len, default=())
        largest = prod(lead) * max((prod(spec.shape) for spec in specs), default=0)
        if largest > MAX_ELEMENTS:
            raise ConvertError(f"frame must have at most {MAX_ELEMENTS} elements, got {specs[0]}")
        names: Sequence[str]
        if lead:
            given = [(x.name, x.spec, bool(x.lead)) for x in inputs]
            names = spread(lambda *node: self._grown(op, name or op.kind, *node), op, given, specs, lead)
        else:
            names = self.emit.add(op, *(x.name for x in inputs), name=name or op.kind)
        length = next(iter(lengths), None)
        steps = None if length is None else op.output_length(length)
        if steps is not None and steps < 1:
            raise ConvertError(f"output must have at least one step, got {steps}")
        hidden = any(x.hidden for x in inputs)
        return [
            Value(n, spec, None, steps if spec.time else None, hidden and spec.time, lead)
            for n, spec in zip(names, specs, strict=True)
        ]

    def _grown(self, op: Op, name: str, added: Op, *inputs: str) -> list[str]:
        """Add a node of those that `op`, which is called `name`, becomes."""
        return list(self.emit.add(added, *inputs, name=name if type(added) is type(op) else f"{name}.{added.kind}"))

    def with_lead(self, x: Value, lead: tuple[int, ...]) -> Value:
        """`x` with axes in front that it does not depend on, unless it has them."""
        if x.lead == lead:
            return x
        one = self.emit.reshape(x.name, (*(1,) * len(lead), *x.frame), name=f"{x.name}.apart")
        return replace(x, name=self.emit.expand(one, (*lead, *x.frame), name=f"{x.name}.copies"), lead=lead)

    def value(self, name: str, steps: int | None = None) -> Value:
        """Return a value of the graph; with time it has so many steps, None for any number."""
        spec = self.emit.specs[name]
        return Value(name, spec, None, steps if spec.time else None)

    def constant(self, value: Any, *, name: str, dtype: str = "float") -> Value:
        """A value that is the same for all rows and steps."""
        array = np.asarray(value)
        if array.size > MAX_ELEMENTS:
            raise ConvertError(f"constant must have at most {MAX_ELEMENTS} elements, got shape {array.shape}")
        return self.add(Constant(array, dtype), name=name)


def axes_of(shape: Iterable[int | None]) -> Axes:
    """Return the axes of a tensor of Keras from its shape without the batch."""
    return Axes((BATCH, *(TIME if n is None else n for n in shape)))


def filled(layer: Layer, shape: tuple[int, ...], value: float) -> Array:
    """An array of one number."""
    if prod(shape) > MAX_ELEMENTS:
        raise ConvertError(f"features of {layer} must be at most {MAX_ELEMENTS}, got shape {shape}")
    return np.full(shape, value, dtype=np.float32)


Convert = Callable[[Layer, list[Array], list[Value], Context], list[Any]]
