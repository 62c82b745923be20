"""``fastgru generate``: text, ids and values on standard output, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from commands import invoke

import fastgru
from fastgru.generation import Beam, Sample, Vocabulary
from fastgru.layers import GRU, Dense, Embedding

TOKENS = ["<end>", " ", *"abcdefgh"]


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model of ten tokens and its vocabulary, and one of values, in the current folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    gru = GRU.from_torch(rng.normal(size=(24, 4)), rng.normal(size=(24, 8)))
    made = fastgru.Model([Embedding(rng.normal(size=(10, 4))), gru, Dense(rng.normal(size=(10, 8)) * 2)])
    made.save("m.fgru")
    made.compile("m.plan")
    (tmp_path / "tokens.json").write_text(json.dumps(TOKENS))
    (tmp_path / "tokens.txt").write_text("\n".join(TOKENS) + "\n")
    fastgru.Model([Dense([[0.5, 0.0], [0.25, 0.5]])]).save("v.fgru")
    np.save("p.npy", np.ones((2, 2)))
    np.save("ids.npy", np.array([2, 3]))
    return made


def ids_of(text):
    return [int(word) for word in text.strip().split(",")]


def test_ids_go_on_from_ids(model):
    want = model.generate([2, 3], 12).tolist()
    assert ids_of(invoke("generate", "m.fgru", "-p", "2,3", "-n", 12)) == want
    assert ids_of(invoke("generate", "m.fgru", "-p", "2 3", "--steps", 12)) == want
    assert ids_of(invoke("generate", "m.fgru", "-p", "ids.npy", "--steps", 12)) == want
    assert ids_of(invoke("generate", "m.plan", "-p", "2,3", "-n", 12, "--output-kind", "logits")) == want
    drawn = model.generate([2, 3], 12, choose=Sample(0.8, top_k=5), seed=3).tolist()
    words = ("--temperature", 0.8, "--top-k", 5, "--seed", 3)
    assert ids_of(invoke("generate", "m.fgru", "-p", "2,3", "-n", 12, *words)) == drawn
    window = model.generate([2], 5, window=4, pad=1).tolist()
    assert ids_of(invoke("generate", "m.fgru", "-p", "2", "-n", 5, "--window", 4, "--pad", 1)) == window


@pytest.mark.parametrize("file", ["tokens.json", "tokens.txt"])
def test_text_goes_on_from_text(model, file):
    vocabulary = Vocabulary(TOKENS)
    ids = model.generate(vocabulary.encode("abba"), 30, choose=Sample(), seed=2, stop=4)
    want = "abba" + vocabulary.decode(ids[ids != 4])
    words = ("--vocabulary", file, "--seed", 2, "--stop", "c", "-n", 30)
    assert invoke("generate", "m.fgru", "-p", "abba", *words) == f"{want}\n"
    assert invoke("generate", "m.fgru", "-p", "-", *words, stdin="abba\n") == f"{want}\n"
    several = invoke("generate", "m.fgru", "-p", "abba", "-p", "h", *words).splitlines()
    assert several[0] == want
    forbidden = invoke("generate", "m.fgru", "-p", "abba", *words, "--forbid", "e", "--forbid", "<end>")
    assert "e" not in forbidden[4:]


def test_scores_stand_in_front_of_sequences(model):
    found, log_p = model.generate([2], 6, choose=Beam(4, n_best=3), return_scores=True)
    text = invoke("generate", "m.fgru", "-p", "2", "-n", 6, "--beam", 4, "--n-best", 3, "--scores")
    rows = [line.split() for line in text.splitlines()]
    assert [ids_of(row[1]) for row in rows] == [ids.tolist() for ids in found]
    assert [float(row[0]) for row in rows] == [round(float(p.sum()), 4) for p in log_p]
    pairs = invoke("generate", "m.fgru", "-p", "2", "-p", "3", "-n", 6, "--samples", 2, "--seed", 1).splitlines()
    want = [ids.tolist() for each in model.generate([[2], [3]], 6, choose=Sample(), n=2, seed=1) for ids in each]
    assert [ids_of(line) for line in pairs] == want


def test_values_are_a_line_for_each_step(model):
    assert invoke("generate", "v.fgru", "-p", "p.npy", "-n", 2) == "0.5,0.75\n0.25,0.5\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m.fgru", "-p", "hello"], "--prompt must be ids such as 5,2,9, got 'hello'; text needs --vocabulary"),
        (["m.fgru", "-p", ""], "--prompt must be ids such as 5,2,9, got ''"),
        (["m.fgru", "-p", "", "--vocabulary", "tokens.json"], "--prompt must have at least one token, got an"),
        (["m.fgru", "-p", "abz", "--vocabulary", "tokens.json"],
         "text must be made of tokens of the vocabulary, got 'z' at character 2"),
        (["m.fgru", "-p", "1", "--vocabulary", "m.fgru"], "m.fgru: vocabulary must be JSON or lines of text in UTF-8"),
        (["m.fgru", "-p", "1,10"], "m.fgru: prompt must have ids in 0..9, got 10 at index 1"),
        (["m.fgru", "-p", "1", "--beam", 11], "m.fgru: --beam must be at most the 10 ids of the"),
        (["m.fgru", "-p", "1", "--beam", 2, "--top-k", 3], "--top-k must come without --beam, got it with"),
        (["m.fgru", "-p", "1", "--n-best", 3], "--n-best must come with --beam, got it without"),
        (["m.fgru", "-p", "1", "--top-p", 0], "--top-p must be a number above 0 and at most 1, got"),
        (["m.fgru", "-p", "1", "--temperature", 0], "--temperature must be a positive number such as 0.01, got '0'"),
        (["m.fgru", "-p", "1", "--pad", "x"], "--pad must be one token or id, got 'x'"),
        (["m.fgru", "-p", "1", "--unknown", "x"], "--unknown must come with --vocabulary, got none"),
        (["m.fgru", "-p", "1", "--output-kind", "x"], "--output-kind must be one of logits, probabilities, log_prob"),
        (["m.fgru", "-p", "none.npy"], "none.npy: No such file or directory"),
        (["v.fgru", "-p", "1"], "v.fgru: prompt must be numbers of shape (T, 2), got int64 of shape (1,)"),
        (["m.plan", "-p", "1"], "m.plan: --output-kind must be one of"),
    ],
)  # fmt: skip
def test_what_it_refuses_is_one_line(model, words, message):
    assert message in invoke("generate", *words, code=2)
