"""ONNX's Scan and Loop, and layers over time that start from a value: beside ONNX Runtime."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import fastgru
from fastgru.errors import ConvertError
from fastgru.graph import GRU, Recurrent

I, H = 4, 5
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
RNG = np.random.default_rng(3)
node = helper.make_node


def w(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) / shape[-1] ** 0.5).astype(np.float32)


def info(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, constants, opset=17):
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def converted(proto, **options):
    """Convert a model by its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(proto.SerializeToString())
        return fastgru.convert(path, **options)


def body_of(cell, *, steps_out=True):
    """A Scan's body: the state, the input's step; the new state, and it again."""
    outputs = [info("hn", ["B", H]), *([info("yt", ["B", H])] if steps_out else [])]
    nodes = [*CELLS[cell], *([node("Identity", ["hn"], ["yt"])] if steps_out else [])]
    return helper.make_graph(nodes, "body", [info("hp", ["B", H]), info("xt", ["B", I])], outputs)


CELLS = {
    "simple": [
        node("MatMul", ["xt", "W"], ["a"]), node("MatMul", ["hp", "R"], ["b"]), node("Add", ["a", "b"], ["s"]),
        node("Tanh", ["s"], ["hn"]),
    ],
    "independent": [
        node("MatMul", ["xt", "W"], ["a"]), node("Mul", ["hp", "u"], ["b"]), node("Add", ["a", "b"], ["s"]),
        node("Relu", ["s"], ["hn"]),
    ],
    "normalized": [
        node("MatMul", ["xt", "W"], ["a"]), node("MatMul", ["hp", "R"], ["b"]), node("Add", ["a", "b"], ["s"]),
        node("LayerNormalization", ["s", "u", "v"], ["ln"], axis=-1), node("Tanh", ["ln"], ["hn"]),
    ],
}  # fmt: skip
WEIGHTS = {"W": w(I, H), "R": w(H, H), "u": np.abs(w(H)), "v": w(H)}


def close(proto, feeds, shown=None):
    """Convert, and compare on inputs that come batch first."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, feeds)
    made = converted(proto)
    own = {n: a.swapaxes(0, 1).copy() if n == "x" else a for n, a in feeds.items()}
    got = made(own if len(own) > 1 else own["x"])
    got = got if isinstance(got, tuple) else (got,)
    assert len(got) == len(expected)
    for y, wanted in zip(got, expected, strict=True):
        wanted = wanted.swapaxes(0, 1) if wanted.ndim > 2 else wanted
        assert y.shape == wanted.shape
        assert np.abs(y - wanted).max() <= 1e-5
    return made


def scanned(cell, **attributes):
    scan = node("Scan", ["h0", "x"], ["last", "y"], body=body_of(cell), num_scan_inputs=1, **attributes)
    outputs = [info("last", ["B", H]), info("y", ["T", "B", H])]
    return scan, outputs


@pytest.mark.parametrize("cell", CELLS)
def test_a_scan_over_time_from_a_start_that_is_given(cell):
    scan, outputs = scanned(cell)
    proto = model([scan], [info("x", ["T", "B", I]), info("h0", ["B", H])], outputs, WEIGHTS)
    made = close(proto, {"x": w(9, 2, I), "h0": w(2, H)})
    assert made.summary().totals.parameters < 2 * sum(a.size for a in WEIGHTS.values()) + H * H


@pytest.mark.parametrize("cell", CELLS)
def test_a_scan_from_zeros_streams_with_the_same_bits(cell):
    scan, outputs = scanned(cell)
    proto = model([scan], [info("x", ["T", 1, I])], outputs[1:], {**WEIGHTS, "h0": np.zeros((1, H), np.float32)})
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    made, x = converted(proto), w(12, 1, I)
    whole = made(x)
    assert np.abs(whole - session.run(None, {"x": x})[0]).max() <= 1e-5
    stream = made.stream()
    assert all(np.array_equal(stream.step(row), y) for row, y in zip(x, whole, strict=True))


def test_a_scan_backward_gives_its_steps_in_the_order_of_its_input():
    scan, outputs = scanned("simple", scan_input_directions=[1], scan_output_directions=[1])
    proto = model([scan], [info("x", ["T", "B", I]), info("h0", ["B", H])], outputs, WEIGHTS)
    close(proto, {"x": w(9, 2, I), "h0": w(2, H)})


def test_a_scan_over_an_axis_of_fixed_size():
    scan = node("Scan", ["h0", "x"], ["last", "y"], body=body_of("simple"), num_scan_inputs=1, scan_input_axes=[1],
                scan_output_axes=[1])  # fmt: skip
    proto = model([scan], [info("x", ["B", 6, I]), info("h0", ["B", H])],
                  [info("last", ["B", H]), info("y", ["B", 6, H])], WEIGHTS)  # fmt: skip
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x, h0 = w(3, 6, I), w(3, H)
    for got, wanted in zip(
        converted(proto, axes={"x": ("B", None, None)})({"x": x, "h0": h0}),
        session.run(None, {"x": x, "h0": h0}), strict=True,
    ):  # fmt: skip
        assert np.abs(got - wanted).max() <= 1e-5


def looped(cell, count, opset=17):
    """A Loop as converters of TensorFlow write it: a counter among the states, x by the number of the step."""
    body = helper.make_graph(
        [
            node("Gather", ["x", "i"], ["xt"], axis=0), *CELLS[cell], node("Identity", ["hn"], ["yt"]),
            node("Add", ["k", "one"], ["kn"]), node("Less", ["kn", "n"], ["less"]),
            node("And", ["less", "goes"], ["on"]),
        ],
        "body",
        [info("i", [], INT64), info("goes", [], BOOL), info("k", [], INT64), info("hp", ["B", H])],
        [info("on", [], BOOL), info("kn", [], INT64), info("hn", ["B", H]), info("yt", ["B", H])],
    )  # fmt: skip
    nodes = [
        node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "zero"], ["n"]),
        node("Loop", [count, "true", "zero", "h0"], ["kend", "last", "y"], body=body),
    ]  # fmt: skip
    constants = {**WEIGHTS, "zero": np.array(0), "one": np.array(1), "true": np.array(True), "six": np.array(6)}
    return nodes, constants


@pytest.mark.parametrize("cell", CELLS)
def test_a_loop_over_time_that_counts_its_steps(cell):
    nodes, constants = looped(cell, "n")
    outputs = [info("last", ["B", H]), info("y", ["T", "B", H])]
    proto = model(nodes, [info("x", ["T", "B", I]), info("h0", ["B", H])], outputs, constants)
    close(proto, {"x": w(9, 2, I), "h0": w(2, H)})


@pytest.mark.parametrize(
    ("kind", "inputs"), [("Less", ["kn", "six"]), ("LessOrEqual", ["k", "six"]), ("Greater", ["kn", "zero"]),
                         ("GreaterOrEqual", ["n", "three_on"]), ("Less", ["three_on", "n"]), ("Greater", ["kn", "n"])],
)  # fmt: skip
def test_a_loop_that_ends_before_its_last_step_is_refused(kind, inputs):
    nodes, constants = looped("simple", "n")
    body, compared = nodes[-1].attribute[0].g, node(kind, inputs, ["less"])
    changed = [compared if each.output[0] == "less" else each for each in body.node]
    first = [node("Add", ["k", "three"], ["three_on"])] if "three_on" in inputs else []
    inner = helper.make_graph([*first, *changed], "body", body.input, body.output)
    nodes[-1] = node("Loop", ["n", "true", "zero", "h0"], ["kend", "last", "y"], body=inner)
    proto = model(nodes, [info("x", ["T", "B", I]), info("h0", ["B", H])], [info("y", ["T", "B", H])],
                  {**constants, "three": np.array(3)})  # fmt: skip
    with pytest.raises(ConvertError, match="number of the step must be counted, compared with the number of steps"):
        converted(proto)


@pytest.mark.parametrize(("kind", "inputs"), [("Less", ["k", "n"]), ("Greater", ["n", "kn"]), ("Less", ["kn", "many"])])
def test_other_conditions_that_last(kind, inputs):
    nodes, constants = looped("simple", "n")
    body = nodes[-1].attribute[0].g
    changed = [node(kind, inputs, ["less"]) if each.output[0] == "less" else each for each in body.node]
    inner = helper.make_graph(changed, "body", body.input, body.output)
    nodes[-1] = node("Loop", ["n", "true", "zero", "h0"], ["kend", "last", "y"], body=inner)
    outputs = [info("last", ["B", H]), info("y", ["T", "B", H])]
    inputs = [info("x", ["T", "B", I]), info("h0", ["B", H])]
    close(model(nodes, inputs, outputs, {**constants, "many": np.array(2**31 - 1)}), {"x": w(9, 2, I), "h0": w(2, H)})


def counted(limit, compared="kn"):
    """A Loop over the columns of x that goes on while a number is less than the limit."""
    body = helper.make_graph(
        [
            node("Gather", ["x", "k"], ["xt"], axis=1), node("Add", ["h", "xt"], ["hn"]),
            node("Identity", ["hn"], ["yt"]), node("Add", ["k", "one"], ["kn"]),
            node("ReduceSum", ["hn"], ["total"], keepdims=0), node("Less", [compared, "end"], ["goes"]),
        ],
        "body",
        [info("i", [], INT64), info("on", [], BOOL), info("k", [], INT64), info("h", ["B"])],
        [info("goes", [], BOOL), info("kn", [], INT64), info("hn", ["B"]), info("yt", ["B"])],
    )  # fmt: skip
    constants = {"zero": np.array(0), "one": np.array(1), "true": np.array(True), "end": limit, "h0": w(1)}
    return body, {**constants, "six": np.array(6)}


@pytest.mark.parametrize("count", ["", "six"])
def test_a_loop_over_a_fixed_size_that_a_counter_ends(count):
    body, constants = counted(np.array(4))
    nodes = [node("Expand", ["h0", "B"], ["start"]), node("Shape", ["x"], ["B"], end=1),
             node("Loop", [count, "true", "zero", "start"], ["k_end", "last", "y"], body=body)]  # fmt: skip
    proto = model([nodes[1], nodes[0], nodes[2]], [info("x", ["B", 6])], [info("last", ["B"]), info("y", [4, "B"])],
                  constants)  # fmt: skip
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = w(3, 6)
    last, y = converted(proto)(x)
    wanted = session.run(None, {"x": x})
    assert np.abs(last - wanted[0]).max() <= 1e-6
    assert np.abs(y - wanted[1].T).max() <= 1e-6


@pytest.mark.parametrize(("limit", "compared", "message"), [
    (np.float32(3), "total", "condition of a loop must be known after each step"),
    (np.array(5000), "zero", "loop that ends by a condition alone must have at most 16 steps"),
])  # fmt: skip
def test_a_loop_without_an_end_that_is_known_is_refused(limit, compared, message, monkeypatch):
    monkeypatch.setattr("fastgru.converters.onnx.control.MOST_UNROLLED", 16)
    body, constants = counted(limit, compared)
    body.node[0].input[1] = "zero"
    loop = node("Loop", ["", "true", "zero", "h0"], ["k_end", "last", "y"], body=body)
    proto = model([loop], [info("x", [1, 6])], [info("last", ["B"])], constants)
    with pytest.raises(ConvertError, match=message):
        converted(proto)


def test_a_loop_that_reads_ahead_is_refused():
    nodes, constants = looped("simple", "n")
    body = nodes[-1].attribute[0].g
    body.node[0].input[1] = "kn"
    moved = [body.node[0], *body.node[1:]]
    del body.node[:]
    body.node.extend([next(n for n in moved if n.output[0] == "kn"), *(n for n in moved if n.output[0] != "kn")])
    proto = model(nodes, [info("x", ["T", "B", I]), info("h0", ["B", H])], [info("y", ["T", "B", H])], constants)
    with pytest.raises(ConvertError, match=r"loop over time must read step t of a sequence as long, got step t\+1"):
        converted(proto)


def test_a_body_that_reads_a_whole_sequence_at_every_step_is_refused():
    cells = [node("ReduceSum", ["x", "zeroth"], ["all"], keepdims=0), node("Add", ["x", "hp"], ["wide"]),
             node("ReduceMax", ["wide"], ["hn"], axes=[0], keepdims=0), node("Identity", ["hn"], ["yt"])]  # fmt: skip
    body = helper.make_graph(cells, "body", [info("hp", ["B", I]), info("xt", ["B", I])],
                             [info("hn", ["B", I]), info("yt", ["B", I])])  # fmt: skip
    scan = node("Scan", ["h0", "x"], ["", "y"], body=body, num_scan_inputs=1)
    proto = model([scan], [info("x", ["T", "B", I]), info("h0", ["B", I])], [info("y", ["T", "B", I])],
                  {"zeroth": np.array([0])})  # fmt: skip
    with pytest.raises(ConvertError, match="loop must read one step of a sequence at each step"):
        converted(proto)


# Layers over time ------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_a_layer_that_starts_from_a_computed_value_and_gives_all_its_ends(kind, gates, direction):
    D = 2 if direction == "bidirectional" else 1
    ends = ["last", *(["cell"] if kind == "LSTM" else [])]
    nodes = [
        node("MatMul", ["c", "M"], ["m"]), node("Reshape", ["m", "shape"], ["parts"]),
        node("Transpose", ["parts"], ["h0"], perm=[1, 0, 2]),
        node(kind, ["x", "W", "R", "B", "", "h0"], ["y", *ends], hidden_size=H, direction=direction),
    ]  # fmt: skip
    constants = {"W": w(D, gates * H, I), "R": w(D, gates * H, H), "B": w(D, 2 * gates * H), "M": w(7, H * D),
                 "shape": np.array([-1, D, H])}  # fmt: skip
    outputs = [info("y", ["T", D, "B", H]), *(info(n, [D, "B", H]) for n in ends)]
    proto = model(nodes, [info("x", ["T", "B", I]), info("c", ["B", 7])], outputs, constants)
    x, c = w(9, 3, I), w(3, 7)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": x, "c": c})
    made = converted(proto)
    assert made.graph.outputs == ("y", *ends)
    for got, wanted, order in zip(
        made({"x": x.swapaxes(0, 1).copy(), "c": c}), expected, [(2, 0, 1, 3), *[(1, 0, 2)] * len(ends)], strict=True
    ):
        assert np.abs(got - wanted.transpose(order)).max() <= 1e-5


def test_a_layer_that_starts_from_a_state_still_holds_it():
    outputs = [info("y", ["T", 1, 1, H]), info("hn", [1, 1, H])]
    gru = node("GRU", ["x", "W", "R", "", "", "h0"], ["y", "hn"], hidden_size=H)
    proto = model(
        [gru], [info("x", ["T", 1, I]), info("h0", [1, 1, H])], outputs, {"W": w(1, 3 * H, I), "R": w(1, 3 * H, H)}
    )
    graph = converted(proto).graph
    assert [type(n.op) for n in graph.nodes if isinstance(n.op, Recurrent)] == [GRU]
    assert not graph.has_state_nodes()


@pytest.mark.parametrize("cell", CELLS)
def test_a_state_that_a_model_takes_and_gives_is_that_of_the_stream(cell):
    scan = node("Scan", ["h0", "x"], ["h1", "y"], body=body_of(cell), num_scan_inputs=1)
    outputs = [info("y", ["T", "B", H]), info("h1", ["B", H])]
    proto = model([scan], [info("x", ["T", "B", I]), info("h0", ["B", H])], outputs, WEIGHTS)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    made, x, h = converted(proto, states={"h0": "h1"}), w(12, 1, I), np.zeros((1, H), np.float32)
    assert list(made.graph.inputs) == ["x"]
    stream = made.stream(1)
    for part in (x[:3], x[3:4], x[4:]):
        y, h = session.run(None, {"x": part, "h0": h})
        assert np.abs(stream.process(part.swapaxes(0, 1).copy()) - y.swapaxes(0, 1)).max() <= 1e-5


def test_states_that_come_back_crossed_are_inputs():
    body = helper.make_graph(
        [node("Add", ["a", "xt"], ["an"]), node("Mul", ["b", "xt"], ["bn"]), node("Add", ["an", "bn"], ["yt"])], "body",
        [info(n, ["B", I]) for n in ("a", "b", "xt")], [info(n, ["B", I]) for n in ("an", "bn", "yt")],
    )  # fmt: skip
    scan = node("Scan", ["h0", "c0", "x"], ["cn", "hn", "y"], body=body, num_scan_inputs=1)
    inputs = [info("x", ["T", "B", I]), info("h0", ["B", I]), info("c0", ["B", I])]
    proto = model([scan], inputs, [info("y", ["T", "B", I]), info("hn", ["B", I]), info("cn", ["B", I])], {})
    made = close(proto, {"x": w(6, 2, I), "h0": w(2, I), "c0": w(2, I)})
    assert "no layer can hold state" in made.provenance["notes"]


def two_states(starts, ends, steps, rows):
    """A Scan that carries two states."""
    body = helper.make_graph(
        [
            node("MatMul", ["xt", "W"], ["a"]), node("MatMul", ["hp", "R"], ["b"]), node("Add", ["a", "b"], ["s"]),
            node("Tanh", ["s"], ["g"]), node("Mul", ["cp", "half"], ["ck"]), node("Add", ["ck", "g"], ["cn"]),
            node("Tanh", ["cn"], ["hn"]), node("Identity", ["hn"], ["yt"]),
        ],
        "body",
        [info("hp", [rows, H]), info("cp", [rows, H]), info("xt", [rows, I])],
        [info("hn", [rows, H]), info("cn", [rows, H]), info("yt", [rows, H])],
    )  # fmt: skip
    scan = node("Scan", [*starts, "x"], [*ends, "y"], body=body, num_scan_inputs=1)
    return model(
        [scan], [info("x", [steps, rows, I]), *(info(n, [rows, H]) for n in starts)],
        [info("y", [steps, rows, H]), *(info(n, [rows, H]) for n in ends)], {**WEIGHTS, "half": np.float32(0.5)},
    )  # fmt: skip


@pytest.mark.parametrize(("steps", "rows"), [(6, 1), (6, 2), ("T", 1), ("T", "B")], ids=str)
@pytest.mark.parametrize(
    ("starts", "ends"), [(("h0", "c0"), ("hT", "cT")), (("h0", "m0"), ("hT", "mT")), (("h0", "x0"), ("hn", "end"))]
)
def test_both_states_of_a_scan_are_carried(starts, ends, steps, rows):
    made = converted(two_states(starts, ends, steps, rows))
    assert made.provenance["states"] == f"{starts[0]} <- {ends[0]}, {starts[1]} <- {ends[1]}"
    assert list(made.graph.inputs) == ["x"]
    assert made.graph.outputs == ("y",)


@pytest.mark.parametrize("rows", [1, 2, "B"])
def test_a_scan_of_fixed_length_runs_over_time(rows):
    scan = node("Scan", ["h0", "x"], ["last", "y"], body=body_of("simple"), num_scan_inputs=1)
    proto = model([scan], [info("x", [6, rows, I]), info("h0", [rows, H])],
                  [info("last", [rows, H]), info("y", [6, rows, H])], WEIGHTS)  # fmt: skip
    count = rows if isinstance(rows, int) else 3
    made = close(proto, {"x": w(6, count, I), "h0": w(count, H)})
    assert made.summary().totals.parameters < 2 * sum(a.size for a in WEIGHTS.values()) + H * H
    assert made.provenance["axes"].startswith("x (T, B, ")
