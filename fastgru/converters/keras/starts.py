"""Layers over time that start from a value: their states lie in State nodes, or are inputs that the layers hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...graph import Recurrent
from ..program.emit import Start
from ..program.held import Held, StandIn, is_of_states
from ..program.recurrence import last_of, looped_alone, reversed_mask, starting
from .values import Array, Context, HeldStates, Later, Layer, Value


def started(
    op: Recurrent, x: Value, states: Sequence[Value], ctx: Context, name: str, mask: Value | None = None
) -> tuple[Value, list[Value]]:
    """All steps of a layer over time, and its last states; it starts from `states`, or without any from zeros."""
    zeros: list[Array] = [np.zeros(size, np.float32) for size in op.carried().values()]
    starts = [s.name for s in states] or zeros
    y, finals = looped_alone(ctx.emit, op, x.name, starts, name, None if mask is None else mask.name)
    return ctx.value(y, x.steps), [ctx.value(v) for v in finals]


def last(x: Value, ctx: Context, name: str) -> Value:
    """The last step of a value that a State has a part in."""
    return ctx.value(last_of(ctx.emit, x.name, name=f"{name}.last"))


def begun(start: Value | Array, shape: Sequence[int], ctx: Context, name: str) -> tuple[Value, str]:
    """Return the value of a state that starts from a value or an array, and the name of the State to feed."""
    held, read = starting(ctx.emit, start.name if isinstance(start, Value) else start, shape, name)
    return ctx.value(read), held


def turned(mask: Value, ctx: Context, name: str) -> Value:
    """A mask of steps in the order of the steps from the last to the first."""
    return ctx.value(reversed_mask(ctx.emit, mask.name, name), mask.steps)


# States that a model takes and returns -----------------------------------------------------------


class NotHeld(Exception):
    """Layers cannot hold `inputs`, from which some of them started: these are given at every call."""

    def __init__(self, inputs: Sequence[str]) -> None:
        super().__init__(", ".join(inputs))
        self.inputs = inputs


def may_hold(layer: Layer, states: Sequence[Value], ctx: Context) -> bool:
    """Return True if a layer starts from inputs of the model and returns its last states, so that it may hold them."""
    returns = bool(states) and layer.flag("return_state", default=False)
    return returns and all(is_of_states(ctx.emit, s.name, ctx.states) for s in states)


def ends_held(
    layer: Layer, y: Value, states: Sequence[Value], ends: Sequence[Value | Later], ctx: Context
) -> list[Value | Later]:
    """Return the last states of a layer with output `y`, which holds its first ones unless `hold_states` objects."""
    return [_end(layer, y, *both, ctx) for both in zip(states, ends, strict=False)]


def _end(layer: Layer, y: Value, state: Value, end: Value | Later, ctx: Context) -> Later:
    own = ctx.add(StandIn(state.frame, layer.name), name=f"{layer.name}.end")
    start = Start(layer.name, state.name, [own.name])
    ctx.emit.starts.append(start)

    def make() -> Value:
        made = end.make() if isinstance(end, Later) else end
        if made.name != y.name:
            start.finals.append(made.name)
        return made

    return Later(make, own)


def hold_states(ctx: Context, outputs: Sequence[str]) -> HeldStates:
    """Return which inputs, and which outputs of a model, layers hold.

    Raises
    ------
    NotHeld
        Where a state does not come back in an output, or the other outputs need it.
    """
    held = Held(ctx.emit, ctx.states)
    layers = {state: ", ".join(sorted(held.holders(state))) for state in ctx.states}
    states = [state for state in ctx.states if layers[state]]
    places = {state: found for state, found in held.returned(outputs).items() if state in states}
    gone = {place for found in places.values() for place in found}
    kept = tuple(i for i in range(len(outputs)) if i not in gone)
    read = held.read_by(outputs[i] for i in kept)
    wrong = [state for state in states if state not in places or state in read or not kept]
    if wrong:
        raise NotHeld(wrong)
    own = {layer: [s for s in states if layers[s] == layer] for layer in layers.values() if layer}
    notes = [
        f"states {', '.join(s)} are held by layer {layer}, and given and returned no more" for layer, s in own.items()
    ]
    return HeldStates({s: str(places[s][0]) for s in states}, kept if states else None, tuple(notes))
