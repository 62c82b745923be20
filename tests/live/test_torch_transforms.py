"""Short-time transforms back to a number of samples: left out, the input's, fixed, less; from the middle or not."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru

torch = pytest.importorskip("torch")
nn = torch.nn
N, HOP = 16, 4
LENGTHS = {
    "left out": lambda x: None,
    "of the input": lambda x: x.shape[-1],
    "fixed": lambda x: 39,
    "less than the input's": lambda x: x.shape[-1] - 3,
    "less than is fixed": lambda x: 30,
}


class Masked(nn.Module):
    """A mask of magnitudes, and back to samples."""

    def __init__(self, length, hop=HOP, center=True):
        super().__init__()
        self.length, self.hop, self.center = length, hop, center
        self.mask = nn.Linear(N // 2 + 1, N // 2 + 1)
        self.register_buffer("window", torch.hamming_window(N))

    def forward(self, x):
        settings = {"hop_length": self.hop, "window": self.window, "center": self.center}
        z = torch.stft(x, N, **settings, return_complex=True)
        mask = torch.sigmoid(self.mask(z.abs().transpose(1, 2))).transpose(1, 2)
        return torch.istft(z * mask, N, **settings, length=self.length(x))


def converted(net, samples, found, **options):
    model = fastgru.convert(net, example_inputs=torch.randn(2, samples), **options)
    assert model.provenance["axes"] == found
    return model


@pytest.mark.parametrize("hop", [4, 5])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("length", LENGTHS)
def test_samples_of_a_fixed_number(length, center, hop):
    torch.manual_seed(0)
    net = Masked(LENGTHS[length], hop, center).eval()
    model = converted(net, 39, "x (B, 39)", axes={"x": ("B", None)})
    x = torch.randn(3, 39)
    with torch.no_grad():
        expected = net(x)
    y = model(x.numpy())
    assert y.shape == expected.shape
    assert np.abs(y - expected.numpy()).max() < 1e-5


@pytest.mark.parametrize("length", ["of the input", "fixed"])
def test_an_example_that_is_no_multiple_of_the_hop_fixes_the_samples(length):
    torch.manual_seed(0)
    converted(Masked(LENGTHS[length]).eval(), 39, "x (B, 39)")


@pytest.mark.parametrize("length", ["left out", "of the input", "less than the input's"])
def test_samples_of_any_multiple_of_the_hop(length):
    torch.manual_seed(0)
    net = Masked(LENGTHS[length]).eval()
    model = converted(net, 40, "x (B, T)")
    x = torch.randn(2, 64)
    with torch.no_grad():
        assert np.abs(model(x.numpy()) - net(x).numpy()).max() < 1e-5
