"""Every cell, size, precision and instruction set against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest
from cells import CELLS, SIZES, make_cell

from fastgru import Model, reference
from fastgru.graph import Graph, chain

TOLERANCE = {"float32": 2e-6, "float64": 2e-14}


def check(graph: Graph, x: np.ndarray, tolerance: float, *, mask: np.ndarray | None = None, **options: object) -> None:
    """Outputs and final states of the engine within `tolerance` of the reference's."""
    want, end = reference.run(graph, x, mask=mask)
    got, state = Model(graph, **options)(x, return_state=True, mask=mask)  # type: ignore[arg-type]
    for y, w in zip(got if isinstance(got, tuple) else (got,), want, strict=True):
        np.testing.assert_allclose(y, w, rtol=0, atol=tolerance)
    for key, value in end.items():
        np.testing.assert_allclose(state[key], value, rtol=0, atol=tolerance)


@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_cells(cell: str, hidden: int, isa: str) -> None:
    x = np.random.default_rng(hidden).normal(size=(3, 6, 5)).astype(np.float32)
    check(chain([make_cell(cell, 5, hidden)]), x, TOLERANCE["float32"], isa=isa)


@pytest.mark.parametrize("inputs", SIZES)
def test_input_sizes_and_batches(inputs: int, isa: str) -> None:
    for batch in (1, 2, 3, 5, 7, 13):
        x = np.random.default_rng(inputs).normal(size=(batch, 4, inputs)).astype(np.float32)
        check(chain([make_cell("gru-after", inputs, 20), make_cell("lstm", 20, 11)]), x, TOLERANCE["float32"], isa=isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_blas(cell: str, dtype: str, isa: str) -> None:
    x = np.random.default_rng(1).normal(size=(4, 9, 5)).astype(dtype)
    for hidden in (1, 16, 33):
        graph = chain([make_cell(cell, 5, hidden, dtype=dtype)])
        check(graph, x, TOLERANCE[dtype], isa=isa, dtype=dtype, gemm="blas")


@pytest.mark.parametrize("batch", [1, 3])
def test_long_chunks_run_in_blocks(batch: int, isa: str) -> None:
    """More steps than one block holds, through a layer that returns its last step."""
    layers = [make_cell("gru-after", 4, 16), make_cell("gru-before-output", 16, 9, return_sequences=False)]
    x = np.random.default_rng(2).normal(size=(batch, 1500, 4)).astype(np.float32)
    mask = np.random.default_rng(3).random((batch, 1500)) < 0.7
    check(chain(layers), x, TOLERANCE["float32"], isa=isa)
    check(chain(layers), x, TOLERANCE["float32"], isa=isa, mask=mask)


def test_nan_and_infinity_stay_in_their_row(isa: str) -> None:
    model = Model([make_cell("gru-after", 5, 33), make_cell("lstm", 33, 8)], isa=isa)
    x = np.random.default_rng(4).normal(size=(9, 6, 5)).astype(np.float32)
    clean = model(x)
    x[4, 2, 1] = np.nan
    x[6, 3, 0] = np.inf
    got = model(x)
    others = [b for b in range(9) if b not in (4, 6)]
    assert np.array_equal(got[others], clean[others])
    assert np.array_equal(got[4, :2], clean[4, :2])
    assert np.isnan(got[4, 2:]).all()
    want, _ = reference.run(model.graph, x[6:7])
    np.testing.assert_allclose(got[6:7], want[0], rtol=0, atol=TOLERANCE["float32"])
