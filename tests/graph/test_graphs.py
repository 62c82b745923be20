"""Directions, merges, masks, last steps and the layers around the cells, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from cells import CELLS, make_cell
from test_engine import TOLERANCE, check

from fastgru import Model, reference
from fastgru.graph import GraphBuilder, Spec, chain
from fastgru.layers import (
    Activate,
    Add,
    ApplyMask,
    Average,
    BatchNorm,
    Bidirectional,
    Concat,
    Dense,
    Dropout,
    Embedding,
    LayerNorm,
    Mask,
    Multiply,
    Reverse,
)

RNG = np.random.default_rng(5)
X = RNG.normal(size=(6, 11, 5)).astype(np.float32)
MASK = RNG.random((6, 11)) < 0.6
MASK[0] = False
MASK[1] = True


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32) * 0.5


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
@pytest.mark.parametrize("sequences", [True, False], ids=["sequence", "last"])
@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("carry", ["zero", "carry"])
def test_bidirectional(merge, sequences, carry, mask, isa):
    options = {"return_sequences": sequences, "mask_output": carry}
    pair = [make_cell("gru-after", 5, 9, seed=s, **options) for s in (1, 2)]
    check(chain([Bidirectional(*pair, merge=merge)]), X, TOLERANCE["float32"], isa=isa, mask=mask)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("carry", ["zero", "carry"])
@pytest.mark.parametrize("cell", CELLS)
def test_masks(cell, carry, reverse, dtype):
    layers = [make_cell(cell, 5, 10, reverse=reverse, mask_output=carry, return_sequences=s) for s in (True, False)]
    for layer in layers:
        check(chain([layer]), X, TOLERANCE[dtype], mask=MASK, dtype=dtype)


def test_lengths_are_a_mask():
    model = Model([make_cell("lstm", 5, 10)])
    lengths = np.array([0, 3, 11, 5, 1, 7])
    assert np.array_equal(model(X, lengths=lengths), model(X, mask=np.arange(11) < lengths[:, None]))
    assert np.array_equal(model(X[1], lengths=3), model(X, lengths=lengths)[1])


def test_the_reverse_direction_starts_at_the_last_valid_step():
    layer = make_cell("gru-after", 5, 10, reverse=True)
    y = Model([layer])(X, lengths=[4] * 6)
    assert np.array_equal(y[:, :4], Model([layer])(np.ascontiguousarray(X[:, :4])))


NORM = (draw(5), np.abs(draw(5)) + 0.1, draw(5), draw(5))
AROUND = {
    "dense": [Dense(draw(7, 5), draw(7), activation="elu")],
    "dense-softmax": [Dense(draw(33, 5), draw(33), activation="softmax")],
    "layer-norm": [LayerNorm(draw(5), draw(5)), make_cell("gru-after", 5, 37), LayerNorm(draw(37))],
    "batch-norm": [BatchNorm(*NORM), Dropout(0.3)],
    "softmax": [Dense(draw(40, 5)), Activate("softmax")],
    "last": [make_cell("lstm", 5, 20, return_sequences=False), LayerNorm(draw(20)), Dense(draw(3, 20))],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", AROUND)
def test_layers_around(name, dtype, isa):
    check(chain(AROUND[name]), X, TOLERANCE[dtype], isa=isa, dtype=dtype)


def test_embedding_and_id_masks():
    b = GraphBuilder()
    ids = b.input("ids", Spec((), dtype="int"))
    mask = b.add(Mask(0.0), ids)
    x = b.add(Embedding(draw(20, 6)), ids)
    y = b.add(make_cell("gru-after", 6, 9, mask_output="carry"), x, mask)
    graph = b.build(y)
    keys = RNG.integers(0, 20, size=(4, 9))
    keys[:, 5:] = 0
    check(graph, keys, TOLERANCE["float32"])
    model, stream = Model(graph), Model(graph).stream(4)
    assert np.array_equal(np.stack([stream.step(keys[:, t]) for t in range(9)], 1), model(keys))
    assert "gru.y" in stream.state
    with pytest.raises(ValueError, match=r"ids in 0\.\.19, got 20"):
        model(np.array([[20]]))


@pytest.mark.parametrize("merge", [Concat, Add, Multiply, Average])
def test_a_dag_with_skips_masks_and_two_outputs(merge):
    b = GraphBuilder()
    x = b.input("x", Spec((5,)))
    mask = b.add(Mask(0.0), x)
    kept = b.add(ApplyMask(), x, mask)
    one = b.add(make_cell("gru-before", 5, 5), kept, mask)
    two = b.add(Reverse(), b.add(make_cell("rnn-relu", 5, 5, reverse=True), kept, mask))
    joined = b.add(merge(), one, two, kept)
    graph = b.build(joined, one)
    data = X.copy()
    data[:, 3:5] = 0
    check(graph, data, TOLERANCE["float32"])
    outs = tuple(np.empty((6, 11, graph.specs[v].shape[0]), np.float32) for v in graph.outputs)
    got = Model(graph)(data, out=outs)
    assert all(a is b for a, b in zip(got, outs, strict=True))


def test_a_given_state_starts_the_run():
    model = Model([make_cell("lstm", 5, 10), make_cell("gru-after", 10, 4)])
    first, state = model(X[:, :4], return_state=True)
    second = model(X[:, 4:], state=state)
    assert np.array_equal(np.concatenate([first, second], axis=1), model(X))
    partial = {"lstm.c": state["lstm.c"]}
    want, _ = reference.run(model.graph, X, state=partial)
    np.testing.assert_allclose(model(X, state=partial), want[0], rtol=0, atol=TOLERANCE["float32"])
