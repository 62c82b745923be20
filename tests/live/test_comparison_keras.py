"""Keras models and their files layer by layer beside Keras: shared layers, models inside, and wrong imports found."""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np
import pytest
from keras_live_cases import QUIET, L, keras, randomised
from typer.testing import CliRunner

import fastgru
from fastgru.checks.comparison import compare
from fastgru.cli import build
from fastgru.errors import ConvertError
from fastgru.graph import Unary, dialects

pytestmark = [QUIET, pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning")]
VERSION = f"Keras {keras.version()}"


def shared() -> Any:
    """A layer called twice, in the order in which Keras does not run it, models inside, and a mask.

    Keras numbers the names that it gives itself from the first of the process, hence the new session.
    """
    keras.utils.clear_session()
    a, b = keras.Input((None, 3), name="a"), keras.Input((None, 3), name="b")
    inside = keras.Input((None, 3))
    inner = keras.Model(
        inside, L.Dense(3, name="out")(L.LSTM(5, return_sequences=True, name="lstm")(inside)), name="inner"
    )
    chain = keras.Sequential([L.Dense(3, name="first"), L.GRU(3, return_sequences=True, name="second")], name="chain")
    gru, dense = L.GRU(4, return_sequences=True, name="gru"), L.Dense(3, name="dense")
    late = gru(inner(chain(dense(a))))
    early = gru(L.Masking(name="masking")(b))
    y = L.Add(name="add")([late, early])
    return randomised(keras.Model([a, b], [keras.ops.tanh(dense(inner(y[..., :3]))), y]))


def plain(**options: Any) -> Any:
    return randomised(
        keras.Sequential(
            [
                keras.Input((None, 3), **options),
                L.Dense(4, activation="tanh", name="before"),
                L.GRU(5, return_sequences=True, name="cell", stateful=bool(options)),
                L.Dense(2, name="behind"),
            ]
        )
    )


def close(found: Any) -> bool:
    return all(row.error < 2e-6 and row.new < 2e-6 and (isnan(row.engine) or row.engine < 2e-6) for row in found.rows)


def test_layers_called_twice_and_models_inside() -> None:
    found = compare(shared())
    names = [row.name for row in found.rows]
    counts = {name: names.count(name) for name in names}
    twice = {"gru", "dense", "inner/lstm", "inner/out"}
    assert counts == {**dict.fromkeys(twice, 2), **dict.fromkeys(names, 1), **dict.fromkeys(twice, 2)}
    assert {"masking", "chain/first", "chain/second", "add", "get_item", "tanh"} <= set(names)
    assert close(found)
    assert found.source == VERSION


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files(suffix: str, tmp_path) -> None:
    model = plain()
    path = tmp_path / f"model{suffix}"
    model.save(path)
    found = compare(path)
    assert [(row.name, row.kind) for row in found.rows] == [("before", "Dense"), ("cell", "GRU"), ("behind", "Dense")]
    assert found.source == VERSION
    assert close(found)
    converted = fastgru.convert(path)
    assert converted.self_test.source == VERSION
    assert "unchecked" not in converted.provenance
    expected = compare(model)
    assert [row.cells() for row in found.rows] == [row.cells() for row in expected.rows]


def test_a_batch_of_its_own_and_states_that_stay() -> None:
    model = plain(batch_size=3)
    first, second = compare(model), compare(model)
    assert close(first)
    assert first == second


def test_time_distributed_models_are_one_layer() -> None:
    inner = keras.Sequential([keras.Input((3,)), L.Dense(4), L.Dense(2)])
    model = randomised(
        keras.Sequential([keras.Input((None, 3)), L.TimeDistributed(inner, name="each"), L.GRU(3, name="gru")])
    )
    found = compare(model)
    assert [(row.name, row.kind) for row in found.rows] == [("each", "TimeDistributed"), ("gru", "GRU")]
    assert close(found)


def test_layers_that_drop_out_do_not_here() -> None:
    layers = [keras.Input((7, 3)), L.Dropout(0.9), L.GaussianNoise(0.5), L.BatchNormalization(), L.GRU(3, dropout=0.5)]
    assert close(compare(randomised(keras.Sequential(layers))))


@pytest.mark.parametrize("suffix", ["", ".keras", ".h5"])
def test_a_wrong_layer_is_found(suffix: str, tmp_path, monkeypatch) -> None:
    """The import is refused; the comparison shows the layer, and that those behind it add nothing."""
    source = plain()
    if suffix:
        path = tmp_path / f"model{suffix}"
        source.save(path)
        source = path
    monkeypatch.setitem(dialects.GATE_ORDER["gru"], "keras", "rzn")
    with pytest.raises(ConvertError, match=f"output 'behind' of the import must equal {VERSION}"):
        fastgru.convert(source)
    found = compare(source)
    assert next(row for row in found.rows if row.error > 1e-3).name == "cell"
    assert [row.name for row in found.rows if row.new > 1e-3] == ["cell"]
    assert found.origin.name == "cell"


def test_the_command_shows_where_before_it_refuses(tmp_path, monkeypatch) -> None:
    path, out = tmp_path / "model.keras", tmp_path / "model.fgru"
    plain().save(path)
    words = ["convert", str(path), "-o", str(out)]
    result = CliRunner().invoke(build(), [*words, "--trace"])
    assert result.exit_code == 0, result.output
    assert "import error" in result.stdout
    assert f"against {VERSION}" in result.stdout.splitlines()[-2]
    monkeypatch.setitem(dialects.GATE_ORDER["gru"], "keras", "rzn")
    out.unlink()
    result = CliRunner().invoke(build(), [*words, "--trace"])
    assert result.exit_code == 2
    assert "most error arises at layer 'cell' (GRU)" in result.stdout
    assert "must equal Keras" in result.stderr
    assert not out.exists()
    result = CliRunner().invoke(build(), words)
    assert result.exit_code == 2
    assert "--trace" in result.stderr


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_custom_layers_stop_no_import(suffix: str, tmp_path) -> None:
    class Absolute(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return keras.ops.abs(x)

    model = randomised(
        keras.Sequential([keras.Input((None, 3)), L.GRU(4, return_sequences=True), Absolute(name="own")])
    )
    path = tmp_path / f"model{suffix}"
    model.save(path)
    custom = {"Absolute": lambda config, arrays: Unary("abs")}
    converted = fastgru.convert(path, custom=custom)
    assert converted.self_test.source == "fastgru float64 reference"
    assert "Absolute" in converted.provenance["unchecked"]
    assert "Absolute" in compare(path, custom=custom).missing
    live = compare(model, custom=custom)
    assert live.rows[-1].kind == "Absolute"
    assert close(live)


@pytest.mark.parametrize("name", ["2026_03_26_21_56_0.0534", "BEST_0.1753_gru_32_bs_128_k_20_f_16_p_5"])
def test_ao_gru(name: str, real_models) -> None:
    found = compare(real_models / "ao_gru" / name / "gru_model.keras")
    assert found.source == VERSION
    assert [row.name for row in found.rows][-3:] == ["gru", "dense", "phase"]
    assert close(found)


def test_rnnoise_is_of_keras_2(real_models) -> None:
    path = real_models / "rnnoise_nu" / "somnolent-hogwash-2018-09-01" / "weights.hdf5"
    found = compare(path)
    assert "Keras 2.2" in found.missing
    assert {row.name for row in found.rows} >= {"vad_gru", "noise_gru", "denoise_gru"}
    assert np.isfinite([row.error for row in found.rows]).all()
