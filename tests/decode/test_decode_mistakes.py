"""Mistakes in calls of decoders: one error each, before anything is computed, that says what to write instead."""

from __future__ import annotations

import re

import numpy as np
import pytest
from decoded import log_probs
from test_transducer import models

import fastgru
from fastgru import decode
from fastgru.layers import GRU, Dense

X = log_probs(0, 5, 3)
FRAMES, PREDICTOR, JOINER = models(0)
NAN, INF, LOGITS = X.copy(), X.copy(), X + 9.0
NAN[3, 1], INF[0, 2] = np.nan, np.inf
TAGS, FIELD = np.zeros((4, 3)), np.zeros((3, 3))
DENSE = fastgru.Model([Dense(np.ones((2, 3)))])
TWICE = fastgru.Model([GRU(np.ones((24, 3)), np.ones((24, 8)))])
TEXT = {"symbols": ["", "a", " "]}


def spoken(value):
    return lambda words, word: value


MISTAKES = {
    "log_probs must have no NaN, got one at index (3, 1)": lambda: decode.ctc_beam(NAN),
    "log_probs must have no NaN, got one at index (1, 3, 1)": lambda: decode.ctc_greedy(np.stack([X, NAN])),
    "log_probs must be log-probabilities, got inf at index (0, 2)": lambda: decode.ctc_beam(INF),
    "a log-probability is at most 0: apply fastgru.decode.log_softmax to logits, or np.log to probabilities": lambda: (
        decode.ctc_greedy(LOGITS)
    ),
    "log_probs must have shape (T, V) or (B, T, V), got (3,)": lambda: decode.ctc_beam(X[0]),
    "log_probs must have at least one number a frame, got shape (5, 0)": lambda: decode.ctc_beam(X[:, :0]),
    "log_probs must be real numbers, got complex128": lambda: decode.ctc_beam(X + 1j),
    "log_probs must be an array, got list: its items differ in shape": lambda: decode.ctc_greedy([X, X[:2]]),
    "lengths must lie in 0..5, got 6": lambda: decode.ctc_beam(X[None], lengths=[6]),
    "lengths must be integers of shape (1,), got int64 of shape (2,)": lambda: decode.ctc_beam(X[None], lengths=[1, 2]),
    "lengths must be one integer for an input without a batch axis": lambda: decode.ctc_greedy(X, [5]),
    "blank must be one of the classes 0..2 of log_probs, got 3": lambda: decode.ctc_beam(X, blank=3),
    "blank must be an integer from 0 to 1048576, got -1": lambda: decode.ctc_greedy(X, blank=-1),
    "width must be an integer from 1 to 1048576, got 0": lambda: decode.ctc_beam(X, 0),
    "n_best must be an integer from 1 to 4, got 5": lambda: decode.ctc_beam(X, 4, n_best=5),
    "symbols must be given with words: a string for each class": lambda: decode.ctc_beam(X, words=["a"]),
    "symbols must be one for each of the 3 classes, got 2": lambda: decode.ctc_greedy(X, symbols=["", "a"]),
    "symbols must be strings, one for each class, got [1, 2, 3]": lambda: decode.ctc_beam(X, symbols=[1, 2, 3]),
    "symbols must have a character each but for the blank, got '' for label 1": lambda: decode.ctc_beam(
        X, symbols=["", "", " "], words=["a"]
    ),
    "words must be a list of strings, got 'cat'": lambda: decode.ctc_beam(X, words="cat", **TEXT),
    "words must be strings, got 3 at index 1": lambda: decode.ctc_beam(X, words=["a", 3], **TEXT),
    "words must be at least one, got none": lambda: decode.ctc_beam(X, words=[], **TEXT),
    "words must be made of the symbols, got 'ab': no symbol has 'b'": lambda: decode.ctc_beam(X, words=["ab"], **TEXT),
    "unknown must be omitted without words": lambda: decode.ctc_beam(X, unknown=-1.0, **TEXT),
    "unknown must be a number, at most 0, got 2.0": lambda: decode.ctc_beam(X, words=["a"], unknown=2.0, **TEXT),
    "scorer must be a function of the words before and a word, got str": lambda: decode.ctc_beam(
        X, scorer="lm", **TEXT
    ),
    "scorer must return a number below infinity, got nan of 'a' after ()": lambda: decode.ctc_beam(
        X, scorer=spoken(np.nan), **TEXT
    ),
    "scorer must return a number, got 'x' of 'a' after ()": lambda: decode.ctc_beam(X, scorer=spoken("x"), **TEXT),
    "scorer must return a number, got 1000": lambda: decode.ctc_beam(X, scorer=spoken(10**400), **TEXT),
    "scores times alpha must be below infinity, got 1e+300 of 'a' after () and alpha=1e+300": lambda: decode.ctc_beam(
        X, scorer=spoken(1e300), alpha=1e300, **TEXT
    ),
    "unknown must be a number, at most 0, got -1000": lambda: decode.ctc_beam(
        X, words=["a"], unknown=-(10**400), **TEXT
    ),
    "alpha must be a number, finite, got nan": lambda: decode.ctc_beam(X, scorer=spoken(0), alpha=np.nan, **TEXT),
    "space must be another label than blank, got 0 for both": lambda: decode.ctc_beam(X, words=["a"], space=0, **TEXT),
    "emissions must have 3 numbers a frame, as transitions have tags, got 4": lambda: decode.crf_viterbi(
        np.zeros((5, 4)), FIELD
    ),
    "transitions must have shape (K, K), got (3, 2)": lambda: decode.crf_viterbi(TAGS, FIELD[:, :2]),
    "start must have shape (3,), as transitions have 3 tags, got (2,)": lambda: decode.crf_viterbi(
        TAGS, FIELD, np.zeros(2)
    ),
    "transitions must have no NaN, got one at index (0, 0)": lambda: decode.crf_marginals(TAGS, FIELD * np.nan),
    "emissions must have no NaN, got one at index (1, 2)": lambda: decode.crf_viterbi(
        [[0.0] * 3, [0.0, 0.0, np.nan]], FIELD
    ),
    "end must be below infinity, got infinity at index (0,)": lambda: decode.crf_marginals(
        TAGS, FIELD, end=[np.inf, 0.0, 0.0]
    ),
    "encoded must have 5 numbers a frame, as the joiner's first input, got 4": lambda: decode.transducer_greedy(
        FRAMES[:, :4], PREDICTOR, JOINER
    ),
    "encoded must be finite, got nan at index (1, 0)": lambda: decode.transducer_beam(
        np.array([[0.0] * 5, [np.nan] * 5]), PREDICTOR, JOINER
    ),
    "predictor must read labels, integer ids": lambda: decode.transducer_greedy(FRAMES, TWICE, JOINER),
    "predictor must be a model or a function of a label and a state, got None": lambda: decode.transducer_greedy(
        FRAMES, None, JOINER
    ),
    "joiner must have two inputs, the encoder's frame and the predictor's, got 'x'": lambda: decode.transducer_greedy(
        FRAMES, PREDICTOR, DENSE
    ),
    "joiner must be a model or a function": lambda: decode.transducer_beam(FRAMES, PREDICTOR, 3),
    "blank must be one of the classes 0..5 of the joiner, got 6": lambda: decode.transducer_beam(
        FRAMES, PREDICTOR, JOINER, blank=6
    ),
    "joiner must return logits, or log-probabilities, below infinity, got NaN": lambda: decode.transducer_greedy(
        FRAMES, PREDICTOR, lambda frame, read: np.array([0.0, np.nan])
    ),
    "joiner must return logits, or log-probabilities, below infinity": lambda: decode.transducer_beam(
        FRAMES, PREDICTOR, lambda frame, read: np.array([0.0, np.nan])
    ),
    "joiner must return logits of shape (V,), got (2, 2)": lambda: decode.transducer_beam(
        FRAMES, PREDICTOR, lambda frame, read: np.zeros((2, 2))
    ),
    "predictor must return a pair of its output and its state, got float": lambda: decode.transducer_greedy(
        FRAMES, lambda label, state: 0.0, lambda frame, read: np.zeros(2)
    ),
    "start must have at least one label, got none": lambda: decode.transducer_greedy(
        FRAMES, PREDICTOR, JOINER, start=[]
    ),
    "predictor must have an id for every class and label of start, got none for 6": lambda: decode.transducer_beam(
        FRAMES, PREDICTOR, JOINER, start=[6]
    ),
    "log_probs must be an array of numbers, got None": lambda: decode.ctc_beam(None),
    "transitions must be an array of numbers, got 'm.npy'": lambda: decode.crf_viterbi(TAGS, "m.npy"),
    "start must be a list of labels, got 3": lambda: decode.transducer_beam(FRAMES, PREDICTOR, JOINER, start=3),
    "predictor must give outputs of shape (8,), as the joiner's second input, got (3,)": lambda: decode.transducer_beam(
        FRAMES, lambda label, state: (np.zeros(3), None), JOINER
    ),
    "predictor must give outputs of shape (8,), as the joiner's second input, got (4,)": lambda: (
        decode.transducer_greedy(FRAMES, fastgru.Model([fastgru.layers.Embedding(np.ones((6, 4)))]), JOINER)
    ),
    "max_symbols must be an integer from 1": lambda: decode.transducer_greedy(FRAMES, PREDICTOR, JOINER, max_symbols=0),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_end_in_one_sentence(message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)) as caught:
        MISTAKES[message]()
    assert "\n" not in str(caught.value)


def test_chunks_of_another_size_are_refused_and_change_nothing():
    decoder = decode.CtcBeam(4)
    decoder.push(X)
    for wrong, message in ((X[:, :2], "log_probs must have 3 numbers a frame, as before, got 2"), (NAN, "have no NaN")):
        with pytest.raises(ValueError, match=message):
            decoder.push(wrong)
    assert decoder.finish()[0].score == decode.ctc_beam(X, 4)[0].score


def test_a_decoder_serves_one_call_at_a_time():
    def join(frame, read):
        decoder.push(FRAMES)

    decoder = decode.TransducerGreedy(PREDICTOR, join)
    with pytest.raises(RuntimeError, match="decoder is in use: it can serve one call at a time"):
        decoder.push(FRAMES)
