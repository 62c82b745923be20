"""Keras files without Keras: golden files of every format."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from typing import Any

import pytest
from keras_cases import CUDNN, FILES, FORWARDS, PLAIN, assert_close, golden

import fastgru
from fastgru.converters import to_graph
from fastgru.converters.keras.hdf5 import read
from fastgru.converters.keras.nodes import as_model
from fastgru.converters.keras.weights import from_numbers

TOLERANCE = 2e-6  # Keras computed in float32

h5py = pytest.importorskip("h5py")

# file -> like
GOLDEN: dict[str, Any] = {
    "words.keras": None,
    "words.h5": None,
    "branches.keras": None,
    "branches.h5": None,
    "cells.keras": None,
    "cells.h5": None,
    "inside.keras": None,
    "inside.h5": None,
    "frames.keras": None,
    "frames.h5": None,
    "keras2.h5": None,
    "tagger.keras": None,
    "plain.weights.h5": PLAIN,
    "cudnn.h5": CUDNN,
}


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_file(name, forward):
    x, expected = golden(name)
    imported = to_graph(FILES / name, like=GOLDEN[name])
    assert_close(forward(imported.graph, x), expected, TOLERANCE)
    assert imported.provenance["source"] == name
    assert (imported.oracle is None) == (GOLDEN[name] is not None)  # of weights alone there is nothing to ask


def test_names_and_versions():
    imported = to_graph(FILES / "keras2.h5")
    assert [*imported.provenance] == ["framework", "source", "axes", "layout"]
    assert (imported.provenance["framework"], imported.provenance["source"]) == ("Keras 2.2.4", "keras2.h5")
    assert [n.name for n in imported.graph.nodes] == ["gru_1", "dense_1"]
    assert imported.graph.nodes[0].op.gate_activation.alpha == 0.2
    (gru,) = [n.op for n in to_graph(FILES / "branches.h5").graph.nodes if n.name == "a"]
    assert gru.gate_activation.alpha == pytest.approx(1 / 6)


def test_neither_keras_nor_tensorflow_is_imported():
    code = (
        "import sys; from fastgru.converters import to_graph; "
        f"to_graph({str(FILES / 'words.keras')!r}); to_graph({str(FILES / 'words.h5')!r}); "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'keras', 'tensorflow', 'torch', 'jax'}))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_h5py_is_named_when_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"fastgru\[keras\]"):
        to_graph(FILES / "words.keras")


def test_paths_written_on_windows():
    """TensorFlow 2.12 on Windows wrote '_layer_checkpoint_dependencies\\\\dense\\\\vars' as one name."""
    with zipfile.ZipFile(FILES / "words.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(members["model.weights.h5"])) as source, h5py.File(buffer, "w") as target:

        def visit(path: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                path, _, leaf = path.replace("layers/", "_layer_checkpoint_dependencies/", 1).rpartition("/")
                target.require_group(path.replace("/", "\\")).create_dataset(leaf, data=item[()])

        source.visititems(visit)
    weights = from_numbers(read(buffer.getvalue()), as_model(json.loads(members["config.json"])))
    assert [len(arrays) for arrays in weights.values()] == [0, 1, 6, 3, 2]


@pytest.mark.parametrize("name", ["inside.keras", "frames.h5"])
def test_converted_saved_and_loaded(name, tmp_path):
    """Whole models keep their names and several inputs in a file of ours, and prove themselves when loaded."""
    model = fastgru.convert(FILES / name)
    model.save(tmp_path / "model.fgru")
    loaded = fastgru.load(tmp_path / "model.fgru", verify=True)
    assert loaded.graph.inputs == model.graph.inputs
    assert [n.name for n in loaded.graph.nodes] == [n.name for n in model.graph.nodes]
    x, expected = golden(name)
    assert_close(loaded(x), expected, TOLERANCE)
