"""Scalers in a model: what scikit-learn and Keras compute, in float32 as well as the input allows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru import GraphError, Model, reference
from fastgru import graph as g
from fastgru.checks import selftest
from fastgru.graph import GraphBuilder, Spec
from fastgru.layers import GRU, Dense, Embedding, Scaler

RNG = np.random.default_rng(3)
DATA = RNG.normal(size=(50, 3)) * [2.0, 30.0, 0.01] + [1.0, -500.0, 7.0]


def w(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) / 2).astype(np.float32)


LAYERS = [GRU(w(15, 3), w(15, 5), w(15)), Dense(w(2, 5), w(2))]


# Stand-ins with the attributes of fitted scalers, by the formulas of scikit-learn's documentation.


class StandardScaler:
    def __init__(self, x: Any = None, with_mean: bool = True, with_std: bool = True) -> None:
        self.with_mean, self.with_std = with_mean, with_std
        if x is not None:
            self.mean_ = x.mean(axis=0) if with_mean or with_std else None
            self.var_ = x.var(axis=0) if with_std else None
            self.scale_ = x.std(axis=0) if with_std else None

    def fit(self, x: Any) -> None: ...

    def transform(self, x: Any) -> Any:
        x = x - self.mean_ if self.with_mean else x
        return x / self.scale_ if self.with_std else x

    def inverse_transform(self, x: Any) -> Any:
        x = x * self.scale_ if self.with_std else x
        return x + self.mean_ if self.with_mean else x


class MinMaxScaler:
    def __init__(self, x: Any = None, feature_range: tuple[float, float] = (0, 1), clip: bool = False) -> None:
        self.feature_range, self.clip = feature_range, clip
        if x is not None:
            low, high = feature_range
            self.data_min_, self.data_max_ = x.min(axis=0), x.max(axis=0)
            self.data_range_ = self.data_max_ - self.data_min_
            self.scale_ = (high - low) / self.data_range_
            self.min_ = low - self.data_min_ * self.scale_

    def fit(self, x: Any) -> None: ...

    def transform(self, x: Any) -> Any:
        y = x * self.scale_ + self.min_
        return np.clip(y, *self.feature_range) if self.clip else y

    def inverse_transform(self, x: Any) -> Any:
        return (x - self.min_) / self.scale_


class RobustScaler:
    def __init__(self, x: Any, with_centering: bool = True, with_scaling: bool = True) -> None:
        self.with_centering, self.with_scaling = with_centering, with_scaling
        self.center_ = np.median(x, axis=0) if with_centering else None
        self.scale_ = np.subtract(*np.percentile(x, [75, 25], axis=0)) if with_scaling else None

    def transform(self, x: Any) -> Any:
        x = x - self.center_ if self.with_centering else x
        return x / self.scale_ if self.with_scaling else x

    def inverse_transform(self, x: Any) -> Any:
        x = x * self.scale_ if self.with_scaling else x
        return x + self.center_ if self.with_centering else x


class MaxAbsScaler:
    def __init__(self, x: Any) -> None:
        self.max_abs_ = self.scale_ = np.abs(x).max(axis=0)

    def transform(self, x: Any) -> Any:
        return x / self.scale_

    def inverse_transform(self, x: Any) -> Any:
        return x * self.scale_


class Normalization:
    def __init__(self, x: Any, invert: bool = False) -> None:
        self.mean, self.variance, self.invert = x.mean(axis=0)[None], x.var(axis=0)[None], invert
        self.variance[0, 2] = 0.0  # a constant feature

    def transform(self, x: Any) -> Any:
        spread = np.maximum(np.sqrt(self.variance), 1e-7)
        return self.mean + x * spread if self.invert else (x - self.mean) / spread

    def inverse_transform(self, x: Any) -> Any:
        spread = np.maximum(np.sqrt(self.variance), 1e-7)
        return (x - self.mean) / spread if self.invert else self.mean + x * spread


SCALERS = {
    "standard": StandardScaler(DATA),
    "standard-mean": StandardScaler(DATA, with_std=False),
    "standard-scale": StandardScaler(DATA, with_mean=False),
    "standard-nothing": StandardScaler(DATA, with_mean=False, with_std=False),
    "min-max": MinMaxScaler(DATA),
    "min-max-range": MinMaxScaler(DATA, feature_range=(-1, 1)),
    "min-max-clip": MinMaxScaler(DATA[:9], clip=True),
    "robust": RobustScaler(DATA),
    "robust-scale": RobustScaler(DATA, with_centering=False),
    "robust-centre": RobustScaler(DATA, with_scaling=False),
    "max-abs": MaxAbsScaler(DATA),
    "normalization-inverted": Normalization(DATA, invert=True),
}


def raw(steps: int = 20, batch: int = 4) -> np.ndarray:
    return RNG.normal(size=(batch, steps, 3)) * [2.0, 30.0, 0.01] + [1.0, -500.0, 7.0]


@pytest.mark.parametrize("name", SCALERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs_are_scaled_as_the_scaler_does(name, dtype):
    scaler, model = SCALERS[name], Model(LAYERS, dtype=dtype)
    scaled, x = model.with_scaler(scaler), raw()
    exact = reference.run(model.graph, scaler.transform(x))[0][0]
    np.testing.assert_allclose(reference.run(scaled.graph, x)[0][0], exact, rtol=0, atol=1e-9)
    np.testing.assert_allclose(scaled(x), exact, rtol=0, atol=2e-3 if dtype == "float32" else 1e-9)  # of rounding x
    kept = x.astype(np.float32)
    exact = reference.run(model.graph, scaler.transform(kept.astype(np.float64)))[0][0]
    np.testing.assert_allclose(scaled(kept), exact, rtol=0, atol=4e-6 if dtype == "float32" else 1e-9)
    selftest.verify(scaled)


def test_a_constant_feature_of_keras_is_divided_by_its_epsilon():
    layer, x = Normalization(DATA), raw().astype(np.float32).astype(np.float64)
    y = Model([Scaler(0.0 * w(3), 1.0)]).with_scaler(layer)(x)
    np.testing.assert_allclose(y, layer.transform(x), rtol=3e-7)


@pytest.mark.parametrize("name", [n for n in SCALERS if "clip" not in n])
def test_outputs_are_scaled_back(name):
    scaler, model = SCALERS[name], Model([LAYERS[0], Dense(w(3, 5), w(3))])
    scaled, x = model.with_scaler(output=scaler), w(4, 20, 3)
    exact = scaler.inverse_transform(reference.run(model.graph, x)[0][0])
    np.testing.assert_allclose(scaled(x), exact, rtol=3e-6, atol=4e-6 * np.abs(exact).max())
    assert scaled.graph.outputs == model.graph.outputs
    selftest.verify(scaled)


def test_one_target_scales_every_step_ahead():
    target = StandardScaler(DATA[:, 1:2])
    model = Model(LAYERS).with_scaler(output=target)
    x = w(7, 3)
    np.testing.assert_allclose(model(x), target.inverse_transform(Model(LAYERS)(x)), rtol=1e-5)


# Rounding ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [0.0, 1.0, 1e3, 1e6 + 1 / 3, -1.7e9])
@pytest.mark.parametrize("scale", [0.5, 2.0, 1e3])
def test_a_mean_far_from_zero_costs_no_digits(mean, scale):
    x = (mean + scale * RNG.normal(size=(40, 3))).astype(np.float32)
    exact = (x.astype(np.float64) - mean) / scale
    y = Model([Scaler(np.full(3, mean), scale), Dense(np.eye(3))])(x)
    near = np.abs(np.float64(np.float32(mean)) - mean) / scale  # added back to what is left
    np.testing.assert_allclose(y, exact, rtol=4 * 2.0**-24, atol=2 * near * 2.0**-24 + 1e-9)


def test_scalers_are_not_folded_into_weights():
    model = Model(LAYERS).with_scaler(StandardScaler(DATA))
    assert "scaler" in {node.name for node in fastgru.passes.fused(model.graph).nodes}


# Everything else a model does ------------------------------------------------------------------------


def test_streams_files_and_quantized_models_have_the_scalers(tmp_path):
    model = Model(LAYERS).with_scaler(StandardScaler(DATA), output=(5.0, 2.0))
    x = raw(batch=1)[0].astype(np.float32)
    stream = model.stream()
    np.testing.assert_array_equal(np.array([stream.step(frame) for frame in x]), model(x))
    model.save(tmp_path / "m.fgru")
    loaded = fastgru.load(tmp_path / "m.fgru", verify=True)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.provenance["scaler"] == "StandardScaler of input 'x', mean and scale undone of output 'dense'"
    small = model.quantize("float16")
    np.testing.assert_allclose(small(x), model(x), atol=2e-2)
    np.testing.assert_allclose(model.predict([x, x[:3]])[1], model(x[:3]), rtol=0, atol=0)
    assert set(model.stream().state) == set(Model(LAYERS).stream().state)


def test_scalers_of_some_inputs_and_outputs_by_name():
    b = GraphBuilder()
    x, y = b.input("x", Spec((3,))), b.input("y", Spec((2, 3)))
    both = b.add(g.Add(), x, y)
    graph = b.build(both, b.add(g.Unary("abs"), both))
    model = Model(graph)
    scaled = model.with_scaler({"y": ([1.0, 2.0, 3.0], 2.0)}, output={"add": (0.0, 10.0)})
    inputs = {"x": w(5, 3), "y": w(5, 2, 3)}
    first, second = model({"x": inputs["x"], "y": (inputs["y"] - [1.0, 2.0, 3.0]) / 2.0})
    got = scaled(inputs)
    np.testing.assert_allclose(got[0], first * 10, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got[1], second, rtol=1e-6, atol=1e-6)
    assert scaled.graph.outputs == ("add", "unary")


def test_scalers_add_up():
    model = Model(LAYERS).with_scaler(mean=1.0, scale=2.0).with_scaler(scale=[1.0, 2.0, 4.0])
    x = w(6, 3)
    np.testing.assert_allclose(model(x), Model(LAYERS)((x / [1, 2, 4] - 1) / 2), rtol=1e-5, atol=1e-6)
    assert model.provenance["scaler"] == "mean and scale of input 'x'; mean and scale of input 'x'"


def test_states_that_feed_an_output_back_read_it_unscaled():
    b = GraphBuilder()
    x, s = b.input("x", Spec((3,))), b.add(g.State(np.zeros(3)), name="s")
    total = b.add(g.Add(), x, s, name="total")
    model = Model(b.build(total, feedback={s: total}))
    scaled = model.with_scaler(mean=1.0, output=(0.0, 10.0))
    x = w(6, 3)
    np.testing.assert_allclose(scaled(x), 10 * np.cumsum(x - 1, axis=0), rtol=1e-5, atol=1e-5)


# The self-test -----------------------------------------------------------------------------------


def test_the_self_test_stays_that_of_the_source():
    graph = Model(LAYERS).graph
    test = selftest.make(
        graph, lambda x: tuple(y.astype(np.float32) for y in reference.run(graph, x)[0]), {"framework": "net 1"}
    )
    model = Model(graph, self_test=test)
    near = model.with_scaler(StandardScaler(DATA), output=(3.0, 2.0))
    assert near.self_test.source == "net 1"
    np.testing.assert_allclose(near.self_test.outputs[0], test.outputs[0] * 2 + 3, rtol=1e-6)
    assert selftest.verify(near).ok
    clipped = model.with_scaler(MinMaxScaler(DATA, clip=True))
    assert clipped.self_test.source == selftest.REFERENCE_SOURCE
    assert selftest.verify(clipped).ok


def test_a_model_without_a_self_test_gets_one():
    assert selftest.verify(Model(LAYERS).with_scaler(mean=1e8)).ok


# Mistakes ------------------------------------------------------------------------------------------


class Pipeline:
    def fit(self, x: Any) -> None: ...


class PowerTransformer:  # fitted, with an attribute that MaxAbsScaler has too
    def __init__(self) -> None:
        self.copy, self.lambdas_ = True, np.ones(3)

    def fit(self, x: Any) -> None: ...


class Running:
    """Statistics with methods in the place of numbers."""

    def mean(self) -> float:
        return 0.0

    def variance(self) -> float:
        return 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scaler": StandardScaler()}, r"scaler of input 'x' must be fitted, got a StandardScaler .*: call its fit"),
        ({"scaler": MinMaxScaler()}, r"scaler of input 'x' must be fitted, got a MinMaxScaler"),
        ({"scaler": Pipeline()}, r"scaler of input 'x' must be a StandardScaler, .*, got Pipeline"),
        ({"scaler": PowerTransformer()}, r"scaler of input 'x' must be a StandardScaler, .*, got PowerTransformer"),
        ({"scaler": "standard"}, r"scaler of input 'x' must be a StandardScaler, .*, got str"),
        ({"scaler": (1.0, 2.0, 3.0)}, r"scaler of input 'x' must be .* got a tuple of 3 items"),
        ({"scaler": StandardScaler(DATA[:, :2])}, r"scaler of input 'x' must have 3 features, got .* shape \(2,\)"),
        ({"scaler": StandardScaler(DATA[:, :1])}, r"scaler of input 'x' must have 3 features, got .* shape \(1,\)"),
        ({"output": StandardScaler(DATA)}, r"scaler of output 'dense' must have 2 features, got .* shape \(3,\)"),
        ({"scale": 0.0}, r"scale of scaler of input 'x' must be finite and not zero, .*, got 0.0"),
        ({"scale": [1.0, np.nan, 1.0]}, r"scale of scaler of input 'x' must be finite .*, got nan for feature 1,"),
        ({"scale": 1e-39}, r"scale of scaler of input 'x' must be .*from 1.18e-38 to 8.51e\+37 in float32, got 1e-39"),
        ({"scale": [1.0, 1.0, -1e38]}, r"scale of scaler of input 'x' must be .*, got -1e\+38 for feature 2,"),
        ({"output": (0.0, [1.0, 1e-50])}, r"scale of scaler of output 'dense' must be .*, got 1e-50 for feature 1,"),
        ({"output": (1e39, 1.0)}, r"mean of scaler of output 'dense' must be finite in float32, got 1e\+39$"),
        ({"scaler": Running()}, r"scaler of input 'x' must be a StandardScaler, .*, got Running"),
        ({"mean": np.inf}, r"mean of scaler of input 'x' must be finite in float32, got inf"),
        ({"mean": "a"}, r"mean of scaler of input 'x' must be real numbers, got <U1"),
        ({"mean": 1.0, "scaler": (1.0, 2.0)}, "mean and scale must be omitted when a scaler is given, got both"),
        ({}, "scaler or output must be given, got neither"),
        ({"scaler": {}}, "scaler or output must be given, got neither"),
        ({"scaler": {"y": (1.0, 2.0)}}, r"input to scale must be one of x, got 'y'"),
    ],
)  # fmt: skip
def test_mistakes(arguments, message):
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        Model(LAYERS).with_scaler(**arguments)


def test_ids_are_not_scaled():
    with pytest.raises(ValueError, match=r"input to scale must hold floats, got 'x' of int"):
        Model([Embedding(w(5, 3)), *LAYERS]).with_scaler(mean=1.0)


def test_an_input_that_is_an_output_is_not_scaled_back():
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    model = Model(b.build(x, b.add(g.Unary("abs"), x)))
    with pytest.raises(GraphError, match="output to scale must be computed by the model, got 'x'"):
        model.with_scaler(output={"x": (0.0, 2.0)})


def test_an_output_that_is_an_input_keeps_its_name_and_is_given_back_raw():
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    model = Model(b.build(x, b.add(g.Unary("abs"), x)))
    scaled, raw = model.with_scaler(mean=1.0, scale=2.0), w(4, 3)
    assert scaled.graph.outputs == model.graph.outputs
    given, y = scaled(raw)
    np.testing.assert_array_equal(given, raw)
    np.testing.assert_allclose(y, np.abs((raw - 1) / 2), rtol=1e-6)


@pytest.mark.parametrize("scale", [1.2e-38, 8.5e37])
def test_the_smallest_and_the_largest_scale_lose_no_digits(scale):
    x = (np.array([[1.0, -0.5, 2.0]]) * scale).astype(np.float32)
    np.testing.assert_allclose(
        Model([Dense(np.eye(3))]).with_scaler(scale=scale)(x), x.astype(np.float64) / scale, rtol=1e-6
    )
    y = Model([Dense(np.eye(3))]).with_scaler(output=(0.0, scale))(np.array([[1.0, -1.5, 2.0]]))
    np.testing.assert_allclose(y, np.array([[1.0, -1.5, 2.0]]) * scale, rtol=1e-6)


def test_several_inputs_need_names():
    b = GraphBuilder()
    model = Model(b.build(b.add(g.Add(), b.input("a", Spec((3,))), b.input("b", Spec((3,))))))
    with pytest.raises(ValueError, match="scalers must be a mapping of names, as there are the inputs a, b, got one"):
        model.with_scaler(mean=1.0)


@pytest.mark.parametrize(
    "fields", [{"mean": 1e39, "scale": 1.0}, {"mean": 0.0, "scale": 0.0}, {"mean": [1, 2], "scale": [1, 2, 3]}]
)
def test_an_op_that_cannot_be(fields):
    with pytest.raises(GraphError, match=r"^Scaler: "):
        Scaler(**fields)


def test_tensors_of_other_libraries_are_read():
    tensor = SimpleNamespace(detach=lambda: tensor, cpu=lambda: tensor, numpy=lambda: np.array([1.0, 2.0, 3.0]))
    layer = SimpleNamespace(mean=tensor, variance=np.array([4.0, 4.0, 4.0]))
    x = w(2, 3)
    np.testing.assert_allclose(
        Model(LAYERS).with_scaler(layer)(x), Model(LAYERS)((x - [1, 2, 3]) / 2), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("scale", [0.0, 1e-310, 1e-39, np.inf, 1e39])
def test_a_scale_whose_inverse_float32_cannot_hold_is_refused(scale):
    with pytest.raises(GraphError, match="scale must be finite in float32 and not zero, as must be 1 / scale"):
        Scaler(np.zeros(1), np.array([scale]))
