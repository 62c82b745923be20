"""States that a source takes and returns: which input belongs to which output, and what becomes of their elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..._hints import named
from ..._names import nearest
from ...errors import ConvertError, listed
from ...graph import Concat, Constant, Gather, Op, Reshape, Slice, Spec, Transpose
from ...reference import on_frames
from .emit import Emitter
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


def numbers(shape: Sequence[int], begin: int) -> Array:
    """Return a number for each element of a state, from `begin` on."""
    return np.arange(begin, begin + int(np.prod(shape)), dtype=np.float64).reshape(tuple(shape))


def moved(emit: Emitter, value: str, known: Mapping[str, Array]) -> Array:
    """Return the numbers of a value's elements, which is made of known ones by moves alone.

    Raises
    ------
    ConvertError
        When it is made otherwise, or of constants alone.
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
        if node.outputs[0] not in found:
            found[node.outputs[0]] = on_frames(node.op, *(found[v] for v in node.inputs))[0]
    return found[value]
