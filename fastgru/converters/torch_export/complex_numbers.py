"""ATen's operators on complex numbers: on their real and imaginary parts, each a tensor of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ...errors import ConvertError
from ..program.values import Tensor, Unavailable
from .call import Call, Complex, Handler
from .elementwise import add, angle, divide, multiply, power, same, subtract, to, unary
from .indexing import full
from .joins import select, slice_, stack
from .reductions import norm
from .views import permute, reshape, squeeze, transpose, unsqueeze

MOST_FACTORS = 8  # of a power that is made of products

# Parts -------------------------------------------------------------------------------------------


def is_complex(value: Any) -> bool:
    """Return True for complex tensors, arrays, numbers and dtypes."""
    if isinstance(value, torch.dtype):
        return value.is_complex
    return isinstance(value, Complex | complex) or (isinstance(value, np.ndarray) and np.iscomplexobj(value))


def lifted(value: Any) -> Any:
    """Complex numbers and arrays as their parts, also within lists; other arguments as they are."""
    if isinstance(value, list | tuple):
        return [lifted(v) for v in value]
    if not isinstance(value, complex) and not (isinstance(value, np.ndarray) and np.iscomplexobj(value)):
        return value
    array = np.asarray(value)
    return Complex(real=array.real.astype(np.float32), imaginary=array.imag.astype(np.float32))


def parts(call: Call, x: Any) -> tuple[Any, Any]:
    """The real part and the imaginary one, which is None of real numbers."""
    if not isinstance(x, Complex):
        return x, None
    if x.pairs is None:
        return x.real, x.imaginary
    return select(call, x.pairs, -1, 0), select(call, x.pairs, -1, 1)


def whole_parts(call: Call, x: Any) -> tuple[Any, Any]:
    """Both parts, the imaginary one of real numbers as zeros."""
    real, imaginary = parts(call, x)
    return real, _zeros(call, real) if imaginary is None else imaginary


def _zeros(call: Call, x: Any) -> Any:
    return 0.0 if isinstance(x, bool | int | float) else full(call, call.tensor(x).sizes(), 0.0, "float")


def by_parts(function: Callable[[Any], Any], call: Call, x: Any) -> Any:
    """A function that keeps zeros: of each part of complex numbers, of real ones and others once."""
    if not isinstance(x, Complex):
        return function(x)
    real, imaginary = (None if part is None else function(part) for part in parts(call, x))
    missing = next((v for v in (real, imaginary) if isinstance(v, Unavailable)), None)
    return Complex(real=real, imaginary=imaginary) if missing is None else missing


def pairs_of(call: Call, x: Any) -> Tensor:
    """Both parts of complex numbers as a last axis."""
    if not isinstance(x, Complex):
        raise ConvertError("input must be complex, got real numbers")
    return x.pairs if x.pairs is not None else stack(call, whole_parts(call, x), call.tensor(x.real).rank)


def _real(call: Call, x: Any) -> Any:
    return parts(call, x)[0]


def _imaginary(call: Call, x: Any) -> Any:
    return whole_parts(call, x)[1]


def _make(call: Call, real: Any, imaginary: Any) -> Complex:
    return Complex(real=real, imaginary=imaginary)


# Element by element ------------------------------------------------------------------------------


def _each(function: Callable[[Call, Any], Any]) -> Handler:
    """A handler of a function of each part, of which that of zeros is zero."""

    def run(call: Call, x: Any) -> Complex:
        real, imaginary = parts(call, x)
        return Complex(real=function(call, real), imaginary=None if imaginary is None else function(call, imaginary))

    return run


def _sum(function: Callable[..., Tensor]) -> Handler:
    """A handler of a sum or a difference."""

    def run(call: Call, a: Any, b: Any, alpha: Any = 1) -> Complex:
        (p, q), (r, s) = parts(call, a), parts(call, b)
        real = function(call, p, r, alpha)
        if q is None and s is None:
            return Complex(real=real)
        q, s = (_zeros(call, p) if q is None else q), (_zeros(call, r) if s is None else s)  # in the shapes of both
        return Complex(real=real, imaginary=function(call, q, s, alpha))

    return run


def _bilinear(call: Call, function: Callable[[Any, Any], Any], a: Any, b: Any) -> Complex:
    """(p + iq)(r + is) for a product that is linear in both factors."""
    (p, q), (r, s) = parts(call, a), parts(call, b)
    real = function(p, r)
    if q is not None and s is not None:
        real = subtract(call, real, function(q, s))
    across = [function(x, y) for x, y in ((p, s), (q, r)) if x is not None and y is not None]
    return Complex(real=real, imaginary=add(call, *across) if len(across) == 2 else (*across, None)[0])


def _product(call: Call, a: Any, b: Any) -> Complex:
    return _bilinear(call, functools.partial(multiply, call), a, b)


def _squared_size(call: Call, x: Any) -> Tensor:
    squares = [multiply(call, part, part) for part in parts(call, x) if part is not None]
    return add(call, *squares) if len(squares) == 2 else squares[0]


def _absolute(call: Call, x: Complex) -> Tensor:
    return unary(call, _squared_size(call, x), "sqrt") if x.pairs is None else norm(call, x.pairs, 2, [-1])


def _angle(call: Call, x: Any) -> Tensor:
    real, imaginary = whole_parts(call, x)
    return angle(call, imaginary, real)


def _polar(call: Call, magnitude: Any, phase: Any) -> Complex:
    cosine, sine = (multiply(call, magnitude, unary(call, phase, f)) for f in ("cos", "sin"))
    return Complex(real=cosine, imaginary=sine)


def _conjugate(call: Call, x: Any) -> Complex:
    real, imaginary = parts(call, x)
    return Complex(real=real, imaginary=None if imaginary is None else unary(call, imaginary, "neg"))


def _quotient(call: Call, a: Any, b: Any) -> Complex:
    if not isinstance(b, Complex):
        real, imaginary = parts(call, a)
        return Complex(None, divide(call, real, b), None if imaginary is None else divide(call, imaginary, b))
    return _quotient(call, _product(call, a, _conjugate(call, b)), _squared_size(call, b))


def _exponential(call: Call, x: Any) -> Complex:
    real, imaginary = parts(call, x)
    size = unary(call, real, "exp")
    return Complex(real=size) if imaginary is None else _polar(call, size, imaginary)


def _power(call: Call, x: Any, exponent: Any) -> Complex:
    if isinstance(exponent, int) and 1 <= exponent <= MOST_FACTORS:
        found: Complex = functools.reduce(functools.partial(_product, call), [x] * exponent)
        return found
    if not isinstance(exponent, int | float) or not isinstance(x, Complex):
        raise ConvertError("power of complex numbers must be by a real number, got a tensor or a complex one")
    size = power(call, _absolute(call, x), float(exponent))
    return _polar(call, size, multiply(call, _angle(call, x), float(exponent)))


def _logarithm(call: Call, x: Any) -> Complex:
    return Complex(real=unary(call, _absolute(call, x), "log"), imaginary=_angle(call, x))


def _converted(call: Call, x: Any, *given: Any, dtype: Any = None) -> Any:
    """Another kind of number, of which a real one is the real part."""
    kinds = [v for v in (*given, dtype) if isinstance(v, torch.dtype)]
    real = _real(call, x)
    if kinds and not kinds[0].is_complex:
        return to(call, real, kinds[0])
    return x if isinstance(x, Complex) else Complex(real=to(call, real, np.float32))


# Products, moves, numbers ------------------------------------------------------------------------


def _einsum(call: Call, real: Handler, equation: str, operands: Sequence[Any]) -> Complex:
    if len(operands) != 2:
        raise ConvertError(f"einsum of complex numbers must be of two tensors, got {len(operands)}: multiply two first")
    return _bilinear(call, lambda a, b: real(call, equation, [a, b]), *operands)


def _linear(call: Call, real: Handler, x: Any, weight: Any, bias: Any = None) -> Complex:
    y = _bilinear(call, lambda a, b: real(call, a, b), x, weight)
    return y if bias is None else _sum(add)(call, y, bias)


@functools.cache
def _of_product(name: str, real: Handler) -> Handler:
    """A handler of a product of tensors, by that of real ones."""
    if name == "einsum":
        return lambda call, equation, operands: _einsum(call, real, equation, operands)
    if name == "linear":
        return lambda call, x, weight, bias=None: _linear(call, real, x, weight, bias)
    return lambda call, a, b, *more: _bilinear(call, lambda x, y: real(call, x, y, *more), a, b)


@functools.cache
def _of_move(name: str, real: Handler) -> Handler:
    """A handler of what moves elements or adds them up, by that of real ones for each part."""

    def run(call: Call, *args: Any, **kwargs: Any) -> Any:
        args = tuple(_as_complex(v) if i in VALUES.get(name, ()) else v for i, v in enumerate(args))
        found = real(call, *_part(call, args, 0), **kwargs)
        return _joined(found, real(call, *_part(call, args, 1), **kwargs) if _has_imaginary(args) else None)

    functools.update_wrapper(run, real)  # whose parameters it has
    return run


@functools.cache
def _of_numbers(name: str, real: Handler) -> Handler:
    """A handler of tensors that are filled with a number, by that of real ones."""

    def run(call: Call, *args: Any, dtype: Any = None) -> Any:
        own = torch.float32 if dtype is None or dtype.is_complex else dtype
        found = real(call, *_part(call, args, 0), dtype=own)
        if own is dtype:
            return found
        value = any(isinstance(v, Complex) for v in args[-1:]) and "full" in name
        return Complex(real=found, imaginary=real(call, *_part(call, args, 1), dtype=own) if value else None)

    return run


def _as_complex(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_complex(v) for v in value]
    return value if isinstance(value, Complex) or value is None else Complex(real=value)


def _part(call: Call, value: Any, index: int) -> Any:
    """One part of all complex numbers among the items of lists."""
    if isinstance(value, list | tuple):
        return [_part(call, v, index) for v in value]
    return whole_parts(call, value)[index] if isinstance(value, Complex) else value


def _has_imaginary(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_imaginary, value))
    return isinstance(value, Complex) and (value.pairs is not None or value.imaginary is not None)


def _joined(real: Any, imaginary: Any) -> Any:
    if isinstance(real, list | tuple):
        return [_joined(*pair) for pair in zip(real, imaginary or [None] * len(real), strict=True)]
    return Complex(real=real, imaginary=imaginary)


# Moves of pairs, which stay together -------------------------------------------------------------


def _moved(function: Handler, dims: int = 1, more: int = 0) -> Handler:
    """A handler of a move of axes, the first arguments of which name some."""

    def run(call: Call, x: Any, *given: Any) -> Complex:
        axes = [call.axis(dim, x.pairs.rank - 1 + more) for dim in given[:dims]]
        return Complex(function(call, x.pairs, *axes, *given[dims:]))

    return run


def _permuted(call: Call, x: Any, dims: Sequence[int]) -> Complex:
    rank = x.pairs.rank - 1
    return Complex(permute(call, x.pairs, [*(call.axis(dim, rank) for dim in dims), rank]))


PAIRS: dict[str, Handler] = {
    "transpose": _moved(transpose, 2), "unsqueeze": _moved(unsqueeze, more=1), "squeeze": _moved(squeeze),
    "select": _moved(select), "slice": _moved(slice_), "permute": _permuted,
    **dict.fromkeys(
        ("view", "reshape", "_unsafe_view"), lambda call, x, shape: Complex(reshape(call, x.pairs, [*shape, 2]))
    ),
}  # fmt: skip

# Which make complex numbers of real ones, or real ones of them.
TABLE: dict[str, Handler] = {
    "view_as_real": pairs_of, "view_as_complex": lambda call, x: Complex(call.tensor(x)), "complex": _make,
    "polar": _polar, "real": _real, "imag": _imaginary,
}  # fmt: skip
# The same names as of real numbers.
COMPLEX: dict[str, Handler] = {
    "abs": _absolute, "angle": _angle, "mul": _product, "multiply": _product, "add": _sum(add), "sub": _sum(subtract),
    "rsub": lambda call, a, b, alpha=1: _sum(subtract)(call, b, a, alpha),
    "div": _quotient, "divide": _quotient, "true_divide": _quotient, "exp": _exponential, "log": _logarithm,
    "reciprocal": lambda call, x: _quotient(call, 1.0, x), "square": lambda call, x: _product(call, x, x),
    "pow": _power, "sqrt": lambda call, x: _power(call, x, 0.5),
    "neg": _each(lambda call, x: unary(call, x, "neg")),
    "conj": _conjugate, "_conj": _conjugate, "conj_physical": _conjugate,
    **dict.fromkeys(("resolve_conj", "resolve_neg", "clone", "alias", "contiguous", "detach", "lift_fresh_copy"), same),
    **dict.fromkeys(("to", "_to_copy", "type_as"), _converted),
}  # fmt: skip
PRODUCTS = {"matmul", "mm", "bmm", "mv", "dot", "outer", "ger", "inner", "tensordot", "einsum", "linear"}
MOVES = {
    "transpose", "swapaxes", "swapdims", "t", "mT", "permute", "permute_copy", "squeeze", "squeeze_copy", "unsqueeze",
    "unsqueeze_copy", "expand", "expand_copy", "broadcast_to", "repeat", "tile", "flip", "roll", "view", "reshape",
    "_unsafe_view", "view_copy", "_reshape_alias", "flatten", "unflatten", "diagonal", "diagonal_copy", "select",
    "select_copy", "slice", "slice_copy", "narrow", "split", "split_with_sizes", "split_with_sizes_copy", "chunk",
    "tensor_split", "unbind", "unbind_copy", "index_select", "index", "gather", "cat", "concat", "concatenate", "stack",
    "hstack", "sum", "mean", "cumsum", "tril", "triu", "where", "masked_fill", "slice_scatter", "select_scatter",
    "copy", "constant_pad_nd", "repeat_interleave",
}  # fmt: skip
# The arguments of moves that are numbers among which they choose: real ones have no imaginary part.
VALUES = {
    "cat": (0,), "concat": (0,), "concatenate": (0,), "stack": (0,), "hstack": (0,), "where": (1, 2),
    "masked_fill": (0, 2), "slice_scatter": (0, 1), "select_scatter": (0, 1), "copy": (0, 1), "constant_pad_nd": (0, 2),
}  # fmt: skip
NUMBERS = {
    "zeros", "ones", "empty", "full", "zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones",
    "new_empty", "new_full",
}  # fmt: skip


def find_complex(name: str, real: Handler | None, first: Any) -> Handler | None:
    """The handler of an operator for complex numbers, by that of real ones; that itself where there is no other.

    Parameters
    ----------
    name : str
        Without namespace and overload.
    real : callable or None
    first
        The first argument.
    """
    if name in PAIRS and isinstance(first, Complex) and first.pairs is not None:
        return PAIRS[name]
    if name in COMPLEX:
        return COMPLEX[name]
    if real is None:
        return None
    if name in PRODUCTS:
        return _of_product(name, real)
    if name in MOVES:
        return _of_move(name, real)
    return _of_numbers(name, real) if name in NUMBERS else real
