"""Weights of fewer bytes and pruned ones: against the reference that rounds as the engine does, and bit against bit."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from cells import CELLS, ISAS, make_cell

from fastgru import Model, reference
from fastgru.engine import weights
from fastgru.errors import GraphError
from fastgru.graph import PRECISIONS, Activation, Graph, chain
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


# Scales and zero points ------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("zero", [0, 1, 117, 128, 255])
def test_weights_of_a_quantized_file_and_codes_at_their_ends_are_exact(zero, isa):
    """Of all that int16 and int32 have to hold on the way, the largest."""
    rng = np.random.default_rng(7)
    for inputs, outputs in ((4, 3), (64, 40), (301, 9)):
        codes = rng.choice([0, 1, 254, 255], size=(outputs, inputs)) - zero
        weight = codes.astype(np.float32) * np.float32(0.0123)
        model = Model([Dense(weight, precision="int8_affine")], isa=isa)
        np.testing.assert_array_equal(model.graph.nodes[0].op.weight, weight)
        x = rng.choice([-1.0, 0.0, 1.0, 254.0], size=(7, inputs)).astype(np.float32)  # a scale of 1
        x[:, :2] = -1, 254
        np.testing.assert_allclose(model(x), x @ codes.T * 0.0123, rtol=1e-6, atol=0)


def test_a_row_without_a_scale_is_rounded_and_keeps_its_codes():
    weight = np.random.default_rng(8).normal(size=(30, 50)).astype(np.float32)
    weight[3], weight[4] = 0, np.abs(weight[4])
    stored = PRECISIONS["int8_affine"].encode(weight)
    values = PRECISIONS["int8_affine"].decode(stored)
    assert np.abs(values - weight).max() <= np.ptp(weight, axis=1).max() / 500
    assert stored["zero"][4] < -100  # no sign there: all codes are for magnitudes
    for part, again in PRECISIONS["int8_affine"].encode(values).items():
        np.testing.assert_array_equal(again, stored[part])


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf, 3e38])
def test_a_row_beyond_what_has_a_scale_gives_nan_alone(bad):
    w = np.random.default_rng(4).normal(size=(6, 20)).astype(np.float32)
    model = Model([Dense(w, precision="int8_affine")])
    x = np.random.default_rng(5).normal(size=(4, 20)).astype(np.float32)
    clean = model(x)
    x[2, 3:5] = bad, -3e38
    y = model(x)
    assert np.isnan(y[2]).all()
    np.testing.assert_array_equal(y[[0, 1, 3]], clean[[0, 1, 3]])


# A scale and a zero point of all rows --------------------------------------------------------------


def given_codes(rng: np.random.Generator, outputs: int, inputs: int) -> np.ndarray:
    """Weights of codes 0..255, of a scale and a zero point of each row."""
    codes = rng.integers(0, 256, (outputs, inputs))
    codes[:, :2] = rng.permutation([0, 255])[:inputs]
    scale = (rng.random((outputs, 1)) * 0.01 + 0.001).astype(np.float32)
    return (codes - rng.integers(0, 256, (outputs, 1))).astype(np.float32) * scale


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("zero", [0, 1, 128, 200, 255])
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh", "fake_quantize"])
def test_products_of_a_given_scale_are_exact_but_for_scales(activation, zero, isa):
    """Sums of integers, of numbers beyond the codes, too; the reference is that of the activation and the product."""
    rng = np.random.default_rng(zero)
    act = Activation(activation, **({"alpha": 0.25, "beta": -77} if activation == "fake_quantize" else {}))
    for outputs, inputs in ((1, 1), (3, 7), (40, 33), (64, 64), (17, 130)):
        weight = given_codes(rng, outputs, inputs)
        bias = rng.normal(size=outputs).astype(np.float32)
        op = Dense(weight, bias, act, precision="int8_affine", input_scale=0.03125, input_zero=zero)
        np.testing.assert_array_equal(op.weight, weight)
        x = (rng.normal(size=(3, 5, inputs)) * 4).astype(np.float32)
        exact = np.clip(np.rint(x * 32.0), -zero, 255 - zero) / 32 @ weight.T.astype(np.float64) + bias
        y = Model([op], isa=isa)(x)
        distance = np.abs((exact / 0.25) % 1 - 0.5) if activation == "fake_quantize" else np.ones(exact.shape)
        clear = distance > 1e-3  # of what the output's own rounding is certain
        assert clear.mean() > 0.9
        np.testing.assert_allclose(y[clear], act(exact)[clear], rtol=2e-6, atol=2e-6 * max(1, np.abs(exact).max()))
        np.testing.assert_allclose(reference.run(chain([op]), x)[0][0], act(exact), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("largest", [(63, 63, 63, 62), (64, 63, 63, 63), (127, 127, 127, 126)], ids=str)
def test_the_largest_products_fit(largest, isa):
    """Those that are added in pairs of 16 bits, those of one code more, and the largest of all: by -128 and 127."""
    rng = np.random.default_rng(9)
    for outputs, inputs in ((8, 4), (40, 64), (70, 52)):
        up = np.resize(np.array(largest), (outputs, inputs))
        weight = np.where(rng.integers(0, 2, (outputs, 1)), up, -up - 1).astype(np.float32)
        x = np.where(rng.integers(0, 2, (18, inputs)), -128.0, 127.0).astype(np.float32)
        x[0], x[1], x[2::2] = -128, 127, np.where(weight[:8] > 0, -128, 127)
        given = Model([Dense(weight, precision="int8_affine", input_scale=1.0, input_zero=128)], isa=isa)
        np.testing.assert_array_equal(given.graph.nodes[0].op.weight, weight)
        np.testing.assert_allclose(given(x), x.astype(np.float64) @ weight.T, rtol=1e-6)


@pytest.mark.parametrize("isa", ISAS)
def test_activations_are_divided_by_their_scale(isa):
    """As a division rounds it, next to every tie between codes, not as a product by the inverse."""
    for scale in np.float32([0.0123, 0.0241222, 1 / 3, 7.3e-5, 123.4]):
        ties = (np.arange(-130, 130, dtype=np.float32) + np.float32(0.5)) * scale
        x = np.stack([ties, np.nextafter(ties, np.float32(9e9)), np.nextafter(ties, np.float32(-9e9))])[..., None]
        codes = np.clip(np.rint(x / scale), -100, 155)
        one = Dense([[1.0]], precision="int8_affine", input_scale=float(scale), input_zero=100)
        np.testing.assert_array_equal(np.rint(Model([one], isa=isa)(x) / scale), codes)
        rounded = Dense([[1.0]], activation=Activation("fake_quantize", alpha=float(scale), beta=-100))
        np.testing.assert_array_equal(Model([rounded], isa=isa)(x), codes * scale)


@pytest.mark.parametrize("isa", ISAS)
def test_rows_of_a_given_scale_depend_on_nothing_else(isa):
    rng = np.random.default_rng(3)
    layers = [Dense(given_codes(rng, n, k), rng.normal(size=n), "relu", precision="int8_affine", input_scale=0.02,
                    input_zero=128) for n, k in ((70, 45), (33, 70))]  # fmt: skip
    model, x = Model(layers, isa=isa), rng.normal(size=(9, 20, 45)).astype(np.float32)
    whole = model(x)
    np.testing.assert_array_equal(model(x, threads=2), whole)
    for i in range(9):
        np.testing.assert_array_equal(model(x[i]), whole[i])
    stream = model.stream(batch=9)
    np.testing.assert_array_equal(np.concatenate([stream.process(x[:, a : a + 7]) for a in range(0, 20, 7)], 1), whole)


def test_numbers_that_are_none_give_nan_in_their_rows_alone():
    rng = np.random.default_rng(4)
    model = Model([Dense(given_codes(rng, 6, 40), None, "relu", precision="int8_affine", input_scale=0.5)])
    x = rng.normal(size=(4, 40)).astype(np.float32)
    clean = model(x)
    x[2, 37], x[1, 5], x[1, 6] = np.nan, np.inf, -np.inf
    y = model(x)
    assert np.isnan(y[2]).all()
    assert np.isfinite(y[1]).all()
    np.testing.assert_array_equal(y[[0, 3]], clean[[0, 3]])


def test_a_scale_of_other_products_is_refused():
    for precision in ("float32", "int8"):
        with pytest.raises(GraphError, match=f"precision must be int8_affine with an input_scale, got '{precision}'"):
            Dense([[1.0]], precision=precision, input_scale=0.5)
    for scale in (0.0, -1.0, 1e-40, 3e38):
        with pytest.raises(GraphError, match="input_scale must be within 2"):
            Dense([[1.0]], precision="int8_affine", input_scale=scale)
    exact = Model([Dense([[1.0]], precision="int8_affine", input_scale=0.5)]).quantize("float32")
    assert exact(np.float32([[0.3]])) == np.float32(0.3)  # its rounding is that of the precision


def test_long_rows_with_zero_points_are_refused():
    with pytest.raises(ValueError, match="rows of int8_affine weights must have at most 32768 elements, got 32769"):
        Model([Dense(np.ones((1, 32769), np.float32), precision="int8_affine")])


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
        monkeypatch.setattr(weights, "SPARSE_DENSITY", dict.fromkeys(weights.SPARSE_DENSITY, (1.0, 0.0)))
        sparse = Model(layers, isa=isa)
        monkeypatch.setattr(weights, "SPARSE_DENSITY", dict.fromkeys(weights.SPARSE_DENSITY, (-1.0, 0.0)))
        dense = Model(layers, isa=isa)(x)
        monkeypatch.undo()
        np.testing.assert_array_equal(sparse(x), dense)
        assert np.array_equal(sparse(x[2]), dense[2])
        np.testing.assert_allclose(dense, reference.run(sparse.graph, x)[0][0], rtol=0, atol=0.05)
