"""What goes wrong while it runs is named with its step and prompt."""

from __future__ import annotations

import numpy as np
import pytest
from nets import writer

from fastgru import Model
from fastgru.generation import Beam, Greedy, Sample, Values
from fastgru.layers import Dense, Embedding


def broken():
    """After id 2 a score is NaN; 1 follows 3, 2 follows 1."""
    table = np.full((4, 4), -5.0)
    table[3, 1] = table[1, 2] = table[0, 0] = 5.0
    table[2, 1] = np.nan
    return Model([Embedding(table), Dense(np.eye(4))])


@pytest.mark.parametrize("choose", [Greedy(), Sample(), Beam(2)], ids=str)
def test_scores_that_are_no_numbers(choose):
    with pytest.raises(
        ValueError,
        match="scores of the model must be numbers, got NaN, infinity or a negative probability at step 2 of prompt 1",
    ):
        broken().generate([[0], [3]], 5, choose=choose, seed=0)


@pytest.mark.parametrize("choose", [Greedy(), Sample(), Beam(2)], ids=str)
def test_functions_that_leave_nothing(choose):
    def nothing(log_p, tokens):
        return np.full_like(log_p, -np.inf) if len(tokens[0]) > 2 else log_p

    with pytest.raises(
        ValueError,
        match="scores of the model and choose must leave an id with a probability above 0, got none at step 2 of",
    ):
        writer().generate([1], 5, choose=[nothing, choose], seed=0)


def test_functions_that_return_something_else():
    for wrong, got in ((lambda p, t: p[:, :2], r"float64 of shape \(1, 2\)"), (lambda p, t: "x", r"<U1 of shape \(\)")):
        with pytest.raises(ValueError, match=rf"function in choose must return scores of shape \(1, 5\), got {got}"):
            writer().generate([1], 5, choose=wrong)
    with pytest.raises(
        ValueError, match=r"feed must return ids of shape \(1,\) for 1 rows, got float64 of shape \(1,\)"
    ):
        writer().generate([1], 5, feed=lambda ids: ids / 2)


def test_values_that_are_no_numbers():
    model = Model([Dense([[2.0]])])
    with pytest.raises(
        ValueError, match="values must stay finite to be fed back, got NaN or infinity at step 127 of prompt 0"
    ):
        model.generate([[1.0]], 200)
    with pytest.raises(ValueError, match=r"function of Values must return numbers of shape \(1, ...\), got <U1"):
        model.generate([[1.0]], 3, choose=Values(lambda y, draws: "x"))
    with pytest.raises(ValueError, match=r"stop must return 1 bools, got int64 of shape \(\)"):
        model.generate([[1.0]], 3, stop=lambda values: 1)


def test_a_beam_that_finds_fewer_sequences_returns_those():
    model = broken()
    found = model.generate([0], 1, choose=Beam(4, n_best=4))
    assert len(found) == 4
    from fastgru.generation import Force

    assert len(model.generate([0], 2, choose=[Force([0, 3]), Beam(4, n_best=4)])) == 1
