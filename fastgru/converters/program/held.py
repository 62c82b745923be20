"""States that a source takes and returns: what becomes of their elements, and which layers hold them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..._hints import named
from ..._names import nearest
from ...errors import ConvertError, listed
from ...graph import Concat, Constant, Gather, Op, Reshape, Slice, Spec, Transpose
from ...reference import on_frames
from .emit import Emitter
from .recurrence import told_otherwise
from .values import Array

MOVES = (Reshape, Transpose, Slice, Concat, Gather, Constant)


@dataclass(frozen=True, eq=False, repr=False)
class StandIn(Op):
    """In place of a state that a layer does not return: only while importing, where a state is found to be its own."""

    kind: ClassVar[str] = "stand_in"
    shape: tuple[int, ...]
    owner: str = ""

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (Spec(self.shape, time=False),)


def pairs_given(inputs: Iterable[str], outputs: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the outputs that states become, as a user gives them.

    Raises
    ------
    ConvertError
        Listing what `given` gets wrong.
    """
    known = list(inputs)
    problems = [f"{named('states')} must name inputs ({nearest(n, known)}), got {n!r}" for n in given if n not in known]
    problems += [
        f"{named('states')} must name outputs ({', '.join(outputs)}), got {n!r}"
        for n in given.values()
        if n not in outputs
    ]
    if len(set(given.values())) < len(given):
        problems.append(f"{named('states')} must name every output once, got {dict(given)}")
    if problems:
        raise ConvertError(listed(problems))
    return dict(given)


def moved(emit: Emitter, value: str, known: Mapping[str, Array]) -> Array:
    """Return the numbers of a value's elements, which is made of known ones by moves alone.

    Raises
    ------
    ConvertError
        When it is made otherwise, or has elements of constants.
    """
    order, waiting, read = [], [value], False
    while waiting:
        name = waiting.pop()
        if name in known:
            read = True
            continue
        node = emit.producers.get(name)
        if node is None or not isinstance(node.op, MOVES):
            what = type(node.op).__name__ if node else "an input"
            raise ConvertError(f"{name!r} must only be moved, got {what}")
        order.append(node)
        waiting += node.inputs
    if not read:
        raise ConvertError(f"{value!r} must be elements of a state, got constants")
    found = dict(known)
    for node in reversed(order):
        if node.outputs[0] in found:
            continue
        if isinstance(node.op, Constant) and node.op.dtype == "float":
            found[node.outputs[0]] = np.full(node.op.value.shape, np.nan)  # which no element of a state is
        else:
            found[node.outputs[0]] = on_frames(node.op, *(found[v] for v in node.inputs))[0]
    if np.isnan(found[value]).any():
        raise ConvertError(f"{value!r} must be elements of a state alone, got constants beside them")
    return found[value]


def is_of_states(emit: Emitter, value: str, states: Collection[str]) -> bool:
    """Return True for a value that is made of states by moves alone: a layer that starts from it may hold them."""
    try:
        moved(emit, value, {v: np.zeros(emit.specs[v].shape) for v in states})
    except ConvertError:
        return False
    return True


class Held:
    """The elements of states, each followed through the recurrence that starts from it.

    Every element has a number. A recurrence hands the numbers from its start to its end. Recurrences hold a state where
    each number is started from once, and then comes back from an end to its own place.

    Attributes
    ----------
    numbers : dict of str to array
        Those of the states' values.
    ends : dict of str to array
        Those of the values that recurrences give at their end.
    problems : list of str
        Recurrences that start from something else.
    """

    def __init__(self, emit: Emitter, states: Iterable[str]) -> None:
        self.emit = emit
        self.numbers: dict[str, Array] = {}
        self.ends: dict[str, Array] = {}
        self.layers: dict[str, set[int]] = {}
        self.started: Counter[int] = Counter()  # numbers: how often recurrences start from each
        self.problems: list[str] = []
        count = 0
        for value in states:
            shape = emit.specs[value].shape
            size = int(np.prod(shape))
            self.numbers[value] = np.arange(count, count + size, dtype=np.float64).reshape(shape)
            count += size
        for start in emit.starts:
            try:
                found = moved(emit, start.initial, self.numbers)
            except ConvertError as error:
                self.problems.append(
                    f"initial state of layer {start.layer!r} over time must be elements of a state: {error}"
                )
                continue
            self.ends.update((final, found.reshape(emit.specs[final].shape)) for final in start.finals)
            numbers = [int(n) for n in found.flat]
            self.layers.setdefault(start.layer, set()).update(numbers)
            self.started.update(numbers)

    def comes_back(self, value: str, following: str) -> bool:
        """Return True if a state, started from once, is in its own place in the value that it becomes.

        Raises
        ------
        ConvertError
            When that is made otherwise than by moves of ends, as a state is that is returned as it was.
        """
        own = self.numbers[value]
        found = moved(self.emit, following, self.ends)
        return np.array_equal(found, own) and all(self.started[int(n)] == 1 for n in own.flat)

    def returned(self, values: Sequence[str]) -> dict[str, list[int]]:
        """Return the places in `values` where each state comes back, of those that do."""
        found: dict[str, list[int]] = {}
        for state in self.numbers:
            for place, value in enumerate(values):
                with contextlib.suppress(ConvertError):  # of one that is computed
                    if self.comes_back(state, value):
                        found.setdefault(state, []).append(place)
        return found

    def read_by(self, values: Iterable[str]) -> set[str]:
        """Return the states that values are computed from, themselves or by a `StandIn` for what they become."""
        values = list(values)
        alive = self.emit.needed(values, self.emit.feedback)
        read = set(values).union(*(node.inputs for node in self.emit.order if node.name in alive))
        ops = [self.emit.producers[v].op for v in read if v in self.emit.producers]
        owners = {op.owner for op in ops if isinstance(op, StandIn)}
        return {state for state in self.numbers if state in read or self.holders(state) & owners}

    def holders(self, value: str) -> set[str]:
        """Return the layers that start from elements of a state."""
        own = {int(n) for n in self.numbers[value].flat}
        return {layer for layer, numbers in self.layers.items() if not numbers.isdisjoint(own)}


def final_outputs(emit: Emitter, outputs: Mapping[str, str]) -> list[str]:
    """Return the outputs that are final states of layers over time, all of which the other outputs show.

    The engine keeps these states: a model is as useful without them. All are kept where there are no others.
    """
    ends = [name for name, value in outputs.items() if _is_final(emit, value)]
    if len(ends) == len(outputs):
        return []
    others = [value for name, value in outputs.items() if name not in ends]
    shown = told_otherwise(emit.producers, [outputs[name] for name in ends], others)
    return [name for name in ends if outputs[name] in shown]


def _is_final(emit: Emitter, value: str) -> bool:
    """Return True for a value that is made of final states by moves alone."""
    waiting, found = [value], False
    while waiting:
        name = waiting.pop()
        if name in emit.finals:
            found = True
            continue
        node = emit.producers.get(name)
        if node is None or not isinstance(node.op, MOVES):
            return False
        waiting += node.inputs
    return found
