"""The copies of a loop's body that a source has step by step, aligned call by call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from .calls import Call, Loop, State, Step

ENDING = 2  # copies at the end that may lack what only further ones would read


class Program(Protocol):
    """Calls in order, each there once."""

    calls: Sequence[Call]
    steps: Mapping[str, Step]  # values that are steps of sequences
    table: dict[tuple[Hashable, tuple[str, ...]], Call]  # calls by what they do and read
    makers: dict[str, Call]
    by_step: dict[Step, str]


class Search:
    """The loops over sequences of `count` steps, read from the first one on or from the last one back."""

    def __init__(
        self, program: Program, group: set[tuple[str, int]], count: int, backward: bool, model: int = 1
    ) -> None:
        self.program, self.count, self.backward = program, count, backward
        self.model = model  # the copy that is taken for the body
        self.levels: dict[str, int] = {}  # of values: the copy that they belong to; none for those outside
        self.steps = {v: step for v, step in program.steps.items() if (step.source, step.axis) in group}
        for value, step in self.steps.items():
            self.levels[value] = count - 1 - step.number if backward else step.number
        self.looks: dict[Hashable, int] = {}
        self.at: dict[int, list[Call]] = defaultdict(list)
        for call in program.calls:
            level = max((self.levels.get(v, -1) for v in call.reads), default=-1)
            if level >= 0 and call.makes[0] not in self.levels:
                self.levels.update(dict.fromkeys(call.makes, level))
                self.at[level].append(call)

    def loops(self) -> list[Loop]:
        """Loops with states, none of which reads another one's."""
        pairs = self._pairs()
        following = self._following(pairs)
        paired = {call.makes[0] for call, _ in pairs}
        ends = _ancestors(self.at[self.model], following.values())  # the last copies may lack them
        body = [call for call in self.at[self.model] if call.makes[0] in paired or call.makes[0] in ends]
        copies = self._replayed(body, following)
        body, following = self._whole(body, following, copies)
        found = []
        for part, own in self._parted(body, following):
            loop = self._loop(part, own)
            if loop is not None:
                found.append(loop)
        return found

    def without_states(self) -> list[Loop]:
        """One loop of what every step is made into by itself."""
        body = [call for call, _ in self._pairs() if all(self.levels.get(v, -1) != 0 for v in call.reads)]
        copies = self._replayed(body, {})
        body = [call for call in body if all(call.makes[0] in copy for copy in copies[self.model + 1 :])]
        if not body:
            return []
        loop = Loop(self.count, self.backward, body, self._sequences(body, {}), [], self._replayed(body, {}))
        loop.copies[0] = self._copy(0, body, {}, {})
        return [loop] if all(call.makes[0] in copy for call in body for copy in loop.copies) else []

    # The body --------------------------------------------------------------------------------------

    def _pairs(self) -> list[tuple[Call, Call]]:
        """The calls of the body with those of the next copy that do the same, but for what they read of others."""
        known: dict[Hashable, list[Call]] = defaultdict(list)
        for call, look in self._looks(self.model + 1):
            known[look].append(call)
        return [(call, known[look][0]) for call, look in self._looks(self.model) if len(known.get(look, ())) == 1]

    def _looks(self, level: int) -> list[tuple[Call, int]]:
        """Return a number that is the same for calls of this copy and others that do the same."""
        looks: dict[str, Hashable] = {}
        found = []
        for call in self.at[level]:
            reads: list[Hashable] = []
            for v in call.reads:
                own, step = self.levels.get(v, -1), self.steps.get(v)
                if own == level and step is not None:
                    reads.append((step.source, step.axis, step.form))
                else:
                    reads.append(looks[v] if own == level else v if own < 0 else level - own)
            look = self.looks.setdefault((call.kind, tuple(reads)), len(self.looks))
            looks.update((v, (look, i)) for i, v in enumerate(call.makes))
            found.append((call, look))
        return found

    def _following(self, pairs: Iterable[tuple[Call, Call]]) -> dict[str, str]:
        """Values of copies before that the body reads, and those that the next copy reads in their places."""
        found: dict[str, str] = {}
        for call, later in pairs:
            for v, w in zip(call.reads, later.reads, strict=True):
                if 0 <= self.levels.get(v, -1) < self.model and self.levels.get(w) == self.levels[v] + 1:
                    found.setdefault(v, w)
        for w in list(found.values()):  # what only the copy after the next one reads is handed on
            while self.levels[w] < self.model and w not in found and (after := self._alike(w)) is not None:
                found[w] = w = after
        return {v: w for v, w in found.items() if self.levels[w] == self.model or w in found}

    def _alike(self, value: str) -> str | None:
        """The value of the next copy that is made as one of a copy before the body."""
        level, call = self.levels[value], self.program.makers.get(value)
        if value in self.steps:
            step = self.steps[value]
            return self.program.by_step.get(replace(step, number=step.number + (-1 if self.backward else 1)))
        look = next((look for each, look in self._looks(level) if each is call), None)
        found = [each for each, other in self._looks(level + 1) if other == look]
        return found[0].makes[call.makes.index(value)] if call is not None and len(found) == 1 else None

    def _replayed(self, body: Sequence[Call], following: Mapping[str, str]) -> list[dict[str, str]]:
        """The copies from the body on: its values to their own."""
        first = {v: v for call in body for v in call.reads if self.levels.get(v, -1) == self.model}
        first.update((v, v) for call in body for v in call.makes)
        first.update((w, w) for w in following.values())
        copies: list[dict[str, str]] = [*({} for _ in range(self.model)), first]
        for t in range(self.model + 1, self.count):
            copies.append(self._copy(t, body, following, copies[-1]))
        return copies

    def _copy(
        self, t: int, body: Sequence[Call], following: Mapping[str, str], before: Mapping[str, str]
    ) -> dict[str, str]:
        """Copy t, behind another one."""
        found: dict[str, str] = {}
        for v, w in following.items():
            if w in before:
                found[v] = before[w]
        for call in body:
            for v in call.reads:
                self._own_step(v, t, found)
            reads = [v if self.levels.get(v, -1) < 0 else found.get(v) for v in call.reads]
            own = self.program.table.get((call.kind, tuple(reads))) if None not in reads else None  # type: ignore[arg-type]
            if own is not None:
                found.update(zip(call.makes, own.makes, strict=True))
        for w in following.values():
            self._own_step(w, t, found)
        return found

    def _own_step(self, value: str, t: int, found: dict[str, str]) -> None:
        """Note what a step that the body reads is in copy t."""
        step = self.steps.get(value)
        if step is not None and value not in found and self.levels.get(value) == self.model:
            number = self.count - 1 - t if self.backward else t
            own = self.program.by_step.get(Step(step.source, step.axis, number, step.form))
            if own is not None:
                found[value] = own

    def _whole(
        self, body: Sequence[Call], following: Mapping[str, str], copies: Sequence[Mapping[str, str]]
    ) -> tuple[list[Call], dict[str, str]]:
        """The calls that every copy but the first and the last has, and belong to a recurrence; and its states."""
        kept = [call for call in body if all(call.makes[0] in copy for copy in copies[self.model + 1 : -ENDING])]
        made = {v: call for call in kept for v in call.makes}
        while True:
            states = {v: w for v, w in following.items() if w in made or w in self.steps or w in following}
            known = {*states, *made, *(v for v in self.steps if self.levels[v] == self.model)}
            usable = [call for call in kept if all(v in known or self.levels.get(v, -1) < 0 for v in call.reads)]
            if len(usable) == len(kept):
                break
            kept = usable
            made = {v: call for call in kept for v in call.makes}
        read = {v for call in kept for v in call.reads}
        read |= {w for v, w in states.items() if v in read}
        states = {v: w for v, w in states.items() if v in read}
        needed = _ancestors(kept, states.values())
        touched = set(states)
        for call in kept:
            if call.makes[0] in needed or not touched.isdisjoint(call.reads):
                touched.update(call.makes)
        needed |= _ancestors(kept, touched)
        return [call for call in kept if call.makes[0] in needed], states

    def _parted(self, body: Sequence[Call], states: Mapping[str, str]) -> Iterable[tuple[list[Call], dict[str, str]]]:
        """Parts of a body that share no value which they make."""
        roots: dict[str, str] = {}

        def root(v: str) -> str:
            while roots.setdefault(v, v) != v:
                roots[v] = roots[roots[v]]
                v = roots[v]
            return v

        for call in body:
            inner = [v for v in call.reads if v in states or (self.levels.get(v) == self.model and v not in self.steps)]
            for v in (*inner, *call.makes[1:]):
                roots[root(v)] = root(call.makes[0])
        for v, w in states.items():
            if w not in self.steps or w in states:
                roots[root(v)] = root(w)
        parts: dict[str, tuple[list[Call], dict[str, str]]] = {}
        for call in body:
            parts.setdefault(root(call.makes[0]), ([], {}))[0].append(call)
        for v, w in states.items():
            if root(v) in parts:
                parts[root(v)][1][v] = w
        return [(calls, own) for calls, own in parts.values() if own]

    # A loop ----------------------------------------------------------------------------------------

    def _loop(self, body: list[Call], states: dict[str, str]) -> Loop | None:
        copies = self._replayed(body, states)
        for deep in (True, False):
            natural = self._carried(body, states, copies, deep)
            if natural is not None and (deep or self._start(*natural)[1]):
                body, states = natural
                copies = self._replayed(body, states)
                break
        if any(call.makes[0] not in copy for call in body for copy in copies[self.model + 1 : -ENDING]):
            return None
        initial, same = self._start(body, states)
        before = {states[v]: w for v, w in initial.items()}
        for t in range(self.model if same else 0):
            before = copies[t] = self._copy(t, body, states, before)
            same &= all(call.makes[0] in before for call in body)
        if not same:
            copies[0] = {}
        loop = Loop(self.count, self.backward, body, self._sequences(body, states),
                    [State(v, w, initial.get(v)) for v, w in states.items()], copies)  # fmt: skip
        loop.first = {} if same else {w: v for v, w in states.items()}
        return loop if same or self.model == 1 else None

    def _sequences(self, body: Sequence[Call], states: Mapping[str, str]) -> dict[str, Step]:
        """The steps that a body reads or hands on."""
        values = dict.fromkeys([*(v for call in body for v in call.reads), *states.values()])
        return {v: self.steps[v] for v in values if self.levels.get(v) == self.model and v in self.steps}

    def _carried(
        self, body: Sequence[Call], states: Mapping[str, str], copies: Sequence[Mapping[str, str]], deep: bool
    ) -> tuple[list[Call], dict[str, str]] | None:
        """Give the next copy what is only made for it: a product with a state belongs where it is read.

        The last copy tells: it lacks what no copy reads any more. Where it lacks the state itself, only what is made
        of a state by one call is moved (not `deep`).
        """
        last, makers = copies[-1], {v: call for call in body for v in call.makes}
        ends = set(states.values())
        moved: dict[str, Call] = {}
        for call in body:
            if call.makes[0] in last:
                continue
            inner = [v for v in call.reads if self.levels.get(v, -1) >= 0]
            if (
                inner and all(v in moved or (v in makers and v in last) for v in inner)
                if deep
                else (len(inner) == 1 and inner[0] in makers and not ends.isdisjoint(call.makes))
            ):
                moved.update(dict.fromkeys(call.makes, call))
        kept = {v: w for v, w in states.items() if w not in moved}
        before: list[Call] = []
        seen: set[str] = set()
        waiting = [(w, v) for v, w in states.items() if w in moved]
        if not waiting:
            return None
        while waiting:
            w, v = waiting.pop()
            call, own = moved[w], self.program.makers.get(v)
            if own is None or own.kind != call.kind or own.makes.index(v) != call.makes.index(w):
                return None
            if own.makes[0] in seen:
                continue
            seen.add(own.makes[0])
            before.append(own)
            for a, b in zip(call.reads, own.reads, strict=True):
                if a in moved:
                    waiting.append((a, b))
                elif self.levels.get(a, -1) < 0:
                    if a != b:
                        return None
                elif kept.setdefault(b, a) != a:
                    return None
        order = {id(call): i for i, call in enumerate(self.program.calls)}
        before.sort(key=lambda call: order[id(call)])
        return [*before, *(call for call in body if call.makes[0] not in moved)], kept

    def _start(self, body: Sequence[Call], states: Mapping[str, str]) -> tuple[dict[str, str], bool]:
        """Return what the first copy reads for each state, and whether the body makes all before it alike."""
        reads, same = {v: v for v in states}, True
        for t in range(self.model - 1, -1, -1):
            made = {states[v]: own for v, own in reads.items()}
            reads, fits = self._before(t, body, states, made)
            same &= fits and len(reads) == len(states)
        latest = max((self.levels.get(own, -1) for own in reads.values()), default=-1)
        if same and latest <= 0:  # from values outside of the loop, or made of the first step
            return reads, True
        return {v: own for v, own in reads.items() if self.levels.get(own, -1) < 0}, False

    def _before(
        self, t: int, body: Sequence[Call], states: Mapping[str, str], made: Mapping[str, str]
    ) -> tuple[dict[str, str], bool]:
        """Return what copy t reads for each state if it makes these values of the body, and whether alike."""
        makers = {v: call for call in body for v in call.makes}
        known: dict[str, str] = {}
        waiting = list(made.items())
        same = True
        while waiting:
            a, b = waiting.pop()
            if a in known:
                same &= known[a] == b
                continue
            known[a] = b
            if a in states:
                continue
            if a in makers:
                call, own = makers[a], self.program.makers.get(b)
                if own is None or own.kind != call.kind or own.makes.index(b) != call.makes.index(a):
                    same = False
                else:
                    waiting += zip(call.reads, own.reads, strict=True)
            elif self.levels.get(a, -1) < 0:
                same &= a == b
            else:
                found: dict[str, str] = {}
                self._own_step(a, t, found)
                same &= found.get(a) == b
        return {v: known[v] for v in states if v in known}, same


def _ancestors(calls: Sequence[Call], values: Iterable[str]) -> set[str]:
    """The first values of the calls that values depend on."""
    waiting, found = set(values), set()
    for call in reversed(calls):
        if not waiting.isdisjoint(call.makes):
            waiting.update(call.reads)
            found.add(call.makes[0])
    return found
