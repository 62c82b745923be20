"""Calls of a source, and loops that are found among them: what `rolling` reads and gives."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Call:
    """A call of a source: calls of one kind do the same with what they read."""

    kind: Hashable
    reads: tuple[str, ...]
    makes: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One step of a sequence: a value that is element `number` of an axis of `source`; `form` says in which shape."""

    source: str
    axis: int
    number: int
    form: Hashable = None


@dataclass(frozen=True)
class State:
    """A value that each copy of a body hands to the next one.

    Attributes
    ----------
    read, made : str
        Values of the body: what it reads, and what that becomes.
    initial : str or None
        What the first copy reads; None for zeros, which only a proof can tell.
    """

    read: str
    made: str
    initial: str | None


@dataclass
class Loop:
    """A body and its copies.

    Attributes
    ----------
    count : int
        Copies, one for each step.
    backward : bool
        Whether the first copy reads the last step.
    body : list of Call
        In order.
    sequences : dict of str to Step
        Values of the body that are steps.
    states : list of State
    copies : list of dict
        For each copy, in the order of the loop: values of the body to its own; those that it lacks are left out.
    first : dict of str to str
        Values of the body to those of a first copy that is written otherwise, and must be shown to be the same.
    """

    count: int
    backward: bool
    body: list[Call]
    sequences: dict[str, Step]
    states: list[State]
    copies: list[dict[str, str]]
    first: dict[str, str] = field(default_factory=dict)
