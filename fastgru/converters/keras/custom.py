"""Layers and activations of the user's own: what the functions given as ``custom=`` make of them.

``custom`` is a dict. Its keys are names of classes, of single layers (``"encoder/squeeze"``, which matters for Lambda)
or of activations; its values are functions of the layer's config and its list of arrays. The layer's own arrays come in
the order in which it made them, then those of layers inside it (from a ``.keras`` archive, which has the names of their
attributes alone, in alphabetical order). Such a function returns what the layer is: a layer of `fastgru.layers` (or an
`Activation`), a list of them that run one after the other, or, where values meet, a function of a `Builder` and the
values that the layer reads, which returns the value or values that it gives.

Examples
--------
Squeeze and excitation, x * sigmoid(up relu(down x)), in a model of one such layer:

>>> import numpy as np
>>> from fastgru.layers import Dense, Multiply
>>> def squeeze(config, weights):
...     down, up = weights
...     def build(builder, x):
...         small = builder.add(Dense(down.T, activation="relu"), x)
...         scale = builder.add(Dense(up.T, activation="sigmoid"), small)
...         return builder.add(Multiply(), x, scale)
...     return build
>>> from fastgru.converters.keras.config import Version, graph_of
>>> layers = [
...     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, None, 4]}},
...     {"class_name": "SqueezeLayer", "config": {"name": "squeeze", "ratio": 2}},
... ]
>>> model = {"class_name": "Sequential", "config": {"layers": layers}}
>>> arrays = [np.ones((4, 2)), np.ones((2, 4))]
>>> graph_of(model, Version.of("3.0"), lambda layer: arrays, custom={"SqueezeLayer": squeeze})[0]
Graph([squeeze.dense: Dense, squeeze.dense_1: Dense, squeeze.multiply: Multiply])

A cell of the user's own in an ``RNN`` is known by its class. Its function gets the config and the arrays of the cell,
and builds one step: `Builder.state` holds a value from step to step, `Builder.feed` says what it holds next.

>>> from fastgru.graph import Constant
>>> from fastgru.layers import Activate, Add
>>> def cell(config, weights):
...     kernel, decay = weights
...     def build(builder, x):
...         h = builder.state(np.zeros(2))
...         kept = builder.add(Multiply(), h, builder.add(Constant(decay)))
...         new = builder.add(Activate("relu"), builder.add(Add(), builder.add(Dense(kernel.T), x), kept))
...         builder.feed(h, new)
...         return new
...     return build
>>> layers[1] = {"class_name": "RNN", "config": {"name": "rnn", "cell": {"class_name": "Decay", "config": {}},
...     "return_sequences": True}}
>>> arrays = [np.ones((4, 2)), np.full(2, 0.5)]
>>> graph_of(model, Version.of("3.0"), lambda layer: arrays, custom={"Decay": cell})[0].has_state_nodes()
True

A mask on the input of such a layer is lost, as in Keras unless the class says otherwise; that a later layer needs it is
an error.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import numpy as np

from ..._hints import named
from ..._names import nearest
from ...errors import ConvertError, GraphError
from ...graph import MERGE_OPS, Activate, Activation, Bidirectional, Op, Reverse, Spec, State, Where
from .masking import keeps_mask, step_mask
from .starts import begun, ends_held, last, may_hold, turned
from .values import UNKNOWN_MASK, AcrossTime, Array, Context, Later, Layer, Value, as_layer, shortened

Hook = Callable[..., Any]
EXPECTED = "a layer of fastgru.layers, a list of them, or a function of a builder and the values it reads"


def checked(custom: Any) -> dict[str, Hook]:
    """`custom` as a dict of functions.

    Raises
    ------
    ConvertError
        When it is none.
    """
    wrong = None
    if custom is None:
        return {}
    if not isinstance(custom, Mapping):
        wrong = type(custom).__name__
    elif any(not isinstance(k, str) or not callable(v) for k, v in custom.items()):
        wrong = ", ".join(f"{k!r}: {type(v).__name__}" for k, v in custom.items())
    if wrong is not None:
        raise ConvertError(
            f"{named('custom')} must be a dict of names of classes (or layers) and functions, got {wrong}"
        )
    return dict(custom)


def hook(ctx: Context, *names: str | None) -> Hook | None:
    """Return the function for the first of `names` that has one; the names of functions count as met."""
    found = [name for name in names if name is not None and name in ctx.custom]
    ctx.met.update(found)
    return ctx.custom[found[0]] if found else None


def check_met(custom: Mapping[str, Any], met: Container[str], names: Iterable[str]) -> None:
    """Raise ConvertError where `custom` has functions for what the model does not have: mistyped names.

    `met` are those that it has, `names` what its layers and their classes are called.
    """
    unmet = [name for name in custom if name not in met]
    if unmet:
        raise ConvertError(
            f"names in {named('custom')} must be of classes, layers or activations of the model "
            f"({nearest(unmet[0], names)}), got {', '.join(map(repr, unmet))}, which it does not have"
        )


def names_of(layer: Layer) -> tuple[str, ...]:
    """Return the names by which `custom` may call a layer: its own, its class's, and that of the cell inside."""
    own = layer.name, layer.path[-1] if layer.path else layer.name, layer.class_name
    cell = own_cell(layer)
    return own if cell is None else (*own, cell.class_name)


def own_cell(layer: Layer) -> Layer | None:
    """The cell inside an RNN."""
    cell = layer.config.get("cell") if layer.class_name == "RNN" else None
    return as_layer(cell, where=f"cell of {layer}") if isinstance(cell, dict) and "class_name" in cell else None


class Builder:
    """Takes the ops of a function of the user's, as `fastgru.graph.GraphBuilder` does, within one layer."""

    def __init__(self, layer: Layer, inputs: list[Value], ctx: Context) -> None:
        self._layer, self._ctx = layer, ctx
        self._values = {x.name: x for x in inputs}

    def spec(self, value: str) -> Spec:
        """Return the spec of a value: the shape of its frame, whether it has time, its kind of number."""
        return self._value(value).spec

    def add(self, op: Op | Activation, *inputs: str, name: str | None = None) -> str:
        """Add an op with one output and return that value."""
        return self.add_many(op, *inputs, outputs=1, name=name)[0]

    def add_many(self, op: Op | Activation, *inputs: str, outputs: int, name: str | None = None) -> tuple[str, ...]:
        """Add an op with several outputs and return these values."""
        op = Activate(op) if isinstance(op, Activation) else op
        if not isinstance(op, Op):
            raise ConvertError(f"op of {self._layer} must be a layer of fastgru.layers, got {shortened(op)}")
        name = name or f"{self._layer.name}.{op.kind}"
        values = self._ctx.add_many(op, *map(self._value, inputs), name=name)
        if len(values) != outputs:
            raise ConvertError(f"outputs of {op.kind} in {self._layer} must be {len(values)}, got {outputs}")
        self._values |= {x.name: x for x in values}
        return tuple(x.name for x in values)

    def state(self, initial: Any, name: str | None = None) -> str:
        """Add a value that is kept from step to step, `initial` before the first; `feed` says what it becomes."""
        return self.add(State(np.asarray(initial, np.float32)), name=name)

    def feed(self, state: str, value: str) -> None:
        """Say what a value of `state` is at the next step."""
        self._ctx.emit.feedback[self._value(state).name] = self._value(value).name

    def _value(self, name: Any) -> Value:
        if not isinstance(name, str) or name not in self._values:
            known = ", ".join(self._values)
            raise ConvertError(f"value in {self._layer} must be one of {known}, got {shortened(name)}")
        return self._values[name]


def convert(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value | Later]:
    """A layer that `custom` knows.

    Raises
    ------
    ConvertError
        When the function fails or returns what is no layer.
    """
    function = hook(ctx, *names_of(layer))
    if function is None:
        raise ConvertError(f"{layer} must have a function in {named('custom')}, got none")
    mask = UNKNOWN_MASK if any(x.mask is not None for x in inputs) else None
    cell = own_cell(layer)
    if cell is not None and function is ctx.custom.get(cell.class_name):
        return _of_cell(layer, cell, function, arrays, inputs, ctx)
    return [x.masked(mask) for x in _run(layer, function, (layer.config, arrays), inputs, ctx)]


def _of_cell(
    layer: Layer, cell: Layer, function: Hook, arrays: list[Array], inputs: list[Value], ctx: Context
) -> list[Value | Later]:
    """An RNN whose cell `custom` knows: a step of it, at every step of the model's time; then its last states."""
    given = layer.call.get("initial_state")
    starts = [*inputs[1:], *(given if isinstance(given, list) else [] if given is None else [given])]
    x = inputs[0]
    if not x.timed or not all(isinstance(v, Value) for v in starts):
        raise ConvertError(f"{layer} with a cell of {named('custom')} must read one sequence over the model's time")
    held = may_hold(layer, starts, ctx)
    if starts and not held and x.steps is not None and not ctx.insist:
        raise AcrossTime(f"{layer} must start from a zero state while its time is the model's, got an initial_state")
    mask = None if starts and not keeps_mask(layer, ctx) else step_mask(layer, x)
    if layer.flag("stateful", default=False):
        ctx.stateful.append(layer.name)
    if layer.flag("go_backwards", default=False):
        x = ctx.add(Reverse(), x, name=f"{layer.name}.reversed")
        mask = None if mask is None else turned(mask, ctx, f"{layer.name}.mask")
    builder = CellBuilder(layer, x, ctx, starts, mask, held=held)
    y, *others = _run(layer, function, (cell.config, arrays), [x], ctx, builder)
    if others:
        raise ConvertError(f"custom function of the cell of {layer} must give one value, got {1 + len(others)}")
    builder.check()
    if mask is not None and not layer.flag("zero_output_for_mask", default=False):
        y = builder.carried(y)
    elif mask is not None:
        y = ctx.add(Where(), mask, y, ctx.constant(np.zeros(y.frame), name=f"{layer.name}.zeros"), name=layer.name)
    sequences = layer.flag("return_sequences", default=False)
    ends = builder.ends() if layer.flag("return_state", default=False) else []
    y = y.masked(inputs[0].mask) if sequences else last(y, ctx, layer.name)
    return [y, *(ends_held(layer, y, starts, ends, ctx) if held else ends)]


class CellBuilder(Builder):
    """The builder of a step of a cell: its states start from values where the layer is given some, and skip steps.

    They are counted in the order in which the function asks for them, as the cell lists their sizes. Where the layer
    holds the states that it is given, they start as the function says.
    """

    def __init__(
        self, layer: Layer, x: Value, ctx: Context, starts: list[Value], mask: Value | None, *, held: bool
    ) -> None:
        super().__init__(layer, [x], ctx)
        self._starts, self._mask, self._held = starts, mask, held
        self._reads: dict[str, str] = {}  # what a function reads as a state: the state
        self._ends: dict[str, Value] = {}

    def state(self, initial: Any, name: str | None = None) -> str:
        """Add a value that is kept from step to step; `feed` says what it becomes."""
        array = np.asarray(initial, np.float32)
        number = len(self._reads)
        start = self._starts[number] if number < len(self._starts) else array
        if self._held and isinstance(start, Value):
            if start.frame != array.shape:
                raise ConvertError(f"initial_state of {self._layer} must have shape {array.shape}, got {start.frame}")
            start = array
        read, held = begun(start, array.shape, self._ctx, name or f"{self._layer.name}.state")
        self._values[read.name] = read
        self._reads[read.name] = held
        return read.name

    def feed(self, state: str, value: str) -> None:
        """Say what a value of `state` is at the next step; at a step that is masked it stays."""
        if state not in self._reads:
            raise ConvertError(f"value fed in {self._layer} must be one of state, got {shortened(state)}")
        new = self._value(value)
        if self._mask is not None:
            name = f"{self._layer.name}.kept"
            new = self._ctx.add(Where(), self._mask, new, self._value(state), name=name)
        self._ctx.emit.feedback[self._reads[state]] = new.name
        self._ends[state] = new

    def check(self) -> None:
        """Raise ConvertError where the layer was given other initial states than the cell has."""
        if self._starts and len(self._starts) != len(self._reads):
            raise ConvertError(
                f"initial_state of {self._layer} must have {len(self._reads)} values, got {len(self._starts)}"
            )

    def carried(self, y: Value) -> Value:
        """The output of steps that count, and for others the last one that counts."""
        read = self.state(np.zeros(y.frame), f"{self._layer.name}.output")
        self.feed(read, y.name)
        return self._ends.pop(read)

    def ends(self) -> list[Value]:
        """The last states."""
        return [last(self._ends[s], self._ctx, f"{self._layer.name}.last") for s in self._reads if s in self._ends]


def activation(layer: Layer, name: str, x: Value, ctx: Context) -> Value:
    """An activation that `custom` knows."""
    values = _run(layer, ctx.custom[name], ({"activation": name}, []), [x], ctx)
    if len(values) != 1:
        raise ConvertError(f"custom function of activation {name!r} of {layer} must give one value, got {len(values)}")
    return values[0]


def _run(
    layer: Layer, function: Hook, given: tuple[Any, Any], inputs: list[Value], ctx: Context, own: Builder | None = None
) -> list[Value]:
    builder = own or Builder(layer, inputs, ctx)
    names = [x.name for x in inputs]
    try:
        made = function(*given)
        if callable(made) and not isinstance(made, type | Op | Activation):
            made = made(builder, *names)
            found = [made] if isinstance(made, str) else made
            if not isinstance(found, list | tuple) or not found:
                raise ConvertError(f"builder function of {layer} must return values it added, got {shortened(made)}")
            return [builder._value(name) for name in found]
    except (ConvertError, GraphError):
        raise
    except (Exception, SystemExit) as error:  # whatever the code of a user may raise
        raise ConvertError(f"custom function of {layer} must work, got {type(error).__name__}: {error}") from error
    layers = list(made) if isinstance(made, list | tuple) else [made]
    if not layers or not all(isinstance(item, Op | Activation | Bidirectional) for item in layers):
        raise ConvertError(f"custom function of {layer} must return {EXPECTED}, got {shortened(made)}")
    for i, item in enumerate(layers):
        names = _add(builder, item, names, layer.name if i == len(layers) - 1 else None)
    return [builder._value(name) for name in names]


def _add(builder: Builder, item: Any, names: list[str], name: str | None) -> list[str]:
    """One layer of a list."""
    if not isinstance(item, Bidirectional):
        return [builder.add(item, *names, name=name)]
    both = [builder.add(part, *names) for part in (item.forward, item.backward)]
    return both if item.merge is None else [builder.add(MERGE_OPS[item.merge](), *both, name=name)]
