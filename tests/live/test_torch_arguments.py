"""Modules whose forward takes ``*args`` and ``**kwargs``, against PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import fastgru

torch = pytest.importorskip("torch")
nn = torch.nn


class Own(nn.Module):
    """A GRU and a Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)


class Places(Own):
    def forward(self, *args: Any) -> Any:
        return self.fc(self.rnn(args[0])[0])


class StateByPlace(Own):
    def forward(self, *args: Any) -> Any:
        x, h = args
        y, h = self.rnn(x, h)
        return self.fc(y), h


class More(Own):
    def forward(self, x: Any, *rest: Any) -> Any:
        return self.fc(self.rnn(x * rest[0])[0])


class Keywords(Own):
    def forward(self, **kwargs: Any) -> Any:
        return self.fc(self.rnn(kwargs["x"])[0])


class MoreKeywords(Own):
    def forward(self, x: Any, scale: float = 2.0, **kwargs: Any) -> Any:
        return self.fc(self.rnn(x + kwargs["bias"])[0]) * scale


class KeywordOnly(Own):
    def forward(self, x: Any, *, h: Any = None) -> Any:
        y, h = self.rnn(x, h)
        return self.fc(y), h


class Both(Own):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.fc(self.rnn(*args, **kwargs)[0])


X, H = torch.randn(2, 12, 3), torch.zeros(1, 2, 4)
CASES: dict[str, tuple[type[Own], Any, list[str]]] = {
    "places": (Places, X, ["args.0"]),
    "places without an example": (Places, None, ["args.0"]),
    "state by place": (StateByPlace, (X, H), ["args.0"]),
    "more": (More, (X, X / 2), ["x", "rest.0"]),
    "keywords": (Keywords, {"x": X}, ["x"]),
    "more keywords": (MoreKeywords, {"x": X, "bias": X / 2}, ["x", "bias"]),
    "keyword only": (KeywordOnly, {"x": X, "h": H}, ["x"]),
    "both": (Both, X, ["args.0"]),
}


@pytest.mark.parametrize("name", CASES)
def test_arguments(name: str) -> None:
    cls, examples, names = CASES[name]
    torch.manual_seed(0)
    net = cls().eval()
    model = fastgru.convert(net, example_inputs=examples)
    assert list(model.graph.inputs) == names
    assert list(model.stream().state) == ["rnn.h"]
    given = X if examples is None else examples
    with torch.no_grad():
        y = net(**given) if isinstance(given, Mapping) else net(*given) if isinstance(given, tuple) else net(given)
    own = [given] if isinstance(given, torch.Tensor) else list(given.values() if isinstance(given, Mapping) else given)
    arrays = tuple(x.numpy() for x in own[: len(names)])
    expected = y[0] if isinstance(y, tuple) else y
    np.testing.assert_allclose(model(arrays if len(names) > 1 else arrays[0]), expected, atol=2e-6)
    assert "forward" not in vars(net)
