"""Ops on frames and steps as parts of graphs: shapes, every message, feedback, lengths, pickles and work."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from frames import graph_of, infer
from tensor_graphs import every_frame_op

from fastgru import graph as g
from fastgru import quantization
from fastgru.errors import GraphError
from fastgru.graph import GraphBuilder, Spec
from fastgru.report.summary import Memory, summarise

I, B = "int", "bool"


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


SCAN = {"scan": True}
RNN = (ones(2, 3), ones(2, 2))
LSTM = (ones(8, 3), ones(8, 2))


def test_frames_of_too_many_elements_are_refused():
    with pytest.raises(
        GraphError, match=r"node 'y' \(Expand\): frame must have at most 2147483647 elements, got \(65536"
    ):
        graph_of(g.Expand((2**16, 2**15)), Spec(()))


# Specs, lists, defaults, pickles --------------------------------------------------------------------


def test_time_is_where_any_input_has_it():
    a, b = Spec((2, 3), time=False), Spec((2, 3))
    for op in (g.Add(), g.Multiply(), g.Average(), g.Binary("max"), g.Concat(0)):
        assert [op.infer(pair)[0].time for pair in ((a, a), (a, b), (b, a), (b, b))] == [False, True, True, True]
    assert not g.MatMul(transpose_b=True).infer((a, a))[0].time
    assert g.Gather(0).infer((a, Spec((), dtype=I)))[0].time
    outputs = g.LSTM(*LSTM, **SCAN, operands=("initial_h",)).infer((Spec((5, 4, 3), False), Spec((4, 2))))
    assert outputs == (Spec((5, 4, 2)), Spec((4, 2)), Spec((4, 2)))


def test_lists_and_numpy_integers_become_tuples_of_ints():
    op = g.Slice(np.array([1, 0]), [np.int32(2), 1], (1, np.int64(1)))
    assert (op.starts, op.stops, op.steps) == ((1, 0), (2, 1), (1, 1))
    assert all(type(n) is int for n in (*op.starts, *op.stops, *op.steps))
    conv = g.Conv(ones(2, 3, 4, 5))
    assert (conv.strides, conv.dilations, conv.before, conv.after) == ((1, 1), (1, 1), (0, 0), (0, 0))
    assert conv.replace(strides=[2, 1]).strides == (2, 1)


def test_dtypes_of_constants():
    assert g.Constant([[True, False]], B).infer(()) == (Spec((1, 2), False, B),)
    assert g.Constant(2**40 + 1, I).value == 2**40 + 1
    assert g.Constant(np.float32(0.1)).value.dtype == np.float32
    assert infer(g.OneHot(4, 1), (2, 3), dtype=I) == (2, 4, 3)


def test_ops_of_graphs_pickle():
    graph = every_frame_op()
    for node, again in zip(graph.nodes, pickle.loads(pickle.dumps(graph)).nodes, strict=True):
        assert node.op.attributes() == again.op.attributes()


def test_add_many_names_its_values_and_avoids_those_taken():
    b = GraphBuilder()
    x = b.input("cell.1", Spec((5, 4, 3)))
    assert b.add_many(g.RNN(*RNN, **SCAN), x, outputs=2, name="cell") == ("cell_1", "cell_1.1")
    assert b.add_many(g.LSTM(*LSTM, **SCAN), x, outputs=3) == ("lstm", "lstm.1", "lstm.2")
    assert b.add(g.Unary("abs"), x, name="lstm.2") == "lstm.2_1"
    with pytest.raises(GraphError, match="node 'y' must have 2 outputs, got 3"):
        graph_of(g.RNN(*RNN, **SCAN), Spec((5, 4, 3)), outputs=3)


# Feedback -------------------------------------------------------------------------------------------


def looped(op: g.Op, *more: g.Op, initial: tuple[int, ...] = (4,), time: bool = True):
    """x + state through ops and back."""
    b = GraphBuilder()
    x, state = b.input("x", Spec((4,), time)), b.add(g.State(ones(*initial)))
    y = b.add(g.Add(), x, state)
    for each in (op, *more):
        y = b.add(each, y)
    return b.build(y, feedback={state: y})


SQUARE = np.ones((4, 4, 3))
IN_LOOPS = [
    g.Reverse(),
    g.RNN(np.ones((4, 4)), np.ones((4, 4)), reverse=True),
    g.TimeConv(SQUARE, before=1, after=1),
    g.TimeConv(SQUARE, before=2, stride=2),
    g.TimeConv(SQUARE, before=3),
    g.TimePool("max", 2, 1),
    g.TimePool("max", 2, 2, before=1),
    g.TimePad(1),
    g.TimeSoftmax(),
]


@pytest.mark.parametrize("op", IN_LOOPS, ids=lambda op: op.kind)
def test_ops_that_cannot_run_step_by_step_lie_in_no_loop(op):
    with pytest.raises(GraphError, match=f"node '{op.kind}' must give step t of the steps up to t, as it lies in a"):
        looped(op)


def test_ops_that_can_do():
    causal = g.TimeConv(SQUARE, dilation=2, before=4), g.TimePool("average", 3, 1, before=2), g.TimePad()
    cell = g.RNN(np.ones((4, 4)), np.ones((4, 4)))
    assert len(looped(*causal, cell).loops()[0]) == 6
    assert looped(g.Softmax(0)).states()[0][:2] == ("state", 4)


def feedback_of(**feedback: str):
    b = GraphBuilder()
    x, ids = b.input("x", Spec((4,))), b.input("ids", Spec((), dtype=I))
    b.add(g.State(ones(4)), name="one")
    b.add(g.State(ones(4)), name="two")
    last = b.add(g.TimeReduce("sum"), x, name="last")
    return b.build(last, ids, feedback=feedback)


@pytest.mark.parametrize(
    ("feedback", "message"),
    [
        ({"one": "x"}, "feedback must name a value for the state 'two', got none"),
        ({"one": "x", "two": "x", "ids": "x"}, "feedback must be of a State node, got 'ids'"),
        ({"one": "x", "two": "y"}, "feedback of 'two' must be a value of the graph, got 'y'"),
        ({"one": "x", "two": "ids"}, r"feedback of 'two' must be \(B, T, 4\) float, got 'ids' of \(B, T\) int"),
        ({"one": "x", "two": "last"}, r"feedback of 'two' must be \(B, T, 4\) float, got 'last' of \(B, 4\) float"),
        ({"ids": "x"}, "(?s)'one', got none.*'two', got none.*feedback must be of a State node"),
    ],
)
def test_feedback_that_does_not_fit_is_named(feedback, message):
    with pytest.raises(GraphError, match=message):
        feedback_of(**feedback)


def test_a_graph_with_states_has_time():
    with pytest.raises(GraphError, match="graph with State nodes must have an input with time, got none"):
        looped(g.Activate("tanh"), time=False)


def test_changed_ops_keep_their_feedback():
    graph = looped(g.Activate("tanh"))
    assert graph.with_ops(lambda node: node.op).feedback == graph.feedback == {"state": "activate"}
    assert graph.not_streamable() == {}


# Lengths, work, precision ---------------------------------------------------------------------------


def test_lengths_of_values():
    graph = every_frame_op()
    found = graph.lengths(32)
    assert (found["framing"], found["time_pool"], found["time_conv"], found["overlap_add"]) == (13, 7, 5, 26)
    assert found["held"] == found["late"] == 32
    assert "time_reduce" not in found
    assert graph.lengths(3)["framing"] == 0


def test_lengths_that_do_not_meet_are_named():
    b = GraphBuilder()
    x = b.input("x", Spec(()))
    y = b.add(g.Add(), x, b.add(g.OverlapAdd(4, 2), b.add(g.Framing(4, 2), x)))
    graph = b.build(y)
    with pytest.raises(
        GraphError, match=r"inputs of node 'add' must have one number of steps, got 4 of 'overlap_add' and 6 of 'x'"
    ):
        graph.lengths(6)
    delay = GraphBuilder()
    x, state = delay.input("x", Spec(())), delay.add(g.State(0.0))
    longer = delay.add(g.TimePad(1), x)
    graph = delay.build(delay.add(g.Add(), state, x), feedback={state: longer})
    with pytest.raises(
        GraphError, match=r"inputs of node 'add' must have one number of steps, got 6 of 'x' and 7 of 'state'"
    ):
        graph.lengths(6)


def test_lengths_pass_through_states():
    b = GraphBuilder()
    x, one, two = b.input("x", Spec(())), b.add(g.State(0.0), name="one"), b.add(g.State(0.0), name="two")
    graph = b.build(one, x, feedback={one: two, two: x})
    assert graph.lengths(6) == {"x": 6, "one": 6, "two": 6}


MACS = [
    (g.Dense(ones(5, 3)), [Spec((2, 7, 3))], 5 * 3 * 14),
    (g.MatMul(), [Spec((4, 2, 3)), Spec((3, 5))], 4 * 2 * 3 * 5),
    (g.MatMul(transpose_a=True), [Spec((3, 2)), Spec((3,))], 2 * 3),
    (g.Conv(ones(6, 2, 3, 5), groups=2, strides=(1, 2)), [Spec((4, 5, 9))], 6 * 2 * 3 * 5 * 3 * 3),
    (g.ConvTranspose(ones(4, 3, 5), groups=2), [Spec((4, 7))], 4 * 3 * 5 * 7),
    (g.TimeConv(ones(6, 2, 3), groups=2), [Spec((4,))], 36),
    (g.LSTM(*LSTM, **SCAN), [Spec((5, 4, 3))], 5 * 4 * (8 * 3 + 8 * 2)),
    (g.LSTM(*LSTM), [Spec((3,))], 8 * 3 + 8 * 2),
    (g.Pool("max", (2,)), [Spec((4, 7))], 0),
    (g.State(ones(3, 4)), [], 0),
    (g.Constant(ones(3, 4)), [], 0),
]


@pytest.mark.parametrize(("op", "inputs", "macs"), MACS, ids=lambda v: getattr(v, "kind", ""))
def test_work(op, inputs, macs):
    op.infer(tuple(inputs))
    assert op.macs_for(tuple(inputs)) == macs


def test_the_summary_shows_frames_states_and_every_output():
    summary = summarise(every_frame_op(), "float32", Memory(0, 0, None))
    rows = {row.name: row for row in summary.rows}
    assert rows["sweep"].output == "(B, T, 5, 4, 3), (B, T, 4, 3), (B, T, 4, 3)"
    assert (rows["conv"].macs, rows["conv"].parameters, rows["conv"].bytes) == (6 * 2 * 2 * 3 * 9, 78, 312)
    assert summary.totals.state_bytes == 4 * (4 + 5)
    assert "ids (B, T, 3) int" in summary.inputs


def test_matrices_among_other_ops_are_quantized():
    graph = every_frame_op()
    assert quantization.quantizable(graph) == ["sweep", "dense"]
    smaller = quantization.apply(graph, quantization.choose(graph, "int8"))
    report = quantization.report(graph, smaller)
    rows = {row.name: row for row in report.rows}
    assert 0 < report.errors["sweep"] < 0.1
    assert report.errors["activate"] == rows["conv"].output_error == 0
    assert (rows["sweep"].precision, rows["conv"].precision) == ("int8", "float32")
    assert smaller.feedback == graph.feedback
    kept = quantization.within(graph, quantization.choose(graph, "int8"), quantization.calibration_input(graph), 1e-9)
    assert kept == {}
