"""Search for the most probable sequences: the best of each length are kept, and go on in rows of one batch.

A sequence that goes on stays in its row where it can, so that the state of a row is copied only for a second sequence
that goes on from it. A prompt whose best sequences can't be beaten any more frees its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._hints import named
from ..engine.choose import Expander
from .chain import Chain, log_probabilities
from .choices import Beam
from .network import Feed
from .prompts import Prompts
from .rows import Stops, _no_choice
from .sources import Source

Ids = NDArray[np.int64]
F64 = NDArray[np.float64]


@dataclass
class Ended:
    """The best sequences of a prompt that have ended, the best first; of equals what came first."""

    most: int
    found: list[tuple[float, Ids, F64]] = field(default_factory=list)

    def add(self, rank: float, ids: Ids, log_p: F64) -> None:
        """Add a sequence where it is among the best."""
        at = next((i for i, item in enumerate(self.found) if rank > item[0]), len(self.found))
        if at < self.most:
            self.found.insert(at, (rank, ids, log_p))
            del self.found[self.most :]

    def beats(self, bound: float) -> bool:
        """True if no sequence of at most this score would change the best ones."""
        return len(self.found) >= self.most and self.found[-1][0] >= bound


class Rows:
    """The sequences that go on, one a row: whose they are, their ids and the logarithms of their probabilities."""

    def __init__(self, count: int, steps: int) -> None:
        self.beams = np.arange(count)
        self.ranks = np.zeros(count, np.int64)  # in their beam, the best first
        self.ids, self.log_p = np.zeros((count, steps), np.int64), np.zeros((count, steps))
        self.sums = np.zeros(count)

    def order(self) -> Ids:
        """Return the rows by beam, and by rank in it."""
        return np.lexsort((self.ranks, self.beams))

    def move(self, parents: Ids, beams: Ids, ranks: Ids, step: int, ids: Ids, log_p: F64, sums: F64) -> None:
        """Go on from rows with an id each."""
        self.ids, self.log_p = self.ids[parents], self.log_p[parents]
        self.ids[:, step], self.log_p[:, step] = ids, log_p
        self.beams, self.ranks, self.sums = beams, ranks, sums


def search(
    source: Source, feed: Feed, chain: Chain, prompts: Prompts, stops: Stops, steps: int, *, probabilities: bool
) -> list[list[tuple[Ids, F64]]]:
    """Return the best sequences of each prompt: ids, and the logarithms of their probabilities."""
    beam: Beam = chain.last  # type: ignore[assignment]
    count, size = len(prompts.inputs), chain.size
    prefixes = _prefixes(beam, count)
    ended = [Ended(beam.n_best) for _ in range(count)]
    expander = Expander(
        size, beam.width, probabilities=probabilities and not chain.functions, normal=not chain.functions
    )
    rows = Rows(count, steps)
    going = list(range(count))  # prompts with sequences that go on
    source.begin(prompts.inputs, 1)
    for step in range(steps):
        y = source.y
        if chain.functions:
            own = log_probabilities(y, probabilities=probabilities)
            tokens = [np.concatenate([prompts.ids[b], rows.ids[r, :step]]) for r, b in enumerate(rows.beams)]
            y = chain.scores(own, tokens)
        enders = _enders(stops, rows, step)
        allowed = _allowed(chain, prefixes, rows.beams, step, enders if step + 1 < beam.min_steps else None)
        order = rows.order()
        wrong = expander.run(y, order, rows.beams, count, rows.sums, allowed, enders)
        if wrong:
            raise _no_choice(-2, int(rows.beams[wrong - 1]), step, chain)
        _collect(ended, beam, rows, expander.ended, step)
        live = expander.rows >= 0
        for b in going:
            if not live[b, 0] and not ended[b].found:
                raise _no_choice(-1, b, step, chain)
            if ended[b].found and not chain.functions:
                bound = _bound(beam, float(expander.totals[b, 0]), step, steps)
                live[b] &= not ended[b].beats(bound)
        going = [b for b in going if live[b, 0]]
        if not going:
            break
        parents, beams, ranks = _placed(expander.rows, live, rows.beams)
        chosen = beams, ranks
        rows.move(parents, beams, ranks, step, expander.ids[chosen], expander.log_p[chosen], expander.totals[chosen])
        if step + 1 == steps:
            for r in rows.order():
                _add(ended, beam, rows, int(r), steps, rows.sums[r])
            break
        if len(parents) != len(source.y) or (parents != np.arange(len(parents))).any():
            source.keep(parents)
        ids = np.ascontiguousarray(rows.ids[:, step])
        source.step(ids if feed.plain else feed(ids))
    return [[(ids, log_p) for _, ids, log_p in each.found] for each in ended]


def _prefixes(beam: Beam, count: int) -> list[tuple[int, ...]]:
    """Return the prefix of each prompt."""
    prefix: Sequence[Any] = beam.prefix
    if not prefix or not isinstance(prefix[0], tuple):
        return [tuple(prefix)] * count
    if len(prefix) != count:
        raise ValueError(f"prefix must be ids for all prompts or a sequence for each of {count}, got {len(prefix)}")
    return list(prefix)


def check(beam: Beam, count: int, steps: int) -> None:
    """Raise ValueError where prefixes are not those of so many prompts and steps."""
    longest = max(map(len, _prefixes(beam, count)), default=0)
    if longest > steps:
        raise ValueError(f"prefix must have at most the {steps} steps asked for, got {longest}")
    if beam.min_steps > steps:
        raise ValueError(f"{named('min_steps')} must be at most the {steps} steps asked for, got {beam.min_steps}")


def _enders(stops: Stops, rows: Rows, step: int) -> NDArray[np.uint8]:
    """Return the ids with which each row ends, (R, V) or (1, V) flags."""
    flags = stops.alone
    for ids in stops.longer:
        before = np.array(ids[:-1])
        if len(before) > step:
            continue
        which = (rows.ids[:, step - len(before) : step] == before).all(axis=1)
        if which.any():
            flags = np.repeat(flags, len(rows.beams), axis=0) if flags is stops.alone else flags
            flags[which, ids[-1]] = 1
    return flags


def _allowed(
    chain: Chain, prefixes: list[tuple[int, ...]], beams: Ids, step: int, not_yet: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    """Return the ids that may follow each row, (R, V) or (1, V) flags."""
    flags = chain.allowed(step)
    flags = np.ones((1, chain.size), np.uint8) if flags is None else flags[None]
    if not_yet is not None:
        flags = flags & (1 - not_yet)
    if any(len(prefix) > step for prefix in prefixes):
        flags = np.array(np.broadcast_to(flags, (len(beams), chain.size)))
        for row, b in zip(flags, beams, strict=True):
            if len(prefixes[b]) > step:
                row[:] = 0
                row[prefixes[b][step]] = 1
    return np.ascontiguousarray(flags)


def _collect(ended: list[Ended], beam: Beam, rows: Rows, found: tuple[Ids, Ids, F64, F64], step: int) -> None:
    """Add the sequences that end at this step."""
    for b, i in zip(*np.nonzero(found[0] >= 0), strict=True):
        r = found[0][b, i]
        ids = np.append(rows.ids[r, :step], found[1][b, i])
        total = float(found[2][b, i])
        ended[b].add(beam.ranked(total, step + 1), ids, np.append(rows.log_p[r, :step], found[3][b, i]))


def _add(ended: list[Ended], beam: Beam, rows: Rows, r: int, steps: int, total: float) -> None:
    """Add a sequence that no stop has ended."""
    ended[rows.beams[r]].add(beam.ranked(float(total), steps), rows.ids[r].copy(), rows.log_p[r].copy())


def _bound(beam: Beam, best: float, step: int, steps: int) -> float:
    """Return the highest score that a sequence with this sum behind a step can still reach: sums only fall."""
    longest = steps if beam.length_penalty > 0 else min(step + 2, steps)
    return beam.ranked(float(best), longest)


def _placed(found: Ids, live: NDArray[np.bool_], beams: Ids) -> tuple[Ids, Ids, Ids]:
    """Place the sequences that go on: the first one from a row stays in it where there are as many rows as before.

    Returns
    -------
    parents, beams, ranks : (R,) arrays
        The old row of each new one, whose it is, and its rank.
    """
    of, ranks = map(np.ascontiguousarray, np.nonzero(live))
    parents = found[of, ranks]
    if len(parents) != len(beams):
        return parents, of, ranks
    first: dict[int, int] = {}
    rest = [i for i, parent in enumerate(parents.tolist()) if first.setdefault(parent, i) != i]
    places = np.array([first[r] if r in first else rest.pop(0) for r in range(len(parents))])
    return parents[places], of[places], ranks[places]
