"""Mistakes on the command line: messages in its words, warnings on stderr."""

from __future__ import annotations

import numpy as np
import pytest
from commands import invoke

import fastgru
from fastgru.graph import Add, GraphBuilder, Spec
from fastgru.layers import GRU, Dense, Embedding

RNG = np.random.default_rng(0)
ENCODER = {"enc.weight_ih_l0": RNG.normal(size=(12, 3)), "enc.weight_hh_l0": RNG.normal(size=(12, 4))}
DECODER = {f"dec.{name}.weight": RNG.normal(size=(2, 4)) for name in ("a", "b")}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_part_of_a_checkpoint_is_said_to_be_one():
    np.savez("m.npz", **ENCODER, **DECODER)
    with pytest.warns(UserWarning, match="unused") as said:
        invoke("convert", "m.npz", "-o", "m.fgru", "--like", "GRU name=enc")
    assert str(said[0].message) == (
        "m.npz: 2 of 4 arrays are unused, of dec: the model is only a part of what the file holds. Describe every "
        "layer in --like, or say that this is meant: --ignore dec"
    )
    printed = invoke("convert", "m.npz", "-o", "m.fgru", "--like", "GRU name=enc", "--ignore", "dec")
    assert "unused" not in printed


LEFT = ("--forbid", "5,6")  # of seven ids, as the input takes five


@pytest.fixture
def models():
    """Models of values that cannot be fed back as they are, one of ids as vectors, and one of two outputs."""
    gru = GRU.from_torch(RNG.normal(size=(12, 3)), RNG.normal(size=(12, 4)))
    fastgru.Model([gru, Dense(RNG.normal(size=(2, 4)))]).save("two.fgru")
    fastgru.Model([gru, Dense(RNG.normal(size=(3, 4)))]).save("three.fgru")
    fastgru.Model([Embedding(RNG.normal(size=(5, 3))), gru, Dense(RNG.normal(size=(7, 4)))]).save("ids.fgru")
    b = GraphBuilder()
    h = b.add(gru, b.input("x", Spec((3,))))
    fastgru.Model(b.build(h, b.add(Dense(np.eye(4)[:3]), h))).save("outputs.fgru")
    b = GraphBuilder()
    fastgru.Model(b.build(b.add(Add(), b.input("a", Spec((3,))), b.input("b", Spec((3,)))))).save("inputs.fgru")
    np.save("x.npy", np.ones((4, 3)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("two.fgru", "-p", "x.npy"), "takes frames of shape (3,): generate in Python, where Model.generate takes a "
         "function that makes one of the other as feed="),
        (("two.fgru", "-p", "1", "--temperature", 1), "takes frames of shape (3,): generate in Python, where "
         "Model.generate takes an array (2, 3) with a vector for each id, or a function"),
        (("three.fgru", "-p", "1", "--temperature", 1), "takes frames of shape (3,): --one-hot gives vectors of zeros"),
        (("two.fgru", "-p", "1", "--one-hot"), "--one-hot must give a vector of the input's shape (3,) for each of 2 "
         "ids, got vectors of 2"),
        (("ids.fgru", "-p", "1", "--one-hot"), "--one-hot must be omitted for a model that takes ids, got it"),
        (("ids.fgru", "-p", "1"), "which takes ids in 0..4: generate in Python, where Model.generate takes a function "
         "from the one to the other as feed=, or --forbid the others"),
        (("ids.fgru", "-p", "1", *LEFT, "--pad", 0), "--pad must come with --window, which it fills, got no window"),
        (("ids.fgru", "-p", "1", *LEFT, "--stop", 9), "--stop must have ids in 0..6, got 9"),
        (("ids.fgru", "-p", "1", "--forbid", 9), "ids of --forbid must lie in 0..6, got 9"),
        (("ids.fgru", "-p", "1", "--beam", 2, "--n-best", 3), "--n-best must be at most the width of --beam, 2, got 3"),
        (("ids.fgru", "-p", "1", "--beam", 2, "--min-steps", 9, "-n", 3, *LEFT),
         "--min-steps must be at most the 3 steps asked for, got 9"),
        (("ids.fgru", "-p", "1", *LEFT, "--beam", 2, "--samples", 3), "--samples must come without --beam, whose "
         "--n-best says how many sequences to return, got 3"),
        (("outputs.fgru", "-p", "x.npy"), "model must have one output to feed back, got "),
        (("inputs.fgru", "-p", "x.npy"), "model must have one input, that of the prompt, got a, too: generate in "
         "Python, where Model.generate takes encoder_input="),
        (("three.fgru", "-p", "x.npy", "--scores"), "--scores must be omitted for values, which have no probabilities"),
        (("three.fgru", "-p", "x.npy", "--stop", 1), "--stop must be omitted for values, got "),
    ],
)  # fmt: skip
def test_generate_speaks_of_its_options(models, words, message):
    assert message in invoke("generate", *words, code=2)


def test_forbidden_ids_need_not_be_fed_back(models):
    ids = invoke("generate", "ids.fgru", "-p", "1", "-n", 50, "--temperature", 3, "--seed", 1, *LEFT).split(",")
    assert max(map(int, ids)) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--row", 2), "x.npy: --row must be in -1..0, got 2"),
        (("--step", 9), "x.npy: --step must be in -4..3, got 9"),
        (("--unit", 9), "x.npy: --unit of output 'dense' must be in -3..2, got 9"),
        (("--unit", "1,2"), "x.npy: --unit of output 'dense' must be 1 whole numbers, got (1, 2)"),
        (("--explain", "gru"), "x.npy: --explain must be one of dense, got 'gru'"),
    ],
)
def test_inspect_speaks_of_its_options(models, words, message):
    assert message in invoke("inspect", "three.fgru", "x.npy", "-o", "r.html", *words, code=2)


def test_the_name_of_a_table_is_said_once(models):
    with open("t.csv", "w") as file:
        file.write("a,b\n1,2\n")
    told = "t.csv: line 1 must have 3 columns, got 2"
    assert invoke("inspect", "three.fgru", "t.csv", "-o", "r.html", code=2) == told
