"""Forecasters of darts, GluonTS and pytorch-forecasting, as converted, beside their own forecasts.

``python tests/support/forecasters.py tests/data/forecasters`` trains them and writes the files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fastgru
from fastgru.forecasting import DISTRIBUTIONS, Scheme
from fastgru.forecasting._columns import Batch
from fastgru.forecasting.series import of_arrays
from fastgru.forecasting.tables import of_table

DATA = Path(__file__).parents[1] / "data" / "forecasters"
NAMES = sorted(path.stem for path in DATA.glob("*.npz"))
HORIZON, SAMPLES, LEVELS = 7, 2000, (0.05, 0.25, 0.5, 0.75, 0.95)


def read(name):
    with np.load(DATA / f"{name}.npz") as stored:
        return fastgru.load(DATA / f"{name}.fgru", verify=True), dict(stored)


def arguments(name, model, stored):
    """The context and covariates of a stored forecaster: a table where its network reads the calendar."""
    scheme = Scheme.of_text(model.provenance["forecast"])
    y, covariates = stored["context"], stored.get("covariates")
    if not name.startswith("gluonts"):
        return y, None if covariates is None else covariates[:, : y.shape[1] + HORIZON]
    series, steps = y.shape
    step = np.timedelta64(1, str(stored["freq"]))
    begin = np.datetime64(str(stored["start"])).astype(step.dtype.str.replace("m8", "M8"))
    ds = (begin + np.arange(steps + HORIZON) * step).astype("M8[s]")
    ids = [f"series {i}" for i in range(series)]
    past = {"unique_id": np.repeat(ids, steps), "ds": np.tile(ds[:steps], series), "y": y.ravel()}
    later = {"unique_id": np.repeat(ids, HORIZON), "ds": np.tile(ds[steps:], series)}
    for k, column in enumerate(scheme.covariates):
        past[column] = covariates[:, :steps, k].ravel()
        if column not in scheme.static:
            later[column] = covariates[:, steps:, k].ravel()
    return past, later if covariates is not None else None


def rows(name, model, stored, horizon=1):
    """What the network reads over the contexts, and each context's centre and scale."""
    scheme = Scheme.of_text(model.provenance["forecast"])
    context, covariates = arguments(name, model, stored)
    if name.startswith("gluonts"):
        series = of_table(context, covariates, HORIZON, scheme)[0]
    else:
        series = of_arrays(context, covariates, HORIZON, scheme)[0]
    batch = Batch(series, np.arange(len(series.values)), scheme, HORIZON, "float32")
    return batch, batch.context(), scheme


def test_there_are_forecasters_of_all_libraries():
    assert {name.split("_")[0] for name in NAMES} == {"darts", "gluonts", "pytorch"}
    assert len(NAMES) == 16


@pytest.mark.parametrize("name", NAMES)
def test_forecasts_are_those_of_the_library(name):
    """Points to the last digits of float32, quantiles of paths within the noise of both samples."""
    model, stored = read(name)
    context, covariates = arguments(name, model, stored)
    if "points" in stored:
        got = model.forecast(context, HORIZON, covariates=covariates)
        np.testing.assert_allclose(got, stored["points"], rtol=2e-5, atol=2e-6)
        return
    found = model.forecast(context, HORIZON, covariates=covariates, samples=SAMPLES, seed=1, quantiles=LEVELS)
    if isinstance(found, dict):
        quantiles = np.stack([found[f"q{level:g}"] for level in LEVELS], -1).reshape(-1, HORIZON, len(LEVELS))
        mean = found["forecast"].reshape(-1, HORIZON)
    else:
        quantiles, mean = found.quantiles, found.mean
    apart = np.abs(quantiles - stored["quantiles"]) / stored["spread"][..., None]
    # A quantile of 2,000 has an error of 0.02 to 0.05 standard deviations; of counts, a step of 1 beside their spread.
    step = (
        1 / stored["spread"].min()
        if DISTRIBUTIONS[Scheme.of_text(model.provenance["forecast"]).distribution].counts
        else 0
    )
    assert apart.mean() < 0.07
    assert apart.max() < 0.5 + step
    assert (np.abs(mean - stored["mean"]) / stored["spread"]).mean() < 0.06


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("gluonts")])
def test_rows_and_parameters_are_those_of_gluonts(name):
    """What its LSTM read in its own call, column by column, and the parameters that it gave for it."""
    model, stored = read(name)
    _, x, scheme = rows(name, model, stored)
    lags, calendar, scales = len(scheme.lags), len(scheme.calendar), len(scheme.scale_inputs)
    theirs = stored["rows"]
    np.testing.assert_allclose(x[..., :lags], theirs[..., :lags], rtol=2e-5, atol=2e-6)
    dynamic = len(scheme.covariates) - len(scheme.static)
    end = theirs.shape[2] - dynamic
    np.testing.assert_allclose(
        x[:, :, lags + len(scheme.covariates) : x.shape[2] - scales], theirs[..., end - calendar : end], atol=2e-6
    )
    if scales:
        np.testing.assert_allclose(x[..., -1], theirs[..., end - calendar - 1], atol=2e-6)
    found = np.concatenate(model(x), axis=-1)
    expected = stored["parameters"]
    if scheme.distribution == "negative_binomial":
        total, logits = expected[..., 0], expected[..., 1]
        expected = np.stack([total * np.exp(logits), 1 / total], -1)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("gluonts")])
def test_parameters_are_those_of_the_library(name):
    """Those of the first step ahead, in the units of the data."""
    model, stored = read(name)
    if "parameters" not in stored:
        assert "points" in stored
        return
    batch, x, scheme = rows(name, model, stored)
    outputs = model(x)
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    if scheme.stepped(model.outputs):
        found = np.concatenate([y[:, -scheme.ahead] for y in several], axis=-1)
    else:
        found = np.concatenate([y[:, -1] for y in several], axis=-1)
    expected = stored["parameters"].copy()
    if name == "darts_rnn_negative_binomial":  # r and p, as darts counts
        r, p = expected[:, 0], expected[:, 1]
        expected = np.stack([r * p / (1 - p), 1 / r], -1)
    if name.startswith("pytorch"):
        expected = expected[:, 0]
        if scheme.distribution == "normal":
            found = found * batch.scale + [1, 0] * batch.center
            expected = expected[:, 2:] * expected[:, 1:2] + [1, 0] * expected[:, :1]  # centre and scale stand first
        else:
            found = found * np.concatenate([batch.scale, np.ones_like(batch.scale)], 1)
    np.testing.assert_allclose(found, expected, rtol=3e-5, atol=3e-6)
