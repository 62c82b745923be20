"""Run a model on: over each context once, then a step at a time on what it forecast itself, many paths in one batch.

::

    context (n, R, I) --stream of n rows--> state, repeated for the samples --> stream of n * samples rows
                                                                                  |            ^
                                                                         parameters, a draw, the next input
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import engine
from ._columns import Batch, steps_of
from ._random import Draws
from .distributions import Distribution, distribution_of
from .scheme import TRANSFORMS, Scheme
from .series import LARGEST, Series

if TYPE_CHECKING:
    from ..running import Running

Array = NDArray[Any]
ROWS = 2048  # of a batch: enough that the product dominates, few enough that its states stay in the cache
CONTEXT_NUMBERS = 1 << 22  # of the input of a batch of contexts: 16 MB


def run(
    model: Running, series: Series, horizon: int, scheme: Scheme, samples: int, seed: int, threads: int | None
) -> Array:
    """Return the paths (N, samples, horizon, D) as the user sees them; points as one path where `samples` is 0."""
    steps = steps_of(series, scheme)
    order = np.argsort(steps, kind="stable")
    paths = np.empty(
        (len(order), max(1, samples), horizon, scheme.targets), np.float32 if model.dtype == "float32" else float
    )
    batches = _batches(steps[order], horizon, scheme, max(1, samples))

    def task(part: slice) -> None:
        chosen = order[part]
        batch = Batch(series, chosen, scheme, horizon, model.dtype)
        paths[chosen] = Rollout(model, batch, samples, seed).paths()

    workers = min(engine.get_num_threads() if threads is None else engine.checked_threads(threads), len(batches))
    if workers <= 1:
        for part in batches:
            task(part)
        return paths
    with ThreadPoolExecutor(workers) as pool:
        try:
            list(pool.map(task, batches))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return paths


def _batches(steps: Array, horizon: int, scheme: Scheme, samples: int) -> list[slice]:
    """Return slices of series sorted by their steps, each few enough to run together."""
    found, at = [], 0
    while at < len(steps):
        count = max(1, min(ROWS // samples, len(steps) - at))
        if scheme.window:
            count = max(1, min(count, CONTEXT_NUMBERS // (int(steps[-1]) * scheme.width * samples)))
        else:
            count = max(1, min(count, CONTEXT_NUMBERS // (int(steps[at + count - 1]) * scheme.width)))
        found.append(slice(at, at + count))
        at += count
    return found


class Rollout:
    """A batch of series that is forecast.

    Parameters
    ----------
    samples : int
        Paths of each series; 0 for one path of points.
    """

    def __init__(self, model: Running, batch: Batch, samples: int, seed: int) -> None:
        self.model, self.batch, self.scheme, self.names = model, batch, batch.scheme, batch.names
        self.samples, self.width, self.seed = samples, max(1, samples), seed
        self.n = len(batch.keys)
        self.distribution: Distribution = distribution_of(self.scheme.distribution, self.scheme.levels)
        shape = (batch.horizon, self.n, self.width, self.scheme.targets)
        self.values = np.empty(shape, np.float64)  # transformed, not scaled
        self.fed = np.empty(shape, batch.dtype)

    def paths(self) -> Array:
        """Return (n, samples, horizon, D)."""
        outputs = self._first()
        go_on = self._windows if self.scheme.window else self._stream()
        step = 0
        while True:
            ahead = min(self.scheme.ahead, self.batch.horizon - step)
            for k in range(ahead):
                self._draw(outputs[:, k], step + k)
            step += ahead
            if step == self.batch.horizon:
                break
            if self.scheme.window:  # the last output ends with the horizon, and sees as much as it can
                step = min(step, self.batch.horizon - self.scheme.ahead)
            outputs = go_on(step)
        found: Array = TRANSFORMS[self.scheme.transform][1](self.values).transpose(1, 2, 0, 3)
        return found

    # Running -------------------------------------------------------------------------------------

    def _first(self) -> Array:
        """Run over the contexts; the parameters (n, ahead, D, P) that follow, the same for all samples."""
        x = self.batch.context()
        if self.scheme.window:
            return self._read(self.model(x, threads=1))
        stream = self.model.stream(batch=self.n, threads=1)
        begins = self.batch.run - self.batch.steps
        for first, last in zip(np.unique(begins), [*np.unique(begins)[1:], self.batch.run], strict=True):
            if first:
                stream.reset(np.flatnonzero(begins == first))
            y = stream.process(np.ascontiguousarray(x[:, first:last]))
        self.state = {name: array.copy() for name, array in stream.state.items()}
        return self._read(y)

    def _stream(self) -> Callable[[int], Array]:
        """Return what runs the steps up to the one that was forecast last, and gives the parameters behind it."""
        stream = None
        x = np.empty((self.n, self.width, self.scheme.ahead, self.scheme.width), self.batch.dtype)

        def go_on(step: int) -> Array:
            nonlocal stream
            if stream is None:
                stream = self.model.stream(batch=self.n * self.width, threads=1)
                stream.state = {name: np.repeat(array, self.width, axis=0) for name, array in self.state.items()}
            for k in range(self.scheme.ahead):
                self.batch.fill(x[:, :, k], step - self.scheme.ahead + 1 + k, self.fed)
            rows = x.reshape(self.n * self.width, self.scheme.ahead, self.scheme.width)
            return self._read(stream.process(rows) if self.scheme.ahead > 1 else stream.step(rows[:, 0]))

        return go_on

    def _windows(self, step: int) -> Array:
        """Run the last steps again from the initial state."""
        run, context = self.batch.run, None
        x = np.empty((self.n, self.width, run, self.scheme.width), self.batch.dtype)
        for k in range(run):
            at = step - run + 1 + k
            if at <= 0:
                context = self.batch.context() if context is None else context
                x[:, :, k] = context[:, run - 1 + at][:, None]
            else:
                self.batch.fill(x[:, :, k], at, self.fed)
        return self._read(self.model(x.reshape(-1, run, self.scheme.width), threads=1))

    def _read(self, y: Any) -> Array:
        """Return the last outputs as (rows, ahead, D, P)."""
        several = y if isinstance(y, tuple) else (y,)
        specs = self.model.outputs.values()
        if self.scheme.stepped(self.model.outputs):
            ahead = self.scheme.ahead
            if several[0].shape[1] < ahead:
                raise ValueError(f"output of the model must have {ahead} steps or more, got {several[0].shape[1]}")
            parts = [a[:, -ahead:].reshape(len(a), ahead, self.scheme.targets, -1) for a in several]
            return np.concatenate(parts, axis=-1)
        last = [
            a[:, -1] if spec.time and a.ndim == len(spec.shape) + 2 else a
            for a, spec in zip(several, specs, strict=True)
        ]
        shape = (len(last[0]), self.scheme.ahead, self.scheme.targets)
        if len(last) > 1:
            return np.stack([a.reshape(shape) for a in last], axis=-1)
        whole: Array = last[0]
        return whole.reshape(*shape, len(self.scheme.parameters))

    # Drawing -------------------------------------------------------------------------------------

    def _draw(self, outputs: Array, step: int) -> None:
        """Take the values of a step from its parameters (n or n * samples, D, P)."""
        for lane in range(self.scheme.targets):
            numbers = outputs[:, lane].astype(np.float64)
            self._check(numbers, step)
            parameters = self._scaled_back(numbers, lane)
            if self.samples:
                draws = Draws(self.seed, self.batch.keys, self.samples, step, lane)
                drawn = self.distribution.draw(*(np.ascontiguousarray(p.reshape(-1)) for p in parameters), draws)
            else:
                drawn = self.distribution.mean(*(p.reshape(-1) for p in parameters))
            self.values[step, :, :, lane] = drawn.reshape(self.n, self.width)
        if self.scheme.transform == "relu":
            np.maximum(self.values[step], 0, out=self.values[step])
        np.clip(self.values[step], -LARGEST, LARGEST, out=self.values[step])  # the widest tails go beyond float32
        fed = self.values[step] - self.batch.center[:, None]
        self.fed[step] = fed / self.batch.scale[:, None]

    def _check(self, numbers: Array, step: int) -> None:
        """Raise ValueError where the output (rows, P) is no number, or none that its distribution has."""
        for k, name in enumerate(self.scheme.parameters):
            good = numbers[:, k] >= 0 if name in self.distribution.positive else np.isfinite(numbers[:, k])
            if not good.all():
                row = int(np.argmin(good))
                series = self.names[row * self.n // len(numbers)]
                expected = "0 or more" if name in self.distribution.positive else "finite"
                raise ValueError(
                    f"{name} of {self.scheme.distribution} that the model gives must be {expected}, got "
                    f"{numbers[row, k]:g} for {series}, {step + 1} steps ahead: the model must end in what "
                    "makes it so, such as a softplus"
                )

    def _scaled_back(self, outputs: Array, lane: int) -> list[Array]:
        """Return each parameter (n, samples) in the units of the transformed values."""
        center, scale = self.batch.center[:, lane, None], self.batch.scale[:, lane, None]
        shifted, stretched = self.distribution.shifted, self.distribution.stretched
        found = []
        for k, name in enumerate(self.scheme.parameters):
            p = np.broadcast_to(outputs[:, k].reshape(self.n, -1), (self.n, self.width))
            if self.scheme.scaling != "none":
                p = p * scale if name in stretched or not self.distribution.parameters else p
                p = p + center if name in shifted or not self.distribution.parameters else p
            found.append(p)
        return found
