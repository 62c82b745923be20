"""Prediction of many sequences: in slices of an array, or batches of sequences alike in length.

::

    array   (B, T, I)      --slices of rows-->                        outputs (B, T, O)
    list, iterator         --windows--> sorted by length --batches--> a list in the caller's order

Sequences of unequal length share a batch only where that cannot change their results: in a model whose nodes all
look back alone, or are recurrent and leave out the steps behind a row's length. Others run with their equals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import engine
from ._arguments import checked_lengths
from ._arrays import as_array
from ._progress import counting

if TYPE_CHECKING:
    from .running import Running

Array = NDArray[Any]
Result = Any  # an array, or a tuple of arrays
# Of a batch and thread. With x (B, 100, 64) on one thread, AVX2, a GRU of 64, 128, 256, 512 units took for each row and
# step 0.94, 3.2, 15, 55 us of processor time alone, 0.77, 2.1, 7.7, 26 in batches of 4, and no less in any up to 256.
ROWS = 32
SLICE_BYTES = 1 << 26  # of the inputs and outputs of a batch: fewer rows where they are long
BATCHES = 8  # of a window of sequences that are sorted by length
FEW = 4  # rows of a batch that takes a longer sequence whatever that pads
MOST_ROWS = 1 << 48  # of a batch: more than memory holds, and a window of them still counts in 64 bits
PADDED = 1.25  # how many times as long as its shortest a sequence of a larger batch may be


class Sequences(NamedTuple):
    """One sequence, converted: an array for each input, and the steps of each base that its inputs have."""

    arrays: tuple[Array, ...]
    steps: tuple[int, ...]


def predict(
    model: Running, plan: engine.Plan, x: Any, *, batch_size: Any, lengths: Any, threads: int | None, progress: bool
) -> Any:
    """Run `Model.predict` on checked ground: see there."""
    if batch_size is not None:
        whole = isinstance(batch_size, int | np.integer) and not isinstance(batch_size, bool)
        if not whole or batch_size < 1:
            raise ValueError(f"batch_size must be a positive integer or None, got {batch_size!r}")
        batch_size = min(int(batch_size), MOST_ROWS)
    threads = None if threads is None else engine.checked_threads(threads)
    runner = _Runner(model, plan, batch_size, threads)
    if isinstance(x, np.ndarray) and x.dtype.hasobject and x.ndim == 1:
        raise TypeError(f"x must be an array of numbers or a list of sequences, got {len(x)} objects: give list(x)")
    if _are_sequences(x, several=len(plan.inputs) > 1):
        if lengths is not None:
            raise ValueError("lengths must be omitted for a list of sequences, which have their own, got some")
        return runner.sequences(x, progress)
    return runner.array(x, lengths, progress)


def _are_sequences(x: Any, *, several: bool) -> bool:
    """True of a list, an iterator or any other collection of sequences; False of arrays by themselves or by name."""
    if isinstance(x, str | bytes | Mapping) or hasattr(x, "shape") or (several and isinstance(x, tuple)):
        return False
    return isinstance(x, Iterable)


def _shape(x: Any) -> tuple[int, ...] | None:
    """Return the shape of what may be an array; None of a ragged list."""
    try:
        return tuple(np.shape(x))
    except ValueError:
        return None


class _Runner:
    """A model, and how many rows it runs together."""

    def __init__(self, model: Running, plan: engine.Plan, batch_size: int | None, threads: int | None) -> None:
        self.model, self.plan, self.batch_size, self.threads = model, plan, batch_size, threads
        self.names = [plan.names[v] for v in plan.inputs]
        self.titles = [f"x[{name!r}]" if len(self.names) > 1 else "x" for name in self.names]
        signature = model._signature
        self.specs = specs = [signature.inputs[name] for name in self.names]
        self.timed = [spec.time for spec in specs]
        self.axes = [spec.time + len(spec.shape) for spec in specs]  # of one sequence
        first = {signature.bases[name]: i for i, name in reversed(list(enumerate(self.names))) if specs[i].time}
        self.counted = [first[base] for base in sorted(first)]  # an input of each base
        self.pads = len(first) == 1 and signature.pads

    def rows(self, steps: int) -> int:
        """Rows of a batch of so many steps: those asked for, else as many as run well and fit in `SLICE_BYTES`."""
        if self.batch_size is not None:
            return self.batch_size
        threads = engine.get_num_threads() if self.threads is None else self.threads
        specs = [*self.specs, *self.model.outputs.values()]
        numbers = sum(prod(spec.shape) * (max(1, steps) if spec.time else 1) for spec in specs)
        return max(1, min(ROWS * threads, SLICE_BYTES // (numbers * np.dtype(self.plan.dtype).itemsize)))

    # Arrays --------------------------------------------------------------------------------------

    def array(self, x: Any, lengths: Any, progress: bool) -> Result:
        """Run an array with a batch axis, or one for each input, slice by slice."""
        parts = self.inputs(x)
        shapes = [np.shape(part) for part in parts]
        batched = [len(shape) > axes for shape, axes in zip(shapes, self.axes, strict=True)]
        if not all(batched) or len({shape[0] for shape in shapes}) > 1 or shapes[0][0] == 0:
            return self.run(parts, lengths)  # one sequence, no rows, or what raises an error
        count, lead = shapes[0][0], [shape[1] for shape, timed in zip(shapes, self.timed, strict=True) if timed]
        self.check(shapes)
        if lengths is not None:
            lengths = checked_lengths(lengths, count, max(lead, default=1))
        rows = self.rows(max(lead, default=1))
        results: tuple[Array, ...] = ()
        with counting(count, "sequences", show=progress) as finished:
            for at in range(0, count, rows):
                y = self.run(
                    [part[at : at + rows] for part in parts], None if lengths is None else lengths[at : at + rows]
                )
                if rows >= count:
                    return y
                several = y if isinstance(y, tuple) else (y,)
                if not results:
                    results = tuple(np.empty((count, *a.shape[1:]), a.dtype) for a in several)
                for result, part in zip(results, several, strict=True):
                    result[at : at + rows] = part
                finished(len(several[0]))
        return results if isinstance(y, tuple) else results[0]

    def inputs(self, x: Any) -> list[Any]:
        """Return the input arrays in the plan's order, those that can be sliced without having been read."""
        if isinstance(x, Mapping):
            if set(x) != set(self.names):
                raise ValueError(f"x must have the inputs {self.names}, got {list(x)}")
            given = [x[name] for name in self.names]
        elif len(self.names) > 1:
            if not isinstance(x, tuple) or len(x) != len(self.names):
                got = f"{len(x)}" if isinstance(x, tuple) else type(x).__name__
                raise ValueError(f"x must be a tuple or a mapping of the inputs {self.names}, got {got}")
            given = list(x)
        else:
            given = [x]
        return [as_array(a, t) if isinstance(a, list | tuple) else a for a, t in zip(given, self.titles, strict=True)]

    def check(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Raise ValueError unless arrays with a batch axis are as the inputs must be, before a slice of one is."""
        for title, spec, shape in zip(self.titles, self.specs, shapes, strict=True):
            axes = ("B", "T", *spec.shape) if spec.time else ("B", *spec.shape)
            if len(shape) != len(axes) or shape[len(shape) - len(spec.shape) :] != spec.shape:
                raise ValueError(f"{title} must have shape ({', '.join(map(str, axes))}), got {shape}")
            if spec.time and not shape[1]:
                raise ValueError(f"{title} must have at least one step, got shape {shape}")

    def run(self, parts: Sequence[Any], lengths: Any = None) -> Result:
        """Call the model."""
        return self.model(tuple(parts) if len(parts) > 1 else parts[0], lengths=lengths, threads=self.threads)

    # Sequences -----------------------------------------------------------------------------------

    def sequences(self, x: Iterable[Any], progress: bool) -> list[Result]:
        """Run sequences of any length, a window of them at a time; results in their order."""
        total = len(x) if isinstance(x, list | tuple) else None
        convert = self.converter(copy=total is None)  # a generator may write its next item into the same array
        if isinstance(x, list | tuple):
            self.check_items(x, convert)
        results: list[Result] = []
        items = iter(x)
        with counting(total, "sequences", show=progress) as finished:
            while True:
                first = [convert(item, len(results)) for item in islice(items, 1)]
                if not first:
                    return results
                rows = self.rows(max(first[0].steps, default=1))
                rest = islice(items, rows * BATCHES - 1)
                window = first + [convert(item, i) for i, item in enumerate(rest, len(results) + 1)]
                done: list[Result] = [None] * len(window)
                for batch in self.batches([s.steps for s in window]):
                    for i, y in zip(batch, self.together([window[i] for i in batch]), strict=True):
                        done[i] = y
                    finished(len(batch))
                results += done

    def check_items(self, x: Sequence[Any], convert: Callable[[Any, int], Sequences]) -> None:
        """Raise what is wrong of any sequence, which ends here and not behind long work."""
        for i, item in enumerate(x):
            try:
                convert(item, i)
            except (ValueError, TypeError):
                self.check_whole(x)
                raise

    def check_whole(self, x: Sequence[Any]) -> None:
        """Raise ValueError where a list is one sequence of steps, or the arrays of all inputs."""
        if len(self.names) == 1:
            if self.timed[0] and _shape(x[0]) == self.specs[0].shape:
                raise ValueError(
                    f"x must be a list of sequences, got one sequence of {len(x)} steps: wrap it as [x], or call "
                    "model(x)"
                )
            return
        shapes = [_shape(part) for part in x]
        if len(x) == len(self.names) and all(
            shape is not None and len(shape) == axes + 1 for shape, axes in zip(shapes, self.axes, strict=True)
        ):
            raise ValueError(f"x must be a tuple or a mapping of the inputs {self.names}, got a list: give tuple(x)")

    def converter(self, *, copy: bool) -> Callable[[Any, int], Sequences]:
        """Return the function that converts a sequence, or raises what is wrong of ``x[i]``.

        Parameters
        ----------
        copy : bool
            Whether its arrays must be apart from those given, which may change before they are run.
        """
        stream = engine.make_stream(self.plan, None, block=1)
        timed = any(self.timed)

        def convert(item: Any, i: int) -> Sequences:
            arrays = stream._convert(item, timed, f"x[{i}]")
            if copy:
                arrays = tuple(a.copy() for a in arrays)
            return Sequences(arrays, tuple(len(arrays[k]) for k in self.counted))

        return convert

    def batches(self, steps: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
        """Yield the places of sequences that run together: of equal lengths, or of similar ones where that is safe."""
        batch: list[int] = []
        for i in sorted(range(len(steps)), key=steps.__getitem__):
            rows = self.rows(max(steps[i], default=0))
            if batch and (len(batch) >= rows or self.apart(steps[batch[0]], steps[i], len(batch))):
                yield batch
                batch = []
            batch.append(i)
        yield batch

    def apart(self, shortest: tuple[int, ...], steps: tuple[int, ...], count: int) -> bool:
        """True if a sequence should not join a batch of so many."""
        if not self.pads:
            return steps != shortest
        return count >= FEW and steps[0] > PADDED * shortest[0]

    def together(self, batch: Sequence[Sequences]) -> list[Result]:
        """Run sequences as one batch, padded to the longest; the results of each without its padding."""
        steps = [max(s.steps, default=0) for s in batch]  # the one number where they differ
        padded = [self.stacked([s.arrays[k] for s in batch], timed) for k, timed in enumerate(self.timed)]
        ragged = self.pads and len(set(steps)) > 1
        y = self.run(padded, np.array(steps) if ragged else None)
        outputs = [spec.time for spec in self.model.outputs.values()]
        several = y if isinstance(y, tuple) else (y,)
        rows = [
            tuple(a[i, : steps[i] if ragged and timed else None].copy() if a.ndim > 1 else a[i]
                  for a, timed in zip(several, outputs, strict=True))
            for i in range(len(batch))
        ]  # fmt: skip
        return rows if isinstance(y, tuple) else [row[0] for row in rows]

    def stacked(self, arrays: Sequence[Array], timed: bool) -> Array:
        """Return the arrays as one with a batch axis, those with time padded with zeros at the end."""
        shape = arrays[0].shape
        if timed:
            shape = (max(len(a) for a in arrays), *shape[1:])
        result = np.zeros((len(arrays), *shape), arrays[0].dtype)
        for i, array in enumerate(arrays):
            result[(i, slice(len(array))) if timed else i] = array
        return result
