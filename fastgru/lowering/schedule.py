"""In which order instructions run, which of them once per step, and which buffers may share memory."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterable, Sequence
from typing import Any

Instructions = list[dict[str, Any]]


def written(instruction: dict[str, Any]) -> list[int]:
    """The buffers an instruction writes, in whole or in part."""
    return [instruction["output"], *instruction.get("outputs", [])]


def order(instructions: Instructions, states: Iterable[int]) -> tuple[Instructions, int, int]:
    """Instructions before, inside and after the loop over steps that states demand, and where that begins and ends.

    Inside are those on a way from a state back to a state, and all that read a state's buffer: it holds one step.
    What does not depend on a state runs before, over many steps at once; what only follows from one, after.
    """
    states = set(states)
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
    rest = following - inside
    behind = [ins for i, ins in enumerate(instructions) if i in rest]
    return [*before, *loop, *behind], len(before), len(before) + len(loop)


def slots(instructions: Instructions, sizes: Sequence[int], fixed: Iterable[int], begin: int, end: int) -> list[int]:
    """A slot of memory for every buffer, -1 for those of `fixed`: two share one when they are never alive together."""
    life: dict[int, list[int]] = {}
    for i, ins in enumerate(instructions):
        for v in (*ins["inputs"], *written(ins)):
            life.setdefault(v, [i, i])[1] = i
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
