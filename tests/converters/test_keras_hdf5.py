"""HDF5 is read by a process that the file's size bounds: files made to cost memory, or to end their reader."""

from __future__ import annotations

import io
import resource
import struct
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_cases import FILES

from fastgru.converters import to_graph
from fastgru.converters.keras import hdf5, hdf5_child
from fastgru.errors import ConvertError

h5py = pytest.importorskip("h5py")
TEXT = '{"a": 1}' + " " * 1000


def written(path: Path, **attributes: Any) -> Path:
    """A file of attributes and one array."""
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        file["weights/w"] = np.ones((2, 3), np.float32)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited where Linux says how much there is")
def test_a_text_that_claims_gigabytes_takes_none(tmp_path):
    path = written(tmp_path / "costly.h5", model_config=TEXT)
    data = path.read_bytes()
    length = struct.pack("<I", len(TEXT))
    path.write_bytes(data.replace(length, struct.pack("<I", 0xF0000000), 1))  # of the text in its attribute
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with pytest.raises(ConvertError, match=r"costly\.h5: file must be undamaged HDF5, got one that cannot be read: "):
        to_graph(path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_stime - before.ru_stime < 0.5  # seconds: the kernel clears every page that is taken


@pytest.mark.parametrize("source", ["path", "bytes"])
def test_a_file_and_its_content_are_read_alike(source):
    path = FILES / "words.h5"
    found = hdf5.read(path if source == "path" else path.read_bytes())
    with h5py.File(path) as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        arrays = dict(found.walk())
        assert sorted(arrays) == sorted(names)
        for name in names:
            assert arrays[name].dtype == file[name].dtype
            assert arrays[name].tobytes() == file[name][()].tobytes()
        assert found.attributes["model_config"] == file.attrs["model_config"]


def other_reader(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Another program in the reader's place."""
    path = folder / "reader.py"
    path.write_text(f"import os, sys, time\nsys.stdin.buffer.read()\n{code}\n")
    monkeypatch.setattr(hdf5_child, "__file__", str(path))


ENDS: dict[str, tuple[str, str]] = {
    "crash": ("os.abort()", "that ended its reader with status -6"),
    "exit": ("sys.exit(3)", "that ended its reader with status 3"),
    "hang": ("time.sleep(60)", "in the time that its .* bytes allow"),
    "half": ("""print('{"array": ["w"], "dtype": "<f4", "shape": [9]}')""", "that ended its reader with status 0"),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_reader_that_ends_before_its_answer(case, tmp_path, monkeypatch):
    code, message = ENDS[case]
    path = written(tmp_path / "file.h5")
    other_reader(tmp_path, monkeypatch, code)
    monkeypatch.setattr(hdf5, "PATIENCE", 0.5 if case == "hang" else 60)
    running = threading.active_count()
    with pytest.raises(ConvertError, match=f"file.h5: file must be .*{message}"):
        to_graph(path)
    assert threading.active_count() == running


def test_a_program_without_an_interpreter(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(ConvertError, match="must be read by a Python interpreter apart"):
        to_graph(written(tmp_path / "file.h5"))


ATTRIBUTES: dict[str, tuple[dict[str, Any], str]] = {
    "number": ({"model_config": 3}, "attribute model_config of '/' must be text, got int"),
    "list": ({"model_config": ["a"]}, "attribute model_config of '/' must be text, got list"),
    "empty": ({"model_config": h5py.Empty("f")}, "attribute model_config must hold text or numbers, got Empty"),
    "bytes": ({"model_config": b"\xff"}, "must be undamaged"),
    "no JSON": ({"model_config": "{"}, "model_config must be undamaged JSON"),
}


@pytest.mark.parametrize("case", ATTRIBUTES)
def test_attributes_of_other_kinds(case, tmp_path):
    attributes, message = ATTRIBUTES[case]
    with pytest.raises(ConvertError, match=f"file.h5: .*{message}"):
        to_graph(written(tmp_path / "file.h5", **attributes))


def test_an_archive_that_unpacks_to_far_more(tmp_path):
    """Keras, which is asked what the model computes, unpacks every entry."""
    content = io.BytesIO((FILES / "words.keras").read_bytes())
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/large", bytes(100 << 20))
    path = tmp_path / "large.keras"
    path.write_bytes(content.getvalue())
    with pytest.raises(ConvertError, match=r"large\.keras: archive must unpack to at most 64 times its"):
        to_graph(path)
