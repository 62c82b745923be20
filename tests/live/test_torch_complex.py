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


def test_a_loop_names_what_it_lacks() -> None:
    class Unit(nn.Module):
        """A linear recurrent unit with complex states."""

        def __init__(self) -> None:
            super().__init__()
            self.poles, self.into = nn.Parameter(torch.rand(4, 2)), nn.Parameter(torch.randn(4, 3, 2))

        def forward(self, x: Any) -> Any:
            u = x.to(torch.complex64) @ torch.view_as_complex(self.into).T
            h, out = torch.zeros_like(u[:, 0]), []
            for t in range(x.shape[1]):
                h = torch.view_as_complex(self.poles) * h + u[:, t]
                out.append(h.real)
            return torch.stack(out, 1)

    with pytest.raises(ConvertError, match=r"node '_to_copy' .*: dtype must be of real numbers, got torch.complex64"):
        fastgru.convert(Unit().eval(), example_inputs=torch.randn(2, 9, 3))
