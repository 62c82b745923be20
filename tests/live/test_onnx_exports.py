"""Exports of PyTorch to ONNX, against ONNX Runtime: batch and time symbolic, and the ops that are expected."""

from __future__ import annotations

import pytest
from onnx_models import agree, ops

from fastgru.converters import to_graph
from fastgru.passes import canonical

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

from onnx_torch_modules import BANDS, CASES


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_exports_of_pytorch(tmp_path, case, opset):
    """Exported with symbolic batch and time, the module itself is what the imported graph is compared with."""
    path = case.export(tmp_path, opset)
    found = to_graph(path)
    assert set(ops(found.graph)) == case.ops, sorted(set(ops(found.graph)))
    agree(found, steps=case.steps, ids=20)


@pytest.mark.parametrize("case", [c for c in CASES if "TimeStep" in c.ops], ids=lambda case: case.name)
def test_a_layer_returns_the_last_step_alone_where_no_other_is_read(tmp_path, case):
    graph = canonical(to_graph(case.export(tmp_path, 17)).graph)
    layers = [node.op for node in graph.nodes if type(node.op).__name__ == "GRU"]
    assert [op.return_sequences for op in layers] == [False]
    assert "TimeStep" not in ops(graph)


@pytest.mark.parametrize("opset", [11, 17])
def test_rows_of_batch_and_time_together(tmp_path, opset):
    found = to_graph(BANDS.export(tmp_path, opset))
    agree(found)
    scans = [node.op for node in found.graph.nodes if type(node.op).__name__ == "GRU"]
    assert len(scans) == 2
    assert all(op.scan for op in scans)
