"""Weights exist once: a matrix of several nodes is one array in the graph, the summary, the file and the plan."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru import quantization, reference
from fastgru.graph import (
    GRU,
    LSTM,
    RNN,
    Activate,
    Add,
    Constant,
    Conv,
    Dense,
    Embedding,
    Graph,
    GraphBuilder,
    LayerNorm,
    Spec,
    TimeConv,
    chain,
)
from fastgru.graph.sharing import SAMPLE, Sharing

RNG = np.random.default_rng(5)
REDUCED = ("float16", "bfloat16", "int8", "int8_affine")


def normal(*shape: int, dtype: str = "float32") -> Any:
    return RNG.normal(size=shape).astype(dtype) / 4


def copies(array: Any) -> Any:
    """The array as each converter makes it: transposed and back, in memory of its own."""
    return np.ascontiguousarray(np.ascontiguousarray(array.T).T)


def repeated(weight: Any, count: int = 4, **options: Any) -> Graph:
    """A chain of nodes that hold equal weights, each given a copy of its own."""
    return chain([Dense(copies(weight), np.zeros(len(weight)), "tanh", **options) for _ in range(count)])


def weights(graph: Graph, field: str = "weight") -> list[Any]:
    return [node.op.weights()[field] for node in graph.nodes if field in node.op.weights()]


def is_one(arrays: list[Any]) -> bool:
    return len({id(a) for a in arrays}) == 1


# The graph ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_weights_are_one_array_of_a_graph(dtype):
    weight = normal(8, 8, dtype=dtype)
    graph = repeated(weight)
    assert is_one(weights(graph))
    assert weights(graph)[0].dtype == dtype
    np.testing.assert_array_equal(weights(graph)[0], weight)
    assert not weights(graph)[0].flags.writeable


def test_cells_share_all_their_weights():
    w = normal(12, 4), normal(12, 4), normal(12), np.zeros(12)
    first, second = (node.op for node in chain([GRU(*map(copies, w)) for _ in range(2)]).nodes)
    assert all(first.weights()[field] is second.weights()[field] for field in first.weights())


def test_arrays_that_differ_stay_apart():
    weight = normal(16, 16)
    others = [weight.copy() for _ in range(3)]
    others[0][5, 7] += 1e-3  # not among the numbers that are compared first
    assert weight.size > 2 * SAMPLE
    others[1] = weight.astype(np.float64)
    others[2] = weight.T.copy()
    arrays = weights(chain([Dense(weight), *map(Dense, others)]))
    assert len({id(a) for a in arrays}) == 4
    for array, other in zip(arrays, [weight, *others], strict=True):
        np.testing.assert_array_equal(array, other, strict=True)


def test_zeros_of_both_signs_differ_and_nan_is_itself():
    positive, negative = np.zeros((2, 3), np.float32), -np.zeros((2, 3), np.float32)
    sharing = Sharing()
    assert sharing.op(Constant(positive)).value is not sharing.op(Constant(negative)).value
    odd = np.array([[1.0, np.nan], [np.inf, 2.0]])
    assert sharing.op(Constant(odd)).value is sharing.op(Constant(odd.copy())).value


def test_vectors_of_one_number_are_shared_only_beside_shared_matrices():
    graph = chain([Dense(normal(4, 4), np.zeros(4)), Dense(normal(4, 4), np.zeros(4)), LayerNorm(np.ones(4))])
    assert not is_one(weights(graph, "bias"))
    graph = chain([LayerNorm(np.ones(4), np.zeros(4)), LayerNorm(np.ones(4), np.zeros(4))])
    assert graph.nodes[0].op.scale is not graph.nodes[1].op.scale
    assert is_one(weights(repeated(normal(4, 4)), "bias"))


def test_a_table_and_the_layer_behind_it_are_tied():
    table = normal(7, 4)
    b = GraphBuilder()
    x = b.add(Activate("tanh"), b.add(Embedding(table), b.input("ids", Spec((), True, "int"))))
    graph = b.build(b.add(Dense(table.copy()), x))
    assert is_one(weights(graph))


def test_ops_keep_what_other_ops_hold_and_copy_what_others_may_change():
    given = normal(4, 4)
    op = Dense(given)
    given[:] = 0
    assert op.weight.any()
    assert op.replace(activation="tanh").weight is op.weight
    writable = op.replace().weight
    small = op.replace(precision="int8")
    assert small.weight is not op.weight
    assert small.replace(activation="tanh").weight is small.weight
    writable.setflags(write=True)
    assert Dense(writable).weight is not writable
    writable.setflags(write=False)


def test_nodes_given_are_not_changed():
    ops = [Dense(w) for w in (np.eye(3), np.eye(3))]
    arrays = [op.weight for op in ops]
    graph = chain(ops)
    assert all(op.weight is array for op, array in zip(ops, arrays, strict=True))
    assert graph.nodes[0].op is ops[0]
    assert graph.nodes[1].op is not ops[1]


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_and_pickles_keep_it(again):
    model = fastgru.Model(repeated(normal(64, 64), 10))
    assert is_one(weights(again(model).graph))
    assert len(pickle.dumps(model)) < 2 * 4 * 64 * 64
    np.testing.assert_array_equal(again(model)(np.ones((3, 64))), model(np.ones((3, 64))))


@pytest.mark.parametrize("precision", REDUCED)
def test_quantized_weights_stay_one(precision):
    model = fastgru.Model(repeated(normal(32, 32)))
    small = model.quantize(precision)
    assert is_one(weights(small.graph))
    mixed = model.quantize(precision, layers=["dense", "dense_2"])
    first, second, third, fourth = weights(mixed.graph)
    assert first is third
    assert second is fourth
    assert first is not second
    np.testing.assert_array_equal(second, weights(model.graph)[0])


# The summary --------------------------------------------------------------------------------------


def test_totals_count_shared_weights_once():
    summary = fastgru.Model(repeated(normal(8, 8), 3)).summary()
    assert [row.parameters for row in summary.rows] == [72, 72, 72]
    assert (summary.totals.parameters, summary.totals.bytes, summary.totals.macs) == (72, 288, 3 * 64)
    assert [row.shared for row in summary.rows] == ["", "dense", "dense"]
    assert summary.as_dict()["rows"][1]["shared"] == "dense"
    assert str(summary).splitlines()[1].endswith("shared with")
    assert all("shared" not in line for line in str(fastgru.Model([Dense(normal(8, 8))]).summary()).splitlines())


def test_bytes_count_each_precision_that_stores_a_matrix():
    # 0.5 and 1 are exact in every precision: the array stays one, but is stored in two ways
    weight = np.where(normal(8, 8) > 0, np.float32(0.5), np.float32(1.0))
    weight[:, 0] = 127.0
    graph = chain([Dense(weight), Dense(weight, precision="float16")])
    assert is_one(weights(graph))
    totals = fastgru.Model(graph).summary().totals
    assert (totals.parameters, totals.bytes) == (64, 64 * 4 + 64 * 2)


def test_the_report_of_a_quantized_model_counts_them_once():
    model = fastgru.Model(repeated(normal(32, 32)))
    report = quantization.report(model.graph, model.quantize("int8").graph)
    assert (report.bytes_before, report.bytes_after) == (4 * (32 * 32 + 32), 32 * 32 + 4 * 32 + 4 * 32)


# The plan -----------------------------------------------------------------------------------------

CELLS = {
    "rnn": lambda: RNN(*CELL_WEIGHTS["rnn"], np.zeros(24)),
    "gru": lambda: GRU(*CELL_WEIGHTS["gru"]),
    "gru, reset before": lambda: GRU(*CELL_WEIGHTS["gru"], reset_after=False),
    "gru, output gate": lambda: GRU(*CELL_WEIGHTS["gates"], reset_after=False, output_gate=True),
    "lstm": lambda: LSTM(*CELL_WEIGHTS["gates"]),
    "lstm, coupled": lambda: LSTM(*CELL_WEIGHTS["gru"], coupled=True),
    "lstm, projection": lambda: LSTM(
        CELL_WEIGHTS["gates"][0], CELL_WEIGHTS["gates"][1], projection=CELL_WEIGHTS["projection"]
    ),
}
CELL_WEIGHTS = {
    "rnn": (normal(24, 24), normal(24, 24)),
    "gru": (normal(72, 24), normal(72, 24), normal(72), normal(72)),
    "gates": (normal(96, 24), normal(96, 24), normal(96), normal(96)),
    "projection": normal(24, 24),
}


def plan_bytes(model: fastgru.Model) -> int:
    return model._plan.bytes


@pytest.mark.parametrize("isa", [name for name, supported, *_ in fastgru.engine.isas() if supported])
@pytest.mark.parametrize("precision", ["float32", *REDUCED])
def test_a_plan_packs_a_matrix_once(precision, isa):
    one, many = (fastgru.Model(repeated(normal(40, 40), count, precision=precision), isa=isa) for count in (1, 20))
    assert plan_bytes(many) == plan_bytes(one) == many.summary().memory.plan


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blas_gets_a_matrix_once(dtype):
    one, many = (fastgru.Model(repeated(normal(40, 40), n), dtype=dtype, gemm="blas") for n in (1, 20))
    assert plan_bytes(many) == plan_bytes(one)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_plan_packs_the_weights_of_cells_once(cell, precision):
    one, many = (fastgru.Model(chain([CELLS[cell]().replace(precision=precision) for _ in range(n)])) for n in (1, 4))
    assert plan_bytes(many) == plan_bytes(one) == many.summary().memory.plan
    x = normal(2, 9, 24)
    y = x
    for _ in range(4):
        y = one(y)
    np.testing.assert_array_equal(many(x), y)


def convolutions(count: int) -> Graph:
    """Convolutions over time, each with a copy of one kernel."""
    weight = np.random.default_rng(0).normal(size=(16, 16, 3)) / 8
    return chain([TimeConv(copies(weight), None, 1, 1, 2, 0, activation="tanh") for _ in range(count)])


def frames(count: int) -> Graph:
    """Convolutions of frames, grouped ones too, added constants and lookups by frames."""
    rng = np.random.default_rng(0)
    weight, grouped, constant = (rng.normal(size=s) / 8 for s in ((16, 16, 3, 3), (16, 4, 3, 3), (16, 5, 5)))
    b = GraphBuilder()
    x = b.input("x", Spec((16, 5, 5)))
    around = {"strides": (1, 1), "dilations": (1, 1), "before": (1, 1), "after": (1, 1)}
    for _ in range(count):
        x = b.add(Conv(weight.copy(), None, **around, groups=1, activation="tanh"), x)
        x = b.add(Conv(grouped.copy(), None, **around, groups=4, activation="tanh"), x)
        x = b.add(Add(), x, b.add(Constant(constant.copy())))
    return b.build(x)


@pytest.mark.parametrize("make", [convolutions, frames])
def test_a_plan_packs_what_is_made_of_a_weight_once(make):
    one, many = (fastgru.Model(make(n)) for n in (1, 5))
    assert plan_bytes(many) == plan_bytes(one) == many.summary().memory.plan
    x = normal(2, 6, *one.inputs["x"].shape)
    np.testing.assert_allclose(many(x), reference.run(many.graph, x)[0][0], atol=1e-5)


def test_tables_of_ids_are_packed_once():
    table, w = normal(50, 24), CELL_WEIGHTS["gru"]
    b = GraphBuilder()
    ids = b.input("ids", Spec((), True, "int"))
    outputs = [b.add(GRU(*map(copies, w)), b.add(Embedding(table.copy()), ids)) for _ in range(3)]
    many = fastgru.Model(b.build(*outputs))
    one = fastgru.Model(chain([Embedding(table), GRU(*w)]))
    assert plan_bytes(many) == plan_bytes(one)
    for y in many(np.arange(8)):
        np.testing.assert_array_equal(y, one(np.arange(8)))


def test_weights_that_differ_are_packed_apart():
    a, b = normal(40, 40), normal(40, 40)
    model = fastgru.Model([Dense(w, activation="tanh") for w in (a, b, a, b)])
    assert plan_bytes(model) == 2 * plan_bytes(fastgru.Model([Dense(a)]))
    x = normal(3, 40)
    y = x
    for w in (a, b, a, b):
        y = fastgru.Model([Dense(w, activation="tanh")])(y)
    np.testing.assert_array_equal(model(x), y)


# What is made of a graph -----------------------------------------------------------------------------


def test_a_self_test_needs_no_more_memory_for_further_users_of_a_matrix(tmp_path):
    """A small file of many nodes must not take what as many matrices would."""
    weight, peaks = normal(200, 200), {}
    for count in (2, 60):
        model = fastgru.Model(repeated(weight, count))
        tracemalloc.start()
        try:
            model.save(tmp_path / "m.fgru")
            fastgru.load(tmp_path / "m.fgru", verify=True)
            peaks[count] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peaks[60] < peaks[2] + 20 * weight.nbytes
