"""Exceptions of networks and scorers in the middle of a call: a frame counts as a whole or not at all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from decoded import log_probs, same
from test_transducer import as_functions, models, predictor_of

import fastgru
from fastgru.decode import CtcBeam, TransducerBeam, TransducerGreedy
from fastgru.layers import Embedding


class Raising:
    """Functions whose `which`-th call raises, counted over all of them."""

    def __init__(self, which: int, error: type[BaseException]) -> None:
        self.which, self.error, self.calls = which, error, 0

    def count(self) -> None:
        self.calls += 1
        if self.calls - 1 == self.which:
            raise self.error

    def __call__(self, function):
        def called(*args):
            self.count()
            found = function(*args)
            self.count()  # as Ctrl-C behind it
            return found

        return called


def goes_on(decoder, frames, raising, size):
    """The labels that calls return, and how many exceptions there were; what did not count is pushed again."""
    early, at, errors = [], 0, 0
    while at < len(frames):
        begin = decoder.frames
        try:
            early += decoder.push(frames[at : at + size]).tolist()
        except raising.error:
            errors += 1
        assert decoder.frames - begin <= size
        at = decoder.frames
    return early, errors


def functions():
    V = 4
    encoded = np.random.default_rng(3).normal(size=(5, V)) * 2
    return encoded, predictor_of(V), np.add


DECODERS = {
    "greedy": lambda predictor, joiner, blank=0: TransducerGreedy(predictor, joiner, blank, max_symbols=3),
    "beam": lambda predictor, joiner, blank=0: TransducerBeam(predictor, joiner, 3, blank, n_best=3, max_symbols=3),
}


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("make", DECODERS)
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_functions_may_raise_at_every_call(make, error, size):
    encoded, predictor, joiner = functions()
    whole = DECODERS[make](predictor, joiner)
    told = [int(c) for frame in encoded for c in whole.push(frame)]
    wanted = whole.finish()
    for which in itertools.count():
        raising = Raising(which, error)
        decoder = DECODERS[make](raising(predictor), raising(joiner))
        early, errors = goes_on(decoder, encoded, raising, size)
        if not errors:
            break
        assert errors == 1
        assert early == told
        assert same(decoder.finish(), wanted)
    assert which > 20


@pytest.mark.parametrize("make", DECODERS)
def test_a_stream_that_read_labels_reads_those_that_count_again(make):
    """The predictor is a model, whose stream has gone on when the joiner raises."""
    encoded, predictor, joiner = models(1)
    _, join = as_functions(predictor, joiner)
    encoded, whole = encoded[:8], DECODERS[make](predictor, join)
    told = whole.push(encoded).tolist()
    wanted = whole.finish()
    for which in itertools.count():
        raising = Raising(which, ValueError)
        decoder = DECODERS[make](predictor, raising(join))
        early, errors = goes_on(decoder, encoded, raising, 3)
        if not errors:
            break
        assert early == told
        assert same(decoder.finish(), wanted)
    assert which > 20


def test_a_predictor_without_an_id_for_a_label():
    """The step of the stream raises by itself: the frame does not count, and the next one may."""
    table = np.eye(3, dtype=np.float32)[:2]
    decoder = TransducerGreedy(fastgru.Model([Embedding(table)]), lambda frame, read: frame + 0 * read, max_symbols=1)
    assert decoder.push(np.array([0.0, 9.0, 0.0])).tolist() == [1]
    with pytest.raises(ValueError, match="got 2"):
        decoder.push(np.array([[9.0, 0.0, 0.0], [0.0, 0.0, 9.0]]))
    assert decoder.frames == 2
    assert decoder.push(np.array([[0.0, 9.0, 0.0], [9.0, 0.0, 0.0]])).tolist() == [1]
    found = decoder.finish()
    assert (found.labels.tolist(), found.frames.tolist()) == ([1, 1], [0, 2])


@pytest.mark.parametrize("make", DECODERS)
def test_a_first_frame_that_does_not_count_says_nothing_of_the_next(make):
    """Neither how wide frames are, nor how many classes there are."""
    decoder = DECODERS[make](
        lambda label, state: (0.0, None), lambda frame, read: frame[2:] + (np.inf if len(frame) > 4 else 0.0), 2
    )
    for frames, message in [
        (np.zeros((3, 2)), r"joiner must return logits of shape \(V,\), got \(0,\)"),
        (np.zeros((3, 4)), r"blank must be one of the classes 0\.\.1 of the joiner, got 2"),
        (np.ones((3, 5)), "got NaN or infinity"),
    ]:
        with pytest.raises(ValueError, match=message):
            decoder.push(frames)
        assert decoder.frames == 0
    with pytest.raises(ValueError, match="got NaN or infinity"):
        decoder.push(np.ones((1, 6)))


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_scorers_may_raise_at_every_call(error):
    """In a push, where the frames before count, and in finish, which may be called again."""
    symbols, x = ["", "a", "b", " "], log_probs(5, 9, 4)

    class Scorer:
        def __init__(self, raising: Raising) -> None:
            self.raising = raising

        def __call__(self, words, word):
            self.raising.count()
            return -0.5 * len(word) - 0.1 * len(words)

        def end(self, words):
            self.raising.count()
            return -0.2 * len(words)

    def decoder_of(which):
        raising = Raising(which, error)
        return CtcBeam(6, n_best=6, symbols=symbols, scorer=Scorer(raising)), raising

    whole, _ = decoder_of(-1)
    told = [int(c) for frame in x for c in whole.push(frame)]
    wanted = whole.finish()
    for which in itertools.count():
        decoder, raising = decoder_of(which)
        early, errors = goes_on(decoder, x, raising, 1)
        assert early == told
        try:
            found = decoder.finish()
        except error:
            errors += 1
            found = decoder.finish()
        assert same(found, wanted)
        if not errors:
            break
    assert which > 10
