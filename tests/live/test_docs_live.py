"""The documentation's blocks that need a framework, each page whole and in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import DOCS, PAGES, ROOT, commands, prepare, run_page, snippets

import fastgru


def needed(page: Path) -> set[str]:
    """Return the modules that the blocks and command lines of a page need."""
    python = [block for block in snippets(page) if block.language == "python"]
    lines = [line for block in snippets(page) if block.language == "sh" for line in commands(block)]
    return set().union(*(block.needs() for block in [*python, *lines]))


LIVE = [page.relative_to(ROOT).as_posix() for page in PAGES if needed(page)]


def write_onnx(path: Path) -> None:
    """A GRU of 40 features and 24 units whose state is an input and an output, as exporters write it."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    weights = {"w": (1, 72, 40), "r": (1, 72, 24), "b": (1, 144)}
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("GRU", ["x", "w", "r", "b", "", "h"], ["all", "hn"], hidden_size=24),
            onnx.helper.make_node("Squeeze", ["all", "one"], ["y"]),
        ],
        "gru",
        [info("x", 1, ["T", "B", 40]), info("h", 1, [1, "B", 24])],
        [info("y", 1, ["T", "B", 24]), info("hn", 1, [1, "B", 24])],
        [
            *(onnx.numpy_helper.from_array(rng.normal(size=s).astype("float32") / 8, n) for n, s in weights.items()),
            onnx.numpy_helper.from_array(np.array([1]), "one"),
        ],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.filterwarnings("ignore:The tensor attributes self")  # which torch.export says of every GRU
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")  # of torch's own
@pytest.mark.parametrize("name", LIVE)
def test_code_blocks_run(name, tmp_path, monkeypatch):
    page = ROOT / name
    for module in needed(page):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    if "onnx" in needed(page):
        write_onnx(tmp_path / "model.onnx")
    run_page(page, needed(page))


def test_published_onnx_files_of_the_importing_page(real_models, tmp_path, monkeypatch):
    """The functions that show what to tell of an ONNX file, on the files they are about."""
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    functions: dict[str, Any] = run_page(DOCS / "importing.md")
    (silero,) = (real_models / "silero_vad").rglob("silero_vad.onnx")
    for name, path in (("silero", silero), ("dtln", real_models / "dtln" / "model_2.onnx")):
        model = functions[name](path)
        assert isinstance(model, fastgru.Model)
        assert "unchecked" not in model.provenance  # ONNX Runtime gave the same
