"""Resize and Upsample, in all of ONNX's ways to say sizes and coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ConvertError
from ..program.resizing import Resizing, fits, mapped, resized, weights
from ..program.values import Array, Tensor
from .call import Call, Translator

POLICIES = {"stretch": max, "not_larger": min, "not_smaller": max}
CROP = "tf_crop_and_resize"


def resize(call: Call) -> Tensor:
    """Resize by constant scales or sizes."""
    x = call.tensor(0)
    old = call.opset < 11  # scales alone, and one way to count coordinates
    scales = call.optional(1 if old else 2, "scales")
    sizes = None if old else call.optional(3, "sizes")
    coordinates = call.attr("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    how = Resizing(
        call.attr("mode", "nearest"), coordinates,
        call.attr("nearest_mode", "floor" if old else "round_prefer_floor"), call.attr("cubic_coeff_a", -0.75),
        bool(call.attr("exclude_outside", 0)), bool(call.attr("antialias", 0)),
    )  # fmt: skip
    axes = call.axes(call.attr("axes") or range(x.rank), x.rank)
    policy, beyond = call.attr("keep_aspect_ratio_policy", "stretch"), call.attr("extrapolation_value", 0.0)
    if policy not in POLICIES:
        raise ConvertError(f"keep_aspect_ratio_policy must be one of {', '.join(POLICIES)}, got {policy!r}")
    if sizes is not None and sizes.size == len(axes) and policy != "stretch":
        own = np.array([x.spec.shape[x.frame_axis(a)] for a in axes])
        scale = POLICIES[policy]((sizes / own).tolist())
        sizes = np.floor(scale * own + 0.5).astype(np.int64)
    if how.coordinates != CROP:
        return _resized(call, x, axes, scales, sizes, how)
    region = call.optional(1, "roi")
    if region is None or region.size != 2 * len(axes):
        raise ConvertError(f"roi must have two entries for each of {len(axes)} axes, got {region}")
    for axis, (m, scale), *ends in zip(axes, _targets(x, axes, scales, sizes), *region.reshape(2, -1), strict=True):
        if x.is_frame(axis) or (scale, *ends) != (1, 0, 1):
            x = _cropped(call, x, axis, m, scale, ends, how, beyond)
    return x


def _targets(x: Tensor, axes: Sequence[int], scales: Array | None, sizes: Array | None) -> list[tuple[int | None, Any]]:
    """The size of each axis, where it is given, and the scale."""
    given = scales if scales is not None and scales.size else sizes
    if given is None or given.size != len(axes):
        raise ConvertError(f"scales or sizes must have {len(axes)} entries, got {given}")
    found: list[tuple[int | None, Any]] = []
    for axis, value in zip(axes, given.reshape(-1), strict=True):
        n = x.size(axis)
        if given is scales:  # whose product with the size is of float32
            found.append((int(n * value) if isinstance(n, int) else None, value))
        else:
            found.append((int(value), np.float32(1 if n == value else value / x.spec.shape[x.frame_axis(axis)])))
    return found


def _resized(
    call: Call, x: Tensor, axes: Sequence[int], scales: Array | None, sizes: Array | None, how: Resizing
) -> Tensor:
    for axis, (m, scale) in zip(axes, _targets(x, axes, scales, sizes), strict=True):
        x = x if scale == 1 else resized(call, x, axis, m, scale, how)
    return x


def _cropped(
    call: Call, x: Tensor, axis: int, m: int | None, scale: float, ends: Sequence[float], how: Resizing, beyond: float
) -> Tensor:
    """The elements between two places, given as parts of the axis; a number where these are outside."""
    n = x.spec.shape[x.frame_axis(axis)]
    m = int(np.floor(n * scale)) if m is None else m
    fits(m, n)
    first, last = (float(end) * (n - 1) for end in ends)
    at = first + (
        np.arange(m) * ((last - first) / (scale * n - 1)) if scale * n != 1 else (last - first) / 2 * np.ones(m)
    )
    outside = (at < 0) | (at > n - 1)
    matrix = np.where(outside[:, None], 0.0, weights(at, n, how, scale))
    return mapped(call, x, axis, matrix, np.where(outside, beyond, 0.0) if outside.any() else None)


def upsample(call: Call) -> Tensor:
    """Upsample, which Resize replaced."""
    x = call.tensor(0)
    scales = np.asarray(call.attr("scales"), np.float32) if call.opset < 9 else call.array(1, "scales")
    return _resized(call, x, range(x.rank), scales, None, Resizing(call.attr("mode", "nearest"), "asymmetric", "floor"))


OPERATORS: dict[str, Translator] = {"Resize": resize, "Upsample": upsample}
