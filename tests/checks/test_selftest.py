"""The self-test: what it is made of, which imports it refuses, and what a replay allows."""

from __future__ import annotations

import dataclasses
import time
from importlib.resources import files

import numpy as np
import pytest
from cells import CELLS, make_cell
from tensor_graphs import every_frame_op

import fastgru
from fastgru import Model, reference
from fastgru import graph as g
from fastgru.checks import selftest, tolerances
from fastgru.errors import ConvertError, VerificationError
from fastgru.graph import (
    GRU,
    RNN,
    Add,
    ArgReduce,
    Dense,
    Dropout,
    Embedding,
    GraphBuilder,
    Mask,
    Spec,
    TimePad,
    TimePool,
    TimeReduce,
    Unary,
    chain,
)
from fastgru.layers import like

FRAMEWORK = {"framework": "torch 9.9"}


def oracle_of(graph, *, error=0.0, dtype="float32"):
    """The float64 reference rounded to `dtype`, as a framework would give it, wrong by `error` in one place."""

    def run(x):
        outputs = [y.astype(dtype) for y in reference.run(graph, x)[0]]
        outputs[0][1, 3, 0] += error
        return tuple(outputs)

    return run


@pytest.fixture
def graph():
    return chain([make_cell("gru-after", 3, 8), Dense(np.full((2, 8), 0.25, np.float32))])


def test_the_input_is_seeded_and_the_oracle_answers(graph):
    a, b = (selftest.make(graph, oracle_of(graph), FRAMEWORK) for _ in range(2))
    assert (a.input.shape, a.input.dtype, a.source) == ((2, 16, 3), np.float32, "torch 9.9")
    np.testing.assert_array_equal(a.input, b.input)
    assert a.outputs[0].dtype == np.float32


def test_without_an_oracle_the_reference_answers(graph):
    test = selftest.make(graph, None, FRAMEWORK)
    assert test.source == "fastgru float64 reference"
    np.testing.assert_array_equal(test.outputs[0], reference.run(graph, test.input)[0][0], strict=True)


def test_a_wrong_import_is_refused_with_its_place(graph):
    message = r"output 'dense' of the import must equal torch 9\.9 within .* of 0\.001.* at row 1, step 3, feature 0"
    with pytest.raises(ConvertError, match=message):
        selftest.make(graph, oracle_of(graph, error=1e-3), FRAMEWORK)


def test_the_wrong_reset_variant_is_refused():
    right = make_cell("gru-after", 3, 8)
    wrong = chain([right.replace(reset_after=False)])
    with pytest.raises(ConvertError, match="of the import must equal"):
        selftest.make(wrong, oracle_of(chain([right])), FRAMEWORK)


@pytest.mark.parametrize(
    ("oracle", "message"),
    [
        (lambda x: (), "number of outputs of torch 9.9 must be 1, got 0"),
        (lambda x: (np.zeros((2, 16, 3)),), r"must have shape \(2, 16, 2\), got \(2, 16, 3\)"),
        (lambda x: (np.full((2, 16, 2), np.nan),), "must be finite, got nan at row 0, step 0, feature 0"),
    ],
)
def test_an_oracle_that_does_not_fit_is_refused(graph, oracle, message):
    with pytest.raises(ConvertError, match=message):
        selftest.make(graph, oracle, FRAMEWORK)


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(ConvertError, match="output 'dense' of fastgru float64 reference must be finite"):
        selftest.make(chain([Dense(np.full((1, 1), np.nan))]), None, {})


def test_ids_stay_within_the_smallest_vocabulary_and_masks_are_exercised():
    b = GraphBuilder()
    ids = b.input("ids", Spec((), dtype="int"))
    mask = b.add(Mask(0.0), ids)
    x = b.add(Embedding(np.ones((5, 2))), b.add(Dropout(), ids))
    y = b.add(RNN(np.ones((1, 2)), np.ones((1, 1))), x, mask)
    other = b.add(Embedding(np.ones((50, 2))), ids)
    test = selftest.make(b.build(y, other), None, {})
    assert test.input.dtype == np.int64
    assert test.input.max() == 4
    assert (test.input[1, -5:] == 0).all()
    assert len(test.outputs) == 2


def test_every_input_of_several_is_drawn():
    graph = every_frame_op()
    seen = []

    def oracle(x):
        seen.append(x)
        return tuple(y.astype(np.float32) for y in reference.run(graph, x)[0])

    test = selftest.make(graph, oracle, FRAMEWORK)
    assert test.input.keys() == seen[0].keys() == graph.inputs.keys()
    kinds = {name: array.dtype.name for name, array in test.input.items()}
    assert kinds == {"x": "float32", "samples": "float32", "ids": "int64", "lengths": "int64", "switch": "bool"}
    assert (test.input["ids"].max(), test.input["lengths"].max()) == (3, 5)
    assert test.shape["samples"] == (2, 32)  # the fewest that leave 4 steps after framing and two strides
    again = selftest.make(graph, oracle, FRAMEWORK)
    assert all(np.array_equal(test.input[name], again.input[name]) for name in graph.inputs)
    alone = selftest.make(graph, None, {})  # inputs that never meet then have numbers of steps of their own
    assert {alone.shape[name][1] for name, spec in graph.inputs.items() if spec.time} == {31, 32}


class Reference:
    """A model that computes as the reference does."""

    dtype = "float32"

    def __init__(self, graph, test):
        self.graph, self.self_test = graph, test

    def __call__(self, x):
        outputs = reference.run(self.graph, x)[0]
        return tuple(y.astype(np.float32) if y.dtype == np.float64 else y for y in outputs)


def test_graphs_of_frames_loops_and_several_inputs_replay():
    graph = every_frame_op()
    model = Reference(graph, selftest.make(graph, None, {}))
    assert selftest.verify(model).max_error < 1e-6
    wrong = graph.with_ops(lambda n: n.op.replace(initial=n.op.initial + 1e-3) if n.name == "held" else n.op)
    assert not selftest.replay(Reference(wrong, model.self_test)).ok


def test_outputs_of_integers_and_bools_are_compared():
    b = GraphBuilder()
    x = b.input("x", Spec((5,)))
    graph = b.build(b.add(ArgReduce("argmax", 0), x), b.add(Unary("isnan"), x))
    test = selftest.make(graph, None, {})
    assert [y.dtype.name for y in test.outputs] == ["float64", "float64"]
    assert selftest.verify(Reference(graph, test)).errors == (0.0, 0.0)


def test_a_graph_of_logarithms_is_given_magnitudes():
    b = GraphBuilder()
    graph = b.build(b.add(Unary("log"), b.input("x", Spec((3,)))))
    test = selftest.make(graph, None, {})
    assert test.input.min() > 0
    np.testing.assert_allclose(test.outputs[0], np.log(test.input), rtol=1e-6)


def test_an_error_in_a_frame_is_named_with_its_place():
    b = GraphBuilder()
    x = b.input("x", Spec((2, 3)))
    graph = b.build(b.add(Unary("abs"), x), b.add(TimeReduce("max"), x))

    def oracle(x):
        outputs = [y.astype(np.float32) for y in reference.run(graph, x)[0]]
        outputs[0][1, 3, 0, 2] += 1
        return tuple(outputs)

    with pytest.raises(ConvertError, match="at row 1, step 3, axis 0: 0, axis 1: 2"):
        selftest.make(graph, oracle, FRAMEWORK)


def test_a_graph_that_no_number_of_steps_fits_is_refused():
    b = GraphBuilder()
    x = b.input("x", Spec((2,)))
    graph = b.build(b.add(Add(), x, b.add(TimePad(1), x)))
    with pytest.raises(ConvertError, match=r"fits it.*for 16, inputs of node 'add' .* got 16 of 'x' and 17 of"):
        selftest.make(graph, None, {})


def test_inputs_of_other_rates_are_named():
    b = GraphBuilder()
    fast, slow = (b.input(name, Spec((2,))) for name in ("fast", "slow"))
    half = b.add(TimePool("max", 2, 2), slow, name="half")
    with pytest.raises(ConvertError) as caught:
        selftest.make(b.build(b.add(Add(), fast, half)), None, {})
    assert "for 16, inputs of node 'add' must have one number of steps, got 8 of 'half' and 16 of 'fast'" in str(
        caught.value
    )
    assert str(caught.value).splitlines()[1] == (
        "The inputs 'fast', 'slow' meet and must have as many steps as each other: where one has fewer by design, fix "
        "the numbers of steps of both in the source"
    )


# Reduced precision ---------------------------------------------------------------------------------


def reduced(precision):
    gru = make_cell("gru-after", 3, 8, precision=precision)
    return chain([gru, Dense(np.full((2, 8), 0.3, np.float32), precision=precision)])


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int8_affine"])
def test_the_output_is_that_of_rounded_activations_and_rounding_them_otherwise_is_allowed(precision):
    graph = reduced(precision)
    test = selftest.make(graph, None, {})
    np.testing.assert_array_equal(test.outputs[0], reference.run(graph, test.input)[0][0])
    plain = graph.with_ops(lambda node: node.op.replace(precision="float32"))
    moved = float(np.abs(reference.run(plain, test.input)[0][0] - test.outputs[0]).max())
    report = selftest.verify(Model(graph, self_test=test))
    assert moved > 1e-5
    assert report.tolerances[0] == tolerances.ROUNDING * moved
    for unit in (1e-7, 1e-6):  # what another order of float32 sums does to what is rounded next
        other = reference.run(graph, test.input * (1 + unit))[0][0]
        assert np.abs(other - test.outputs[0]).max() <= report.tolerances[0]


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_tolerances_without_rounded_activations_are_the_floors(precision):
    graph = reduced(precision)
    report = selftest.verify(Model(graph, self_test=selftest.make(graph, None, {})))
    assert report.tolerances == (tolerances.FLOORS["float32"],)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8", "int8_affine"])
def test_a_reduced_model_with_another_weight_fails(precision):
    graph = reduced(precision)
    changed = chain([graph.nodes[0].op, Dense(np.full((2, 8), 0.31, np.float32), precision=precision)])
    assert not selftest.replay(Model(changed, self_test=selftest.make(graph, None, {}))).ok


# Replay ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_replays_on_every_isa(cell, isa):
    graph = chain([make_cell(cell, 5, 33)])
    for dtype in ("float32", "float64"):
        model = Model(graph, dtype=dtype, isa=isa, self_test=selftest.make(graph, None, {}))
        report = selftest.verify(model)
        assert report.ok
        assert report.max_error <= (2e-6 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_tolerance_follows_the_size_of_the_output(scale):
    rng = np.random.default_rng(0)
    gru = make_cell("gru-after", 3, 64)
    graph = chain([gru, Dense((scale * rng.normal(size=(4, 64))).astype("float32"))])
    model = Model(graph, self_test=selftest.make(graph, oracle_of(graph), FRAMEWORK))
    report = selftest.verify(model)
    assert report.tolerances[0] <= 1e-4 * max(1.0, scale)


def test_a_network_that_amplifies_rounding_passes_but_not_its_wrong_twin():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=s).astype("float32") for s in ((24, 3), (24, 8), (24,))]
    graph = chain([GRU(weights[0] * 30, weights[1] * 4, weights[2])])
    test = selftest.make(graph, None, {})
    assert selftest.replay(Model(graph, self_test=test)).ok
    twin = chain([GRU(weights[0] * 30, weights[1] * 4 * 1.001, weights[2])])
    assert not selftest.replay(Model(twin, self_test=test)).ok


def test_a_changed_weight_fails_and_says_where(graph):
    test = selftest.make(graph, None, {})
    changed = chain([graph.nodes[0].op, Dense(np.full((2, 8), 0.2501, np.float32))])
    model = Model(changed, self_test=test)
    report = selftest.replay(model)
    assert not report.ok
    assert "FAILED" in str(report)
    with pytest.raises(VerificationError, match=r"output 'dense' must be within .* of fastgru float64 reference, got"):
        selftest.verify(model)


def test_a_stored_output_far_from_the_truth_does_not_widen_its_own_tolerance(graph):
    test = selftest.make(graph, None, {})
    bad = dataclasses.replace(test, outputs=(test.outputs[0] + 1.0,))
    assert not selftest.replay(Model(graph, self_test=bad)).ok


def test_nan_is_never_ok():
    assert not selftest.Report((float("nan"),), (1.0,), "x", ("y",)).ok


def test_no_self_test_and_other_shapes_are_errors(graph):
    with pytest.raises(VerificationError, match="must have a stored self-test, got none"):
        selftest.verify(Model(graph))
    test = selftest.make(graph, None, {})
    with pytest.raises(VerificationError, match="must have shapes"):
        selftest.verify(Model(chain([graph.nodes[0].op]), self_test=test))


@pytest.mark.parametrize(
    ("layer", "steps"),
    [
        (lambda: g.GRU(np.ones((1536, 512)), np.ones((1536, 512))), 16),  # of usual models, whatever their work
        (lambda: g.TimeConv(np.ones((2, 3, 3)), stride=3), 18),
        (lambda: g.Framing(512, 256), 2048),
        (lambda: g.TimeConv(np.ones((2, 3, 4)), stride=5000), 20000),
        (lambda: g.OverlapAdd(4, 2, skip=20000), 10002),
    ],
)
def test_steps_are_as_few_as_give_an_output(layer, steps):
    assert selftest.make_input(chain([layer()])).shape[1] == steps


def test_a_self_test_that_would_take_long_is_refused_by_the_node_that_does():
    message = r"graph must have an output within so few steps .*, got 900004 steps, .*, most of it at node 'slow'"
    b = GraphBuilder()
    graph = b.build(b.add(g.OverlapAdd(2, 1, skip=900_000), b.input("x", Spec((2,))), name="slow"))
    began = time.process_time()
    with pytest.raises(ConvertError, match=message):
        selftest.make(graph, None, {})
    assert time.process_time() - began < 1.0  # 15 s before: no step of it is run


def test_a_recurrence_over_many_steps_is_refused_too():
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    y = b.add(g.GRU(np.ones((6, 3)), np.ones((6, 2))), x, name="recurrent")
    graph = b.build(b.add(g.TimeConv(np.ones((1, 2, 1)), stride=100_003), y))
    with pytest.raises(ConvertError, match="most of it at node 'recurrent'"):
        selftest.make_input(graph)


def test_a_self_test_and_a_model_show_shapes_not_arrays():
    model = Model([g.Dense(np.ones((2, 3)))])
    test = selftest.make(model.graph, None, {})
    assert repr(test) == "SelfTest(input (2, 16, 3), outputs (2, 16, 2) by fastgru float64 reference)"
    assert {name: str(spec) for name, spec in model.inputs.items()} == {"x": "(B, T, 3) float"}
    assert {name: str(spec) for name, spec in model.outputs.items()} == {"dense": "(B, T, 2) float"}
    with pytest.raises(AttributeError):
        model.inputs = {}


def test_an_engine_that_computes_otherwise_is_not_imported(monkeypatch):
    message = r"engine must compute what the graph does, please report it: .* error 0\.001"
    call = Model.__call__
    source, layers = files("fastgru.data") / "pulse.pt", [like(GRU), like(Dense)]
    assert fastgru.convert(source, like=layers).self_test is not None
    monkeypatch.setattr(Model, "__call__", lambda self, x, **options: call(self, x, **options) + 1e-3)
    with pytest.raises(ConvertError, match=message):
        fastgru.convert(source, like=layers)


def test_an_engine_that_computes_otherwise_is_had_where_it_is_asked_for(monkeypatch):
    call = Model.__call__
    monkeypatch.setattr(Model, "__call__", lambda self, x, **options: call(self, x, **options) + 1e-3)
    model = fastgru.convert(files("fastgru.data") / "pulse.pt", like=[like(GRU), like(Dense)], check=False)
    told = model.provenance["differs"]
    assert told.startswith("engine must compute what the graph does, please report it: FAILED: max error 0.001")
    assert told.endswith("(check=False imports it as it is)")


def test_what_cannot_be_checked_is_had_where_it_is_asked_for(tmp_path):
    arrays = {"fc.weight": np.full((2, 3), np.nan, np.float32), "fc.bias": np.zeros(2, np.float32)}
    with pytest.raises(ConvertError, match="output 'fc' of fastgru float64 reference must be finite, got nan"):
        fastgru.convert(arrays, like=[like(Dense)])
    model = fastgru.convert(arrays, like=[like(Dense)], check=False)
    assert model.self_test is None
    assert "must be finite, got nan" in model.provenance["unchecked"]
    assert "differs" not in model.provenance
    model.save(tmp_path / "m.fgru")
    loaded = fastgru.load(tmp_path / "m.fgru")
    assert loaded.self_test is None
    assert np.isnan(loaded(np.ones((5, 3), np.float32))).all()


def test_an_oracle_that_is_not_finite_differs(graph):
    with pytest.raises(selftest.Disagreement, match="must be finite, got nan"):
        selftest.make(graph, lambda x: (np.full((2, 16, 2), np.nan),), FRAMEWORK)


def scores_that_nearly_equal():
    """Unscaled attention: which of two items is chosen is decided in the last places of large scores."""
    rng = np.random.default_rng(12)
    draw = [(rng.normal(size=(128, 128)) / np.sqrt(128)).astype(np.float32) for _ in range(3)]
    b = GraphBuilder()
    x = b.input("x", Spec((4, 128)))
    q, k, v = (b.add(Dense(w), x) for w in (draw[0] * np.float32(30), *draw[1:]))
    shares = b.add(g.Softmax(1), b.add(g.MatMul(transpose_b=True), q, k))
    return b.build(b.add(g.MatMul(), shares, v))


def test_scores_that_are_nearly_equal_are_looked_at_from_several_sides():
    graph = scores_that_nearly_equal()
    x, expected = selftest.finite_input(graph)
    ((one, _),) = tolerances.tolerances(graph, x, expected, [2e-6])
    own = tolerances.at_elements(graph, x, expected, [2e-6])
    assert one < 1e-4 < 1e-3 < own[0].max()
    assert np.mean(own[0] > one) < 0.02  # of the elements that this decides
    assert selftest.replay(Model(graph, self_test=selftest.make(graph, None, {}))).ok
    wrong = graph.with_ops(
        lambda node: node.op.replace(weight=node.op.weight * 1.001) if node.name == "dense_2" else node.op
    )
    assert not selftest.replay(Model(wrong, self_test=selftest.make(graph, None, {}))).ok


def test_sums_are_moved_but_not_what_float32_holds():
    b = GraphBuilder()
    x = b.input("x", Spec((1,)))
    count = b.add(TimeReduce("sum"), b.add(g.Multiply(), x, b.add(Unary("sign"), x)))
    y = b.build(b.add(g.Binary("greater"), count, b.add(g.Constant(np.float32(3)))))
    x = np.ones((2, 16, 1), np.float32)
    expected = tolerances.outputs_of(y, x)
    assert tolerances.tolerances(y, x, expected, [2e-6])[0][0] == 2e-6
