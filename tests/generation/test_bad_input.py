"""What cannot be generated: one clear error each, and nothing computed before."""

from __future__ import annotations

import re

import numpy as np
import pytest
from nets import writer

from fastgru import Model
from fastgru.generation import Beam, Forbid, Force, Greedy, Sample, Values, Vocabulary
from fastgru.graph import GraphBuilder, Spec
from fastgru.layers import GRU, Dense, Embedding

RNG = np.random.default_rng(0)


def vectors(inputs, outputs):
    return Model([GRU(RNG.normal(size=(12, inputs)), RNG.normal(size=(12, 4))), Dense(RNG.normal(size=(outputs, 4)))])


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch):
    """Neither a stream nor the model is run."""
    from fastgru.generation import sources

    def refuse(*_, **__):
        raise AssertionError("ran before everything was checked")

    monkeypatch.setattr(sources.Streamed, "begin", refuse)
    monkeypatch.setattr(sources.Windowed, "begin", refuse)


IDS = writer()
WRONG = [
    ({"prompt": []}, ValueError, "prompt must have at least one step, got none"),
    ({"prompt": [[1], []]}, ValueError, "prompt[1] must have at least one step, got none"),
    ({"prompt": np.zeros((2, 0), int)}, ValueError, "prompt[0] must have at least one step, got none"),
    ({"prompt": [1, 5]}, ValueError, "prompt must have ids in 0..4, got 5 at index 1"),
    ({"prompt": [[0], [2, -1]]}, ValueError, "prompt[1] must have ids in 0..4, got -1 at index 1"),
    ({"prompt": "hello"}, TypeError, "prompt must be ids or inputs of the model, got 'hello': make ids of a text, by"),
    ({"prompt": None}, TypeError, "prompt must be ids or inputs of the model, got none"),
    ({"prompt": [0.5, 1]}, ValueError, "prompt must be integer ids of shape (T,), got float64 of shape (2,)"),
    ({"steps": 0}, ValueError, "steps must be an integer of at least 1, got 0"),
    ({"steps": 2.0}, ValueError, "steps must be an integer of at least 1, got 2.0"),
    ({"steps": None}, ValueError, "steps must be an integer of at least 1, got None: only iterate=True goes on"),
    ({"n": 0}, ValueError, "n must be an integer of at least 1, got 0"),
    ({"choose": "greedy"}, TypeError, "choose must be Greedy(), Sample(), Beam() or Values() of fastgru.generation"),
    ({"choose": Sample}, TypeError, "got the class Sample: write Sample()"),
    ({"choose": [Greedy(), Sample()]}, TypeError, "got Greedy()"),
    ({"choose": Beam(6)}, ValueError, "width of a beam must be at most the 5 ids of the model, got 6"),
    ({"choose": Beam(2), "n": 2}, ValueError, "n must be 1 for Beam(), whose n_best says how many sequences to return"),
    ({"choose": Beam(2), "iterate": True}, ValueError, "iterate must be False for Beam(), whose sequences are known"),
    ({"choose": Beam(2, prefix=[7])}, ValueError, "prefix must lie in 0..4, got 7"),
    ({"choose": Beam(2, prefix=[1, 2, 3, 4])}, ValueError, "prefix must have at most the 3 steps asked for, got 4"),
    ({"choose": Beam(2, prefix=[[1], [2]])}, ValueError,
     "prefix must be ids for all prompts or a sequence for each of 1"),
    ({"choose": Beam(2, min_steps=4)}, ValueError, "min_steps must be at most the 3 steps asked for, got 4"),
    ({"choose": Forbid([1, 9])}, ValueError, "ids of Forbid must lie in 0..4, got 9"),
    ({"choose": Forbid(range(5))}, ValueError, "Forbid must leave at least one of the 5 ids, got all of them"),
    ({"choose": Force({2: 5})}, ValueError, "ids of Force must lie in 0..4, got 5"),
    ({"choose": [Forbid(1), Values()]}, ValueError,
     "choose must be Values() alone, as values have no ids to leave out"),
    ({"choose": Values()}, ValueError, "output 'dense' of shape (5,) can't be fed back to input 'x', which takes ids"),
    ({"stop": 5}, ValueError, "stop must have ids in 0..4, got 5"),
    ({"stop": "x"}, TypeError, "stop must be an id, or a list of ids and of sequences of ids, got 'x'"),
    ({"stop": [[]]}, ValueError, "stop must be an id, or a list of ids and of sequences of ids, got [] in it"),
    ({"seed": -1}, ValueError, "seed must be an integer from 0 to 2**64 - 1, or a list of such, got -1"),
    ({"seed": 0.5}, ValueError, "seed must be an integer from 0 to 2**64 - 1, or a list of such, got 0.5"),
    ({"seed": [1, 2]}, ValueError, "seed must be one integer, or one for each of 1 prompts, got 2"),
    ({"window": 0}, ValueError, "window must be an integer from 1 to 16777216, got 0"),
    ({"pad": 0}, ValueError, "pad must come with a window, which it fills, got no window"),
    ({"pad": 9, "window": 3}, ValueError, "pad must be an id in 0..4, got 9"),
    ({"feed": "one_hot"}, ValueError, "feed must be a function or omitted for a model that takes ids, got 'one_hot'"),
    ({"output": "dens"}, ValueError, "output must be one of dense, got 'dens'"),
    ({"output_kind": "odds"}, ValueError,
     "output_kind must be one of logits, probabilities, log_probabilities, got 'odds'"),
    ({"encoder_input": [1]}, ValueError,
     "encoder_input must be omitted for a model with one input, 'x', and no encoder"),
    ({"encoder": IDS}, ValueError, "encoder_input must hold what the encoder reads, got none"),
    ({"encoder": 3, "encoder_input": [1]}, TypeError, "encoder must be a model of fastgru, got int"),
    ({"states": {}}, ValueError, "states must come with an encoder, whose outputs they name, got no encoder"),
    ({"encoder": IDS, "encoder_input": [9]}, ValueError, "encoder_input must have ids in 0..4, got 9 at index 0"),
    ({"encoder": IDS, "encoder_input": []}, ValueError, "encoder_input must have at least one step, got none"),
    ({"encoder": IDS, "encoder_input": [1], "states": {"gru.g": "gru.h"}}, ValueError,
     "key of states must be one of gru.h, got 'gru.g'"),
    ({"encoder": IDS, "encoder_input": [1], "states": {"gru.h": "gru"}}, ValueError,
     "states['gru.h'] must be one of the encoder's gru.h, dense, got 'gru'"),
    ({"encoder": IDS, "encoder_input": [1], "states": {"gru.h": "dense"}}, ValueError,
     "'gru.h' of the decoder must be given (8,), got 'dense' of the encoder, (T, 5)"),
    ({"encoder": IDS, "encoder_input": [[1], [2], [3]], "prompt": [[1], [2]]}, ValueError,
     "prompt must be one for all of encoder_input or one for each of its 3 rows, got 2"),
    ({"threads": 0}, ValueError, "threads"),
    ({"return_scores": 1}, TypeError, "return_scores must be True or False, got 1"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "kind", "message"), WRONG, ids=lambda value: str(value)[:50])
def test_what_does_not_fit_is_named(options, kind, message):
    given = {"prompt": [1], "steps": 3, **options}
    with pytest.raises(kind) as caught:
        IDS.generate(given.pop("prompt"), given.pop("steps"), **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


FED = [
    (vectors(3, 5), {},
     "output 'dense' of shape (5,) can't be fed back to input 'x', which takes frames of shape (3,): give"),
    (vectors(3, 5), {"choose": Greedy()},
     "ids chosen from output 'dense' can't be fed back to input 'x', which takes frames of shape (3,): give feed"),
    (vectors(3, 5), {"feed": "one_hot"},
     "feed must give a vector of the input's shape (3,) for each of 5 ids, numbers of shape (5, 3), got float32"),
    (vectors(3, 5), {"feed": "hot"}, "feed must be 'one_hot', an array (V, I) or a function, got 'hot'"),
    (vectors(3, 5), {"feed": np.zeros((4, 3))},
     "for each of 5 ids, numbers of shape (5, 3), got float64 of shape (4, 3)"),
    (vectors(3, 3), {"prompt": np.zeros((2, 4))},
     "prompt must be numbers of shape (T, 3), got float64 of shape (2, 4)"),
    (vectors(3, 3), {"prompt": [[0, 0, 0], [0, np.nan, 0]]},
     "prompt must be finite numbers, got NaN or infinity at step 1"),
    (vectors(3, 3), {"return_scores": True},
     "return_scores must be False for Values(), which have no probabilities, got True"),
    (vectors(3, 3), {"stop": 3}, "stop of Values() must be a function from values (R, ...) to bools (R,), got 3"),
    (Model([Embedding(RNG.normal(size=(3, 4))), Dense(RNG.normal(size=(5, 4)))]), {"prompt": [1]},
     "ids chosen from output 'dense' lie in 0..4, and can't all be fed back to input 'x', which takes ids in 0.."),
]  # fmt: skip


@pytest.mark.parametrize(("model", "options", "message"), FED, ids=lambda value: str(value)[:40])
def test_outputs_that_cannot_be_fed_back(model, options, message):
    given = {"prompt": np.zeros((2, 3)), **options}
    with pytest.raises((ValueError, TypeError)) as caught:
        model.generate(given.pop("prompt"), 3, **given)
    assert message in str(caught.value)


def test_an_output_of_several_axes_holds_no_scores():
    b = GraphBuilder()
    from fastgru.graph import Reshape

    model = Model(b.build(b.add(Reshape((2, 2)), b.input("x", Spec((4,))))))
    with pytest.raises(
        ValueError, match=re.escape("must be a vector of scores, one for each id, to choose ids from, got (B, T, 2, 2)")
    ):
        model.generate([1], 3, choose=Greedy())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sample(temperature=0),
         "temperature must be a positive number, got 0: Greedy() chooses the likeliest id"),
        (lambda: Sample(temperature=-1), "temperature must be a positive number, got -1"),
        (lambda: Sample(temperature=float("nan")), "temperature must be a positive number, got nan"),
        (lambda: Sample(top_k=0), "top_k must be an integer of at least 1, got 0"),
        (lambda: Sample(top_k=1.5), "top_k must be an integer of at least 1, got 1.5"),
        (lambda: Sample(top_p=0), "top_p must be a number above 0 and at most 1, got 0"),
        (lambda: Sample(min_p=1.1), "min_p must be a number from 0 to 1, got 1.1"),
        (lambda: Sample(repetition_penalty=0), "repetition_penalty must be a positive number, got 0"),
        (lambda: Beam(0), "width of a beam must be an integer of at least 1, got 0"),
        (lambda: Beam(2, n_best=3), "n_best must be at most the width of the beam, 2, got 3"),
        (lambda: Beam(2, length_penalty=float("inf")), "length_penalty must be a number from -30 to 30, got inf"),
        (lambda: Beam(2, length_penalty=1e9), "length_penalty must be a number from -30 to 30, got 1000000000.0"),
        (lambda: Beam(2, length_penalty=-31), "length_penalty must be a number from -30 to 30, got -31"),
        (lambda: Sample(temperature=10**400), f"temperature must be a positive number, got {10**400}"),
        (lambda: Beam(2, min_steps=-1), "min_steps must be an integer of at least 0, got -1"),
        (lambda: Beam(2, prefix=[0.5]), "prefix must be a sequence of ids, or one of them for each prompt, got [0.5]"),
        (lambda: Beam(2, prefix=3), "prefix must be a sequence of ids, or one of them for each prompt, got 3"),
        (lambda: Forbid([]), "ids of Forbid must be one or more integers, got []"),
        (lambda: Forbid(0.5), "ids of Forbid must be one or more integers, got 0.5"),
        (lambda: Forbid(1, before=-1), "before must be an integer of at least 0, got -1"),
        (lambda: Force([]), "ids of Force must be integers, or a mapping of steps from 0 on to them, got []"),
        (lambda: Force({-1: 2}), "ids of Force must be integers, or a mapping of steps from 0 on to them, got {-1: 2}"),
        (lambda: Values(3), "function of Values must be callable, got int"),
        (lambda: Vocabulary([]), "tokens must be texts, with ids from 0 on, got none"),
        (lambda: Vocabulary(["a", "a"]), "tokens must have ids of their own, got 'a' and 'a'"),
        (lambda: Vocabulary({"a": 1, "b": 1}), "tokens must have ids of their own, got 'b' and 'a'"),
        (lambda: Vocabulary({"a": -1}), "tokens must be texts, with ids from 0 on, got 'a': -1"),
        (lambda: Vocabulary(["a"], unknown="b"), "unknown must be a token, got 'b'"),
        (lambda: Vocabulary(["a", "b"]).encode("abc"),
         "text must be made of tokens of the vocabulary, got 'c' at character 2"),
    ],
)  # fmt: skip
def test_choices_that_are_none(make, message):
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    assert str(caught.value) == message


def test_a_model_without_what_it_reads_beside_the_prompt():
    b = GraphBuilder()
    from fastgru.graph import Add

    model = Model(b.build(b.add(Add(), b.input("x", Spec((3,))), b.input("about", Spec((3,), time=False)))))
    with pytest.raises(ValueError, match="encoder_input must hold the model's other inputs, about, got none"):
        model.generate(np.zeros((1, 3)), 2)
    with pytest.raises(
        ValueError, match=re.escape("encoder_input must be numbers of shape (3,), got float64 of shape (4,)")
    ):
        model.generate(np.zeros((1, 3)), 2, encoder_input=np.zeros(4))
