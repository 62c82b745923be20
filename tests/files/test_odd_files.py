"""Strange but sound files and graphs: each ends in a model that verifies, or in an error of the package."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from fuzz import fgru

import fastgru
from fastgru import FileFormatError, Model, VerificationError, reference
from fastgru import graph as g
from fastgru.checks import selftest
from fastgru.checks.selftest import SelfTest
from fastgru.errors import ConvertError, GraphError, MemoryLimitError
from fastgru.files import fgru as file
from fastgru.graph import Graph, GraphBuilder, Spec

RNG = np.random.default_rng(3)


def normal(*shape: int) -> Any:
    return (RNG.normal(size=shape) / 2).astype(np.float32)


def written(path: Any, graph: Graph, test: SelfTest | None = None) -> Any:
    file.write(path / "m.fgru", graph=graph, dtype="float32", provenance={}, self_test=test)
    return path / "m.fgru"


def masked(value: float) -> Graph:
    b = GraphBuilder()
    ids = b.input("ids", Spec((), dtype="int"))
    return b.build(
        b.add(g.GRU(normal(12, 4), normal(12, 4)), b.add(g.Embedding(normal(7, 4)), ids), b.add(g.Mask(value), ids))
    )


@pytest.mark.parametrize("value", [-1.0, 7.0, 0.5, 1e30, 2.0**63, 0.0, 6.0])
def test_masks_of_values_that_no_id_can_have(value, tmp_path):
    model = Model(masked(value))
    model.save(tmp_path / "m.fgru")
    fastgru.load(tmp_path / "m.fgru", verify=True).quantize("int8")
    ids = selftest.make_input(model.graph)
    assert ids.min() >= 0
    assert ids.max() < 7
    assert (ids[-1, -1] == value) == (value in (0.0, 6.0))


@pytest.mark.parametrize("wrong", [7, -8, 2**31, -(2**40), 2**63 - 1])
def test_ids_of_a_self_test_outside_of_the_table(wrong, tmp_path):
    graph = masked(0.0)
    test = selftest.make(graph, None, {})
    test.input[1, 3] = wrong
    with pytest.raises(FileFormatError, match=r"m\.fgru: ids of input 'ids' of self_test must be"):
        fastgru.load(written(tmp_path, graph, test))


def computed() -> Graph:
    """A lookup of ids that the model makes of its input."""
    b = GraphBuilder()
    ids = b.add(g.Cast("int"), b.input("x", Spec(())))
    return b.build(b.add(g.Gather(0), b.add(g.Constant(normal(3, 4))), ids))


def test_ids_that_a_model_computes_outside_of_their_table(tmp_path):
    graph = computed()
    x = np.zeros((2, 16), np.float32)
    test = SelfTest(0, x, reference.run(graph, x)[0], "nobody")
    assert fastgru.load(written(tmp_path, graph, test), verify=True)
    test.input[0, 0] = 9.0
    with pytest.raises(VerificationError, match="input of the self-test must be one that the model takes"):
        fastgru.load(written(tmp_path, graph, test), verify=True)
    with pytest.raises(GraphError, match=r"node 'gather': ids must be in -3\.\.2, got 0\.\.9"):
        reference.run(graph, test.input)


def test_embeddings_of_ids_outside_of_their_table():
    with pytest.raises(GraphError, match=r"node 'embedding': ids must be in 0\.\.6, got 0\.\.7"):
        reference.run(masked(0.0), np.array([[0, 7]]))


def test_what_the_engine_does_not_run_is_an_error_of_the_file(tmp_path):
    b = GraphBuilder()
    value = b.input("x", Spec((4,)))
    for _ in range(40):
        value = b.add(g.TimeConv(normal(4, 4, 2)), value)
    with pytest.raises(FileFormatError, match=r"m\.fgru: the engine does not run this graph: "):
        fastgru.load(written(tmp_path, b.build(value)))


@pytest.mark.parametrize("op", [g.Add, g.Average])
@pytest.mark.parametrize("alike", [True, False])
def test_sums_of_two_thousand_values_pass_their_own_self_test(op, alike, tmp_path):
    b = GraphBuilder()
    x = b.input("x", Spec((8,)))
    values = [x if alike else b.add(g.Dense(normal(8, 8)), x) for _ in range(2_000)]
    model = Model(b.build(b.add(op(), *values)))
    model.save(tmp_path / "m.fgru")
    report = selftest.replay(fastgru.load(tmp_path / "m.fgru", verify=True))
    assert report.max_error < report.tolerances[0] / 4  # in halves; from the left, it is nearly all of it


def test_outputs_beyond_float32_are_tested_with_smaller_inputs(tmp_path):
    b = GraphBuilder()
    x = b.input("x", Spec((8,)))
    large = b.add(g.Multiply(), *(b.add(g.Dense(normal(8, 8) * 2), x) for _ in range(100)))
    model = Model(b.build(large))
    model.save(tmp_path / "m.fgru")
    loaded = fastgru.load(tmp_path / "m.fgru", verify=True)
    assert np.isfinite(loaded.self_test.outputs[0].astype(np.float32)).all()
    assert loaded.self_test.outputs[0].any()
    b = GraphBuilder()
    factors = [b.add(g.Constant(np.float32(1e30))) for _ in range(2)]
    huge = b.build(b.add(g.Multiply(), b.input("x", Spec((2,))), *factors))
    with pytest.raises(ConvertError, match="must be finite in float32, got"):
        Model(huge).save(tmp_path / "m.fgru")
    Model(huge, dtype="float64").save(tmp_path / "m.fgru")
    assert fastgru.load(tmp_path / "m.fgru", verify=True).dtype == "float64"


def test_a_value_returned_twice():
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    y = b.add(g.Softmax(0), x)
    graph = b.build(x, y, y, x)
    feeds = normal(2, 5, 3)
    for got, wanted in zip(Model(graph)(feeds), reference.run(graph, feeds)[0], strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert len(selftest.make(graph, None, {}).outputs) == 4


def test_reflection_is_tested_with_steps_enough():
    b = GraphBuilder()
    graph = b.build(b.add(g.TimePad(200, 100, outside="reflect"), b.input("x", Spec((2,)))))
    assert selftest.make_input(graph).shape[1] > 200
    with pytest.raises(GraphError, match="input of node 'time_pad' must have at least 201 steps, got 200"):
        graph.lengths(200)
    with pytest.raises(GraphError, match=r"node 'time_pad': sequence to pad must have at least 201 steps, got 20"):
        reference.run(graph, normal(1, 20, 2))


def test_a_missing_attribute_is_named(tmp_path):
    b = GraphBuilder()
    path = written(tmp_path, b.build(b.add(g.Framing(4, 2), b.input("x", Spec(())))))
    header, tensors = fgru.taken_apart(path.read_bytes())
    del header["graph"]["nodes"][0]["attributes"]["hop"]
    header["crc32"] = fgru.checksum(header, tensors)
    path.write_bytes(fgru.packed(header, tensors, random.Random(0)))
    with pytest.raises(FileFormatError, match="attributes of node 'framing' must have size, hop, got no hop"):
        fastgru.load(path)


@pytest.mark.parametrize("op", [g.GRU(normal(12, 4), normal(12, 4), return_sequences=False), g.TimeReduce("mean")])
def test_the_end_of_a_sequence_read_at_every_step(op):
    b = GraphBuilder()
    x = b.input("x", Spec((4,)))
    end = b.add(op, x, name="end")
    model = Model(b.build(b.add(g.Add(), x, b.add(g.Unary("neg"), end), name="both")))
    feeds = normal(1, 20_000, 4)  # longer than a block
    assert model._plan.block(1) < 20_000
    np.testing.assert_allclose(model(feeds), reference.run(model.graph, feeds)[0][0], atol=1e-5)
    with pytest.raises(ValueError, match="'both', which reads at every step what is known only at the end"):
        model.stream()


def test_the_end_of_a_sequence_streams_where_nothing_reads_it_at_every_step():
    b = GraphBuilder()
    x = b.input("x", Spec((4,)))
    end = b.add(g.GRU(normal(12, 4), normal(12, 4), return_sequences=False), x)
    model = Model(b.build(b.add(g.Dense(normal(2, 4)), end), x))
    feeds = normal(7, 4)
    assert np.array_equal(model.stream().process(feeds)[0], model(feeds)[0])


def test_the_memory_of_a_self_test_is_limited(tmp_path):
    b = GraphBuilder()
    wide = b.add(g.Expand((2**15, 2**15)), b.input("x", Spec(())), name="wide")
    graph = b.build(b.add(g.Reduce("sum", (0, 1), keepdims=False), wide))
    with pytest.raises(MemoryLimitError, match=r"memory of the float64 reference must be .*node 'wide' needs most"):
        selftest.make(graph, None, {})


@pytest.mark.parametrize("function", g.TIME_REDUCTIONS)
def test_a_fold_of_no_steps_is_refused_by_the_reference(function):
    b = GraphBuilder()
    frames = b.add(g.Framing(8, 4), b.input("x", Spec(())))
    graph = b.build(b.add(g.TimeReduce(function), frames))
    with pytest.raises(GraphError, match="node 'time_reduce': sequence to fold must have at least one step, got none"):
        reference.run(graph, normal(2, 7))
    assert reference.run(graph, normal(2, 8))[0][0].shape == (2, 8)
