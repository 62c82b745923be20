"""Normalisations: the graph's own over the last axis, the others composed of means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import ConvertError
from ...graph import Add, BatchNorm, Binary, LayerNorm, Multiply, Reduce, Where
from ..tensors.values import Array, Size, Tensor
from ..tensors.views import align, renumbered, reshaped
from .call import Call, Translator
from .reductions import reduced


def batch_norm(call: Call) -> Tensor:
    """BatchNormalization with its stored statistics."""
    x = call.tensor(0)
    scale, shift, mean, variance = (call.array(i, name) for i, name in enumerate(("scale", "B", "mean", "var"), 1))
    call.attr("momentum")
    if call.attr("training_mode", 0) or call.attr("spatial", 1) != 1:
        raise ConvertError("training_mode must be 0 and spatial 1, got a batch norm that is not over channels only")
    eps = float(call.attr("epsilon", 1e-5))
    frame = x.frame_axis(min(1, x.rank - 1))
    if frame == len(x.spec.shape) - 1:
        return call.result(call.add(BatchNorm(mean, variance, scale, shift, eps), x.value), x.axes, x.elem)
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + eps)
    offset = shift - mean * factor
    shape = (-1, *[1] * (len(x.spec.shape) - 1 - frame))
    y = call.add(Multiply(), x.value, call.constant(factor.astype(np.float32).reshape(shape)))
    y = call.add(Add(), y, call.constant(offset.astype(np.float32).reshape(shape)))
    return call.result(y, x.axes, x.elem)


def layer_norm(call: Call) -> list[Tensor]:
    """LayerNormalization over the axes from one on."""
    x, scale = call.tensor(0), call.value(1)
    axis = call.axis(call.attr("axis", -1), x.rank)
    call.attr("stash_type")  # the type of the mean, which is float32 at least
    eps = float(call.attr("epsilon", 1e-5))
    axes = list(range(axis, x.rank))
    shift = call.value(2) if call.given(2) else None
    known = not isinstance(scale, Tensor) and not isinstance(shift, Tensor) and all(map(x.is_frame, axes))
    if known and len([o for o in call.node.output if o]) == 1:
        return [_known(call, x, axes, scale, shift, eps)]  # type: ignore[arg-type]
    mean, deviation = standardised(call, x, axes)
    inverse = _inverse(call, deviation, axes, eps)
    y = _scaled(call, _scaled(call, deviation, inverse), call.lift(scale))
    return [_shifted(call, y, call.lift(shift)) if shift is not None else y, mean, inverse]


def _known(call: Call, x: Tensor, axes: Sequence[int], scale: Array, shift: Array | None, eps: float) -> Tensor:
    """The graph's own layer norm, of axes made one and put last."""
    sizes = x.sizes()
    inner = [int(sizes[a]) for a in axes]
    flat = reshaped(call, x, (*sizes[: axes[0]], int(np.prod(inner))))
    frame = flat.frame_axis(flat.rank - 1)
    order = [*(i for i in range(len(flat.spec.shape)) if i != frame), frame]
    factor, offset = (None if a is None else np.broadcast_to(a, inner).reshape(-1) for a in (scale, shift))
    assert factor is not None
    y = call.add(LayerNorm(factor, offset, eps), call.transpose(flat.value, order))
    return reshaped(call, call.result(y, renumbered(flat.axes, order), x.elem), sizes)


def standardised(call: Call, x: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The mean over some axes, and `x` less it."""
    mean = reduced(call, x, axes, "mean", True)
    values, labels = align(call, [x, mean])
    return mean, call.result(call.add(Binary("sub"), *values), labels, x.elem)


def _inverse(call: Call, deviation: Tensor, axes: Sequence[int], eps: float) -> Tensor:
    """1 / sqrt(variance + eps) of deviations."""
    square = call.result(call.add(Multiply(), deviation.value, deviation.value), deviation.axes, deviation.elem)
    variance = reduced(call, square, axes, "mean", True)
    root = call.unary("sqrt", call.add(Add(), variance.value, call.number(eps, like=variance.value)))
    return call.result(call.unary("reciprocal", root), variance.axes, deviation.elem)


def _scaled(call: Call, x: Tensor, factor: Tensor) -> Tensor:
    values, axes = align(call, [x, factor])
    return call.result(call.add(Multiply(), *values), axes, x.elem)


def _shifted(call: Call, x: Tensor, offset: Tensor) -> Tensor:
    values, axes = align(call, [x, offset])
    return call.result(call.add(Add(), *values), axes, x.elem)


def normalised(call: Call, x: Tensor, axes: Sequence[int], eps: float) -> Tensor:
    """`x` less its mean over some axes, over its standard deviation."""
    _, deviation = standardised(call, x, axes)
    return _scaled(call, deviation, _inverse(call, deviation, axes, eps))


def per_channel(call: Call, x: Tensor, index: int) -> Tensor:
    """An input (C,) as one that broadcasts with (N, C, ...)."""
    channels = call.tensor(index)
    size = channels.spec.shape[channels.frame_axis(0)]
    return reshaped(call, channels, (size, *[1] * (x.rank - 2)))


def instance_norm(call: Call) -> Tensor:
    """InstanceNormalization: every channel over its spatial axes."""
    x = call.tensor(0)
    y = normalised(call, x, range(2, x.rank), float(call.attr("epsilon", 1e-5)))
    return _shifted(call, _scaled(call, y, per_channel(call, x, 1)), per_channel(call, x, 2))


def group_norm(call: Call) -> Tensor:
    """GroupNormalization: groups of channels with their spatial axes; scales per group before opset 21."""
    x, groups = call.tensor(0), call.attr("num_groups")
    call.attr("stash_type")
    sizes = x.sizes()
    channels = x.spec.shape[x.frame_axis(1)]
    if not groups or channels % groups:
        raise ConvertError(f"num_groups must divide the {channels} channels, got {groups}")
    parted: tuple[Size, ...] = (sizes[0], groups, channels // groups, *sizes[2:])
    y = normalised(call, reshaped(call, x, parted), range(2, x.rank + 1), float(call.attr("epsilon", 1e-5)))
    if call.opset < 21:
        y = _shifted(call, _scaled(call, y, per_channel(call, y, 1)), per_channel(call, y, 2))
        return reshaped(call, y, sizes)
    y = reshaped(call, y, sizes)
    return _shifted(call, _scaled(call, y, per_channel(call, y, 1)), per_channel(call, y, 2))


def lp_norm(call: Call) -> Tensor:
    """LpNormalization along an axis: zeros stay zeros."""
    x, p = call.tensor(0), call.attr("p", 2)
    axis = call.axis(call.attr("axis", -1), x.rank)
    if p not in (1, 2):
        raise ConvertError(f"p must be 1 or 2, got {p}")
    norm = call.add(Reduce(f"l{p}", (x.frame_axis(axis),), keepdims=True), x.value)
    zero = call.binary("equal", norm, 0.0)
    norm = call.add(Where(), zero, call.number(1.0, like=norm), norm)
    return call.result(call.binary("div", x.value, norm), x.axes, x.elem)


def rms_norm(call: Call) -> Tensor:
    """RMSNormalization over the axes from one on."""
    x = call.tensor(0)
    axes = range(call.axis(call.attr("axis", -1), x.rank), x.rank)
    call.attr("stash_type")
    return _scaled(call, _scaled(call, x, _inverse(call, x, axes, float(call.attr("epsilon", 1e-5)))), call.tensor(1))


OPERATORS: dict[str, Translator] = {
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "LpNormalization": lp_norm,
    "RMSNormalization": rms_norm,
}
