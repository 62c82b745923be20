"""ATen's normalisations: of features, groups and channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Add, BatchNorm, LayerNorm, Multiply
from ..tensors.values import Tensor, describe
from .call import Call, Handler
from .elementwise import add, divide, multiply, subtract, unary
from .reductions import mean, reduce
from .views import canonical, reshape


def layer_norm(
    call: Call, x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes."""
    x = canonical(call, call.tensor(x))
    count = len(shape)
    for i in range(x.rank - count, x.rank):
        if not x.is_frame(i):
            raise ConvertError(f"axis {i} must be of fixed size to be normalised, got {describe(x, i)}")
    frame = x.spec.shape
    lead, size = frame[: len(frame) - count], prod(shape)
    scale = np.ones(size) if weight is None else call.array(weight, "weight").reshape(-1)
    shift = call.optional(bias, "bias")
    op = LayerNorm(scale, None if shift is None else shift.reshape(-1), eps=float(eps))
    value = call.add(op, call.reshape(x.value, (*lead, size)))
    return call.result(call.reshape(value, frame), x.axes)


def _native_layer_norm(call: Call, x: Any, shape: Any, weight: Any, bias: Any, eps: float) -> Any:
    return layer_norm(call, x, shape, weight, bias, eps), None, None


def _rms_norm(call: Call, x: Any, shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Tensor:
    x = call.tensor(x)
    dims = list(range(x.rank - len(shape), x.rank))
    square = mean(call, multiply(call, x, x), dims, True)
    root = unary(call, add(call, square, float(np.finfo(np.float32).eps if eps is None else eps)), "sqrt")
    y = divide(call, x, root)
    return y if weight is None else multiply(call, y, weight)


def group_norm(
    call: Call, x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    """(x - mean) / sqrt(var + eps) over groups of channels (axis 1) and all axes behind; then weight and bias."""
    x = canonical(call, call.tensor(x))
    behind = [d for d in range(2, x.rank) if x.is_time(d)]
    y = _group_over_time(call, x, groups, eps) if behind else _group(call, x, groups, eps)
    wide = (-1, *[1] * (x.rank - 2))
    if weight is not None:
        y = multiply(call, y, call.array(weight, "weight").reshape(wide))
    return y if bias is None else add(call, y, call.array(bias, "bias").reshape(wide))


def _group(call: Call, x: Tensor, groups: int, eps: float) -> Tensor:
    axes = [x.frame_axis(d) for d in range(1, x.rank)]
    frame = x.spec.shape
    lead = frame[: axes[0]]
    size = prod(frame[axes[0] :]) // groups
    value = call.add(LayerNorm(np.ones(size), eps=float(eps)), call.reshape(x.value, (*lead, groups, size)))
    return call.result(call.reshape(value, frame), x.axes)


def _group_over_time(call: Call, x: Tensor, groups: int, eps: float) -> Tensor:
    """Statistics over the whole sequence: means over steps of means over frames."""
    channels = x.spec.shape[x.frame_axis(1)]
    sizes = list(x.sizes())
    parted = reshape(call, x, [sizes[0], groups, channels // groups, *sizes[2:]])
    centred = subtract(call, parted, _mean(call, parted))
    spread = unary(call, add(call, _mean(call, multiply(call, centred, centred)), float(eps)), "sqrt")
    return reshape(call, divide(call, centred, spread), sizes)


def _mean(call: Call, x: Tensor) -> Tensor:
    return reduce(call, x, "mean", list(range(2, x.rank)), True)


def _native_group_norm(
    call: Call, x: Any, weight: Any, bias: Any, n: Any, channels: Any, area: Any, groups: int, eps: float
) -> Any:
    return group_norm(call, x, groups, weight, bias, eps), None, None


def _instance_norm(
    call: Call, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, use_input: bool, momentum: float, eps: float,
    *_: Any,
) -> Tensor:  # fmt: skip
    if not use_input:
        return batch_norm(call, x, weight, bias, mean, variance, False, momentum, eps)
    x = call.tensor(x)
    return group_norm(call, x, int(x.size(1)), weight, bias, eps)


def batch_norm(
    call: Call, x: Any, weight: Any, bias: Any, centre: Any, spread: Any, training: bool, momentum: Any, eps: float,
    *_: Any,
) -> Tensor:  # fmt: skip
    """Inference batch norm of the channels of axis 1."""
    if training or centre is None or spread is None:
        raise ConvertError("running statistics must be used, got a batch norm of the batch's own")
    x = canonical(call, call.tensor(x))
    axis = x.frame_axis(1)
    centre, spread = call.array(centre, "mean"), call.array(spread, "variance")
    scale, shift = call.optional(weight, "weight"), call.optional(bias, "bias")
    if axis == len(x.spec.shape) - 1:
        return call.result(call.add(BatchNorm(centre, spread, scale, shift, eps=float(eps)), x.value), x.axes)
    gain = (1.0 if scale is None else scale.astype(np.float64)) / np.sqrt(spread.astype(np.float64) + eps)
    offset = (0.0 if shift is None else shift) - centre * gain
    wide = (-1, *[1] * (len(x.spec.shape) - 1 - axis))
    kind = centre.dtype
    scaled = call.add(Multiply(), x.value, call.constant(gain.astype(kind).reshape(wide)))
    return call.result(call.add(Add(), scaled, call.constant(offset.astype(kind).reshape(wide))), x.axes)


def _batch_norm_legit(
    call: Call, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, momentum: Any, eps: float
) -> Any:
    return batch_norm(call, x, weight, bias, mean, variance, False, momentum, eps), None, None


def _native_batch_norm(call: Call, *arguments: Any) -> Any:
    return batch_norm(call, *arguments), None, None


def _cudnn(call: Call, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *rest: Any) -> Any:
    return batch_norm(call, x, weight, bias, mean, variance, training, *rest)


TABLE: dict[str, Handler] = {
    "layer_norm": layer_norm, "native_layer_norm": _native_layer_norm, "rms_norm": _rms_norm, "group_norm": group_norm,
    "native_group_norm": _native_group_norm, "instance_norm": _instance_norm, "batch_norm": batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm_legit, "native_batch_norm": _native_batch_norm,
    "cudnn_batch_norm": _cudnn,
}  # fmt: skip
