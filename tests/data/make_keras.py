"""Writes tests/data/keras: small models in every format of Keras, with inputs and the outputs that Keras gives.

Run ``KERAS_BACKEND=torch python tests/data/make_keras.py`` with keras, torch and h5py installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

OUT = Path(__file__).resolve().parent / "keras"
L = keras.layers


def words() -> Any:
    """Masked ids through both directions to a softmax."""
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            L.Embedding(11, 5, mask_zero=True),
            L.Bidirectional(L.GRU(4, return_sequences=True)),
            L.LSTM(3),
            L.Dense(4, activation="softmax"),
        ]
    )


def branches() -> Any:
    """Skips, masks, norms and three outputs, as a functional model."""
    x = keras.Input((None, 3), name="x")
    masked = L.Masking(0.0, name="masked")(x)
    a = L.GRU(4, return_sequences=True, reset_after=False, recurrent_activation="hard_sigmoid", name="a")(masked)
    b = L.LSTM(4, return_sequences=True, zero_output_for_mask=True, name="b")(a)
    both = L.Concatenate(name="both")([a, b])
    norm = L.BatchNormalization(name="norm")(L.LayerNormalization(name="layer_norm")(both))
    out = L.TimeDistributed(L.Dense(2, activation=L.LeakyReLU(negative_slope=0.1)), name="out")(norm)
    return keras.Model(x, [out, L.SimpleRNN(3, name="last")(both), L.Add(name="sum")([a, b])])


def cells() -> Any:
    """Cells in RNN, stacked and backwards."""
    return keras.Sequential(
        [
            keras.Input((None, 3)),
            L.RNN([L.GRUCell(4), L.LSTMCell(3), L.GRUCell(2)], return_sequences=True, go_backwards=True),
            L.Dropout(0.3),
            L.GRU(4, go_backwards=True, return_sequences=True),
        ]
    )


def tagger() -> Any:
    """40 features to the probabilities of 5 classes at every step: model.keras of the documentation."""
    return keras.Sequential(
        [
            keras.Input((None, 40)),
            L.GRU(24, return_sequences=True, name="gru"),
            L.Dense(5, activation="softmax", name="classes"),
        ]
    )


def plain() -> Any:
    """A chain of layers, as weights-only files hold it best."""
    return keras.Sequential(
        [
            keras.Input((None, 3)),
            L.LSTM(4, return_sequences=True, name="first"),
            L.GRU(5, return_sequences=True, name="second"),
            L.Dense(2, activation="tanh", name="third"),
        ]
    )


def inside() -> Any:
    """Two inputs of any length, a model called twice and once more step by step, and one of its layers again."""
    x = keras.Input((None, 3), name="steps")
    shared = L.Dense(4, activation="swish", name="shared")
    y = L.BatchNormalization(name="norm")(L.Conv1D(4, 3, padding="causal", dilation_rate=2, name="conv")(x))
    block = keras.Model(x, [L.Maximum(name="larger")([shared(x), y]), L.Dense(1, name="score")(y)], name="block")
    a, b = keras.Input((None, 3), name="a"), keras.Input((None, 3), name="b")
    first, score = block(a)
    second, _ = block(b)
    rows = L.Reshape((-1, 2, 3), name="rows")(L.Concatenate(name="both")([a, b]))
    per_row = keras.Sequential([keras.Input((2, 3)), L.Flatten(), L.Dense(4, name="inner")], name="per_row")
    joined = L.Subtract(name="less")(
        [L.Multiply(name="weighed")([first, L.Softmax(axis=1, name="weights")(score)]), second]
    )
    outputs = [
        L.GRU(3, name="gru")(joined),
        L.TimeDistributed(per_row, name="each")(rows),
        L.UnitNormalization(name="unit")(joined),
    ]
    return keras.Model([a, b], outputs)


def frames() -> Any:
    """Sequences of fixed length that are frames: states handed on, attention, images, sequences made of a vector."""
    source, target = keras.Input((6, 3), name="source"), keras.Input((4, 2), name="target")
    encoded, h, c = L.LSTM(4, return_sequences=True, return_state=True, name="encoder")(source)
    decoded = L.LSTM(4, return_sequences=True, name="decoder")(target, initial_state=[h, c])
    seen = L.MultiHeadAttention(2, 3, name="heads")(decoded, encoded)
    picture = L.Reshape((4, 4, 1), name="picture")(seen)
    pooled = L.MaxPooling2D(2, name="pool")(L.Conv2D(2, 3, padding="same", activation="relu", name="image")(picture))
    repeated = L.RepeatVector(3, name="repeat")(L.Flatten(name="flat")(pooled))
    return keras.Model(
        [source, target], [L.Bidirectional(L.GRU(2, return_sequences=True), name="last")(repeated), seen]
    )


def randomise(model: Any, rng: np.random.Generator) -> None:
    """Weights that tell gates and biases apart."""
    for layer in model.layers:
        for weight in layer.weights:
            values = rng.uniform(-0.7, 0.7, weight.shape)
            weight.assign(np.abs(values) + 0.5 if weight.path.endswith("variance") else values)


def example(model: Any, rng: np.random.Generator) -> Any:
    """An input with masked steps at the start, in the middle and at the end; several by name."""
    if len(model.inputs) > 1:
        shapes = {x.name: (3, x.shape[1] or 6, *x.shape[2:]) for x in model.inputs}
        return {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    ids = "int" in model.inputs[0].dtype
    x = rng.integers(1, 11, (3, 6)) if ids else rng.normal(size=(3, 6, model.inputs[0].shape[-1])).astype("float32")
    x[0, 2:4] = x[1, :2] = x[2, 4:] = 0
    return x


def write(name: str, build: Callable[[], Any], formats: tuple[str, ...], seed: int) -> None:
    """One model in some formats, and ``<name>.npz`` with x (or x.<name> of several inputs), y0, y1, ..."""
    rng = np.random.default_rng(seed)
    model = build()
    randomise(model, rng)
    x = example(model, rng)
    outputs = keras.tree.flatten(model.predict(x, verbose=0))
    inputs = {f"x.{key}": value for key, value in x.items()} if isinstance(x, dict) else {"x": x}
    np.savez(OUT / f"{name}.npz", **inputs, **{f"y{i}": y for i, y in enumerate(outputs)})
    for suffix in formats:
        (model.save_weights if suffix == ".weights.h5" else model.save)(OUT / f"{name}{suffix}")


def old_sigmoid(x: Any) -> Any:
    """hard_sigmoid of Keras 1 and 2 (keras/backend/tensorflow_backend.py of 2.2)."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def write_keras2(name: str, seed: int) -> None:
    """A whole model as Keras 2.2.4 wrote it: batch_input_shape, list of layers, custom objects, weights with ":0"."""
    rng = np.random.default_rng(seed)
    gru = L.GRU(4, recurrent_activation=old_sigmoid, reset_after=False, return_sequences=True, name="gru_1")
    model = keras.Sequential([keras.Input((None, 3)), gru, L.Dense(2, activation=old_sigmoid, name="dense_1")])
    randomise(model, rng)
    x = example(model, rng)
    np.savez(OUT / f"{name}.npz", x=x, y0=model.predict(x, verbose=0))
    clip = {"class_name": "WeightClip", "config": {"c": 0.5, "name": "WeightClip"}}
    common = {"trainable": True, "use_bias": True, "kernel_constraint": clip, "kernel_regularizer": None}
    rnn = {
        **common, "name": "gru_1", "batch_input_shape": [None, None, 3], "dtype": "float32", "units": 4,
        "activation": "tanh", "recurrent_activation": "hard_sigmoid", "reset_after": False, "implementation": 1,
        "return_sequences": True, "return_state": False, "go_backwards": False, "stateful": False, "unroll": False,
        "dropout": 0.1, "recurrent_dropout": 0.0, "recurrent_constraint": clip, "activity_regularizer": None,
    }  # fmt: skip
    dense = {**common, "name": "dense_1", "units": 2, "activation": "hard_sigmoid"}
    layers = [{"class_name": "GRU", "config": rnn}, {"class_name": "Dense", "config": dense}]
    config = {"class_name": "Sequential", "config": {"name": "sequential_1", "layers": layers}}
    with h5py.File(OUT / f"{name}.h5", "w") as file:
        file.attrs.update(keras_version="2.2.4", backend="tensorflow", model_config=json.dumps(config).encode())
        file.create_dataset("optimizer_weights/training/Adam/iterations:0", data=7)
        store_layers(file.create_group("model_weights"), {layer.name: layer for layer in model.layers})


def store_layers(group: Any, layers: dict[str, Any], convert: Callable[[Any], Any] = lambda weights: weights) -> None:
    """Weights as Keras 2 stored them: <layer>/<layer>/<weight>:0, named in attributes."""
    group.attrs["layer_names"] = [name.encode() for name in layers]
    for name, layer in layers.items():
        arrays = convert([keras.ops.convert_to_numpy(w) for w in layer.weights])
        paths = [f"{name}/{w.name}:0" for w in layer.weights]
        own = group.create_group(name)
        own.attrs["weight_names"] = [path.encode() for path in paths]
        for path, array in zip(paths, arrays, strict=True):
            own.create_dataset(path, data=array)


def to_cudnn(weights: list[Any]) -> list[Any]:
    """Weights of LSTM or GRU in the layout of CuDNNLSTM and CuDNNGRU.

    After ``_convert_rnn_weights`` of Keras 2.2 (keras/engine/saving.py): input blocks are
    ``k.T.reshape(k.shape, order="C")``, recurrent blocks transposed, biases flat, twice for LSTM.
    """
    kernel, recurrent, bias = weights
    gates = kernel.shape[1] // recurrent.shape[0]
    blocks = [k.T.reshape(k.shape) for k in np.split(kernel, gates, axis=1)]
    transposed = [r.T for r in np.split(recurrent, gates, axis=1)]
    flat = np.concatenate([bias * 0.25, bias * 0.75]) if gates == 4 else bias.reshape(-1)
    return [np.concatenate(blocks, axis=1), np.concatenate(transposed, axis=1), flat]


def write_cudnn(name: str, seed: int) -> None:
    """A weights-only file in cuDNN's layout; input and hidden sizes differ, or the layout would not show."""
    rng = np.random.default_rng(seed)
    layers = {"cu_lstm": L.LSTM(4, return_sequences=True), "cu_gru": L.GRU(2, return_sequences=True)}
    model = keras.Sequential([keras.Input((None, 3)), *layers.values()])
    randomise(model, rng)
    x = example(model, rng)
    np.savez(OUT / f"{name}.npz", x=x, y0=model.predict(x, verbose=0))
    with h5py.File(OUT / f"{name}.h5", "w") as file:
        file.attrs.update(keras_version="2.1.5", backend="tensorflow")
        store_layers(file, layers, to_cudnn)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    write("words", words, (".keras", ".h5"), 1)
    write("branches", branches, (".keras", ".h5"), 2)
    write("cells", cells, (".keras", ".h5"), 3)
    write("inside", inside, (".keras", ".h5"), 7)
    write("frames", frames, (".keras", ".h5"), 8)
    write("plain", plain, (".weights.h5",), 4)
    write_keras2("keras2", 5)
    write("tagger", tagger, (".keras",), 9)
    write_cudnn("cudnn", 6)


if __name__ == "__main__":
    main()
