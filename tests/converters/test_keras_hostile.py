"""Keras configs made to cost time or memory, and models within models that are wired wrongly: refused in bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgru.converters import to_graph
from fastgru.errors import ConvertError

h5py = pytest.importorskip("h5py")


def written(path: Path, config: Any) -> Path:
    """A file of a config without weights."""
    with h5py.File(path, "w") as file:
        file.attrs.create("model_config", json.dumps(config), dtype=h5py.string_dtype())
        file.attrs["keras_version"] = "3.0.0"
        file.create_group("model_weights").attrs["layer_names"] = np.array([], dtype="S1")
    return path


# Configs made to cost time or memory ------------------------------------------------------------


def sequential(*layers: Any, shape: Any = (None, None, 4)) -> Any:
    """A model's config without weights."""
    items = [{"class_name": "InputLayer", "config": {"name": "x", "batch_shape": list(shape)}}]
    items += [
        {"class_name": kind, "config": {"name": f"layer_{i}", "trainable": True, **config}}
        for i, (kind, config) in enumerate(layers)
    ]
    return {"class_name": "Sequential", "config": {"name": "m", "layers": items}}


def doubling(depth: int) -> Any:
    """Models that each call the one inside twice."""
    model: Any = {"class_name": "Flatten", "config": {"name": "core"}}
    start = {"class_name": "InputLayer", "name": "in", "config": {"name": "in", "batch_shape": [None, 4]}}
    for i in range(depth):
        inner = {**model, "name": "inner", "inbound_nodes": [[["in", 0, 0, {}]], [["inner", 0, 0, {}]]]}
        inner["config"] = {**inner["config"], "name": "inner"}
        config = {"layers": [start, inner], "input_layers": [["in", 0, 0]], "output_layers": [["inner", 1, 0]]}
        model = {"class_name": "Functional", "name": f"m{i}", "config": config}
    return model


def deep(levels: int) -> Any:
    """Models within models."""
    model: Any = {"class_name": "Flatten", "config": {"name": "core"}}
    for i in range(levels):
        model = {"class_name": "Sequential", "config": {"name": f"m{i}", "layers": [model]}}
    return model


NORM = ("LayerNormalization", {"axis": -1, "epsilon": 1e-3, "scale": False, "center": False})
TANH = ("Activation", {"activation": "tanh"})
WIDE = (None, 1 << 20, 1 << 20)
POOL = {"strides": 1, "padding": "valid"}
ROW, ROWS = (None, 4), (None, 4, 4)
# name -> the config, and the error
COSTLY: dict[str, tuple[Any, str]] = {
    "features": (
        lambda: sequential(NORM, shape=(None, None, 10**9)),
        "shape of input 'x' must have at most",
    ),
    "input": (lambda: sequential(TANH, shape=WIDE), "shape of input 'x': frame must have at most"),
    "input-frame": (lambda: sequential(("Flatten", {}), TANH, shape=WIDE), "frame must have at most"),
    "repeat": (lambda: sequential(("RepeatVector", {"n": 2**30}), shape=ROW), "frame must have at most"),
    "repeat-large": (lambda: sequential(("RepeatVector", {"n": 10**30}), shape=ROW), "n of layer .* must be a whole"),
    "upsampling": (lambda: sequential(("UpSampling1D", {"size": 2**30}), shape=ROWS), "frame must have at most"),
    "padding": (
        lambda: sequential(("ZeroPadding1D", {"padding": [2**24, 0]}), ("Flatten", {}), shape=ROWS),
        "size must be at most 16777216, got 16777220",
    ),
    "cropping": (lambda: sequential(("Cropping1D", {"cropping": [2**30, 0]})), "start must be at most 16777216"),
    "negative": (lambda: sequential(("Cropping1D", {"cropping": [-1, 0]})), "cropping of .* must be whole numbers"),
    "reshape": (lambda: sequential(("Reshape", {"target_shape": [2**62, 2**62]}), shape=ROW), "the 4 elements"),
    "doubling": (lambda: doubling(20), "model must have at most 20000 calls of layers"),
    "deep": (lambda: deep(60), "models must be nested at most 24 deep"),
    "many": (lambda: sequential(*[("Flatten", {})] * 30_000, shape=ROW), "at most 20000 calls"),
    "softmax-axes": (lambda: sequential(("Softmax", {"axis": [[[1]]]})), "axis of layer .* must be an axis"),
    "axis": (lambda: sequential(("UnitNormalization", {"axis": 7})), "axis of layer .* must be an axis of"),
    "pool": (lambda: sequential(("MaxPooling1D", {"pool_size": 0, **POOL})), "pool_size of layer .* must be a whole"),
    "rank": (lambda: sequential(("MaxPooling2D", {"pool_size": 2, **POOL})), "must have 4 axes"),
    "not-a-model": (lambda: {"class_name": "Sequential", "config": {"layers": [3]}}, "must be a layer's config"),
}


@pytest.mark.parametrize("case", COSTLY)
def test_costly_config(case, tmp_path):
    """Refused before anything large is made."""
    build, message = COSTLY[case]
    path = written(tmp_path / "costly.h5", build())
    with pytest.raises(ConvertError, match=f"costly.h5: (.|\n)*{message}"):
        to_graph(path)


def test_a_layer_called_often_does_not_multiply_the_file(tmp_path):
    """Every call has the layer's weights; how much that may be in all is bounded by the file."""
    start = {"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_shape": [None, 1000]}}
    nodes = [[["d" if i else "x", max(0, i - 1), 0, {}]] for i in range(19_000)]
    own = {"name": "d", "units": 1000, "use_bias": False, "activation": "linear"}
    dense = {"class_name": "Dense", "name": "d", "config": own, "inbound_nodes": nodes}
    config = {"layers": [start, dense], "input_layers": [["x", 0, 0]], "output_layers": [["d", 18_999, 0]]}
    path = written(tmp_path / "often.h5", {"class_name": "Functional", "config": config})
    with h5py.File(path, "r+") as file:
        weights = file["model_weights"]
        weights.attrs["layer_names"] = [b"d"]
        group = weights.create_group("d")
        group.create_dataset("d/kernel:0", data=np.ones((1000, 1000), np.float32))
        group.attrs["weight_names"] = [b"d/kernel:0"]
    with pytest.raises(ConvertError, match="weights must not multiply beyond what the file holds"):
        to_graph(path)


# The wiring of models inside --------------------------------------------------------------------


def tensor(*history: Any) -> Any:
    """A tensor as Keras 3 writes it: layer, call, output."""
    return {"class_name": "__keras_tensor__", "config": {"keras_history": list(history)}}


def calls(*args: Any) -> Any:
    """A change of the calls of the model inside."""
    return lambda model, inner: model["layers"][1].update(inbound_nodes=[{"args": list(args), "kwargs": {}}])


def inside(change: Any) -> Any:
    """A functional model with one inside, as Keras 3 writes both, changed."""
    start, x = (
        {"class_name": "InputLayer", "name": name, "config": {"name": name, "batch_shape": [None, 4]}} for name in "ix"
    )
    nodes = [{"args": [tensor("i", 0, 0)], "kwargs": {}}]
    flat = {"class_name": "Flatten", "name": "f", "config": {"name": "f"}, "inbound_nodes": nodes}
    own = {"name": "inner", "layers": [start, flat], "input_layers": [["i", 0, 0]], "output_layers": [["f", 0, 0]]}
    nodes = [{"args": [tensor("x", 0, 0)], "kwargs": {}}]
    inner = {"class_name": "Functional", "name": "inner", "config": own, "inbound_nodes": nodes}
    config = {"layers": [x, inner], "input_layers": [["x", 0, 0]], "output_layers": [["inner", 1, 0]]}
    change(config, own)
    return {"class_name": "Functional", "config": config}


LOOP = [{"args": [tensor("f", 0, 0)], "kwargs": {}}]
# name -> a change of the two configs, and the error
INSIDE: dict[str, tuple[Any, str]] = {
    "loop": (lambda m, i: i["layers"][1].update(inbound_nodes=LOOP), "without loops, got 'inner/f' that cannot"),
    "own-loop": (calls(tensor("inner", 0, 0)), "without loops, got 'inner' that cannot"),
    "dangling": (lambda m, i: i.update(output_layers=[["f", 3, 0]]), "got call 3 of 'f'"),
    "tensor": (lambda m, i: m.update(output_layers=[["inner", 1, 1]]), "got output 1 of 'inner'"),
    "inputs": (calls([tensor("x", 0, 0), tensor("x", 0, 0)]), "must be called with 1 inputs, got 2"),
    "constant": (calls(3), r"must be called with outputs of layers, got \(3,\)"),
    "names": (calls({"other": tensor("x", 0, 0)}), "must be called with i, got other"),
    "class": (lambda m, i: i["layers"][1].update(class_name="Odd"), "'inner/f' must be a supported one, got Odd"),
    "input": (lambda m, i: i.update(input_layers=[["f", 0, 0]]), "input 'inner/i' must be one of input_layers"),
}


def test_a_model_inside(tmp_path):
    path = written(tmp_path / "inside.h5", inside(lambda model, inner: None))
    assert [node.name for node in to_graph(path).graph.nodes] == ["inner/f"]


@pytest.mark.parametrize("case", INSIDE)
def test_wiring_of_a_model_inside(case, tmp_path):
    change, message = INSIDE[case]
    path = written(tmp_path / "inside.h5", inside(change))
    with pytest.raises(ConvertError, match=f"inside.h5: (.|\n)*{message}"):
        to_graph(path)
