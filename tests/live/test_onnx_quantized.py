"""Files that onnxruntime's own quantizers write: rounded as it rounds them, by its own outputs of one row at a time."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from onnx_models import model, saved

import fastgru
from fastgru.converters import to_graph
from fastgru.errors import ConvertError
from fastgru.graph import LSTM, Dense, Op
from fastgru.passes import fused
from fastgru.reference import run

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx.helper import make_node as node  # noqa: E402
from onnxruntime import quantization as quantizers  # noqa: E402

from fastgru.converters.onnx.unsigned import unsigned  # noqa: E402

logging.getLogger().setLevel(logging.ERROR)  # the quantizers recommend a pre-processing
KINDS = {"int8": quantizers.QuantType.QInt8, "uint8": quantizers.QuantType.QUInt8,
         "int16": quantizers.QuantType.QInt16, "uint16": quantizers.QuantType.QUInt16}  # fmt: skip
I, H = 8, 16


def arrays(seed: int = 0, **shapes: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {n: (rng.normal(size=s) / s[-1] ** 0.5).astype(np.float32) for n, s in shapes.items()}


def frames(*shape: int, level: bool = False) -> np.ndarray:
    """Random ones, or with `level` of one range: then a scale for each is that for all."""
    x = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    if level:
        x[..., 0], x[..., 1] = 3.0, -4.0
    return x


def session(path: Any) -> Any:
    """A session whose products are exact on this machine, too."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    return ort.InferenceSession(unsigned(onnx.load(path)).SerializeToString(), options)


def dynamic(proto: Any, folder: Any, weights: str = "int8", **options: Any) -> Any:
    target = folder / "quantized.onnx"
    quantizers.quantize_dynamic(saved(proto, folder), target, weight_type=KINDS[weights], **options)
    return target


def precisions(graph: Any, kind: type[Op]) -> set[str]:
    return {n.op.precision for n in graph.nodes if isinstance(n.op, kind)}


def lstms(directions: int, layers: int) -> Any:
    """Layers of LSTM on (T, B, I)."""
    nodes, constants, x = [], {"axis": np.array([1]), "sizes": np.array([0, 0, -1])}, "x"
    for i in range(layers):
        inputs = H * directions if i else I
        constants |= arrays(i, **{f"W{i}": (directions, 4 * H, inputs), f"R{i}": (directions, 4 * H, H),
                                  f"B{i}": (directions, 8 * H)})  # fmt: skip
        direction = "bidirectional" if directions == 2 else "forward"
        nodes += [
            node("LSTM", [x, f"W{i}", f"R{i}", f"B{i}"], [f"Y{i}"], hidden_size=H, direction=direction),
            node("Transpose", [f"Y{i}"], [f"Z{i}"], perm=[0, 2, 1, 3]),
            node("Reshape", [f"Z{i}", "sizes"], [f"y{i}"]),
        ]
        x = f"y{i}"
    return model(nodes, {"x": ["T", "B", I]}, [x], constants)


# Dynamic ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"reduce_range": True}, {"per_channel": True}], ids=str)
@pytest.mark.parametrize("weights", ["int8", "uint8"])
@pytest.mark.parametrize("directions", [1, 2])
def test_a_layer_of_lstm(tmp_path, directions, weights, options):
    """Where every frame has one range, a scale for each of them is onnxruntime's for all."""
    path = dynamic(lstms(directions, 1), tmp_path, weights, **options)
    loaded, x = fastgru.convert(path), frames(1, 21, I, level=True)
    assert precisions(loaded.graph, LSTM) == {"int8_affine"}
    (expected,) = session(path).run(None, {"x": x.swapaxes(0, 1)})
    np.testing.assert_allclose(loaded(x), expected.swapaxes(0, 1), rtol=0, atol=3e-6)


@pytest.mark.parametrize(("directions", "layers"), [(1, 2), (2, 2), (1, 3)])
def test_layers_of_lstm(tmp_path, directions, layers):
    """Of any frames the reference that takes one scale for all steps of a row is what onnxruntime computes."""
    found = to_graph(dynamic(lstms(directions, layers), tmp_path))
    x = frames(3, 21, I)
    for i, expected in enumerate(found.oracle(x)[0]):
        np.testing.assert_allclose(run(found.graph, x[i : i + 1], together=True)[0][0][0], expected, rtol=0, atol=3e-6)
    assert "a scale for each row and step" in found.provenance["notes"]


def test_rows_chunks_and_threads_give_the_same_bits(tmp_path):
    loaded, x = fastgru.convert(dynamic(lstms(1, 2), tmp_path)), frames(9, 30, I)
    whole = loaded(x)
    np.testing.assert_array_equal(np.concatenate([loaded(x[i : i + 1]) for i in range(9)]), whole)
    stream = loaded.stream(batch=9)
    np.testing.assert_array_equal(np.concatenate([stream.process(x[:, a : a + 7]) for a in range(0, 30, 7)], 1), whole)


def dense(*shape: Any) -> Any:
    nodes = [node("MatMul", ["x", "W"], ["a"]), node("Add", ["a", "b"], ["c"]), node("Relu", ["c"], ["r"]),
             node("MatMul", ["r", "V"], ["d"]), node("Add", ["c2", "d"], ["y"])]  # fmt: skip
    return model(nodes, {"x": [*shape, I]}, ["y"], arrays(W=(I, H), b=(H,), V=(H, 3), c2=(3,)))


@pytest.mark.parametrize("options", [{}, {"reduce_range": True}, {"per_channel": True}], ids=str)
@pytest.mark.parametrize("weights", ["int8", "uint8"])
@pytest.mark.parametrize("shape", [("B", "T"), ("B",), ("B", 1), (1,)], ids=str)
def test_products_of_an_open_batch(tmp_path, shape, weights, options):
    path = dynamic(dense(*shape), tmp_path, weights, **options)
    loaded, own = fastgru.convert(path), session(path)
    x = frames(*({"B": 4, "T": 6}.get(str(n), n) for n in shape), I)
    expected = [own.run(None, {"x": row.reshape([1] * len(shape) + [I])})[0].reshape(3) for row in x.reshape(-1, I)]
    np.testing.assert_allclose(loaded(x).reshape(-1, 3), expected, rtol=0, atol=3e-6)
    assert [type(n.op) for n in fused(loaded.graph).nodes] == [Dense, Dense]
    assert precisions(loaded.graph, Dense) == {"int8_affine"}


@pytest.mark.parametrize("shape", [("B", 5), (2, 5)], ids=str)
def test_rows_of_a_frame_share_a_scale(tmp_path, shape):
    path = dynamic(dense(*shape), tmp_path)
    x = frames(2, 5, I)
    own, rows = session(path), x[:, None] if shape[0] == "B" else [x]
    expected = np.concatenate([own.run(None, {"x": row})[0] for row in rows])
    np.testing.assert_allclose(fastgru.convert(path)(x), expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("sizes", [(9,), (5, 6)], ids=str)
def test_convolutions_of_an_open_batch(tmp_path, sizes):
    kernel = [3] * len(sizes)
    proto = model([node("Conv", ["x", "W", "b"], ["y"], pads=[1] * 2 * len(sizes))], {"x": ["B", 4, *sizes]}, ["y"],
                  arrays(W=(6, 4, *kernel), b=(6,)))  # fmt: skip
    path = dynamic(proto, tmp_path, "uint8")
    x = frames(3, 4, *sizes)
    expected = np.concatenate([session(path).run(None, {"x": row[None]})[0] for row in x])
    np.testing.assert_allclose(fastgru.convert(path)(x), expected, rtol=0, atol=3e-6)


def test_what_onnxruntime_fuses(tmp_path):
    """Files that it has optimised hold operators of its own, which are the same products."""
    path, optimised = dynamic(dense("B", "T"), tmp_path), tmp_path / "optimised.onnx"
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(optimised)
    ort.InferenceSession(path, options)
    assert "DynamicQuantizeMatMul" in {n.op_type for n in onnx.load(optimised).graph.node}
    x = frames(2, 7, I)
    np.testing.assert_array_equal(fastgru.convert(optimised)(x), fastgru.convert(path)(x))


def test_codes_that_something_else_reads(tmp_path):
    nodes = [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), node("Transpose", ["q"], ["t"], perm=[0, 2, 1]),
             node("DequantizeLinear", ["t", "s", "z"], ["y"])]  # fmt: skip
    message = "node 't' .Transpose.: what DynamicQuantizeLinear gives must be scaled again, got Transpose reading it"
    with pytest.raises(ConvertError, match=message):
        to_graph(saved(model(nodes, {"x": ["B", 4, I]}, ["y"]), tmp_path))
    x = frames(2, 4, I)
    found = to_graph(saved(model(nodes, {"x": [2, 4, I]}, ["y"]), tmp_path))
    np.testing.assert_allclose(run(found.graph, x[None])[0][0][0], found.oracle(x[None])[0][0], rtol=0, atol=3e-6)


# Static -----------------------------------------------------------------------------------------------------------


def static(proto: Any, folder: Any, activations: str, weights: str, form: str, **options: Any) -> Any:
    class Reader(quantizers.CalibrationDataReader):
        def __init__(self) -> None:
            shape = [n.dim_value or 4 for n in proto.graph.input[0].type.tensor_type.shape.dim]
            self.left = [{"x": np.random.default_rng(i).normal(size=shape).astype(np.float32)} for i in range(5)]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    target = folder / "quantized.onnx"
    quantizers.quantize_static(
        saved(proto, folder), target, Reader(), quant_format=quantizers.QuantFormat[form],
        activation_type=KINDS[activations], weight_type=KINDS[weights], **options,
    )  # fmt: skip
    return target


def mixed(opset: int) -> Any:
    nodes = [node("MatMul", ["x", "W"], ["a"]), node("Add", ["a", "b"], ["c"]), node("Sigmoid", ["c"], ["s"]),
             node("Mul", ["c", "s"], ["g"]), node("MatMul", ["g", "V"], ["v"]),
             node("LeakyRelu", ["v"], ["l"], alpha=0.1), node("Concat", ["l", "v"], ["k"], axis=-1),
             node("Softmax", ["k"], ["y"], axis=-1)]  # fmt: skip
    return model(nodes, {"x": ["B", "T", I]}, ["y"], arrays(W=(I, H), b=(H,), V=(H, 3)), opset=opset)


def gemms(opset: int) -> Any:
    nodes = [node("Gemm", ["x", "W", "b"], ["a"], transB=1), node("Relu", ["a"], ["r"]),
             node("Gemm", ["r", "V", "c"], ["y"])]  # fmt: skip
    return model(nodes, {"x": ["B", I]}, ["y"], arrays(W=(H, I), b=(H,), V=(H, 3), c=(3,)), opset=opset)


def images(opset: int) -> Any:
    nodes = [node("Conv", ["x", "W", "b"], ["a"], pads=[1, 1]), node("Relu", ["a"], ["r"]),
             node("MaxPool", ["r"], ["m"], kernel_shape=[2]),
             node("AveragePool", ["m"], ["y"], kernel_shape=[2])]  # fmt: skip
    return model(nodes, {"x": ["B", I, 12]}, ["y"], arrays(W=(6, I, 3), b=(6,)), opset=opset)


def agrees(path: Any, few: float = 0.02, step: float = 0.02) -> None:
    """Numbers near ties may be rounded either way: `few` of them, and a step or two of the codes apart."""
    loaded = fastgru.convert(path)
    spec = loaded.graph.inputs["x"]
    x = frames(3, *[6] * spec.time, *spec.shape)
    (expected,) = session(path).run(None, {"x": x})
    error = np.abs(loaded(x) - expected)
    assert (error > 3e-6).mean() <= few
    assert error.max() <= step


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("activations", "weights"), [("uint8", "int8"), ("int8", "int8"), ("uint8", "uint8")])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("network", [mixed, gemms, images])
def test_networks_quantized_statically(tmp_path, network, form, activations, weights, per_channel):
    path = static(network(17), tmp_path, activations, weights, form, per_channel=per_channel)
    agrees(path)
    assert precisions(fastgru.convert(path).graph, Dense) <= {"int8_affine"}


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_layers_of_a_static_file_are_whole(tmp_path, form):
    """Each is one layer that has the codes and the scales of the file, saved and loaded as well."""
    path = static(gemms(17), tmp_path, "uint8", "int8", form)
    loaded = fastgru.convert(path)
    layers = fused(loaded.graph).nodes
    assert [type(n.op) for n in layers] == [Dense, Dense]
    x, (scale, zero) = frames(5, I), (layers[0].op.input_scale, layers[0].op.input_zero)
    sums = np.clip(np.rint(x / np.float32(scale)), -zero, 255 - zero) @ (layers[0].op.weight.T.astype(np.float64))
    first = fastgru.Model([layers[0].op.replace(activation="linear")])
    np.testing.assert_allclose(first(x), sums * scale + layers[0].op.bias, rtol=0, atol=2e-6)
    loaded.save(tmp_path / "m.fgru")
    np.testing.assert_array_equal(fastgru.load(tmp_path / "m.fgru", verify=True)(x), loaded(x))
    codes = sum(n.op.weight.size for n in layers)
    assert (tmp_path / "m.fgru").stat().st_size < codes + 8192


@pytest.mark.parametrize("opset", [11, 13, 15, 19, 21, 22])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_operator_sets(tmp_path, form, opset):
    agrees(static(mixed(opset), tmp_path, "uint8", "int8", form))


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("activations", ["int16", "uint16"])
def test_activations_of_16_bits(tmp_path, activations, opset):
    """Before opset 21 they are in operators of Microsoft's. Of 65536 codes one more often lies near a tie."""
    agrees(static(mixed(opset), tmp_path, activations, "int8", "QDQ"), few=0.1, step=2.0**-14)


def test_operators_in_a_layout_of_a_processor_are_refused(tmp_path):
    path = static(images(17), tmp_path, "uint8", "int8", "QOperator")
    proto = onnx.load(path)
    for n in proto.graph.node:
        if n.op_type == "QLinearAveragePool":
            n.attribute.append(onnx.helper.make_attribute("channels_last", 1))
    with pytest.raises(ConvertError, match=r"QLinearAveragePool.: channels_last must be 0, got 1"):
        to_graph(saved(proto, tmp_path))
