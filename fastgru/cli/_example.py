"""``--example``: arguments of a PyTorch module's forward, as sizes or files."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ..errors import ConvertError
from . import _arrays

HELP = (
    "TorchScript: an argument of forward, as its sizes (1,100,40 of float32; 1,100:int64) or a .npy file; repeat in"
    " order, or name each: x=1,100,40."
)
TYPES = ("float32", "float64", "int32", "int64", "bool")
SIZES = re.compile(r"(\d+(?:,\d+)*)?(?::(\w+))?")
MOST = 1 << 28  # elements: what an example needs is one row of a few steps


def read(texts: list[str] | None) -> list[Any] | dict[str, Any] | None:
    """Return the arguments of ``--example``: a list in order, or a dict of those with names; None without any.

    Numbers of examples given as sizes are drawn from a seeded normal distribution, or zeros where they are integers.

    Raises
    ------
    ConvertError, DataError, OSError
        When a text is no shape and no file of numbers, or some have names and others do not.

    Examples
    --------
    >>> [x.shape for x in read(["1,100,40", "1,8"])]
    [(1, 100, 40), (1, 8)]
    >>> read(["ids=1,3:int64"])
    {'ids': array([[0, 0, 0]])}
    """
    named: dict[str, Any] = {}
    ordered: list[Any] = []
    for text in texts or ():
        name, equals, value = text.partition("=")
        if equals and name.isidentifier():
            if name in named:
                raise ConvertError(f"--example must give each name once, got {name!r} twice")
            named[name] = _array(value, text)
        else:
            ordered.append(_array(text, text))
    if named and ordered:
        raise ConvertError("--example must be given with names for all arguments or for none, got some of both")
    return named or ordered or None


def _array(value: str, text: str) -> Any:
    """Return one example."""
    if value.lower().endswith(".npy"):
        return _file(value)
    match = SIZES.fullmatch(value)
    if not value or match is None:
        raise ConvertError(f"--example must be sizes such as 1,100,40 or a .npy file, got {text!r}")
    sizes, dtype = match.groups()
    if dtype is not None and dtype not in TYPES:
        raise ConvertError(f"type of --example must be one of {', '.join(TYPES)}, got {dtype!r}")
    shape = tuple(int(n) for n in sizes.split(",")) if sizes else ()
    if any(n < 1 for n in shape) or np.prod(shape, dtype=float) > MOST:
        raise ConvertError(f"sizes of --example must be at least 1, and {MOST} elements in all at most, got {text!r}")
    kind = np.dtype(dtype or "float32")
    return np.random.default_rng(0).standard_normal(shape).astype(kind) if kind.kind == "f" else np.zeros(shape, kind)


def _file(path: str) -> Any:
    """Read an example as float32 where it holds real numbers, which NumPy saves as float64 by itself."""
    with open(path, "rb") as file, _arrays.whole(f"{path}: example", "a whole .npy file of numbers"):
        array = np.load(file, allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            raise ConvertError(f"{path}: example must be an array of numbers, got {getattr(array, 'dtype', 'others')}")
    return array.astype(np.float32) if array.dtype.kind == "f" else array
