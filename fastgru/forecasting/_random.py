"""Random numbers that are a function of seed, series, step and sample alone: Philox4x32-10, many counters at once.

Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011). A number does not depend on which others are drawn
with it, so neither batches nor threads change a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ROUNDS = 10
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key after each round
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
BLOCK = 2048  # counters at once: the six buffers of a round stay in the L1 and L2 caches
STEP_BITS, PAIR_BITS = 24, 20  # of a word of the counter; the bits above number the draws, and the values, of a step
MOST_STEPS, MOST_STAGES = 1 << STEP_BITS, 1 << 32 - STEP_BITS
MOST_SAMPLES, MOST_LANES = 2 << PAIR_BITS, 1 << 32 - PAIR_BITS
SCALE = 2.0**-32


def philox(counters: Sequence[Any], seed: int) -> Array:
    """Return four random words for each counter.

    Parameters
    ----------
    counters : four arrays that broadcast to (N,), of integers below 2**32
    seed : int
        The 64 bits of the key.

    Returns
    -------
    (4, N) uint64 array, of words below 2**32

    Examples
    --------
    >>> [hex(word) for word in philox([0, 0, 0, [0]], 0)[:, 0]]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    given = np.broadcast_arrays(*(np.asarray(c, np.uint64) for c in counters))
    words = np.empty((4, given[0].size), np.uint64)
    for word, counter in zip(words, given, strict=True):
        word[...] = counter.reshape(-1)
    for at in range(0, words.shape[1], BLOCK):
        _rounds(words[:, at : at + BLOCK], seed)
    return words


def _rounds(words: Array, seed: int) -> None:
    """Replace a block of counters (4, N) by their random words."""
    a, b, c, d = (words[i].copy() for i in range(4))
    low, high = np.empty_like(a), np.empty_like(a)
    key = [seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF]
    for _ in range(ROUNDS):
        np.multiply(a, MULTIPLIERS[0], out=low)
        np.multiply(c, MULTIPLIERS[1], out=high)
        np.right_shift(high, HALF, out=a)
        np.bitwise_xor(a, b, out=a)
        np.bitwise_xor(a, np.uint64(key[0]), out=a)
        np.right_shift(low, HALF, out=c)
        np.bitwise_xor(c, d, out=c)
        np.bitwise_xor(c, np.uint64(key[1]), out=c)
        np.bitwise_and(high, LOW, out=b)
        np.bitwise_and(low, LOW, out=d)
        key = [(k + w) & 0xFFFFFFFF for k, w in zip(key, WEYL, strict=True)]
    words[0], words[1], words[2], words[3] = a, b, c, d


class Draws:
    """The random numbers of one step of many sample paths; rows are ordered by series, then by path.

    Parameters
    ----------
    seed : int
    series : (n,) uint64 array
        A number for each series that stands for it in any call.
    samples : int
        Paths of each series.
    step : int
        Steps ahead, counted from 0.
    lane : int
        Of several values of one step, which.
    """

    def __init__(self, seed: int, series: Array, samples: int, step: int, lane: int = 0) -> None:
        self.seed, self.series, self.samples = seed, np.asarray(series, np.uint64), samples
        self.step, self.lane = step, lane

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.series) * self.samples

    def pair(self, stage: int = 0, rows: Array | None = None) -> tuple[Array, Array]:
        """Return two independent uniform numbers in (0, 1) for each row, and others for each `stage`.

        A counter serves two paths: its words are those of path 2n, then those of path 2n + 1.

        Parameters
        ----------
        rows : (R,) int array, optional
            Which rows; all when omitted.

        Returns
        -------
        two (R,) float64 arrays
        """
        tag, lane = self.step | stage << STEP_BITS, self.lane << PAIR_BITS
        if rows is not None:
            path, series = rows % self.samples, self.series[rows // self.samples]
            words = philox([path // 2 | lane, tag, series & LOW, series >> HALF], self.seed)
            odd = path % 2 == 1
            return _uniform(np.where(odd, words[2], words[0])), _uniform(np.where(odd, words[3], words[1]))
        pairs, series = (self.samples + 1) // 2, self.series[:, None]
        words = philox([np.arange(pairs)[None] | lane, tag, series & LOW, series >> HALF], self.seed)
        both = words.reshape(2, 2, len(series), pairs).transpose(1, 2, 3, 0)
        u, v = both.reshape(2, len(series), 2 * pairs)[:, :, : self.samples]
        return _uniform(u.reshape(-1)), _uniform(v.reshape(-1))


def _uniform(words: Array) -> Array:
    """Map words below 2**32 to the middles of as many equal parts of (0, 1)."""
    numbers = words.astype(np.float64)
    numbers += 0.5
    numbers *= SCALE
    return numbers
