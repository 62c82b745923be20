"""Tags of conditional random fields against the enumeration of all paths; chunks against the whole."""

from __future__ import annotations

import numpy as np
import pytest
from decoded import in_chunks, paths, same, some
from hypothesis import given
from hypothesis import strategies as st

from fastgru.decode import CrfViterbi, crf_marginals, crf_viterbi

SEEDS = st.integers(0, 2**32 - 1)


def field(seed: int, T: int, K: int, *, forbidden: float = 0.0, whole: bool = False):
    """Random emissions, transitions, starts and ends; of integers, many paths have equal scores."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=shape) * 2 for shape in ((T, K), (K, K), (K,), (K,))]
    if whole:
        parts = [np.round(part) for part in parts]
    for part in parts:
        part[rng.random(part.shape) < forbidden] = -np.inf
    return parts


@some
@given(SEEDS, st.integers(1, 6), st.integers(1, 4), st.sampled_from([0.0, 0.2, 0.6]), st.booleans())
def test_the_best_of_all_paths(seed, T, K, forbidden, whole):
    parts = field(seed, T, K, forbidden=forbidden, whole=whole)
    expected = paths(*parts)
    most = max(expected.values())
    found = crf_viterbi(*parts)
    if most == -np.inf:
        assert (found.labels.tolist(), found.score) == ([], -np.inf)
        return
    assert abs(found.score - most) <= 1e-12 * max(1.0, abs(most))
    labels = tuple(found.labels.tolist())
    assert abs(expected[labels] - most) < 1e-12 * max(1.0, abs(most))
    if whole:  # exact sums: of equal paths the lower tag where they last differ
        assert labels == min((p for p, score in expected.items() if score == most), key=lambda p: p[::-1])


@some
@given(SEEDS, st.integers(1, 5), st.integers(1, 4), st.sampled_from([0.0, 0.2, 0.6]))
def test_marginals_of_all_paths(seed, T, K, forbidden):
    parts = field(seed, T, K, forbidden=forbidden)
    expected = paths(*parts)
    scores = np.array(list(expected.values()))
    found = crf_marginals(*parts)
    total = np.logaddexp.reduce(scores)
    if total == -np.inf:
        assert found.log_partition == -np.inf
        assert not found.probabilities.any()
        return
    assert abs(found.log_partition - total) < 1e-12 * max(1.0, abs(total))
    wanted = np.zeros((T, K))
    for path, p in zip(expected, np.exp(scores - total), strict=True):
        wanted[np.arange(T), path] += p
    np.testing.assert_allclose(found.probabilities, wanted, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("T", "K"), [(6, 10), (19, 2), (3, 100)])
def test_a_million_paths(T, K):
    emissions, transitions, start, end = field(T, T, K)
    grid = np.indices((K,) * T, dtype=np.int32).reshape(T, -1)
    scores = start[grid[0]] + end[grid[-1]] + sum(emissions[t][grid[t]] for t in range(T))
    scores += sum(transitions[grid[t - 1], grid[t]] for t in range(1, T))
    found = crf_viterbi(emissions, transitions, start, end)
    assert found.labels.tolist() == grid[:, scores.argmax()].tolist()
    marginals = crf_marginals(emissions, transitions, start, end)
    most = scores.max()
    weights = np.exp(scores - most)
    assert abs(marginals.log_partition - most - np.log(weights.sum())) < 1e-10
    for t in range(T):
        wanted = np.bincount(grid[t], weights, K) / weights.sum()
        np.testing.assert_allclose(marginals.probabilities[t], wanted, rtol=1e-8, atol=1e-14)


@some
@given(
    SEEDS,
    st.integers(0, 80),
    st.integers(1, 7),
    st.lists(st.integers(0, 99), max_size=6),
    st.sampled_from(["f4", "f8"]),
)
def test_chunks_give_the_bits_of_the_whole(seed, T, K, cuts, dtype):
    emissions, *rest = field(seed, T, K, forbidden=0.05)
    emissions = emissions.astype(dtype)
    decoder = CrfViterbi(*rest)
    early, found = in_chunks(decoder, emissions, cuts)
    assert same(found, crf_viterbi(emissions, *rest))
    if found.score > -np.inf:
        assert found.labels.tolist()[: len(early)] == early
    assert same(in_chunks(decoder, emissions, cuts[:1])[1], found)  # it has begun anew


def test_a_stream_says_what_is_certain_and_forgets_it():
    emissions, *rest = field(0, 20_000, 5)
    decoder = CrfViterbi(*rest)
    early = [int(k) for frame in emissions for k in decoder.push(frame)]
    assert len(early) > 19_900
    found = decoder.finish()
    assert found.labels.tolist()[: len(early)] == early
    assert same(found, crf_viterbi(emissions, *rest))


@some
@given(SEEDS, st.integers(1, 4), st.integers(0, 8), st.integers(1, 4))
def test_rows_of_a_batch_are_decoded_alone(seed, B, T, K):
    rng = np.random.default_rng(seed)
    _, *rest = field(seed, 1, K)
    x, lengths = rng.normal(size=(B, T, K)), rng.integers(0, T + 1, B)
    for b, n in enumerate(lengths):
        x[b, n:] = np.nan
    assert same(crf_viterbi(x, *rest, lengths), [crf_viterbi(x[b, :n], *rest) for b, n in enumerate(lengths)])
    found = crf_marginals(x, *rest, lengths)
    for b, n in enumerate(lengths):
        alone = crf_marginals(x[b, :n], *rest)
        assert np.array_equal(found.probabilities[b, :n], alone.probabilities)
        assert not found.probabilities[b, n:].any()
        assert found.log_partition[b] == alone.log_partition


def test_no_frames_and_one_tag():
    assert crf_viterbi(np.zeros((0, 3)), np.zeros((3, 3))).score == 0.0
    assert CrfViterbi(np.zeros((3, 3))).finish().labels.tolist() == []
    assert crf_marginals(np.zeros((0, 3)), np.zeros((3, 3))).log_partition == 0.0
    found = crf_viterbi([[2.0], [3.0]], [[0.5]], [1.0], [1.0])
    assert (found.labels.tolist(), found.score) == ([0, 0], 7.5)
    assert crf_marginals([[2.0], [3.0]], [[0.5]]).probabilities.tolist() == [[1.0], [1.0]]


def test_scores_far_from_zero_have_marginals():
    found = crf_marginals(np.array([[2000.0, -2000.0], [-2000.0, 1999.0]]), np.zeros((2, 2)))
    assert found.log_partition == 3999.0
    assert found.probabilities.tolist() == [[1.0, 0.0], [0.0, 1.0]]
