"""Edits: states and gates of a stream changed at every step, for ablations."""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_array
from .._names import nearest
from ..graph import GRU, LSTM, Recurrent
from ..lowering.codes import PHASE_GATES, SHOWN
from ..lowering.traced import parts
from .tracing import Look, Watched, look_of_stream

if TYPE_CHECKING:
    from ..engine import Stream

Array = NDArray[Any]
Change = Callable[[Array], Any]
STATES = {"hidden": "h", "cell": "c"}
OF_STATES = {short: part for part, short in STATES.items()}
ORDER = ("gate", "c", "h")  # in which the edits of a step take effect


class Target(NamedTuple):
    """What an edit changes: a part of a layer, and what messages call it."""

    name: str
    node: str
    part: str


class Edit:
    """A change of a state or gate at every step of a stream, while the block of its ``with`` runs; see `edit`."""

    def __init__(self, stream: Stream, target: Target, change: Change) -> None:
        self.stream, self.target, self.change = stream, target, change

    def __enter__(self) -> Edit:
        Watched.of(self.stream).add(self.stream, self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        Watched.of(self.stream).remove(self.stream, self)

    def __repr__(self) -> str:
        return f"<fastgru.inspect.Edit of {self.target.name!r}>"


def edit(stream: Stream, name: str, change: Change) -> Edit:
    """Change a state or a gate of a layer at every step that a stream runs inside of a ``with``.

    A change takes effect in its step: what follows from it is computed anew, the output of the layer and all behind it,
    and the next step starts from it. Units that keep their numbers keep their bits. An exception of `change` ends the
    call, and the stream is as it was before that. Several edits may be active; gates are changed first, then c, then h.

    Parameters
    ----------
    stream : Stream
    name : str
        ``"<layer>.<part>"``: h or hidden; c or cell of an LSTM; a gate: update, candidate and output of a GRU, input,
        forget, candidate and output of an LSTM. The reset gate of a GRU is part of a product and can't be changed, nor
        gates and c where an LSTM has a projection.
    change : callable
        Called at each step with a copy of the array, (units,) or (batch, units); returns an array of that shape, or
        what broadcasts to it.

    Raises
    ------
    ValueError, TypeError
        When the name is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru import Model
    >>> from fastgru.layers import GRU
    >>> rng = np.random.default_rng(0)
    >>> stream = Model([GRU.from_torch(rng.normal(size=(12, 3)), rng.normal(size=(12, 4)))]).stream()
    >>> def silence(h):
    ...     h[2] = 0
    ...     return h
    >>> with stream.edit("gru.h", silence):
    ...     y = stream.step(np.ones(3))
    >>> float(y[2]), float(stream.state["gru.h"][2])
    (0.0, 0.0)
    """
    if not callable(change):
        raise TypeError(f"change must be a function of an array, got {type(change).__name__}")
    return Edit(stream, _target(look_of_stream(stream), name, stream.state), change)


def _target(look: Look, name: Any, states: Collection[str]) -> Target:
    """Return the part of a layer that has this name."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a string like 'gru.h', got {type(name).__name__}")
    layers = look.recurrent()
    known: dict[str, Target] = {}
    for point in look.points.known.values():
        if point.node in layers and point.part:
            for layer in (point.name.rpartition(".")[0], point.alias.rpartition(".")[0]):
                shown = f"{layer}.{STATES.get(point.part, point.part)}"
                target = Target(shown, point.node, point.part)
                known.setdefault(shown, target)
                known.setdefault(f"{layer}.{point.part}", target)
    if name not in known:
        if name in states:
            raise ValueError(
                f"state to edit must be one of a recurrent layer, got {name!r}: set stream.state between steps"
            )
        if not known:
            raise ValueError(f"name must be a state or gate of a recurrent layer, got {name!r}: the model has no layer")
        raise ValueError(f"name must be one of {nearest(name, known)}, got {name!r}")
    target = known[name]
    if why := _fixed(layers[target.node], target.part, look, target.node):
        raise ValueError(f"{name!r} can't be edited: {why}")
    return target._replace(name=name)


def _fixed(op: Recurrent, part: str, look: Look, node: str) -> str:
    """Say why a part of a layer can't be changed; empty where it can."""
    if part == "hidden":
        return ""
    if part == "reset":
        return "a reset gate is applied inside of the product for the candidate; edit the candidate or h"
    if isinstance(op, LSTM) and op.projection is not None:
        return "what the layer gives is a product of it; edit h"
    if part != "cell" and any(n.name == node and len(n.inputs) == 2 for n in look.packed.nodes):
        return "the layer leaves out masked steps, which have no gates; edit its states"
    return ""


class Editor:
    """All edits of a stream, called by the engine behind each step of a layer, before its outputs are written."""

    def __init__(self, layers: dict[str, Recurrent], single: bool) -> None:
        self.layers, self.single = layers, single
        self.edits: list[Edit] = []

    def __call__(self, node: str, arrays: dict[str, Array]) -> None:
        mine = [edit for edit in self.edits if edit.target.node == node]
        if not mine:
            return
        step = _Step(self.layers[node], arrays)
        for order in ORDER:
            for edit in mine:
                part = edit.target.part
                if STATES.get(part, "gate") == order:
                    step.put(part, self._changed(edit, step.get(part)))
            step.follow(order)

    def _changed(self, edit: Edit, array: Array) -> Array:
        """What a change makes of an array (B, units)."""
        given = array[0] if self.single else array
        made = as_array(edit.change(given.copy()), edit.target.name)
        try:
            found = np.broadcast_to(made, given.shape)
        except ValueError:
            found = None
        if found is None or made.dtype.kind not in "fiub":
            got = f"{made.dtype} of shape {made.shape}"
            raise ValueError(f"edit of {edit.target.name!r} must return numbers of shape {given.shape}, got {got}")
        return np.asarray(found, array.dtype).reshape(array.shape)


class _Step:
    """The arrays of one step of one layer, and what follows from which."""

    def __init__(self, op: Recurrent, arrays: dict[str, Array]) -> None:
        self.op, self.arrays, self.codes = op, arrays, parts(op)
        self.changed: dict[str, Any] = {}  # of gates, c and h: which numbers, (B, units) bool

    def get(self, part: str) -> Array:
        """An array (B, units) of a part."""
        if part in STATES:
            return self.arrays[STATES[part]]
        code = self.codes[part]
        return 1 - self._gate(0) if code == SHOWN["forget"] else self._gate(code)

    def _gate(self, code: int) -> Array:
        gates = self.arrays[f"gates{code // PHASE_GATES}"][:, :, code % PHASE_GATES]
        return np.asarray(gates.reshape(len(gates), -1)[:, : self.op.hidden_size])

    def put(self, part: str, new: Array) -> None:
        """Set a part, and note which numbers changed."""
        kind = STATES.get(part, "gate")
        with np.errstate(invalid="ignore"):
            other = new != self.get(part)
        self.changed[part] = self.changed.get(part, False) | other
        if kind != "gate":
            self.arrays[kind][...] = new
            return
        code = self.codes[part]
        coupled = code == SHOWN["forget"]
        to = self.arrays[f"gates{0 if coupled else code // PHASE_GATES}"]
        whole = np.zeros((len(to), to.shape[1] * to.shape[3]), to.dtype)
        whole[:, : self.op.hidden_size] = 1 - new if coupled else new
        to[:, :, 0 if coupled else code % PHASE_GATES] = whole.reshape(len(to), to.shape[1], to.shape[3])

    def follow(self, order: str) -> None:
        """Compute what follows from gates or c, where they changed."""
        if isinstance(self.op, GRU):
            self._follow_gru(self.op, order)
        elif isinstance(self.op, LSTM):
            self._follow_lstm(self.op, order)

    def _moved(self, *names: str) -> Any:
        """Where any of these changed."""
        shape = self.arrays["c"].shape
        return np.logical_or.reduce([np.broadcast_to(self.changed.get(name, False), shape) for name in names])

    def _follow_gru(self, op: GRU, order: str) -> None:
        h = self.arrays["h"]
        if order == "gate":
            z, n, before = self.get("update"), self.get("candidate"), self.arrays["h_before"]
            made = z * before + (1 - z) * n if op.update_keeps == "state" else (1 - z) * before + z * n
            moved = self._moved("update", "candidate")
            self.changed["hidden"] = moved
            np.copyto(h, made, where=moved)
        if order == "h" and op.output_gate:
            y = self.get("output") * op.output_activation(np.asarray(h, np.float64))
            np.copyto(self.arrays["y"], y, where=self._moved("hidden", "output"), casting="same_kind")

    def _follow_lstm(self, op: LSTM, order: str) -> None:
        c = self.arrays["c"]
        if order == "gate":
            made = self.get("forget") * self.arrays["c_before"] + self.get("input") * self.get("candidate")
            moved = self._moved("forget", "input", "candidate")
            self.changed["cell"] = moved
            np.copyto(c, made, where=moved)
        if order == "c" and op.projection is None:
            h = self.get("output") * op.output_activation(np.asarray(c, np.float64))
            np.copyto(self.arrays["h"], h, where=self._moved("cell", "output"), casting="same_kind")


__all__ = ["Edit", "edit"]
