"""Sources that no importer reads: the message says what was met and what to give instead."""

from __future__ import annotations

import pytest

from fastgru.converters import find_source
from fastgru.errors import ConvertError

TENSORFLOW = "exports of TensorFlow are not read, save the model as .keras or .h5, or export it to .onnx$"


@pytest.mark.parametrize("name", ["model.tflite", "saved/saved_model.pb", "saved"])
def test_exports_of_tensorflow_are_told_what_to_save_instead(tmp_path, name):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    with pytest.raises(ConvertError, match=TENSORFLOW):
        find_source(tmp_path / name)


@pytest.mark.parametrize("name", ["folder", "folder.keras"])
def test_folders_are_called_so(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(ConvertError, match=rf"file to convert must be a file, got the folder '.*{name}'$"):
        find_source(tmp_path / name)


@pytest.mark.parametrize(
    ("source", "got"),
    [(None, "None"), (3, "int"), (pytest, "module"), (dict, "the class dict: give an instance with trained weights")],
)
def test_other_objects_are_named_as_their_users_know_them(source, got):
    with pytest.raises(ConvertError, match=rf"a keras.Model or a dict of arrays, got {got}$"):
        find_source(source)
