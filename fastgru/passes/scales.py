"""Scales and shifts by constants, batch norms among them, folded into the weights beside them in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..graph import GRU, LSTM, RNN, Conv, ConvTranspose, Dense, Embedding, Graph, Node, Op, TimeConv
from ..graph.activations import F64
from ..graph.sharing import Sharing
from ..reference import f64
from .affine import Affine, affine_of
from .editing import Draft
from .neighbours import Neighbours, ends_linear, is_plain, per_channel

Change = Callable[[Any, F64, F64], Op | None]
ROOM = 2**24  # numbers, 64 MiB of float32, that matrices which nodes share may take while they are scaled apart


# Behind an op: (op, scale, shift), both (O,), to the op whose outputs are scaled and shifted ---------


def _biased(op: Any, scale: F64, shift: F64) -> Any:
    bias = f64(op.bias, np.zeros(shift.shape)) * scale + shift
    return None if op.bias is None and not bias.any() else bias


def _rows(op: Any, scale: F64, shift: F64) -> Op:
    """Of weights whose first axis is the outputs'."""
    weight = op.weight if (scale == 1).all() else f64(op.weight) * scale.reshape(-1, *[1] * (op.weight.ndim - 1))
    changed: Op = op.replace(weight=weight, bias=_biased(op, scale, shift))
    return changed


def _transposed_rows(op: ConvTranspose, scale: F64, shift: F64) -> Op:
    inputs, outputs, *window = op.weight.shape
    blocks = f64(op.weight).reshape(op.groups, inputs // op.groups, outputs, *window)
    blocks = blocks * scale.reshape(op.groups, 1, outputs, *[1] * len(window))
    changed: Op = op.replace(weight=blocks.reshape(op.weight.shape), bias=_biased(op, scale, shift))
    return changed


# op -> the axis of its output that a scale runs along, and how it changes
BEHIND: dict[type[Op], tuple[int, Change]] = {
    Dense: (-1, _rows),
    TimeConv: (-1, _rows),
    Conv: (0, _rows),
    ConvTranspose: (0, _transposed_rows),
    Embedding: (-1, lambda op, scale, shift: op.replace(weight=f64(op.weight) * scale + shift)),
}


# Before an op: (op, scale, shift), both (I,), to the op that makes the same of what was neither -------


def _dense(op: Dense, scale: F64, shift: F64) -> Op:
    changed: Op = op.replace(
        weight=f64(op.weight) * scale, bias=_biased(op, np.ones(()), f64(op.weight) @ shift) if shift.any() else op.bias
    )
    return changed


def _recurrent(op: Any, scale: F64, shift: F64) -> Op:
    added = f64(op.weight_x) @ shift
    bias = f64(op.bias, np.zeros(added.shape)) + added if shift.any() else op.bias
    changed: Op = op.replace(weight_x=f64(op.weight_x) * scale, bias=bias)
    return changed


def _windows(op: Any, scale: F64, shift: F64) -> Op | None:
    """Of a convolution, whose padding no shift may reach: the zeros around are not shifted."""
    if shift.any() and np.any([op.before, op.after]):
        return None
    outputs, inputs = op.weight.shape[:2]
    weight = f64(op.weight).reshape(op.groups, outputs // op.groups, inputs, -1)
    factor, addend = (a.reshape(op.groups, 1, inputs, 1) for a in (scale, shift))
    added = (weight * addend).sum(axis=(2, 3)).reshape(outputs)
    bias = _biased(op, np.ones(()), added) if shift.any() else op.bias
    changed: Op = op.replace(weight=(weight * factor).reshape(op.weight.shape), bias=bias)
    return changed


def _transposed(op: ConvTranspose, scale: F64, shift: F64) -> Op | None:
    """At its borders fewer inputs meet than within: no shift is the same everywhere."""
    weight = f64(op.weight) * scale.reshape(-1, *[1] * (op.weight.ndim - 1))
    changed: Op = op.replace(weight=weight)
    return None if shift.any() else changed


# op -> the axis of its first input that a scale runs along, and how it changes
AHEAD: dict[type[Op], tuple[int, Change]] = {
    Dense: (-1, _dense),
    RNN: (-1, _recurrent),
    GRU: (-1, _recurrent),
    LSTM: (-1, _recurrent),
    TimeConv: (-1, _windows),
    Conv: (0, _windows),
    ConvTranspose: (0, _transposed),
}


# The pass -------------------------------------------------------------------------------------------


def fold_scales(graph: Graph) -> Graph:
    """`graph` with what scales and shifts by constants in the weights of its neighbours, where those are float32.

    A matrix that nodes share is scaled for all of them alike or for none: it stays one.

    Examples
    --------
    >>> from fastgru.graph import BatchNorm, chain
    >>> norm = BatchNorm(np.zeros(2), np.ones(2))
    >>> fold_scales(chain([Dense(np.ones((2, 3))), norm], names=["dense", "norm"]))
    Graph([dense: Dense])
    """
    sharers, kept = _sharers(graph), set[str]()
    while True:
        folding = _Folding(graph, {name for holders in sharers for name, _ in holders}, kept)
        left = [(node, found) for node, found in folding.affine() if not folding.beside(node, found)]
        for node, found in reversed(left):
            folding.before(node, found)
        apart = _apart(graph, folding.draft, sharers)
        if not apart:
            return folding.draft.build() if folding.draft.changed else graph
        kept |= apart


def _sharers(graph: Graph) -> list[list[tuple[str, str]]]:
    """The nodes and fields that hold one matrix, for each that several hold."""
    found: dict[int, list[tuple[str, str]]] = {}
    for node in graph.nodes:
        for field, array in node.op.weights().items():
            if array.ndim > 1:
                found.setdefault(id(array), []).append((node.name, field))
    return [holders for holders in found.values() if len(holders) > 1]


def _apart(graph: Graph, draft: Draft, sharers: Sequence[Sequence[tuple[str, str]]]) -> set[str]:
    """The changed nodes whose matrices are no longer those of all that shared them in `graph`."""
    before, sharing, found = {node.name: node.op for node in graph.nodes}, Sharing(), set[str]()
    for holders in sharers:
        arrays = {id(sharing.array(draft.nodes[name].op.weights()[field])) for name, field in holders}
        if len(arrays) > 1:
            found |= {name for name, _ in holders if draft.nodes[name].op is not before[name]}
    return found


class _Target(NamedTuple):
    """The node that takes a scale and a shift, how, and the values through which it sees what is scaled."""

    name: str
    row: tuple[int, Change]
    source: str
    to: str


class _Folding:
    """Scales on their way into the weights beside them.

    Of a run of scales only the first and the last stand beside weights; the others follow them one after the other,
    or else each would cost a further round of passes.
    """

    def __init__(self, graph: Graph, sharers: Set[str], kept: Set[str]) -> None:
        self.around = Neighbours(graph)
        self.draft = Draft(graph)
        self.sharers = sharers  # names of nodes that share a matrix
        self.kept = kept  # of nodes that stay as they are
        self.sharing = Sharing()
        self.room = ROOM
        self.touched: set[str] = set()
        self.gone_behind: dict[str, _Target] = {}  # outputs of what was folded into weights that it reads
        self.gone_ahead: dict[str, _Target] = {}  # inputs of what was folded into weights that read it

    def affine(self) -> Iterator[tuple[Node, Affine]]:
        """The nodes that scale and shift."""
        for node in self.around.graph.nodes:
            found = affine_of(self.around.elements, node)
            if found is not None:
                yield node, found

    def beside(self, node: Node, found: Affine) -> bool:
        """Fold a node into the weights behind it, else into those ahead, else where the one that it reads went."""
        y = node.outputs[0]
        target = _behind(self.around, found)
        if target and target.name not in self.touched and self.fold(node, found, target):
            self.gone_behind[y] = target
            return True
        target = _ahead(self.around, y)
        if target and target.name not in self.touched and self.fold(node, found, target):
            self.gone_ahead[found.x] = target
            return True
        target = self.gone_behind.get(found.x) if self.around.uses[found.x] == 1 else None
        if target and self.fold(node, found, target):
            self.gone_behind[y] = target
            return True
        return False

    def before(self, node: Node, found: Affine) -> None:
        """Fold a node where the one went that alone reads it."""
        y = node.outputs[0]
        target = self.gone_ahead.get(y) if self.around.uses[y] == 1 else None
        if target and self.fold(node, found, target):
            self.gone_ahead[found.x] = target

    def fold(self, node: Node, found: Affine, target: _Target) -> bool:
        """Change the target and let all that read the node's value read what it scales; False where it cannot."""
        if target.name in self.kept:
            return False
        changed = _changed(self.around, self.draft.nodes[target.name].op, found, target)
        if changed is None or self.room < 0:
            return False
        if target.name in self.sharers:
            op = self.sharing.op(changed)
            self.room -= sum(array.size for name, array in op.weights().items() if array is changed.weights()[name])
            changed = op
        self.touched |= {target.name, node.name}
        self.draft.put(replace(self.draft.nodes[target.name], op=changed))
        self.draft.use(found.x, of=node.outputs[0])
        return True


def _behind(around: Neighbours, found: Affine) -> _Target | None:
    """The node that gives what is scaled; codes of weights take no scale, but the bias beside them a shift."""
    node = around.behind(found.x)
    row = BEHIND.get(type(node.op)) if node else None
    if node is None or row is None:
        return None
    if isinstance(node.op, Embedding):
        takes = is_plain(node)
    else:
        takes = ends_linear(node) and (is_plain(node) or bool((found.scale == 1).all()))
    if not takes:
        return None
    return _Target(node.name, row, found.x, node.outputs[0])


def _ahead(around: Neighbours, value: str) -> _Target | None:
    """The node that alone reads what was scaled."""
    reader = around.ahead(value)
    row = AHEAD.get(type(reader[0].op)) if reader else None
    if reader is None or row is None or not is_plain(reader[0]) or reader[0].inputs[0] != reader[1]:
        return None
    return _Target(reader[0].name, row, value, reader[1])


def _changed(around: Neighbours, op: Op, found: Affine, target: _Target) -> Op | None:
    """An op with a scale and a shift of the elements of a value."""
    axis, change = target.row
    scale, shift = (
        per_channel(around.carried(array, source=target.source, to=target.to), axis)
        for array in (found.scale, found.shift)
    )
    return change(op, scale, shift) if scale is not None and shift is not None else None
