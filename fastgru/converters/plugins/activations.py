"""The activations of Neural Amp Modeler, by its names: those of PyTorch's classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...errors import ConvertError
from ..program.formulas import FORMULAS
from ..program.values import Array
from . import fields
from .fields import Fields
from .net import Net, inner_size


class Row(NamedTuple):
    """The formula of an activation, and its parameters: what the file calls them, what the formula does, defaults."""

    formula: str
    parameters: tuple[tuple[str, str, float], ...] = ()


ROWS = {
    "Tanh": Row("tanh"),
    "Sigmoid": Row("sigmoid"),
    "ReLU": Row("relu"),
    "SiLU": Row("silu"),
    "Hardswish": Row("hard_silu"),
    "Softsign": Row("softsign"),
    "LeakyReLU": Row("leaky_relu", (("negative_slope", "alpha", 0.01),)),
    "Hardtanh": Row("clip", (("min_val", "low", -1.0), ("max_val", "high", 1.0))),
}
LEAKY = ("LeakyHardtanh", "LeakyHardTanh")
KNOWN = (*ROWS, "PReLU", LEAKY[0])


def activate(net: Net, value: str, given: Any, what: str) -> str:
    """Add an activation that a file gives by name, or as an object of its type and parameters.

    Raises
    ------
    ConvertError
        When it is not known.
    """
    config = Fields({"type": given} if isinstance(given, str) else given, what)
    name = config.text("type")
    if name in ROWS:
        row = ROWS[name]
        numbers = {own: config.number(field, default) for field, own, default in row.parameters}
        value = FORMULAS[row.formula](net, value, **numbers)
    elif name == "PReLU":
        value = rectified(net, value, _slopes(config, inner_size(net.shape(value), what)))
    elif name in LEAKY:
        value = _leaky_clip(net, value, config)
    else:
        raise ConvertError(f"{what} must be one of {', '.join(KNOWN)}, got {name!r}")
    config.finish()
    return value


def _slopes(config: Fields, channels: int) -> Array:
    if "negative_slopes" not in config:
        return np.array([config.number("negative_slope", 0.01)])
    slopes = fields.array(config.get("negative_slopes"), config.name("negative_slopes"), ("channels",))
    if len(slopes) not in (1, channels):
        raise ConvertError(f"{config.name('negative_slopes')} must hold 1 or {channels} numbers, got {len(slopes)}")
    return slopes


def rectified(net: Net, x: str, slope: Array) -> str:
    """Add x, or slope * x where it is negative; one slope for each channel, or for all."""
    if len(slope) == 1:
        return net.activate(x, "leaky_relu", alpha=float(slope[0]))
    return net.plus(net.activate(x, "relu"), net.times(net.binary("min", x, 0.0), net.constant(slope)))


def _leaky_clip(net: Net, x: str, config: Fields) -> str:
    """Add x within its bounds, and beyond them what is of the slope there."""
    low, high = config.number("min_val", -1.0), config.number("max_val", 1.0)
    below, above = config.number("min_slope", 0.01), config.number("max_slope", 0.01)
    if low > high:
        raise ConvertError(f"{config.name('min_val')} must be at most max_val {high}, got {low}")
    under = net.binary("min", net.affine(x, 1.0, -low), 0.0)
    return net.plus(
        FORMULAS["clip"](net, x, low, high),
        net.affine(under, below),
        net.affine(net.activate(net.affine(x, 1.0, -high), "relu"), above),
    )
