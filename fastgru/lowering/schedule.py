"""In which order instructions run, which of them once per step, and which buffers may share memory."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..errors import GraphError

Instructions = list[dict[str, Any]]
Span = tuple[int, int]  # from, to before


def written(instruction: dict[str, Any]) -> list[int]:
    """The buffers an instruction writes, in whole or in part."""
    return [instruction["output"], *instruction.get("outputs", [])]


def order(
    instructions: Instructions, states: Iterable[int], has_time: Callable[[int], bool], still: Iterable[int] = ()
) -> tuple[Instructions, list[Span]]:
    """Instructions in the order in which they run, and which of them run step by step: loops that states demand.

    In a loop are those on a way from a state back to a state, and all that read a state's buffer: it holds one step.
    What does not depend on a state runs before, over many steps at once; what only follows from one, after. A state
    that starts from the last step of what follows from another one is in a loop of its own, behind that one's.

    Parameters
    ----------
    states, still : iterable of int
        Buffers of states, and of those that never change.
    has_time : callable
        Whether a buffer has a value for every step.

    Raises
    ------
    GraphError
        When a loop would have to end before it begins.
    """
    states = set(states)
    levels = _levels(instructions, states, has_time, states - set(still))
    ordered: Instructions = []
    loops: list[Span] = []
    for level in range(max(levels, default=0) + 1):
        own = [ins for ins, at in zip(instructions, levels, strict=True) if at == level]
        held = states.intersection(ins["output"] for ins in own if ins["op"] == "store")
        before, loop, behind = _parted(own, held)
        begin = len(ordered) + len(before)
        loops += [(begin, begin + len(loop))] if loop else []
        ordered += [*before, *loop, *behind]
    return ordered, loops


def _levels(
    instructions: Instructions, states: set[int], has_time: Callable[[int], bool], moving: set[int]
) -> list[int]:
    """Behind how many loops each instruction runs: it reads what they give, the last step of it at their end."""
    level: dict[int, int] = {}  # of each buffer
    follows = set(states)  # buffers made of states, step by step
    while True:
        before, found = dict(level), []
        for ins in instructions:
            found.append(at := max((level.get(v, 0) for v in ins["inputs"]), default=0))
            level.update(dict.fromkeys(moving.intersection(ins["inputs"]), at))  # a state is read in its own loop
            depends = not follows.isdisjoint(ins["inputs"])
            for v in written(ins):
                ends = depends and v not in states and not has_time(v) and any(map(has_time, ins["inputs"]))
                level[v] = max(level.get(v, 0), at + ends)
                follows.update([v] if depends and not ends else [])
        if level == before:
            return found
        if max(level.values(), default=0) > len(states):
            raise GraphError("states must not start from the end of what they are a part of")


def _parted(instructions: Instructions, states: set[int]) -> tuple[Instructions, Instructions, Instructions]:
    """Instructions before, inside and behind the loop of these states."""
    dependent, following = set(states), set()
    for i, ins in enumerate(instructions):
        if ins["op"] == "store" or dependent.intersection(ins["inputs"]):
            dependent.update(written(ins))
            following.add(i)
    inside: set[int] = set()
    needed: set[int] = set()
    for i in sorted(following, reverse=True):
        ins = instructions[i]
        if ins["op"] == "store" or states.intersection(ins["inputs"]) or needed.intersection(written(ins)):
            inside.add(i)
            needed.update(ins["inputs"])
    before = [ins for i, ins in enumerate(instructions) if i not in following]
    loop = [ins for i, ins in enumerate(instructions) if i in inside]
    behind = [ins for i, ins in enumerate(instructions) if i in following - inside]
    return before, loop, behind


def slots(instructions: Instructions, sizes: Sequence[int], fixed: Iterable[int], loops: Sequence[Span]) -> list[int]:
    """A slot of memory for every buffer, -1 for those of `fixed`: two share one when they are never alive together."""
    life: dict[int, list[int]] = {}
    for i, ins in enumerate(instructions):
        for v in (*ins["inputs"], *written(ins)):
            life.setdefault(v, [i, i])[1] = i
    for begin, end in loops:
        for span in life.values():
            if span[0] < begin <= span[1]:
                span[1] = max(span[1], end - 1)
            if begin <= span[0] < end <= span[1]:
                span[0] = begin
    result = [-1] * len(sizes)
    kept = set(fixed)
    room: list[int] = []  # the size of each slot
    busy: list[tuple[int, int]] = []  # a heap of the last instruction that needs a slot, and the slot
    free: list[tuple[int, int]] = []  # sizes and slots, in order
    for v in sorted(life, key=lambda v: life[v][0]):
        if v in kept:
            continue
        while busy and busy[0][0] < life[v][0]:
            slot = heapq.heappop(busy)[1]
            bisect.insort(free, (room[slot], slot))
        if free:
            slot = free.pop(_nearest(free, sizes[v]))[1]
            room[slot] = max(room[slot], sizes[v])
        else:
            slot = len(room)
            room.append(sizes[v])
        heapq.heappush(busy, (life[v][1], slot))
        result[v] = slot
    return result


def _nearest(free: Sequence[tuple[int, int]], size: int) -> int:
    """The place of the slot whose size is nearest, the first of equals."""
    above = bisect.bisect_left(free, (size, -1))
    below = bisect.bisect_left(free, (free[above - 1][0], -1)) if above else above
    places = [i for i in (below, above) if i < len(free)]
    return min(places, key=lambda i: (abs(free[i][0] - size), free[i][1]))
