"""CTC decoders against the enumeration of all alignments; chunks against the whole."""

from __future__ import annotations

import numpy as np
import pytest
from decoded import ctc, ctc_many, in_chunks, log_probs, same, some
from hypothesis import given
from hypothesis import strategies as st

from fastgru.decode import CtcBeam, CtcGreedy, ctc_beam, ctc_greedy

SEEDS = st.integers(0, 2**32 - 1)
CUTS = st.lists(st.integers(0, 1000), max_size=4)
ALL = 4096  # more labellings than any small example has


def close(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-12 * max(1.0, abs(b))


@some
@given(SEEDS, st.integers(0, 5), st.integers(1, 4), st.sampled_from([0.0, 0.3, 0.8]), st.data())
def test_a_wide_beam_finds_every_labelling(seed, T, V, zeros, data):
    x, blank = log_probs(seed, T, V, zeros=zeros), data.draw(st.integers(0, V - 1))
    expected = ctc(x, blank)
    found = ctc_beam(x, ALL, blank=blank, n_best=ALL)
    assert {tuple(h.labels.tolist()) for h in found} == expected.keys()
    for h in found:
        wanted = expected[tuple(h.labels.tolist())]
        assert close(h.log_prob, wanted.log_prob)
        assert h.score == h.log_prob
        assert tuple(h.frames.tolist()) in wanted.frames
    scores = [h.score for h in found]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(("T", "V"), [(6, 10), (12, 3), (19, 2), (3, 100)])
def test_a_million_alignments(T, V):
    x = log_probs(T, T, V)
    expected = ctc_many(x)
    found = ctc_beam(x, len(expected), n_best=len(expected))
    assert len(found) == len(expected)
    for h in found:
        assert abs(h.log_prob - expected[tuple(h.labels.tolist())]) < 1e-10


@some
@given(SEEDS, st.integers(0, 6), st.integers(1, 5), st.data())
def test_greedy_is_the_best_path(seed, T, V, data):
    x, blank = log_probs(seed, T, V, zeros=0.2), data.draw(st.integers(0, V - 1))
    h = ctc_greedy(x, blank=blank)
    path = [int(c) for c in x.argmax(axis=1)] if T else []  # of equals the lowest
    onsets = [t for t, c in enumerate(path) if c != blank and (t == 0 or c != path[t - 1])]
    assert h.labels.tolist() == [path[t] for t in onsets]
    assert h.frames.tolist() == onsets
    assert close(h.log_prob, float(sum(x[t, c] for t, c in enumerate(path))))


@some
@given(SEEDS, st.integers(0, 60), st.integers(1, 12), st.integers(1, 20), CUTS, st.sampled_from(["f4", "f8"]))
def test_chunks_give_the_bits_of_the_whole(seed, T, V, width, cuts, dtype):
    x = log_probs(seed, T, V, zeros=0.1, sharp=2.0).astype(dtype)
    early, result = in_chunks(CtcGreedy(), x, cuts)
    assert same(result, ctc_greedy(x))
    assert early == result.labels.tolist()
    decoder = CtcBeam(width, n_best=width)
    early, found = in_chunks(decoder, x, cuts)
    assert same(found, ctc_beam(x, width, n_best=width))
    assert all(h.labels.tolist()[: len(early)] == early for h in found)
    assert same(in_chunks(decoder, x, cuts[:1])[1], found)  # it has begun anew


def test_a_long_stream_drops_what_no_hypothesis_needs():
    x = log_probs(0, 20_000, 8, sharp=4.0)
    decoder = CtcBeam(8)
    early = [int(c) for chunk in np.array_split(x, 57) for c in decoder.push(chunk)]
    (best,) = decoder.finish()
    assert len(early) > 1000  # others are as likely for long
    assert best.labels.tolist()[: len(early)] == early
    assert same([best], ctc_beam(x, 8))
    assert (np.diff(best.frames) > 0).all()


@some
@given(SEEDS, st.integers(1, 4), st.integers(0, 12), st.integers(2, 6), st.integers(1, 5))
def test_rows_of_a_batch_are_decoded_alone(seed, B, T, V, width):
    rng = np.random.default_rng(seed)
    x, lengths = np.stack([log_probs(seed + b, T, V) for b in range(B)]), rng.integers(0, T + 1, B)
    for b, n in enumerate(lengths):
        x[b, n:] = np.nan  # what does not count may be anything
    assert same(ctc_beam(x, width, lengths), [ctc_beam(row[:n], width) for row, n in zip(x, lengths, strict=True)])
    assert same(ctc_greedy(x, lengths), [ctc_greedy(row[:n]) for row, n in zip(x, lengths, strict=True)])


def test_float32_is_read_as_it_is():
    x = log_probs(1, 40, 9).astype(np.float32)
    assert same(ctc_beam(x), ctc_beam(x.astype(np.float64)))


def test_of_equal_scores_the_shorter_then_the_lower_comes_first():
    found = ctc_beam(np.full((1, 4), np.log(0.25)), n_best=4)
    assert [h.labels.tolist() for h in found] == [[], [1], [2], [3]]
    pairs = ctc_beam(np.full((2, 3), np.log(1 / 3)), n_best=16)
    assert [h.labels.tolist() for h in pairs] == [[1], [2], [], [1, 2], [2, 1]]
    assert [h.labels.tolist() for h in ctc_beam(np.full((2, 3), np.log(1 / 3)), 2, n_best=2)] == [[1], []]
    assert ctc_greedy(np.full((1, 3), np.log(1 / 3)), blank=2).labels.tolist() == [0]


def test_the_beam_sums_what_the_best_path_does_not():
    x = np.log([[0.6, 0.4], [0.6, 0.4]])
    assert ctc_greedy(x).labels.tolist() == []
    assert ctc_beam(x)[0].labels.tolist() == [1]


@pytest.mark.parametrize("V", [1, 2, 7])
def test_no_frames_and_blanks_alone(V):
    blanks = np.full((5, V), -np.inf)
    blanks[:, 0] = 0.0
    for x in (np.zeros((0, V)), blanks):
        (h,) = ctc_beam(x, n_best=1)
        assert (h.labels.tolist(), h.score) == ([], 0.0)
        assert ctc_greedy(x).labels.tolist() == []
    assert CtcBeam(n_best=3).finish()[0].labels.tolist() == CtcGreedy().finish().labels.tolist() == []
    assert ctc_greedy(np.zeros((0, 5, V))) == ctc_beam(np.zeros((0, 5, V))) == []


def test_a_frame_without_any_probability_leaves_no_labelling():
    x = log_probs(3, 4, 3)
    x[2] = -np.inf
    assert ctc_beam(x) == []
    assert ctc_greedy(x).score == -np.inf
    decoder = CtcBeam()
    decoder.push(x)
    assert decoder.push(x).tolist() == decoder.finish() == []


def test_a_narrow_beam_keeps_the_best_after_every_frame():
    """Against a search that is written down as its definition reads."""
    for seed in range(20):
        x, width = log_probs(seed, 30, 6, sharp=1.5), 1 + seed % 5
        beam = {(): (0.0, -np.inf)}
        for frame in x:
            new: dict = {}
            for labels, (blank, label) in beam.items():
                total = np.logaddexp(blank, label)
                old = new.get(labels, (-np.inf, -np.inf))
                same_label = label + frame[labels[-1]] if labels else -np.inf
                new[labels] = (np.logaddexp(old[0], total + frame[0]), np.logaddexp(old[1], same_label))
                for c in range(1, 6):
                    more, old = (*labels, c), new.get((*labels, c), (-np.inf, -np.inf))
                    score = (blank if labels and labels[-1] == c else total) + frame[c]
                    new[more] = (old[0], np.logaddexp(old[1], score))
            beam = dict(sorted(new.items(), key=lambda item: -np.logaddexp(*item[1]))[:width])
        found = ctc_beam(x, width, n_best=width)
        assert [tuple(h.labels.tolist()) for h in found] == list(beam)
        np.testing.assert_allclose([h.score for h in found], [np.logaddexp(*s) for s in beam.values()], rtol=1e-12)


def test_symbols_make_a_text():
    x = np.log([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    symbols = ["", "h", "i"]
    assert ctc_greedy(x, symbols=symbols).text == ctc_beam(x, symbols=symbols)[0].text == "hi"
    assert ctc_greedy(x).text is None
