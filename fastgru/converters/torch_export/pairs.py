"""ATen's functions of scores of all steps of a sequence by all steps, which are put off until they weigh values."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np

from ..program.pairs import LEAST, Scores
from .call import Call, Handler


def _number(scores: Scores, value: Any, what: str) -> float:
    """The number that an argument is."""
    array = np.asarray(value) if isinstance(value, int | float | np.ndarray) else None
    if array is None or array.size != 1:
        raise scores.refused(f"{what} with other than a number")
    return float(array.item())


def _times(call: Call, x: Any, y: Any) -> Scores:
    scores, other = (x, y) if isinstance(x, Scores) else (y, x)
    return scores.scaled(call, _number(scores, other, "product"))


def _over(call: Call, x: Any, y: Any) -> Scores:
    if not isinstance(x, Scores):
        raise y.refused("divisor")
    return x.scaled(call, 1.0 / _number(x, y, "quotient"))


def _plus(call: Call, x: Any, y: Any, *, alpha: Any = 1) -> Scores:
    scores, other = (x, y) if isinstance(x, Scores) else (y, x)
    if isinstance(other, Scores) or alpha != 1:
        raise scores.refused("sum")
    return scores.masked(call, other if isinstance(other, np.ndarray) else call.tensor(other))


def _filled(call: Call, x: Any, mask: Any, value: Any) -> Scores:
    """Scores with a number at the steps that a mask names, far below all scores."""
    least = _number(x, value, "masked_fill") if isinstance(x, Scores) else inf
    if least > LEAST:
        raise (x if isinstance(x, Scores) else mask).refused(f"masked_fill with more than {LEAST:g}")
    own = call.tensor(mask)
    return x.masked(call, call.like(own, call.unary("not", own.value)), least)  # type: ignore[no-any-return]


def _chosen(call: Call, mask: Any, x: Any, y: Any) -> Scores:
    if isinstance(x, Scores) and not isinstance(y, Scores):
        least = _number(x, y, "where")
        if least <= LEAST:
            return x.masked(call, call.tensor(mask), least)
        raise x.refused(f"where with more than {LEAST:g}")
    if not isinstance(y, Scores) or isinstance(x, Scores):
        raise (x if isinstance(x, Scores) else mask).refused("where")
    return _filled(call, y, mask, x)


def _softmax(call: Call, x: Scores, dim: int, dtype: Any = None) -> Scores:
    return x.softmax(dim)


def _same(call: Call, x: Scores, *others: Any, **more: Any) -> Scores:
    return x


def _dropout(call: Call, x: Scores, p: float, train: bool) -> Scores:
    if train and p:
        raise x.refused("dropout while training")
    return x


def _reshape(call: Call, x: Scores, shape: Sequence[Any]) -> Scores:
    return x.reshaped(call, shape)


TABLE: dict[str, Handler] = {
    "mul": _times, "div": _over, "add": _plus, "masked_fill": _filled, "where": _chosen, "dropout": _dropout,
    **dict.fromkeys(("softmax", "_softmax"), _softmax), **dict.fromkeys(("view", "reshape", "_unsafe_view"), _reshape),
    **dict.fromkeys(("contiguous", "clone", "detach", "alias", "to", "_to_copy"), _same),
}  # fmt: skip
# Whose own rows take them.
PRODUCTS = ("matmul", "bmm", "einsum")


def find_scored(name: str, handler: Handler | None, scores: Scores) -> Handler:
    """Return what translates a call of scores, `handler` where that takes them.

    Raises
    ------
    NeedsSequenceLength
        When nothing does.
    """
    found = handler if name in PRODUCTS else TABLE.get(name)
    if found is None:
        raise scores.refused("argument")
    return found
