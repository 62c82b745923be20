"""Modules around a forecaster's layers: an output for each parameter of a distribution, in the terms of fastgru."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import nn

from ...errors import ConvertError
from ...forecasting import Scheme
from ...forecasting.scheme import KEY
from .. import Imported
from ..torch.live import import_module

STEPS = 5  # of the example that the module is traced with


def imported(module: nn.Module, scheme: Scheme, source: Any, package: str, like: Any) -> Imported:
    """Import `module`, which reads the columns of `scheme`, as what was made of `source`."""
    if like is not None:
        raise ConvertError(
            f"like must be None for a forecaster of {package}, which describes itself, got {len(like)} layers"
        )
    module = module.eval()
    example = torch.zeros(2, scheme.context or STEPS if scheme.window else STEPS, scheme.width)
    found = import_module(module, example_inputs=(example,))
    try:
        release = version(package)
    except PackageNotFoundError:  # installed under another name
        release = ""
    provenance = {
        **found.provenance, "source": type(source).__name__, "forecaster": f"{package} {release}".strip(),
        KEY: scheme.text(),
    }  # fmt: skip
    return found._replace(provenance=provenance)


class Recurrent(nn.Module):
    """A recurrent layer of PyTorch, a head over each of its steps or its last, and the parameters that it holds."""

    def __init__(self, rnn: nn.Module, head: nn.Module, split: nn.Module, *, last: bool = False) -> None:
        super().__init__()
        self.rnn, self.head, self.split, self.last = rnn, head, split, last

    def forward(self, x: torch.Tensor) -> Any:
        """Return an output (B, T, D), or (B, ahead * D) of the last step, for each parameter."""
        y, _ = self.rnn(x)
        return self.split(self.head(y[:, -1] if self.last else y))


def plain(rnn: nn.RNNBase) -> nn.RNNBase:
    """Return a layer of PyTorch's own class with the weights of `rnn`, whose class may change its forward."""
    known = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN_TANH": nn.RNN, "RNN_RELU": nn.RNN}
    if rnn.mode not in known:
        raise ConvertError(f"recurrent layer must be an LSTM, GRU or RNN, got {rnn.mode}")
    options: dict[str, Any] = {"nonlinearity": rnn.mode[4:].lower()} if rnn.mode.startswith("RNN") else {}
    if rnn.mode == "LSTM":
        options["proj_size"] = rnn.proj_size
    copy: nn.RNNBase = known[rnn.mode](
        rnn.input_size, rnn.hidden_size, rnn.num_layers, bias=rnn.bias, batch_first=True,
        bidirectional=rnn.bidirectional, **options,
    )  # fmt: skip
    copy.load_state_dict(rnn.state_dict())
    return copy


def ids(column: torch.Tensor, count: Any) -> torch.Tensor:
    """Return numbers (B, T) as ids below `count`; those beyond, which a forecast refuses, as the first or last."""
    return column.round().clamp(0, count - 1).long()


class Columns(nn.Module):
    """Columns k, k + P, k + 2P and so on of (..., D * P), for each of P parameters, then its own function."""

    def __init__(self, count: int, functions: Callable[[Sequence[torch.Tensor]], tuple[torch.Tensor, ...]]) -> None:
        super().__init__()
        self.count, self.functions = count, functions

    def forward(self, y: torch.Tensor) -> Any:
        """Return the parameters, one by itself where there is one."""
        found = self.functions([y[..., k :: self.count] for k in range(self.count)])
        return found if len(found) > 1 else found[0]
