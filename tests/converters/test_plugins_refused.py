"""Damaged, hostile and odd files of audio plugins: each is refused in words that name the field of the file."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import numpy as np
import pytest
from plugin_files import layer, listed, nam, nam_lstm, rtneural, saved

import fastgru
from fastgru.converters import to_graph
from fastgru.errors import FastGruError
from fastgru.layers import GRU, like

HUGE = 10**12


def ones(*shape: int) -> Any:
    return np.full(shape, 0.25, np.float32)


def amp() -> Any:
    """A file for AIDA-X: an LSTM and its head."""
    layers = [layer("lstm", 3, ones(1, 12), ones(3, 12), ones(12)), layer("dense", 1, ones(3, 1), ones(1))]
    return listed(rtneural(1, *layers, in_skip=1))


def conv() -> Any:
    more = {"kernel_size": [2], "dilation": [1], "groups": 1}
    return listed(rtneural(2, layer("conv1d", 2, ones(2, 2, 2), ones(2), **more)))


def recurrent() -> Any:
    """A ``.nam`` file of an LSTM of 2."""
    return listed(nam_lstm([(ones(8, 1), ones(8, 2), ones(8), ones(2), ones(2))], (ones(1, 2), ones(1))))


def wavenet() -> Any:
    array = {"input_size": 1, "condition_size": 1, "head_size": 1, "channels": 2, "kernel_size": 2,
             "dilations": [1, 2], "activation": "Tanh", "gated": False, "head_bias": True}  # fmt: skip
    return listed(nam("WaveNet", {"layers": [array], "head": None, "head_scale": 0.02}, [ones(2 + 36 + 2 + 1 + 1)]))


def trained() -> Any:
    data = {"model": "SimpleRNN", "input_size": 1, "skip": 1, "output_size": 1, "unit_type": "LSTM",
            "num_layers": 1, "hidden_size": 2, "bias_fl": True}  # fmt: skip
    names = {"rec.weight_ih_l0": (8, 1), "rec.weight_hh_l0": (8, 2), "rec.bias_ih_l0": (8,), "rec.bias_hh_l0": (8,),
             "lin.weight": (1, 2), "lin.bias": (1,)}  # fmt: skip
    return listed({"model_data": data, "state_dict": {name: ones(*shape) for name, shape in names.items()}})


FILES = {"amp": amp, "conv": conv, "lstm": recurrent, "wavenet": wavenet, "trained": trained}


def at(file: Any, path: str) -> tuple[Any, Any]:
    """The object or list that holds what a path such as ``layers.0.shape`` leads to, and its key there."""
    *before, last = (int(key) if key.isdigit() else key for key in path.split("/"))
    for key in before:
        file = file[key]
    return file, last


def changed(name: str, path: str, value: Any) -> Any:
    file = FILES[name]()
    holder, key = at(file, path)
    holder[key] = value
    return file


def dropped(name: str, path: str) -> Any:
    file = FILES[name]()
    holder, key = at(file, path)
    del holder[key]
    return file


def refusal(folder: Any, file: Any) -> str:
    path = saved(folder, file)
    with pytest.raises(fastgru.ConvertError) as caught:
        to_graph(path)
    message = str(caught.value)
    assert message.startswith(repr(str(path)) + ": ")
    assert len(message) < 1000
    return message.partition(": ")[2]


@pytest.mark.parametrize("name", FILES)
def test_the_files_that_are_changed_here_are_sound(name, tmp_path):
    assert fastgru.convert(saved(tmp_path, FILES[name]()))(ones(5, 2 if name == "conv" else 1)).shape[0] == 5


CHANGED = [
    ("amp", "layers", 3, "layers must be a list of one or more, got 3"),
    ("amp", "layers", [], "layers must be a list of one or more, got a list of 0"),
    ("amp", "layers/0", [1], r"layers\[0\] must be an object of JSON, got a list of 1"),
    ("amp", "layers/0/type", "attention", r"layers\[0\] \(attention\): type must be one of dense, .*got 'attention'"),
    ("amp", "layers/0/type", 4, r"layers\[0\]\.type must be a text, got 4"),
    ("amp", "layers/0/shape/2", HUGE, r"layers\[0\] \(lstm\)\.shape\[-1\] must be from 1 to 16777216, got 1000"),
    ("amp", "layers/0/shape/2", 2.5, r"layers\[0\] \(lstm\)\.shape\[-1\] must be an integer, got 2\.5"),
    ("amp", "layers/0/shape/2", 4, r"layers\[0\] \(lstm\)\.weights\[0\] must be an array of shape \(1, 16\)"),
    ("amp", "layers/0/activation", "relu", r"layers\[0\] \(lstm\)\.activation must be empty or tanh, got 'relu'"),
    ("amp", "layers/1/activation", "swish", r"layers\[1\] \(dense\)\.activation must be .*, got 'swish'"),
    ("amp", "layers/1/rate", 0.5, r"fields must be those that fastgru knows, got layers\[1\] \(dense\)\.rate=0\.5"),
    ("amp", "layers/0/weights", "abc", r"layers\[0\] \(lstm\)\.weights must be a list, got 'abc'"),
    ("amp", "layers/0/weights/0/0/3", None, r"weights\[0\] must hold numbers alone, got null as number 3"),
    ("amp", "layers/0/weights/0/0/3", True, r"weights\[0\] must hold numbers alone, got true as number 3"),
    ("amp", "layers/0/weights/0/0/3", "0.5", r"weights\[0\] must hold numbers alone, got '0\.5' as number 3"),
    ("amp", "layers/0/weights/0/0/3", float("nan"), r"weights\[0\] must hold numbers that are finite .*, got nan"),
    ("amp", "layers/0/weights/0/0/3", 1e39, r"weights\[0\] must hold numbers that are finite in float32, got 1e\+39"),
    ("amp", "layers/0/weights/0/0/3", 10**400, r"weights\[0\] must hold numbers that are finite .*, got a larger"),
    ("amp", "layers/0/weights/1/1", [1.0], r"weights\[1\] must be an array, got lists of unequal lengths"),
    ("amp", "layers/0/weights/2", [[1.0]], r"weights\[2\] must be an array of shape \(12,\), got shape \(1, 1\)"),
    ("amp", "layers/0/weights/2", [[[[[1.0]]]]], r"weights\[2\] must be a list of at most 4 axes, got more"),
    ("amp", "layers/1/weights/0", [[], [], []], r"weights\[0\] must be .* \(inputs, 1\), got shape \(3, 0\)"),
    ("amp", "in_shape", [None, None, 2], r"layers\[0\] \(lstm\)\.weights\[0\] must be an array of shape \(2, 12\)"),
    ("amp", "in_shape", [], "in_shape must be a list of one or more, got a list of 0"),
    ("amp", "in_shape", [None], r"in_shape\[-1\] must be an integer, got null"),
    ("amp", "in_skip", 2, "in_skip must be 0 or 1, as AIDA-X takes it, got 2"),
    ("amp", "in_skip", "yes", "in_skip must be an integer, got 'yes'"),
    ("amp", "in_gain", "loud", "in_gain must be a number, got 'loud'"),
    ("amp", "out_gain", float("inf"), "out_gain must be finite, got inf"),
    ("conv", "layers/0/dilation", [0], r"layers\[0\] \(conv1d\)\.dilation must be from 1 to 16777216, got 0"),
    ("conv", "layers/0/dilation", [2**24], r"window must reach over at most 16777216 steps"),
    ("conv", "layers/0/kernel_size", [3], r"weights\[0\] must be an array of shape \(3, 2, 2\), got shape \(2, 2, 2\)"),
    ("conv", "layers/0/groups", 3, r"\(conv1d\)\.groups must divide 2 channels and 2 filters, got 3"),
    ("conv", "layers/0/strides", [2], r"\(conv1d\)\.strides must be 1, got \[2\]"),
    ("conv", "layers/0/padding", "same", r"\(conv1d\)\.padding must be 'causal', as RTNeural has it, got 'same'"),
    ("lstm", "version", "9.1.0", "version must be from 0.5 to 0.7, got '9.1.0'"),
    ("lstm", "version", 5, "version must be a text, got 5"),
    ("lstm", "architecture", "GRU", "architecture must be one of LSTM, WaveNet, ConvNet, Linear, got 'GRU'"),
    ("lstm", "config", None, "config must be given, got null"),
    ("lstm", "weights", 3, "weights must be a list of one or more, got 3"),
    ("lstm", "weights/7", [1.0], "weights must hold numbers alone, got a list of 1 as number 7"),
    ("lstm", "weights/7", float("-inf"), "weights must hold numbers that are finite in float32, got -inf as number 7"),
    ("lstm", "config/hidden_size", HUGE, "config.hidden_size must be from 1 to 16777216, got 1000000000000"),
    ("lstm", "config/hidden_size", 2**24, "weights must hold 1125899973951488 numbers for the weights of LSTM 0"),
    ("lstm", "config/hidden_size", -1, "config.hidden_size must be from 1 to 16777216, got -1"),
    ("lstm", "config/hidden_size", "2", "config.hidden_size must be an integer, got '2'"),
    ("lstm", "config/num_layers", 10**7, "weights must hold 32 numbers for the weights of LSTM 1, from number 36 on"),
    ("lstm", "config/input_size", 2, "weights must hold"),
    ("lstm", "config/bidirectional", True, "fields must be those that fastgru knows, got config.bidirectional=true"),
    ("wavenet", "config/layers", [], "config.layers must be a list of one or more, got a list of 0"),
    ("wavenet", "config/layers/0/dilations/1", -2, r"config\.layers\[0\]\.dilations\[1\] must be from 1 to 16777216"),
    ("wavenet", "config/layers/0/dilations", [], r"config\.layers\[0\]\.dilations must be a list of one or more"),
    ("wavenet", "config/layers/0/activation", "Swish", r"layers\[0\]\.activation must be one of Tanh, .*'Swish'"),
    ("wavenet", "config/layers/0/activation", ["Tanh"], r"\.activation must be one, or 2 like dilations, got 1"),
    ("wavenet", "config/layers/0/activation", 3, r"\.activation must be an object of JSON, got 3"),
    ("wavenet", "config/layers/0/gated", "no", r"config\.layers\[0\]\.gated must be true or false, got 'no'"),
    ("wavenet", "config/layers/0/gating_mode", "or", r"\.gating_mode must be none, gated or blended, got 'or'"),
    ("wavenet", "config/layers/0/kernel_sizes", [2, 2], r"must have kernel_size or kernel_sizes, got .* and .*"),
    ("wavenet", "config/layers/0/channels", 2**20, "weights must hold .* numbers for the weights of layers"),
    ("wavenet", "config/layers/0/condition_size", 2, r"\.condition_size must be that of the condition, 1, got 2"),
    ("wavenet", "config/layers/0/input_size", 2, r"\.condition_size must be that of the condition, 2, got 1"),
    ("wavenet", "config/layers/0/groups_input", 3, r"groups of layers\[0\]\.0\.conv must divide 2 and 2 channels"),
    ("wavenet", "config/layers/0/layer1x1", {"active": False}, r"\.layer1x1 must be active: without it the program"),
    ("wavenet", "config/layers/0/layer1x1_post_film", {"active": True}, r"film must be inactive .* got it with 'none'"),
    ("wavenet", "config/layers/0/mystery", 1, r"got config\.layers\[0\]\.mystery=1"),
    ("wavenet", "config/condition_dsp", {"architecture": "LSTM"}, r"condition_dsp\.architecture must be 'WaveNet'"),
    ("trained", "model_data", 3, "model_data must be an object of JSON, got 3"),
    ("trained", "model_data/unit_type", "TCN", "model_data.unit_type must be one of LSTM, GRU, RNN, got 'TCN'"),
    ("trained", "model_data/hidden_size", 3, "model_data.hidden_size must be that of state_dict, 2, got 3"),
    ("trained", "model_data/num_layers", 2, "model_data.num_layers must be that of state_dict, 1, got 2"),
    ("trained", "model_data/skip", 2, "model_data.skip must be 0, 1 or output_size 1, and within the input, got 2"),
    ("trained", "model_data/model", "TCN", "model_data.model must be 'SimpleRNN', got 'TCN'"),
    ("trained", "state_dict/lin.weight", [1.0], r"state_dict\.lin\.weight must be a matrix, got shape \(1,\)"),
    ("trained", "state_dict/lin.bias", ["a"], r"state_dict\.lin\.bias must hold numbers alone, got 'a' as number 0"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "value", "wanted"), CHANGED)
def test_changed_fields(name, path, value, wanted, tmp_path):
    assert re.search(wanted, refusal(tmp_path, changed(name, path, value)))


DROPPED = [
    ("amp", "layers/0/weights/2", r"layers\[0\] \(lstm\)\.weights must hold 3 arrays, got 2"),
    ("amp", "layers/1/weights/1", None),  # a dense layer without a bias
    ("amp", "layers/0/shape", r"layers\[0\]\.shape must be given, got none|\(lstm\)\.shape must be given, got none"),
    ("amp", "in_shape", "in_shape must be given, got none"),
    ("conv", "layers/0/kernel_size", r"layers\[0\] \(conv1d\)\.kernel_size must be given, got none"),
    ("conv", "layers/0/weights/1", r"layers\[0\] \(conv1d\)\.weights must hold 2 arrays, got 1"),
    ("lstm", "weights/0", "weights must hold 1 numbers for the bias of the head, from number 38 on, got 38 in all"),
    ("lstm", "weights", "weights must be given, got none"),
    ("lstm", "config/num_layers", "config.num_layers must be given, got none"),
    ("wavenet", "weights/0", "weights must hold 1 numbers for the head_scale, from number 41 on, got 41 in all"),
    ("wavenet", "config/layers/0/head_size", r"config\.layers\[0\]\.head_size must be given, got none"),
    ("trained", "state_dict/lin.weight", "state_dict must hold 'lin.weight', got 'rec.weight_ih_l0'"),
]


@pytest.mark.parametrize(("name", "path", "wanted"), DROPPED)
def test_missing_fields(name, path, wanted, tmp_path):
    file = dropped(name, path)
    if wanted is None:
        assert to_graph(saved(tmp_path, file)).graph.nodes[1].op.bias is None
    else:
        assert re.search(wanted, refusal(tmp_path, file))


@pytest.mark.parametrize("name", ["lstm", "wavenet"])
def test_more_weights_than_the_config_asks_for(name, tmp_path):
    file = FILES[name]()
    count = len(file["weights"])
    file["weights"].append(1.0)
    wanted = f"weights must hold the {count} numbers that the config asks for, got {count + 1}"
    assert refusal(tmp_path, file) == wanted


def test_weights_too_large_for_float32(tmp_path):
    file = changed("wavenet", "config/layers/0/activation", "ReLU")
    file["weights"] = [3e38] * len(file["weights"])
    assert "weights must give numbers that are finite in float32 for an input of zeros" in refusal(tmp_path, file)


TEXTS = [
    (b"", "file must be whole JSON, got text that ends or breaks off"),
    (b'{"layers": [', "file must be whole JSON, got text that ends or breaks off"),
    (b"\xff\xfe\xfd", "file must be "),
    (b"[" * 100_000, "file must be JSON of plain numbers and lists"),
    (b"[1, 2]", "file must be an object of JSON, got a list of 2"),
    (b"{}", "file must hold layers .*, got nothing"),
    (b'{"class_name": "Sequential", "config": {}}', "config of a Keras model, which holds no weights"),
    (b'{"a": "b"}', "file must hold layers .*, got a: 'b'"),
]


@pytest.mark.parametrize("suffix", ["json", "nam", "aidax"])
@pytest.mark.parametrize(("text", "wanted"), TEXTS)
def test_other_texts(text, wanted, suffix, tmp_path):
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(text)
    with pytest.raises(fastgru.ConvertError, match=wanted):
        fastgru.convert(path)


def test_the_content_tells_the_format_whatever_the_suffix(tmp_path):
    for name, suffix in (("amp", "nam"), ("lstm", "json"), ("trained", "aidax")):
        path = saved(tmp_path, FILES[name](), f"{name}.{suffix}")
        assert fastgru.convert(path)(ones(4, 1)).shape == (4, 1)


def test_files_that_describe_themselves_take_no_layers(tmp_path):
    with pytest.raises(fastgru.ConvertError, match="like must be None for a file of RTNeural, which describes itself"):
        fastgru.convert(saved(tmp_path, amp()), like=[like(GRU)])


@pytest.mark.parametrize("name", FILES)
def test_mutants_are_imported_or_refused(name, tmp_path):
    """Any value in the place of any other: nothing but errors of the package, and those say where."""
    rng, values = random.Random(name), [None, True, -1, 0, 3, HUGE, 0.5, 1e300, "", "x", [], [[]], {}, [1.0], {"a": 1}]
    unnamed: list[str] = []
    for _ in range(300):
        file = FILES[name]()
        for _ in range(rng.choice([1, 1, 2])):
            holder: Any = file
            while True:
                keys = [*holder] if isinstance(holder, dict) else [*range(len(holder))]
                key = rng.choice(keys)
                inner = holder[key]
                if not isinstance(inner, dict | list) or not inner or rng.random() < 0.2:
                    break
                holder = inner
            holder[key] = json.loads(json.dumps(rng.choice(values)))
        path = tmp_path / "mutant.json"
        path.write_text(json.dumps(file))
        try:
            to_graph(path)
        except FastGruError as error:
            unnamed += [str(error)] * ("mutant.json" not in str(error))
    assert unnamed == []
