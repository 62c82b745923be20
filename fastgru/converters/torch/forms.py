"""Layers that groups of arrays of a state_dict may be: what each must have, and what names and ranks say of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..._hints import named
from ...errors import ConvertError
from ...graph import (
    Activate,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Embedding,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Pool,
    PReLU,
    Reshape,
    Reverse,
    Spec,
    TimeConv,
)
from ..assembly import Composed
from ..program import formulas, norms
from ..program.builder import Builder
from ..program.sizes import BATCH
from ..program.steps import STEPS
from ..program.values import Axis, Tensor
from ..program.views import in_order
from . import layers as torch_layers
from .layers import Arrays


class Form(NamedTuple):
    """What a group of arrays must have, and what it may have, to be a layer."""

    needs: Mapping[str, tuple[int, ...]]  # name -> numbers of axes
    may: Mapping[str, tuple[int, ...]]
    build: Callable[[Arrays, Mapping[str, Any]], Any]

    def fits(self, axes: Mapping[str, int]) -> bool:
        """Whether arrays with these numbers of axes are those of the layer."""
        known = {**self.needs, **self.may}
        return self.needs.keys() <= axes.keys() and all(d in known.get(n, ()) for n, d in axes.items())

    def __str__(self) -> str:
        needs, may = (", ".join(f"{n} ({_ranks(d)})" for n, d in part.items()) for part in (self.needs, self.may))
        return f"{needs} and maybe {may or 'nothing'}"


def _ranks(ranks: tuple[int, ...]) -> str:
    return " or ".join(f"{n}-D" for n in ranks)


def _read(b: Builder, value: str, *, over_time: bool = False) -> Tensor:
    """Return a value with its axes as PyTorch has them: (B * T, C, ...), or (B, C, T, ...) over time."""
    spec = b.emit.specs[value]
    items: list[Axis] = [(i,) for i in range(len(spec.shape))]
    if not items:
        raise ConvertError(f"layer {b.name!r} must read an item with channels, got a number in each step")
    if over_time and not spec.time:
        raise ConvertError(f"layer {b.name!r} must read steps to be over_time, got a value without time")
    if over_time:
        return b.result(value, [(BATCH,), items[0], (STEPS,), *items[1:]])
    return b.result(value, [(BATCH, STEPS) if spec.time else (BATCH,), *items])


def _batch_norm(arrays: Arrays, attributes: Mapping[str, Any]) -> Composed:
    """Of the last axis, or of the first of items of several, which are a convolution's channels."""
    op = torch_layers.build_batch_norm(arrays, attributes)

    def build(b: Builder, value: str) -> str:
        x = _read(b, value)
        axis = 1 if x.size(1) == len(op.mean) else x.rank - 1
        return in_order(b, norms.batch_norm(b, x, axis, op.mean, op.variance, op.scale, op.shift, op.eps)).value

    return Composed(build, op.input_spec())


def _layer_norm(arrays: Arrays, attributes: Mapping[str, Any]) -> Composed:
    """Of the last axis, or of all axes of an item."""
    whole = arrays["weight"].shape
    op = torch_layers.build_layer_norm({name: a.reshape(-1) for name, a in arrays.items()}, attributes)

    def build(b: Builder, value: str) -> str:
        if b.shape(value) != whole or len(whole) == 1:
            return b.add(op, value)
        return b.reshape(b.add(op, b.reshape(value, (op.scale.size,))), whole)

    return Composed(build, op.input_spec())


def _group_norm(arrays: Arrays, attributes: Mapping[str, Any]) -> Composed:
    layer = _described(GroupNorm, attributes)
    weights = arrays.get("weight"), arrays.get("bias")

    def build(b: Builder, value: str) -> str:
        x = _read(b, value, over_time=layer.over_time)
        return in_order(b, norms.group_norm(b, x, layer.groups, *weights, layer.eps)).value

    return Composed(build, _channels(arrays))


def _instance_norm(arrays: Arrays, attributes: Mapping[str, Any]) -> Composed:
    """By the statistics of each channel, or by running ones as a BatchNorm."""
    layer = _described(InstanceNorm, attributes)
    if "running_mean" in arrays:
        return _batch_norm(arrays, {"eps": layer.eps})
    weights = arrays.get("weight"), arrays.get("bias")

    def build(b: Builder, value: str) -> str:
        over_time = layer.over_time if len(b.shape(value)) > 1 else True
        if over_time is None:
            raise ConvertError(
                f"over_time of InstanceNorm must be said for items of several axes, got {b.shape(value)}: True where "
                "the mean is that of all steps, False where it is that of each step"
            )
        x = _read(b, value, over_time=over_time)
        return in_order(b, norms.group_norm(b, x, int(x.size(1)), *weights, layer.eps)).value

    return Composed(build, _channels(arrays))


def _prelu(arrays: Arrays, attributes: Mapping[str, Any]) -> Composed:
    slope = arrays["weight"]

    def build(b: Builder, value: str) -> str:
        x = _read(b, value)
        if slope.size not in (1, x.size(1)):
            raise ConvertError(
                f"slopes of layer {b.name!r} must be 1 or {x.size(1)}, one each channel, got {slope.size}"
            )
        return in_order(b, formulas.prelu(b, x, slope, [1])).value

    return Composed(build, Spec(slope.shape) if slope.size > 1 else None)


def _described(op: type[Any], attributes: Mapping[str, Any]) -> Any:
    """The layer of attributes, which must be all that arrays do not tell."""
    missing = [f.name for f in dataclasses.fields(op) if f.default is dataclasses.MISSING and f.name not in attributes]
    if missing:
        raise ConvertError(f"{' and '.join(missing)} of {op.__name__} must be said in {named('like')}, got none")
    return op(**attributes)


def _channels(arrays: Arrays) -> Spec | None:
    """The input of a layer that comes first, of items of one axis."""
    return Spec(arrays["weight"].shape) if "weight" in arrays else None


_BIAS, _VECTORS, _KERNELS = {"bias": (1,)}, {"weight": (1,), "bias": (1,)}, (3, 4, 5)
FORMS: dict[type[Any], Form] = {
    Dense: Form({"weight": (2,)}, _BIAS, torch_layers.build_dense),
    Embedding: Form({"weight": (2,)}, {}, torch_layers.build_embedding),
    LayerNorm: Form({"weight": (1, 2, 3)}, {"bias": (1, 2, 3)}, _layer_norm),
    BatchNorm: Form({"running_mean": (1,), "running_var": (1,)}, _VECTORS, _batch_norm),
    TimeConv: Form({"weight": (3,)}, _BIAS, torch_layers.build_time_conv),
    Conv: Form({"weight": _KERNELS}, _BIAS, torch_layers.build_conv),
    ConvTranspose: Form({"weight": _KERNELS}, _BIAS, torch_layers.build_conv_transpose),
    GroupNorm: Form({}, _VECTORS, _group_norm),
    InstanceNorm: Form({}, {**_VECTORS, "running_mean": (1,), "running_var": (1,)}, _instance_norm),
    PReLU: Form({"weight": (1,)}, {}, _prelu),
}
WITHOUT_ARRAYS = (Activate, Dropout, Reverse, Reshape, Pool)  # some of them, for messages
# Names and numbers of axes that leave no doubt (eps aside) -> the layer.
CERTAIN: dict[tuple[tuple[str, int], ...], type[Any]] = {
    (("bias", 1), ("weight", 2)): Dense,
    (("bias", 1), ("weight", 1)): LayerNorm,
    (("bias", 1), ("running_mean", 1), ("running_var", 1), ("weight", 1)): BatchNorm,
    (("running_mean", 1), ("running_var", 1)): BatchNorm,
}
# Names and numbers of axes that fit more than one layer -> what to write in `like`.
DOUBTFUL: dict[tuple[tuple[str, int], ...], tuple[str, ...]] = {
    (("weight", 2),): ("Embedding", "Dense"),
    (("weight", 1),): ("LayerNorm", "PReLU"),
    **{
        (*bias, ("weight", rank)): names
        for bias in ((), (("bias", 1),))
        for rank, names in ((3, ("TimeConv", "Conv", "ConvTranspose")), (4, ("Conv", "ConvTranspose")))
    },
}


def axes_of(group: Arrays) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((name, array.ndim) for name, array in group.items()))


def shapes_of(group: Arrays) -> str:
    shown = [f"{name} {array.shape}" for name, array in group.items()]
    return ", ".join(shown[:6]) + (f", ... ({len(shown)} in all)" if len(shown) > 6 else "")
