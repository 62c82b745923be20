"""Values made of given elements: a view of what holds them, parts of it, or several joined."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from ..graph import Concat, Constant, Gather, Reshape, Slice, Spec
from .editing import Draft
from .elements import Elements, Ids

MOST_PIECES = 16  # that are joined: more means that the elements lie scattered
Shape = tuple[int, ...]
Places = NDArray[np.int64]


class Refused(Exception):
    """A rewrite that would not make the graph simpler."""


def box(places: Places, shape: Shape) -> tuple[Places, ...] | None:
    """The indices along every axis of which `places` (flat, of a frame) are all combinations, in C order, or None."""
    axes = tuple(np.unique(c) for c in np.unravel_index(places, shape)) if shape else ()
    if prod(len(a) for a in axes) != len(places):
        return None
    steps_even = all(len(a) < 3 or (np.diff(a) == a[1] - a[0]).all() for a in axes)
    whole = np.ravel_multi_index(np.meshgrid(*axes, indexing="ij"), shape).ravel() if shape else np.zeros(1)
    return axes if steps_even and np.array_equal(whole, places) else None


def part_of(draft: Draft, value: str, spec: Spec, places: Places, shape: Shape, *, name: str) -> str:
    """The elements of `value` (of this spec) at these places, as a frame of `shape`: a view where it can be one."""
    axes = box(places, spec.shape)
    kept: Shape = (len(places),)
    if axes is None:
        value = shaped(draft, value, spec.shape, (prod(spec.shape),), name=name)
        index = draft.add(Constant(places, "int"), name=f"{name}.places")
        value = draft.add(Gather(0), value, index, name=name)
    elif len(places) != prod(spec.shape):
        steps = tuple(int(a[1] - a[0]) if len(a) > 1 else 1 for a in axes)
        starts, stops = tuple(int(a[0]) for a in axes), tuple(int(a[-1]) + 1 for a in axes)
        value = draft.add(Slice(starts, stops, steps), value, name=name)
        kept = tuple(len(a) for a in axes)
    else:
        kept = spec.shape
    return shaped(draft, value, kept, shape, name=name)


def shaped(draft: Draft, value: str, shape: Shape, wanted: Shape, *, name: str) -> str:
    """A value of frame `shape` as one of the frame `wanted`."""
    return value if shape == wanted else draft.add(Reshape(wanted), value, name=name)


def pieces(numbers: Ids, labels: NDArray[np.int64]) -> list[slice]:
    """Runs in which the label stays and each number is one more than the last.

    Raises
    ------
    Refused
        When there are more than `MOST_PIECES`.
    """
    cuts = np.flatnonzero((np.diff(numbers) != 1) | (np.diff(labels) != 0)) + 1
    if len(cuts) >= MOST_PIECES:
        raise Refused
    return [slice(a, b) for a, b in zip([0, *cuts], [*cuts, len(numbers)], strict=True)]


def joined(draft: Draft, rows: Sequence[str], shape: Shape, *, name: str) -> str:
    """Rows, one after the other, as a frame of `shape`."""
    value = rows[0] if len(rows) == 1 else draft.add(Concat(axis=0), *rows, name=name)
    return shaped(draft, value, (prod(shape),), shape, name=name)


def gathered(draft: Draft, elements: Elements, ids: Ids, shape: Shape, *, name: str) -> str:
    """A value that holds the elements `ids` (flat) in a frame of `shape`: one there is, or parts of such joined.

    Raises
    ------
    Refused
        When the elements lie too scattered.
    """
    specs = elements.graph.specs
    if whole := elements.same(ids):
        same = next((v for v in whole if specs[v].shape == shape), whole[0])
        return shaped(draft, same, specs[same].shape, shape, name=name)
    rows = [cut(draft, elements, ids[part], name=name) for part in pieces(ids, elements.owners(ids))]
    return joined(draft, rows, shape, name=name)


def cut(draft: Draft, elements: Elements, ids: Ids, *, name: str) -> str:
    """A row of elements of one value."""
    found = elements.owner(ids)
    if found is None:
        raise Refused
    value, places = found
    return part_of(draft, value, elements.graph.specs[value], places, (ids.size,), name=name)
