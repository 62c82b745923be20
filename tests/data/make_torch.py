"""Make tests/data/torch/: checkpoints by ``torch.save`` and what PyTorch computes with them.

Run ``python tests/data/make_torch.py`` with torch and safetensors installed; the seed is fixed. Each case is a
state_dict ``<case>.pt`` in float32 and ``<case>.npz`` with a batch-first input ``x``, the outputs in float32
``y32``, and those of the same weights in float64 ``y64``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).resolve().parent / "torch"
BATCH, TIME, INPUTS, HIDDEN, VOCABULARY = 2, 7, 3, 5, 11


class Chain(nn.Module):
    """Layers under names, in order; of a recurrent layer's tuple the output goes on."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = layer(x)
            x = x[0] if isinstance(x, tuple) else x
        return x


class Rows(Chain):
    """A chain over every step's row on its own, as BatchNorm1d needs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class LastStep(nn.Module):
    """A GRU whose last step goes through Linear, sigmoid: what only `like` can say."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(INPUTS, HIDDEN, 2, batch_first=True)
        self.fc = nn.Linear(HIDDEN, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.fc(self.gru(x)[0][:, -1]))


class OverTime(nn.Module):
    """A cell run over a sequence."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state: Any = None
        outputs = []
        for frame in x.unbind(1):
            state = self.cell(frame, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs, 1)


def batch_norm_trained() -> nn.Module:
    """A norm whose running statistics are not the initial ones."""
    norm = nn.BatchNorm1d(INPUTS)
    for _ in range(3):
        norm(torch.randn(8, INPUTS) * 3 + 1)
    return norm


def recurrent(cls: type[nn.RNNBase], **options: Any) -> Callable[[], nn.Module]:
    return lambda: cls(INPUTS, HIDDEN, batch_first=True, **options)


CASES: dict[str, Callable[[], nn.Module]] = {
    "rnn_relu": recurrent(nn.RNN, nonlinearity="relu"),
    "gru": recurrent(nn.GRU),
    "gru_deep": recurrent(nn.GRU, num_layers=3, bias=False),
    "gru_both": recurrent(nn.GRU, num_layers=2, bidirectional=True),
    "lstm": recurrent(nn.LSTM),
    "lstm_projection": recurrent(nn.LSTM, num_layers=2, bidirectional=True, proj_size=2),
    "rnn_cell": lambda: OverTime(nn.RNNCell(INPUTS, HIDDEN)),
    "gru_cell": lambda: OverTime(nn.GRUCell(INPUTS, HIDDEN)),
    "lstm_cell": lambda: OverTime(nn.LSTMCell(INPUTS, HIDDEN, bias=False)),
    "dense": lambda: Chain(first=nn.Linear(INPUTS, HIDDEN), norm=nn.LayerNorm(HIDDEN), second=nn.Linear(HIDDEN, 2)),
    "last_step": LastStep,
    "words": lambda: Chain(
        embedding=nn.Embedding(VOCABULARY, INPUTS), lstm=nn.LSTM(INPUTS, HIDDEN, batch_first=True),
        out=nn.Linear(HIDDEN, VOCABULARY, bias=False),
    ),
    "batch_norm": lambda: Rows(norm=batch_norm_trained(), fc=nn.Linear(INPUTS, 2)),
}  # fmt: skip


def run(module: nn.Module, x: torch.Tensor) -> np.ndarray:
    y = module(x)
    return (y[0] if isinstance(y, tuple) else y).numpy()


def make_case(name: str, module: nn.Module) -> None:
    """Write a case's checkpoint and its outputs."""
    module.eval()
    torch.save(module.state_dict(), HERE / f"{name}.pt")
    words = torch.randint(VOCABULARY, (BATCH, TIME))
    x = words if name == "words" else torch.randn(BATCH, TIME, INPUTS, dtype=torch.float64)
    with torch.no_grad():
        y32 = run(module, x if name == "words" else x.float())
        y64 = run(module.double(), x)
    np.savez_compressed(HERE / f"{name}.npz", x=x.numpy(), y32=y32, y64=y64)


def make_special_files() -> None:
    """Files that the reader must understand or refuse, whatever is in them."""
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    tensors = {
        "float64": base.double(), "float32": base, "float16": base.half(), "bfloat16": base.bfloat16(),
        "int64": base.long(), "int32": base.int(), "int16": base.short(), "int8": base.char(), "uint8": base.byte(),
        "bool": base > 5, "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "parameter": nn.Parameter(base),
        "strided": base.permute(2, 0, 1)[1:, :, ::2], "expanded": torch.ones(1).expand(4, 5),
    }  # fmt: skip
    plain = [1, -(2**40), 2.5, None, True, ("a", 1, 2, 3)]
    others = {"dtype": torch.bfloat16, "size": torch.Size([2, 3]), "list": plain}
    for protocol in (2, 4):
        torch.save({**tensors, **others}, HERE / f"types_{protocol}.pt", pickle_protocol=protocol)
    gru = nn.GRU(2, 3)
    wrapped = {"epoch": 3, "model": nn.DataParallel(gru).state_dict(), "optimizer": {"lr": 0.1}}
    torch.save(wrapped, HERE / "wrapped.pt")
    torch.save(gru.state_dict(), HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(gru, HERE / "whole_module.pt")
    chain = Chain(b_first=nn.GRU(INPUTS, HIDDEN, batch_first=True), a_second=nn.Linear(HIDDEN, 2))
    torch.save(chain.state_dict(), HERE / "two_layers.pt")
    save_file(chain.state_dict(), HERE / "two_layers.safetensors")
    save_file({"weight_ih_l0": base[0], "weight_hh_l0": base[0, :, :1].bfloat16()}, HERE / "bfloat16.safetensors")


def main() -> None:
    """Write every file again."""
    HERE.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    for seed, (name, build) in enumerate(CASES.items()):
        torch.manual_seed(seed)
        make_case(name, build())
    make_special_files()


if __name__ == "__main__":
    main()
