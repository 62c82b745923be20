"""Generation as a whole: any batch and threads give the same bits, rows stop, models are fed as they ask to be."""

from __future__ import annotations

import numpy as np
import pytest
from nets import PROMPTS, equal, flat, looking_back, writer
from recipe_runs import same_bits

import fastgru
from fastgru import Model
from fastgru.generation import Beam, Greedy, Sample
from fastgru.graph import GraphBuilder, Softmax, Spec, Unary
from fastgru.layers import GRU, Dense, Embedding

CHOICES = {
    "greedy": Greedy(),
    "sample": Sample(),
    "warped": Sample(temperature=1.3, top_k=4, top_p=0.95, min_p=0.01, repetition_penalty=1.2),
    "beam": Beam(3, n_best=2),
}
MODELS = {
    "stream": lambda: writer(),
    "lstm": lambda: writer(cell="lstm", end="probabilities"),
    "convolution": lambda: looking_back(),
    "large": lambda: writer(units=160),  # that threads share
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(params=CHOICES)
def choose(request):
    return CHOICES[request.param]


# The same bits ------------------------------------------------------------------------------------


def test_each_prompt_gives_the_bits_that_it_gives_alone(model, choose):
    seeds = list(range(50, 56))
    together = model.generate(PROMPTS, 12, choose=choose, stop=[2, [1, 0]], seed=seeds, return_scores=True)
    for i, prompt in enumerate(PROMPTS):
        alone = model.generate(prompt, 12, choose=choose, stop=[2, [1, 0]], seed=seeds[i], return_scores=True)
        assert equal([part[i] for part in together], alone)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_batch_and_number_of_threads_give_the_same_bits(model, choose, threads):
    """One seed counts the prompts: what stands behind a prompt, and how many rows run together, changes nothing."""
    prompts = PROMPTS * 5
    whole = model.generate(prompts, 9, choose=choose, stop=3, seed=77, return_scores=True)
    again = model.generate(prompts, 9, choose=choose, stop=3, seed=77, return_scores=True, threads=threads)
    assert equal(whole, again)
    for count in (1, 2, 7):
        part = model.generate(prompts[:count], 9, choose=choose, stop=3, seed=77, return_scores=True, threads=threads)
        assert equal([each[:count] for each in whole], part)


def test_chunks_of_the_prompt_change_nothing(model, choose, monkeypatch):
    prompts = [list(range(5)) * 9, [1], [2, 3] * 11]
    whole = model.generate(prompts, 6, choose=choose, seed=1, return_scores=True)
    monkeypatch.setattr("fastgru.generation.sources.PROMPT_NUMBERS", 1)
    assert equal(whole, model.generate(prompts, 6, choose=choose, seed=1, return_scores=True))


def test_a_prompt_in_two_calls_goes_on_as_in_one(model):
    """Greedy ids behind a longer prompt are those that go on from a shorter one."""
    ids = model.generate([1, 2], 10)
    for cut in (1, 4, 9):
        assert model.generate([1, 2, *ids[:cut]], 10 - cut).tolist() == ids[cut:].tolist()


def test_samples_of_a_prompt_are_the_same_for_any_number_of_them():
    model = writer()
    three = model.generate([[1], [2, 3]], 8, choose=Sample(50.0), n=3, seed=5)
    one = model.generate([[1], [2, 3]], 8, choose=Sample(50.0), seed=5)
    assert [len(each) for each in three] == [3, 3]
    assert equal([each[0] for each in three], one)
    assert not equal(three[0][0], three[0][1])
    assert equal(model.generate([1], 8, choose=Sample(50.0), n=3, seed=5), three[0])


@pytest.mark.parametrize("choose", [Greedy(), Sample(), Beam(2), Beam(2, n_best=2)], ids=str)
def test_an_empty_batch_gives_an_empty_list(choose):
    nothing = np.zeros((0, 3), int)
    assert writer().generate(nothing, 5, choose=choose) == []
    assert writer().generate(nothing, 5, choose=choose, return_scores=True) == ([], [])
    assert writer().generate(nothing, 5, choose=choose, window=4, pad=0) == []
    if not isinstance(choose, Beam):
        assert list(writer().generate(nothing, None, choose=choose, iterate=True)) == []
    with pytest.raises(ValueError, match=r"stop must have ids in 0\.\.4, got 9"):
        writer().generate(nothing, 5, choose=choose, stop=9)
    assert Model([Dense(np.eye(2))]).generate(np.zeros((0, 3, 2)), 5) == []


def test_other_seeds_draw_others_and_none_draws_anew():
    model = writer()
    drawn = {
        tuple(model.generate([1], 20, choose=Sample(50.0), seed=seed).tolist()) for seed in (1, 2, None, None, None)
    }
    assert len(drawn) == 5


def test_every_instruction_set_with_fused_products_gives_the_same_ids(isa):
    model = writer(isa=isa)
    other = writer()
    if {isa, other.isa} <= {"avx512", "avx2", "neon"}:
        assert equal(
            model.generate(PROMPTS, 9, choose=Sample(), seed=1), other.generate(PROMPTS, 9, choose=Sample(), seed=1)
        )


# Iterators ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["greedy", "sample", "warped"])
@pytest.mark.parametrize("n", [1, 3])
def test_iterators_give_what_whole_calls_give(model, name, n):
    options = {"choose": CHOICES[name], "stop": [2, [1, 0]], "seed": 4, "n": n}
    whole, scores = model.generate(PROMPTS, 12, return_scores=True, **options)
    steps = list(model.generate(PROMPTS, 12, iterate=True, return_scores=True, **options))
    ids = np.stack([ids for ids, _ in steps], axis=-1).reshape(-1, len(steps))
    log_p = np.stack([p for _, p in steps], axis=-1).reshape(-1, len(steps))
    for row, p, want, score in zip(ids, log_p, flat(whole), flat(scores), strict=True):
        count = len(want)
        assert row[:count].tolist() == want.tolist()
        assert (row[count:] == -1).all()
        assert same_bits(p[:count], score)
        assert np.isnan(p[count:]).all()


def test_an_iterator_of_one_row_gives_ids():
    model = writer()
    want = model.generate([1], 6)
    assert list(model.generate([1], 6, iterate=True)) == want.tolist()
    assert all(type(i) is int for i in model.generate([1], 6, iterate=True))
    pairs = list(model.generate([1], 6, iterate=True, return_scores=True))
    assert [i for i, _ in pairs] == want.tolist()


def test_an_iterator_goes_on_without_end():
    model = writer()
    run = model.generate([1], None, iterate=True)
    found = [next(run) for _ in range(200)]
    assert found == model.generate([1], 200).tolist()


def test_an_iterator_checks_before_the_first_step():
    with pytest.raises(ValueError, match="n must be an integer of at least 1, got 0"):
        writer().generate([1], 6, iterate=True, n=0)


# Stops --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [2, [2], [2, 4], [[1, 0]], [[3, 2, 1], 0], np.array([1, 3])], ids=str)
def test_rows_end_with_their_stop(model, stop):
    free = model.generate(PROMPTS, 25, choose=Sample(), seed=8)
    found = model.generate(PROMPTS, 25, choose=Sample(), seed=8, stop=stop)
    for whole, part in zip(free, found, strict=True):
        assert part.tolist() == whole[: len(part)].tolist()
        first = next((t for t in range(1, 26) if stops_at(whole[:t].tolist(), stop)), 25)
        assert len(part) == first


def stops_at(ids, stop):
    items = [stop] if isinstance(stop, int) else list(stop)
    sequences = [[int(item)] if np.ndim(item) == 0 else list(item) for item in items]
    return any(ids[-len(s) :] == s for s in sequences)


def test_stopped_rows_are_not_run(monkeypatch):
    """The batch of a step has the rows that go on, and the last step is not followed by another."""
    model, rows = writer(), []
    from fastgru.generation.sources import Streamed

    step = Streamed.step
    monkeypatch.setattr(Streamed, "step", lambda self, x: (rows.append(self.stream.batch), step(self, x))[1])
    found = model.generate(PROMPTS, 30, choose=Sample(), seed=8, stop=2)
    lengths = [len(ids) for ids in found]
    assert len(set(lengths)) > 2
    assert rows == [sum(length > t for length in lengths) for t in range(1, max(lengths)) if t < 30]


def test_beams_that_are_done_free_their_rows(monkeypatch):
    model, rows = writer(seed=1), []
    from fastgru.generation.sources import Streamed

    step = Streamed.step
    monkeypatch.setattr(Streamed, "step", lambda self, x: (rows.append(self.stream.batch), step(self, x))[1])
    model.generate(PROMPTS, 40, choose=Beam(2), stop=[0, 1])
    assert rows[0] <= 12
    assert len(rows) < 39
    assert sorted(rows, reverse=True) == rows


def test_state_is_copied_for_second_sequences_of_a_row_alone(monkeypatch):
    """Of beams in place: the rows that differ from their number are those which a sequence had to leave."""
    from fastgru.generation.sources import Streamed

    moved, keep = [], Streamed.keep
    monkeypatch.setattr(Streamed, "keep", lambda self, rows: (moved.append(rows.copy()), keep(self, rows))[1])
    writer().generate([1], 20, choose=Beam(5))
    for rows in moved[1:]:
        stay = rows == np.arange(len(rows))
        assert stay.sum() == len(set(rows.tolist()))  # each row that goes on does so in its own place once


# What the output holds ----------------------------------------------------------------------------


@pytest.mark.parametrize("choose", [Greedy(), Sample(), Sample(0.7, repetition_penalty=1.5), Beam(3)], ids=str)
def test_the_output_is_read_as_what_the_graph_ends_with(choose):
    """Logits, and what softmax and its logarithm make of them, choose alike."""
    rng = np.random.default_rng(3)
    weights = (rng.normal(size=(5, 4)), rng.normal(size=(24, 4)), rng.normal(size=(24, 8)), rng.normal(size=(5, 8)))

    def ended(kind):
        b = GraphBuilder()
        x = b.add(Embedding(weights[0]), b.input("ids", Spec((), dtype="int")))
        y = b.add(Dense(weights[3]), b.add(GRU.from_torch(*weights[1:3]), x))
        if kind == "softmax":
            y = b.add(Softmax(0), y)
        elif kind == "log of softmax":
            y = b.add(Unary("log"), b.add(Softmax(0), y))
        elif kind == "log_softmax":
            y = b.add(Softmax(0, log=True), y)
        return Model(b.build(y))

    found = {}
    for kind in ("logits", "softmax", "log of softmax", "log_softmax"):
        penalised = getattr(choose, "repetition_penalty", 1) != 1
        if kind == "logits" and penalised:  # of logits themselves, which may be positive
            continue
        found[kind] = ended(kind).generate(PROMPTS, 10, choose=choose, seed=1, return_scores=True)
    first, *others = found.values()
    for other in others:
        assert [ids.tolist() for ids in first[0]] == [ids.tolist() for ids in other[0]]
        for a, b in zip(first[1], other[1], strict=True):
            assert np.allclose(a, b, atol=1e-4)


def test_the_kind_can_be_told():
    model = writer(end="probabilities")
    whole = model.generate([1], 5, return_scores=True)
    told = model.generate([1], 5, return_scores=True, output_kind="logits")
    assert whole[0].tolist() == told[0].tolist()
    assert not np.allclose(whole[1], told[1])


def test_a_compiled_plan_generates_when_told_what_it_outputs(tmp_path):
    model = writer()
    model.compile(tmp_path / "m.plan")
    plan = fastgru.load(tmp_path / "m.plan")
    found = plan.generate(PROMPTS, 9, choose=Sample(), seed=2, output_kind="logits")
    assert equal(found, model.generate(PROMPTS, 9, choose=Sample(), seed=2))
    with pytest.raises(
        ValueError, match="output_kind must be one of logits, probabilities, log_probabilities for a comp"
    ):
        plan.generate([1], 3)
