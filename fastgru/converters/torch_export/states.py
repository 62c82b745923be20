"""States that a module takes and returns: which argument belongs to which result, and which layers hold them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..._hints import option
from ...errors import ConvertError
from ...graph import Add
from ..program.emit import Start
from ..program.held import Held, StandIn, is_of_states, pairs_given
from ..program.sizes import Dim
from ..program.values import Tensor, is_time
from ..program.views import in_order
from .call import Call, Session

# Words in a parameter's name by which it tells that it is carried from call to call.
CARRIED = {
    "h", "c", "hx", "cx", "hc", "state", "states", "hidden", "hiddens", "cell", "cache", "caches", "mem", "memory",
    "past", "buffer", "buf", "prev", "previous", "rnn", "lstm", "gru", "history", "hist",
}  # fmt: skip


def is_carried(name: str) -> bool:
    """Return True if a parameter's name says that it is a state."""
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


def may_hold(call: Call, layer: str, initial: Sequence[str]) -> bool:
    """Return True if a layer starts from states of the module, which it may hold unless it is known not to."""
    session = call.session
    return layer not in session.unfused and all(is_of_states(call.emit, v, session.states) for v in initial)


def hold(call: Call, layer: str, initial: str, final: str) -> None:
    """Say that a layer (or with no name a cache) starts from a value, and that another one stands for its end."""
    call.emit.starts.append(Start(layer, initial, [final]))


def stand_in(call: Call, shape: Sequence[int], owner: str) -> str:
    """Add a value in place of what a layer (or with no `owner` a cache) becomes; nothing may compute with it."""
    return call.add(StandIn(tuple(shape), owner))


def follow(session: Session, held: Held, name: str, given: Tensor, following: Tensor) -> str | None:
    """Return the value that feeds the State of `given`; None where layers hold it, element for element."""
    call = Call(name, session)
    ordered = in_order(call, following)
    if ordered.sizes() != given.sizes() or ordered.axes != given.axes:
        raise ConvertError(f"state {name!r} must be returned in its shape {given}, got {following}")
    with contextlib.suppress(ConvertError):  # of one that is computed otherwise
        if held.comes_back(given.value, ordered.value):
            return None
    session.unfused.update(held.holders(given.value))
    if session.timed:
        raise ConvertError(
            f"state {name!r} must be that of layers over time, where there is a time axis (give "
            f"{option('axes')} without 'T' to take a frame a call instead), got one that is computed otherwise"
        )
    if ordered.spec.time:
        return ordered.value
    return call.add(Add(), ordered.value, call.timed(call.result(call.constant(np.zeros(())), [])).value)
