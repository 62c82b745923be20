"""Encoders and decoders whose inputs have numbers of steps of their own, beside the frameworks they come from."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest

import fastgru
from fastgru.errors import ConvertError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

LENGTHS = ((9, 7), (6, 6), (3, 12), (1, 2))
TOLERANCE = 2e-6
UNITS, WORDS, OWN_WORDS = 4, 20, 30


class Translator(nn.Module):
    """Ids to the scores of ids; the decoder starts from the encoder's last states."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.own = nn.Embedding(WORDS, 3), nn.Embedding(OWN_WORDS, 2)
        self.encoder = nn.GRU(3, UNITS, batch_first=True, num_layers=2)
        self.decoder = nn.GRU(2, UNITS, batch_first=True, num_layers=2)
        self.out = nn.Linear(UNITS, OWN_WORDS)

    def forward(self, src, tgt):
        _, h = self.encoder(self.read(src))
        return self.out(self.decoder(self.own(tgt), h)[0]).log_softmax(-1)


class OwnSteps(nn.Module):
    """A decoder of single cells, called in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.cell = nn.LSTM(3, UNITS, batch_first=True), nn.LSTMCell(2, UNITS)
        self.out = nn.Linear(UNITS, 5)

    def forward(self, src, tgt):
        _, (h, c) = self.encoder(src)
        h, c, found = h[0], c[0], []
        for t in range(tgt.shape[1]):
            h, c = self.cell(tgt[:, t], (h, c))
            found.append(self.out(h))
        return torch.stack(found, 1)


class Context(nn.Module):
    """A decoder that reads at every step what both directions of the encoder end with."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(3, UNITS, batch_first=True, bidirectional=True)
        self.decoder, self.out = nn.GRU(2 + 2 * UNITS, UNITS, batch_first=True), nn.Linear(UNITS, 5)

    def forward(self, src, tgt):
        _, h = self.encoder(src)
        context = torch.cat([h[0], h[1]], -1)[:, None].expand(-1, tgt.shape[1], -1)
        return self.out(self.decoder(torch.cat([tgt, context], -1))[0])


class Apart(nn.Module):
    """Two networks that share nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.GRU(3, UNITS, batch_first=True), nn.GRU(2, UNITS, batch_first=True)

    def forward(self, src, tgt):
        return self.one(src)[0], self.two(tgt)[0][:, -1]


MODULES = (Translator, OwnSteps, Context, Apart)


def made(module):
    torch.manual_seed(0)
    return module().eval()


def drawn(module, steps, batch=2):
    if module is Translator:
        return torch.randint(0, WORDS, (batch, steps[0])), torch.randint(0, OWN_WORDS, (batch, steps[1]))
    return torch.randn(batch, steps[0], 3), torch.randn(batch, steps[1], 2)


def check(model, x, expected) -> None:
    """The source's outputs, whose shapes are those of the import."""
    got = model(tuple(x))
    for y, wanted in zip(*(v if isinstance(v, tuple | list) else (v,) for v in (got, expected)), strict=True):
        assert y.shape == tuple(wanted.shape)
        assert np.abs(y - np.asarray(wanted)).max() <= TOLERANCE


@pytest.mark.parametrize("example", [(9, 7), (6, 6)], ids=str)
@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_modules(module, example):
    net = made(module)
    model = fastgru.convert(net, example_inputs=drawn(module, example))
    assert model.graph.bases["src"] != model.graph.bases["tgt"]
    assert "tgt (B, T2" in str(model.summary())
    for steps in LENGTHS:
        x = drawn(module, steps, 3)
        with torch.no_grad():
            expected = net(*x)
        check(model, [a.numpy() for a in x], expected)


def test_axes_that_are_told_may_have_any_sizes():
    net = made(Apart)
    src, tgt = torch.randn(2, 9, 3), torch.randn(2, 7, 2)
    model = fastgru.convert(net, example_inputs=(src, tgt), axes={"src": ("B", "T", None), "tgt": ("B", None, None)})
    assert [spec.time for spec in model.inputs.values()] == [True, False]
    check(model, [src.numpy(), tgt.numpy()], [y.detach() for y in net(src, tgt)])


def test_inputs_that_meet_are_not_taken_apart():
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, UNITS, batch_first=True)

        def forward(self, a, b):
            return self.rnn(a + b)[0]

    with pytest.raises(ConvertError, match="must take arguments"):
        fastgru.convert(made(Sum), example_inputs=(torch.randn(2, 9, 3), torch.randn(2, 7, 3)))


@pytest.mark.parametrize("names", [("S", "T"), ("T", "T")], ids=str)
@pytest.mark.parametrize("module", [m for m in MODULES if m is not OwnSteps], ids=lambda m: m.__name__)
def test_files_of_onnx(module, names, tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    net, path = made(module), tmp_path / "model.onnx"
    example = drawn(module, (9, 7) if len(set(names)) > 1 else (9, 9))
    sizes = {name: {0: "B", 1: size} for name, size in zip(("src", "tgt"), names, strict=True)}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            net, example, buffer, input_names=["src", "tgt"], output_names=["y", "z"][: 1 + (module is Apart)],
            dynamic_axes={**sizes, "y": {0: "B"}, "z": {0: "B"}} if module is Apart else {**sizes, "y": {0: "B"}},
            dynamo=False, opset_version=17,
        )  # fmt: skip
    path.write_bytes(buffer.getvalue())
    model = fastgru.convert(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for steps in LENGTHS if len(set(names)) > 1 else [(6, 6), (12, 12)]:
        x = [a.numpy() for a in drawn(module, steps, 3)]
        check(model, x, session.run(None, dict(zip(("src", "tgt"), x, strict=True))))


def keras_nets():
    keras = pytest.importorskip("keras")
    L = keras.layers

    def plain(cell, *, both=False, layers=1):
        a, b, starts = keras.Input((None, 3)), keras.Input((None, 2)), []
        x, z = a, b
        for _ in range(layers):
            layer = cell(UNITS, return_sequences=True, return_state=True)
            x, *states = (L.Bidirectional(layer) if both else layer)(x)
            half = len(states) // 2
            joined = [L.Concatenate()([states[k], states[half + k]]) for k in range(half)] if both else states
            starts.append(joined)
        for states in starts:
            z = cell(2 * UNITS if both else UNITS, return_sequences=True)(z, initial_state=states)
        return keras.Model([a, b], L.Dense(5, activation="softmax")(z))

    def words():
        a, b = keras.Input((None,)), keras.Input((None,))
        _, h = L.GRU(UNITS, return_state=True)(L.Embedding(WORDS, 3, mask_zero=True)(a))
        y = L.GRU(UNITS, return_sequences=True)(L.Embedding(OWN_WORDS, 2)(b), initial_state=h)
        return keras.Model([a, b], L.Dense(OWN_WORDS)(y))

    def twins():
        a, b, layer = keras.Input((None, 3)), keras.Input((None, 3)), L.LSTM(UNITS)
        return keras.Model([a, b], L.Dot(-1)([layer(a), layer(b)]))

    return keras, {
        "lstm": lambda: plain(L.LSTM), "rnn": lambda: plain(L.SimpleRNN), "both ways": lambda: plain(L.GRU, both=True),
        "two layers": lambda: plain(L.LSTM, layers=2), "words": words, "twins": twins,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["lstm", "rnn", "both ways", "two layers", "words", "twins"])
def test_models_of_keras(name, tmp_path):
    keras, nets = keras_nets()
    keras.utils.set_random_seed(0)
    net = nets[name]()
    net.save(tmp_path / "net.keras")
    rng = np.random.default_rng(0)
    for model in (fastgru.convert(net), fastgru.convert(tmp_path / "net.keras")):
        for steps in LENGTHS:
            x = [
                rng.integers(1, WORDS, (3, n)) if name == "words" else rng.normal(size=(3, n, i.shape[-1])).astype("f4")
                for i, n in zip(net.inputs, steps, strict=True)
            ]
            check(model, x, [keras.ops.convert_to_numpy(net(x))])
