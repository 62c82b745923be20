"""Transducers against the enumeration of all alignments; models against functions; chunks against the whole."""

from __future__ import annotations

import numpy as np
import pytest
from decoded import in_chunks, same, some, transducer
from hypothesis import given
from hypothesis import strategies as st

import fastgru
from fastgru.decode import Stateless, TransducerBeam, TransducerGreedy, transducer_beam, transducer_greedy
from fastgru.graph import Add, GraphBuilder, Spec
from fastgru.layers import LSTM, Activate, Dense, Embedding

SEEDS = st.integers(0, 2**32 - 1)
ALL = 4096


def history(labels: tuple[int, ...], V: int) -> np.ndarray:
    """Logits that follow from all labels so far."""
    return np.random.default_rng([7, *labels]).normal(size=V)


def predictor_of(V: int, blank: int = 0):
    """A predictor whose state is all of its labels; the first is the start."""

    def predictor(label, state):
        labels = () if state is None else (*state, label)
        return history(labels, V), labels

    return predictor


@some
@given(SEEDS, st.integers(0, 3), st.integers(1, 3), st.integers(1, 2), st.data())
def test_a_wide_beam_finds_every_labelling(seed, T, V, most, data):
    blank = data.draw(st.integers(0, V - 1))
    encoded = np.random.default_rng(seed).normal(size=(T, V)) * 2
    expected = transducer(encoded, lambda frame, labels: frame + history(labels, V), most, blank)
    found = transducer_beam(encoded, predictor_of(V), np.add, ALL, blank=blank, n_best=ALL, max_symbols=most)
    assert {tuple(h.labels.tolist()) for h in found} == expected.keys()
    for h in found:
        wanted = expected[tuple(h.labels.tolist())]
        assert abs(h.log_prob - wanted.log_prob) < 1e-12 * max(1.0, abs(wanted.log_prob))
        assert tuple(h.frames.tolist()) in wanted.frames
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@some
@given(SEEDS, st.integers(0, 8), st.integers(1, 5), st.integers(1, 3))
def test_greedy_takes_the_likeliest_at_every_turn(seed, T, V, most):
    encoded = np.random.default_rng(seed).normal(size=(T, V)) * 2
    labels, frames, score = [], [], 0.0
    for t in range(T):
        for count in range(most + 1):
            logits = encoded[t] + history(tuple(labels), V)
            x = logits - np.logaddexp.reduce(logits)
            best = int(x.argmax()) if count < most else 0
            score += x[best]
            if best == 0:
                break
            labels.append(best)
            frames.append(t)
    found = transducer_greedy(encoded, predictor_of(V), np.add, max_symbols=most)
    assert (found.labels.tolist(), found.frames.tolist()) == (labels, frames)
    assert abs(found.score - score) < 1e-12 * max(1.0, abs(score))


def models(seed: int, V: int = 6, E: int = 5, H: int = 8, dtype: str = "float32"):
    """A predictor of an Embedding and an LSTM, and a joiner of two projections."""
    rng = np.random.default_rng(seed)
    lstm = LSTM(rng.normal(size=(4 * H, 4)), rng.normal(size=(4 * H, H)))
    predictor = fastgru.Model([Embedding(rng.normal(size=(V, 4))), lstm], dtype=dtype)
    b = GraphBuilder()
    frame = b.add(Dense(rng.normal(size=(H, E))), b.input("encoder", Spec((E,), time=False)))
    read = b.add(Dense(rng.normal(size=(H, H))), b.input("predictor", Spec((H,), time=False)))
    total = b.add(Activate("tanh"), b.add(Add(), frame, read))
    joiner = fastgru.Model(b.build(b.add(Dense(rng.normal(size=(V, H)) * 2), total)), dtype=dtype)
    return rng.normal(size=(30, E)).astype(np.float32), predictor, joiner


def as_functions(predictor: fastgru.Model, joiner: fastgru.Model):
    """The same networks as functions."""

    def predict(label, state):
        y, after = predictor(np.array([label]), state=state, return_state=True)
        return y[-1], after

    return predict, lambda frame, read: joiner((frame, read))


@pytest.mark.parametrize("seed", range(4))
def test_models_give_what_functions_give(seed):
    encoded, predictor, joiner = models(seed)
    predict, join = as_functions(predictor, joiner)
    greedy = transducer_greedy(encoded, predictor, joiner)
    assert same(greedy, transducer_greedy(encoded, predict, join))
    assert 0 < len(greedy.labels) < 30 * 10
    beam = transducer_beam(encoded, predictor, joiner, 5, n_best=5)
    assert same(beam, transducer_beam(encoded, predict, join, 5, n_best=5))
    assert beam[0].score >= greedy.score


@some
@given(SEEDS, st.integers(0, 30), st.lists(st.integers(0, 99), max_size=4), st.integers(1, 5))
def test_chunks_give_the_bits_of_the_whole(seed, T, cuts, width):
    encoded, predictor, joiner = models(seed % 3)
    encoded = encoded[:T]
    decoder = TransducerGreedy(predictor, joiner)
    early, found = in_chunks(decoder, encoded, cuts)
    assert same(found, transducer_greedy(encoded, predictor, joiner))
    assert early == found.labels.tolist()
    assert same(in_chunks(decoder, encoded, cuts[:1])[1], found)  # it has begun anew
    early, found = in_chunks(TransducerBeam(predictor, joiner, width, n_best=width), encoded, cuts)
    assert same(found, transducer_beam(encoded, predictor, joiner, width, n_best=width))
    assert all(h.labels.tolist()[: len(early)] == early for h in found)


def test_a_long_stream_drops_what_no_hypothesis_needs():
    rng = np.random.default_rng(0)
    encoded = rng.normal(size=(1500, 4)) * 3 + [2, 0, 0, 0]
    table = rng.normal(size=(4, 4))
    decoder = TransducerBeam(Stateless(lambda labels: table[labels[-1]], 1), np.add, 4)
    early = [int(c) for chunk in np.array_split(encoded, 31) for c in decoder.push(chunk)]
    (best,) = decoder.finish()
    assert len(early) > 0.9 * len(best.labels) > 300
    assert best.labels.tolist()[: len(early)] == early
    assert (np.diff(best.frames) >= 0).all()


def test_rows_of_a_batch_are_decoded_alone():
    encoded, predictor, joiner = models(1)
    x, lengths = encoded.reshape(3, 10, 5).copy(), [10, 0, 4]
    x[2, 4:] = np.nan
    for function in (transducer_greedy, transducer_beam):
        found = function(x, predictor, joiner, lengths=lengths)
        assert same(found, [function(x[b, :n], predictor, joiner) for b, n in enumerate(lengths)])


def test_a_float64_model_and_steps_from_an_encoder():
    encoded, predictor, joiner = models(2, dtype="float64")
    decoder = TransducerGreedy(predictor, joiner)
    early = [int(c) for frame in encoded for c in decoder.push(frame)]  # (E,) frames, as stream.step gives them
    assert early == transducer_greedy(encoded, predictor, joiner).labels.tolist()


def test_stateless_predictors_see_the_last_labels():
    seen = []

    def last_two(labels):
        seen.append(labels.tolist())
        return np.array([0.0, 1.0, 0.0]) if labels[-1] != 2 else np.array([9.0, 0.0, 0.0])

    def join(frame, read):
        return frame + read

    encoded = np.array([[0.0, 2.0, 0.0], [0.0, -9.0, 5.0]])
    found = transducer_greedy(encoded, Stateless(last_two, 2), join, max_symbols=2)
    assert found.labels.tolist() == [1, 1, 2]
    assert seen == [[0, 0], [0, 1], [1, 1], [1, 2]]
    seen.clear()
    transducer_greedy(encoded, Stateless(last_two, 2), join, start=[1, 2], max_symbols=1)
    assert seen[:2] == [[1, 1], [1, 2]]


def test_of_equal_scores_the_shorter_then_the_lower_comes_first():
    nothing = Stateless(lambda labels: np.zeros(3), 1)
    found = transducer_beam(np.zeros((1, 3)), nothing, np.add, 16, n_best=4, max_symbols=1)
    assert [h.labels.tolist() for h in found] == [[], [1], [2]]
    assert transducer_greedy(np.zeros((1, 3)), nothing, np.add, blank=2, max_symbols=1).labels.tolist() == [0]


def test_no_frames_blanks_alone_and_no_probability():
    def predictor(label, state):
        return 0.0, None

    def blanks(frame, read):
        return np.array([frame[0], -np.inf])

    for encoded in (np.zeros((0, 2)), np.ones((3, 2))):
        assert transducer_greedy(encoded, predictor, blanks).labels.tolist() == []
        (h,) = transducer_beam(encoded, predictor, blanks)
        assert (h.labels.tolist(), h.score) == ([], 0.0)
    assert transducer_beam(np.zeros((1, 2)), predictor, lambda f, r: np.array([-np.inf, 0.0])) == []  # no blank
    assert transducer_greedy(np.zeros((1, 1)), predictor, lambda f, r: np.zeros(1)).score == 0.0
