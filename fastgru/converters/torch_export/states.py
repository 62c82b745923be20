"""States that a module takes and returns: which argument belongs to which result, and which layers hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..._hints import option
from ...errors import ConvertError
from ...graph import Add
from ..program.held import StandIn, moved, numbers, pairs_given
from ..program.sizes import Dim
from ..program.values import Array, Tensor, is_time
from ..program.views import in_order
from .call import Call, Session

# Words in a parameter's name by which it tells that it is carried from call to call.
CARRIED = {
    "h", "c", "hx", "cx", "hc", "state", "states", "hidden", "hiddens", "cell", "cache", "caches", "mem", "memory",
    "past", "buffer", "buf", "prev", "previous", "rnn", "lstm", "gru", "history", "hist",
}  # fmt: skip


def is_carried(name: str) -> bool:
    """Whether a parameter's name says that it is a state."""
    words = re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return any(word in CARRIED for word in words)


def is_nameless(name: str) -> bool:
    """Return True for a parameter that has a place alone, one of ``*args``."""
    return name.rpartition(".")[2].isdecimal()


def pair(
    inputs: Mapping[str, tuple[Any, ...]], outputs: Mapping[str, tuple[Any, ...]], given: Mapping[str, str] | None
) -> dict[str, str]:
    """Input to output for every state: `given`, or found by name and shape, in the order in which they come.

    Parameters
    ----------
    inputs, outputs : mapping of str to tuple
        Shapes.

    Raises
    ------
    ConvertError
        Listing what `given` gets wrong.
    """
    if given is not None:
        return pairs_given(inputs, list(outputs), given)
    names = list(inputs)
    carried = [n for n in names[1:] if is_carried(n) or (is_nameless(n) and not any(map(_over_time, inputs[n])))]
    found: dict[str, str] = {}
    for shape in dict.fromkeys(inputs[n] for n in carried):
        own = [n for n in carried if inputs[n] == shape]
        fitting = [n for n, other in outputs.items() if other == shape]
        # Outputs come first and states behind them, so that of several of one shape the last are the states.
        found.update(zip(own, fitting[-len(own) :], strict=False) if len(fitting) >= len(own) else ())
    return found


def _over_time(size: Any) -> bool:
    return isinstance(size, Dim) and any(map(is_time, size.symbols))


# States of layers ----------------------------------------------------------------------------------


def declare(session: Session, value: str, shape: Sequence[int]) -> None:
    """Number the elements of a state that is given to the module."""
    count = sum(a.size for a in session.origins.values())
    session.origins[value] = numbers(shape, count)


def traced(session: Session, value: str, known: Mapping[str, Array]) -> Array | None:
    """The numbers of a value's elements; None where it is not made of numbered ones by moves alone."""
    try:
        return moved(session.emit, value, known)
    except ConvertError:
        return None


def held(call: Call, layer: str, initial: Sequence[str]) -> list[Array] | None:
    """The numbers of the states that a layer starts from, if they are states of the module and it may hold them."""
    if layer in call.session.unfused:
        return None
    numbers = [traced(call.session, value, call.session.origins) for value in initial]
    if any(n is None for n in numbers):
        return None
    found = [n for n in numbers if n is not None]
    call.session.fused[layer] = {int(i) for n in found for i in n.flat}
    return found


def stand_in(call: Call, shape: Sequence[int], owner: str) -> str:
    """A value in place of what a layer (or with no `owner` a cache) becomes; nothing may compute with it."""
    return call.add(StandIn(tuple(shape), owner))


def follow(session: Session, name: str, given: Tensor, following: Tensor) -> str | None:
    """What feeds the State of `given`; None where layers hold it, element for element."""
    call = Call(name, session)
    ordered = in_order(call, following)
    if ordered.sizes() != given.sizes() or ordered.axes != given.axes:
        raise ConvertError(f"state {name!r} must be returned in its shape {given}, got {following}")
    own = session.origins[given.value]
    back = traced(session, ordered.value, session.ends)
    if back is not None and np.array_equal(back, own):
        return None
    layers = [layer for layer, numbers in session.fused.items() if not numbers.isdisjoint(own.flat)]
    session.unfused.update(layers)
    if session.timed:
        raise ConvertError(
            f"state {name!r} must be that of layers over time, where there is a time axis (give "
            f"{option('axes')} without 'T' to take a frame a call instead), got one that is computed otherwise"
        )
    if ordered.spec.time:
        return ordered.value
    return call.add(Add(), ordered.value, call.timed(call.result(call.constant(np.zeros(())), [])).value)
