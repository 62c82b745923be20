"""Spectra as complex numbers: products with complex constants, conjugates, moves of axes; against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru.errors import ConvertError

torch = pytest.importorskip("torch")
nn = torch.nn
SIZE = 16


class Spectral(nn.Module):
    """A function of the short-time spectrum of a signal, (B, F, T) complex."""

    def __init__(self, body: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(SIZE))
        self.phase, self.filter = nn.Parameter(torch.randn(9)), nn.Parameter(torch.randn(9, 2))
        self.gru, self.body = nn.GRU(9, 9, batch_first=True), body

    def forward(self, x: Any) -> Any:
        return self.body(self, torch.stft(x, SIZE, 8, window=self.window, center=False, return_complex=True))


def shifted(m: Any, z: Any) -> Any:
    """By a phase for each frequency."""
    return torch.view_as_real(z * torch.exp(1j * m.phase).unsqueeze(-1)).permute(0, 2, 1, 3)


def masked(m: Any, z: Any) -> Any:
    """Time first, with a mask by a GRU and a filter of complex numbers."""
    z = z.transpose(1, 2)
    z = z * torch.sigmoid(m.gru(z.abs())[0]) * torch.view_as_complex(m.filter)
    return torch.view_as_real(z[:, :, 1:]).flatten(2)


def coherent(m: Any, z: Any) -> Any:
    """A product with the conjugate, moved and scaled."""
    z = z.permute(0, 2, 1).unsqueeze(1).squeeze(1)
    y = z * z.conj() / (z.abs() + 1e-3) - 1j * z
    return torch.cat([y.real, y.imag, (-y).select(-1, 2).unsqueeze(-1).abs()], -1)


def turned(m: Any, z: Any) -> Any:
    """By an angle that the magnitude gives, in halves of the frequencies."""
    z = z.transpose(1, 2)[..., :8]
    y = z.reshape(z.shape[0], z.shape[1], 2, 4) * torch.exp(torch.complex(-z.abs(), z.abs())).view(*z.shape[:2], 2, 4)
    return torch.view_as_real(y)


@pytest.mark.parametrize("body", [shifted, masked, coherent, turned])
def test_complex_numbers(body: Callable[[Any, Any], Any]) -> None:
    torch.manual_seed(0)
    net = Spectral(body).eval()
    model = fastgru.convert(net, example_inputs=torch.randn(2, 96))
    x = torch.randn(3, 240)
    with torch.no_grad():
        expected = net(x)
    y = model(x.numpy())
    np.testing.assert_allclose(y, expected, atol=1e-5)
    stream = model.stream(3)
    parts = [stream.process(x[:, a:b].numpy()) for a, b in ((0, 1), (1, 100), (100, 240))]
    assert np.array_equal(np.concatenate([*parts, stream.flush()], 1), y)


def test_what_takes_no_complex_numbers_is_named() -> None:
    net = Spectral(lambda m, z: torch.tanh(z).real).eval()
    message = (
        r"node 'tanh' .*: argument must be of real numbers, got complex ones, .*: compute with their real and imag"
    )
    with pytest.raises(ConvertError, match=message):
        fastgru.convert(net, example_inputs=torch.randn(2, 96))


# Loops over time -----------------------------------------------------------------------------------


class Loop(nn.Module):
    """A loop with complex states, (B, T, 3) to (B, T, ...)."""

    def __init__(self, body: Callable[..., Any]) -> None:
        super().__init__()
        self.decay, self.phase = nn.Parameter(torch.rand(4) * 0.5 + 0.2), nn.Parameter(torch.rand(4) * 3)
        self.into, self.out = nn.Parameter(torch.randn(4, 3, 2)), nn.Parameter(torch.randn(2, 4, dtype=torch.cfloat))
        self.start, self.x, self.body = nn.Parameter(torch.randn(4, dtype=torch.cfloat)), nn.Linear(3, 4), body

    def zeros(self, x: Any) -> Any:
        return torch.zeros(x.shape[0], 4, dtype=torch.cfloat)

    def forward(self, x: Any, *states: Any) -> Any:
        return self.body(self, x, torch.polar(self.decay, self.phase), *states)


def diagonal(m: Any, x: Any, poles: Any) -> Any:
    """A linear recurrent unit."""
    u = x.to(torch.complex64) @ torch.view_as_complex(m.into).T
    h, out = torch.zeros_like(u[:, 0]), []
    for t in range(x.shape[1]):
        h = poles * h + u[:, t]
        out.append(h)
    return torch.einsum("oh,bth->bto", m.out, torch.stack(out, 1)).real


def discretised(m: Any, x: Any, poles: Any) -> Any:
    """A diagonal state space for each feature."""
    a = -torch.exp(m.decay) + 1j * m.phase
    step = torch.exp(0.1 * a)
    h, out = torch.zeros(x.shape[0], 3, 4, dtype=torch.cfloat), []
    for t in range(x.shape[1]):
        h = step * h + (step - 1) / a * x[:, t].unsqueeze(-1)
        out.append(2 * (h * m.out[0]).sum(-1).real)
    return torch.stack(out, 1)


def written(m: Any, x: Any, poles: Any) -> Any:
    h, out = m.zeros(x), torch.zeros(x.shape[0], x.shape[1], 4, dtype=torch.cfloat)
    for t in range(x.shape[1]):
        h = h @ torch.diag(poles) + m.x(x[:, t])
        out[:, t] = h
    return torch.view_as_real(out)


def gated(m: Any, x: Any, poles: Any) -> Any:
    """From a learnt start, with a quotient, a power and a choice."""
    h, out = m.start.expand(x.shape[0], -1), []
    for t in range(x.shape[1]):
        u = torch.complex(m.x(x[:, t]), torch.ones_like(m.x(x[:, t])))
        h = (h * 0.5 + 1j) / (u * u.conj() + 2 + u) + torch.where(u.real.gt(0), u, h) * 0.1 - h**2 / 9
        out.append(torch.cat([h.abs(), h.angle(), (1 / (h + 2)).imag], -1))
    return torch.stack(out, 1)


def of_second_order(m: Any, x: Any, poles: Any) -> Any:
    h = before = m.zeros(x)
    out = []
    for t in range(x.shape[1]):
        h, before = 0.4 * h + 0.2j * before + m.x(x[:, t]), h
        out.append(h.view(-1, 2, 2).transpose(1, 2).flatten(1).imag)
    return torch.stack(out, 1)


@pytest.mark.parametrize("body", [diagonal, discretised, written, gated, of_second_order])
def test_a_loop_with_complex_states(body: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    net = Loop(body).eval()
    model = fastgru.convert(net, example_inputs=torch.randn(2, 10, 3))
    x = torch.randn(3, 23, 3)
    with torch.no_grad():
        expected = net(x)
    y = model(x.numpy())
    np.testing.assert_allclose(y, expected, atol=1e-5)
    stream = model.stream(3)
    assert np.array_equal(np.concatenate([stream.process(x[:, t : t + 1].numpy().copy()) for t in range(23)], 1), y)


def test_pairs_that_a_forward_takes_and_returns_are_the_streams() -> None:
    def body(m: Any, x: Any, poles: Any, state: Any) -> Any:
        h, out = torch.view_as_complex(state), []
        for t in range(x.shape[1]):
            h = poles * h + m.x(x[:, t])
            out.append(h.real)
        return torch.stack(out, 1), torch.view_as_real(h)

    torch.manual_seed(0)
    net = Loop(body).eval()
    examples = (torch.randn(2, 10, 3), torch.zeros(2, 4, 2))
    model = fastgru.convert(net, example_inputs=examples, states={"states.0": "1"})
    stream, state, x = model.stream(3), torch.zeros(3, 4, 2), torch.randn(3, 17, 3)
    for part in (x[:, :3], x[:, 3:4], x[:, 4:]):
        with torch.no_grad():
            y, state = net(part, state)
        np.testing.assert_allclose(stream.process(part.numpy().copy()), y, atol=1e-5)
