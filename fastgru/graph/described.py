"""Layers that are several ops in a graph: `like` describes them, and a source's arrays build them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import GraphError


@dataclass(kw_only=True, eq=False, repr=False)  # every method that it makes takes 0.1 ms of the import
class Described:
    """A layer for `like` alone: what a file of weights does not say of it."""

    @classmethod
    def has_arrays(cls, attributes: Mapping[str, Any]) -> bool:
        """Return True if a layer with these attributes has arrays in a file."""
        return True


@dataclass(kw_only=True, eq=False, repr=False)
class GroupNorm(Described):
    """(x - mean) / sqrt(variance + eps) by groups of channels, then a scale and a shift for each channel.

    Parameters
    ----------
    groups : int
        Groups of channels, which are the first axis of a step's item.
    over_time : bool
        Whether the mean and the variance are those of all steps, as where PyTorch's layer takes (B, C, T), or of each
        step, as where it takes (B * T, C, ...).
    eps : float
    affine : bool
        Whether a file has scales and shifts; asked only where `like` gives no name.

    Examples
    --------
    >>> from fastgru.layers import GroupNorm, like
    >>> like(GroupNorm, name="norm", groups=4, over_time=True).attributes
    {'groups': 4, 'over_time': True}
    """

    groups: int
    over_time: bool
    eps: float = 1e-5
    affine: bool = True

    def __post_init__(self) -> None:
        _check(self, groups=int, over_time=bool, affine=bool)

    @classmethod
    def has_arrays(cls, attributes: Mapping[str, Any]) -> bool:
        """Return True with scales and shifts."""
        return bool(attributes.get("affine", cls.affine))


@dataclass(kw_only=True, eq=False, repr=False)
class InstanceNorm(Described):
    """The same for each channel alone, or by running statistics where the file has them.

    Parameters
    ----------
    over_time : bool, optional
        As of `GroupNorm`; not asked where there are running statistics, nor of items of one axis, a channel of which
        has one number in each step.
    eps : float
    affine, track_running_stats : bool
        What a file has of the layer, as PyTorch's layer is told; asked only where `like` gives no name.
    """

    over_time: bool | None = None
    eps: float = 1e-5
    affine: bool = False
    track_running_stats: bool = False

    def __post_init__(self) -> None:
        _check(self, over_time=bool | None, affine=bool, track_running_stats=bool)

    @classmethod
    def has_arrays(cls, attributes: Mapping[str, Any]) -> bool:
        """Return True with scales and shifts, or statistics."""
        return any(attributes.get(name, getattr(cls, name)) for name in ("affine", "track_running_stats"))


@dataclass(kw_only=True, eq=False, repr=False)
class PReLU(Described):
    """x, or x times a slope where x is negative: one slope, or one for each channel, the first axis of an item."""


def _check(layer: Any, **kinds: Any) -> None:
    for name, kind in kinds.items():
        value = getattr(layer, name)
        if not isinstance(value, kind) or (kind is int and (isinstance(value, bool) or value < 1)):
            expected = "a positive integer" if kind is int else "True or False"
            raise GraphError(f"{name} of {type(layer).__name__} must be {expected}, got {value!r}")
    if not (isinstance(layer.eps, int | float) and layer.eps >= 0):
        raise GraphError(f"eps of {type(layer).__name__} must be a number of 0 or more, got {layer.eps!r}")
