"""In which order instructions run, which of them once per step, and which buffers may share memory."""

from __future__ import annotations

import bisect
import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from ..errors import GraphError
from .instructions import Instruction, Reverse, Store
from .kinds import LIMITS

Instructions = list[Instruction]
Span = tuple[int, int]  # from, to before
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
        whole = isinstance(ins, Reverse)  # gives its first step when the loop has ended
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


def slots(instructions: Instructions, sizes: Sequence[int], fixed: Iterable[int], loops: Sequence[Span]) -> list[int]:
    """A slot of memory for every buffer, -1 for those of `fixed`: two share one when they are never alive together."""
    life: dict[int, list[int]] = {}
    for i, ins in enumerate(instructions):
        for v in (*ins.inputs, *ins.written):
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
