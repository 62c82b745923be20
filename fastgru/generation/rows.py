"""Rows that go on each for itself: greedy, sampled, or by values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_array
from ..engine.choose import Chooser
from .chain import Chain, log_probabilities
from .choices import Draws, Sample, Values
from .network import Feed
from .prompts import Prompts
from .sources import Rows, Source

Array = NDArray[Any]
FIRST_ROOM = 64  # steps, doubled whenever they are full


class Step(NamedTuple):
    """What one step gave: the rows that went on, their ids or values, and the logarithms of their probabilities."""

    rows: Rows
    chosen: Array
    log_p: NDArray[np.float64]


class Log:
    """All steps so far, of every row."""

    def __init__(self, rows: int, *, scored: bool = False) -> None:
        self.chosen: Array | None = None  # (R, room, ...)
        self.log_p = np.zeros((rows, 0))
        self.scored = scored
        self.ended = np.full(rows, -1)  # behind how many steps; -1: it goes on
        self.count = 0

    def add(self, step: Step) -> None:
        """Add a step."""
        if self.chosen is None or self.count == self.chosen.shape[1]:
            self._make_room(step)
        rows = slice(None) if len(step.rows) == len(self.ended) else step.rows
        self.chosen[rows, self.count] = step.chosen  # type: ignore[index]
        if self.scored:
            self.log_p[rows, self.count] = step.log_p
        self.count += 1

    def _make_room(self, step: Step) -> None:
        """Take twice the memory."""
        room = FIRST_ROOM if self.chosen is None else 2 * self.chosen.shape[1]
        chosen = np.zeros((len(self.ended), room, *step.chosen.shape[1:]), step.chosen.dtype)
        log_p = np.zeros((len(self.ended), room if self.scored else 0))
        if self.chosen is not None:
            chosen[:, : self.count] = self.chosen
            log_p[:, : self.log_p.shape[1]] = self.log_p
        self.chosen, self.log_p = chosen, log_p

    def end(self, rows: Rows) -> None:
        """Say that rows have ended with the last step."""
        self.ended[rows] = self.count

    def steps(self, row: int) -> int:
        """Return how many steps a row went on for."""
        return self.count if self.ended[row] < 0 else int(self.ended[row])

    def tokens(self, row: int) -> Array:
        """Return what a row chose so far."""
        return np.empty(0, np.int64) if self.chosen is None else self.chosen[row, : self.steps(row)]

    def scores(self, row: int) -> NDArray[np.float64]:
        """Return the logarithms of the probabilities of that."""
        return self.log_p[row, : self.steps(row)]


class Stops:
    """Sequences of ids that end a row."""

    def __init__(self, sequences: Sequence[tuple[int, ...]], size: int) -> None:
        self.single = {ids[0] for ids in sequences if len(ids) == 1}
        self.longer = [ids for ids in sequences if len(ids) > 1]
        self.alone = np.zeros((1, size), np.uint8)  # of the ids that end a row by themselves
        self.alone[0, list(self.single)] = 1
        self.flags: NDArray[np.uint8] | None = None
        if sequences:
            self.flags = np.zeros(size, np.uint8)
            self.flags[[ids[-1] for ids in sequences]] = 1

    def end(self, tokens: Array) -> bool:
        """True if a row ends with its last id."""
        return int(tokens[-1]) in self.single or any(
            len(tokens) >= len(ids) and tuple(tokens[-len(ids) :].tolist()) == ids for ids in self.longer
        )


def by_ids(
    source: Source, feed: Feed, chain: Chain, prompts: Prompts, stops: Stops, keys: tuple[Array, Array],
    steps: int | None, n: int, *, probabilities: bool, scored: bool, log: Log,
) -> Iterator[Step]:  # fmt: skip
    """Choose ids step by step until all rows have ended; `log` then holds what was yielded.

    Parameters
    ----------
    keys : pair of arrays
        Keys and places of the random numbers.
    n : int
        Rows of each prompt.
    """
    last, size = chain.last, chain.size
    rows = np.arange(len(keys[0]))
    at = 0
    options = _options(last) if isinstance(last, Sample) else {}
    chooser = Chooser(size, probabilities=probabilities and not chain.functions, greedy=not options, **options)
    seen = _seen(prompts, n, size) if isinstance(last, Sample) and last.repetition_penalty != 1 else None
    inside, places = keys
    by_functions = bool(chain.functions)
    source.begin(prompts.inputs, n)
    chooser.bind(source.y, inside, places, seen=seen, scored=scored and not by_functions)
    chooser.limit(chain.allowed(0), stops.flags)
    while True:
        log_p = chooser.log_p
        if by_functions:
            own = log_probabilities(source.y, probabilities=probabilities)
            chooser.see(chain.scores(own, [_so_far(prompts, log, row, n) for row in rows.tolist()]))
        count = chooser.run(at)
        if count < 0:
            raise _no_choice(int(chooser.ids[-1 - count]), int(rows[-1 - count]) // n, at, chain)
        ids = chooser.ids
        if by_functions:
            log_p = own[np.arange(len(ids)), ids]
        step = Step(rows, ids, log_p)
        log.add(step)
        yield step
        at += 1
        if count:
            left = np.array([not stops.end(log.tokens(row)) for row in rows.tolist()])
            if not left.any():
                return
            if not left.all():
                kept = np.flatnonzero(left)
                log.end(rows[~left])
                source.keep(kept)
                rows, ids, inside, places = rows[kept], ids[kept], inside[kept], np.ascontiguousarray(places[kept])
                seen = None if seen is None else np.ascontiguousarray(seen[kept])
                chooser.bind(source.y, inside, places, seen=seen, scored=scored and not by_functions)
        if at == steps:
            return
        if chain.changing:
            chooser.limit(chain.allowed(at), stops.flags)
        source.step(ids if feed.plain else feed(ids))


def by_values(
    source: Source, feed: Feed, last: Values, inputs: Sequence[Array], stop: Any, keys: tuple[Array, Array],
    steps: int | None, n: int, *, log: Log,
) -> Iterator[Step]:  # fmt: skip
    """Feed outputs back as values; see `by_ids`."""
    inside, places = keys
    rows, at = np.arange(len(inside)), 0
    source.begin(inputs, n)
    while True:
        values = source.y.copy()
        if last.function is not None:
            values = as_array(last.function(values, Draws(inside, places, at)), "what the function of Values returns")
            if values.ndim == 0 or len(values) != len(rows) or values.dtype.kind not in "fiub":
                raise ValueError(
                    f"function of Values must return numbers of shape ({len(rows)}, ...), got {values.dtype} of shape "
                    f"{values.shape}"
                )
        bad = ~np.isfinite(values.reshape(len(rows), -1)).all(axis=1)
        if bad.any():
            which = int(rows[int(np.flatnonzero(bad)[0])]) // n
            raise ValueError(
                f"values must stay finite to be fed back, got NaN or infinity at step {at} of prompt {which}"
            )
        step = Step(rows, values, np.zeros(len(rows)))
        log.add(step)
        yield step
        at += 1
        ended = _ended(stop, values)
        if ended is not None and ended.any():
            kept = np.flatnonzero(~ended)
            if not kept.size:
                return
            log.end(rows[ended])
            source.keep(kept)
            rows, values, inside, places = rows[kept], values[kept], inside[kept], np.ascontiguousarray(places[kept])
        if at == steps:
            return
        source.step(feed(values))


def _ended(stop: Any, values: Array) -> NDArray[np.bool_] | None:
    """Return which rows end behind these values."""
    if stop is None:
        return None
    found = as_array(stop(values), "what stop returns")
    if found.shape != (len(values),) or found.dtype != bool:
        raise ValueError(f"stop must return {len(values)} bools, got {found.dtype} of shape {found.shape}")
    return found


def _options(last: Sample) -> dict[str, Any]:
    """Return what `Chooser` is told of a sample."""
    return {
        "temperature": last.temperature, "top_k": last.top_k or 0, "top_p": 1.0 if last.top_p is None else last.top_p,
        "min_p": last.min_p or 0.0, "penalty": last.repetition_penalty,
    }  # fmt: skip


def _seen(prompts: Prompts, n: int, size: int) -> NDArray[np.uint8]:
    """Return which ids are in the prompt of each row, (R, V) flags."""
    seen = np.zeros((len(prompts.ids), size), np.uint8)
    for row, ids in zip(seen, prompts.ids, strict=True):
        row[ids[ids < size]] = 1
    return np.repeat(seen, n, axis=0)


def _so_far(prompts: Prompts, log: Log, row: int, n: int) -> NDArray[np.int64]:
    """Return the ids of a row: its prompt's, and those chosen."""
    return np.concatenate([prompts.ids[row // n], log.tokens(row)])


def _no_choice(code: int, prompt: int, step: int, chain: Chain) -> ValueError:
    """Return the error of a row without a choice."""
    where = f"at step {step} of prompt {prompt}"
    if code == -1:
        whose = " and choose" if chain.forbidden or chain.forced or chain.functions else ""
        return ValueError(f"scores of the model{whose} must leave an id with a probability above 0, got none {where}")
    return ValueError(f"scores of the model must be numbers, got NaN, infinity or a negative probability {where}")
