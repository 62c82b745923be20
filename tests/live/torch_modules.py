"""A torch module whose forward a test gives as a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Called(nn.Module):
    """A GRU, a bidirectional LSTM and a Linear, and a forward given as a function."""

    def __init__(self, forward: Callable[..., Any], **options: Any) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4, **{"batch_first": True, **options})
        self.both = nn.LSTM(4, 4, 2, batch_first=True, bidirectional=True)
        self.fc, self.wide, self.norm = nn.Linear(4, 4), nn.Linear(8, 4), nn.BatchNorm1d(4)
        self.relu, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.5)
        self.body = forward

    def forward(self, x: Any) -> Any:
        return self.body(self, x)
