"""States that a model takes and returns: which input belongs to which output, and whose they become."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..._hints import named, option
from ..._names import nearest
from ...errors import ConvertError, listed
from ...graph import Concat, Constant, Gather, Op, Recurrent, Reshape, Slice, Spec, Transpose
from ...reference import on_frames
from ..tensors.emit import Emitter, Start
from .axes import Declared

# Words by which a name tells that its value is carried from call to call.
CARRIED = {
    "h", "c", "hx", "cx", "state", "states", "hidden", "cell", "cache", "caches", "mem", "memory", "past", "buffer",
    "buf", "ctx", "context", "rnn", "lstm", "gru", "hist", "history",
}  # fmt: skip
BEFORE = {"in", "input", "inputs", "old", "prev", "previous", "past", "last", "0", "init", "initial", "cur"}
AFTER = {"out", "output", "outputs", "new", "next", "present", "n", "final", "updated", "t"}


def pair(
    inputs: Mapping[str, Declared], outputs: Mapping[str, Declared], given: Mapping[str, str] | None
) -> dict[str, str]:
    """Input to output for every state: `given`, or found by name, where both have one shape as far as it is fixed.

    Raises
    ------
    ConvertError
        Listing what `given` gets wrong.
    """
    if given is not None:
        problems = [
            f"{named('states')} must name inputs ({nearest(n, inputs)}), got {n!r}" for n in given if n not in inputs
        ]
        problems += [
            f"{named('states')} must name outputs ({', '.join(outputs)}), got {n!r}"
            for n in given.values()
            if n not in outputs
        ]
        if len(set(given.values())) < len(given):
            problems.append(f"{named('states')} must name every output once, got {given}")
        if problems:
            raise ConvertError(listed(problems))
        return dict(given)
    found: dict[str, str] = {}
    for name, value in inputs.items():
        likely = [o for o, other in outputs.items() if _stem(name, BEFORE) & _stem(o, AFTER) and _fits(value, other)]
        if len(likely) == 1 and likely[0] not in found.values():
            found[name] = likely[0]
    return found if len(found) < len(inputs) else {}


def _words(name: str) -> list[str]:
    parted = re.sub(r"([a-z])([A-Z])", r"\1_\2", name)
    words = [w for w in re.split(r"[^A-Za-z0-9]+", parted.lower()) if w]
    return [part for word in words for part in _split(word)]


def _split(word: str) -> list[str]:
    """``hn`` and ``h0`` as two words."""
    match = re.fullmatch(r"(h|c|state)(n|0)", word)
    return list(match.groups()) if match else [word]


def _stem(name: str, ends: set[str]) -> set[tuple[str, ...]]:
    """What is left of a name without the words that say before or after; empty when it does not tell of a state."""
    words = _words(name)
    if not CARRIED.intersection(words) and not any(w.rstrip("0123456789") in CARRIED for w in words):
        return set()
    return {tuple(w for w in words if w not in ends) or tuple(words)}


def _fits(a: Declared, b: Declared) -> bool:
    """Whether the declared shapes can be one."""
    if a.elem != b.elem or a.dims is None or b.dims is None:
        return a.elem == b.elem
    return len(a.dims) == len(b.dims) and all(
        m == n for m, n in zip(a.dims, b.dims, strict=True) if isinstance(m, int) and isinstance(n, int)
    )


# States of recurrences over time --------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class FinalState(Op):
    """The state in which a recurrence over time ends: only while importing, where it leads to a state's output."""

    kind: ClassVar[str] = "final_state"
    size: int

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (Spec((self.size,), time=False),)


MOVES = (Reshape, Transpose, Slice, Concat, Gather, Constant)


class StatesApart(ConvertError):
    """A state over time is none that a layer can hold; it may lie in a State node."""


def absorb(emit: Emitter, pairs: Mapping[str, tuple[str, str]], starts: Iterable[Start]) -> None:
    """Check that states (input to its value and the next one's) are just those of recurrences over time.

    Every element of a state is numbered; recurrences hand their numbers from their start to their end; then each
    must come back to its own place.

    Raises
    ------
    ConvertError
        When one does not.
    """
    numbered: dict[str, Any] = {}
    count = 0
    for value, _ in pairs.values():
        shape = emit.specs[value].shape
        size = int(np.prod(shape))
        numbered[value] = np.arange(count, count + size, dtype=np.float64).reshape(shape)
        count += size
    problems = []
    for start in starts:
        try:
            numbered[start.final] = _moved(emit, start.initial, numbered)
        except ConvertError as error:
            problems.append(f"initial state of layer {start.layer!r} over time must be elements of a state: {error}")
    for name, (value, following) in pairs.items() if not problems else ():
        try:
            back = _moved(emit, following, numbered)
        except ConvertError as error:
            problems.append(
                f"state {name!r} must be that of layers over time, where there is a time axis (fix its size by "
                f"{option('shapes')} to step instead): {error}"
            )
            continue
        if not np.array_equal(back, numbered[value]):
            problems.append(f"state {name!r} must return every element to its place, got another order")
    if problems:
        raise StatesApart(listed(problems))


def _moved(emit: Emitter, value: str, known: Mapping[str, Any]) -> Any:
    """A value that is made of known ones by moves alone, for one row."""
    order, waiting = [], [value]
    while waiting:
        name = waiting.pop()
        if name in known:
            continue
        node = emit.producers.get(name)
        if node is None or not isinstance(node.op, MOVES):
            what = type(node.op).__name__ if node else "an input"
            raise ConvertError(f"{name!r} must only be moved, got {what}")
        order.append(node)
        waiting += node.inputs
    found = dict(known)
    for node in reversed(order):
        if node.outputs[0] not in found:
            found[node.outputs[0]] = on_frames(node.op, *(found[v] for v in node.inputs))[0]
    return found[value]


def ends_only(emit: Emitter, value: str) -> bool:
    """Whether a value is made of the final states of layers over time by moves alone."""
    waiting, ends = [value], 0
    while waiting:
        name = waiting.pop()
        node = emit.producers.get(name)
        if node is None or name in emit.lasts:
            return False
        if isinstance(node.op, FinalState) or (isinstance(node.op, Recurrent) and not node.op.return_sequences):
            ends += 1
        elif isinstance(node.op, MOVES):
            waiting += node.inputs
        else:
            return False
    return ends > 0
