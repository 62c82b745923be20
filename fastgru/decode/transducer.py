"""Transducers (RNN-T): the labelling of greedy choices, and the best labellings by a beam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arguments import checked_lengths
from ..engine.search import GreedySearch, TransducerSearch, finite
from ..running import Running
from . import given
from .decoder import Decoder, in_use
from .networks import ModelPredictor, Read, joiner_of, not_numbers, predictor_of
from .results import Hypothesis, Integers, hypotheses, written

Predict = Running | Callable[[int, Any], Read]
Join = Running | Callable[[NDArray[Any], Any], Any]


class Transducer(Decoder):
    """The networks of a transducer and what is known of its labels."""

    def __init__(
        self,
        predictor: Predict,
        joiner: Join,
        blank: int,
        start: Sequence[int] | None,
        max_symbols: int,
        symbols: Sequence[str] | None,
    ) -> None:
        self._blank = given.whole(blank, "blank", 0, given.MOST_WIDTH)
        self._most = given.whole(max_symbols, "max_symbols", 1, given.MOST_WIDTH)
        self._symbols = given.symbols_of(symbols)
        first = [self._blank] if start is None else start
        if isinstance(first, str) or not isinstance(first, Sequence | np.ndarray):
            raise TypeError(f"start must be a list of labels, got {first!r:.40}")
        if not len(first):
            raise ValueError("start must have at least one label, got none")
        self._joiner = joiner_of(joiner)
        self._predictor = predictor_of(predictor, [given.whole(s, "start", 0, given.MOST_WIDTH) for s in first])
        if self._joiner.size is not None:
            self._check_classes(self._joiner.size)
        if isinstance(self._predictor, ModelPredictor):
            self._check_read(self._predictor.shape)
        self._frame: tuple[int, ...] | None = self._joiner.frame
        self._search: Any = None  # GreedySearch or TransducerSearch, from the first frame on

    def _check_classes(self, size: int) -> None:
        if self._blank >= size:
            raise ValueError(f"blank must be one of the classes 0..{size - 1} of the joiner, got {self._blank}")
        given.symbols_of(self._symbols, size)

    def _check_read(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError where the predictor's output is not what the joiner takes."""
        if self._joiner.read is not None and shape != self._joiner.read:
            expected = f"{self._joiner.read}, as the joiner's second input"
            raise ValueError(f"predictor must give outputs of shape {expected}, got {shape}")

    def _first_read(self) -> Read:
        """Return what the predictor gives before any label but the start."""
        read = self._predictor.begin(self._joiner.size)
        self._check_read(np.shape(read[0]))
        return read

    def _frames(self, encoded: Any, chunk: bool) -> NDArray[Any]:
        """Return frames of the encoder, checked: (T, E), or (B, T, E) where they are no chunk."""
        ranks = {1: "(E,)", 2: "(T, E)"} if chunk else {2: "(T, E)", 3: "(B, T, E)"}
        array = given.numbers(encoded, "encoded", ranks)
        if self._frame is not None and array.shape[-1:] != self._frame:
            whose = "the joiner's first input" if self._joiner.frame is not None else "the frames before"
            raise ValueError(f"encoded must have {self._frame[-1]} numbers a frame, as {whose}, got {array.shape[-1]}")
        return array.reshape(-1, array.shape[-1]) if chunk else array

    @staticmethod
    def _finite(x: NDArray[Any], row: int | None = None) -> NDArray[Any]:
        """Return frames as an array that a model reads in place; ValueError where one has NaN or infinity."""
        bad = np.flatnonzero(~np.isfinite(x))
        if bad.size:
            place = (*([] if row is None else [row]), *(int(i) for i in np.unravel_index(bad[0], x.shape)))
            raise ValueError(f"encoded must be finite, got {x.flat[bad[0]]} at index {place}")
        return np.ascontiguousarray(x)

    def _rows(self, encoded: Any, lengths: Any) -> tuple[bool, list[NDArray[Any]]]:
        """Return whether there is a batch, and the frames of each row that count, checked."""
        array = self._frames(encoded, chunk=False)
        batch = array.shape[0] if array.ndim == 3 else None
        rows = array[None] if batch is None else array
        counts = [rows.shape[1]] * len(rows)
        if lengths is not None:
            counts = checked_lengths(lengths, batch, rows.shape[1]).reshape(-1).tolist()
        places = [None] if batch is None else range(batch)
        return batch is not None, [
            self._finite(x[:count], row) for x, count, row in zip(rows, counts, places, strict=True)
        ]

    @property
    def frames(self) -> int:
        """The number of frames that count so far."""
        return 0 if self._search is None else self._search.frames

    def push(self, encoded: Any) -> Integers:
        """Take (T, E) frames of the encoder, or one frame (E,).

        A frame counts as a whole or not at all. Where a function of a network raises, or Ctrl-C interrupts, the frames
        before count, as `frames` says; this one and those behind it do not, and may be pushed again.

        Returns
        -------
        (n,) int64 array
            The labels that are certain now, from where they last were: nothing that comes will change them.
        """
        before = self._frame, self._joiner.size
        if self._busy:
            raise in_use()
        self._busy = True
        try:
            known = type(encoded) is np.ndarray and encoded.shape[-1:] == self._frame and encoded.ndim <= 2
            if known and finite(encoded):  # the usual case; a microsecond
                x = encoded if encoded.ndim == 2 else (encoded,)
            else:
                x = self._finite(self._frames(encoded, chunk=True))
                self._frame = x.shape[1:]
            return self._push(x)
        except BaseException:
            if not self.frames:  # the next frame is the first
                self._begin()
                self._frame, self._joiner.size = before
            raise
        finally:
            self._busy = False

    def _begin(self) -> None:
        """Forget all frames."""
        self._search = None

    def _push(self, x: Sequence[Any] | NDArray[Any]) -> Integers:
        raise NotImplementedError

    def _decode(self, rows: list[NDArray[Any]]) -> list[Any]:
        found = []
        for x in rows:
            with self._claimed():
                self._push(x)
            found.append(self.finish())
        return found

    def finish(self) -> Any:
        raise NotImplementedError


class TransducerGreedy(Transducer):
    """`transducer_greedy` of frames that come in chunks, with the same result.

    Parameters
    ----------
    predictor, joiner, blank, start, max_symbols, symbols
        As for `transducer_greedy`.
    """

    def __init__(
        self,
        predictor: Predict,
        joiner: Join,
        blank: int = 0,
        *,
        start: Sequence[int] | None = None,
        max_symbols: int = 10,
        symbols: Sequence[str] | None = None,
    ) -> None:
        super().__init__(predictor, joiner, blank, start, max_symbols, symbols)
        self._begin()

    def _begin(self) -> None:
        super()._begin()
        self._told = 0  # labels that calls returned

    def _push(self, x: Sequence[Any] | NDArray[Any]) -> Integers:
        if self._search is None:
            if not len(x):
                return np.empty(0, np.int64)
            read = self._first_read()
            self._search = GreedySearch(
                self._joiner.one, self._joiner.model is not None, self._predictor,
                isinstance(self._predictor, ModelPredictor), self._refuse, self._blank, self._most, *read,
            )  # fmt: skip
        self._search.push(x)
        labels = self._search.labels
        told, self._told = self._told, len(labels)
        return np.array(labels[told:], np.int64) if len(labels) > told else np.empty(0, np.int64)

    def _refuse(self, logits: NDArray[Any]) -> None:
        """Raise ValueError where logits are none, or not of these classes."""
        self._check_classes(logits.size)
        if np.isneginf(logits).all():
            raise ValueError("joiner must give some class a probability, got logits of -inf alone")
        if not (logits < np.inf).all():
            raise not_numbers()

    def finish(self) -> Hypothesis:
        """Return the labelling of all frames, and begin anew."""
        with self._claimed():
            labels, times, score = ([], [], 0.0) if self._search is None else (
                self._search.labels, self._search.times, self._search.score,
            )  # fmt: skip
            self._begin()
            found = np.array(labels, np.int64)
            return Hypothesis(found, np.array(times, np.int64), score, score, written(found, self._symbols))


class TransducerBeam(Transducer):
    """`transducer_beam` of frames that come in chunks, with the same result.

    Parameters
    ----------
    predictor, joiner, width, blank, n_best, start, max_symbols, symbols
        As for `transducer_beam`.
    """

    def __init__(
        self,
        predictor: Predict,
        joiner: Join,
        width: int = 4,
        blank: int = 0,
        *,
        n_best: int = 1,
        start: Sequence[int] | None = None,
        max_symbols: int = 10,
        symbols: Sequence[str] | None = None,
    ) -> None:
        self._width = given.whole(width, "width", 1, given.MOST_WIDTH)
        self._n_best = given.whole(n_best, "n_best", 1, self._width)
        super().__init__(predictor, joiner, blank, start, max_symbols, symbols)

    def _push(self, x: Sequence[Any] | NDArray[Any]) -> Integers:
        for frame in x:
            self._one_frame(frame)
        return np.empty(0, np.int64) if self._search is None else self._search.settled()

    def _one_frame(self, frame: NDArray[Any]) -> None:
        if self._search is None:
            read = self._first_read()
            logits = self._joiner.many(frame, [read[0]])
            self._check_classes(logits.shape[1])
            self._search = TransducerSearch(logits.shape[1], self._blank, self._width, self._most, read)
        search = self._search
        search.begin_frame()
        active = search.active()
        known = {number: read for (number, _, _), read in zip(active, search.reads, strict=True)}
        while active:
            unread = [each for each in active if each[0] not in known]
            if unread:
                labels, states = [label for _, _, label in unread], [known[parent][1] for _, parent, _ in unread]
                found = self._predictor.many(labels, states)
                known.update(zip((number for number, _, _ in unread), found, strict=True))
            search.level(self._joiner.many(frame, [known[number][0] for number, _, _ in active]))
            active = search.active()
        search.end_frame(known)

    def finish(self) -> list[Hypothesis]:
        """Return the best labellings of all frames, and begin anew."""
        with self._claimed():
            nothing = np.empty(0, np.int64)
            found = [(nothing, nothing, 0.0, 0.0)] if self._search is None else self._search.finish(self._n_best)
            self._begin()
            return hypotheses(found, self._symbols)


def transducer_greedy(
    encoded: Any,
    predictor: Predict,
    joiner: Join,
    lengths: Any = None,
    blank: int = 0,
    *,
    start: Sequence[int] | None = None,
    max_symbols: int = 10,
    symbols: Sequence[str] | None = None,
) -> Hypothesis | list[Hypothesis]:
    """Decode a transducer by the likeliest class at every turn.

    At each frame labels are taken until the blank is the likeliest, or `max_symbols` were.

    Parameters
    ----------
    encoded : (T, E) or (B, T, E) array
        What the encoder gave.
    predictor : model or callable
        A model of ids, which streams, such as an Embedding and an LSTM. Or ``predictor(label, state)``, which returns a
        pair of its output and its next state and is first called with None; `Stateless` makes one of a function of the
        last labels.
    joiner : model or callable
        A model with two inputs, the encoder's frame first; or ``joiner(frame, output)``, which returns (V,) logits.
        Logits become log-probabilities by log_softmax, in double.
    lengths : (B,) int array, optional
        How many frames of each row count; one integer for (T, E).
    blank : int
        The class of no label.
    start : sequence of int, optional
        The labels that the predictor reads before the first; ``[blank]`` when omitted.
    max_symbols : int
        How many labels a frame may give; then the blank is taken, with the probability it has.
    symbols : sequence of str, optional
        What each class stands for, to have `Hypothesis.text`.

    Returns
    -------
    Hypothesis, or a list of one for each row
        Of classes with equal logits the lowest is taken.

    Raises
    ------
    ValueError, TypeError
        When an argument does not fit, or a number is NaN or infinity, naming it.

    Examples
    --------
    >>> encoded = np.array([[0.0, 5.0], [5.0, 0.0]])
    >>> def predictor(label, state):  # after a label the blank
    ...     return np.array([9.0 if label else 0.0, 0.0]), None
    >>> transducer_greedy(encoded, predictor, np.add).labels
    array([1])
    """
    decoder = TransducerGreedy(predictor, joiner, blank, start=start, max_symbols=max_symbols, symbols=symbols)
    batch, rows = decoder._rows(encoded, lengths)
    found = decoder._decode(rows)
    return found if batch else found[0]


def transducer_beam(
    encoded: Any,
    predictor: Predict,
    joiner: Join,
    width: int = 4,
    lengths: Any = None,
    blank: int = 0,
    *,
    n_best: int = 1,
    start: Sequence[int] | None = None,
    max_symbols: int = 10,
    symbols: Sequence[str] | None = None,
) -> list[Any]:
    """Find the likeliest labellings of a transducer.

    The probability of a labelling is the sum over its alignments. After every label within a frame, and after every
    frame, the `width` best labellings are kept; nothing else is dropped, so that the result is exact where `width` is
    as large as the number of labellings.

    Parameters
    ----------
    encoded, predictor, joiner, lengths, blank, start, symbols
        As for `transducer_greedy`. Labellings that are joined at once make one call of a model.
    width : int
        How many labellings are kept.
    n_best : int
        How many labellings to return, at most `width`.
    max_symbols : int
        How many labels a frame may give; alignments with more have no part in the sums.

    Returns
    -------
    list of Hypothesis, or a list of such lists for each row
        The best first; of equal scores the shorter labelling, then the one with the lower label where they first
        differ.

    Raises
    ------
    ValueError, TypeError
        As for `transducer_greedy`.

    Examples
    --------
    >>> encoded = np.array([[0.0, 0.5], [0.0, 0.5]])
    >>> found = transducer_beam(encoded, lambda label, state: (np.zeros(2), None), np.add, n_best=3, max_symbols=1)
    >>> [each.labels.tolist() for each in found]
    [[1], [], [1, 1]]
    """
    decoder = TransducerBeam(
        predictor, joiner, width, blank, n_best=n_best, start=start, max_symbols=max_symbols, symbols=symbols
    )
    batch, rows = decoder._rows(encoded, lengths)
    found = decoder._decode(rows)
    return found if batch else found[0]
