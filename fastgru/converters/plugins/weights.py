"""The list that holds all weights of a ``.nam`` file, and the layers that are read from it one after the other."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from ...errors import ConvertError
from ...graph.fields import short
from ..program.values import Array
from . import fields
from .fields import Fields
from .net import Net

VERSIONS = ((0, 5), (0, 7))  # the first and the last of the format that are known


def check_version(file: Fields) -> None:
    """Refuse files of a version of the format that is not known; one without a version is of the first."""
    version = file.text("version", "0.5.0")
    numbers = version.split(".")
    plain = len(numbers) == 3 and all(n.isascii() and n.isdigit() and len(n) < 6 for n in numbers)
    if not plain or not VERSIONS[0] <= tuple(map(int, numbers[:2])) <= VERSIONS[1]:
        first, last = (".".join(map(str, v)) for v in VERSIONS)
        raise ConvertError(f"{file.name('version')} must be from {first} to {last}, got {short(version)}")


class Weights:
    """The weights of a file, read from the front of their list."""

    def __init__(self, file: Fields) -> None:
        self.what = file.name("weights")
        self.numbers, self.read = fields.numbers(file.items("weights"), self.what), 0

    def take(self, what: str, *shape: int) -> Array:
        """Return the next weights; `what` they are is for the message where there are too few.

        Raises
        ------
        ConvertError
            When the list ends before.
        """
        count, first = prod(shape), self.read
        if count > len(self.numbers) - first:
            raise ConvertError(
                f"{self.what} must hold {short(count)} numbers for the {what}, from number {first} on, got "
                f"{len(self.numbers)} in all"
            )
        self.read += count
        return self.numbers[first : self.read].reshape(shape)

    def finish(self) -> None:
        """Refuse weights that no layer has read."""
        if self.read != len(self.numbers):
            raise ConvertError(
                f"{self.what} must hold the {self.read} numbers that the config asks for, got {len(self.numbers)}"
            )

    def conv(
        self,
        name: str,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        bias: bool = True,
        dilation: int = 1,
        groups: int = 1,
    ) -> Conv:
        """Return the next weights as those of a convolution: (O, C / groups, K), then the bias."""
        if inputs % groups or outputs % groups:
            raise ConvertError(f"groups of {name} must divide {inputs} and {outputs} channels, got {groups}")
        weight = self.take(f"weights of {name}", outputs, inputs // groups, kernel)
        return Conv(name, weight, self.take(f"bias of {name}", outputs) if bias else None, dilation, groups)


class Conv(NamedTuple):
    """A causal convolution over time, with its place in the file."""

    name: str
    weight: Array
    bias: Array | None
    dilation: int
    groups: int

    def add(self, net: Net, x: str) -> str:
        """Add the convolution of a value."""
        net.name, channels = self.name, self.weight.shape[1] * self.groups
        if net.shape(x) != (channels,):
            raise ConvertError(f"input of {self.name} must have {channels} channels, got {net.shape(x)}")
        return net.convolve(x, self.weight, self.bias, self.dilation, self.groups)
