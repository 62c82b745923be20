"""Layers that groups of arrays of a state_dict may be: what each must have, and what names and ranks say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...graph import (
    Activate,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Embedding,
    LayerNorm,
    Pool,
    Reshape,
    Reverse,
    TimeConv,
    Transpose,
)
from ..assembly import Fitted
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


def _batch_norm(arrays: Arrays, attributes: Mapping[str, Any]) -> Fitted:
    """Of the last axis, or of the first of frames of several, which are a convolution's channels."""
    op = torch_layers.build_batch_norm(arrays, attributes)

    def moved(shape: tuple[int, ...]) -> tuple[Any, Any] | None:
        if len(shape) < 2 or shape[0] != len(op.mean):
            return None
        last = len(shape) - 1
        return Transpose((*range(1, last + 1), 0)), Transpose((last, *range(last)))

    return Fitted(op, moved)


def _layer_norm(arrays: Arrays, attributes: Mapping[str, Any]) -> Fitted:
    """Of the last axis, or of all axes of a frame."""
    whole = arrays["weight"].shape
    op = torch_layers.build_layer_norm({name: a.reshape(-1) for name, a in arrays.items()}, attributes)

    def moved(shape: tuple[int, ...]) -> tuple[Any, Any] | None:
        return (Reshape((op.scale.size,)), Reshape(whole)) if shape == whole and len(whole) > 1 else None

    return Fitted(op, moved)


_BIAS, _VECTORS, _KERNELS = {"bias": (1,)}, {"weight": (1,), "bias": (1,)}, (3, 4, 5)
FORMS: dict[type[Any], Form] = {
    Dense: Form({"weight": (2,)}, _BIAS, torch_layers.build_dense),
    Embedding: Form({"weight": (2,)}, {}, torch_layers.build_embedding),
    LayerNorm: Form({"weight": (1, 2, 3)}, {"bias": (1, 2, 3)}, _layer_norm),
    BatchNorm: Form({"running_mean": (1,), "running_var": (1,)}, _VECTORS, _batch_norm),
    TimeConv: Form({"weight": (3,)}, _BIAS, torch_layers.build_time_conv),
    Conv: Form({"weight": _KERNELS}, _BIAS, torch_layers.build_conv),
    ConvTranspose: Form({"weight": _KERNELS}, _BIAS, torch_layers.build_conv_transpose),
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
    (("weight", 1),): ("LayerNorm",),
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
