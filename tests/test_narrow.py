"""Weights of fewer bytes and pruned ones: against the reference that rounds as the engine does, and bit against bit."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from cells import CELLS, ISAS, make_cell

from fastgru import Model, _engine, reference
from fastgru.graph import PRECISIONS, Graph, chain
from fastgru.layers import GRU, LSTM, Dense, Embedding

REDUCED = [p for p in PRECISIONS if p != "float32"]
SIZES = ((1, 1), (4, 8), (24, 17), (40, 33), (7, 100))


def plain(graph: Graph) -> Graph:
    """The same weights, as they were rounded, in float32."""
    return graph.with_ops(lambda node: node.op.replace(precision="float32") if node.op.matrices else node.op)


def without_rounding(graph: Graph, x: np.ndarray) -> np.ndarray:
    """The output with the same weights and activations that are not rounded."""
    return reference.run(plain(graph), x)[0][0]


@cache  # the reference takes longer than every engine together
def expectations(cell: str, precision: str) -> list[tuple[Graph, np.ndarray, np.ndarray, float]]:
    """For each size the graph, an input, the reference's output, and how far rounding activations moves it."""
    rng, found = np.random.default_rng(1), []
    for inputs, hidden in SIZES:
        layer = make_cell(cell, inputs, hidden, precision=precision)
        w = rng.uniform(-1, 1, (5, layer.output_size)).astype(np.float32)
        graph = chain([layer, Dense(w, w[:, 0], precision=precision)])
        x = rng.normal(size=(3, 12, inputs)).astype(np.float32)
        expected = reference.run(graph, x)[0][0]
        found.append((graph, x, expected, float(np.abs(without_rounding(graph, x) - expected).max())))
    return found


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_in_every_precision_follows_the_reference(cell, precision, isa):
    """Activations that lie on a tie in float32 may round the other way: such an output may be off by what rounding
    does as such, but few are."""
    for graph, x, expected, rounding in expectations(cell, precision):
        error = np.abs(Model(graph, isa=isa)(x) - expected)
        assert error.max() <= max(5e-6, 2 * rounding)
        assert np.median(error) <= 2e-6


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("cell", CELLS)
def test_float16_weights_give_the_bits_of_float32_weights_of_their_values(cell, isa):
    for graph, x, _, _ in expectations(cell, "float16"):
        for rows in (1, 3):
            half, whole = (Model(g, isa=isa)(x[:rows]) for g in (graph, plain(graph)))
            assert np.array_equal(half, whole)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", REDUCED)
def test_one_product_is_exact_but_for_float32(precision, isa):
    """Nothing before it rounds, so no tie falls the other way."""
    rng = np.random.default_rng(2)
    for inputs, outputs in ((1, 1), (3, 5), (64, 64), (65, 33), (300, 70)):
        w = rng.normal(size=(outputs, inputs)).astype(np.float32)
        model = Model([Dense(w, w[:, 0], precision=precision)], isa=isa)
        x = (rng.normal(size=(9, 4, inputs)) * 10.0 ** rng.integers(-3, 4, size=(9, 4, 1))).astype(np.float32)
        expected = reference.run(model.graph, x)[0][0]
        scale = np.abs(x).max(axis=-1, keepdims=True) * np.abs(w).sum(axis=1).max() + 1
        assert (np.abs(model(x) - expected) / scale).max() <= 2e-6  # of the sum of the terms' magnitudes


@pytest.mark.parametrize("precision", REDUCED)
def test_embedding_rows_are_the_rounded_weights(precision):
    w = np.random.default_rng(3).normal(size=(11, 19)).astype(np.float32)
    layer = Embedding(w, precision=precision)
    np.testing.assert_array_equal(Model([layer])(np.arange(11)), layer.weight)


@pytest.mark.skipif(not {"avx2", "avx512"} <= set(ISAS), reason="needs a machine with AVX2 and AVX-512")
@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("cell", CELLS)
def test_avx2_and_avx512_give_the_same_bits(cell, precision):
    x = np.random.default_rng(9).normal(size=(5, 30, 6)).astype(np.float32)
    for hidden in (1, 9, 37, 100):
        layers = [make_cell(cell, 6, hidden, precision=precision)]
        wide, narrow = (Model(layers, isa=isa)(x) for isa in ("avx512", "avx2"))
        assert np.array_equal(wide, narrow)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_gives_nan_and_leaves_the_others_alone(bad):
    w = np.random.default_rng(4).normal(size=(6, 20)).astype(np.float32)
    model = Model([Dense(w, precision="int8")])
    x = np.random.default_rng(5).normal(size=(2, 3, 20)).astype(np.float32)
    clean = model(x)
    x[1, 2, 7] = bad
    y = model(x)
    assert np.isnan(y[1, 2]).all()
    y[1, 2] = clean[1, 2]
    np.testing.assert_array_equal(y, clean)


def test_long_rows_of_int8_are_refused():
    with pytest.raises(ValueError, match="rows of int8 weights must have at most 65536 elements, got 65537"):
        Model([Dense(np.ones((1, 65537), np.float32), precision="int8")])


# Pruned weights ----------------------------------------------------------------------------------


def pruned(rng: np.random.Generator, gates: int, hidden: int, inner: int, density: float) -> np.ndarray:
    """(G*H, K) of which only a share of 8 x 4 blocks is not zero."""
    blocks = rng.random((gates, -(-hidden // 8), -(-inner // 4))) < density
    mask = np.repeat(np.repeat(blocks, 8, axis=1), 4, axis=2)[:, :hidden, :inner]
    return (rng.normal(size=(gates, hidden, inner)) * mask).reshape(-1, inner).astype(np.float32)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize(
    ("cell", "gates", "attributes"), [(GRU, 3, {}), (GRU, 3, {"reset_after": False}), (LSTM, 4, {})]
)
def test_pruned_weights_give_the_bits_of_the_dense_product(cell, gates, attributes, precision, isa, monkeypatch):
    rng = np.random.default_rng(6)
    for inputs, hidden in ((5, 8), (40, 24), (37, 45), (64, 100)):
        w, u = (pruned(rng, gates, hidden, inner, 0.2) for inner in (inputs, hidden))
        bias = rng.normal(size=gates * hidden).astype(np.float32)
        layers = [cell.from_torch(w, u, bias, bias, precision=precision, **attributes)]
        x = rng.normal(size=(6, 9, inputs)).astype(np.float32)
        monkeypatch.setattr(_engine, "SPARSE_DENSITY", dict.fromkeys(_engine.SPARSE_DENSITY, (1.0, 0.0)))
        sparse = Model(layers, isa=isa)
        monkeypatch.setattr(_engine, "SPARSE_DENSITY", dict.fromkeys(_engine.SPARSE_DENSITY, (-1.0, 0.0)))
        dense = Model(layers, isa=isa)(x)
        monkeypatch.undo()
        np.testing.assert_array_equal(sparse(x), dense)
        assert np.array_equal(sparse(x[2]), dense[2])
        np.testing.assert_allclose(dense, reference.run(sparse.graph, x)[0][0], rtol=0, atol=0.05)
