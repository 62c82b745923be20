"""Calls of an exported program that need not be made: what gives what it is given, or reads what was just written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import fx

LARGEST = 2**62  # what stands for "to the end" of a slice
ATEN: Any = torch.ops.aten
# Tensors of the dtype of another one.
NEW = (ATEN.new_zeros.default, ATEN.new_ones.default, ATEN.new_full.default, ATEN.new_empty.default)


def simplify(graph: fx.Graph) -> None:
    """Take out slices of everything, copies over a whole tensor, and reads of what writes in place have put there."""
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        source = _given_back(node) or _put_there(node)
        if isinstance(source, fx.Node):
            node.replace_all_uses_with(source)
        elif node.target is ATEN.slice_scatter.default:
            _as_element(graph, node)


def independent(graph: fx.Graph) -> set[fx.Node]:
    """Return the calls that read no tensor, each made once alone.

    They are the same in and before a loop: zeros to start from, made in its first step, are none of its calls. Nor is
    what the first steps read of a sequence of zeros that is written behind them.
    """
    made: dict[str, fx.Node] = {}
    apart: set[fx.Node] = set()
    inputs: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op == "placeholder" and isinstance(node.meta.get("val"), torch.Tensor):
            inputs.setdefault(_dtype(node), node)
        elif node.op == "call_function":
            if node.target in NEW and isinstance(node.args[0], fx.Node) and _dtype(node.args[0]) in inputs:
                node.update_arg(0, inputs[_dtype(node.args[0])])  # of which it takes the dtype alone
            if _reads_no_tensor(node) or (node.args[:1] and node.args[0] in apart and _reads_unwritten(node)):
                key = f"{node.target} {node.args} {node.kwargs}"
                apart.add(made.setdefault(key, node))
                if made[key] is not node:
                    node.replace_all_uses_with(made[key])
    return apart


def _reads_unwritten(node: fx.Node) -> bool:
    """Return True for a part of a tensor to which others are written, but never that one."""
    source, part = node.args[0], _part(node)
    if node.target not in SCATTERS or part is None:
        return False
    writes = _writes(source)  # type: ignore[arg-type]
    return bool(writes) and all(own is not None and part.apart(own) for own in writes)


def _writes(source: fx.Node) -> list[Part | None]:
    """Return the parts that are written to a tensor, one behind the other."""
    found: list[Part | None] = []
    waiting = [source]
    while waiting:
        users = [user for user in waiting.pop().users if user.target in SCATTERS.values() and user.users]
        found += map(_part, users)
        waiting += users
    return found


def _reads_no_tensor(node: fx.Node) -> bool:
    if not isinstance(node.meta.get("val"), torch.Tensor):
        return False
    read = node.all_input_nodes[1 if node.target in NEW else 0 :]
    return all(isinstance(n.meta.get("val"), torch.SymInt) for n in read)


def _given_back(node: fx.Node) -> Any:
    args = node.args
    if node.target is ATEN.slice.Tensor and _is_whole(args, 2):
        return args[0]
    if node.target is ATEN.slice_scatter.default and _is_whole(args, 3):
        return args[1] if _same_shape(args[0], args[1]) else None
    if node.target is ATEN.copy.default:
        return args[1] if _same_shape(args[0], args[1]) and _dtype(args[0]) == _dtype(args[1]) else None
    return None


def _is_whole(args: Sequence[Any], at: int) -> bool:
    start, end, step = (args[i] if i < len(args) else None for i in range(at, at + 3))
    return start in (None, 0) and step in (None, 1) and (end is None or (isinstance(end, int) and end >= LARGEST))


def _same_shape(a: Any, b: Any) -> bool:
    shapes = [getattr(v.meta.get("val"), "shape", None) if isinstance(v, fx.Node) else None for v in (a, b)]
    return None not in shapes and str(shapes[0]) == str(shapes[1])


def _dtype(value: Any) -> Any:
    return value.meta["val"].dtype


# Parts that are read where others were written ---------------------------------------------------

SCATTERS = {ATEN.select.int: ATEN.select_scatter.default, ATEN.slice.Tensor: ATEN.slice_scatter.default}


class Part(NamedTuple):
    """Places of an axis, counted from the first, or from the end by negative numbers up to 0.

    Attributes
    ----------
    dim : int
    first, last : int
        The last is behind them.
    """

    dim: int
    first: int
    last: int

    def apart(self, other: Part) -> bool:
        """Return True if two parts of an axis have no place in common."""
        alike = self.dim == other.dim and (self.first < 0) == (other.first < 0)
        return alike and (self.last <= other.first or other.last <= self.first)


def _put_there(node: fx.Node) -> fx.Node | None:
    """Return what a call reads that was just written to the same place; make it pass over writes to other places."""
    part = _part(node)
    while part is not None:
        below = node.args[0]
        before = _part(below) if isinstance(below, fx.Node) and below.target in SCATTERS.values() else None
        if before is None:
            break
        own = SCATTERS.get(node.target, node.target)
        if part == before and own is below.target:  # type: ignore[union-attr]
            if node.target in SCATTERS:
                return below.args[1]  # type: ignore[union-attr, return-value]
        elif node.target not in SCATTERS or not part.apart(before):
            break
        node.update_arg(0, below.args[0])  # type: ignore[union-attr]
    return None


def _part(node: fx.Node) -> Part | None:
    """Return the places that a call reads or writes; None where that depends on lengths."""
    at = 1 if node.target in SCATTERS else 2 if node.target in SCATTERS.values() else 0
    whole = getattr(node.args[0], "meta", {}).get("val") if at else None
    if not isinstance(whole, torch.Tensor) or not whole.dim():
        return None
    dim, *ends = (*node.args[at:], *(None,) * 4)[:4]
    if not isinstance(dim, int | None):
        return None
    dim = (dim or 0) % whole.dim()
    if node.target in (ATEN.select.int, ATEN.select_scatter.default):
        first: Any = ends[0]
        last: Any = first + 1 if isinstance(first, int) else None
    else:
        first, last = ends[0] or 0, LARGEST if ends[1] is None else ends[1]
        last = None if ends[2] not in (None, 1) else last
    if not isinstance(first, int) or not isinstance(last, int):
        return None
    last = 0 if first < 0 and last >= LARGEST else last
    size = whole.shape[dim]
    if isinstance(size, int):
        last = min(last + size if last < 0 or first < 0 == last else last, size)
        first = first + size if first < 0 else first
    return Part(dim, first, last) if first < 0 >= last or 0 <= first < last else None


def _as_element(graph: fx.Graph, node: fx.Node) -> None:
    """Write one place of an axis as the element that it is: as a loop does that writes ``out[:, t : t + 1]``."""
    part, source = _part(node), node.args[1]
    value = source.meta.get("val") if isinstance(source, fx.Node) else None
    if part is None or part.last != part.first + 1 or not isinstance(value, torch.Tensor):
        return
    if value.dim() != node.meta["val"].dim() or value.shape[part.dim] != 1:
        return
    with graph.inserting_before(node):
        element = graph.call_function(ATEN.select.int, (source, part.dim, 0))
    element.meta = {**node.meta, "val": value.select(part.dim, 0)}
    node.target, node.args, node.kwargs = ATEN.select_scatter.default, (node.args[0], element, part.dim, part.first), {}
