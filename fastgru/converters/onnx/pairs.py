"""Operators of scores of all steps of a sequence by all steps, which are put off until they weigh values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..program.pairs import LEAST, Scores
from ..program.products import einsum, matmul
from ..program.values import Tensor, plain
from .call import Call


@dataclass(frozen=True)
class Undefined:
    """A mask of the scores that are NaN: none, but in a row that asks no step at all."""

    scores: Scores


PAIRS = (Scores, Undefined)


def _inputs(call: Call) -> list[Any]:
    """The inputs, scores among them."""
    return [*call.inputs]


def _number(scores: Scores, value: Any, what: str) -> float:
    """The number that an input is."""
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "fiu":
        raise scores.refused(f"{what} with other than a number")
    return float(value.item())


def _two(call: Call) -> tuple[Scores, Any]:
    """The scores among two inputs, and the other one."""
    x, y = _inputs(call)[:2]
    scores, other = (x, y) if isinstance(x, Scores) else (y, x)
    if isinstance(other, PAIRS):
        raise scores.refused(call.node.op_type)
    return scores, other


def _times(call: Call) -> Scores:
    scores, factor = _two(call)
    return scores.scaled(call, _number(scores, factor, "product"))


def _over(call: Call) -> Scores:
    scores, divisor = _two(call)
    if not isinstance(_inputs(call)[0], Scores):
        raise scores.refused("divisor")
    return scores.scaled(call, 1.0 / _number(scores, divisor, "quotient"))


def _plus(call: Call) -> Scores:
    scores, mask = _two(call)
    return scores.masked(call, mask)


def _chosen(call: Call) -> Scores:
    """Scores with a number far below all of them at the steps that a mask leaves out."""
    mask, x, y = _inputs(call)[:3]
    if isinstance(mask, Undefined):
        if isinstance(y, Scores) and y == mask.scores and not isinstance(x, PAIRS):
            return y
        raise mask.scores.refused("Where")
    scores, other = (x, y) if isinstance(x, Scores) else (y, x)
    assert isinstance(scores, Scores)
    if isinstance(other, PAIRS) or not isinstance(mask, Tensor | np.ndarray):
        raise scores.refused("Where")
    least = _number(scores, other, "Where")
    if least > LEAST:
        raise scores.refused(f"Where with more than {LEAST:g}")
    own = call.lift(mask)
    own = own if scores is x else call.like(own, call.unary("not", own.value))
    return scores.masked(call, own, least)


def _softmax(call: Call) -> Scores:
    scores: Scores = _inputs(call)[0]
    return scores.softmax(call.axis(call.attr("axis", 1 if call.opset < 13 else -1), scores.rank))


def _reshape(call: Call) -> Scores:
    x, target = _inputs(call)[0], call.value(1)
    if not isinstance(x, Scores) or isinstance(target, Tensor) or call.attr("allowzero", 0):
        raise next(v for v in _inputs(call) if isinstance(v, Scores)).refused("Reshape")
    sizes = x.sizes()
    return x.reshaped(call, [sizes[i] if n == 0 else n for i, n in enumerate(target.reshape(-1).tolist())])


def _same(call: Call) -> Any:
    if call.node.op_type == "Cast":
        call.attr("to")
    for name in ("ratio", "seed"):
        call.attr(name)
    return call.inputs[0]


def _shape(call: Call) -> Any:
    return plain(_inputs(call)[0].sizes()[call.attr("start", 0) : call.attr("end")])


OPERATORS: dict[str, Callable[[Call], Any]] = {
    "Mul": _times, "Div": _over, "Add": _plus, "Where": _chosen, "Softmax": _softmax, "Reshape": _reshape,
    **dict.fromkeys(("Identity", "Dropout", "Cast"), _same), "Shape": _shape,
    "IsNaN": lambda call: Undefined(_inputs(call)[0]),
    "MatMul": lambda call: matmul(call, *_inputs(call)),
    "Einsum": lambda call: einsum(call, str(call.attr("equation")), _inputs(call)),
}  # fmt: skip


def translated(call: Call) -> list[Any]:
    """The output of a node that is given scores.

    Raises
    ------
    NeedsSequenceLength
        When it cannot be put off any further.
    """
    found = next(v for v in _inputs(call) if isinstance(v, PAIRS))
    scores = found.scores if isinstance(found, Undefined) else found
    made = OPERATORS.get(call.node.op_type) if call.node.domain == "" else None
    if made is None or (isinstance(found, Undefined) and call.node.op_type != "Where"):
        raise scores.refused(f"input of {call.node.op_type}")
    result = made(call)
    if ignored := call.attributes.ignored():
        raise scores.refused("; ".join(ignored))
    return [result]
