"""One layer of a WaveNet of Neural Amp Modeler."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import ConvertError
from .activations import activate
from .fields import Fields
from .net import Net
from .weights import Conv, Weights

FILMS = ("conv_pre_film", "conv_post_film", "input_mixin_pre_film", "input_mixin_post_film", "activation_pre_film",
         "activation_post_film", "layer1x1_post_film", "head1x1_post_film")  # fmt: skip


class Pointwise(NamedTuple):
    """The output channels and groups of a convolution of single steps."""

    outputs: int
    groups: int


class Sizes(NamedTuple):
    """The sizes of all layers of an array: `onward` and `head` are the convolutions behind the activation."""

    channels: int
    bottleneck: int
    condition: int
    groups: int
    groups_mixin: int
    onward: Pointwise
    head: Pointwise | None


class Layer:
    """A layer: convolution and condition summed, activated, and sent on to the next layer and to the head.

    Parameters
    ----------
    net : Net
    config : Fields
        Of the array.
    name : str
        The layer's place in the file.
    sizes : Sizes
    mode : {"none", "gated", "blended"}
        What the second half of the channels does to the first.
    activations : tuple
        As the file has them, of the first and the second half.
    """

    def __init__(
        self, net: Net, config: Fields, name: str, sizes: Sizes, mode: str, activations: tuple[Any, Any]
    ) -> None:
        self.net, self.config, self.name, self.sizes = net, config, name, sizes
        self.mode, self.activations = mode, activations

    def read(self, weights: Weights, kernel: int, dilation: int) -> None:
        """Take the layer's weights, in the order of the file."""
        s, name = self.sizes, self.name
        inner = s.bottleneck * (1 if self.mode == "none" else 2)
        self.conv = weights.conv(f"{name}.conv", s.channels, inner, kernel, dilation=dilation, groups=s.groups)
        self.mixin = weights.conv(f"{name}.input_mixin", s.condition, inner, bias=False, groups=s.groups_mixin)
        self.onward = weights.conv(f"{name}.layer1x1", s.bottleneck, s.onward.outputs, groups=s.onward.groups)
        self.head = None
        if s.head is not None:
            self.head = weights.conv(f"{name}.head1x1", s.bottleneck, s.head.outputs, groups=s.head.groups)
        widths = (
            s.channels,
            inner,
            s.condition,
            inner,
            inner,
            s.bottleneck,
            s.channels,
            s.head.outputs if s.head else 0,
        )
        self.films = {
            field: film
            for field, width in zip(FILMS, widths, strict=True)
            if (film := self._film(weights, field, width)) is not None
        }

    def _film(self, weights: Weights, field: str, width: int) -> Conv | None:
        """Take the weights of a modulation by the condition, where the layer has it."""
        if field not in self.config or self.config.get(field) is False:
            return None
        own = self.config.fields(field)
        active, shift, groups = own.flag("active", True), own.flag("shift", True), own.integer("groups", 1)
        own.finish()
        if not active:
            return None
        if field == "layer1x1_post_film" and self.mode != "blended":
            raise ConvertError(
                f"{own.where} must be inactive where gating_mode is not 'blended': the programs that train and play "
                f"such files differ, got it with {self.mode!r}"
            )
        if width == 0:
            raise ConvertError(f"{own.where} must be inactive without the layer before it, got it active")
        outputs = width * (2 if shift else 1)
        return weights.conv(f"{self.name}.{field}", self.sizes.condition, outputs, groups=groups)

    def add(self, x: str, condition: str) -> tuple[str, str]:
        """Add the layer; returns what it sends to the next, and to the head."""
        self.condition = condition
        y = self._modulated("conv_post_film", self.conv.add(self.net, self._modulated("conv_pre_film", x)))
        mixed = self.mixin.add(self.net, self._modulated("input_mixin_pre_film", condition))
        mixed = self._modulated("input_mixin_post_film", mixed)
        self.net.name = f"{self.name}.sum"
        z = self._modulated("activation_pre_film", self.net.plus(y, mixed))
        z = self._modulated("activation_post_film", self._activated(z))
        if "layer1x1_post_film" not in self.films:
            name, weight, bias, _, groups = self.onward
            self.net.name = name
            out = self.net.carry_on(x, weight, bias, groups, z)
        else:
            y = self._modulated("layer1x1_post_film", self.onward.add(self.net, z))
            self.net.name = f"{self.name}.residual"
            out = self.net.plus(self.net.whole(x), y)
        head = z if self.head is None else self._modulated("head1x1_post_film", self.head.add(self.net, z))
        return out, head

    def _modulated(self, field: str, x: str) -> str:
        """Add a scale and a shift of every channel that the condition gives; nothing where there is none."""
        film, width = self.films.get(field), self.net.shape(x)[0]
        if film is None:
            return x
        parts = film.add(self.net, self.condition)
        shifted = self.net.shape(parts)[0] > width
        y = self.net.times(self.net.whole(x), self.net.cut(parts, 0, 0, width))
        return self.net.plus(y, self.net.cut(parts, 0, width, 2 * width)) if shifted else y

    def _activated(self, z: str) -> str:
        """Add the activations of both halves, and what the second does to the first."""
        net, size, (first, second) = self.net, self.sizes.bottleneck, self.activations
        net.name = f"{self.name}.activation"
        names = [f"{self.config.where}.{field}" for field in ("activation", "secondary_activation")]
        if self.mode == "none":
            return activate(net, z, first, names[0])
        top = net.cut(z, 0, 0, size)
        y, gate = activate(net, top, first, names[0]), activate(net, net.cut(z, 0, size, 2 * size), second, names[1])
        if self.mode == "gated":
            return net.times(y, gate)
        return net.plus(net.times(gate, y), net.times(net.affine(gate, -1.0, 1.0), top))
