"""Checkpoints as people save them: PyTorch's own outputs, whatever lies beside the weights."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import pathlib
import pickle
import random
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import fastgru  # noqa: E402
from fastgru import ConvertError  # noqa: E402
from fastgru.layers import (  # noqa: E402  # noqa: E402
    GRU,
    LSTM,
    Activate,
    Add,
    BatchNorm,
    Conv,
    Dense,
    Embedding,
    LayerNorm,
    Pool,
    Reshape,
    TimeConv,
    TimePool,
    Transpose,
    like,
)

X = np.random.default_rng(0).normal(size=(2, 20, 8)).astype(np.float32)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.rnn = nn.GRU(8, 8, batch_first=True)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(self.rnn(x)[0])


class Kind(enum.Enum):
    LARGE = 1


class Settings:
    def __init__(self) -> None:
        self.rate, self.shape = np.float32(0.1), torch.ones(2)


class Named(dict[str, Any]):
    pass


NET = Small().eval()
WEIGHTS = NET.state_dict()
with torch.no_grad():
    EXPECTED = NET(torch.from_numpy(X)).numpy()


def assert_same(model: Any, x: Any = X, expected: Any = EXPECTED, bar: float = 2e-6) -> None:
    y = model(x)
    assert y.shape == expected.shape
    assert np.abs(y - expected).max() <= bar


def saved(path: Any, nested: Any, **options: Any) -> Any:
    torch.save(nested, path, **options)
    return path


def training() -> dict[str, Any]:
    """What a loop of training keeps beside the weights."""
    net = Small()
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.from_numpy(X)).sum().backward()
    optimizer.step()
    return {
        "optimizer": optimizer, "optimizer_state_dict": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1), "loss": nn.CrossEntropyLoss(torch.ones(3)),
        "hyper_parameters": argparse.Namespace(sizes=[1, 2], kind=Kind.LARGE), "settings": Settings(),
        "best": np.float64(0.5), "step": np.int64(7), "when": datetime.datetime.now(), "path": pathlib.Path("/tmp"),
        "seen": {1, 2}, "frozen": frozenset([3]), "counts": collections.Counter("aab"), "mean": np.arange(3.0),
        "names": np.array(["a", None], object), "generators": (random.getstate(), torch.get_rng_state()),
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "pairs": {(1, 2): 3}, "range": range(3), "cut": slice(1, 2), "call": nn.functional.relu, "large": 2**90,
        "device": torch.device("cpu"), "complex": torch.ones(2, dtype=torch.complex64),
        "sparse": torch.eye(2).to_sparse(),
    }  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_lies_beside_the_weights_is_left_out(zipped: bool, protocol: int, tmp_path: Any) -> None:
    nested = {**training(), "state_dict": {f"model.{name}": a for name, a in WEIGHTS.items()}, "epoch": 3}
    options = {"_use_new_zipfile_serialization": zipped, "pickle_protocol": protocol}
    assert_same(fastgru.convert(saved(tmp_path / "last.ckpt", nested, **options)))


KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "params", "weights", "ema", "my_network")
SUFFIXES = [".pt", ".pth", ".ckpt", ".bin", ".pth.tar"]


@pytest.mark.parametrize(("key", "suffix"), [*zip(KEYS, SUFFIXES * 2, strict=False)])
def test_weights_are_found_under_any_usual_key(key: str, suffix: str, tmp_path: Any) -> None:
    assert_same(fastgru.convert(saved(tmp_path / f"net{suffix}", {key: WEIGHTS, "step": 1})))
    nested = {"checkpoint": {key: {"state_dict": collections.OrderedDict(WEIGHTS)}, "epoch": 2}, **training()}
    assert_same(fastgru.convert(saved(tmp_path / f"net{suffix}", nested)))


PREFIXED = {
    "module.": "module.{}", "model.": "model.{}", "compiled": "_orig_mod.{}", "all": "model.module._orig_mod.{}",
    "twice": "module.module.{}", "others": "_orig_mod.model.{}",
}  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXED)
def test_prefixes_are_taken_off(prefix: str) -> None:
    arrays = {PREFIXED[prefix].format(name): a for name, a in WEIGHTS.items()}
    model = fastgru.convert(arrays)
    assert [node.name for node in model.graph.nodes] == ["rnn", "fc"]
    assert_same(model)
    for form in ("{}", PREFIXED[prefix]):  # names of the module, or of the file
        layers = [like(GRU, name=form.format("rnn")), like(Dense, name=form.format("fc"))]
        assert_same(fastgru.convert(arrays, like=layers))


def test_prefixes_of_some_layers_alone() -> None:
    compiled = {name.replace("rnn.", "rnn._orig_mod."): a for name, a in WEIGHTS.items()}
    assert_same(fastgru.convert(compiled))
    mixed = {("model." if "rnn" in n else "module.") + n: a for n, a in WEIGHTS.items()}
    assert_same(fastgru.convert(mixed))
    averaged = torch.optim.swa_utils.AveragedModel(NET).state_dict()
    assert_same(fastgru.convert(averaged))
    inner = {"encoder.module.rnn" + n.removeprefix("rnn") if "rnn" in n else n: a for n, a in WEIGHTS.items()}
    assert_same(fastgru.convert(inner, like=[like(GRU, name="encoder.rnn"), like(Dense, name="fc")]))


def test_one_of_several_networks_is_chosen_by_its_key(tmp_path: Any) -> None:
    other = nn.Linear(2, 1).state_dict()
    path = saved(tmp_path / "gan.pt", {"models": {"generator": WEIGHTS, "discriminator": other}, "step": 1})
    with pytest.raises(ConvertError, match=r"'models.generator', 'models.discriminator': say which by key='models.gen"):
        fastgru.convert(path)
    assert_same(fastgru.convert(path, key="models.generator"))
    with pytest.raises(ConvertError, match=r"key must be one that holds weights in .*\(generator, discriminator\)"):
        fastgru.convert(path, key="models.generater")
    model = fastgru.convert({"model": WEIGHTS, "ema": Small().state_dict()})
    assert model.provenance["weights"] == "those under model, not ema"
    assert_same(model)
    assert_same(fastgru.convert({"ema": WEIGHTS, "model": other}, key="ema"))


def test_dicts_of_arrays(tmp_path: Any) -> None:
    arrays = {name: a.numpy() for name, a in WEIGHTS.items()}
    for nested in (
        WEIGHTS,
        arrays,
        {"params": arrays},
        Named(arrays),
        {k: nn.Parameter(a) for k, a in WEIGHTS.items()},
    ):
        assert_same(fastgru.convert(nested))
    by_layer = {layer: {n.split(".")[1]: a for n, a in arrays.items() if layer in n} for layer in ("rnn", "fc")}
    assert_same(fastgru.convert(by_layer))
    assert_same(fastgru.convert({"weights": by_layer}))
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "net.npz", **arrays)
        assert_same(fastgru.convert(tmp_path / "net.npz"))
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"params": arrays, "settings": argparse.Namespace(a=1)}))
    assert_same(fastgru.convert(tmp_path / "net.pkl"))
    assert_same(fastgru.convert(saved(tmp_path / "arrays.pt", arrays)))


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_and_mixed_precision(kind: Any, tmp_path: Any) -> None:
    mixed = {name: a.to(kind) if "hh" in name else a for name, a in WEIGHTS.items()}
    net = Small()
    net.load_state_dict(mixed)
    with torch.no_grad():
        expected = net(torch.from_numpy(X)).numpy()
    for weights in (mixed, {name: a.to(kind) for name, a in WEIGHTS.items()}):
        assert_same(fastgru.convert(weights), expected=expected, bar=2e-6 if weights is mixed else 0.02)
        assert_same(fastgru.convert(saved(tmp_path / "net.pt", weights)), expected=expected, bar=0.02)


# like --------------------------------------------------------------------------------------------


def test_arrays_may_be_left_unused(tmp_path: Any) -> None:
    path = saved(tmp_path / "more.pt", {**WEIGHTS, "loss_weight": torch.ones(1), "aux.weight": torch.ones(3, 8)})
    layers = [like(GRU, name="rnn"), like(Dense, name="fc")]
    with pytest.warns(
        UserWarning, match=r"more.pt: 2 of 8 arrays are unused, of loss_weight, aux: .* a part of"
    ) as said:
        named = fastgru.convert(path, like=layers)
    assert "Describe every layer in like, or say that this is meant: ignore=['loss_weight', 'aux']" in str(
        said[0].message
    )
    assert said[0].filename == __file__
    assert named.provenance["unused"] == "loss_weight, aux.weight"
    ignored = fastgru.convert(path, ignore=["loss_weight", "aux"])
    assert "unused" not in ignored.provenance
    for model in (named, ignored, fastgru.convert(path, like=[like(GRU), like(Dense)], ignore=["loss*", "aux.*"])):
        assert_same(model)
    with pytest.raises(ConvertError, match=r"ignore must name arrays or layers of .*\(aux, .*got 'aus'"):
        fastgru.convert(path, ignore=["aus"])
    with pytest.raises(ConvertError, match=r"leave them out by ignore=\['loss_weight'\]"):
        fastgru.convert(path)


class Wide(nn.Module):
    """A front of convolutions over time with norms, pools and a skip."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv = nn.Conv1d(8, 12, 3, bias=False)
        self.norm = nn.BatchNorm1d(12)
        self.down = nn.Conv1d(12, 12, 4, stride=2, groups=3)
        self.rnn = nn.LSTM(12, 6, 2, batch_first=True, bidirectional=True)
        self.after = nn.LayerNorm(12)
        self.fc = nn.Linear(12, 3)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.norm(self.conv(nn.functional.pad(x.transpose(1, 2), (2, 0)))))
        y = nn.functional.max_pool1d(self.down(y), 2).transpose(1, 2)
        return self.fc(self.after(self.rnn(y)[0] + y))


def test_convolutions_pools_norms_and_skips_over_time() -> None:
    net = Wide().eval()
    layers = [
        like(TimeConv, name="conv", before=2), like(BatchNorm, name="norm"), like(Activate, activation="relu"),
        like(TimeConv, name="down", stride=2, groups=3), like(TimePool, mode="max", size=2, stride=2, name="pooled"),
        like(LSTM, name="rnn"), like(Add, inputs=["rnn", "pooled"]), like(LayerNorm, name="after"),
        like(Dense, name="fc"),
    ]  # fmt: skip
    with torch.no_grad():
        expected = net(torch.from_numpy(X)).numpy()
    assert_same(fastgru.convert(net.state_dict(), like=layers), expected=expected, bar=5e-6)


class Pictures(nn.Module):
    """A recurrent network over frames of two axes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.front = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.norm = nn.LayerNorm([2, 6, 8])
        self.rnn = nn.GRU(96, 5, batch_first=True)
        self.front[1].running_mean.uniform_(-1, 1)

    def forward(self, x: Any) -> Any:
        y = self.norm(self.up(self.front(x.reshape(-1, 1, 6, 8))))
        return self.rnn(y.reshape(*x.shape[:2], 96))[0]


def test_convolutions_pools_norms_and_reshapes_of_frames() -> None:
    from fastgru.layers import ConvTranspose

    net = Pictures().eval()
    layers = [
        like(Reshape, shape=(1, 6, 8)), like(Conv, name="front.0", before=(1, 1), after=(1, 1)),
        like(BatchNorm, name="front.1"), like(Activate, activation="relu"),
        like(Pool, mode="max", kernel=(2, 2), strides=(2, 2)), like(ConvTranspose, name="up", strides=(2, 2)),
        like(LayerNorm, name="norm"), like(Reshape, shape=(96,)), like(GRU, name="rnn"),
    ]  # fmt: skip
    x = np.random.default_rng(1).normal(size=(2, 7, 48)).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    assert_same(fastgru.convert(net.state_dict(), like=layers), x, expected, 5e-6)


def test_norms_and_masks_are_computed_from_their_parts(tmp_path: Any) -> None:
    from torch.nn.utils import parametrizations, prune

    net = Small().eval()
    parametrizations.weight_norm(net.fc)
    parametrizations.spectral_norm(net.rnn, "weight_ih_l0")
    prune.l1_unstructured(net.rnn, "weight_hh_l0", 0.5)
    prune.random_unstructured(net.rnn, "bias_hh_l0", 0.5)
    with torch.no_grad():
        expected = net(torch.from_numpy(X)).numpy()
    for nested in (net.state_dict(), {"model": {f"module.{n}": a for n, a in net.state_dict().items()}}):
        assert_same(fastgru.convert(saved(tmp_path / "net.pt", nested)), expected=expected)


def test_tied_weights_are_one_array() -> None:
    net = nn.ModuleDict({"table": nn.Embedding(11, 8), "rnn": nn.GRU(8, 8), "out": nn.Linear(8, 11, bias=False)})
    net["out"].weight = net["table"].weight
    layers = [like(Embedding, name="table"), like(GRU, name="rnn"), like(Dense, name="out")]
    ids = np.arange(12).reshape(2, 6) % 11
    model = fastgru.convert(net.state_dict(), like=layers)
    with torch.no_grad():
        expected = net["out"](net["rnn"](net["table"](torch.from_numpy(ids).T))[0]).transpose(0, 1).numpy()
    assert_same(model, ids, expected)
    assert Transpose not in {type(node.op) for node in model.graph.nodes}
