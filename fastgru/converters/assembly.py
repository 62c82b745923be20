"""The graph of layers that say by name what they read: `like` with its arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

from .._hints import named
from .._names import nearest
from ..errors import ConvertError, GraphError, listed
from ..graph import (
    IRFFT,
    RFFT,
    Activate,
    Bidirectional,
    Dropout,
    Framing,
    Graph,
    GraphBuilder,
    Reshape,
    Reverse,
    Spec,
    TimePad,
    TimePool,
    TimeSoftmax,
    Unary,
)
from .program.builder import Builder
from .program.emit import Emitter

INPUT = "x"
KEEP = (Activate, Dropout, Reverse, TimePad, TimePool, TimeSoftmax, Unary)  # ops whose output has their input's frame


class Composed(NamedTuple):
    """A layer that is several ops, or whose ops depend on the item that it reads.

    Attributes
    ----------
    build : callable
        Adds the ops that read a value to a builder, and returns what they give.
    spec : Spec or None
        Of what it reads where it is the first layer; None where its arrays do not tell.
    """

    build: Callable[[Builder, str], str]
    spec: Spec | None = None


class Part(NamedTuple):
    """A layer, its name, and the names of what it reads; None for the layer before.

    `title` is a further name that others may read it by: that of the stack which it ends.
    """

    layer: Any
    name: str | None
    inputs: tuple[str, ...] | None
    title: str | None = None


def assemble(parts: Sequence[Part]) -> Graph:
    """The graph of `parts` in their order, from one input named ``"x"`` to the output of the last.

    Raises
    ------
    ConvertError
        When a name is unknown or used twice, or the input's size cannot be told.
    GraphError
        When a layer does not fit what it reads.

    Examples
    --------
    >>> from fastgru.layers import Add, TimeReduce
    >>> import numpy as np
    >>> from fastgru.layers import Dense
    >>> fc = Dense(np.ones((3, 3)))
    >>> assemble([Part(fc, "fc", None), Part(Add(), None, ("x", "fc")), Part(TimeReduce("sum"), None, None)])
    Graph([fc: Dense, add: Add, time_reduce: TimeReduce])
    """
    _check_names(parts)
    _check_inputs(parts)
    builder = GraphBuilder()
    before: tuple[str, ...] = (builder.input(INPUT, _input_spec(parts)),)
    known = {INPUT: before}
    for part in parts:
        inputs = before if part.inputs is None else tuple(v for name in part.inputs for v in known[name])
        before = _added(builder, part, inputs)
        known.update((name, before) for name in (part.name, part.title) if name is not None)
    return builder.build(*before)


def _added(builder: GraphBuilder, part: Part, inputs: tuple[str, ...]) -> tuple[str, ...]:
    """The values of a part."""
    if not isinstance(part.layer, Composed):
        return builder.add_layer(part.layer, *inputs, name=part.name)
    title = part.name or "layer"
    if len(inputs) != 1:
        raise ConvertError(f"layer {title!r} must read one value, got {len(inputs)}")
    draft = Draft(title)
    x = draft.emit.input(INPUT, builder.build(*inputs).specs[inputs[0]])
    y = part.layer.build(draft, x)
    needed, known = draft.emit.needed([y], {}), {x: inputs[0]}
    for node in draft.emit.order:
        if node.name in needed:
            own = title if y in node.outputs else f"{title}.{node.op.kind}"
            values = [known[v] for v in node.inputs]
            known.update(zip(node.outputs, builder.add_many(node.op, *values, outputs=1, name=own), strict=True))
    return (known[y],)


class Draft(Builder):
    """A program of one layer, on one input."""

    def __init__(self, name: str) -> None:
        self.name, self.emit = name, Emitter()


def _check_names(parts: Sequence[Part]) -> None:
    counts = Counter(part.name for part in parts if part.name is not None)
    problems = [
        f"name in {named('like')} must be used once, got {name!r} {n} times" for name, n in counts.items() if n > 1
    ]
    if INPUT in counts and any(part.inputs for part in parts):
        problems.append(f"name in {named('like')} must not be {INPUT!r}, which is the input's")
    if problems:
        raise ConvertError(listed(problems))


def _check_inputs(parts: Sequence[Part]) -> None:
    known = {INPUT}
    for part in parts:
        unknown = [name for name in part.inputs or () if name not in known]
        if unknown:
            what = f"inputs of {part.name or type(part.layer).__name__!r} in {named('like')}"
            raise ConvertError(
                f"{what} must be layers before it ({nearest(unknown[0], sorted(known))}), got {', '.join(unknown)}"
            )
        known.update(name for name in (part.name, part.title) if name is not None)


def _input_spec(parts: Sequence[Part]) -> Spec:
    """The spec of the input, from the first layers."""
    for part in parts:
        if part.inputs is not None and part.inputs != (INPUT,):
            break
        spec = _own_spec(part.layer)
        if spec is not None:
            return spec
        if not isinstance(part.layer, (*KEEP, Composed)):
            break
    raise GraphError(
        "layers must have a first that determines the input size, got none that does: begin with a Reshape, which "
        "takes as many features as its shape has elements"
    )


def _own_spec(layer: Any) -> Spec | None:
    if isinstance(layer, Composed):
        return layer.spec
    if isinstance(layer, Reshape):
        return Spec((prod(layer.shape),))
    if isinstance(layer, Framing):
        return Spec(())
    if isinstance(layer, RFFT):
        return Spec((layer.n,))
    if isinstance(layer, IRFFT):
        return Spec((layer.n // 2 + 1, 2))
    spec: Spec | None = layer.input_spec() if not isinstance(layer, Bidirectional) else layer.forward.input_spec()
    return spec
