"""One summation order: any batch, any chunking, any row gives the same float32 bits."""

from __future__ import annotations

import numpy as np
import pytest
from cells import CELLS, ISAS, make_cell
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru import Model
from fastgru.graph import PRECISIONS
from fastgru.layers import Activate, Dense, LayerNorm


@settings(max_examples=120, deadline=None)
@given(
    cells=st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=2),
    inputs=st.integers(1, 40),
    hidden=st.integers(1, 70),
    batch=st.integers(1, 20),
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    isa=st.sampled_from(ISAS),
    softmax=st.booleans(),
    precision=st.sampled_from(sorted(PRECISIONS)),
    seed=st.integers(0, 2**31),
)
def test_any_batch_and_chunking_gives_the_same_bits(
    cells, inputs, hidden, batch, chunks, isa, softmax, precision, seed
):
    rng = np.random.default_rng(seed)
    layers, size = [], inputs
    for cell in cells:
        layers.append(make_cell(cell, size, hidden, seed=seed, precision=precision))
        size = layers[-1].output_size
    w = rng.normal(size=(7, size)).astype(np.float32)
    layers.append(Dense(w, w[:, 0], activation="softmax" if softmax else "tanh", precision=precision))
    model = Model(layers, isa=isa)
    steps = sum(chunks)
    x = rng.normal(size=(batch, steps, inputs)).astype(np.float32)
    whole, end = model(x, return_state=True)

    stream = model.stream(batch)
    cuts = np.cumsum(chunks)[:-1]
    pieces = [stream.process(np.ascontiguousarray(c)) for c in np.split(x, cuts, axis=1)]
    assert np.array_equal(np.concatenate(pieces, axis=1), whole)
    assert all(np.array_equal(stream.state[k], end[k]) for k in end)

    row = int(rng.integers(batch))
    alone = model.stream()
    frames = np.stack([alone.step(frame) for frame in x[row]])
    assert np.array_equal(frames, whole[row])
    assert np.array_equal(model(x[row]), whole[row])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_single_samples_have_the_bits_of_a_batch(cell, reverse, isa):
    """A row alone makes the input part of a sample in its step, a batch that of all steps by one product."""
    model = Model([make_cell(cell, 1, 33, reverse=reverse)], isa=isa)
    x = np.random.default_rng(4).normal(size=(3, 40, 1)).astype(np.float32)
    whole = model(x)
    for row in range(3):
        assert np.array_equal(model(x[row]), whole[row])
        if not reverse:
            stream = model.stream()
            assert np.array_equal(np.concatenate([stream.process(c) for c in np.split(x[row], [1, 14])]), whole[row])


@pytest.mark.skipif(not {"avx2", "avx512"} <= set(ISAS), reason="needs a machine with AVX2 and AVX-512")
@pytest.mark.parametrize("cell", CELLS)
def test_avx2_and_avx512_give_the_same_bits(cell):
    """Lanes never mix and every sum has one order, so the width of the vectors does not show."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=(5, 30, 6)).astype(np.float32)
    for hidden in (1, 9, 16, 37, 100):
        first = make_cell(cell, 6, hidden)
        w = rng.normal(size=(40, first.output_size)).astype(np.float32)
        layers = [first, LayerNorm(w[0]), Dense(w, w[:, 0], activation="softplus"), Activate("softmax")]
        wide, narrow = (Model(layers, isa=isa)(x) for isa in ("avx512", "avx2"))
        assert np.array_equal(wide, narrow)


@settings(max_examples=60, deadline=None)
@given(
    cell=st.sampled_from(sorted(CELLS)),
    hidden=st.integers(1, 40),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=12),
    isa=st.sampled_from(ISAS),
)
def test_a_padded_row_has_the_bits_of_the_row_alone(cell, hidden, lengths, isa):
    model = Model([make_cell(cell, 6, hidden)], isa=isa)
    x = np.random.default_rng(0).normal(size=(len(lengths), max(lengths), 6)).astype(np.float32)
    y, state = model(x, lengths=lengths, return_state=True)
    for b, n in enumerate(lengths):
        alone, end = model(x[b, :n], return_state=True)
        assert np.array_equal(y[b, :n], alone)
        assert not y[b, n:].any()
        assert all(np.array_equal(state[k][b], end[k]) for k in end)
