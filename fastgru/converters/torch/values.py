"""Values of a traced module: what op made them, from which values, and the order of their axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...errors import ConvertError
from ...graph import (
    Activate,
    Add,
    Bidirectional,
    Concat,
    Dropout,
    Embedding,
    Graph,
    GraphBuilder,
    Multiply,
    Op,
    Recurrent,
    Reverse,
    Spec,
)
from .layers import Layers

Index = Sequence[Any]


@dataclass(eq=False)
class Value:
    """A tensor of the traced module.

    Attributes
    ----------
    op : Op or None
        What computes it; None for the module's input.
    inputs : tuple of Value
    name : str
    layout : str
        Its axes in PyTorch's order: B batch, T time, F features, e.g. ``"TBF"``.
    """

    op: Op | None
    inputs: tuple[Value, ...]
    name: str
    layout: str
    ends: dict[str, Value] = field(default_factory=dict, repr=False)

    def to(self, layout: str) -> Value:
        """The same value seen with its axes in another order."""
        if layout == self.layout:
            return self
        if layout not in self.ends:
            self.ends[layout] = Value(self.op, self.inputs, self.name, layout, self.ends)
        return self.ends[layout]

    def last(self) -> Value:
        """The value at the last step: ``y[:, -1]`` moved into the recurrence that it comes from."""
        if "last" not in self.ends:
            if self.op is None or "T" not in self.layout:
                raise ConvertError("a step must be taken of a recurrent layer's output, got one of the input")
            if not isinstance(self.op, Recurrent | Reverse):
                self.ends["last"] = Value(self.op, tuple(v.last() for v in self.inputs), self.name, "BF")
            elif not self.op.streamable:
                raise ConvertError(
                    f"last step of {self.name!r} must be of a forward layer, got a backward one, which has seen only "
                    "one step there: use its final state, torch.cat((h[-2], h[-1]), -1)"
                )
            else:
                self.ends["last"] = self.final()
        return self.ends["last"].to(self.layout.replace("T", ""))

    def recurrent(self) -> Recurrent:
        """The op, which must be a recurrent one."""
        if not isinstance(self.op, Recurrent):
            raise ConvertError(f"value must be a recurrent layer's output, got one of {type(self.op).__name__}")
        return self.op

    def final(self) -> Value:
        """The final hidden state of the recurrence that makes this value, in its own direction."""
        if "final" not in self.ends:
            op = self.recurrent().replace(return_sequences=False)
            self.ends["final"] = Value(op, self.inputs, self.name, "BF")
        return self.ends["final"]


@dataclass(eq=False)
class States:
    """The state h of a recurrent module, (layers * directions, B, R), as the values it is the end of."""

    values: list[Value]

    def take(self, index: int) -> Value:
        """One layer's and direction's final state."""
        if not -len(self.values) <= index < len(self.values):
            raise ConvertError(f"index of a state must be below {len(self.values)}, got {index}")
        return self.values[index].final()


@dataclass(eq=False)
class Ignored:
    """A value that only the engine's own state replaces: a cell state, zeros, an initial state."""

    what: str


def run_layers(layers: Layers, x: Value, name: str) -> tuple[Value, States]:
    """The output and the states of a stack of recurrent layers over `x`."""
    states = []
    for suffix, layer in layers:
        stem = name + suffix
        if isinstance(layer, Bidirectional):
            ahead = Value(layer.forward, (x,), f"{stem}.forward", x.layout)
            back = Value(layer.backward, (x,), f"{stem}.backward", x.layout)
            states += [ahead, back]
            x = Value(Concat(), (ahead, back), stem, x.layout)
        else:
            x = Value(layer, (x,), stem, x.layout)
            states.append(x)
    return x, States(states)


def _ordered(outputs: Iterable[Value]) -> list[Value]:
    """Every value that the outputs need, inputs first, those that differ only in layout once."""
    done: dict[int, Value] = {}
    order: list[Value] = []
    stack = [(value, False) for value in reversed(list(outputs))]
    while stack:
        value, ready = stack.pop()
        if ready:
            order.append(value)
        elif _key(value) not in done:
            done[_key(value)] = value
            stack.append((value, True))
            stack.extend((v, False) for v in reversed(value.inputs))
    return order


def _key(value: Value) -> int:
    return id(value.ends)  # shared by the views that `to` makes


def _input_spec(order: list[Value]) -> Spec:
    """The spec of the input: from the first op that determines it through ops that keep the size."""
    same: set[int] = set()
    for value in order:
        if value.op is None:
            same.add(_key(value))
        elif value.inputs and _key(value.inputs[0]) in same:
            spec = value.op.input_spec()
            if spec is not None:
                return spec
            if isinstance(value.op, Activate | Dropout | Add | Multiply | Reverse):
                same.add(_key(value))
    raise ConvertError("module must have a layer that determines the input size, got none")


class Built(NamedTuple):
    """A graph, and what the values that it was made of are called in it."""

    graph: Graph
    names: dict[int, str]

    def name(self, value: Value) -> str | None:
        """The name of a value, None where the graph does without."""
        return self.names.get(_key(value))


def build_graph(root: Value, outputs: Sequence[Value]) -> Built:
    """The graph of everything that the outputs need. Its input always has time: rows are a frame each.

    Raises
    ------
    ConvertError
        When the input is not used or its size is not determined.
    GraphError
        When sizes do not fit.
    """
    order = _ordered(outputs)
    if not any(value.op is None for value in order):
        raise ConvertError("output must depend on the input, got one that does not")
    spec = _input_spec(order)
    builder = GraphBuilder()
    names = {_key(root): builder.input("x", Spec(spec.shape, True, spec.dtype))}
    for value in order:
        if value.op is not None:
            names[_key(value)] = builder.add(value.op, *(names[_key(v)] for v in value.inputs), name=value.name)
    return Built(builder.build(*(names[_key(value)] for value in outputs)), names)


def require_layout(value: Value, allowed: Sequence[str], what: str) -> None:
    """Raise unless the axes of `value` are in one of the orders."""
    if value.layout not in allowed:
        expected = " or ".join(", ".join(layout) for layout in allowed)
        raise ConvertError(f"axes of {what} must be {expected}, got {', '.join(value.layout)}")


def embed(op: Embedding, ids: Value, name: str) -> Value:
    """Look up ids: the features come last."""
    require_layout(ids, ("BT", "TB"), f"the ids that {name!r} looks up")
    return Value(op, (ids,), name, ids.layout + "F")
