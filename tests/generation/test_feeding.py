"""Models fed as they ask to be: ids, vectors and values, windows of steps, states and outputs of an encoder."""

from __future__ import annotations

import numpy as np
import pytest
from nets import PROMPTS, equal, writer
from recipe_runs import same_bits

from fastgru import Model
from fastgru.generation import Beam, Forbid, Greedy, Sample, Values
from fastgru.graph import Add, Bidirectional, GraphBuilder, Spec, TimeStep
from fastgru.layers import GRU, LSTM, Concat, Dense, Embedding, TimeConv

# Feeding ------------------------------------------------------------------------------------------


def vectors(inputs=5, outputs=5, *, seed=0, end=None):
    rng = np.random.default_rng(seed)
    gru = GRU.from_torch(rng.normal(size=(24, inputs)), rng.normal(size=(24, 8)) / 2)
    return Model([gru, Dense(rng.normal(size=(outputs, 8)) * 2, rng.normal(size=outputs), activation=end)])


def by_hand(model, x, table, steps):
    """Greedy ids of a model that takes vectors."""
    stream, ids = model.stream(), []
    y = stream.process(x)[-1]
    for _ in range(steps):
        ids.append(int(y.argmax()))
        y = stream.step(table[ids[-1]])
    return ids


def test_ids_are_fed_as_vectors():
    one_hot = np.eye(5, dtype=np.float32)
    model, prompt = vectors(), [3, 0, 1]
    want = by_hand(model, one_hot[prompt], one_hot, 8)
    assert model.generate(prompt, 8, feed="one_hot").tolist() == want
    assert model.generate(one_hot[prompt], 8, feed="one_hot").tolist() == want
    assert model.generate([one_hot[prompt], one_hot[[2]]], 8, feed="one_hot")[0].tolist() == want
    assert model.generate(prompt, 8, feed=lambda ids: one_hot[ids]).tolist() == want
    table = np.random.default_rng(2).normal(size=(7, 3)).astype(np.float32)
    model = vectors(3, 7)
    assert model.generate([6, 2], 8, feed=table).tolist() == by_hand(model, table[[6, 2]], table, 8)
    assert model.generate(table[[6, 2]].tolist(), 8, feed=table).tolist() == by_hand(model, table[[6, 2]], table, 8)


def test_ids_are_fed_through_a_function():
    """Three scores chosen among, of a model that takes five ids."""
    rng = np.random.default_rng(0)
    gru = GRU.from_torch(rng.normal(size=(24, 4)), rng.normal(size=(24, 8)))
    model = Model([Embedding(rng.normal(size=(5, 4))), gru, Dense(rng.normal(size=(7, 8)))])
    ids = model.generate([1], 6, feed=lambda ids: ids % 5)
    stream, want, y = model.stream(), [], None
    y = stream.step(1)
    for _ in range(6):
        want.append(int(y.argmax()))
        y = stream.step(want[-1] % 5)
    assert ids.tolist() == want


def test_values_are_fed_back():
    model = vectors(3, 3)
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    found = model.generate(x, 6)
    stream, want = model.stream(), []
    y = stream.process(x)[-1]
    for _ in range(6):
        want.append(y)
        y = stream.step(y)
    assert same_bits(found, np.array(want))
    assert same_bits(model.generate([x, x[:1]], 6, choose=Values())[0], found)
    steps = list(model.generate([x, x[:1]], 6, iterate=True))
    assert same_bits(np.stack([step[0] for step in steps]), found)


def test_values_are_drawn_and_stop():
    model = vectors(2, 4)

    def draw(y, draws):
        return y[:, :2] + 0.1 * np.abs(y[:, 2:]) * draws.normal(2)

    x = np.ones((3, 2), np.float32)
    options = {"choose": Values(draw), "seed": 5, "n": 4}
    found = model.generate(x, 7, **options)
    assert [row.shape for row in found] == [(7, 2)] * 4
    assert same_bits(model.generate(x, 7, **{**options, "n": 1}), found[0])
    stopped = model.generate(x, 7, **options, stop=lambda values: values[:, 0] > found[1][3, 0] - 1e-9)
    for whole, part in zip(found, stopped, strict=True):
        above = np.flatnonzero(whole[:, 0] > found[1][3, 0] - 1e-9)
        assert len(part) == (above[0] + 1 if above.size else 7)
        assert same_bits(part, whole[: len(part)])


def test_normal_draws_are_normal():
    from fastgru.generation import Draws

    keys, places = np.zeros(5000, np.uint64), np.stack([np.zeros(5000), np.arange(5000)], 1).astype(np.uint32)
    draws = Draws(keys, places, 3)
    first, second = draws.normal(2), draws.normal(2)
    assert not np.array_equal(first, second)
    together = np.concatenate([first, second]).ravel()
    assert abs(together.mean()) < 0.03
    assert abs(together.std() - 1) < 0.03
    assert abs((together**4).mean() - 3) < 0.3
    assert abs(np.corrcoef(first.T)[0, 1]) < 0.05


def test_one_output_of_several_is_fed_back():
    rng = np.random.default_rng(0)
    b = GraphBuilder()
    x = b.add(Embedding(rng.normal(size=(5, 4))), b.input("ids", Spec((), dtype="int")))
    h = b.add(GRU.from_torch(rng.normal(size=(24, 4)), rng.normal(size=(24, 8))), x)
    other, scores = (
        b.add(Dense(rng.normal(size=(2, 8))), h, name="other"),
        b.add(Dense(rng.normal(size=(5, 8))), h, name="scores"),
    )
    model = Model(b.build(other, scores))
    alone = Model(b.build(scores))
    assert equal(model.generate(PROMPTS, 6, output="scores"), alone.generate(PROMPTS, 6))
    with pytest.raises(ValueError, match="output must be one of other, scores, the one to feed back, got none"):
        model.generate([1], 6)


# Windows ------------------------------------------------------------------------------------------


def bidirectional(size=5, seed=0, last=False):
    rng = np.random.default_rng(seed)
    both = Bidirectional(*(GRU(rng.normal(size=(18, 4)), rng.normal(size=(18, 6)), reverse=r) for r in (False, True)))
    layers = [Embedding(rng.normal(size=(size, 4))), both, Dense(rng.normal(size=(size, 12)))]
    return Model([*layers, TimeStep(-1)] if last else layers)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("window", "pad"), [(None, None), (4, None), (4, 0), (1, None), (9, 2)])
def test_models_without_a_state_run_over_a_window(window, pad, last):
    model = bidirectional(last=last)
    found = model.generate(PROMPTS, 150 if window == 4 else 9, window=window, pad=pad)
    for prompt, ids in zip(PROMPTS, found, strict=True):
        so_far = list(prompt)
        for i in ids:
            seen = so_far if window is None else so_far[-window:]
            if pad is not None:
                seen = [pad] * (window - len(seen)) + seen
            y = model(np.array(seen))
            assert i == int((y if last else y[-1]).argmax())
            so_far.append(int(i))
    assert equal(found[1], model.generate(PROMPTS[1], len(found[1]), window=window, pad=pad))


def test_a_window_of_a_model_with_state_is_another_than_its_stream():
    model = writer()
    assert equal(model.generate(PROMPTS, 20, window=100), model.generate(PROMPTS, 20))
    ids = model.generate([1, 2, 3], 12, window=3)
    assert ids.tolist() != model.generate([1, 2, 3], 12).tolist()


def test_windows_go_with_beams_and_samples():
    model = bidirectional()
    for choose in (Sample(), Beam(3), [Forbid(1), Sample()]):
        together = model.generate(PROMPTS, 8, choose=choose, window=3, seed=list(range(6)), stop=0)
        alone = [model.generate(p, 8, choose=choose, window=3, seed=i, stop=0) for i, p in enumerate(PROMPTS)]
        assert equal(together, alone)


def test_a_frame_of_steps_is_a_window():
    rng = np.random.default_rng(0)
    b = GraphBuilder()
    x = b.input("x", Spec((3, 2), time=False))
    from fastgru.graph import Reshape

    model = Model(b.build(b.add(Dense(rng.normal(size=(2, 6))), b.add(Reshape((6,)), x))))
    prompt = rng.normal(size=(5, 2)).astype(np.float32)
    past, want = list(prompt), []
    for _ in range(4):
        past.append(model(np.array(past[-3:])))
        want.append(past[-1])
    assert same_bits(model.generate(prompt, 4), np.array(want))
    with pytest.raises(ValueError, match="prompt must have the 3 steps of the model's input, or pad be given, got 2"):
        model.generate(prompt[:2], 4)


def test_layers_that_look_ahead_run_over_all_steps():
    rng = np.random.default_rng(0)
    model = Model([Embedding(rng.normal(size=(5, 4))), TimeConv(rng.normal(size=(5, 4, 3)), before=1, after=1)])
    so_far = [1, 2]
    for i in model.generate([1, 2], 6):
        assert i == int(model(np.array(so_far))[-1].argmax())
        so_far.append(int(i))


def test_prompts_of_unequal_length_of_a_model_that_counts_steps():
    rng = np.random.default_rng(0)
    valid = TimeConv(rng.normal(size=(4, 4, 2)))
    model = Model([Embedding(rng.normal(size=(5, 4))), valid, GRU(rng.normal(size=(24, 4)), rng.normal(size=(24, 8))),
                   Dense(rng.normal(size=(5, 8)))])  # fmt: skip
    together = model.generate([[1, 2, 3], [4, 1]], 6)
    assert equal(together, [model.generate([1, 2, 3], 6), model.generate([4, 1], 6)])


# Encoders -----------------------------------------------------------------------------------------

WORDS = [[1, 2, 3, 0], [4], [2, 2]]


def encoder(cell="gru", seed=1, size=5, whole=False):
    rng = np.random.default_rng(seed)
    gates, cls = (3, GRU) if cell == "gru" else (4, LSTM)
    layer = cls.from_torch(rng.normal(size=(gates * 8, 4)), rng.normal(size=(gates * 8, 8)), return_sequences=whole)
    return Model([Embedding(rng.normal(size=(size, 4))), layer])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("choose", [Greedy(), Sample(), Beam(3)], ids=str)
def test_a_decoder_starts_from_the_state_of_an_encoder(cell, choose):
    decoder, first = writer(cell=cell), encoder(cell, whole=cell == "lstm")
    options = {"choose": choose, "stop": 3, "encoder": first}
    found = decoder.generate([0], 9, encoder_input=WORDS, seed=[1, 2, 3], **options)
    for i, (word, ids) in enumerate(zip(WORDS, found, strict=True)):
        assert equal(ids, decoder.generate([0], 9, encoder_input=word, seed=i + 1, **options))
        _, state = first(np.array(word), return_state=True)
        if choose == Greedy():
            stream = decoder.stream()
            stream.state = {key: state[key] for key in stream.state}
            y, want = stream.step(0), []
            for _ in range(9):
                want.append(int(y.argmax()))
                if want[-1] == 3:
                    break
                y = stream.step(want[-1])
            assert ids.tolist() == want


def test_states_are_named_where_shapes_do_not_pair():
    decoder = writer(cell="lstm")
    first = encoder("gru")
    with pytest.raises(ValueError, match=r"states must say which of the encoder's outputs and states .* as a mapping"):
        decoder.generate([0], 9, encoder=first, encoder_input=[1])
    ids = decoder.generate([0], 9, encoder=first, encoder_input=[1], states={"lstm.h": "gru"})
    stream = decoder.stream()
    stream.state = {**stream.state, "lstm.h": first(np.array([1]))}
    assert ids[0] == stream.step(0).argmax()


def conditioned():
    """Ids and a frame without time to scores."""
    rng = np.random.default_rng(0)
    b = GraphBuilder()
    x = b.add(Embedding(rng.normal(size=(5, 4))), b.input("ids", Spec((), dtype="int")))
    joined = b.add(Add(), x, b.input("about", Spec((4,), time=False)))
    h = b.add(GRU.from_torch(rng.normal(size=(24, 4)), rng.normal(size=(24, 8))), joined)
    return Model(b.build(b.add(Dense(rng.normal(size=(5, 8))), h)))


@pytest.mark.parametrize("window", [None, 50])
def test_inputs_beside_the_prompt_are_given_at_every_step(window):
    model, about = conditioned(), np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    found = model.generate([1], 6, encoder_input={"about": about}, window=window, choose=Sample(), seed=[1, 2, 3])
    for i, ids in enumerate(found):
        alone = model.generate([1], 6, encoder_input=about[i], window=window, choose=Sample(), seed=i + 1)
        assert equal(ids, alone)
    so_far = [1]
    for i in model.generate([1], 6, encoder_input=about[0], window=window):
        y = model({"ids": np.array(so_far), "about": about[0]})
        assert i == y[-1].argmax()
        so_far.append(int(i))


def test_the_output_of_an_encoder_may_be_an_input():
    rng = np.random.default_rng(2)
    first = Model(
        [
            Embedding(rng.normal(size=(5, 4))),
            GRU(rng.normal(size=(12, 4)), rng.normal(size=(12, 4)), return_sequences=False),
        ]
    )
    model = conditioned()
    found = model.generate([1], 6, encoder=first, encoder_input=WORDS, states={"about": "gru"})
    want = model.generate([1], 6, encoder_input=np.stack([first(np.array(word)) for word in WORDS]))
    assert equal(found, want)


def attending():
    """An encoder and a decoder in one graph: the decoder reads the last step of the other sequence."""
    rng = np.random.default_rng(4)
    b = GraphBuilder()
    words, said = b.input("words", Spec((), dtype="int")), b.input("said", Spec((), dtype="int"))
    one = b.add(GRU(rng.normal(size=(18, 4)), rng.normal(size=(18, 6)), return_sequences=False),
                b.add(Embedding(rng.normal(size=(6, 4))), words))  # fmt: skip
    two = b.add(
        GRU(rng.normal(size=(24, 4)), rng.normal(size=(24, 8))), b.add(Embedding(rng.normal(size=(5, 4))), said)
    )
    return Model(b.build(b.add(Dense(rng.normal(size=(5, 14))), b.add(Concat(), one, two))))


@pytest.mark.parametrize("choose", [Greedy(), Beam(3), Sample()], ids=str)
def test_one_graph_of_encoder_and_decoder_runs_over_all_steps(choose):
    model = attending()
    found = model.generate([0], 6, choose=choose, encoder_input=WORDS, seed=[1, 2, 3])
    named = model.generate([0], 6, choose=choose, encoder_input={"words": WORDS}, seed=[1, 2, 3])
    assert equal(found, named)
    for i, word in enumerate(WORDS):
        assert equal(found[i], model.generate([0], 6, choose=choose, encoder_input=word, seed=i + 1))
    if choose == Greedy():
        so_far = [0]
        for i in found[0]:
            assert i == model((np.array(WORDS[0]), np.array(so_far)))[-1].argmax()
            so_far.append(int(i))
