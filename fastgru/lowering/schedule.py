"""In which order instructions run, which of them once per step, and which buffers may share memory."""

from __future__ import annotations

import bisect
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from ..errors import GraphError
from .instructions import Attend, Instruction, Reverse, Store
from .kinds import LIMITS

Instructions = list[Instruction]
Span = tuple[int, int]  # from, to before
TRIED = 64  # slots for each buffer: the time of lowering must not grow with the square of ten thousand delays
MOST_LOOPS = LIMITS["max_loops"]  # of states, each of which starts at the end of another


def order(
    instructions: Instructions, states: Sequence[Iterable[int]], levels: Sequence[int]
) -> tuple[Instructions, list[Span]]:
    """Instructions in the order in which they run, and which of them run step by step: loops that states demand.

    In a loop are those on a way from a state back to a state, and all that read a state's buffer: it holds one step.
    What does not depend on a state runs before, over many steps at once; what only follows from one, after. A state
    that starts from the last step of what follows from another one, or counts other steps of it, is in a loop of its
    own, behind that one's.

    Parameters
    ----------
    states : sequence of iterables of int
        Buffers of states, those that count the same steps together: others are in a loop of their own. What reads a
        state that changes has the level of what is stored in it.
    levels : sequence of int
        Of the instructions, as `levels_of` gives them.
    """
    ordered: Instructions = []
    loops: list[Span] = []
    for level in range(max(levels, default=0) + 1):
        rest = [ins for ins, at in zip(instructions, levels, strict=True) if at == level]
        stored = {ins.output for ins in rest if isinstance(ins, Store)}
        together = [held for group in states if (held := stored.intersection(group))]
        for held in together:
            before, loop, behind = _parted(rest, held)
            if len(together) > 1:
                before, behind = _needed(rest, loop)
            begin = len(ordered) + len(before)
            loops += [(begin, begin + len(loop))] if loop else []
            ordered += [*before, *loop]
            rest = behind
        ordered += rest
    return ordered, loops


def _needed(instructions: Instructions, loop: Instructions) -> tuple[Instructions, Instructions]:
    """Return what a loop follows from, and all the others but the loop itself."""
    inside = set(map(id, loop))
    reads = {v for ins in loop for v in ins.inputs}
    before, others = Instructions(), Instructions()
    for ins in reversed(instructions):
        if id(ins) in inside:
            continue
        if reads.isdisjoint(ins.written):
            others.append(ins)
        else:
            reads.update(ins.inputs)
            before.append(ins)
    return before[::-1], others[::-1]


def levels_of(instructions: Instructions, states: Iterable[int], time_of: Callable[[int], int]) -> list[int]:
    """Behind how many loops each instruction runs: it reads what they give, but only when they have ended.

    That is the last step of what a loop gives, or other steps than the loop's own: a window of them, or with some more.

    Parameters
    ----------
    states : iterable of int
        Buffers of states.
    time_of : callable
        The clock of a buffer, 0 where it has no value for every step.

    Raises
    ------
    GraphError
        When there are too many, as there are where a state starts from the end of its own loop.
    """
    states = set(states)
    follows = set(states)  # buffers made of states, step by step
    ends: list[set[int]] = []  # of each instruction the buffers that it fills at the end of the loop of what it reads
    readers: dict[int, list[int]] = {}
    for i, ins in enumerate(instructions):
        made = set(ins.written) if not follows.isdisjoint(ins.inputs) else set()
        clocks = {time_of(v) for v in ins.inputs} - {0}
        whole = isinstance(ins, Reverse | Attend)  # gives its first step when the loop has ended
        ends.append({v for v in made if clocks and v not in states and (whole or clocks != {time_of(v)})})
        follows |= made - ends[i]
        for v in set(ins.inputs):
            readers.setdefault(v, []).append(i)
    level: dict[int, int] = {}  # of each buffer; none rises more than MOST_LOOPS times
    queue = deque(range(len(instructions)))
    queued = set(queue)
    while queue:
        i = queue.popleft()
        queued.remove(i)
        at = max((level.get(v, 0) for v in instructions[i].inputs), default=0)
        for v in instructions[i].written:
            new = at + (v in ends[i])
            if new > MOST_LOOPS:
                raise GraphError(
                    f"loops of states must be at most {MOST_LOOPS} one behind another, and none start from its own end"
                )
            if new > level.get(v, 0):
                level[v] = new
                again = [j for j in readers.get(v, ()) if j not in queued]
                queue.extend(again)
                queued.update(again)
    return [max((level.get(v, 0) for v in ins.inputs), default=0) for ins in instructions]


def _parted(instructions: Instructions, states: set[int]) -> tuple[Instructions, Instructions, Instructions]:
    """Instructions before, inside and behind the loop of these states."""
    dependent, following = set(states), set()
    for i, ins in enumerate(instructions):
        if dependent.intersection(ins.inputs) or states.intersection(ins.written):
            dependent.update(ins.written)
            following.add(i)
    inside: set[int] = set()
    needed: set[int] = set()
    for i in sorted(following, reverse=True):
        ins = instructions[i]
        if states.intersection([*ins.inputs, *ins.written]) or needed.intersection(ins.written):
            inside.add(i)
            needed.update(ins.inputs)
    before = [ins for i, ins in enumerate(instructions) if i not in following]
    loop = [ins for i, ins in enumerate(instructions) if i in inside]
    behind = [ins for i, ins in enumerate(instructions) if i in following and i not in inside]
    return before, loop, behind


def lives(instructions: Instructions, loops: Sequence[Span]) -> dict[int, Span]:
    """From which instruction to which a buffer is needed: all of a loop where it is needed from turn to turn."""
    life: dict[int, Span] = {}
    for i, ins in enumerate(instructions):
        for v in (*ins.inputs, *ins.written):
            life[v] = (life.get(v, (i, i))[0], i)
    for begin, end in loops:
        for v, (first, last) in life.items():
            if first < begin <= last:
                life[v] = (first, max(last, end - 1))
            elif begin <= first < end <= last:
                life[v] = (begin, last)
    return life


def most(life: Mapping[int, Span], sizes: Sequence[int]) -> int:
    """Return the sum of the sizes of what is alive at once where that is most."""
    change: Counter[int] = Counter()
    for v, (first, last) in life.items():
        change[first] += sizes[v]
        change[last + 1] -= sizes[v]
    return max(accumulate(change[at] for at in sorted(change)), default=0)


def slots(life: Mapping[int, Span], sizes: Sequence[Any], fixed: Iterable[int]) -> list[int]:
    """A slot of memory for every buffer, -1 for those of `fixed`: two share one when they are never alive together.

    The largest first, each in the smallest slot that has room and is free as long as it lives: "greedy by size" of
    Pisarchyk and Lee, arXiv:2001.03288.
    """
    result = [-1] * len(sizes)
    tenants: list[list[Span]] = []  # of each slot, in order
    for v in sorted(life.keys() - set(fixed), key=lambda v: (sizes[v], -v), reverse=True):
        for slot in range(len(tenants))[: -TRIED - 1 : -1]:  # the smallest first
            at = bisect.bisect(tenants[slot], life[v])
            before, behind = tenants[slot][at - 1 : at], tenants[slot][at : at + 1]
            if all(span[1] < life[v][0] for span in before) and all(life[v][1] < span[0] for span in behind):
                break
        else:
            slot, at = len(tenants), 0
            tenants.append([])
        tenants[slot].insert(at, life[v])
        result[v] = slot
    return result
