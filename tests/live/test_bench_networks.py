"""The networks of the benchmark that are given by their layers: ONNX files, imported and timed as any other's."""

from __future__ import annotations

import pytest

from bench import __main__ as command
from bench import cases, layers, lookup, records, roofline

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ORDINARY = """
tolerance = {float32 = 1e-5, float16 = 0.1, bfloat16 = 0.1, int8 = 0.1}

[[cases]]
name = "all"
title = "every kind of layer"
frame = [2, 8, 12]
batch = [1, 3]
network = [
  { conv = 3, kernel = [3, 5], stride = [2, 1], pad = [1, 2] }, { batch_norm = true }, { relu = true },
  { depthwise = true, kernel = 3, pad = 1 }, { sigmoid = true }, { transposed = 2, kernel = 2, stride = 2 },
  { pool = 2 }, { columns = true }, { lstm = 4, layers = 2, bidirectional = true }, { dense = 6 }, { tanh = true },
  { attention = 2 }, { feed_forward = 5 }, { steps = true }, { gru = 4 }, { norm = true }, { softmax = true },
]

[[cases]]
name = "open"
title = "a length of any size"
frame = [5, 4]
open = true
batch = [2]
network = [{ causal = 2, kernel = 3 }, { gru = 3 }, { log_softmax = true }]
"""


def test_networks_by_their_layers_are_imported_checked_and_reported(tmp_path):
    path, out = tmp_path / "ordinary.toml", tmp_path / "results.json"
    path.write_text(ORDINARY)
    fixed = ["--file", str(path), "--json", str(out), "--seconds", "0.01", "--no-roofline"]
    assert command.main([*fixed, "--engines", "^(fastgru|onnxruntime)$"]) == 0
    results = records.read(out)
    assert [case["name"] for case in results["cases"]] == ["all-b1", "all-b3", "open-b2"]
    assert [lookup.describe(case) for case in results["cases"]][1] == "every kind of layer, batch of 3"
    for case in results["cases"]:
        for name in ("fastgru", "onnxruntime"):
            assert case["engines"][name]["status"] == "ok", case["engines"][name]
            assert 0 < case["engines"][name]["error"] < 1e-5
        assert case["flops"] > 0


def test_every_kind_of_layer_is_in_the_networks_of_this_test():
    used = {next(iter(layer)) for case in cases.tomllib.loads(ORDINARY)["cases"] for layer in case["network"]}
    assert used == set(layers.LAYERS)


def test_floors_of_networks_by_their_layers_by_hand(tmp_path):
    path = tmp_path / "ordinary.toml"
    path.write_text(ORDINARY.partition("network = [")[0] + "network = [{ conv = 3, kernel = 3, pad = 1 }]")
    problem = cases.make(cases.read(path).cases[1])  # three rows of 2 x 8 x 12
    assert roofline.flops(problem) == 2 * 3 * (8 * 12) * (3 * 3 * 2) * 3
