"""Normalisations: attributes and inputs of ONNX's operators."""

from __future__ import annotations

from ...errors import ConvertError
from ..program import norms
from ..program.values import Array, Tensor
from .call import Call, Translator


def batch_norm(call: Call) -> Tensor:
    """BatchNormalization with its stored statistics."""
    x = call.tensor(0)
    scale, shift, mean, variance = (call.array(i, name) for i, name in enumerate(("scale", "B", "mean", "var"), 1))
    call.attr("momentum")
    if call.attr("training_mode", 0) or call.attr("spatial", 1) != 1:
        raise ConvertError("training_mode must be 0 and spatial 1, got a batch norm that is not over channels only")
    return norms.batch_norm(call, x, min(1, x.rank - 1), mean, variance, scale, shift, _eps(call))


def _eps(call: Call) -> float:
    return float(call.attr("epsilon", 1e-5))


def _last(call: Call, x: Tensor) -> list[int]:
    """The axes from one on; the type of the mean, which is float32 at least, is read."""
    call.attr("stash_type")
    return list(range(call.axis(call.attr("axis", -1), x.rank), x.rank))


def layer_norm(call: Call) -> list[Tensor]:
    """LayerNormalization over the axes from one on, and the mean and 1 / deviation that it may return."""
    x, scale, eps = call.tensor(0), call.value(1), _eps(call)
    axes, shift = _last(call, x), call.value(2) if call.given(2) else None
    if len([o for o in call.node.output if o]) == 1:
        return [norms.layer_norm(call, x, axes, scale, shift, eps)]
    y, mean, root = norms.standardised(call, x, axes, eps)
    return [norms.scaled(call, y, axes, scale, shift), mean, call.like(root, call.unary("reciprocal", root.value))]


def instance_norm(call: Call) -> Tensor:
    """InstanceNormalization: every channel over its spatial axes."""
    x = call.tensor(0)
    channels = x.spec.shape[x.frame_axis(1)]
    return norms.group_norm(call, x, channels, call.value(1), call.value(2), _eps(call))


def group_norm(call: Call) -> Tensor:
    """GroupNormalization: groups of channels with their spatial axes; scales per group before opset 21."""
    x, groups = call.tensor(0), int(call.attr("num_groups", 0))
    call.attr("stash_type")
    scale, shift = call.value(1), call.value(2)
    if call.opset < 21 and groups > 0:
        each = x.spec.shape[x.frame_axis(1)] // groups
        scale, shift = (_repeated(call, weight, each) for weight in (scale, shift))
    return norms.group_norm(call, x, groups, scale, shift, _eps(call))


def _repeated(call: Call, weight: Array | Tensor, times: int) -> Tensor:
    """A weight (G,) as one (G * times,)."""
    x = call.lift(weight)
    (count,) = x.spec.shape
    wide = call.expand(call.reshape(x.value, (count, 1)), (count, times))
    return call.like(x, call.reshape(wide, (count * times,)))


def lp_norm(call: Call) -> Tensor:
    """LpNormalization along an axis: zeros stay zeros."""
    x, p = call.tensor(0), call.attr("p", 2)
    return norms.unit(call, x, [call.axis(call.attr("axis", -1), x.rank)], p, None)


def rms_norm(call: Call) -> Tensor:
    """RMSNormalization over the axes from one on."""
    x = call.tensor(0)
    return norms.rms_norm(call, x, _last(call, x), call.value(1), _eps(call))


def response_norm(call: Call) -> Tensor:
    """LRN: every channel by those around it."""
    alpha, beta, bias = (float(call.attr(n, d)) for n, d in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    return norms.response_norm(call, call.tensor(0), 1, int(call.attr("size")), alpha, beta, bias)


OPERATORS: dict[str, Translator] = {
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "LpNormalization": lp_norm,
    "RMSNormalization": rms_norm,
    "LRN": response_norm,
}
