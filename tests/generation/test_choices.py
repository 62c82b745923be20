"""Greedy and sampled ids, and beams, against plain forms of them in float64 on small vocabularies."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import looking_back, writer
from plain_choices import Exact, beam_search, distribution, every_sequence, greedy, log_softmax, philox, uniform

from fastgru.engine.beams import Beams
from fastgru.engine.choose import Chooser, uniforms
from fastgru.generation import Beam, Forbid, Force, Greedy, Sample

WRITERS = {
    "gru": lambda: writer(),
    "lstm": lambda: writer(cell="lstm", seed=1),
    "probabilities": lambda: writer(end="probabilities", seed=2),
    "float64": lambda: writer(seed=3, dtype="float64"),
    "convolution": lambda: looking_back(seed=4),
}
CLOSE = 1e-4  # of logarithms of probabilities, float32 beside float64


@pytest.fixture(params=WRITERS)
def pair(request):
    """A model, and the logarithms of probabilities by the reference."""
    model = WRITERS[request.param]()
    return model, Exact(model.graph, probabilities=request.param == "probabilities")


def close(a, b):
    return np.allclose(a, b, rtol=0, atol=CLOSE)


# Greedy -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [[0], [3, 1, 4, 1], list(range(5)) * 4])
def test_greedy_is_the_likeliest_id_of_each_step(pair, prompt):
    model, exact = pair
    ids, log_p = model.generate(prompt, 12, return_scores=True)
    want, scores = greedy(exact, prompt, 12)
    assert ids.dtype == np.int64
    assert ids.tolist() == want
    assert close(log_p, scores)


def test_of_equal_scores_the_lowest_id_is_chosen():
    chooser = Chooser(4)
    bound(chooser, np.array([[1, 2, 2, 0], [0, 0, 0, 0]], np.float32))
    chooser.run(0)
    assert chooser.ids.tolist() == [1, 0]


# Random numbers -----------------------------------------------------------------------------------


def test_philox_is_that_of_its_authors():
    assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ones = 0xFFFFFFFF
    assert philox([ones] * 4, [ones] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    assert philox(pi, [0xA4093822, 0x299F31D0]) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def test_uniform_numbers_follow_from_seed_row_and_step():
    seeds, places = [0, 7, 2**64 - 1], [[0, 0], [3, 1], [2, 70_000]]
    found = uniforms(np.array(seeds, np.uint64), np.array(places, np.uint32), 12, 1, 3)
    want = [[uniform(s, 12, *place, which) for which in (1, 2, 3)] for s, place in zip(seeds, places, strict=True)]
    assert found.tolist() == want


# Sampling -----------------------------------------------------------------------------------------


def bound(chooser, y, *, seed=0, seen=None, scored=False):
    """Bind a chooser to rows with places of their own."""
    places = np.stack([np.zeros(len(y)), np.arange(len(y))], axis=1).astype(np.uint32)
    chooser.bind(np.ascontiguousarray(y), np.full(len(y), seed, np.uint64), places, seen=seen, scored=scored)
    return chooser


OPTIONS = [
    {},
    {"temperature": 0.5},
    {"temperature": 3.0, "top_k": 3},
    {"top_k": 100},
    {"top_p": 0.8},
    {"top_p": 0.2, "temperature": 2.0},
    {"min_p": 0.3},
    {"top_k": 5, "top_p": 0.9, "min_p": 0.05, "temperature": 1.5},
    {"repetition_penalty": 2.0},
    {"repetition_penalty": 0.5, "top_p": 0.95},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", ["float32", "float64", "probabilities"])
def test_samples_have_the_distribution_that_is_defined(options, kind):
    """Chi-square of 20,000 draws below its value at a probability of 1e-6 (8 ids: 7 degrees, at most 40.5)."""
    count, size = 20_000, 8
    rng = np.random.default_rng(5)
    logits, seen = rng.normal(size=size) * 2, [1, 4]
    scores = log_softmax(logits) if kind == "probabilities" else logits
    y = np.exp(scores) if kind == "probabilities" else logits
    y = y.astype("float64" if kind == "float64" else "float32")
    sample = Sample(**options)
    chooser = made(size, sample, probabilities=kind == "probabilities")
    flags = np.zeros((count, size), np.uint8)
    flags[:, seen] = 1
    bound(chooser, np.tile(y, (count, 1)), seen=flags if sample.repetition_penalty != 1 else None).run(0)
    want = distribution(scores, **options, seen=seen if sample.repetition_penalty != 1 else ())
    found = np.bincount(chooser.ids, minlength=size)
    assert not found[want == 0].any()
    kept = want > 0
    square = float(((found[kept] - count * want[kept]) ** 2 / (count * want[kept])).sum())
    assert square < 40.5


def made(size, sample, **options):
    return Chooser(
        size, greedy=False, temperature=sample.temperature, top_k=sample.top_k or 0, top_p=sample.top_p or 1.0,
        min_p=sample.min_p or 0.0, penalty=sample.repetition_penalty, **options,
    )  # fmt: skip


@settings(max_examples=150)
@given(data=st.data())
def test_what_is_kept_is_what_is_defined(data):
    """The ids that 400 draws of a flat enough distribution find are those of the definition, and each its draw's."""
    size = data.draw(st.integers(1, 12))
    logits = np.array(data.draw(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=size, max_size=size)))
    options = {
        "top_k": data.draw(st.none() | st.integers(1, 14)),
        "top_p": data.draw(st.none() | st.sampled_from([0.1, 0.35, 0.6, 0.9, 1.0])),
        "min_p": data.draw(st.none() | st.sampled_from([0.0, 0.25, 0.62, 1.0])),
    }
    chooser = made(size, Sample(**options))
    bound(chooser, np.tile(logits, (400, 1))).run(3)
    want = distribution(logits, **options)
    assert set(chooser.ids.tolist()) == set(np.flatnonzero(want).tolist())


def test_a_draw_is_the_first_id_whose_share_exceeds_its_number():
    logits = np.array([0.3, -1.0, 2.0, 0.5])
    chooser = bound(made(4, Sample()), np.tile(logits, (50, 1)), seed=9)
    chooser.run(21)
    p = np.exp(log_softmax(logits))
    want = [int(np.searchsorted(np.cumsum(p), uniform(9, 21, 0, row), side="right")) for row in range(50)]
    assert chooser.ids.tolist() == want


def test_the_most_of_each_setting_gives_ids():
    """As limits do: the coldest is greedy, the hottest takes ids alike, the strictest penalty leaves what was not."""
    logits = np.array([[-3e9, 2.0, 1e9, -1.0], [-np.inf, -5.0, -5.0, -1e300]])
    assert bound(made(4, Sample(temperature=5e-324)), logits).run(0) == 0
    for temperature, want in ((5e-324, {(2, 1), (2, 2)}), (1e308, {(a, b) for a in range(4) for b in (1, 2, 3)})):
        chooser = bound(made(4, Sample(temperature=temperature)), np.tile(logits, (300, 1)))
        assert chooser.run(0) == 0
        assert set(zip(chooser.ids[::2].tolist(), chooser.ids[1::2].tolist(), strict=True)) == want
    for penalty, want in ((1.7e308, (1, 2)), (5e-324, (2, 1))):
        seen = np.array([[1, 0, 1, 0], [1, 1, 0, 0]], np.uint8)
        chooser = bound(made(4, Sample(repetition_penalty=penalty)), logits, seen=seen)
        assert chooser.run(0) == 0
        assert tuple(chooser.ids.tolist()) == want
    beam = Beam(2, length_penalty=30)
    assert 0 > beam.ranked(-1.0, 2**31 - 1) > beam.ranked(-1.0, 1) == -1
    assert np.isfinite(Beam(2, length_penalty=-30).ranked(-1e6, 2**31 - 1))


def model_logit(model, ids):
    return model(np.array(ids))[-1]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_sampled_sequence_is_that_of_the_definition(options):
    """Draw by draw, by the numbers of the seed, from the model's own scores."""
    model, seed = writer(7, seed=6), 123
    ids = model.generate([[1, 2], [4]], 30, choose=Sample(**options), seed=seed, n=2)
    for prompt, (begin, pair) in enumerate(zip([[1, 2], [4]], ids, strict=True)):
        for sample, found in enumerate(pair):
            so_far = list(begin)
            for step, i in enumerate(found):
                scores = model_logit(model, so_far)
                want = distribution(scores, **options, seen=so_far if "repetition_penalty" in options else ())
                order = np.arange(7) if not {"top_k", "top_p"} & set(options) else np.argsort(-want, kind="stable")
                at = np.searchsorted(np.cumsum(want[order]), uniform(seed, step, sample, prompt), side="right")
                assert i == order[at]
                so_far.append(int(i))


# Filters ------------------------------------------------------------------------------------------


def test_forbidden_ids_are_not_chosen(pair):
    model, exact = pair
    free = model.generate([0], 10)
    forbidden = int(free[3])
    for last in (Greedy(), Sample(), Beam(3)):
        ids = model.generate([0], 10, choose=[Forbid(forbidden), last], seed=1)
        assert forbidden not in ids
    early = model.generate([0], 10, choose=[Forbid([forbidden], before=3), Greedy()])
    assert forbidden not in early[:3]
    want = []
    for _ in range(10):
        p = exact([0, *want]).copy()
        if len(want) < 3:
            p[forbidden] = -np.inf
        want.append(int(p.argmax()))
    assert early.tolist() == want


def test_forced_ids_are_chosen_and_keep_their_probabilities(pair):
    model, exact = pair
    for last in (Greedy(), Sample(), Beam(2)):
        ids, log_p = model.generate([1], 6, choose=[Force([2, 3]), Force({4: 0}), last], seed=0, return_scores=True)
        assert ids[[0, 1, 4]].tolist() == [2, 3, 0]
        want = [exact([1, *ids[:i]])[ids[i]] for i in range(6)]
        assert close(log_p, want)


def test_functions_make_other_scores(pair):
    model, exact = pair
    seen = []

    def never_twice(log_p, tokens):
        seen.append((log_p.copy(), [row.tolist() for row in tokens]))
        for row, own in zip(log_p, tokens, strict=True):
            row[own[-1]] = -np.inf
        return log_p

    for last in (None, Sample(), Beam(3)):
        choose = never_twice if last is None else [never_twice, last]
        ids = model.generate([[0], [1, 2]], 6, choose=choose, seed=3)
        assert all(
            a != b for begin, own in zip([0, 2], ids, strict=True) for a, b in zip([begin, *own], own, strict=False)
        )
    scores, tokens = seen[1]
    assert close(scores[0], exact(tokens[0]))
    assert tokens[1][:2] == [1, 2]


# Beams --------------------------------------------------------------------------------------------

STOPS = [None, 2, [2, 3], [[1, 3], [4]]]


def listed(stop):
    """Stops as sequences."""
    items = [] if stop is None else [stop] if isinstance(stop, int) else stop
    return [(item,) if isinstance(item, int) else tuple(item) for item in items]


@pytest.mark.parametrize("stop", STOPS, ids=str)
@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5, 0.6])
def test_a_beam_as_wide_as_all_sequences_finds_the_best_of_all(pair, stop, penalty):
    """Two steps with a beam as wide as the vocabulary leave nothing out."""
    model, exact = pair
    beam = Beam(5, n_best=5, length_penalty=penalty)
    found, log_p = model.generate([3, 0], 2, choose=beam, stop=stop, return_scores=True)
    want = every_sequence(exact, [3, 0], 2, 5, listed(stop), penalty=penalty)
    assert [tuple(ids) for ids in found] == [ids for _, ids in want[:5]]
    assert close([beam.rank(p) for p in log_p], [score for score, _ in want[:5]])


@pytest.mark.parametrize("stop", STOPS, ids=str)
@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5])
def test_wider_beams_find_the_best_of_all_too(monkeypatch, stop, penalty):
    """Beams wider than the vocabulary are refused, so that the check of it is taken away."""
    from fastgru.generation.chain import Chain

    model = writer(3, seed=8)
    exact = Exact(model.graph)
    monkeypatch.setattr(Chain, "of_size", lambda self, size: setattr(self, "size", size))
    for steps in (1, 3, 5):
        stops = [s for s in listed(stop) if max(s) < 3]
        beam = Beam(3**steps, n_best=min(3**steps, 6), length_penalty=penalty)
        found = model.generate([1], steps, choose=beam, stop=[list(s) for s in stops] or None)
        want = every_sequence(exact, [1], steps, 3, stops, penalty=penalty)
        assert [tuple(ids) for ids in found] == [ids for _, ids in want[: beam.n_best]]


@pytest.mark.parametrize("width", [1, 2, 4, 5])
@pytest.mark.parametrize("stop", STOPS, ids=str)
@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5])
def test_beams_are_those_of_the_definition(pair, width, stop, penalty):
    model, exact = pair
    beam = Beam(width, n_best=width, length_penalty=penalty)
    prompts = [[0], [3, 1], [2, 2, 4]]
    for prompt, found in zip(prompts, model.generate(prompts, 7, choose=beam, stop=stop), strict=True):
        want = beam_search(exact, prompt, 7, width, listed(stop), penalty=penalty)[:width]
        assert [tuple(ids) for ids in (found if width > 1 else [found])] == [ids for _, ids in want]


def test_a_beam_of_one_is_greedy(pair):
    model, _ = pair
    assert model.generate([1, 2], 9, choose=Beam(1)).tolist() == model.generate([1, 2], 9).tolist()


def test_least_steps_and_prefixes_of_beams(pair):
    model, exact = pair
    found = model.generate([0], 2, choose=Beam(5, n_best=4, min_steps=2), stop=1)
    want = every_sequence(exact, [0], 2, 5, [(1,)], min_steps=2)
    assert [tuple(ids) for ids in found] == [ids for _, ids in want[:4]]
    found, log_p = model.generate([0], 3, choose=Beam(5, n_best=3, prefix=[4]), return_scores=True)
    want = every_sequence(exact, [0], 3, 5, prefix=[4])
    assert [tuple(ids) for ids in found] == [ids for _, ids in want[:3]]
    assert close([p.sum() for p in log_p], [score for score, _ in want[:3]])
    first, second = model.generate([[0], [1]], 3, choose=Beam(5, prefix=[[4], [2, 3]]))
    assert first[0] == 4
    assert second[:2].tolist() == [2, 3]


def test_a_beam_never_does_worse_than_greedy_on_what_it_ranks(pair):
    model, _ = pair
    ids, p = model.generate([2], 2, choose=Beam(5), return_scores=True)
    _, greedy_p = model.generate([2], 2, return_scores=True)
    assert p.sum() >= greedy_p.sum() - 1e-12
    assert len(ids) == 2


def test_rank_is_the_sum_over_a_power_of_the_length():
    assert Beam(2, length_penalty=2.0).rank([-1.0, -3.0]) == -1.0
    assert Beam(2).rank(np.array([-1.0, -3.0])) == -4.0


ONES, NONE = np.ones((1, 3), np.uint8), np.zeros((1, 3), np.uint8)


def test_the_best_of_each_beam_are_kept_and_of_equals_the_first():
    beams, third = Beams(3, 2, 2), -math.log(3)
    assert beams.run(np.zeros((2, 3), np.float32), ONES, np.array([[0, 0, 1]], np.uint8)) == 2
    assert beams.ended() == [
        (0, 0, 2, pytest.approx(third), pytest.approx(third)),
        (1, 1, 2, *[pytest.approx(third)] * 2),
    ]
    assert beams.place(1.0, True) == beams.rows == 4
    assert beams.moved
    assert (beams.parents.tolist(), beams.ids.tolist()) == ([0, 0, 1, 1], [0, 1, 0, 1])
    beams.worst[0] = 2 * third  # as good as what beam 0 can still find
    beams.found[0] = 1
    assert beams.run(np.zeros((4, 3)), ONES, NONE) == 0
    assert beams.place(1.0, True) == 2
    assert (beams.parents.tolist(), beams.ids.tolist(), beams.beams[:2].tolist()) == ([2, 2], [0, 1], [1, 1])
    assert np.allclose(beams.sums[:2], 2 * third)
    ids, log_p = beams.sequence(1)
    assert (ids.tolist(), beams.sequence(1, 1)[0].tolist()) == ([0, 1], [1])
    assert np.allclose(log_p, third)


def test_a_beam_without_a_sequence_is_told_unless_one_has_ended():
    for found, want in ((0, -2), (1, 2)):
        beams = Beams(3, 2, 2)
        beams.found[1] = found
        assert beams.run(np.zeros((2, 3)), np.array([[1, 1, 1], [0, 0, 0]], np.uint8), NONE) == 0
        assert beams.place(1.0, True) == want
    assert Beams(3, 2, 2).run(np.array([[0, 0, 0], [0, np.nan, 0]]), ONES, NONE) == -2
    with pytest.raises(ValueError, match=r"scores must have shape \(2, 3\), C-contiguous, got \(3, 2\)"):
        Beams(3, 2, 2).run(np.zeros((3, 2)), ONES, NONE)


def test_rows_that_go_on_stay_in_place():
    beams = Beams(3, 2, 2, normal=False)
    beams.run(np.array([[0.0, -1, -9], [0, -1, -9]]), ONES, NONE)
    beams.place(1.0, True)
    beams.run(np.array([[-3.0, -9, -9], [-1, -9, -9], [-9, -9, -9], [-1, -2, -9]]), ONES, NONE)
    assert beams.place(1.0, True) == 4
    assert beams.parents.tolist() == [0, 1, 3, 3]
    assert beams.beams.tolist() == [0, 0, 1, 1]
    assert beams.order.tolist() == [1, 0, 3, 2]
    assert beams.sums.tolist() == [-3.0, -2.0, -3.0, -2.0]
    assert Counter(beams.parents.tolist()) == Counter([1, 0, 3, 3])
