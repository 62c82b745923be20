"""Search for the most probable sequences: the best of each length are kept, and go on in rows of one batch.

A sequence that goes on stays in its row where it can (`engine.beams`), so that the state of a row is copied only for a
second sequence that goes on from it. A prompt whose best sequences can't be beaten any more frees its rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._hints import named
from ..engine.beams import Beams
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

    def add(self, rank: float, beams: Beams, row: int, ids: Sequence[int] = (), log_p: Sequence[float] = ()) -> None:
        """Add the sequence of a row, with further ids, where it is among the best."""
        at = next((i for i, item in enumerate(self.found) if rank > item[0]), len(self.found))
        if at < self.most:
            before = beams.sequence(row)
            own = np.append(before[0], np.array(ids, np.int64)), np.append(before[1], log_p)
            self.found.insert(at, (rank, *own))
            del self.found[self.most :]

    def worst(self) -> float:
        """Return the score that a sequence must exceed to change the best ones."""
        return self.found[-1][0] if len(self.found) >= self.most else -math.inf


def search(
    source: Source, feed: Feed, chain: Chain, prompts: Prompts, stops: Stops, steps: int, *, probabilities: bool
) -> list[list[tuple[Ids, F64]]]:
    """Return the best sequences of each prompt: ids, and the logarithms of their probabilities."""
    beam: Beam = chain.last  # type: ignore[assignment]
    count, own_scores, changing = len(prompts.inputs), not chain.functions, chain.changing
    stopping, enders = False, stops.alone
    prefixes = _prefixes(beam, count)
    special = max(beam.min_steps, *map(len, prefixes))  # behind so many steps each one allows what the last did
    ended = [Ended(beam.n_best) for _ in range(count)]
    beams = Beams(chain.size, count, beam.width, probabilities=probabilities and own_scores, normal=own_scores)
    source.begin(prompts.inputs, 1)
    for step in range(steps):
        y = source.y
        if chain.functions:
            own = log_probabilities(y, probabilities=probabilities)
            y = chain.scores(own, _so_far(beams, prompts))
        if stops.longer:
            enders = _enders(stops, beams)
        if step <= special or changing:
            whose = beams.beams[: beams.rows]
            allowed = _allowed(chain, prefixes, whose, step, enders if step + 1 < beam.min_steps else None)
        stopped = beams.run(y, allowed, enders)
        if stopped < 0:
            raise _no_choice(-2, int(beams.beams[-1 - stopped]), step, chain)
        if stopped:
            _collect(ended, beam, beams)
            stopping = own_scores
        rows = beams.place(_divisor(beam, step, steps) if stopping else 1.0, stopping)
        if rows < 0:
            raise _no_choice(-1, -1 - rows, step, chain)
        if not rows:
            break
        if step + 1 == steps:
            for r in beams.order[:rows].tolist():
                ended[beams.beams[r]].add(beam.ranked(float(beams.sums[r]), steps), beams, r)
            break
        if beams.moved:
            source.keep(beams.parents)
        source.step(beams.ids if feed.plain else feed(beams.ids.copy()))
    return [[(ids, log_p) for _, ids, log_p in each.found] for each in ended]


def _so_far(beams: Beams, prompts: Prompts) -> list[Ids]:
    """Return the ids of each row: its prompt's, and those chosen."""
    whose = enumerate(beams.beams[: beams.rows].tolist())
    return [np.concatenate([prompts.ids[b], beams.sequence(r)[0]]) for r, b in whose]


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


def _enders(stops: Stops, beams: Beams) -> NDArray[np.uint8]:
    """Return the ids with which each row ends, (R, V) or (1, V) flags."""
    flags = np.repeat(stops.alone, beams.rows, axis=0)
    for r, row in enumerate(flags):
        for ids in stops.longer:
            if tuple(beams.sequence(r, len(ids) - 1)[0].tolist()) == ids[:-1]:
                row[ids[-1]] = 1
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


def _collect(ended: list[Ended], beam: Beam, beams: Beams) -> None:
    """Add the sequences that end at this step."""
    for b, r, i, total, log_p in beams.ended():
        ended[b].add(beam.ranked(total, beams.step + 1), beams, r, [i], [log_p])
        beams.found[b], beams.worst[b] = 1, ended[b].worst()


def _divisor(beam: Beam, step: int, steps: int) -> float:
    """Return what makes the highest score that a sequence can still reach of its sum behind a step: sums only fall."""
    longest = steps if beam.length_penalty > 0 else min(step + 2, steps)
    return float(longest**beam.length_penalty)
