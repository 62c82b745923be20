"""Precisions of weights: exact and idempotent rounding, choosing layers, and what a report says of it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from cells import CELLS, make_cell
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import fastgru
from fastgru import CalibrationWarning, Model, quantization, reference
from fastgru.checks import selftest
from fastgru.errors import GraphError
from fastgru.graph import PRECISIONS, Dense, Embedding, Graph, GraphBuilder, Reverse, Spec, chain, precision, tier_of
from fastgru.quantization import LayerReport

REDUCED = ("float16", "bfloat16", "int8")
RNG = np.random.default_rng(11)


def two_layers() -> Graph:
    """All precisions hold the weights exactly."""
    return chain([Dense([[127.0, 3.0]]), Dense([[127.0], [0.5]])], names=["one", "two"])


def one_weight_wrong() -> Graph:
    """int8 turns the 0.25 of ``wrong`` into 0; ``right`` adds it to the exact 0."""
    return chain([Dense([[127.0, 0.25]]), Dense([[127.0]])], names=["wrong", "right"])


# Rounding ------------------------------------------------------------------------------------------

MATRICES = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-65504, 65504, width=32) | st.floats(-1, 1, width=32) | st.sampled_from([0.0, -0.0, 1e-30]),
)


@pytest.mark.parametrize("name", PRECISIONS)
@settings(max_examples=150, deadline=None)
@given(weight=MATRICES)
def test_rounding_is_idempotent_and_its_codes_are_exact(name, weight):
    row = PRECISIONS[name]
    once = precision.rounded(weight, name)
    assert once.dtype == np.float32
    assert precision.rounded(once, name).tobytes() == once.tobytes()
    stored = row.encode(once)
    assert row.decode(stored).tobytes() == once.tobytes()
    assert stored[""].itemsize == row.bytes
    if name == "int8":
        assert np.abs(stored[""].astype(int)).max() <= 127
        exact = stored[""].astype(np.float64) * stored["scale"].astype(np.float64)[:, None]
        assert np.array_equal(exact, once)  # code * scale is exact in float32


# Largest error over the largest weight of a row: half a unit in the last place, or half a scale.
BOUNDS = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8, "int8": (1 + 2.0**-16) / 254,
          "int8_affine": (1 + 2.0**-14) / 254}  # fmt: skip


@pytest.mark.parametrize("name", PRECISIONS)
@settings(max_examples=150, deadline=None)
@given(weight=MATRICES)
def test_rounding_errors_are_bounded(name, weight):
    error = np.abs(precision.rounded(weight, name).astype(np.float64) - weight)
    largest = np.abs(weight).max(axis=1, keepdims=True)
    smallest = {"float16": 2.0**-25, "bfloat16": 2.0**-126, "int8": 2.0**-101, "int8_affine": 2.0**-101}.get(name, 0.0)
    assert (error <= np.maximum(BOUNDS[name] * largest.astype(np.float64), smallest)).all()


@pytest.mark.parametrize(
    ("name", "weight", "expected"),
    [
        ("float16", [[1.0, 0.1]], [[1.0, 0.0999755859375]]),
        ("bfloat16", [[1.0, 0.1]], [[1.0, 0.10009765625]]),
        ("bfloat16", [[1.00390625, 1.01171875]], [[1.0, 1.015625]]),  # ties to even
        ("int8", [[127.0, 0.4], [0.0, 0.0]], [[127.0, 0.0], [0.0, 0.0]]),
        ("int8", [[254.0, -3.1], [12.7, 0.06]], [[254.0, -4.0], [12.70004845, 0.10000038]]),
    ],
)
def test_rounded_values(name, weight, expected):
    np.testing.assert_allclose(precision.rounded(np.array(weight), name), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("float16", 70000.0, r"weight: weights must lie within \+-65504 for float16, got 70000"),
        ("bfloat16", 3.4e38, "weight: weights must be finite when rounded to bfloat16, got 3.4e.38, which overflows"),
        ("int8", 3.4028235e38, "weight: weights must be finite when rounded to int8"),
        ("int8", np.nan, "weight: weights must be finite for int8, got nan"),
        ("bfloat16", -np.inf, "weight: weights must be finite for bfloat16, got -inf"),
        ("int4", 1.0, "precision must be one of float32, float16, bfloat16, int8, int8_affine, got 'int4'"),
    ],
)
def test_what_a_precision_cannot_hold_is_named(name, value, message):
    with pytest.raises(GraphError, match=message):
        Dense(np.full((1, 1), value, np.float32), precision=name)


# Choosing and applying -----------------------------------------------------------------------------


def test_choose():
    graph = chain([make_cell("gru-after", 3, 4), Reverse(), Dense(np.ones((2, 4)))])
    assert quantization.quantizable(graph) == ["gru", "dense"]
    assert quantization.choose(graph, "int8") == {"gru": "int8", "dense": "int8"}
    assert quantization.choose(graph, "int8", ["dense"]) == {"dense": "int8"}
    assert quantization.choose(graph, {"gru": "float16"}) == {"gru": "float16"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("int4",), "precision must be one of float32, float16, bfloat16, int8, int8_affine, got 'int4'"),
        (("int8", ["gru"]), r"layer must be one with weight matrices \(one, two\), got 'gru'"),
        (("int8", []), r"layers must name at least one \(or be omitted: then all change\), got none"),
        (("int8", "one"), "layers must be a sequence of names, got the string 'one'"),
        (({"one": "int8"}, ["one"]), "layers must be omitted when precision is a mapping, got both"),
        (({"a": "int8", "one": 8},), "2 problems:\n.*got 'a'\n.*got '8'"),
        ((8,), "precision must be a name or a mapping of layers to names, got int"),
    ],
)
def test_a_choice_that_does_not_fit_is_named(words, message):
    with pytest.raises(GraphError, match=message):
        quantization.choose(two_layers(), *words)


def test_apply_changes_the_named_layers_alone():
    graph = two_layers()
    changed = quantization.apply(graph, {"two": "int8"})
    assert changed.nodes[0] == graph.nodes[0]
    assert [node.op.precision for node in changed.nodes] == ["float32", "int8"]
    assert quantization.apply(changed, {"two": "int8"}) is changed
    assert quantization.apply(graph, {}) is graph
    with pytest.raises(GraphError, match=r"node 'exact': .*must lie within"):
        quantization.apply(chain([Dense([[7e4]])], names=["exact"]), {"exact": "float16"})


# Errors --------------------------------------------------------------------------------------------


def test_report_by_hand():
    """One step of 1, 1: exactly 127.25 * 127, and with the 0.25 gone 127 * 127."""
    before = one_weight_wrong()
    after = quantization.apply(before, {"wrong": "int8", "right": "float16"})
    found = quantization.report(before, after, np.ones((1, 2)))
    assert found.rows[0][:6] == ("wrong", "Dense", "int8", "", 0.25, 0.25 / 127)
    assert found.rows[0].output_error == pytest.approx(0.25 * 127, rel=1e-4)
    assert found.rows[1] == LayerReport("right", "Dense", "float16", "", 0.0, 0.0, 0.0, 4, 2)
    assert (found.rows[0].bytes_before, found.rows[0].bytes_after) == (8, 2 + 4)
    assert (found.bytes_before, found.bytes_after) == (12, 8)
    assert found.errors == {"right": pytest.approx(0.25 * 127, rel=1e-4)}
    assert json.loads(json.dumps(found.as_dict()))["rows"][1]["precision"] == "float16"


REPORT = """\
layer  kind   precision  activations  weight error  output error  bytes before  bytes after
-------------------------------------------------------------------------------------------
wrong  Dense  int8                            0.2%            32             8            6
right  Dense  float32                           0%             0             4            4
-------------------------------------------------------------------------------------------
total                                                         32            12           10
max error of 'right' 32, on the calibration of shape (1, 1, 2)"""


def test_report_as_text():
    before = one_weight_wrong()
    found = quantization.report(before, quantization.apply(before, {"wrong": "int8"}), np.ones((1, 1, 2)))
    assert str(found) == repr(found) == REPORT


def test_report_has_an_error_for_each_output_and_a_row_for_each_layer_with_weights():
    b = GraphBuilder()
    x = b.input("x", Spec((2,)))
    one, two = b.add(Dense([[127.0, 0.25]]), x), b.add(Dense([[127.0, 1.0]]), x)
    before = b.build(b.add(Reverse(), one), two)
    found = quantization.report(before, quantization.apply(before, dict.fromkeys(("dense", "dense_1"), "int8")))
    assert [row.name for row in found.rows] == ["dense", "dense_1"]
    assert list(found.errors) == ["reverse", "dense_1"]
    assert found.max_error == max(found.errors.values()) > 0


def test_report_of_other_layers_is_refused():
    with pytest.raises(GraphError, match="graphs to compare must have the same layers"):
        quantization.report(two_layers(), one_weight_wrong())


def test_layers_that_break_the_error_stay_worst_first():
    layers = [Dense([[127.0, 0.25]]), Dense([[127.0], [0.5]]), Dense([[127.0, 1.0]])]
    graph = chain(layers, names=["worst", "exact", "bad"])  # bad: its inputs, 254 to 1, round to 127 and 0
    x, wanted = np.ones((1, 1, 2)), dict.fromkeys(("worst", "exact", "bad"), "int8")
    alone = {n: quantization.report(graph, quantization.apply(graph, {n: "int8"}), x).max_error for n in wanted}
    assert alone["worst"] > alone["bad"] > alone["exact"]
    assert quantization.within(graph, wanted, x, 1e9) == wanted
    assert quantization.within(graph, wanted, x, alone["worst"] * 0.9) == {"bad": "int8", "exact": "int8"}
    assert quantization.within(graph, wanted, x, alone["bad"] * 0.9) == {"exact": "int8"}
    assert quantization.within(graph, wanted, x, alone["exact"] * 0.9) == {}


@pytest.mark.parametrize("cell", ["gru-after", "lstm-projection"])
@pytest.mark.parametrize("limit", [1e-9, 1e-3, 1e-2])
def test_what_is_kept_is_within_the_error_of_the_whole_model(cell, limit):
    graph = chain([make_cell(cell, 3, 8), make_cell("rnn-tanh", 4 if "proj" in cell else 8, 5), Dense(np.eye(5))])
    x = quantization.calibration_input(graph, RNG.normal(size=(4, 20, 3)))
    kept = quantization.within(graph, quantization.choose(graph, "int8"), x, limit)
    assert quantization.report(graph, quantization.apply(graph, kept), x).max_error <= limit


# The fast tier -------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", [None, "int8"])
@pytest.mark.parametrize("cell", CELLS)
def test_fast_gates_of_every_cell(cell, precision, tmp_path, isa):
    model = Model([make_cell(cell, 3, 9)], isa=isa).quantize(precision)
    op = model.graph.nodes[0].op
    if not op.in_tier("fast"):
        with pytest.raises(GraphError, match="must include one with sigmoid or tanh gates, got"):
            model.quantize(activations="fast")
        return
    fast = model.quantize(activations="fast")
    assert tier_of(fast.graph.nodes[0].op) == "fast"
    assert fast.summary().rows[0].precision == f"{precision or 'float32'}, fast"
    assert repr(fast).endswith(" activations=fast>")
    selftest.verify(fast)
    x = RNG.normal(size=(2, 5, 3)).astype(np.float32)
    y = fast(x)
    assert 0 < np.abs(y - model(x)).max() < (3e-2 if precision else 2e-5)
    step = fast.stream(2).step
    np.testing.assert_array_equal(np.stack([step(x[:, t]) for t in range(5)], axis=1), y, strict=True)
    np.testing.assert_array_equal(fast(x[1]), y[1], strict=True)
    fast.save(tmp_path / "m.fgru")
    np.testing.assert_array_equal(fastgru.load(tmp_path / "m.fgru", verify=True, isa=isa)(x), y, strict=True)
    assert fast.quantize(activations="exact").graph.nodes[0].op.attributes() == op.attributes()


def test_the_report_names_the_tier_and_what_it_costs():
    before = chain([make_cell("gru-after", 3, 8), Dense(np.eye(8))])
    wanted = quantization.choose(before, None)
    assert wanted == {"gru": "float32", "dense": "float32"}
    found = quantization.report(before, quantization.apply(before, wanted, "fast"))
    assert [(row.precision, row.activations, row.weight_error) for row in found.rows] == [
        ("float32", "fast", 0.0), ("float32", "", 0.0),
    ]  # fmt: skip
    assert 0 < found.rows[0].output_error == found.max_error < 1e-5
    x = quantization.calibration_input(before)
    assert quantization.within(before, wanted, x, 1e-9, "fast") == {"dense": "float32"}  # which that does not change


def test_tiers_that_do_not_exist_or_have_no_gates_are_named():
    model = Model([make_cell("gru-after", 3, 8), Dense(np.eye(8))])
    with pytest.raises(GraphError, match="activations must be one of exact, fast, got 'quick'"):
        model.quantize(activations="quick")
    with pytest.raises(GraphError, match="must include one with sigmoid or tanh gates, got dense"):
        model.quantize(activations="fast", layers=["dense"])
    with pytest.raises(GraphError, match=r"layer must be one with weight matrices \(gru, dense\), got 'lstm'"):
        model.quantize(activations="fast", layers=["lstm"])
    assert repr(model.quantize("int8", activations="fast", layers=["gru"])).endswith("=int8+float32 activations=fast>")
    with pytest.warns(UserWarning, match="must be at least .* for a layer to change, 'gru' alone"):
        assert model.quantize(activations="fast", max_error=1e-12).graph is model.graph
    with pytest.raises(ValueError, match="whose gates become fast must have dtype 'float32', got 'float64'"):
        Model(model.graph, dtype="float64").quantize(activations="fast")


# Calibration ---------------------------------------------------------------------------------------

IDS = chain([Embedding(np.ones((5, 2))), make_cell("gru-after", 2, 3)])


def test_calibration_gets_a_batch_axis():
    assert quantization.calibration_input(two_layers(), np.ones((7, 2), np.float32)).shape == (1, 7, 2)
    assert quantization.calibration_input(two_layers(), np.ones((3, 7, 2), int)).shape == (3, 7, 2)
    assert quantization.calibration_input(IDS, [1, 2, 4]).shape == (1, 3)
    np.testing.assert_array_equal(quantization.calibration_input(two_layers()), selftest.make_input(two_layers()))


@pytest.mark.parametrize(
    ("graph", "x", "kind", "message"),
    [
        (two_layers(), np.ones((7, 3)), ValueError, r"must have shape \(T, 2\) or \(B, T, 2\), got \(7, 3\)"),
        (two_layers(), np.ones(2), ValueError, r"must have shape \(T, 2\) or \(B, T, 2\), got \(2,\)"),
        (two_layers(), np.ones((0, 2)), ValueError, "must have at least one row and step"),
        (two_layers(), [[np.nan, 1.0]], ValueError, "must be finite, got nan"),
        (two_layers(), [["a", "b"]], TypeError, "must be real numbers, got <U1"),
        (IDS, [1.0], TypeError, "must be integer ids, got float64"),
        (IDS, [5], ValueError, r"must have ids in 0\.\.4, got 5\.\.5"),
        (IDS, [-1, 2], ValueError, r"must have ids in 0\.\.4, got -1\.\.2"),
        (IDS, 3, ValueError, r"must have shape \(T,\) or \(B, T\), got \(\)"),
    ],
)
def test_calibration_that_does_not_fit_is_named(graph, x, kind, message):
    with pytest.raises(kind, match="calibration " + message):
        quantization.calibration_input(graph, x)


# Models --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REDUCED)
@pytest.mark.parametrize("cell", CELLS)
def test_a_model_of_every_cell_quantises_saves_and_verifies(cell, name, tmp_path):
    model = Model([make_cell(cell, 3, 9)], provenance={"framework": "none"})
    smaller = model.quantize(name)
    assert selftest.verify(smaller).source == "fastgru float64 reference"
    assert smaller.provenance == model.provenance
    smaller.save(tmp_path / "m.fgru")
    loaded = fastgru.load(tmp_path / "m.fgru", verify=True)
    x = RNG.normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded(x), smaller(x), strict=True)
    for field, weight in smaller.graph.nodes[0].op.weights().items():
        assert loaded.graph.nodes[0].op.weights()[field].tobytes() == weight.tobytes()


@pytest.mark.parametrize("name", REDUCED)
def test_the_error_is_that_of_the_reference(name):
    model = Model([make_cell("gru-after", 3, 16), Dense(RNG.normal(size=(2, 16)))])
    smaller, x = model.quantize(name), RNG.normal(size=(2, 12, 3))
    exact, rough = (reference.run(m.graph, x)[0][0] for m in (model, smaller))
    assert quantization.report(model.graph, smaller.graph, x).errors["dense"] == np.abs(exact - rough).max() > 0


def test_quantising_again_changes_nothing_and_keeps_the_self_test():
    smaller = Model(two_layers()).quantize("int8")
    again = smaller.quantize("int8")
    assert again.graph is smaller.graph
    assert again.self_test is smaller.self_test
    back = smaller.quantize("float32")
    for old, new in zip(smaller.graph.nodes, back.graph.nodes, strict=True):
        np.testing.assert_array_equal(old.op.weight, new.op.weight)
        assert new.op.precision == "float32"


def test_max_error_keeps_layers_and_says_when_none_is_left():
    model = Model(one_weight_wrong())
    x = np.ones((3, 2))
    assert [n.op.precision for n in model.quantize("int8", calibration=x, max_error=1.0).graph.nodes] == [
        "float32", "int8",
    ]  # fmt: skip
    with pytest.warns(
        UserWarning, match="nothing was changed: max_error must be at least .*'wrong' alone, got 1$"
    ) as said:
        kept = model.quantize("int8", layers=["wrong"], calibration=x, max_error=1.0)
    assert kept.graph is model.graph
    enough = float(str(said[0].message).split()[8])  # the error is told rounded up
    assert model.quantize("int8", layers=["wrong"], calibration=x, max_error=enough).graph is not model.graph


def test_max_error_on_random_input_warns_and_is_recorded():
    model = Model(one_weight_wrong(), provenance={"framework": "net 1"})
    message = "max_error is measured on random input, and errors on real data may be far larger: give typical input"
    with pytest.warns(CalibrationWarning, match=message) as caught:
        small = model.quantize("int8", max_error=100.0)
    assert caught[0].filename == __file__
    assert small.provenance == {
        "framework": "net 1", "max_error": "100 on random input of shape (2, 16, 2)",
    }  # fmt: skip
    given = model.quantize("int8", calibration=np.ones((3, 2)), max_error=1.0)
    assert given.provenance["max_error"] == "1 on the calibration of shape (1, 3, 2)"
    assert "max_error" not in model.quantize("int8").provenance


def test_the_command_line_warns_in_one_line(tmp_path):
    Model(one_weight_wrong()).save(tmp_path / "a.fgru")
    words = ["quantize", str(tmp_path / "a.fgru"), "-o", str(tmp_path / "b.fgru"), "--max-error", "100"]
    done = subprocess.run([sys.executable, "-m", "fastgru", *words], capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "warning: --max-error is measured on random input, and errors on real data may be far larger"
    )


def test_a_report_says_what_it_was_measured_on():
    graph = one_weight_wrong()
    after = quantization.apply(graph, {"wrong": "int8"})
    on = quantization.report(graph, after).measured_on
    assert on == "random input of shape (2, 16, 2)"
    found = quantization.report(graph, after, np.ones((3, 2)))
    assert found.measured_on == found.as_dict()["measured_on"] == "the calibration of shape (1, 3, 2)"
    assert str(found).endswith(", on the calibration of shape (1, 3, 2)")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"max_error": 0}, ValueError, "max_error must be a positive number, got 0"),
        ({"max_error": -1.0}, ValueError, "max_error must be a positive number, got -1.0"),
        ({"max_error": float("nan")}, ValueError, "max_error must be a positive number, got nan"),
        ({"max_error": "1"}, TypeError, "max_error must be a positive number, got '1'"),
        ({"max_error": 1.0, "calibration": [[np.inf, 1]]}, ValueError, "calibration must be finite, got inf"),
        ({"calibration": [[1, 1]]}, ValueError, "calibration only measures errors: give max_error"),
    ],
)
def test_options_that_do_not_fit_are_named(options, kind, message):
    with pytest.raises(kind, match=message):
        Model(two_layers()).quantize("int8", **options)


@pytest.mark.parametrize("options", [{"dtype": "float64"}, {"gemm": "blas"}])
def test_a_model_through_blas_is_refused(options):
    model = Model(two_layers(), **options)
    got = r"dtype 'float64' and gemm 'blas'" if "dtype" in options else r"dtype 'float32' and gemm 'blas'"
    with pytest.raises(ValueError, match=f"model to quantize must have dtype 'float32' and gemm 'packed', got {got}"):
        model.quantize("int8")
    assert model.quantize("float32").dtype == model.dtype


def test_pickles_and_names_its_precisions():
    model = Model(two_layers())
    assert "precision" not in repr(model)
    smaller = model.quantize({"two": "int8"})
    assert "precision=float32+int8" in repr(smaller)
    assert repr(model.quantize("bfloat16")).endswith("precision=bfloat16>")
    twin = pickle.loads(pickle.dumps(smaller))
    assert [n.op.precision for n in twin.graph.nodes] == ["float32", "int8"]
    x = RNG.normal(size=(4, 2)).astype(np.float32)
    np.testing.assert_array_equal(twin(x), smaller(x), strict=True)
    np.testing.assert_array_equal(twin.self_test.outputs[0], smaller.self_test.outputs[0])


@pytest.mark.parametrize("wanted", ["int8", {"dense": "float16"}])
def test_convert_takes_a_precision(wanted):
    from importlib.resources import as_file, files

    from fastgru.layers import GRU, like

    with as_file(files("fastgru.data") / "pulse.pt") as path:
        model = fastgru.convert(path, like=[like(GRU), like(Dense)], precision=wanted)
    selftest.verify(model)
    precisions = {n.name: n.op.precision for n in model.graph.nodes}
    expected = (
        dict.fromkeys(precisions, "int8") if wanted == "int8" else {**dict.fromkeys(precisions, "float32"), **wanted}
    )
    assert precisions == expected


@pytest.mark.parametrize("largest", [1e39, 1e300, float(np.finfo(np.float64).max)])
@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8"])
def test_weights_beyond_float32_are_refused_without_a_warning(largest, precision):
    weight = np.ones((3, 4))
    weight[1, 2] = -largest
    with pytest.raises(GraphError, match=r"weights must (lie within|be finite when rounded)"):
        Dense(weight, precision=precision)
