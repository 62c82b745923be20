"""Keras files that must be refused: configs that are not understood, damaged and hostile files."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_cases import FILES

from fastgru.converters import to_graph
from fastgru.errors import ConvertError

h5py = pytest.importorskip("h5py")


# Configs that must be refused --------------------------------------------------------------------


def edited(source: str, target: Path, change: Any) -> Path:
    """A copy of a golden .h5 file with a changed model_config."""
    path = target / source
    shutil.copy(FILES / source, path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(change(config) or config)
    return path


def layer_of(config: Any, name: str) -> Any:
    return next(x["config"] for x in config["config"]["layers"] if x["config"]["name"] == name)


# layer of keras2.h5, changes to its config -> the error
CONFIG_ERRORS: list[tuple[str, dict[str, Any], str]] = [
    ("gru_1", {"surprise": 3}, r"config of layer 'gru_1' \(GRU\) must have only known keys, got surprise=3"),
    ("gru_1", {"time_major": True}, r"time_major of layer 'gru_1' \(GRU\) must be False or None, got True"),
    ("gru_1", {"activation": "gelu"}, "activation of layer 'gru_1' .* must be one of linear.*, got 'gelu'"),
    ("gru_1", {"activation": {"class_name": "Mine", "config": {}}}, "got 'Mine'"),
    ("gru_1", {"reset_after": True}, r"bias must have shape \(2, 3H\)"),
    ("gru_1", {"use_bias": False}, r"must have 2 arrays \(kernel, recurrent_kernel\), got 3"),
    ("gru_1", {"units": 5}, r"kernel of layer 'gru_1' .* must have 15 columns, got shape \(3, 12\)"),
    ("gru_1", {"units": None}, "units of layer 'gru_1' .* must be a number, got None"),
    ("gru_1", {"return_sequences": 1}, "must be true or false, got 1"),
    ("gru_1", {"activation": "softmax"}, "must be one of linear.*, got 'softmax'"),
    ("gru_1", {"batch_input_shape": [None, None, None]}, "features of input .* must be a positive number, got None"),
    ("gru_1", {"batch_input_shape": None}, "shape of input 'gru_1_input' must be"),
    ("dense_1", {"dtype": {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}}}, "got .*Quantized"),
    ("dense_1", {"quantization_config": {"x": 1}}, "quantization_config of layer 'dense_1' .* must be None"),
    ("dense_1", {"lora_rank": 4}, "lora_rank of layer 'dense_1'"),
    ("dense_1", {"units": 3}, "must have 3 columns"),
]


@pytest.mark.parametrize(("layer", "changes", "message"), CONFIG_ERRORS, ids=range(len(CONFIG_ERRORS)))
def test_config_that_is_not_understood(layer, changes, message, tmp_path):
    path = edited("keras2.h5", tmp_path, lambda config: layer_of(config, layer).update(changes))
    with pytest.raises(ConvertError, match=message):
        to_graph(path)


def test_all_problems_of_a_config_at_once(tmp_path):
    def change(config: Any) -> None:
        layer_of(config, "gru_1").update(one=1)
        layer_of(config, "dense_1").update(two=2)

    with pytest.raises(ConvertError, match=r"2 problems:(.|\n)*one=1(.|\n)*two=2"):
        to_graph(edited("keras2.h5", tmp_path, change))


def test_missing_key_is_named(tmp_path):
    path = edited("keras2.h5", tmp_path, lambda c: layer_of(c, "gru_1").pop("recurrent_activation") and None)
    with pytest.raises(ConvertError, match=r"'gru_1' .* must have 'recurrent_activation' in its config"):
        to_graph(path)


# changes to the config of branches.h5 -> the error
WIRING_ERRORS: dict[str, tuple[Any, str]] = {
    "two-inputs": (
        lambda c: c["config"].update(input_layers=[["x", 0, 0], ["a", 0, 0]]),
        "input_layers must be InputLayers of the model, got 'a'",
    ),
    "loop": (lambda c: c["config"]["layers"].append(_reading("loop", "loop")), "without loops, got 'loop'"),
    "absent": (lambda c: c["config"]["layers"].append(_reading("d", "nowhere")), "got 'd' that cannot"),
    "state": (
        lambda c: c["config"].update(output_layers=[["a", 0, 1]]),
        r"output of the model must read one of 1 outputs of layer 'a' \(GRU\), got output 1",
    ),
    "call": (lambda c: c["config"]["layers"].append(_reading("d", "x", {"initial_state": [1]})), "initial_state"),
    "twice": (lambda c: c["config"]["layers"].append(c["config"]["layers"][0]), "must be unique, got 'x'"),
    "subclass": (lambda c: c.update(class_name="Mine"), "must be Sequential or Functional, got 'Mine'"),
    "empty": (lambda c: c["config"].update(layers=[]), "must list its layers"),
    "outputs": (lambda c: c["config"].update(output_layers=5), "output_layers must be"),
    "class": (lambda c: c["config"]["layers"].append({"config": {}}), "must be a layer's config with a class_name"),
    "foreign": (lambda c: c["config"]["layers"][-1].update(module="mine.layers"), "got .* of mine.layers"),
}


def _reading(name: str, source: str, options: Any = None) -> Any:
    config = {"name": name, "units": 2, "use_bias": False, "activation": "linear"}
    return {"class_name": "Dense", "name": name, "config": config, "inbound_nodes": [[[source, 0, 0, options or {}]]]}


@pytest.mark.parametrize("case", WIRING_ERRORS)
def test_wiring_that_is_not_understood(case, tmp_path):
    change, message = WIRING_ERRORS[case]
    with pytest.raises(ConvertError, match=message):
        to_graph(edited("branches.h5", tmp_path, lambda c: change(c) and None))


# Damaged and hostile files -----------------------------------------------------------------------


def archive_with(target: Path, **members: bytes | None) -> Path:
    """words.keras with members replaced (None: left out); underscores in names stand for dots."""
    path = target / "changed.keras"
    with zipfile.ZipFile(FILES / "words.keras") as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name in source.namelist():
            content = members.get(name.replace(".", "_"), source.read(name))
            if content is not None:
                out.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"config_json": None}, "archive must hold config.json"),
        ({"model_weights_h5": None}, "archive must hold model.weights.h5"),
        ({"config_json": b"{"}, "config.json must be undamaged JSON"),
        ({"config_json": b"[]"}, "config.json must be a JSON object, got list"),
        ({"config_json": b"[" * 100_000}, "sane depth"),
        ({"config_json": b"\xff"}, "undamaged"),
        ({"metadata_json": b"{}"}, "keras_version must be like '2.2.4', got None"),
        ({"model_weights_h5": b"no HDF5"}, "undamaged"),
        ({"model_weights_h5": bytes(100 << 20)}, "must unpack to at most 64 times"),
    ],
)
def test_damaged_archive(members, message, tmp_path):
    with pytest.raises(ConvertError, match=message):
        to_graph(archive_with(tmp_path, **members))


@pytest.mark.parametrize("name", ["words.keras", "words.h5"])
def test_truncated_file(name, tmp_path):
    content = (FILES / name).read_bytes()
    path = tmp_path / name
    for cut in range(0, len(content), max(1, len(content) // 40)):
        path.write_bytes(content[:cut])
        with pytest.raises(ConvertError, match=name):
            to_graph(path)


def write_h5(path: Path, fill: Any) -> Path:
    with h5py.File(path, "w") as file:
        fill(file)
    return path


HOSTILE: dict[str, tuple[Any, str]] = {
    "external-link": (lambda f: f.__setitem__("a", h5py.ExternalLink("other.h5", "/")), "got a ExternalLink"),
    "soft-link": (lambda f: f.__setitem__("a", h5py.SoftLink("/b")), "got a SoftLink"),
    "cycle": (lambda f: f.create_group("a").__setitem__("b", f["a"]), "nested at most 24 deep"),
    "unallocated": (lambda f: f.create_dataset("a/kernel:0", (1 << 20, 1 << 20), "f4"), "64 times the file's size"),
    "bomb": (
        lambda f: f.create_dataset("a/kernel:0", data=np.zeros((1 << 12, 1 << 12)), compression="gzip"),
        "64 times the file's size",
    ),
    "external": (
        lambda f: f.create_dataset("a/k", (4,), "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]),
        "got external storage",
    ),
    "objects": (lambda f: f.create_dataset("a/k", data=[b"x"], dtype=h5py.string_dtype()), "must hold numbers"),
    "empty": (lambda f: None, "must hold weights of Keras layers, got none"),
    "names": (lambda f: f.attrs.update(layer_names=[1, 2]), "layer_names must be a list of strings"),
    "absent": (lambda f: (f.attrs.update(layer_names=["a"]), f.create_group("a").attrs.update(weight_names=["k"])),
               "array 'k' of layer 'a' must be in the file"),
    "config": (lambda f: f.attrs.update(model_config="[]", keras_version="2.2.4"), "must be a JSON object"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_hdf5(case, tmp_path):
    fill, message = HOSTILE[case]
    with pytest.raises(ConvertError, match=f"file.h5: (.|\n)*{message}"):
        to_graph(write_h5(tmp_path / "file.h5", fill))


def test_every_flipped_byte_of_an_archive_is_harmless(tmp_path):
    """A damaged file gives an error of ours, or a model; never a crash or another exception."""
    content = bytearray((FILES / "words.keras").read_bytes())
    rng = np.random.default_rng(0)
    path = tmp_path / "flipped.keras"
    for at in rng.integers(0, len(content), 60):
        broken = bytearray(content)
        broken[at] ^= 0xFF
        path.write_bytes(broken)
        try:
            to_graph(path)
        except ConvertError:
            continue


def test_weights_of_no_layer_are_an_error(tmp_path):
    path = tmp_path / "extra.h5"
    shutil.copy(FILES / "keras2.h5", path)
    with h5py.File(path, "r+") as file:
        weights = file["model_weights"]
        weights.attrs["layer_names"] = [*weights.attrs["layer_names"].astype("S"), b"more"]
        weights.create_dataset("more/k", data=np.ones(2))
        weights["more"].attrs["weight_names"] = [b"k"]
    with pytest.raises(ConvertError, match=r"must all belong to layers of the config, got more: more: k \(2,\)"):
        to_graph(path)
