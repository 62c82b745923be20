"""ATen's reductions, over fixed axes and over time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import ArgReduce, CumSum, Reduce, TopK
from ..tensors.values import Tensor, describe
from ..tensors.views import renumbered, with_ones
from .call import Call, Handler
from .elementwise import affine, multiply, subtract, to, unary
from .time import reduce_steps, running
from .views import canonical


def reduce(call: Call, x: Any, function: str, dims: Any = None, keepdim: bool = False) -> Tensor:
    """Fold axes of fixed size and time; no other one."""
    own = call.tensor(x)
    gone = [] if dims == [] else call.axes(dims, own.rank)
    if not gone:
        return own
    own = canonical(call, own)
    time = [d for d in gone if own.is_time(d)]
    fixed = [d for d in gone if d not in time]
    if fixed:
        axes = tuple(own.frame_axis(d) for d in fixed)
        axes_left = [axis if d not in fixed else () for d, axis in enumerate(own.axes)]
        kept = [n for n in range(len(own.spec.shape)) if n not in axes]
        own = call.result(call.add(Reduce(function, axes, keepdims=False), own.value), renumbered(axes_left, kept))
    if time:
        own = reduce_steps(call, own, function)
    left = [axis for d, axis in enumerate(own.axes) if d not in gone]
    own = call.result(own.value, left)
    return with_ones(call, own, gone) if keepdim else own


def _float(call: Call, x: Any) -> Tensor:
    own: Tensor = to(call, call.tensor(x), np.float32)
    return own


def total(call: Call, x: Any, dims: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum; of bools, how many hold."""
    x = call.tensor(x)
    x = to(call, x, dtype) if dtype is not None else x
    return reduce(call, to(call, x, np.int64) if x.spec.dtype == "bool" else x, "sum", dims, keepdim)


def mean(call: Call, x: Any, dims: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean."""
    return reduce(call, _float(call, x), "mean", dims, keepdim)


def _extreme(function: str) -> Handler:
    return lambda call, x, dims=None, keepdim=False: reduce(call, x, function, dims, keepdim)


def _best(function: str) -> Handler:
    """The largest or smallest along an axis, and where it is."""

    def run(call: Call, x: Any, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor | None]:
        x = call.tensor(x)
        found = reduce(call, x, function, [dim], keepdim)
        where = None if x.is_time(call.axis(dim, x.rank)) else arg(call, x, f"arg{function}", dim, keepdim)
        return found, where

    return run


def arg(call: Call, x: Any, function: str, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the largest or smallest is."""
    x = canonical(call, call.tensor(x))
    if dim is None:
        raise ConvertError("dim must be given, got none")
    dim = call.axis(dim, x.rank)
    axis = x.frame_axis(dim)
    value = call.add(ArgReduce(function, axis, keepdims=keepdim), x.value)
    if keepdim:
        return call.result(value, x.axes)
    kept = [n for n in range(len(x.spec.shape)) if n != axis]
    return call.result(value, renumbered([a for d, a in enumerate(x.axes) if d != dim], kept))


def _arg(function: str) -> Handler:
    return lambda call, x, dim=None, keepdim=False: arg(call, x, function, dim, keepdim)


def _top(
    call: Call, x: Any, k: int, dim: int = -1, largest: bool = True, sorted_: bool = True
) -> tuple[Tensor, Tensor]:
    """The largest or smallest along an axis in order, and where they are."""
    x = canonical(call, call.tensor(x))
    axis = x.frame_axis(call.axis(dim, x.rank))
    values, places = call.add_many(TopK(k, axis, largest), x.value)
    return call.result(values, x.axes), call.result(places, x.axes)


def _sort(call: Call, x: Any, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    x = canonical(call, call.tensor(x))
    axis = x.frame_axis(call.axis(dim, x.rank))
    return _top(call, x, x.spec.shape[axis], dim, descending)


def _stable_sort(
    call: Call, x: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    return _sort(call, x, dim, descending)


def _argsort(call: Call, x: Any, dim: int = -1, descending: bool = False) -> Tensor:
    return _sort(call, x, dim, descending)[1]


def variance(call: Call, x: Any, dims: Any = None, correction: Any = 1, keepdim: bool = False) -> Tensor:
    """The mean square of the distance to the mean, times n / (n - correction)."""
    x = _float(call, x)
    gone = call.axes(dims, x.rank)
    centred = subtract(call, x, mean(call, x, gone, True))
    square = mean(call, multiply(call, centred, centred), gone, keepdim)
    correction = 1 if correction is None else correction
    if not correction:
        return square
    n = 1
    for d in gone:
        if not isinstance(x.size(d), int):
            raise ConvertError(f"correction must be 0 for a variance over {describe(x, d)}, got {correction}")
        n *= int(x.size(d))
    return affine(call, square, n / (n - correction), 0.0)


def _variance(root: bool) -> dict[str, Handler]:
    def finish(call: Call, x: Tensor) -> Tensor:
        return unary(call, x, "sqrt") if root else x

    def by_dim(call: Call, x: Any, dims: Any = None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
        return finish(call, variance(call, x, dims, int(unbiased), keepdim))

    def corrected(call: Call, x: Any, dims: Any = None, *, correction: Any = None, keepdim: bool = False) -> Tensor:
        return finish(call, variance(call, x, dims, correction, keepdim))

    def of_all(call: Call, x: Any, unbiased: bool = True) -> Tensor:
        return finish(call, variance(call, x, None, int(unbiased)))

    name = "std" if root else "var"
    return {f"{name}.dim": by_dim, f"{name}.correction": corrected, f"{name}.default": of_all}


def _var_mean(call: Call, x: Any, dims: Any = None, *, correction: Any = None, keepdim: bool = False) -> Any:
    return variance(call, x, dims, correction, keepdim), mean(call, x, dims, keepdim)


def norm(call: Call, x: Any, order: Any = 2, dims: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The 1-, 2- or infinity-norm."""
    x, order = _float(call, x), 2.0 if order is None else float(order)
    if order == 2:
        return reduce(call, x, "l2", dims, keepdim)
    simple = {1.0: "sum", math.inf: "max", -math.inf: "min"}
    if order not in simple:
        raise ConvertError(f"order of a norm must be 1, 2 or infinity, got {order}")
    return reduce(call, unary(call, x, "abs"), simple[order], dims, keepdim)


def _logsumexp(call: Call, x: Any, dims: Any, keepdim: bool = False) -> Tensor:
    return reduce(call, _float(call, x), "log_sum_exp", dims, keepdim)


def _any(call: Call, x: Any, dims: Any = None, keepdim: bool = False) -> Tensor:
    found = reduce(call, to(call, to(call, call.tensor(x), np.bool_), np.int64), "max", dims, keepdim)
    held: Tensor = to(call, found, np.bool_)
    return held


def _all(call: Call, x: Any, dims: Any = None, keepdim: bool = False) -> Tensor:
    found = reduce(call, to(call, to(call, call.tensor(x), np.bool_), np.int64), "min", dims, keepdim)
    held: Tensor = to(call, found, np.bool_)
    return held


def _prod(call: Call, x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    return reduce(call, x, "prod", dim, keepdim)


def _cumsum(call: Call, x: Any, dim: int, *, dtype: Any = None) -> Tensor:
    x = canonical(call, call.tensor(x))
    dim = call.axis(dim, x.rank)
    if x.is_time(dim):
        return running(call, _float(call, x))
    return call.result(call.add(CumSum(x.frame_axis(dim)), x.value), x.axes)


TABLE: dict[str, Handler] = {
    "sum": total, "mean": mean, "amax": _extreme("max"), "amin": _extreme("min"), "max.dim": _best("max"),
    "min.dim": _best("min"), "max.default": _extreme("max"), "min.default": _extreme("min"), "argmax": _arg("argmax"),
    "argmin": _arg("argmin"), **_variance(False), **_variance(True), "var_mean.correction": _var_mean,
    "norm.ScalarOpt_dim": norm, "linalg_vector_norm": norm, "norm.Scalar": norm, "logsumexp": _logsumexp, "any": _any,
    "all": _all, "prod": _prod, "cumsum": _cumsum, "topk": _top, "sort.default": _sort, "sort.stable": _stable_sort,
    "argsort.default": _argsort,
}  # fmt: skip
