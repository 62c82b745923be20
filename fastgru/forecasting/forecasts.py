"""`Model.forecast`: check all that is given, run, and give the result back as the context came."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GraphError
from . import rollout, tables
from . import scheme as schemes
from ._random import MOST_SAMPLES, MOST_STEPS
from .distributions import POINT
from .result import summed_up
from .scheme import Scheme
from .series import of_arrays

if TYPE_CHECKING:
    from ..running import Running


def forecast(
    model: Running,
    provenance: dict[str, str],
    context: Any,
    horizon: Any,
    *,
    covariates: Any,
    samples: Any,
    quantiles: Any,
    seed: Any,
    threads: int | None,
) -> Any:
    """Run `Model.forecast`: see there."""
    horizon = _whole(horizon, "horizon", 1, MOST_STEPS)
    samples = _whole(samples, "samples", 0, MOST_SAMPLES)
    levels = _levels(quantiles)
    if seed is not None:
        seed = _whole(seed, "seed", 0, 2**64 - 1)
    scheme = schemes.of_model(provenance, model.inputs, model.outputs)
    if samples and scheme.distribution == POINT:
        raise ValueError(
            f"samples must be 0, as the output of the model is a point and no distribution, got {samples}: a model of "
            'one is told so, with model.with_forecast(Scheme("normal")) for instance'
        )
    _check_runs(model, scheme)
    table = tables.is_table(context)
    if table:
        series, rows, ahead = tables.of_table(context, covariates, horizon, scheme)
    else:
        series, shape = of_arrays(context, covariates, horizon, scheme)
    seed = int.from_bytes(os.urandom(8), "little") if seed is None else seed
    paths = rollout.run(model, series, horizon, scheme, samples, seed, threads)
    if not samples:
        points = paths[:, 0]
        return tables.written(context, rows, ahead, points[..., 0]) if table else shape.cut(points, 2)
    found = summed_up(paths, levels)
    if table:
        found = found._replace(mean=found.mean[..., 0], quantiles=found.quantiles[:, :, 0])
        return tables.written(context, rows, ahead, found)
    return found._replace(
        mean=shape.cut(found.mean, 2), quantiles=shape.cut(found.quantiles, 2), paths=shape.cut(found.paths, 3)
    )


def _whole(value: Any, name: str, least: int, most: int) -> int:
    good = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not good or not least <= value <= most:
        raise ValueError(f"{name} must be an integer from {least} to {most}, got {value!r}")
    return int(value)


def _levels(given: Any) -> tuple[float, ...]:
    several = isinstance(given, Sequence | np.ndarray) and not isinstance(given, str)
    levels = tuple(float(a) for a in given if isinstance(a, int | float | np.number)) if several else ()
    if not several or len(levels) < len(given) or not all(0 <= a <= 1 for a in levels):
        raise ValueError(f"quantiles must be numbers from 0 to 1, such as (0.1, 0.5, 0.9), got {given!r}")
    return levels


def _check_runs(model: Running, scheme: Scheme) -> None:
    """Raise GraphError where a model cannot go on step by step, and does not run over windows either."""
    blockers = model._plan.blockers
    if scheme.window:
        return
    if blockers:
        name, reason = next(iter(blockers.items()))
        raise GraphError(
            f"model that forecasts step by step must look back alone, got {name!r}, which {reason.split(';')[0]}: with "
            "window=True and a context in its Scheme it runs over the last steps each time"
        )
    if model._plan.latency:
        raise GraphError(
            f"model that forecasts must look back alone, got one that waits for {model._plan.latency} steps to come"
        )
