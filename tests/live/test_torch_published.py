"""Networks as people publish them, imported without a word about their axes: any number of steps, equal to PyTorch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastgru

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


class GlobalNorm(nn.Module):
    """Of all channels and steps of (B, C, T), as in Conv-TasNet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain, self.bias = nn.Parameter(torch.rand(1, channels, 1)), nn.Parameter(torch.randn(1, channels, 1))

    def forward(self, y: Any) -> Any:
        mean = y.mean(dim=1, keepdim=True).mean(dim=2, keepdim=True)
        spread = torch.pow(y - mean, 2).mean(dim=1, keepdim=True).mean(dim=2, keepdim=True)
        return self.gain * (y - mean) / torch.pow(spread + 1e-8, 0.5) + self.bias


class CumulativeNorm(GlobalNorm):
    """The same of the steps so far, by the number of elements that they have."""

    def forward(self, y: Any) -> Any:
        channels, steps = y.shape[1:]
        total, square = torch.cumsum(y.sum(1), 1), torch.cumsum(y.pow(2).sum(1), 1)
        count = torch.arange(channels, channels * (steps + 1), channels, dtype=y.dtype).view(1, -1)
        mean = total / count
        spread = (square - 2 * mean * total) / count + mean.pow(2)
        y = (y - mean.unsqueeze(1)) / (spread + 1e-8).sqrt().unsqueeze(1)
        return y * self.gain + self.bias


class Separator(nn.Module):
    """A learned filter bank, masks for two speakers, and the filter bank back."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.encoder, self.norm = nn.Conv1d(1, 6, 8, stride=4, bias=False), norm(6)
        self.conv, self.masks = nn.Conv1d(6, 6, 3, groups=6), nn.Sequential(nn.PReLU(), nn.Conv1d(6, 12, 1))
        self.decoder = nn.ConvTranspose1d(6, 1, 8, stride=4, bias=False)

    def forward(self, mixture: Any) -> Any:
        w = F.relu(self.encoder(mixture.unsqueeze(1)))
        masks = torch.sigmoid(self.masks(self.conv(F.pad(self.norm(w), (2, 0)))))
        parts = w.unsqueeze(1) * masks.view(mixture.shape[0], 2, 6, -1)
        y = self.decoder(parts.view(mixture.shape[0] * 2, 6, -1))
        return y.view(mixture.shape[0], 2, -1).transpose(1, 2)


class ConvGRU(nn.Module):
    """A convolutional GRU over the pictures of a video."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.GroupNorm(2, 4), nn.SiLU())
        self.gates, self.new = nn.Conv2d(7, 6, 3, padding=1), nn.Conv2d(7, 3, 3, padding=1)

    def forward(self, video: Any) -> Any:
        x = self.encoder(video.reshape(-1, *video.shape[2:]))
        x = x.view(*video.shape[:2], *x.shape[1:])
        h, out = x.new_zeros(x.size(0), 3, *x.shape[3:]), []
        for t in range(x.size(1)):
            reset, update = torch.sigmoid(self.gates(torch.cat([x[:, t], h], 1))).split(3, 1)
            h = (1 - update) * h + update * torch.tanh(self.new(torch.cat([x[:, t], reset * h], 1)))
            out.append(h)
        return torch.stack(out, dim=1)


class CharTagger(nn.Module):
    """Words with the maximum of a convolution over their characters, and the log partition function of a CRF."""

    def __init__(self) -> None:
        super().__init__()
        self.letters, self.conv, self.words = nn.Embedding(26, 4), nn.Conv1d(4, 5, 3, padding=1), nn.Embedding(40, 6)
        self.lstm = nn.LSTM(11, 4, batch_first=True, bidirectional=True)
        self.scores, self.moves, self.first = nn.Linear(8, 3), nn.Parameter(torch.randn(3, 3)), torch.ones(3)

    def forward(self, words: Any, chars: Any) -> Any:
        rows, steps, letters = chars.shape
        c = F.relu(self.conv(self.letters(chars.view(rows * steps, letters)).transpose(1, 2))).max(dim=2)[0]
        scores = self.scores(self.lstm(torch.cat([self.words(words), c.view(rows, steps, -1)], -1))[0])
        alpha = self.first + scores[:, 0]
        for t in range(1, steps):
            alpha = torch.logsumexp(alpha.unsqueeze(2) + self.moves + scores[:, t].unsqueeze(1), dim=1)
        return scores, torch.logsumexp(alpha, 1)


class Backcast(nn.Module):
    """A block of N-BEATS, of as many values as it was trained with, and a GRU over them."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.theta = nn.GRU(1, 5, batch_first=True), nn.Linear(5, 3, bias=False)
        self.register_buffer("basis", torch.stack([torch.linspace(0, 1, 12) ** n for n in range(3)]))

    def forward(self, x: Any) -> Any:
        level = x.mean(1, keepdim=True)
        _, h = self.gru((x - level).unsqueeze(-1))
        return x - self.theta(h.squeeze(0)) @ self.basis + level


class Variables(nn.Module):
    """Variables that have a Linear each, as in a Temporal Fusion Transformer, and attention to the steps before."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.lstm = nn.ModuleList([nn.Linear(1, 4) for _ in range(3)]), nn.LSTM(4, 4, batch_first=True)

    def forward(self, x: Any) -> Any:
        y = torch.stack([layer(x[..., i : i + 1]) for i, layer in enumerate(self.own)], 2).sum(2)
        y, _ = self.lstm(y)
        later = torch.triu(torch.ones(y.shape[1], y.shape[1], dtype=torch.bool), diagonal=1)
        return y + torch.softmax((y @ y.transpose(1, 2)).masked_fill(later, float("-inf")), -1) @ y


def words(rows: int, steps: int) -> tuple[Any, ...]:
    return torch.randint(0, 40, (rows, steps)), torch.randint(0, 26, (rows, steps, 7))


class Case(NamedTuple):
    """A network, arguments of so many rows and steps, and the axes that are found; `streams` where it is causal."""

    build: Callable[[], nn.Module]
    given: Callable[[int, int], tuple[Any, ...]]
    axes: str
    streams: bool = True


CASES = {
    "separator": Case(lambda: Separator(GlobalNorm), lambda b, t: (torch.randn(b, 4 * t),), "mixture (B, T)", False),
    "causal separator": Case(
        lambda: Separator(CumulativeNorm), lambda b, t: (torch.randn(b, 4 * t + 2),), "mixture (B, T)"
    ),
    "video": Case(ConvGRU, lambda b, t: (torch.randn(b, t, 2, 6, 6),), "video (B, T, 2, 6, 6)"),
    "tagger": Case(CharTagger, words, "words (B, T), chars (B, T, 7)", False),
}


@pytest.mark.parametrize("name", CASES)
def test_any_number_of_steps(name: str) -> None:
    torch.manual_seed(0)
    case = CASES[name]
    net = case.build().eval()
    model = fastgru.convert(net, example_inputs=case.given(2, 9))
    assert model.provenance["axes"] == case.axes
    for rows, steps in ((2, 9), (1, 33), (3, 5)):
        given = case.given(rows, steps)
        with torch.no_grad():
            expected = net(*given)
        y = model(tuple(x.numpy() for x in given) if len(given) > 1 else given[0].numpy())
        pairs = zip(y, expected, strict=True) if isinstance(y, tuple) else [(y, expected)]
        for own, wanted in pairs:
            np.testing.assert_allclose(own, wanted, atol=5e-6)
    if case.streams:
        (x,) = case.given(2, 11)
        stream, whole = model.stream(2), model(x.numpy())
        parts = [stream.process(x[:, a:b].numpy()) for a, b in ((0, 1), (1, 6), (6, x.shape[1]))]
        assert np.array_equal(np.concatenate([*parts, stream.flush()], 1), whole)


@pytest.mark.parametrize(("build", "shape"), [(Backcast, (2, 12)), (Variables, (2, 9, 3))])
def test_an_axis_of_rows_or_features_is_not_taken_for_time(build: Callable[[], nn.Module], shape: Any) -> None:
    torch.manual_seed(0)
    net = build().eval()
    model = fastgru.convert(net, example_inputs=torch.randn(shape))
    assert model.provenance["axes"] == f"x (B, {', '.join(map(str, shape[1:]))})"
    x = torch.randn(4, *shape[1:])
    with torch.no_grad():
        np.testing.assert_allclose(model(x.numpy()), net(x), atol=5e-6)
    if build is Variables:
        why = "all sizes but the batch are those of the example: node "
        assert model.provenance["notes"].startswith(why)
        assert "axis 0 must be one of fixed size, got time" in model.provenance["notes"]


OWN = """
import torch

class Decay(torch.nn.Module):
    def forward(self, x):
        h, out = x[:, 0], []
        for t in range(x.shape[1]):
            h = 0.5 * h + x[:, t]
            out.append(h)
        return torch.stack(out, 1)
"""


def test_code_may_lie_below_a_folder_named_torch(tmp_path: Any) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "net.py").write_text(OWN)
    spec = importlib.util.spec_from_file_location("net", tmp_path / "torch" / "net.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(own := importlib.util.module_from_spec(spec))
    net = own.Decay().eval()
    model = fastgru.convert(net, example_inputs=torch.randn(2, 9, 3))
    x = torch.randn(2, 33, 3)
    np.testing.assert_allclose(model(x.numpy()), net(x), atol=5e-6)
