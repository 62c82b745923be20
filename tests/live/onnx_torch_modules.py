"""PyTorch modules that are exported to ONNX with symbolic batch and time, and the ops expected of the import."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

BATCH_TIME = {0: "batch", 1: "time"}
TIME_BATCH = {0: "time", 1: "batch"}


@dataclass(frozen=True)
class Case:
    """A module, arguments to trace it with, and names.

    Parameters
    ----------
    axes : dict
        Names of the symbolic sizes by input.
    ops : set of str
        Kinds of ops in the imported graph.
    steps : int
        Of the sequences to compare on.
    """

    name: str
    make: Callable[[], nn.Module]
    arguments: tuple[Any, ...]
    axes: dict[str, dict[int, str]]
    ops: set[str]
    outputs: tuple[str, ...] = ("y",)
    steps: int = 9

    def export(self, folder: Path, opset: int) -> Path:
        """The file that PyTorch writes."""
        torch.manual_seed(0)
        path = folder / "model.onnx"
        module = self.make().eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter: it is the one that needs no further package
            torch.onnx.export(
                module, self.arguments, str(path), input_names=list(self.axes), output_names=list(self.outputs),
                dynamic_axes={n: a for n, a in self.axes.items() if a}, opset_version=opset, dynamo=False,
            )  # fmt: skip
        return path


class Tagger(nn.Module):
    """Embedding, a recurrence, a linear layer."""

    def __init__(self, cell: Any, bidirectional: bool, layers: int, batch_first: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.cell = cell(8, 6, layers, batch_first=batch_first, bidirectional=bidirectional)
        self.linear = nn.Linear(6 * (1 + bidirectional), 5)

    def forward(self, x: Any) -> Any:
        return self.linear(self.cell(self.embedding(x))[0])


READS: dict[str, Callable[[Any, Any], Any]] = {
    "index": lambda y, h: y[:, -1],
    "slice": lambda y, h: y[:, -1:, :].squeeze(1),
    "state": lambda y, h: h[-1],
    "activated": lambda y, h: torch.relu(y)[:, -1],
    "mean": lambda y, h: y.mean(1),
    "max": lambda y, h: y.max(1).values,
}


class Classifier(nn.Module):
    """A recurrence of which one row a sequence is read."""

    def __init__(self, read: str) -> None:
        super().__init__()
        self.cell, self.linear, self.read = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 3), READS[read]

    def forward(self, x: Any) -> Any:
        return self.linear(self.read(*self.cell(x)))


class BothEnds(nn.Module):
    """The final states of both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.linear = nn.LSTM(4, 6, batch_first=True, bidirectional=True), nn.Linear(12, 3)

    def forward(self, x: Any) -> Any:
        _, (h, _) = self.cell(x)
        return self.linear(torch.cat([h[-2], h[-1]], -1))


class Stateful(nn.Module):
    """Two layers whose states are arguments, apart or stacked."""

    def __init__(self, stacked: bool) -> None:
        super().__init__()
        self.cell, self.linear, self.stacked = nn.LSTM(4, 6, 2, batch_first=True), nn.Linear(6, 3), stacked

    def forward(self, x: Any, *state: Any) -> Any:
        y, (h, c) = self.cell(x, (state[0][0], state[0][1]) if self.stacked else state)
        return (self.linear(y), torch.stack([h, c])) if self.stacked else (self.linear(y), h, c)


class Causal(nn.Module):
    """A convolution padded on both sides and cut, batch norm, a skip and a recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 8, 3, padding=4, dilation=2), nn.BatchNorm1d(8)
        self.mix, self.cell = nn.Conv1d(8, 8, 1), nn.GRU(8, 5, batch_first=True)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.norm(self.conv(x.transpose(1, 2)))[:, :, :-4])
        return self.cell((y + self.mix(y)).transpose(1, 2))[0]


class Images(nn.Module):
    """Convolutions over time and frequency, and back; the frames of the middle through a recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, (3, 3), padding=(0, 1), stride=(1, 2))
        self.back = nn.ConvTranspose2d(4, 2, (3, 3), stride=(1, 2), padding=(2, 0))
        self.cell = nn.GRU(36, 6, batch_first=True)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.conv(functional.pad(x.unsqueeze(1), (0, 0, 2, 0))))
        b, c, t, f = y.shape
        return self.cell(y.permute(0, 2, 1, 3).reshape(b, t, c * f))[0], self.back(functional.pad(y, (0, 0, 2, 0)))


class Attention(nn.Module):
    """An average over time weighted by a softmax over time, as a product and as a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.score = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 1)

    def forward(self, x: Any) -> Any:
        y, _ = self.cell(x)
        w = torch.softmax(self.score(y), 1)
        return torch.bmm(w.transpose(1, 2), y).squeeze(1), (w * y).sum(1)


class Bands(nn.Module):
    """A recurrence along the bands of every frame, batch and time being its rows, and a norm over two axes."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.norm = nn.GRU(3, 4, batch_first=True, bidirectional=True), nn.LayerNorm([5, 8])
        self.linear = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        b, t, f, c = x.shape
        y = self.cell(x.reshape(b * t, f, c))[0].reshape(b, t, f, 8)
        return self.linear(self.norm(y)) + x


class Samples(nn.Module):
    """Strided convolutions on samples, GELU, pooling, a recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 6, 8, stride=4), nn.Conv1d(6, 6, 3, padding=1)
        self.pool, self.cell = nn.MaxPool1d(2), nn.GRU(6, 4, batch_first=True)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.first(x.unsqueeze(1)))
        y = self.pool(functional.gelu(self.second(y)) + y)
        return self.cell(y.transpose(1, 2))[0]


class Conditioned(nn.Module):
    """A second input without time gates every step."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.cell = nn.Linear(4, 4), nn.GRU(4, 4, batch_first=True)

    def forward(self, x: Any, speaker: Any) -> Any:
        return self.cell(x)[0] * torch.sigmoid(self.linear(speaker)).unsqueeze(1)


class Zeros(nn.Module):
    """An initial state of zeros made of the input's size, and the final state returned, which the stream has."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(4, 6)

    def forward(self, x: Any) -> Any:
        return self.cell(x, torch.zeros(1, x.size(1), 6))


class Packed(nn.Module):
    """Sequences of several lengths, sorted."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(4, 6, batch_first=True)

    def forward(self, x: Any, lengths: Any) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return nn.utils.rnn.pad_packed_sequence(self.cell(packed)[0], batch_first=True)[0]


IDS, ROWS = torch.randint(0, 20, (2, 7)), torch.randn(2, 7, 4)
TAGS = {"Embedding", "Dense", "Constant", "Add"}
CASES = [
    Case("lstm", lambda: Tagger(nn.LSTM, False, 2, True), (IDS,), {"x": BATCH_TIME}, TAGS | {"LSTM"}),
    Case("gru both ways", lambda: Tagger(nn.GRU, True, 2, True), (IDS,), {"x": BATCH_TIME}, TAGS | {"GRU", "Concat"}),
    Case("time first", lambda: Tagger(nn.RNN, False, 1, False), (IDS.T,), {"x": TIME_BATCH}, TAGS | {"RNN"}),
    Case("unnamed", lambda: Tagger(nn.GRU, False, 1, False), (IDS.T,), {"x": {0: "p", 1: "q"}}, TAGS | {"GRU"}),
    *(
        Case(f"last by {read}", lambda read=read: Classifier(read), (ROWS,), {"x": BATCH_TIME}, {"GRU", "Dense"} | more)  # type: ignore[misc]
        for read, more in (("index", {"TimeStep"}), ("slice", {"TimeStep"}), ("state", set()),
                           ("activated", {"Activate", "TimeStep"}),
                           ("mean", {"TimeReduce"}), ("max", {"TimeReduce"}))
    ),
    Case("both ends", BothEnds, (ROWS,), {"x": BATCH_TIME}, {"LSTM", "Concat", "Reshape", "Slice", "Dense"}),
    Case("states", lambda: Stateful(False), (ROWS, torch.zeros(2, 2, 6), torch.zeros(2, 2, 6)),
         {"x": BATCH_TIME, "h0": {1: "batch"}, "c0": {1: "batch"}}, {"LSTM", "Dense", "Constant", "Add"},
         ("y", "hn", "cn")),
    Case("stacked states", lambda: Stateful(True), (ROWS, torch.zeros(2, 2, 2, 6)),
         {"x": BATCH_TIME, "state": {2: "batch"}}, {"LSTM", "Dense", "Constant", "Add"}, ("y", "state_out")),
    Case("causal", Causal, (ROWS,), {"x": BATCH_TIME}, {"TimeConv", "Activate", "Dense", "Add", "GRU"}),
    Case("images", Images, (torch.randn(2, 7, 17),), {"x": BATCH_TIME},
         {"TimePad", "Framing", "Reshape", "Conv", "ConvTranspose", "OverlapAdd", "Constant", "Add", "Activate", "GRU"},
         ("y", "z")),
    Case("attention", Attention, (ROWS,), {"x": BATCH_TIME},
         {"GRU", "Dense", "Constant", "Add", "TimeSoftmax", "Reshape", "Multiply", "TimeReduce"}, ("y", "z")),
    Case("samples", Samples, (torch.randn(2, 99),), {"x": {0: "batch", 1: "samples"}},
         {"Reshape", "TimeConv", "Activate", "Constant", "Binary", "Unary", "Add", "Multiply", "TimePool", "GRU"},
         steps=99),
    Case("conditioned", Conditioned, (ROWS, torch.randn(2, 4)), {"x": BATCH_TIME, "speaker": {0: "batch"}},
         {"GRU", "Dense", "Activate", "Multiply"}),
    Case("zeros", Zeros, (ROWS.transpose(0, 1),), {"x": TIME_BATCH}, {"GRU"}, ("y", "h")),
    Case("packed", Packed, (ROWS, torch.tensor([7, 7])), {"x": BATCH_TIME, "lengths": {0: "batch"}}, {"GRU"}),
]  # fmt: skip
BANDS = Case("bands", Bands, (torch.randn(2, 7, 5, 3),), {"x": BATCH_TIME}, set())
