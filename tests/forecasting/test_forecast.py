"""Forecasts beside a loop by hand over the float64 reference, and the same paths whatever runs with them."""

from __future__ import annotations

import numpy as np
import pytest
from cells import make_cell

import fastgru
from fastgru import Model, reference
from fastgru.errors import GraphError
from fastgru.forecasting import Forecast, Scheme, rollout
from fastgru.graph import Bidirectional, GraphBuilder, Spec
from fastgru.layers import GRU, LSTM, Activate, Dense, Embedding, TimeConv

RNG = np.random.default_rng(11)


def weights(*shape):
    return RNG.normal(size=shape) / np.sqrt(shape[-1])


def network(width, outputs, *, cell="gru-after", positive=(), last=False):
    """A recurrent network of 6 units whose output is `outputs` wide, some columns of it made positive."""
    builder = GraphBuilder()
    x = builder.input("x", Spec((width,)))
    (y,) = builder.add_layer(make_cell(cell, width, 6, return_sequences=not last), x, name="rnn")
    names = []
    for k in range(outputs):
        (part,) = builder.add_layer(Dense(weights(1, 6), weights(1) + 2 * (k in positive)), y, name=f"p{k}")
        if k in positive:
            (part,) = builder.add_layer(Activate("softplus"), part, name=f"s{k}")
        names.append(part)
    return Model(builder.build(*names))


def rows_by_hand(scheme, y, covariates, first, last):
    """The rows of the input for the steps from `first` to before `last`, in float64."""
    rows = []
    for t in range(first, last):
        row = [value for lag in scheme.lags for value in y[t - lag]]
        row += list(covariates[t - scheme.covariate_lag]) if covariates is not None else []
        rows.append(row)
    return np.array(rows)


def by_hand(model, scheme, context, horizon, covariates=None):
    """Points of one series: the reference over everything so far, again for each step."""
    y = [np.atleast_1d(v).astype(float) for v in context]
    known = len(y)
    steps = known - scheme.reach + 1
    if scheme.context is not None:
        steps = min(steps, scheme.context)
    while len(y) < known + horizon:
        first = (len(y) if scheme.window else known) - steps + 1
        x = rows_by_hand(scheme, y, covariates, first, len(y) + 1)[None]
        outputs = reference.run(model.graph, x)[0]
        found = [o[0, -1] if o.ndim == 3 else o[0] for o in outputs]
        block = np.concatenate(found, -1) if len(found) > 1 else found[0]
        y += list(block.reshape(scheme.ahead, scheme.targets))
    return np.array(y[known : known + horizon])


POINTS = {
    "plain": (Scheme(), {}),
    "no scheme": (None, {}),
    "lags": (Scheme(lags=(1, 2, 5)), {}),
    "a lag alone": (Scheme(lags=(3,)), {}),
    "covariates": (Scheme(covariates=("a", "b")), {}),
    "covariates of the step before": (Scheme(covariates=("a", "b"), covariate_lag=1), {}),
    "the end of a context": (Scheme(lags=(1, 4), context=6), {}),
    "blocks": (Scheme(ahead=4, covariates=("a",), covariate_lag=1), {}),
    "windows": (Scheme(window=True, context=5, lags=(1, 2)), {}),
    "windows of blocks": (Scheme(window=True, context=5, ahead=3, covariates=("a",), covariate_lag=1), {"last": True}),
    "two values": (Scheme(targets=2, lags=(1, 3), covariates=("a",)), {}),
    "last steps": (Scheme(), {"last": True}),
    "lstm": (Scheme(lags=(1, 2)), {"cell": "lstm"}),
}


@pytest.mark.parametrize("name", POINTS)
@pytest.mark.parametrize("unequal", [False, True], ids=["equal", "unequal"])
def test_points_are_those_of_a_loop_by_hand(name, unequal):
    given, options = POINTS[name]
    scheme = given or Scheme()
    count = scheme.ahead * scheme.targets
    builder = GraphBuilder()
    x = builder.input("x", Spec((scheme.width,)))
    last = options.get("last", False)
    (h,) = builder.add_layer(
        make_cell(options.get("cell", "gru-after"), scheme.width, 6, return_sequences=not last), x, name="rnn"
    )
    (out,) = builder.add_layer(Dense(weights(count, 6), weights(count)), h, name="out")
    model = Model(builder.build(out))
    model = model if given is None else model.with_forecast(given)
    lengths = [12, 30, 9, 30, 17] if unequal else [20] * 5
    horizon, wide = 9, len(scheme.covariates)
    contexts = [RNG.normal(size=(n, scheme.targets)) for n in lengths]
    extra = [RNG.normal(size=(n + horizon, wide)) for n in lengths] if wide else None
    shown = contexts if scheme.targets > 1 else [c[:, 0] for c in contexts]
    got = model.forecast(shown, horizon, covariates=extra)
    for i, context in enumerate(contexts):
        expected = by_hand(model, scheme, context, horizon, None if extra is None else extra[i])
        np.testing.assert_allclose(got[i].reshape(expected.shape), expected, rtol=0, atol=5e-6)
    if not unequal:
        stacked = np.array(shown)
        assert np.array_equal(
            model.forecast(stacked, horizon, covariates=None if extra is None else np.array(extra)), got
        )
    one = model.forecast(shown[2], horizon, covariates=None if extra is None else extra[2])
    assert np.array_equal(one, got[2])


@pytest.mark.parametrize(
    ("scaling", "inputs"),
    [("mean", ("log_scale",)), ("standard", ("center", "scale")), ("sample", ("log_scale",)), ("spread", ("scale",))],
)
def test_contexts_are_scaled(scaling, inputs):
    scheme = Scheme(scaling=scaling, scale_inputs=inputs, context=8)
    model = network(scheme.width, 1).with_forecast(scheme)
    context = 50 + 20 * RNG.normal(size=(4, 15))
    got = model.forecast(context, 3)
    for y, row in zip(context, got, strict=True):
        tail = y[-8:]
        center = tail.mean() if scaling in ("standard", "sample") else 0.0
        scale = np.abs(tail).mean() if scaling == "mean" else tail.std(ddof=scaling != "standard")
        numbers = {"center": center, "scale": scale, "log_scale": np.log(scale)}
        scaled = list((y - center) / scale)
        for _ in range(3):
            x = np.array([[scaled[t], *(numbers[n] for n in inputs)] for t in range(7, len(scaled))])[None]
            scaled.append(reference.run(model.graph, x)[0][0][0, -1, 0])
        np.testing.assert_allclose(row, np.array(scaled[15:]) * scale + center, rtol=2e-6)


def test_values_that_are_all_zero_have_the_least_scale():
    model = network(2, 1).with_forecast(Scheme(scaling="mean", scale_inputs=("log_scale",)))
    assert np.isfinite(model.forecast(np.zeros(5), 3)).all()


def test_short_contexts_are_padded():
    scheme = Scheme(lags=(1, 4), context=6, pad=True, covariates=("a",))
    model = network(3, 1).with_forecast(scheme)
    y, extra = RNG.normal(size=3), RNG.normal(size=(5, 1))
    got = model.forecast(y, 2, covariates=extra)
    padded, more = np.concatenate([np.zeros(6), y]), np.concatenate([np.zeros((6, 1)), extra])
    np.testing.assert_allclose(got, by_hand(model, scheme, padded, 2, more)[:, 0], atol=2e-6)


@pytest.mark.parametrize("transform", ["log", "log1p", "softplus", "relu"])
def test_transforms(transform):
    model = network(1, 1).with_forecast(Scheme(transform=transform))
    y = RNG.gamma(2.0, size=12) + 0.1
    forward, back = {
        "log": (np.log, np.exp), "log1p": (np.log1p, np.expm1), "relu": (lambda v: v, lambda v: np.maximum(v, 0)),
        "softplus": (lambda v: np.log(np.expm1(v)), lambda v: np.log1p(np.exp(v))),
    }[transform]  # fmt: skip
    values = list(forward(y))
    for _ in range(4):
        out = reference.run(model.graph, np.array(values)[None, :, None])[0][0][0, -1, 0]
        values.append(max(out, 0.0) if transform == "relu" else out)
    np.testing.assert_allclose(model.forecast(y, 4), back(np.array(values[12:])), rtol=1e-5, atol=1e-6)


def test_scalers_of_the_model_apply():
    raw = network(1, 1)
    model = raw.with_scaler(mean=[40.0], scale=[7.0], output=([40.0], [7.0]))
    y = 40 + 7 * RNG.normal(size=(3, 14))
    np.testing.assert_allclose(model.forecast(y, 5), raw.forecast((y - 40) / 7, 5) * 7 + 40, rtol=1e-5)


def test_the_scaler_of_a_target_is_that_of_its_distribution():
    scheme = Scheme("normal")
    raw = Model([make_cell("gru-after", 1, 6), Dense(np.abs(weights(2, 6)), [0.0, 3.0])]).with_forecast(scheme)
    model = raw.with_scaler(mean=[40.0], scale=[7.0], output=(40.0, 7.0))
    y = 40 + 7 * RNG.normal(size=(3, 14))
    loc, scale = raw(((y - 40) / 7)[..., None])[..., 0], raw(((y - 40) / 7)[..., None])[..., 1]
    np.testing.assert_allclose(model(y[..., None]), np.stack([loc * 7 + 40, scale * 7], -1), rtol=2e-5)
    a, b = model.forecast(y, 4, samples=50, seed=2), raw.forecast((y - 40) / 7, 4, samples=50, seed=2)
    np.testing.assert_allclose(a.paths, b.paths * 7 + 40, rtol=1e-4)
    with pytest.raises(GraphError, match="call with_forecast first, then with_scaler"):
        Model(raw.graph).with_scaler(output=(40.0, 7.0)).with_forecast(scheme)
    counts = network(1, 2, positive=(0, 1)).with_forecast(Scheme("negative_binomial"))
    with pytest.raises(ValueError, match=r"one of|mapping"):
        counts.with_scaler(output=(40.0, 7.0))


# Samples -------------------------------------------------------------------------------------------

SAMPLED = {
    "normal": (Scheme("normal", scaling="mean", scale_inputs=("log_scale",)), (1,)),
    "student_t": (Scheme("student_t", lags=(1, 3), covariates=("a",)), (0, 2)),
    "laplace": (Scheme("laplace"), (1,)),
    "poisson": (Scheme("poisson", scaling="mean"), (0,)),
    "negative_binomial": (Scheme("negative_binomial", context=5), (0, 1)),
    "quantiles": (Scheme("quantiles", levels=(0.1, 0.5, 0.9)), ()),
    "blocks": (Scheme("normal", ahead=3), None),
    "two values": (Scheme("normal", targets=2), None),
}


def sampled(name):
    scheme, positive = SAMPLED[name]
    if positive is None:
        count = scheme.ahead * scheme.targets
        builder = GraphBuilder()
        x = builder.input("x", Spec((scheme.width,)))
        (h,) = builder.add_layer(make_cell("gru-after", scheme.width, 6), x, name="rnn")
        (loc,) = builder.add_layer(Dense(weights(count, 6)), h, name="loc")
        (raw,) = builder.add_layer(Dense(weights(count, 6)), h, name="raw")
        (scale,) = builder.add_layer(Activate("softplus"), raw, name="scale")
        return Model(builder.build(loc, scale)).with_forecast(scheme)
    return network(scheme.width, len(scheme.parameters), positive=positive).with_forecast(scheme)


def sample_inputs(scheme, series, horizon):
    contexts = [RNG.gamma(2.0, size=(n, scheme.targets)).round() for n in RNG.integers(6, 15, series)]
    contexts = contexts if scheme.targets > 1 else [c[:, 0] for c in contexts]
    extra = [RNG.normal(size=(len(c) + horizon, len(scheme.covariates))) for c in contexts]
    return contexts, extra if scheme.covariates else None


@pytest.mark.parametrize("name", SAMPLED)
def test_paths_do_not_depend_on_batches_or_threads(name, monkeypatch):
    model, scheme = sampled(name), SAMPLED[name][0]
    contexts, extra = sample_inputs(scheme, 23, 7)
    whole = model.forecast(contexts, 7, covariates=extra, samples=10, seed=5)
    for rows, threads in ((10, 1), (30, 3), (77, 2), (1, 1)):
        monkeypatch.setattr(rollout, "ROWS", rows)
        again = model.forecast(contexts, 7, covariates=extra, samples=10, seed=5, threads=threads)
        for a, b in zip(whole[:3], again[:3], strict=True):
            assert np.array_equal(a, b)
    fewer = model.forecast(contexts, 4, covariates=extra, samples=3, seed=5)
    assert np.array_equal(fewer.paths, whole.paths[:, :3, :4])
    other = model.forecast(contexts, 7, covariates=extra, samples=10, seed=6)
    assert not np.array_equal(other.paths, whole.paths)
    free = [model.forecast(contexts, 7, covariates=extra, samples=10).paths for _ in range(2)]
    assert not np.array_equal(*free)


@pytest.mark.parametrize("name", SAMPLED)
def test_a_path_is_what_the_network_says_of_it(name):
    """Fed by hand with its own path, the network's parameters are those that the path was drawn from."""
    model, scheme = sampled(name), SAMPLED[name][0]
    contexts, extra = sample_inputs(scheme, 1, 6)
    many = 4000
    found = model.forecast(contexts, 1, covariates=extra and [e[:-5] for e in extra], samples=many, seed=9)
    y = contexts[0] if scheme.targets > 1 else contexts[0][:, None]
    scale = np.abs(y).mean() if scheme.scaling == "mean" else 1.0
    steps = min(len(y) - scheme.reach + 1, scheme.context or len(y))
    x = rows_by_hand(scheme, y / scale, None if extra is None else extra[0], len(y) - steps + 1, len(y) + 1)
    x = np.concatenate([x, np.full((steps, len(scheme.scale_inputs)), np.log(scale))], axis=1)
    outputs = [o[0, -1].reshape(scheme.ahead, scheme.targets)[0] for o in reference.run(model.graph, x[None])[0]]
    for lane in range(scheme.targets):
        parameters = dict(zip(scheme.parameters, (float(o[lane]) for o in outputs), strict=True))
        drawn = found.paths.reshape(many, -1)[:, lane]
        if name == "quantiles":
            middle = sorted(parameters.values())[len(parameters) // 2]  # of a network whose levels may cross
            np.testing.assert_allclose(np.quantile(drawn, 0.5), middle, atol=0.05)
            continue
        expected = (parameters.get("loc") or parameters.get("mean") or parameters["rate"]) * scale
        variance = expected + parameters.get("alpha", 0) * expected**2  # of counts
        spread = parameters["scale"] * scale if "scale" in parameters else np.sqrt(variance)
        middle = np.median(drawn) if scheme.distribution in ("student_t", "laplace") else drawn.mean()
        assert middle == pytest.approx(expected, abs=5 * spread / np.sqrt(many) + 1e-5)


def test_a_forecast_sums_up_its_paths():
    model = sampled("normal")
    found = model.forecast(RNG.gamma(2.0, size=(3, 9)), 4, samples=31, seed=1, quantiles=(0.5, 0.05, 1))
    assert isinstance(found, Forecast)
    assert (found.mean.shape, found.quantiles.shape, found.paths.shape) == ((3, 4), (3, 4, 3), (3, 31, 4))
    np.testing.assert_allclose(found.mean, found.paths.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(
        found.quantiles, np.moveaxis(np.quantile(found.paths, [0.5, 0.05, 1], axis=1), 0, -1), rtol=1e-5
    )
    one = model.forecast(RNG.gamma(2.0, size=9), 4, samples=31, seed=1)
    assert (one.mean.shape, one.quantiles.shape, one.paths.shape) == ((4,), (4, 3), (31, 4))
    two = sampled("two values").forecast(RNG.normal(size=(9, 2)), 4, samples=5, seed=1)
    assert (two.mean.shape, two.quantiles.shape, two.paths.shape) == ((4, 2), (4, 2, 3), (5, 4, 2))
    axis = model.forecast(RNG.gamma(2.0, size=(3, 9, 1)), 4)
    assert axis.shape == (3, 4, 1)


def test_an_autoregression_spreads_as_it_must():
    """y' = 0.8 y + noise of 0.5: after many steps its variance is 0.25 / (1 - 0.64)."""
    model = Model([Dense([[0.8], [0.0]], [0.0, 0.5])]).with_forecast(Scheme("normal"))
    found = model.forecast(np.zeros((4, 1 + 1)), 30, samples=5000, seed=3)
    steps = np.arange(1, 31)
    expected = np.sqrt(0.25 * (1 - 0.64**steps) / (1 - 0.64))
    np.testing.assert_allclose(found.paths.std(axis=1), np.tile(expected, (4, 1)), rtol=0.06)
    np.testing.assert_allclose(found.mean, 0, atol=0.06)
    pairs = [np.corrcoef(found.paths[i, :, 10], found.paths[j, :, 10])[0, 1] for i in range(4) for j in range(i)]
    assert np.abs(pairs).max() < 0.06


# Files ---------------------------------------------------------------------------------------------


def test_a_scheme_is_in_the_file_and_in_the_plan(tmp_path):
    model = sampled("normal")
    y = RNG.gamma(2.0, size=(3, 9))
    expected = model.forecast(y, 4, samples=5, seed=1).paths
    model.save(tmp_path / "m.fgru")
    model.compile(tmp_path / "m.plan")
    for path in ("m.fgru", "m.plan"):
        assert np.array_equal(fastgru.load(tmp_path / path).forecast(y, 4, samples=5, seed=1).paths, expected)
    small = model.quantize("int8")
    assert small.forecast(y, 4, samples=5, seed=1).paths.shape == expected.shape
    assert Scheme.of_text(model.provenance["forecast"]) == SAMPLED["normal"][0]


def test_float64_models_forecast_in_float64():
    pytest.importorskip("scipy")
    graph = network(1, 1).graph
    y = RNG.normal(size=12)
    got = Model(graph, dtype="float64").forecast(y, 5)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, by_hand(Model(graph), Scheme(), y, 5)[:, 0], rtol=1e-12)


# What cannot be ------------------------------------------------------------------------------------


def test_models_whose_output_cannot_be_fed_back():
    three = Model([Dense(weights(3, 2))])
    with pytest.raises(
        GraphError, match=r"must be what its input takes back, got dense \(B, T, 3\) float for x \(B, T, 2\)"
    ) as caught:
        three.forecast(np.zeros(5), 2)
    says = """if they are the next 3 steps, say model.with_forecast(Scheme("point", ahead=3, covariates=('x1',)))"""
    assert says in str(caught.value)
    ahead = three.with_forecast(Scheme("point", ahead=3, covariates=("x1",)))
    assert ahead.forecast(np.zeros(5), 4, covariates=np.zeros(9)).shape == (4,)
    with pytest.raises(GraphError, match=r"what they hold with model.with_forecast\(Scheme\(\.\.\.\)\), of"):
        Model([Embedding(weights(5, 2)), Dense(weights(3, 2))]).forecast(np.zeros(5), 2)
    with pytest.raises(GraphError, match=r"input of the model must have 1 columns \(1 lag\), got 2"):
        three.with_forecast(Scheme("student_t"))
    with pytest.raises(GraphError, match=r"hold 2 numbers \(loc and scale of normal\), got dense \(B, T, 3\) float"):
        three.with_forecast(Scheme("normal", lags=(1, 2)))
    cell = make_cell("gru-after", 1, 1)
    both = Model([Bidirectional(cell, cell, merge="sum")])
    with pytest.raises(GraphError, match="window=True and a context in its Scheme"):
        both.forecast(np.zeros(5), 2)
    assert both.with_forecast(Scheme(window=True, context=4)).forecast(np.ones(5), 2).shape == (2,)
    late = Model([TimeConv(weights(1, 1, 3), before=1, after=1)])
    with pytest.raises(GraphError, match=r"look back alone|waits for"):
        late.forecast(np.zeros(5), 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"distribution": "gaussian"}, "distribution must be one of point"),
        ({"distribution": "studnt_t"}, r"distribution must be one of student_t, .*, got 'studnt_t'"),
        ({"lags": (0,)}, r"lags must be from 1 to 1048576, got \(0,\)"),
        ({"lags": (1, 1)}, r"lags must be different, got \(1, 1\)"),
        ({"lags": 1}, "lags must be a tuple of integers, got 1"),
        ({"scaling": "max"}, "scaling must be one of none, mean, standard, sample, spread, got 'max'"),
        ({"calendar": ("weekday",)}, "calendar must be some of"),
        ({"static": ("a",)}, "static must be some of none, got 'a'"),
        ({"covariates": ("y",)}, "covariates must not be called unique_id, ds or y, got 'y'"),
        ({"levels": (0.5,)}, r"levels must be given for quantiles, and for nothing else, got \(0.5,\)"),
        ({"distribution": "quantiles"}, "levels must be given for quantiles, and for nothing else, got none"),
        ({"distribution": "quantiles", "levels": (0.9, 0.1)}, "levels must ascend between 0 and 1"),
        ({"scale_inputs": ("scale",)}, "scaling must be of a kind for scale_inputs"),
        ({"distribution": "poisson", "scaling": "standard"}, "scaling must be none, mean or spread for counts"),
        ({"pad": True}, "context must be given with pad, got None"),
        ({"window": 1}, "window must be True or False, got 1"),
        ({"ahead": 0}, "ahead must be an integer from 1 to 1048576, got 0"),
        ({"covariate_lag": 2}, "covariate_lag must be 0 or 1, got 2"),
        ({"least_scale": 0.0}, "least_scale must be a positive number, got 0.0"),
        ({"least_scale": 10**309}, "least_scale must be a positive number, got 1000"),
        ({"transform": "sqrt"}, "transform must be one of none"),
    ],
    ids=str,
)
def test_schemes_that_cannot_be(fields, message):
    with pytest.raises(GraphError, match=message):
        Scheme(**fields)


def test_a_scheme_lists_all_that_is_wrong_and_reads_its_own_text():
    with pytest.raises(GraphError, match="2 problems"):
        Scheme("norml", scaling="max")
    with pytest.raises(GraphError, match=r"fields among lags.*, got 'lag'"):
        Scheme.of_text('{"lag": [1]}')
    with pytest.raises(GraphError, match="must be JSON"):
        Scheme.of_text("lags")
    with pytest.raises(TypeError, match=r"must be a fastgru.forecasting.Scheme, got dict"):
        network(1, 1).with_forecast({"lags": (1,)})


Y = np.arange(1.0, 13.0).reshape(2, 6)
BAD = np.where(Y == 10, np.nan, Y)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((Y, 0), {}, "horizon must be an integer from 1 to 16777216, got 0"),
        ((Y, 2.0), {}, "horizon must be an integer .*, got 2.0"),
        ((Y, 2), {"samples": -1}, "samples must be an integer from 0"),
        ((Y, 2), {"samples": 5, "quantiles": (1.5,)}, "quantiles must be numbers from 0 to 1"),
        ((Y, 2), {"samples": 5, "quantiles": 0.5}, "quantiles must be numbers from 0 to 1"),
        ((Y, 2), {"samples": 5, "seed": -1}, "seed must be an integer from 0 to"),
        ((BAD, 2), {}, r"context\[1\] must hold finite numbers of float32, got nan at step 3 of 6"),
        ((list(BAD), 2), {}, r"context\[1\] must hold finite numbers of float32, got nan at step 3 of 6"),
        ((Y[:, :1], 2), {}, r"which may be either: give context\[:, 0\]"),
        ((Y[0, :2], 2), {}, "context must have at least 3 values, as many as its largest lag, got 2"),
        (([Y[0], Y[1, :1]], 2), {}, r"context\[1\] must have at least 3 values, as many as its largest lag, got 1"),
        ((Y[None, None], 2), {}, r"context must have shape \(T,\), \(B, T\) or \(B, T, 1\), got \(1, 1, 2, 6\)"),
        ((np.zeros((0, 4)), 2), {}, "at least one series and one value"),
        (("abc", 2), {}, "context must be"),
        ((None, 2), {}, "context must be"),
        (
            (Y, 2),
            {"covariates": None},
            "covariates must be given, as the model reads a: .* 6 steps of context and 2 to",
        ),
        (
            (Y, 3),
            {"covariates": np.zeros((2, 8, 1))},
            "must cover 6 steps of context and 3 to forecast, 9 in all, got 8",
        ),
        ((Y, 2), {"covariates": np.zeros((2, 8, 2))}, r"covariates\[0\] must have shape \(8, 1\), of a, got \(8, 2\)"),
        ((Y, 2), {"covariates": np.zeros((3, 8, 1))}, "covariates must be of 2 series, as the context is, got 3"),
        ((Y, 2), {"covariates": np.full((2, 8, 1), np.inf)}, "got inf for a at step 0"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be(arguments, options, message):
    model = network(2, 2, positive=(1,)).with_forecast(Scheme("normal", lags=(3,), covariates=("a",)))
    options = {"covariates": np.zeros((2, 8, 1)), **options}
    if isinstance(arguments[0], np.ndarray) and arguments[0].ndim == 1:
        options["covariates"] = np.zeros((4, 1))
    with pytest.raises((ValueError, TypeError), match=message):
        model.forecast(*arguments, **options)


def test_samples_of_a_point():
    with pytest.raises(
        ValueError, match="samples must be 0, as the output of the model is a point and no distribution"
    ):
        network(1, 1).forecast(Y, 2, samples=5)
    with pytest.raises(ValueError, match="covariates must be omitted, as the model reads none, got some"):
        network(1, 1).forecast(Y, 2, covariates=np.zeros((2, 8, 1)))
    with pytest.raises(ValueError, match=r"numbers above 0 for the transform log, got -1.0 at step 2 of 3"):
        network(1, 1).with_forecast(Scheme(transform="log")).forecast([1, 2, -1], 2)
    with pytest.raises(ValueError, match="a window of 5 steps, got 4"):
        network(1, 1).with_forecast(Scheme(window=True, context=5)).forecast([1, 2, 3, 4], 2)


def test_parameters_that_no_distribution_has():
    model = Model([Dense([[0.5], [0.0]], [0.0, -0.1])]).with_forecast(Scheme("normal"))
    with pytest.raises(
        ValueError, match=r"scale of normal that the model gives must be 0 or more, got -0.1 for context\[0\], 1 "
    ):
        model.forecast(Y, 2, samples=5)
    wild = Model([Dense([[1e30]])])
    with pytest.raises(
        ValueError, match=r"value of point that the model gives must be finite, got inf for context, 2 steps"
    ):
        wild.forecast([1.0], 3)


def test_layers_of_torch_in_both_orders():
    """GRU and LSTM of two layers, as DeepAR has them: the state of each goes on for every path."""
    for cell, gates in ((GRU, 3), (LSTM, 4)):
        layers = [
            cell.from_torch(weights(gates * 5, n), weights(gates * 5, 5), weights(gates * 5), weights(gates * 5))
            for n in (1, 5)
        ]
        model = Model([*layers, Dense(weights(1, 5))])
        y = RNG.normal(size=(2, 9))
        got = model.forecast(y, 6)
        for i in range(2):
            np.testing.assert_allclose(got[i], by_hand(model, Scheme(), y[i], 6)[:, 0], atol=3e-6)
