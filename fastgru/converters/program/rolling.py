"""Recurrences that a source wrote out step by step, found again in the list of its calls.

The order of the calls does not count, nor do their names. What counts is which step of a sequence a call depends on:
calls that depend on step t and on none behind it belong to copy t of the body. Copy 1 is the body, for copy 0 may be
simpler than the others (zeros to start from leave out products) and the last one may lack what only a further step
would read. What the body reads of the copy before are its states. It is then replayed: every other copy must have a
call that does the same with what its own copy and the states give, or the calls are no loop.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from .calls import Call, Loop, Step
from .copies import Search

MODELS = (1, 3)  # copies that are taken for the body, in turn: the first reads no state of two steps before
FEWEST = 3  # steps of a loop: of fewer, channels and the parts of complex numbers are mistaken for steps
MOST_COUNTS = 8  # numbers of steps that are looked at, the largest first


class Unrolled:
    """Calls, each of which is there once, in an order in which they can run.

    Parameters
    ----------
    calls : sequence of Call
    steps : mapping of str to Step
        Values that are steps of sequences, which may be made by calls or not.
    """

    def __init__(self, calls: Sequence[Call], steps: Mapping[str, Step]) -> None:
        self.calls, self.steps = calls, steps
        self.table = {(call.kind, call.reads): call for call in calls}
        self.makers = {value: call for call in calls for value in call.makes}
        self.by_step = {step: value for value, step in steps.items()}

    def find(self, lengths: Mapping[tuple[str, int], int], *, stateless: Iterable[str] = ()) -> Iterator[list[Loop]]:
        """Find loops over sequences that no other loop has to run for first, in several ways.

        Parameters
        ----------
        lengths : mapping of (value, axis) to int
            Steps of axes where that is known.
        stateless : iterable of str
            Sequences over which also a body without states is a loop.
        """
        numbers: dict[tuple[str, int], set[int]] = defaultdict(set)
        for step in self.steps.values():
            numbers[step.source, step.axis].add(step.number)
        whole = {
            key: max(found) + 1 for key, found in numbers.items()
            if lengths.get(key, max(found) + 1) == len(found) == max(found) + 1 >= FEWEST
        }  # fmt: skip
        behind = self._behind(whole)
        counts = sorted({n for (source, _), n in whole.items() if source not in behind})[::-1][:MOST_COUNTS]
        alone = set(stateless)
        for model, count, backward in product(MODELS, counts, (False, True)):
            if count >= FEWEST + model - 1:
                group = {key for key, n in whole.items() if n == count and key[0] not in behind}
                yield Search(self, group, count, backward, model).loops()
        for count in counts:
            group = {key for key, n in whole.items() if n == count and key[0] in alone and key[0] not in behind}
            yield Search(self, group, count, False).without_states()

    def _behind(self, whole: Mapping[tuple[str, int], int]) -> set[str]:
        """Values that depend on a step of a sequence."""
        found = {v for v, step in self.steps.items() if (step.source, step.axis) in whole}
        for call in self.calls:
            if not found.isdisjoint(call.reads):
                found.update(call.makes)
        return found
