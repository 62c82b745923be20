"""Scalers of scikit-learn and Keras in a model compute what they compute themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgru import Model, reference
from fastgru.checks import selftest
from fastgru.layers import GRU, Dense

RNG = np.random.default_rng(5)
CENTRE, SPREAD = np.array([1.0, -500.0, 7.0]), np.array([2.0, 30.0, 0.01])
DATA = RNG.normal(size=(60, 3)) * SPREAD + CENTRE
MODEL = Model([GRU(*(RNG.normal(size=s) / 2 for s in ((15, 3), (15, 5), 15))), Dense(RNG.normal(size=(3, 5)) / 2)])


def check(scaler: Any, forward: Any, back: Any) -> None:
    """Hold the scaled model against the scaler's own arithmetic in float64, around the reference."""
    x = (RNG.normal(size=(4, 20, 3)) * SPREAD + CENTRE).astype(np.float32)
    exact = reference.run(MODEL.graph, forward(x.astype(np.float64)))[0][0]
    scaled = MODEL.with_scaler(scaler)
    np.testing.assert_allclose(scaled(x), exact, rtol=0, atol=4e-6)
    assert selftest.verify(scaled).ok
    if back is not None:
        exact = back(exact)
        both = MODEL.with_scaler(scaler, output=scaler)
        np.testing.assert_allclose(both(x) / SPREAD, exact / SPREAD, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("StandardScaler", {}),
        ("StandardScaler", {"with_mean": False}),
        ("StandardScaler", {"with_std": False}),
        ("StandardScaler", {"with_mean": False, "with_std": False}),
        ("MinMaxScaler", {}),
        ("MinMaxScaler", {"feature_range": (-1, 1)}),
        ("MinMaxScaler", {"clip": True}),
        ("RobustScaler", {}),
        ("RobustScaler", {"with_centering": False, "unit_variance": True}),
        ("RobustScaler", {"with_scaling": False}),
        ("MaxAbsScaler", {}),
    ],
)
def test_scikit_learn(name, options):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    scaler = getattr(preprocessing, name)(**options)
    with pytest.raises(ValueError, match=f"must be fitted, got a {name} without its numbers: call its fit first"):
        MODEL.with_scaler(scaler)
    scaler.fit(DATA)

    def rows(change: Any) -> Any:
        return lambda x: change(x.reshape(-1, 3)).reshape(x.shape)

    check(scaler, rows(scaler.transform), rows(scaler.inverse_transform))


def test_a_constant_feature_of_scikit_learn():
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    data = np.concatenate([DATA[:, :2], np.full((60, 1), 7.0)], axis=1)
    for name in ("StandardScaler", "MinMaxScaler"):
        scaler = getattr(preprocessing, name)().fit(data)
        check(scaler, lambda x, s=scaler: s.transform(x.reshape(-1, 3)).reshape(x.shape), None)


@pytest.mark.parametrize(
    "options", [{}, {"invert": True}, {"axis": None}, {"mean": [1.0, 2.0, 3.0], "variance": [4.0, 9.0, 1.0]}]
)
def test_keras(options):
    keras = pytest.importorskip("keras")
    layer = keras.layers.Normalization(**options)
    if "mean" in options:
        layer.build((None, 20, 3))
    else:
        with pytest.raises(ValueError, match="must be fitted, got a Normalization without its numbers: call its adapt"):
            MODEL.with_scaler(layer)
        layer.adapt(DATA)
    mean, variance = (np.asarray(keras.ops.convert_to_numpy(a), np.float64) for a in (layer.mean, layer.variance))
    spread = np.sqrt(variance)
    exact = (lambda x: mean + x * spread) if options.get("invert") else (lambda x: (x - mean) / spread)
    x = (RNG.normal(size=(4, 20, 3)) * SPREAD + CENTRE).astype(np.float32)
    own = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(own, exact(x.astype(np.float64)), rtol=1e-4, atol=1e-3)
    check(layer, exact, None)
