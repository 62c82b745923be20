"""Whole-model files of Keras and the Keras that may be there to check them: what it is asked, and why it is not."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from keras_cases import FILES

import fastgru
from fastgru.checks import comparison
from fastgru.converters import to_graph
from fastgru.converters.keras import loaded
from fastgru.errors import OracleError

pytest.importorskip("h5py")


class FakeKeras(SimpleNamespace):
    """As much of Keras as a file is loaded with."""

    def __init__(self, load, version="3.9.0", config=None):
        saving = SimpleNamespace(load_model=load, serialize_keras_object=lambda model: config or {})
        super().__init__(__version__=version, saving=saving)


def fails(*args, **kwargs):
    raise ValueError("no such layer\nat all")


@pytest.fixture
def with_keras(monkeypatch):
    """Let `keras` be what is imported, or raise it."""

    def use(keras):
        def imported(name):
            assert name == "keras"
            if isinstance(keras, Exception):
                raise keras
            return keras

        monkeypatch.setattr(loaded.importlib.util, "find_spec", lambda name: None if keras is None else name)
        monkeypatch.setattr(loaded, "importlib", SimpleNamespace(util=loaded.importlib.util, import_module=imported))

    return use


@pytest.mark.parametrize(
    ("keras", "message"),
    [
        (None, "keras is not installed"),
        (
            ModuleNotFoundError("No module named 'tensorflow'"),
            "keras cannot be imported: ModuleNotFoundError: No module",
        ),
        (FakeKeras(fails), "Keras does not load it: ValueError: no such layer"),
        (FakeKeras(lambda *a, **k: None, "2.15.0"), "the Keras that is installed must be 3, got 2.15.0"),
        (FakeKeras(lambda *a, **k: object()), "Keras does not run it: AttributeError: "),
    ],
)
@pytest.mark.parametrize("name", ["words.keras", "words.h5"])
def test_what_keras_cannot_do_stops_no_import(name, keras, message, with_keras):
    with_keras(keras)
    model = fastgru.convert(FILES / name)
    assert model.provenance["unchecked"].startswith(message)
    assert "\n" not in model.provenance["unchecked"]
    assert ("KERAS_BACKEND" in model.provenance["unchecked"]) == isinstance(keras, ModuleNotFoundError)
    assert model.self_test.source == "fastgru float64 reference"
    found = comparison.compare(FILES / name)
    assert found.missing.startswith(message)
    assert found.source.startswith("Keras 3.")


def test_keras_is_told_to_be_careful(with_keras):
    told = []
    with_keras(FakeKeras(lambda *args, **kwargs: told.append((args, kwargs))))
    fastgru.convert(FILES / "words.keras")
    assert told == [((str(FILES / "words.keras"),), {"compile": False, "safe_mode": True})]


def test_a_model_that_keras_makes_otherwise_is_not_asked(with_keras):
    """Its HDF5 loader takes the first of several axes."""
    with zipfile.ZipFile(FILES / "words.keras") as archive:
        config = json.loads(archive.read("config.json"))
    dense = config["config"]["layers"][-1]["config"]
    assert dense["units"]
    dense["units"] += 1
    with_keras(FakeKeras(lambda *args, **kwargs: object(), config=config))
    unchecked = fastgru.convert(FILES / "words.keras").provenance["unchecked"]
    assert unchecked.startswith(f"Keras does not load it as it is: units of '{dense['name']}' is {dense['units']} for")


@pytest.mark.parametrize(
    ("written", "restored", "found"),
    [
        ({"axis": [1, 2]}, {"axis": 1}, True),
        ({"axis": [2]}, {"axis": 2}, False),
        ({"axis": (1, 2), "rate": 0.5, "name": "a"}, {"axis": [1, 2], "rate": 0.5, "name": "a"}, False),
        ({"dtype": "float32"}, {"dtype": {"config": {"name": "float32"}}}, False),
        ({"new": 3}, {}, False),
        ({"layer": {"config": {"units": 3}}}, {"layer": {"config": {"units": 4}}}, True),
        (
            {"layers": [{"config": {"name": "a", "units": 3}}]},
            {"layers": [{"config": {"name": "a", "units": 4}}]},
            True,
        ),
    ],
)
def test_what_counts_as_made_otherwise(written, restored, found):
    changed = list(loaded._changed({"config": written}, {"config": restored}))
    assert bool(changed) is found


def test_files_of_keras_2_are_not_given_to_keras_3(with_keras):
    with_keras(AssertionError("imported"))
    model = fastgru.convert(FILES / "keras2.h5")
    assert model.provenance["unchecked"] == "Keras 3 does not understand all that Keras 2.2 wrote as it was meant"


def test_nothing_is_imported_on_a_files_word(tmp_path, with_keras):
    """An initializer of a module of its own does not matter here; to Keras it would be a module to import."""
    with_keras(AssertionError("imported"))
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(FILES / "words.keras") as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"][-1]["config"]["kernel_initializer"] = {
                    "module": "os", "class_name": "system", "config": {}
                }  # fmt: skip
                config["compile_config"] = {"optimizer": {"module": "mine", "class_name": "Mine"}}
                data = json.dumps(config).encode()
            target.writestr(name, data)
    model = fastgru.convert(path)
    assert model.provenance["unchecked"] == "Keras would have to import or run what is not its own: os.system"


@pytest.mark.parametrize(
    ("module", "name", "own"),
    [
        ("keras.layers", "GRU", True),
        ("keras.src.ops.numpy", "GetItem", True),
        ("keras", "DTypePolicy", True),
        (None, "Orthogonal", True),
        ("keras.layers", "Lambda", False),
        (None, "__lambda__", False),
        ("keras.layers", "TorchModuleWrapper", False),
        ("keras.utils", "get_file", False),
        ("keras.layersx", "GRU", False),
        ("keras_hub.layers", "GRU", False),
        ("builtins", "function", False),
    ],
)
def test_what_is_keras_own(module, name, own):
    assert bool(loaded._foreign({"config": {"layers": [{"module": module, "class_name": name}]}})) is not own


def test_an_oracle_is_asked_once_it_is_needed(with_keras):
    with_keras(AssertionError("imported"))
    imported = to_graph(FILES / "words.keras")
    assert imported.oracle.source == "Keras"
    with pytest.raises(OracleError, match="keras cannot be imported: AssertionError"):
        imported.layers(np.zeros((1, 3)))


def test_files_are_read_without_keras():
    code = (
        "import sys; sys.modules['keras'] = None; import fastgru; "
        f"model = fastgru.convert({str(FILES / 'words.keras')!r}); print(model.provenance['unchecked'])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "keras is not installed"
