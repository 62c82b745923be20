"""Layers of the user's own: functions given as ``custom`` say what they are; nonsense is an error that names them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_cases import FILES, FORWARDS, assert_close

from fastgru.converters import to_graph
from fastgru.converters.keras.config import graph_of
from fastgru.converters.keras.values import Version
from fastgru.errors import ConvertError
from fastgru.graph import Activation
from fastgru.layers import (
    GRU,
    Activate,
    Add,
    Bidirectional,
    Concat,
    Dense,
    Multiply,
    Reduce,
    Reshape,
    TimeReduce,
)  # fmt: skip

h5py = pytest.importorskip("h5py")


def squeeze_file(folder: Path, *, class_name: str = "SqueezeLayer", position: int = -1, name: str = "squeeze") -> Path:
    """keras2.h5 (GRU of 4 units, Dense of 2) with a layer of the user's that has two arrays, as Keras 2 writes it."""
    path = folder / "own.h5"
    shutil.copy(FILES / "keras2.h5", path)
    rng = np.random.default_rng(5)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        items = config["config"]["layers"] if isinstance(config["config"], dict) else config["config"]
        own = {"class_name": class_name, "config": {"name": name, "trainable": True, "ratio": 2}}
        items.insert(len(items) + 1 + position, own)
        file.attrs["model_config"] = json.dumps(config)
        weights = file["model_weights"]
        weights.attrs["layer_names"] = [*weights.attrs["layer_names"].astype("S"), name.encode()]
        group = weights.create_group(name)
        for array, shape in (("down", (2, 1)), ("up", (1, 2))):
            group.create_dataset(f"{name}/{array}:0", data=rng.normal(size=shape))
        group.attrs["weight_names"] = [f"{name}/down:0".encode(), f"{name}/up:0".encode()]
    return path


def squeeze(config: dict[str, Any], weights: list[Any]) -> Any:
    """Squeeze and excitation: x * sigmoid(up relu(down x)); the example of `fastgru.converters.keras.custom`."""
    down, up = weights

    def build(builder: Any, x: str) -> str:
        small = builder.add(Dense(down.T, activation="relu"), x)
        scale = builder.add(Dense(up.T, activation="sigmoid"), small)
        return builder.add(Multiply(), x, scale)

    return build


def by_hand(path: Path, x: Any) -> Any:
    """Compute the output of the model with `squeeze` from the graph without it."""
    with h5py.File(path) as file:
        down, up = (file[f"model_weights/squeeze/squeeze/{n}:0"][()] for n in ("down", "up"))
    y = FORWARDS[0].values[0](to_graph(FILES / "keras2.h5").graph, x)[0]
    return y / (1 + np.exp(-np.maximum(y @ down, 0) @ up)) * 1.0


@pytest.fixture
def x() -> Any:
    with np.load(FILES / "keras2.npz") as arrays:
        return arrays["x"]


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("key", ["SqueezeLayer", "squeeze"])
def test_function_of_a_builder(key, forward, x, tmp_path):
    path = squeeze_file(tmp_path)
    graph = to_graph(path, custom={key: squeeze}).graph
    assert_close(forward(graph, x), [by_hand(path, x)], 1e-6)
    assert [n.name for n in graph.nodes][-3:] == ["squeeze.dense", "squeeze.dense_1", "squeeze.multiply"]


def doubled(config: Any, weights: Any) -> Any:
    return lambda builder, x: builder.add(Add(), x, x)


# what a function returns -> that of the outputs y of the model without it
RESULTS: dict[str, tuple[Any, Any]] = {
    "layer": (lambda config, weights: Activate("tanh"), np.tanh),
    "activation": (lambda config, weights: Activation("relu"), lambda y: np.maximum(y, 0)),
    "list": (
        lambda config, weights: [Dense(weights[0].T), Dense(weights[1].T, activation="tanh")],
        lambda y, down, up: np.tanh(y @ down @ up),
    ),
    "builder": (doubled, lambda y: y + y),
    "config": (lambda config, weights: Activation("affine", alpha=config["ratio"]), lambda y: 2 * y),
    "spec": (
        lambda config, weights: lambda b, x: b.add(Reshape((1, *b.spec(x).shape)), x),
        lambda y: y[..., None, :],
    ),
    "several": (
        lambda config, weights: lambda b, x: [b.add(Concat(), x, x), b.add(Reduce("sum", (0,)), x)],
        lambda y: np.concatenate([y, y], -1),
    ),
}


@pytest.mark.parametrize("case", RESULTS)
def test_what_a_function_may_return(case, x, tmp_path):
    function, formula = RESULTS[case]
    path = squeeze_file(tmp_path)
    run = FORWARDS[0].values[0]
    y = run(to_graph(FILES / "keras2.h5").graph, x)[0]
    with h5py.File(path) as file:
        arrays = [file[f"model_weights/squeeze/squeeze/{n}:0"][()] for n in ("down", "up")]
    expected = formula(y, *arrays) if case == "list" else formula(y)
    assert_close(run(to_graph(path, custom={"SqueezeLayer": function}).graph, x)[:1], [expected], 1e-6)


def test_both_directions_in_a_list(x, tmp_path):
    gru = GRU(np.ones((3, 2)), np.ones((3, 1)))
    path = squeeze_file(tmp_path)
    both = to_graph(path, custom={"SqueezeLayer": lambda config, weights: [Bidirectional(gru, gru)]}).graph
    assert both.specs[both.outputs[0]].shape == (2,)
    apart = to_graph(path, custom={"squeeze": lambda config, weights: Bidirectional(gru, gru, merge=None)}).graph
    assert apart.nodes[-1].name == "squeeze.gru"  # the first of two outputs, which alone is read


def test_a_custom_layer_stands_before_the_table(x, tmp_path):
    """Whatever the class is called."""
    path = squeeze_file(tmp_path, class_name="Attention")
    assert to_graph(path, custom={"Attention": squeeze}).graph.nodes[-1].name == "squeeze.multiply"


def fails(config: Any, weights: Any) -> Any:
    raise KeyError("rate")


NONSENSE: dict[str, tuple[Any, str]] = {
    "none": (lambda c, w: None, "function of layer 'squeeze' .* must return a layer of fastgru.layers, .* got None"),
    "number": (lambda c, w: 3, "got 3"),
    "empty": (lambda c, w: [], r"got \[\]"),
    "class": (lambda c, w: Activate, "got <class"),
    "mixed": (lambda c, w: [Activate("tanh"), "dense"], "must return a layer"),
    "exits": (lambda c, w: sys.exit(0), "custom function of layer 'squeeze' .* must work, got SystemExit: 0"),
    "raises": (fails, "custom function of layer 'squeeze' .* must work, got KeyError: 'rate'"),
    "arguments": (lambda c: None, "must work, got TypeError"),
    "unfit": (lambda c, w: Dense(np.ones((2, 7))), "layer 'squeeze' .*: input must have 7 features"),
    "unknown-value": (lambda c, w: lambda b, x: b.add(Add(), x, "nowhere"), "value in layer 'squeeze' .* 'nowhere'"),
    "foreign-value": (lambda c, w: lambda b, x: "gru_1", "value in layer 'squeeze' .* got 'gru_1'"),
    "no-value": (lambda c, w: lambda b, x: None, "must return values it added, got None"),
    "no-op": (lambda c, w: lambda b, x: b.add("tanh", x), "op of layer 'squeeze' .* got 'tanh'"),
    "bad-op": (lambda c, w: TimeReduce("median"), "function must be one of"),
}  # fmt: skip


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense(case, tmp_path):
    function, message = NONSENSE[case]
    with pytest.raises(ConvertError, match=f"own.h5: (.|\n)*{message}"):
        to_graph(squeeze_file(tmp_path), custom={"SqueezeLayer": function})


@pytest.mark.parametrize("custom", [{"SqueezeLayer": 3}, {3: squeeze}, [squeeze], "SqueezeLayer"])
def test_custom_that_is_no_dict_of_functions(custom, tmp_path):
    with pytest.raises(ConvertError, match="custom must be a dict of names"):
        to_graph(squeeze_file(tmp_path), custom=custom)


def test_unknown_layers_name_the_hook(tmp_path):
    with pytest.raises(ConvertError) as error:
        to_graph(squeeze_file(tmp_path))
    assert "class of layer 'squeeze' must be a supported one, got SqueezeLayer" in str(error.value)
    assert "\nGive custom={'SqueezeLayer': function}: each" in str(error.value)
    assert str(error.value).splitlines()[-1].endswith("in all).")  # the nearest few, last


def test_a_mistyped_name_beside_an_unknown_layer_is_named(tmp_path):
    with pytest.raises(ConvertError) as error:
        to_graph(squeeze_file(tmp_path), custom={"SqeezeLayer": squeeze})
    assert "class of layer 'squeeze' must be a supported one, got SqueezeLayer" in str(error.value)
    assert str(error.value).endswith("No layer or class is called 'SqeezeLayer', for which there is a function.")


def test_functions_for_what_the_model_does_not_have_are_refused(tmp_path):
    known = {"SqueezeLayer": squeeze, "squeeze": squeeze}
    with pytest.raises(ConvertError) as error:
        to_graph(squeeze_file(tmp_path), custom={**known, "gru_l": squeeze, "tanh": squeeze})
    assert "names in custom must be of classes, layers or activations of the model (gru_1, " in str(error.value)
    assert str(error.value).endswith("got 'gru_l', 'tanh', which it does not have")
    assert to_graph(squeeze_file(tmp_path), custom=known).graph.nodes


def test_custom_is_for_keras(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(ConvertError, match="options for PyTorch checkpoint must be among key, ignore, got custom"):
        to_graph(tmp_path / "model.pt", custom={"SqueezeLayer": squeeze})


def test_custom_activation(x, tmp_path):
    path = tmp_path / "activation.h5"
    shutil.copy(FILES / "keras2.h5", path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][-1]["config"]["activation"] = "squash"
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ConvertError, match=r"activation of layer 'dense_1' .* got 'squash'"):
        to_graph(path)
    graph = to_graph(path, custom={"squash": lambda config, weights: Activate("softsign")}).graph
    assert str(graph.nodes[-1].op.activation) == "softsign"
    assert graph.nodes[-1].name == "dense_1"


def test_a_mask_ends_at_a_custom_layer():
    """Nobody can say what it became; only a layer that needs it minds."""
    layers = [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, None, 2]}},
        {"class_name": "Masking", "config": {"name": "masking", "mask_value": 0.0}},
        {"class_name": "Mine", "config": {"name": "mine"}},
        {"class_name": "Activation", "config": {"name": "act", "activation": "tanh"}},
        {"class_name": "GlobalAveragePooling1D", "config": {"name": "mean"}},
    ]
    custom = {"Mine": lambda config, weights: Activation("relu")}
    for count, message in ((4, None), (5, "mask of layer 'mean' .* got one that went through a custom layer")):
        model = {"class_name": "Sequential", "config": {"layers": layers[:count]}}
        if message is None:
            assert graph_of(model, Version.of("3.0"), lambda layer: [], custom=custom)[0].nodes
            continue
        with pytest.raises(ConvertError, match=message):
            graph_of(model, Version.of("3.0"), lambda layer: [], custom=custom)


def test_weights_of_constraints_and_regularizers_of_the_users_own_are_ignored(x, tmp_path):
    """They do not act at inference."""
    path = tmp_path / "clipped.h5"
    shutil.copy(FILES / "keras2.h5", path)
    own = {"class_name": "WeightClip", "module": "mine", "config": {"c": 0.5}}
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            for key in ("kernel_constraint", "recurrent_constraint", "bias_regularizer", "kernel_initializer"):
                layer["config"][key] = own
        file.attrs["model_config"] = json.dumps(config)
    run = FORWARDS[0].values[0]
    assert_close(run(to_graph(path).graph, x), run(to_graph(FILES / "keras2.h5").graph, x), 0.0)
