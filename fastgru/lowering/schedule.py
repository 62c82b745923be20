"""In which order instructions run, which of them once per step, and which buffers may share memory."""

from __future__ import annotations

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
    behind = [ins for i, ins in enumerate(instructions) if i in following - inside]
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
    room: list[list[int]] = []  # of each slot: the last instruction that needs it, and its size
    for v in sorted(life, key=lambda v: life[v][0]):
        if v in kept:
            continue
        free = [s for s, (last, _) in enumerate(room) if last < life[v][0]]
        if free:
            best = min(free, key=lambda s: abs(room[s][1] - sizes[v]))
            room[best] = [life[v][1], max(room[best][1], sizes[v])]
        else:
            best = len(room)
            room.append([life[v][1], sizes[v]])
        result[v] = best
    return result
