"""Where scores come from: a stream that carries the state of every row, or the model over a window of what was so far.

Both have the scores of all rows in `y`, in memory that stays while there are as many rows, and give a row the bits that
it has alone. `keep` leaves the scores as they are until the next step where there are as many rows as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._hints import either
from ..engine import Stream
from .network import Network

Array = NDArray[Any]
Rows = NDArray[np.int64]
PROMPT_NUMBERS = 1 << 20  # of the outputs of a chunk of prompts, of which only the last step is read
FIRST_ROOM = 64  # steps behind the prompts, doubled whenever they are full


class Context(NamedTuple):
    """What rows start from beside their prompts, and what their steps read: a row for each prompt."""

    states: Mapping[str, Array]  # of the stream's keys
    inputs: Mapping[str, Sequence[Array]]  # of the model's other inputs


class Streamed:
    """Rows in a stream."""

    def __init__(self, network: Network, context: Context, threads: int | None) -> None:
        self.network, self.context, self.threads = network, context, threads
        self.stream: Stream
        self.y: Array
        self.still: dict[str, Array] = {}

    def begin(self, inputs: Sequence[Array], copies: int) -> None:
        """Run prompts (T, *frame), those of one length together; `copies` rows of each follow."""
        lengths = np.array([len(x) for x in inputs])
        parts = [np.flatnonzero(lengths == n) for n in np.unique(lengths)]
        streams = [self._prompted([inputs[int(i)] for i in part], part) for part in parts]
        order = np.concatenate(parts)
        y = np.concatenate([y for _, y in streams])[np.argsort(order, kind="stable")]
        if len(streams) == 1 and copies == 1:
            self.stream = streams[0][0]
        else:
            self.stream = self._joined([stream for stream, _ in streams], parts, copies)
        rows = np.repeat(np.arange(len(inputs)), copies)
        self.y = np.ascontiguousarray(y[rows])
        self.still = {name: np.stack([x[int(i)] for i in rows]) for name, x in self.context.inputs.items()}

    def _prompted(self, inputs: Sequence[Array], part: Rows) -> tuple[Stream, Array]:
        """Return a stream behind prompts of one length, and its last output."""
        net = self.network
        stream = net.model.stream(len(part), threads=self.threads)
        if self.context.states:
            stream.state = {**stream.state, **{key: x[part] for key, x in self.context.states.items()}}
        still = {name: np.stack([x[int(i)] for i in part]) for name, x in self.context.inputs.items()}
        x = np.stack(inputs)
        chunk = max(1, PROMPT_NUMBERS // (len(part) * sum(prod(s.shape) for s in net.model.outputs.values())))
        for at in range(0, x.shape[1], chunk):
            y = stream.process(self._given(x[:, at : at + chunk], still))
        y = y[net.place] if net.several else y
        return stream, y[:, -1] if net.timed else y

    def _given(self, x: Array, still: Mapping[str, Array]) -> Any:
        """Return the arguments of a call of the stream."""
        if not self.network.others:
            return x
        return {name: x if name == self.network.name else still[name] for name in self.network.model.inputs}

    def _joined(self, streams: Sequence[Stream], parts: Sequence[Rows], copies: int) -> Stream:
        """Return one stream of the rows of several, each as often as asked for.

        Raises
        ------
        ValueError
            When the model counts steps, so that rows behind different numbers of them can't share a stream.
        """
        rows = sum(len(part) for part in parts) * copies
        stream = self.network.model.stream(rows, threads=self.threads)
        for i, (source, part) in enumerate(zip(streams, parts, strict=True)):
            targets = (part[:, None] * copies + np.arange(copies)).ravel()
            if not stream._adopt(source, np.repeat(np.arange(len(part)), copies), targets, i == 0):
                steps = ", ".join(str(s.state["steps"].max()) for s in streams)
                raise ValueError(
                    "prompts must be of one length for a model with layers that stride over steps or have no padding, "
                    f"got {steps}: give {either('a window', '--window')}, or one at a time"
                )
        return stream

    def step(self, x: Array) -> None:
        """Feed a step to every row, (R, *frame)."""
        if not self.network.others and not self.network.several:
            self.stream.step(x, self.y)
            return
        y = self.stream.step(self._given(x, self.still))
        self.y[...] = y[self.network.place] if self.network.several else y

    def keep(self, rows: Rows) -> None:
        """Go on with other rows: each new one from the old one that is named."""
        if len(rows) == len(self.y):
            self.stream.reorder(rows)
        else:
            self.stream = self.stream.take(rows)
            self.y = np.ascontiguousarray(self.y[rows])
        self.still = {name: x[rows] for name, x in self.still.items()}


class Windowed:
    """Rows that the model runs over anew at each step: over all steps so far, or the last ones.

    Parameters
    ----------
    window : int or None
        Steps that the model sees; None: all.
    pad : array or None
        A step that stands in front where there are fewer; None: the model then sees fewer.
    """

    def __init__(
        self, network: Network, context: Context, threads: int | None, window: int | None, pad: Array | None
    ) -> None:
        self.network, self.context, self.threads = network, context, threads
        self.window, self.pad = window, pad
        self.past: Array
        self.lengths: Rows
        self.y: Array
        self.others: dict[str, list[Array]] = {}

    def begin(self, inputs: Sequence[Array], copies: int) -> None:
        """Run prompts (T, *frame); `copies` rows of each follow."""
        front = self.window if self.pad is not None and self.window is not None else 0
        inputs = [x if self.window is None else x[-self.window :] for x in inputs]
        lengths = np.array([max(front, len(x)) for x in inputs])
        shape = (len(inputs), int(lengths.max()) + FIRST_ROOM, *inputs[0].shape[1:])
        past = np.zeros(shape, inputs[0].dtype)
        for row, x, length in zip(past, inputs, lengths, strict=True):
            if self.pad is not None:
                row[: length - len(x)] = self.pad
            row[length - len(x) : length] = x
        once = {name: list(x) for name, x in self.context.inputs.items()}
        y = self._run(past, lengths, once, self.context.states)
        rows = np.repeat(np.arange(len(inputs)), copies)
        self.past, self.lengths, self.y = past[rows], lengths[rows], np.ascontiguousarray(y[rows])
        self.others = {name: [x[i] for i in rows] for name, x in once.items()}
        self.states = {key: x[rows] for key, x in self.context.states.items()}

    def _run(self, past: Array, lengths: Rows, others: Mapping[str, list[Array]], states: Mapping[str, Array]) -> Array:
        """Return the last outputs (R, *frame): rows whose inputs are of one length run together."""
        net = self.network
        steps = lengths if self.window is None else np.minimum(lengths, self.window)
        kinds = [(int(n), *(len(x[i]) if np.ndim(x[i]) else 0 for x in others.values())) for i, n in enumerate(steps)]
        y: Array | None = None
        for kind in sorted(set(kinds)):
            rows = np.array([i for i, own in enumerate(kinds) if own == kind])
            at = (lengths[rows] - kind[0])[:, None] + np.arange(kind[0])
            given: Any = past[rows[:, None], at]
            if net.others:
                stacked = {name: np.stack([x[i] for i in rows]) for name, x in others.items()}
                given = {name: given if name == net.name else stacked[name] for name in net.model.inputs}
            own_states = {key: x[rows] for key, x in states.items()} or None
            found = net.model(given, state=own_states, threads=self.threads)
            found = found[net.place] if net.several else found
            found = found[:, -1] if net.timed else found
            if len(rows) == len(lengths):
                return np.asarray(found)
            y = np.zeros((len(lengths), *found.shape[1:]), found.dtype) if y is None else y
            y[rows] = found
        return np.asarray(y)

    def step(self, x: Array) -> None:
        """Feed a step to every row, (R, *frame)."""
        if self.lengths.max() == self.past.shape[1]:
            self._make_room()
        self.past[np.arange(len(x)), self.lengths] = x
        self.lengths = self.lengths + 1
        self.y[...] = self._run(self.past, self.lengths, self.others, self.states)

    def _make_room(self) -> None:
        """Move the steps in the window to the front where that makes room, else take twice the memory."""
        full = self.past.shape[1]
        if self.window is not None and self.lengths.min() == full >= 2 * self.window:
            self.past[:, : self.window] = self.past[:, full - self.window :].copy()
            self.lengths = np.full_like(self.lengths, self.window)
            return
        self.past = np.concatenate([self.past, np.zeros_like(self.past)], axis=1)

    def keep(self, rows: Rows) -> None:
        """Go on with other rows: each new one from the old one that is named."""
        self.past, self.lengths = self.past[rows], self.lengths[rows]
        self.y = self.y if len(rows) == len(self.y) else np.ascontiguousarray(self.y[rows])
        self.others = {name: [x[i] for i in rows] for name, x in self.others.items()}
        self.states = {key: x[rows] for key, x in self.states.items()}


Source = Streamed | Windowed
