"""ATen's reductions, over fixed axes and over time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ConvertError
from ..program.reductions import cumulative, place, reduced, running, top, variance
from ..program.values import Tensor
from ..program.views import canonical, sliced, without
from .call import Call, Handler
from .elementwise import to, unary


def reduce(call: Call, x: Any, function: str, dims: Any = None, keepdim: bool = False) -> Tensor:
    """Fold axes of fixed size and time; all where none are given."""
    own = call.tensor(x)
    return reduced(call, own, [] if dims == [] else call.axes(dims, own.rank), function, keepdim)


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
    """Return the place of the largest or smallest element along an axis."""
    x = canonical(call, call.tensor(x))
    if dim is None:
        raise ConvertError("dim must be given, got none")
    return place(call, x, call.axis(dim, x.rank), function, keepdim)


def _arg(function: str) -> Handler:
    return lambda call, x, dim=None, keepdim=False: arg(call, x, function, dim, keepdim)


def _top(
    call: Call, x: Any, k: int, dim: int = -1, largest: bool = True, sorted_: bool = True
) -> tuple[Tensor, Tensor]:
    """The largest or smallest along an axis in order, and where they are."""
    x = canonical(call, call.tensor(x))
    return top(call, x, call.axis(dim, x.rank), k, largest=largest)


def _sort(call: Call, x: Any, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    x = canonical(call, call.tensor(x))
    axis = x.frame_axis(call.axis(dim, x.rank))
    return _top(call, x, x.spec.shape[axis], dim, descending)


def _stable_sort(
    call: Call, x: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    return _sort(call, x, dim, descending)


def _median(call: Call, x: Any, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The lower of the two in the middle where their number is even, and where it is."""
    count = call.tensor(x).size(call.axis(dim, call.tensor(x).rank))
    if not isinstance(count, int):
        raise ConvertError(f"axis {dim} of a median must be of fixed size, got {count}")
    return _kth(call, x, (count + 1) // 2, dim, keepdim)


def _kth(call: Call, x: Any, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The k-th smallest, and where it is."""
    axis = call.axis(dim, call.tensor(x).rank)
    found = (sliced(call, canonical(call, each), axis, k - 1, k) for each in _sort(call, x, axis))
    best, place = (each if keepdim else without(call, each, [axis]) for each in found)
    return best, place


def _argsort(call: Call, x: Any, dim: int = -1, descending: bool = False) -> Tensor:
    return _sort(call, x, dim, descending)[1]


def _spread(call: Call, x: Any, dims: Any = None, correction: Any = 1, keepdim: bool = False) -> Tensor:
    x = _float(call, x)
    return variance(call, x, call.axes(dims, x.rank), 1 if correction is None else correction, keepdim)


def _variance(root: bool) -> dict[str, Handler]:
    def finish(call: Call, x: Tensor) -> Tensor:
        return unary(call, x, "sqrt") if root else x

    def by_dim(call: Call, x: Any, dims: Any = None, unbiased: bool = True, keepdim: bool = False) -> Tensor:
        return finish(call, _spread(call, x, dims, int(unbiased), keepdim))

    def corrected(call: Call, x: Any, dims: Any = None, *, correction: Any = None, keepdim: bool = False) -> Tensor:
        return finish(call, _spread(call, x, dims, correction, keepdim))

    def of_all(call: Call, x: Any, unbiased: bool = True) -> Tensor:
        return finish(call, _spread(call, x, None, int(unbiased)))

    name = "std" if root else "var"
    return {f"{name}.dim": by_dim, f"{name}.correction": corrected, f"{name}.default": of_all}


def _var_mean(call: Call, x: Any, dims: Any = None, *, correction: Any = None, keepdim: bool = False) -> Any:
    return _spread(call, x, dims, correction, keepdim), mean(call, x, dims, keepdim)


def norm(call: Call, x: Any, order: Any = 2, dims: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The 1-, 2- or infinity-norm."""
    x, order = _float(call, x), 2.0 if order is None else float(order)
    if order in (1, 2):
        return reduce(call, x, f"l{order:g}", dims, keepdim)
    if not math.isinf(order):
        raise ConvertError(f"order of a norm must be 1, 2 or infinity, got {order}")
    return reduce(call, unary(call, x, "abs"), "max" if order > 0 else "min", dims, keepdim)


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
    return cumulative(call, x, call.axis(dim, x.rank))


def _running(function: str) -> Handler:
    def run(call: Call, x: Any, dim: int, *, dtype: Any = None) -> Tensor:
        x = call.tensor(x)
        x = canonical(call, _float(call, x) if function == "log_sum_exp" else x)
        return running(call, x, call.axis(dim, x.rank), function)

    return run


def _running_best(function: str) -> Handler:
    """The largest or smallest so far; where it is cannot be had."""
    return lambda call, x, dim: (_running(function)(call, x, dim), None)


TABLE: dict[str, Handler] = {
    "sum": total, "mean": mean, "amax": _extreme("max"), "amin": _extreme("min"), "max.dim": _best("max"),
    "min.dim": _best("min"), "max.default": _extreme("max"), "min.default": _extreme("min"), "argmax": _arg("argmax"),
    "argmin": _arg("argmin"), **_variance(False), **_variance(True), "var_mean.correction": _var_mean,
    "norm.ScalarOpt_dim": norm, "linalg_vector_norm": norm, "norm.Scalar": norm, "logsumexp": _logsumexp, "any": _any,
    "all": _all, "prod": _prod, "cumsum": _cumsum, "topk": _top, "sort.default": _sort, "sort.stable": _stable_sort,
    "argsort.default": _argsort, "logcumsumexp": _running("log_sum_exp"), "cumprod": _running("prod"),
    "cummax": _running_best("max"), "cummin": _running_best("min"), "median.dim": _median, "kthvalue": _kth,
}  # fmt: skip
