"""States taken apart that hold what different ops write: each part becomes a state of its own."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph, Node, Spec, State
from .editing import Draft
from .elements import LARGEST, NOTHING, Elements
from .gathering import Places, Refused, Shape, box, cut, joined, part_of, pieces, shaped
from .proof import proven

HELD = -2  # the label of elements that only ever come from the state itself


class Part(NamedTuple):
    """Some elements of a state: where they lie in it, the value of their own state, and its frame."""

    places: Places
    value: str
    shape: Shape


def split_states(graph: Graph) -> Graph:
    """`graph` with every state split that is a pack of what different ops write and different ones read.

    Examples
    --------
    >>> from fastgru.graph import Add, Concat, GraphBuilder, Multiply, Slice
    >>> b = GraphBuilder()
    >>> x, s = b.input("x", Spec((3,))), b.add(State(np.zeros(6)), name="s")
    >>> first, last = (b.add(Slice((i,), (i + 3,), (1,)), s) for i in (0, 3))
    >>> y, z = b.add(Add(), x, first, name="y"), b.add(Multiply(), x, last, name="z")
    >>> split_states(b.build(y, feedback={s: b.add(Concat(), y, z)}))
    Graph([s.0: State, y: Add])
    """
    held = [node for node in graph.nodes if isinstance(node.op, State)]
    elements = Elements(graph) if held else None
    for node in held:
        (value,) = node.outputs
        if elements and value in elements.graph.feedback and prod(graph.specs[value].shape) <= LARGEST:
            new = _Split(elements, node).run()
            elements = Elements(new) if new else elements
    return elements.graph if elements else graph


class _Split:
    """One state on its way apart."""

    def __init__(self, elements: Elements, node: Node) -> None:
        self.elements = elements
        self.graph = elements.graph
        self.node = node
        self.state = node.outputs[0]
        self.own = elements.flat(self.state)
        self.parts: list[Part] = []
        self.part_at = np.full(self.own.size, NOTHING)  # the part of every element
        self.place_at = np.zeros(self.own.size, np.int64)  # and its place in that

    def run(self) -> Graph | None:
        """The graph with the state's parts in its place; None where there is nothing to part, or nothing to gain."""
        groups = self.groups()
        if len(groups) == 1 and len(groups[0]) == self.own.size:
            return None
        self.draft = Draft(self.graph)
        for i, places in enumerate(groups):
            self.add_part(i, places)
        try:
            self.replace_reads()
            for part in self.parts:
                self.draft.feedback[part.value] = self.feed(part)
            new = self.draft.build(keep_states=False)
            if self.node.name in {node.name for node in new.nodes}:
                self.draft.use(self.rows(self.own, self.shape(self.state)), of=self.state)
                new = self.draft.build(keep_states=False)
        except Refused:
            return None
        return new if proven(self.graph, new) else None

    def shape(self, value: str) -> Shape:
        return self.graph.specs[value].shape

    def mine(self, ids: Places) -> NDArray[np.bool_]:
        """Which elements are the state's own."""
        return np.asarray((ids >= self.own[0]) & (ids <= self.own[-1]))

    # Which elements belong together -----------------------------------------------------------------

    def groups(self) -> list[Places]:
        """The elements that one op writes, those together that are only ever read together; none that nobody reads."""
        labels = self.writers()
        readers: dict[int, set[str]] = {label: set() for label in dict.fromkeys(labels.tolist())}
        for value, ids in self.reads():
            for label in np.unique(labels[ids[self.mine(ids)] - self.own[0]]).tolist():
                readers[label].add(value)
        found: dict[frozenset[str], int] = {}
        group = {label: found.setdefault(frozenset(values), len(found)) for label, values in readers.items()}
        known, of_label = np.unique(labels, return_inverse=True)
        groups = np.array([group[label] for label in known.tolist()])[of_label.reshape(-1)]
        order, sizes = np.argsort(groups, kind="stable"), np.bincount(groups)
        places = np.split(order, np.cumsum(sizes)[:-1])
        return [places[number] for values, number in found.items() if values]

    def writers(self) -> NDArray[np.int64]:
        """For each element which value writes it in the end, through however many steps within the state."""
        source = self.elements.flat(self.graph.feedback[self.state])
        inside = self.mine(source)
        ahead = np.where(inside, source - self.own[0], np.arange(self.own.size))
        for _ in range(self.own.size.bit_length()):
            ahead = ahead[ahead]
        return np.where(inside[ahead], HELD, self.elements.owners(source)[ahead])

    def reads(self) -> Iterator[tuple[str, Places]]:
        """The values with elements of the state that more than a move reads, and their elements."""
        for value in self.elements.read_of(self.state):
            yield value, self.elements.flat(value)

    # Their states -----------------------------------------------------------------------------------

    def add_part(self, index: int, places: Places) -> None:
        """A state for some elements: of the frame of a block where they are one."""
        axes = box(places, self.shape(self.state))
        shape = tuple(len(a) for a in axes or (places,) if len(a) > 1) or (1,)
        initial = self.node.op.initial.ravel()[places].reshape(shape)  # type: ignore[attr-defined]
        value = self.draft.add(State(initial), name=f"{self.node.name}.{index}")
        self.parts.append(Part(places, value, shape))
        self.part_at[places] = index
        self.place_at[places] = np.arange(len(places))

    def part_holding(self, ids: Places) -> int | None:
        """The one part that has all these elements."""
        if not self.mine(ids).all():
            return None
        found = np.unique(self.part_at[ids - self.own[0]])
        return int(found[0]) if len(found) == 1 and found[0] >= 0 else None

    def from_part(self, index: int, ids: Places, shape: Shape) -> str:
        """Elements of one part in a frame of `shape`."""
        part = self.parts[index]
        places = self.place_at[ids - self.own[0]]
        return part_of(self.draft, part.value, Spec(part.shape), places, shape, name=part.value)

    def replace_reads(self) -> None:
        """Read from the parts what holds elements of one alone, and around the state what mixes them."""
        for value in self.elements.moved:
            index = self.part_holding(self.elements.flat(value))
            if index is not None:
                self.draft.use(self.from_part(index, self.elements.flat(value), self.shape(value)), of=value)
        for value, ids in self.reads():
            if value != self.state and not self.clean(value):
                try:
                    self.draft.use(self.around(ids, self.shape(value)), of=value)
                except Refused:
                    continue  # it reads the whole state, which is joined again

    def clean(self, value: str) -> bool:
        """Whether a value is made without reading several parts as one."""
        waiting = [value]
        while waiting:
            name = waiting.pop()
            if name == self.state:
                return False
            if name in self.elements.moved and self.part_holding(self.elements.flat(name)) is None:
                waiting += self.elements.makers[name].inputs
        return True

    def feed(self, part: Part) -> str:
        """What a part holds one step later."""
        fed = self.elements.flat(self.graph.feedback[self.state])[part.places]
        index = self.part_holding(fed)
        return self.around(fed, part.shape) if index is None else self.from_part(index, fed, part.shape)

    def around(self, ids: Places, shape: Shape) -> str:
        """Elements in a frame of `shape`, from a value that has just them and does not mix parts, or joined."""
        clean = [v for v in self.elements.same(ids) if self.clean(v)]
        if clean:
            return shaped(self.draft, clean[0], self.shape(clean[0]), shape, name=clean[0])
        return self.rows(ids, shape)

    def rows(self, ids: Places, shape: Shape) -> str:
        """Elements joined from pieces of parts and of other values."""
        mine = self.mine(ids)
        local = np.where(mine, ids - self.own[0], 0)
        labels = np.where(mine, -2 - self.part_at[local], self.elements.owners(ids))
        numbers = np.where(mine, self.place_at[local], ids)
        if (labels == NOTHING).any():  # padding, or elements that nobody else reads
            raise Refused
        rows = [self.row(ids[part]) for part in pieces(numbers, labels)]
        return joined(self.draft, rows, shape, name=self.node.name)

    def row(self, ids: Places) -> str:
        index = self.part_holding(ids)
        if index is None:
            return cut(self.draft, self.elements, ids, name=self.node.name)
        return self.from_part(index, ids, (ids.size,))
