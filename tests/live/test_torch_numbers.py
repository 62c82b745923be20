"""Arithmetic on the number of the step, and folds so far, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru.errors import ConvertError

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


class One(nn.Module):
    """A Linear, and a function of what it gives."""

    def __init__(self, body: Callable[[Any], Any]) -> None:
        super().__init__()
        self.fc, self.body = nn.Linear(3, 4), body

    def forward(self, x: Any) -> Any:
        return self.body(self.fc(x))


def steps(*numbers: Any, **options: Any) -> Any:
    return torch.arange(*numbers, **options)[:, None]


RANGES: dict[str, Callable[[Any], Any]] = {
    "from one": lambda y: y + steps(1, y.shape[1] + 1),
    "of floats": lambda y: y * steps(1, y.shape[1] + 1, dtype=torch.float32) * 0.1,
    "from far": lambda y: y / steps(5, y.shape[1] + 5).sqrt(),
    "even": lambda y: y + steps(0, 2 * y.shape[1], 2),
    "odd": lambda y: y + steps(1, 2 * y.shape[1], 2),
    "halves": lambda y: y + steps(0.5, y.shape[1]),
    "fewer": lambda y: y[:, 1:] + steps(1, y.shape[1]),
    "two fewer": lambda y: y[:, 2:] + steps(y.shape[1] - 2),
    "remainders": lambda y: y + steps(y.shape[1]) % 7 + steps(y.shape[1]) // 2,
    "powers": lambda y: y * 0.9 ** steps(y.shape[1]),
    "positions": lambda y: y + torch.sin(steps(y.shape[1]) * torch.exp(torch.arange(4) * -0.5)),
    "alternating": lambda y: torch.where(steps(y.shape[1]) % 2 == 0, y, -y),
    "mean so far": lambda y: torch.cumsum(y, 1) / steps(1, y.shape[1] + 1),
}
BACK: dict[str, Callable[[Any], Any]] = {
    "from behind": lambda y: y + steps(y.shape[1], 0, -1),
    "from behind, by two": lambda y: y + steps(2 * y.shape[1] - 1, -1, -2),
    "part of all": lambda y: y * steps(y.shape[1]) / y.shape[1],
}
FOLDS: dict[str, Callable[[Any], Any]] = {
    "log-sum-exp": lambda y: torch.logcumsumexp(40 * y, 1),
    "log-sum-exp of features": lambda y: torch.logcumsumexp(200 * y, -1),
    "product": lambda y: torch.cumprod(torch.sigmoid(y) + 0.4, 1),
    "product of features": lambda y: y.cumprod(-1),
    "largest": lambda y: torch.cummax(y, 1)[0],
    "smallest of features": lambda y: y.cummin(2).values,
}


def convert(body: Callable[[Any], Any]) -> tuple[Any, fastgru.Model]:
    torch.manual_seed(0)
    net = One(body).eval()
    return net, fastgru.convert(net, example_inputs=torch.randn(2, 12, 3), axes={"x": ("B", "T", None)})


@pytest.mark.parametrize("name", [*RANGES, *BACK, *FOLDS])
def test_numbers(name: str) -> None:
    net, model = convert({**RANGES, **BACK, **FOLDS}[name])
    for count in (12, 31):
        x = torch.randn(2, count, 3)
        with torch.no_grad():
            expected = net(x)
        np.testing.assert_allclose(model(x.numpy()), expected, rtol=2e-6, atol=2e-6 * float(expected.abs().max()))
    if name not in BACK:
        stream, x = model.stream(), x[0].numpy()
        parts = [stream.process(x[t : t + 7]) for t in range(0, 31, 7)]
        assert np.array_equal(np.concatenate([*parts, stream.flush()]), model(x))


def test_ranges_that_are_longer_are_refused() -> None:
    with pytest.raises(ConvertError, match="range must have at most a number for every step of the input, got 1 more"):
        convert(lambda y: F.pad(y, (0, 0, 1, 0)) + steps(y.shape[1] + 1))


class MinGRU(nn.Module):
    """Parallel forms, in logarithms or not, from a state before the first step: sums of T steps and of T + 1."""

    def __init__(self, form: str, start: str = "learnt") -> None:
        super().__init__()
        self.z, self.h, self.head = nn.Linear(3, 8), nn.Linear(3, 8), nn.Linear(8, 2)
        self.form, self.start = form, start
        self.first = nn.Parameter(torch.rand(1, 1, 8))

    def forward(self, x: Any, given: Any = None) -> Any:
        k, g = self.z(x), self.h(x)
        new = torch.where(g >= 0, torch.log(F.relu(g) + 0.5), -F.softplus(-g)) - F.softplus(-k)
        start = torch.full((x.shape[0], 1, 8), 0.5) if self.start == "number" else self.first.expand(x.shape[0], 1, 8)
        start = start if given is None else given
        kept = F.pad(torch.cumsum(-F.softplus(k), 1), (0, 0, 1, 0))
        values = torch.cat([start.log(), new], 1)
        if self.form == "log":
            states = torch.exp(kept + torch.logcumsumexp(values - kept, 1))
        else:
            states = kept.exp() * torch.cumsum(torch.exp(values - kept), 1)
        return self.head(states[:, -x.shape[1] :] if self.start == "last" else states[:, 1:])


@pytest.mark.parametrize(
    ("form", "start"), [("log", "learnt"), ("log", "number"), ("log", "last"), ("sum", "learnt"), ("sum", "given")]
)
def test_the_parallel_form_of_mingru_from_a_start_streams(form: str, start: str) -> None:
    module, x = MinGRU(form, start).eval(), torch.randn(2, 40, 3)
    examples = (x, torch.rand(2, 1, 8)) if start == "given" else (x,)
    axes = {"x": ("B", "T", None), "given": ("B", None, None)}
    model = fastgru.convert(module, example_inputs=examples, axes={n: axes[n] for n in list(axes)[: len(examples)]})
    with torch.no_grad():
        expected = module(*examples).numpy()
    feeds = dict(zip(axes, (v.numpy() for v in examples), strict=False))
    got = model(feeds if start == "given" else feeds["x"])
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    if start != "given":
        stream = model.stream(2)
        parts = [stream.process(feeds["x"][:, t : t + 7]) for t in range(0, 40, 7)]
        np.testing.assert_array_equal(np.concatenate([*parts, stream.flush()], 1), got)


@pytest.mark.parametrize("sides", [(1, 0), (0, 1), (3, 0), (2, 3)])
def test_steps_of_any_numbers_join_a_sequence(sides: tuple[int, int]) -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front, self.rear = (nn.Parameter(torch.randn(1, n, 3)) for n in sides)

        def forward(self, x: Any) -> Any:
            parts = (p.expand(x.shape[0], -1, -1) for p in (self.front, self.rear))
            return torch.cumsum(torch.cat([p for p in (next(parts), x, next(parts)) if p.shape[1]], 1), 1)

    module, x = Joined().eval(), torch.randn(2, 11, 3)
    model = fastgru.convert(module, example_inputs=x, axes={"x": ("B", "T", None)})
    np.testing.assert_allclose(model(x.numpy()), module(x).detach().numpy(), rtol=1e-5, atol=1e-5)
    stream = model.stream(2)
    parts = [stream.process(x.numpy()[:, t : t + 3]) for t in range(0, 11, 3)]
    np.testing.assert_array_equal(np.concatenate([*parts, stream.flush()], 1), model(x.numpy()))
