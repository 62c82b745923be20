"""ATen's normalisations: of features, groups and channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import ConvertError
from ..program import norms
from ..program.values import Tensor
from ..program.views import canonical
from .call import Call, Handler


def _own(call: Call, x: Any) -> Tensor:
    return canonical(call, call.tensor(x))


def _weights(call: Call, weight: Any, bias: Any) -> tuple[norms.Weight, norms.Weight]:
    """Arrays where they are constant, values where they are computed, None where there are none."""
    return _weight(call, weight, "weight"), _weight(call, bias, "bias")


def _weight(call: Call, given: Any, name: str) -> norms.Weight:
    computed = isinstance(given, Tensor) and call.emit.fixed(given.value) is None
    return given if computed else call.optional(given, name)


def _last(x: Tensor, shape: Sequence[int]) -> range:
    return range(x.rank - len(shape), x.rank)


def layer_norm(
    call: Call, x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes."""
    x = _own(call, x)
    return norms.layer_norm(call, x, _last(x, shape), *_weights(call, weight, bias), float(eps))


def _rms_norm(call: Call, x: Any, shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Tensor:
    x, eps = _own(call, x), float(np.finfo(np.float32).eps if eps is None else eps)
    return norms.rms_norm(call, x, _last(x, shape), weight, eps)


def group_norm(
    call: Call, x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    """(x - mean) / sqrt(var + eps) over groups of channels (axis 1) and all axes behind; then weight and bias."""
    return norms.group_norm(call, _own(call, x), groups, *_weights(call, weight, bias), float(eps))


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
    return group_norm(call, x, int(call.tensor(x).size(1)), weight, bias, eps)


def batch_norm(
    call: Call, x: Any, weight: Any, bias: Any, centre: Any, spread: Any, training: bool, momentum: Any, eps: float,
    *_: Any,
) -> Tensor:  # fmt: skip
    """Inference batch norm of the channels of axis 1."""
    if training or centre is None or spread is None:
        raise ConvertError("running statistics must be used, got a batch norm of the batch's own")
    mean, variance = call.array(centre, "mean"), call.array(spread, "variance")
    scale, shift = call.optional(weight, "weight"), call.optional(bias, "bias")
    return norms.batch_norm(call, _own(call, x), 1, mean, variance, scale, shift, float(eps))


def _batch_norm_legit(
    call: Call, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, momentum: Any, eps: float
) -> Any:
    return batch_norm(call, x, weight, bias, mean, variance, False, momentum, eps), None, None


def _native(handler: Callable[..., Tensor], statistics: int = 2) -> Handler:
    """A handler for an operator that returns its statistics, too, which only training reads."""
    return lambda call, *arguments: (handler(call, *arguments), *[None] * statistics)


TABLE: dict[str, Handler] = {
    "layer_norm": layer_norm, "native_layer_norm": _native(layer_norm), "rms_norm": _rms_norm,
    "group_norm": group_norm, "native_group_norm": _native_group_norm, "instance_norm": _instance_norm,
    "batch_norm": batch_norm, "native_batch_norm": _native(batch_norm), "cudnn_batch_norm": _native(batch_norm, 3),
    "_native_batch_norm_legit_no_training": _batch_norm_legit,
}  # fmt: skip
