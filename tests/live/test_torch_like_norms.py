"""State_dicts of norms by groups and channels and of learned slopes, poured into `like`, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import fastgru  # noqa: E402
from fastgru import ConvertError  # noqa: E402
from fastgru.layers import GRU, Conv, Dense, GroupNorm, InstanceNorm, PReLU, Reshape, TimeConv, like  # noqa: E402

X = np.random.default_rng(0).normal(size=(2, 14, 8)).astype(np.float32)
PICTURES = np.random.default_rng(1).normal(size=(2, 5, 48)).astype(np.float32)


class OverTime(nn.Module):
    """A convolution over time, a layer of (B, C, T), and a GRU."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.norm, self.rnn = nn.Conv1d(8, 12, 3, padding=1), layer, nn.GRU(12, 4, batch_first=True)
        trained(self)

    def forward(self, x: Any) -> Any:
        return self.rnn(self.norm(self.conv(x.transpose(1, 2))).transpose(1, 2))[0]


class OfFrames(nn.Module):
    """A convolution of each frame of a video, a layer of (B * T, C, H, W), and a Linear."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv, self.norm, self.fc = nn.Conv2d(1, 4, 3, padding=1), layer, nn.Linear(192, 3)
        trained(self)

    def forward(self, x: Any) -> Any:
        y = self.norm(self.conv(x.reshape(-1, 1, 6, 8)))
        return self.fc(y.reshape(*x.shape[:2], 192))


class OfSpectra(nn.Module):
    """A convolution of each spectrum, a layer of (B, C, T, F), whose statistics are over time, too, and a Linear."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.norm, self.fc = nn.Conv1d(1, 4, 3, padding=1), layer, nn.Linear(192, 3)
        trained(self)

    def forward(self, x: Any) -> Any:
        y = self.conv(x.reshape(-1, 1, 48)).reshape(*x.shape[:2], 4, 48)
        y = self.norm(y.transpose(1, 2)).transpose(1, 2)
        return self.fc(y.reshape(*x.shape[:2], 192))


def trained(net: nn.Module) -> None:
    """Give parameters and statistics values that tell the channels apart."""
    with torch.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if name.startswith("norm.") and tensor.is_floating_point():
                tensor.copy_(torch.linspace(0.2, 1.4, tensor.numel()))


def chain(net: nn.Module, item: Any) -> list[Any]:
    if isinstance(net, OverTime):
        return [like(TimeConv, name="conv", before=1, after=1), item, like(GRU, name="rnn")]
    kernel = {"before": (1, 1), "after": (1, 1)} if isinstance(net, OfFrames) else {"before": (1,), "after": (1,)}
    shape = (1, 6, 8) if isinstance(net, OfFrames) else (1, 48)
    return [
        like(Reshape, shape=shape), like(Conv, name="conv", **kernel), item, like(Reshape, shape=(192,)),
        like(Dense, name="fc"),
    ]  # fmt: skip


running = {"track_running_stats": True}
CASES: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "groups over time": (lambda: OverTime(nn.GroupNorm(3, 12)), like(GroupNorm, name="norm", groups=3, over_time=True)),
    "groups of each step": (
        lambda: OfFrames(nn.GroupNorm(2, 4, eps=1e-3)),
        like(GroupNorm, name="norm", groups=2, over_time=False, eps=1e-3),
    ),
    "groups of spectra over time": (
        lambda: OfSpectra(nn.GroupNorm(2, 4)),
        like(GroupNorm, name="norm", groups=2, over_time=True),
    ),
    "groups without weights": (
        lambda: OverTime(nn.GroupNorm(1, 12, affine=False)),
        like(GroupNorm, groups=1, over_time=True, affine=False),
    ),
    "channels over time": (lambda: OverTime(nn.InstanceNorm1d(12)), like(InstanceNorm)),
    "channels with weights": (lambda: OverTime(nn.InstanceNorm1d(12, affine=True)), like(InstanceNorm, name="norm")),
    "channels with statistics": (
        lambda: OverTime(nn.InstanceNorm1d(12, **running, eps=1e-2)),
        like(InstanceNorm, name="norm", eps=1e-2),
    ),
    "channels with both": (
        lambda: OverTime(nn.InstanceNorm1d(12, affine=True, **running)),
        like(InstanceNorm, name="norm"),
    ),
    "channels of each step": (
        lambda: OfFrames(nn.InstanceNorm2d(4, affine=True)),
        like(InstanceNorm, name="norm", over_time=False),
    ),
    "channels of spectra over time": (
        lambda: OfSpectra(nn.InstanceNorm2d(4)),
        like(InstanceNorm, name="between", over_time=True),
    ),
    "channels of frames with statistics": (
        lambda: OfFrames(nn.InstanceNorm2d(4, affine=True, **running)),
        like(InstanceNorm, name="norm"),
    ),
    "one slope": (lambda: OverTime(nn.PReLU()), like(PReLU, name="norm")),
    "slopes of channels": (lambda: OverTime(nn.PReLU(12)), like(PReLU, name="norm")),
    "slopes of channels of frames": (lambda: OfFrames(nn.PReLU(4)), like(PReLU, name="norm")),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_of_several_ops(name: str) -> None:
    make, item = CASES[name]
    net = make().eval()
    x = X if isinstance(net, OverTime) else PICTURES
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    y = fastgru.convert(net.state_dict(), like=chain(net, item))(x)
    np.testing.assert_allclose(y, expected, atol=5e-6)


def test_they_are_taken_in_the_order_of_the_file() -> None:
    torch.manual_seed(4)
    net = nn.Sequential(nn.Linear(8, 6), nn.PReLU(6), nn.Linear(6, 4), nn.GroupNorm(2, 4)).eval()
    trained(net)
    layers = [like(Dense), like(PReLU), like(Dense), like(GroupNorm, groups=2, over_time=False)]
    with torch.no_grad():
        expected = net(torch.from_numpy(X.reshape(-1, 8))).numpy().reshape(2, 14, 4)
    np.testing.assert_allclose(fastgru.convert(net.state_dict(), like=layers)(X), expected, atol=5e-6)
    first = nn.Sequential(nn.PReLU(8), nn.Linear(8, 2)).eval()
    with torch.no_grad():
        expected = first(torch.from_numpy(X).reshape(-1, 8)).numpy().reshape(2, 14, 2)
    y = fastgru.convert(first.state_dict(), like=[like(PReLU), like(Dense)])(X)
    np.testing.assert_allclose(y, expected, atol=5e-6)


REFUSED = {
    "nothing said": (like(GroupNorm, name="norm"), "groups and over_time of GroupNorm must be said in like, got none"),
    "no divisor": (like(GroupNorm, name="norm", groups=5, over_time=True), "groups must divide the 12 channels, got 5"),
    "no count": (like(GroupNorm, name="norm", groups=0, over_time=True), "groups of GroupNorm must be a positive int"),
    "no flag": (like(GroupNorm, name="norm", groups=3, over_time=2), "over_time of GroupNorm must be True or False"),
    "slopes": (like(PReLU, name="conv"), "arrays of PReLU must be weight \\(1-D\\).*, got weight \\(12, 8, 3\\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_said_is_asked_for(name: str) -> None:
    item, message = REFUSED[name]
    net = OverTime(nn.GroupNorm(3, 12))
    layers = [item] if name == "slopes" else chain(net, item)
    with pytest.raises(ConvertError, match=message):
        fastgru.convert(net.state_dict(), like=layers)


def test_of_what_the_statistics_are_is_asked_for_items_of_several_axes() -> None:
    net = OfFrames(nn.InstanceNorm2d(4, affine=True))
    with pytest.raises(
        ConvertError, match=r"over_time of InstanceNorm must be said for items .*\(4, 6, 8\): True where"
    ):
        fastgru.convert(net.state_dict(), like=chain(net, like(InstanceNorm, name="norm")))


def test_a_norm_that_may_be_another_is_said_to_be_assumed() -> None:
    net = nn.Sequential(nn.Linear(8, 4), nn.GroupNorm(2, 4))
    assert (
        "is a LayerNorm, not a GroupNorm; if not, say it with"
        in fastgru.convert(net.state_dict()).provenance["assumed"]
    )
