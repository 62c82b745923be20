"""Profiles, what is kept of them, and what differs from them."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru import Model, inspect, load
from fastgru.graph import Add, GraphBuilder, Spec
from fastgru.layers import GRU, LSTM, RNN, Dense, Embedding

RNG = np.random.default_rng(11)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def gru_with(update: list[float], **attributes) -> GRU:
    """A GRU whose update gates are constant."""
    H = len(update)
    bias = np.zeros(3 * H, np.float32)
    bias[H : 2 * H] = np.log(np.array(update) / (1 - np.array(update)))
    weight_x = np.zeros((3 * H, 2), np.float32)
    weight_x[2 * H :] = 1
    return GRU(weight_x, np.zeros((3 * H, H), np.float32), bias, **attributes)


@pytest.mark.parametrize("keeps", ["state", "candidate"])
def test_half_lives_follow_from_what_a_gate_keeps(keeps):
    update = [0.5, 0.9, 0.99, 0.25]
    found = inspect.profile(Model([gru_with(update, update_keeps=keeps)]), normal(3, 40, 2))
    kept = np.array(update) if keeps == "state" else 1 - np.array(update)
    layer = found.layers["gru"]
    assert np.allclose(layer.half_life, np.log(0.5) / np.log(kept), rtol=1e-4)
    assert np.allclose(layer.above["update"], [0, 0, 1, 0]) or np.allclose(layer.above["update"], [0, 1, 1, 0])
    assert not layer.below["update"].any()


def test_a_unit_left_alone_halves_in_its_half_life():
    """What the formula says is what a state does that no input moves."""
    layer = gru_with([0.9, 0.97]).replace(weight_x=np.zeros((6, 2), np.float32), initial_h=np.ones(2, np.float32))
    model = Model([layer])
    life = inspect.profile(model, normal(2, 30, 2)).layers["gru"].half_life
    _, trace = model.trace(normal(60, 2), "gru.hidden")
    for unit, steps in enumerate(np.round(life).astype(int)):
        assert abs(trace["gru.hidden"][steps - 1, unit] - 0.5) < 0.04


def test_an_lstm_has_the_half_lives_of_its_forget_gate_and_an_rnn_none():
    x = normal(4, 30, 3)
    model = Model([LSTM(normal(32, 3), normal(32, 8)), RNN(normal(5, 8), normal(5, 5))])
    found = inspect.profile(model, x)
    _, trace = model.trace(x, "lstm.forget")
    forget = trace["lstm.forget"].reshape(-1, 8).astype(np.float64)
    assert np.allclose(found.layers["lstm"].half_life, np.log(0.5) / np.log(forget.mean(axis=0)))
    assert np.allclose(found.layers["lstm"].below["forget"], (forget < 0.1).mean(axis=0))
    assert np.allclose(found.layers["lstm"].above["forget"], (forget > 0.9).mean(axis=0))
    assert np.isnan(found.layers["rnn"].half_life).all()
    assert list(found.layers["lstm"].below) == ["input", "forget", "output"]
    assert found.layers["rnn"].below == {}


def test_statistics_are_those_of_all_steps_of_many_rows():
    x = normal(70, 9, 3) + 1000
    model = Model([GRU(normal(24, 3) / 1000, normal(24, 8)), Dense(normal(2, 8))])
    found = inspect.profile(model, x)
    _, trace = model.trace(x)
    assert found.steps == 630
    for name, array in trace.items():
        flat = array.reshape(-1, array.shape[-1]).astype(np.float64)
        now = found.points[name]
        assert np.allclose(now.mean, flat.mean(axis=0), atol=1e-6)
        assert np.allclose(now.std, flat.std(axis=0), atol=1e-6)
        assert np.array_equal(now.low, flat.min(axis=0))
        assert np.array_equal(now.high, flat.max(axis=0))
    assert np.allclose(found.points["input x"].std, x.reshape(-1, 3).std(axis=0), rtol=1e-3)


def test_dead_and_constant_units_are_found():
    weight, bias = normal(6, 2), np.zeros(6, np.float32)
    weight[[1, 3]] = 0
    bias[3] = 0.5
    recurrent = np.zeros((6, 6), np.float32)
    layer = inspect.profile(Model([RNN(weight, recurrent, bias)]), normal(4, 20, 2)).layers["rnn"]
    assert layer.dead.tolist() == [False, True, False, False, False, False]
    assert layer.constant.tolist() == [False, True, False, True, False, False]


def test_units_follow_the_inputs_that_move_them():
    weight = np.zeros((3, 4), np.float32)
    weight[0, 2], weight[1, 0], weight[2, 1] = 0.1, -0.1, 0.1
    x = normal(8, 50, 4)
    x[..., 3] = 1
    found = inspect.profile(Model([RNN(weight, np.zeros((3, 3), np.float32))]), x)
    layer = found.layers["rnn"]
    assert found.features == ("x[0]", "x[1]", "x[2]", "x[3]")
    best = [some[0] for some in layer.followed()]
    assert [feature for feature, _ in best] == [2, 0, 1]
    assert np.allclose([r for _, r in best], [1, -1, 1], atol=0.01)
    h, flat = np.tanh(x.reshape(-1, 4) @ weight.T), x.reshape(-1, 4)
    wanted = np.corrcoef(h[:, 1], flat[:, 2])[0, 1]
    assert abs(layer.follows[1, 2] - wanted) < 1e-4
    assert (layer.follows[:, 3] == 0).all()


def test_steps_behind_lengths_are_not_counted():
    model, x = Model([GRU(normal(24, 3), normal(24, 8))]), normal(2, 10, 3)
    cut = x.copy()
    cut[1, 4:] = 99
    found = inspect.profile(model, cut, lengths=[10, 4])
    assert found.steps == 14
    _, trace = model.trace(x, "gru.update")
    wanted = np.concatenate([trace["gru.update"][0], trace["gru.update"][1, :4]])
    assert np.allclose(found.points["gru.update"].mean, wanted.mean(axis=0), atol=1e-6)
    assert found.points["input x"].high.max() < 99


def test_ids_and_several_inputs_are_profiled():
    ids = RNG.integers(0, 5, size=(3, 8))
    found = inspect.profile(Model([Embedding(normal(5, 4)), GRU(normal(24, 4), normal(24, 8))]), ids)
    assert found.features == ()
    assert found.layers["gru"].follows.shape == (8, 0)
    b = GraphBuilder()
    a, c = b.input("a", Spec((3,))), b.input("c", Spec((3,)))
    model = Model(b.build(b.add(GRU(normal(12, 3), normal(12, 4)), b.add(Add(), a, c), name="gru")))
    found = inspect.profile(model, {"a": normal(2, 5, 3), "c": normal(2, 5, 3)})
    assert found.features == ("a[0]", "a[1]", "a[2]", "c[0]", "c[1]", "c[2]")


def test_a_profile_is_a_table():
    text = str(inspect.profile(Model([gru_with([0.5, 0.95]), Dense(normal(1, 2))]), normal(2, 10, 2)))
    assert text.splitlines()[0].split("  ")[0] == "layer"
    assert "update" in text
    assert "7.26 steps" in text
    assert text.splitlines()[-1].startswith("20 steps")


# Kept, and compared with ------------------------------------------------------------------------------


@pytest.fixture
def profiled() -> tuple[Model, np.ndarray]:
    model, x = Model([GRU(normal(24, 3), normal(24, 8)), Dense(normal(2, 8))]), normal(16, 30, 3)
    return inspect.store(model, inspect.profile(model, x)), x


def test_a_stored_profile_survives_files_precisions_and_plans(profiled, tmp_path):
    model, x = profiled
    model.save(tmp_path / "m.fgru")
    again = load(tmp_path / "m.fgru", verify=True)
    wanted = inspect.stored(model)
    found = inspect.stored(again)
    assert found.keys() == wanted.keys() >= {"input x", "gru.update", "gru.hidden", "dense"}
    for name, now in inspect.profile(model, x).points.items():
        assert np.allclose(found[name].mean, now.mean, rtol=1e-3, atol=1e-6)
    assert inspect.stored(model.quantize("int8")).keys() == wanted.keys()
    assert np.array_equal(again(x), model(x))


def test_data_like_that_of_the_profile_drifts_little_and_other_data_where_it_differs(profiled):
    model, x = profiled
    same = inspect.drift(model, x)
    assert max(row.shift for row in same.rows) < 0.01
    assert max(row.outside for row in same.rows) < 0.01
    moved = inspect.drift(model, x + np.float32([0, 4, 0]))
    assert moved.rows[0].shift > 1
    assert moved["input x"].unit == 1
    assert abs(moved["input x"].shift - 4) < 0.3
    assert moved["input x"].moved == pytest.approx(1 / 3)
    assert moved["input x"].outside > 0.1
    assert str(moved).splitlines()[0].split()[0] == "point"
    before = inspect.profile(model, x)
    assert inspect.drift(model, x, since=before.points).rows[0].shift < 1e-6


def test_mistakes_with_profiles_are_told(profiled):
    model, x = profiled
    bare = Model([GRU(normal(24, 3), normal(24, 8))])
    with pytest.raises(
        ValueError, match=r"stored profile, got none: make one with store\(model, profile\(model, x\)\)"
    ):
        inspect.drift(bare, x)
    with pytest.raises(TypeError, match=r"profile must be one that .* returned, got dict"):
        inspect.store(bare, {})
    with pytest.raises(ValueError, match="x must have shape"):
        inspect.profile(model, normal(2, 5, 4))
    with pytest.raises(ValueError, match=r"at least one sequence of one step, got shape \(0, 5, 3\)"):
        inspect.profile(model, normal(0, 5, 3))
    with pytest.raises(ValueError, match=r"profile must be of this model, got one without its units of 'gru\.update'"):
        inspect.drift(model, x, since={"input x": inspect.stored(model)["input x"]})
    broken = Model(model.graph, provenance={"profile": "[]"})
    with pytest.raises(ValueError, match="stored profile must be one that store wrote, got another"):
        inspect.drift(broken, x)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_inputs_must_be_finite_where_they_count(profiled, bad):
    model, x = profiled
    wrong = x.copy()
    wrong[2, 7, 1] = bad
    for call in (inspect.profile, inspect.drift, lambda m, x, **o: inspect.compare(m, m, x, **o)):
        with pytest.raises(ValueError, match=rf"^x must be finite, got {bad} at \(2, 7, 1\)$"):
            call(model, wrong)
        with pytest.raises(ValueError, match=rf"^x must be finite, got {bad} at \(7, 1\)$"):
            call(model, wrong[2])
        lengths = [30, 30, 7, *[30] * 13]
        assert str(call(model, wrong, lengths=lengths)) == str(call(model, x, lengths=lengths))
    b = GraphBuilder()
    both = b.add(Add(), b.input("a", Spec((3,))), b.input("c", Spec((3,))))
    with pytest.raises(ValueError, match=r"^input 'c' of x must be finite, got (nan|inf) at \(2, 7, 1\)$"):
        inspect.profile(Model(b.build(both)), {"a": x, "c": wrong})


def test_profiles_must_be_finite(profiled):
    model, x = profiled
    found = inspect.profile(model, x)
    assert all(found.points)
    found.points["dense"].std[1] = np.nan
    message = r"^std of 'dense' in the {}profile must be finite, got nan at \(1,\)$"
    with pytest.raises(ValueError, match=message.format("")):
        inspect.store(model, found)
    with pytest.raises(ValueError, match=message.format("")):
        inspect.drift(model, x, since=found.points)
    kept = model.provenance["profile"].replace('"dense":{"mean":[', '"dense":{"mean":[NaN,')
    kept = kept.replace(kept[kept.index("NaN,") + 4 : kept.index(",", kept.index("NaN,") + 4) + 1], "", 1)
    with pytest.raises(ValueError, match=r"mean of 'dense' in the stored profile must be finite, got nan at \(0,\)"):
        inspect.stored(Model(model.graph, provenance={"profile": kept}))


# Two models ------------------------------------------------------------------------------------------


def test_the_layer_where_two_models_part_is_found():
    model = Model([GRU(normal(96, 3), normal(96, 32)), LSTM(normal(64, 32), normal(64, 16)), Dense(normal(2, 16))])
    x = normal(4, 20, 3)
    same = inspect.compare(model, model, x)
    assert same.begins is None
    assert all(row.error == 0 for row in same.rows)
    assert "no difference beyond rounding" in str(same)
    for layer, first in {"gru": "gru.update", "lstm": "lstm.input", "dense": "dense"}.items():
        found = inspect.compare(model, model.quantize("int8", layers=[layer]), x)
        assert found.begins == first
        assert found.worst == layer
        rows = {row.name: row for row in found.rows}
        assert all(row.error == 0 for row in found.rows[: list(rows).index(first)])
        for name in ("gru", "lstm", "dense"):
            assert (rows[name].added > 1e-3) == (name == layer)
        assert f"begins at {first}; {layer} adds most" in str(found)


def test_errors_are_those_of_the_traces():
    model, x = Model([GRU(normal(96, 3), normal(96, 32)), Dense(normal(2, 32))]), normal(9, 3)
    other = model.quantize("int8")
    found = inspect.compare(model, other, x)
    a, b = model.trace(x)[1], other.trace(x)[1]
    for row in found.rows:
        assert row.error == np.abs(np.float64(a[row.name]) - b[row.name]).max()
    assert found.alone == ()


def test_models_that_do_not_fit_are_told():
    x = normal(2, 5, 3)
    a = Model([GRU(normal(24, 3), normal(24, 8)), Dense(normal(2, 8))])
    b = Model([LSTM(normal(32, 3), normal(32, 8)), Dense(normal(2, 8))])
    found = inspect.compare(a, b, x)
    assert [row.name for row in found.rows] == ["dense"]
    assert set(found.alone) >= {"gru.update", "lstm.cell"}
    with pytest.raises(ValueError, match="must have the same inputs, got"):
        inspect.compare(a, Model([Dense(normal(2, 4))]), x)
    with pytest.raises(TypeError, match=r"two of fastgru\.Model, got int"):
        inspect.compare(a, 3, x)
    with pytest.raises(ValueError, match="points of the same names and shapes, got none"):
        inspect.compare(a, Model([LSTM(normal(32, 3), normal(32, 8))]), x)


def test_names_of_the_package_are_found_and_others_refused():
    assert {"Profile", "compare", "drift", "edit", "profile", "store"} <= set(dir(inspect))
    with pytest.raises(AttributeError, match="has no attribute 'gates'"):
        inspect.gates  # noqa: B018
