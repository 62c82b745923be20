"""Rows of a batch in the order of their lengths and back, as exports of packed sequences write it.

Rows are independent, so no row is moved: a value in another order is marked, and what meets it must be in that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ...errors import ConvertError
from ...graph import Node, Op, Spec, State
from ..program.emit import Emitter
from ..program.sizes import BATCH, size_of
from ..program.values import Tensor, is_symbolic, plain
from .call import Call

ROWS = size_of(BATCH)


@dataclass(frozen=True)
class RowNumbers:
    """The numbers of all rows: as they are, in an order that sorts them, or in the one that undoes it."""

    order: str  # "as given", "sorted" or "restored"


@dataclass(frozen=True, eq=False, repr=False)
class Ordered(Op):
    """A value whose rows are in another order: only while importing."""

    kind: ClassVar[str] = "ordered"
    restored: bool

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (inputs[0],)


def translated(call: Call) -> list[Any] | None:
    """The outputs of a node that orders rows, or reads their order; None for any other."""
    kind = call.node.op_type
    values: Sequence[Any] = call.inputs
    numbers: Any = next((v for v in values if isinstance(v, RowNumbers)), None)
    if numbers is None:
        return _sorted(call) if kind == "TopK" else _counted(call) if kind == "Range" else None
    if kind in ("Identity", "Cast"):
        return [numbers]
    if kind == "Shape":
        return [plain([ROWS])]
    if kind == "Gather" and values[1] is numbers and isinstance(values[0], np.ndarray | Tensor | RowNumbers):
        return [_taken(call, values[0], numbers)]
    if kind == "ScatterElements" and _inverse(values):
        call.attr("axis", 0)
        return [RowNumbers("restored")]
    if kind == "TopK" and values[0] == RowNumbers("sorted") and not call.attr("largest", 1) and _all_rows(call):
        call.attr("axis", -1)
        call.attr("sorted", 1)
        return [RowNumbers("as given"), RowNumbers("restored")]
    raise ConvertError(f"numbers of rows must only put rows in order and back, got them read by {kind}")


def _sorted(call: Call) -> list[Any] | None:
    """Sort the batch by one number for each row."""
    x = call.inputs[0]
    if not isinstance(x, Tensor) or x.axes != ((BATCH,),) or not _all_rows(call):
        return None
    call.attr("axis", -1)
    call.attr("largest", 1)
    if not call.attr("sorted", 1):
        raise ConvertError("sorted must be 1 for rows that are put in order, got 0")
    return [call.like(x, call.add(Ordered(restored=False), x.value)), RowNumbers("sorted")]


def _all_rows(call: Call) -> bool:
    """True of as many as there are rows; a file that fixes their number may have it as a number."""
    k: Any = call.inputs[1] if len(call.inputs) > 1 else None
    return [*k.flat] == [ROWS] if is_symbolic(k) else call.emit.alike and isinstance(k, np.ndarray)


def _counted(call: Call) -> list[Any] | None:
    """Range over all rows."""
    parts = [v.reshape(-1) if isinstance(v, np.ndarray) else np.empty(0) for v in call.inputs]
    if [len(p) for p in parts] == [1, 1, 1] and [p[0] for p in parts] == [0, ROWS, 1]:
        return [RowNumbers("as given")]
    return None


def _inverse(values: Sequence[Any]) -> bool:
    """True of the numbers of rows written to the places that their order says."""
    if len(values) < 3 or not isinstance(values[1], RowNumbers) or values[1].order != "sorted":
        return False
    given = values[2]
    return given == RowNumbers("as given") if isinstance(given, RowNumbers) else _counts(given)


def _counts(given: Any) -> bool:
    """True of constant numbers from 0."""
    return isinstance(given, np.ndarray) and not is_symbolic(given) and np.array_equal(given, np.arange(given.size))


def _taken(call: Call, data: Any, numbers: RowNumbers) -> Any:
    """Rows in that order."""
    axis = call.attr("axis", 0)
    if numbers.order == "as given":
        return data
    if isinstance(data, RowNumbers):
        if {data.order, numbers.order} == {"sorted", "restored"}:
            return RowNumbers("as given")
        raise ConvertError("numbers of rows must only put rows in order and back, got another order")
    x = call.lift(data)
    if x.axes[call.axis(axis, x.rank)] != (BATCH,):
        if x.size(call.axis(axis, x.rank)) == 1:
            return data  # the same for all rows
        raise ConvertError("order of rows must be that of the batch, got another axis")
    return call.like(x, call.add(Ordered(restored=numbers.order == "restored"), x.value))


def without_order(emit: Emitter, outputs: Mapping[str, Tensor], alike: set[str]) -> dict[str, Tensor]:
    """Take the marks out of a graph under construction.

    Parameters
    ----------
    alike : set of str
        Inputs that are the same for all rows.

    Raises
    ------
    ConvertError
        When rows in different orders meet, or are returned.
    """
    if not any(isinstance(node.op, Ordered) for node in emit.order):
        return dict(outputs)
    same: dict[str, str] = {}  # of marks what they mark
    order: dict[str, bool | None] = {name: None if name in alike else False for name in emit.inputs}
    kept: list[Node] = []
    for node in emit.order:
        found = {order.get(v) for v in node.inputs} - {None}
        if isinstance(node.op, Ordered):
            if found == {not node.op.restored}:
                raise ConvertError(f"rows at node {node.name!r} must not be put in order twice, or back from none")
            order[node.outputs[0]] = not node.op.restored if found else None
            same[node.outputs[0]] = same.get(node.inputs[0], node.inputs[0])
            continue
        if len(found) > 1:
            raise ConvertError(f"rows that meet at node {node.name!r} must be in one order, got some sorted by length")
        order.update(dict.fromkeys(node.outputs, None if isinstance(node.op, State) else next(iter(found), None)))
        kept.append(replace(node, inputs=tuple(same.get(v, v) for v in node.inputs)))
    wrong = [name for name, y in outputs.items() if order.get(y.value)]
    if wrong:
        raise ConvertError(f"rows of output {wrong[0]!r} must be in the order of the inputs, got them sorted by length")
    emit.order[:] = kept
    for value in same:
        del emit.producers[value]
    emit.producers.update((v, node) for node in kept for v in node.outputs)
    emit.feedback = {state: same.get(v, v) for state, v in emit.feedback.items()}
    emit.starts = [
        replace(s, initial=same.get(s.initial, s.initial), finals=[same.get(v, v) for v in s.finals])
        for s in emit.starts
    ]
    return {name: replace(y, value=same.get(y.value, y.value)) for name, y in outputs.items()}
