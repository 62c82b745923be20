"""ONNX models made node by node, imported and compared with ONNX Runtime; onnx is needed where they are made."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgru.converters import to_graph
from fastgru.errors import ConvertError
from fastgru.reference import run

B, T = 3, 7
Shape = Sequence[int | str | None] | None


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Shape],
    outputs: Sequence[str],
    constants: Mapping[str, Any] | None = None,
    *,
    opset: int = 17,
    types: Mapping[str, str] | None = None,
    microsoft: bool = False,
    functions: Sequence[Any] = (),
) -> Any:
    """A model with float inputs and outputs, but for those named in `types`."""
    from onnx import TensorProto, helper, numpy_helper

    def info(name: str, shape: Shape) -> Any:
        kind = getattr(TensorProto, (types or {}).get(name, "FLOAT"))
        return helper.make_tensor_value_info(name, kind, None if shape is None else list(shape))

    graph = helper.make_graph(
        list(nodes),
        "case",
        [info(n, s) for n, s in inputs.items()],
        [info(n, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid("com.microsoft", 1)] if microsoft else []
    imports += [helper.make_opsetid(f.domain, 1) for f in functions]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, functions=list(functions))


def saved(proto: Any, folder: Path) -> Path:
    """The model as a file."""
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def ops(graph: Any) -> list[str]:
    """Kinds of its nodes."""
    return [type(node.op).__name__ for node in graph.nodes]


def feeds_for(graph: Any, *, steps: int = T, ids: int = 8, batch: int = B, scale: float = 1.0) -> dict[str, Any]:
    """Random inputs (B, [T,] *frame)."""
    rng = np.random.default_rng(5)
    feeds = {}
    for name, spec in graph.inputs.items():
        shape = (batch, *([steps] if spec.time else []), *spec.shape)
        if spec.dtype == "float":
            feeds[name] = (rng.normal(size=shape) * scale).astype(np.float32)
        else:
            feeds[name] = rng.integers(0, ids if spec.dtype == "int" else 2, shape)
    return feeds


def agree(imported: Any, *, atol: float = 3e-6, **options: Any) -> tuple[Any, ...]:
    """The reference of the graph and ONNX Runtime on the model give the same; returns the outputs."""
    feeds = feeds_for(imported.graph, **options)
    want, got = imported.oracle(feeds), run(imported.graph, feeds)[0]
    assert len(want) == len(got) >= 1
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=atol)
    return got


def imported(proto: Any, folder: Path, **options: Any) -> Any:
    """The model through a file."""
    return to_graph(saved(proto, folder), **options)


GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
I, H = 4, 5


def recurrent_model(
    kind: str, attributes: dict[str, Any], direction: str, x: Any, *, initial: bool = False, peepholes: bool = False,
    lengths: Any = None, seed: int = 3,
) -> Any:  # fmt: skip
    """One recurrent node with constant weights on an input of shape `x`, all of its outputs returned."""
    from onnx.helper import make_node

    rng = np.random.default_rng(seed)
    d, g = 1 + (direction == "bidirectional"), GATES[kind]
    shapes = {"W": (d, g * H, I), "R": (d, g * H, H), "B": (d, 2 * g * H), "P": (d, 3 * H)}
    constants = {n: rng.uniform(-0.5, 0.5, s).astype(np.float32) for n, s in shapes.items() if n != "P" or peepholes}
    batch = x[0] if attributes.get("layout") else x[1]
    inputs: dict[str, Any] = {"x": x}
    names = ["x", "W", "R", "B", "lengths" if lengths else ""]
    if lengths:
        inputs["lengths"] = [batch]
    for name in ("h", "c") if kind == "LSTM" else ("h",):
        names.append(f"{name}0" if initial else "")
        if initial:
            inputs[f"{name}0"] = [batch, d, H] if attributes.get("layout") else [d, batch, H]
    names += ["P"] if peepholes else []
    repeated = {k: v * d if isinstance(v, list) else v for k, v in attributes.items()}
    outputs = ["y", "yh", "yc"] if kind == "LSTM" else ["y", "yh"]
    node = make_node(kind, names, outputs, name="cell", hidden_size=H, direction=direction, **repeated)
    return model([node], inputs, outputs, constants, types={"lengths": "INT32"})


def refused(proto: Any, folder: Path, message: str, **options: Any) -> str:
    """The model raises a ConvertError that fits, and little memory is taken on the way."""
    tracemalloc.start()
    try:
        with pytest.raises(ConvertError, match=message) as caught:
            imported(proto, folder, **options)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert caught.type is ConvertError
    return str(caught.value)
