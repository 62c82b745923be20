"""Scheme: what a forecasting network reads and what its output holds, kept as text in a model's provenance."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._hints import either
from .._names import counted, nearest
from ..errors import GraphError, listed
from ..graph import Spec
from ._calendar import FEATURES
from ._random import MOST_LANES
from .distributions import DISTRIBUTIONS, POINT, QUANTILES

Array = NDArray[Any]
KEY = "forecast"  # in the provenance
UNDONE = "undone of output"  # in a provenance of scalers
SCALINGS = ("none", "mean", "standard", "sample", "spread")
SCALE_INPUTS = ("center", "scale", "log_scale")
CALENDAR = tuple(FEATURES)
FEW = 4  # covariates that advice names
MOST = 1 << 20  # of a lag, a context and the steps of an output


def _softplus(y: Array) -> Array:
    return np.logaddexp(y, 0)


def _softplus_inverse(y: Array) -> Array:
    return y + np.log(-np.expm1(-y))


def _same(y: Array) -> Array:
    return y


def _positive(y: Array) -> Array:
    return np.maximum(y, 0)


# name -> values as the network sees them, those of its world as the user sees them, and the values it takes
TRANSFORMS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array], float]] = {
    "none": (_same, _same, -np.inf),
    "log": (np.log, np.exp, 0.0),
    "log1p": (np.log1p, np.expm1, -1.0),
    "relu": (_same, _positive, -np.inf),
    "nonnegative": (_same, _positive, -np.inf),
    "softplus": (_softplus_inverse, _softplus, 0.0),
}


@dataclass(frozen=True)
class Scheme:
    """What a forecasting network reads at a step, and what its output holds.

    To forecast the value at t, the network reads a row of these columns, in this order::

        y[t - lag] for each of lags | covariates | calendar | scale_inputs

    Parameters
    ----------
    distribution : str
        What the output holds: "point", the value itself; the parameters of "normal" (loc, scale), "student_t" (df, loc,
        scale), "laplace" (loc, scale), "negative_binomial" (mean, alpha: the variance is ``mean + alpha * mean**2``),
        "poisson" (rate); or "quantiles", those of `levels`. Columns of one output in this order, or as many outputs.
    lags : tuple of int
        Which values before t the network reads; 1 is the last one.
    covariates : tuple of str
        Names of further columns, known for the future too.
    static : tuple of str
        Those of `covariates` that stay the same over a series: tables of the future need not repeat them.
    ids : tuple of int
        For each of `covariates` how many ids it has, or 0 for a number; empty where none is an id.
    calendar : tuple of str
        Columns made of the time of t: `CALENDAR` lists them.
    covariate_lag : int
        0 where covariates and calendar are those of t, 1 where they are those of t - 1.
    scaling : {"none", "mean", "standard", "sample", "spread"}
        By what the values of a context are divided: nothing, the mean of their sizes, or their standard deviation after
        their mean was taken away, of "sample" the one of n - 1; of "spread" that, and no mean is taken away. Outputs
        are scaled back.
    scale_inputs : tuple of str
        Columns of those numbers that the network reads: "center", "scale", "log_scale".
    least_scale : float
        Scales below are raised to it.
    context : int, optional
        The last steps that the network is run over before it forecasts, which `scaling` measures as well; all when
        omitted.
    pad : bool
        True puts zeros in front of a context that is too short for `context` and `lags`; False refuses it, or runs over
        what there is.
    ahead : int
        Steps that one output holds; with `window` also the last so many steps of an output over time. The last window
        then begins early enough for its output to end with the horizon.
    window : bool
        True runs the network anew over the last `context` steps each time; False lets its state go on.
    levels : tuple of float
        Of "quantiles", ascending.
    transform : {"none", "log", "log1p", "relu", "nonnegative", "softplus"}
        What is done to values before they are scaled, and undone behind: "relu" leaves them and makes forecasts at
        least 0 before they are fed back, "nonnegative" behind that, "softplus" makes them positive.
    targets : int
        D, how many values a step has: each lag is D columns, and an output holds D parameters for each name, the
        parameters of one value side by side.

    Raises
    ------
    GraphError
        When something does not fit, listing all of it.

    Examples
    --------
    >>> Scheme("student_t", lags=(1, 7), covariates=("price",), scaling="mean", scale_inputs=("log_scale",)).width
    4
    """

    distribution: str = POINT
    lags: tuple[int, ...] = (1,)
    covariates: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    calendar: tuple[str, ...] = ()
    covariate_lag: int = 0
    scaling: str = "none"
    scale_inputs: tuple[str, ...] = ()
    least_scale: float = 1e-10
    context: int | None = None
    pad: bool = False
    ahead: int = 1
    window: bool = False
    levels: tuple[float, ...] = ()
    transform: str = "none"
    targets: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        if problems := [*self._types(), *self._names(), *self._numbers()]:
            raise GraphError(f"Scheme: {listed(problems)}")

    def _types(self) -> list[str]:
        found = []
        for name in ("lags", "covariates", "static", "ids", "calendar", "scale_inputs", "levels"):
            value = getattr(self, name)
            kind = {"lags": int, "ids": int, "levels": float}.get(name, str)
            if not isinstance(value, tuple) or not all(_is(kind, item) for item in value):
                found.append(f"{name} must be a tuple of {TYPES[kind]}, got {value!r}")
                object.__setattr__(self, name, ())  # one complaint is enough
            elif len(set(value)) < len(value) and name != "ids":
                found.append(f"{name} must be different, got {value}")
        for name in ("pad", "window"):
            if not isinstance(getattr(self, name), bool):
                found.append(f"{name} must be True or False, got {getattr(self, name)!r}")
        return found

    def _names(self) -> list[str]:
        one = {"distribution": DISTRIBUTIONS, "scaling": SCALINGS, "transform": TRANSFORMS}
        several = {"calendar": CALENDAR, "scale_inputs": SCALE_INPUTS, "static": self.covariates}
        found = []
        for name, known in [*one.items(), *several.items()]:
            values = [getattr(self, name)] if name in one else getattr(self, name)
            for value in values:
                if not isinstance(value, str) or value not in known:
                    found.append(
                        f"{name} must be {'one' if name in one else 'some'} of {nearest(value, known)}, got {value!r}"
                    )
        if both := set(self.covariates) & {"unique_id", "ds", "y"}:
            found.append(f"covariates must not be called unique_id, ds or y, got {sorted(both)[0]!r}")
        return found

    def _numbers(self) -> list[str]:
        found = []
        for name in ("ahead", "targets"):
            if not _is(int, getattr(self, name)) or not 1 <= getattr(self, name) <= MOST:
                found.append(f"{name} must be an integer from 1 to {MOST}, got {getattr(self, name)!r}")
        if not all(1 <= lag <= MOST for lag in self.lags):
            found.append(f"lags must be from 1 to {MOST}, got {self.lags}")
        if self.ids and (len(self.ids) != len(self.covariates) or min(self.ids) < 0):
            found.append(
                f"ids must be a number of ids, or 0, for each of the covariates {self.covariates}, got {self.ids}"
            )
        if self.covariate_lag not in (0, 1):
            found.append(f"covariate_lag must be 0 or 1, got {self.covariate_lag!r}")
        if self.context is not None and (not _is(int, self.context) or not 1 <= self.context <= MOST):
            found.append(f"context must be None or an integer from 1 to {MOST}, got {self.context!r}")
        if self.context is None and (self.pad or self.window):
            found.append(f"context must be given with {'pad' if self.pad else 'window'}, got None")
        if not _is(float, self.least_scale) or not 0 < self.least_scale <= sys.float_info.max:
            found.append(f"least_scale must be a positive number, got {self.least_scale!r}")
        if (self.distribution == QUANTILES) != bool(self.levels):
            given = f"got {self.levels}" if self.levels else "got none"
            found.append(f"levels must be given for quantiles, and for nothing else, {given}")
        if not all(0 < a < 1 for a in self.levels) or tuple(sorted(self.levels)) != self.levels:
            found.append(f"levels must ascend between 0 and 1, got {self.levels}")
        if self.scale_inputs and self.scaling == "none":
            found.append(f"scaling must be of a kind for scale_inputs {self.scale_inputs}, got 'none'")
        row = DISTRIBUTIONS.get(self.distribution) if isinstance(self.distribution, str) else None
        if row is not None and row.counts and self.scaling in ("standard", "sample"):
            found.append(
                f"scaling must be none, mean or spread for counts, as of {self.distribution}, got {self.scaling!r}"
            )
        if isinstance(self.targets, int) and self.targets > MOST_LANES:
            found.append(f"targets must be at most {MOST_LANES}, got {self.targets}")
        return found

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of what the output holds for one value."""
        if self.distribution == QUANTILES:
            return tuple(f"q{level:g}" for level in self.levels)
        return DISTRIBUTIONS[self.distribution].parameters

    @property
    def width(self) -> int:
        """I, the number of columns of the input."""
        return self.targets * (len(self.lags) + len(self.scale_inputs)) + len(self.covariates) + len(self.calendar)

    @property
    def reach(self) -> int:
        """How many values before the first forecast it needs at least: the largest lag."""
        return max(self.lags, default=0)

    def check(self, inputs: Mapping[str, Spec], outputs: Mapping[str, Spec]) -> None:
        """Raise GraphError unless a model of these inputs and outputs is of this scheme, naming the shapes."""
        spec = next(iter(inputs.values()))
        if len(inputs) > 1 or not spec.time or spec.dtype != "float" or len(spec.shape) != 1:
            got = ", ".join(f"{name} {spec}" for name, spec in inputs.items())
            raise GraphError(f"model that forecasts must have one input (B, T, I) float, got {got}")
        problems = []
        if spec.shape[0] != self.width:
            problems.append(
                f"input of the model must have {self.width} columns ({self._columns()}), got {spec.shape[0]}"
            )
        steps = self.ahead if not self.stepped(outputs) else 1
        wanted = steps * self.targets * len(self.parameters)
        sizes = [prod(spec.shape) for spec in outputs.values()]
        good = sum(sizes) == wanted and len(sizes) in (1, len(self.parameters)) and len(set(sizes)) == 1
        if not good or any(spec.dtype != "float" for spec in outputs.values()):
            shapes = ", ".join(f"{name} {spec}" for name, spec in outputs.items())
            problems.append(
                f"output of the model must hold {counted(wanted, 'number')} ({self._holds()}), got {shapes}"
            )
        if problems:
            raise GraphError(f"model does not fit its scheme: {listed(problems)}")

    def stepped(self, outputs: Mapping[str, Spec]) -> bool:
        """True if the steps ahead are the last steps of an output over time, not parts of its last step."""
        held = sum(prod(spec.shape) for spec in outputs.values())
        timed = self.window and self.ahead > 1 and all(spec.time for spec in outputs.values())
        return timed and held == self.targets * len(self.parameters)

    def _columns(self) -> str:
        parts = {
            "lag": self.targets * len(self.lags), "covariate": len(self.covariates),
            "calendar feature": len(self.calendar), "number of the scale": self.targets * len(self.scale_inputs),
        }  # fmt: skip
        return ", ".join(counted(n, part) for part, n in parts.items() if n) or "none"

    def _holds(self) -> str:
        of = " and ".join(self.parameters)
        steps = f" for each of {self.ahead} steps" if self.ahead > 1 else ""
        return f"{of} of {self.distribution}{steps}{f', {self.targets} values a step' if self.targets > 1 else ''}"

    def text(self) -> str:
        """Return the scheme as JSON, without what is as in `Scheme()`."""
        usual = Scheme()
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return json.dumps(
            {name: value for name, value in given.items() if value != getattr(usual, name)}, sort_keys=True
        )

    @classmethod
    def of_text(cls, text: str) -> Scheme:
        """Read what `text` wrote.

        Raises
        ------
        GraphError
            When it is no such text.
        """
        try:
            given = json.loads(text)
        except ValueError as error:
            raise GraphError(f"scheme of a forecast must be JSON, got {text[:40]!r}: {error}") from error
        known = [f.name for f in fields(cls)]
        if not isinstance(given, dict) or not set(given) <= set(known):
            unknown = next((name for name in given if name not in known), "") if isinstance(given, dict) else text
            raise GraphError(
                f"scheme of a forecast must have fields among {nearest(unknown, known)}, got {unknown[:40]!r}"
            )
        return cls(**given)


TYPES = {int: "integers", float: "numbers", str: "names"}


def _is(kind: type, value: Any) -> bool:
    if kind is str:
        return isinstance(value, str)
    allowed = (int, np.integer) if kind is int else (int, float, np.integer, np.floating)
    return isinstance(value, allowed) and not isinstance(value, bool)


def of_model(provenance: Mapping[str, str], inputs: Mapping[str, Spec], outputs: Mapping[str, Spec]) -> Scheme:
    """Return the scheme of a model, checked against its shapes: its own, else the plain one.

    The plain one feeds a point back: of an output of D columns, the input's first D are the value before, and the
    others covariates.

    Raises
    ------
    GraphError
        When the model has none and its output cannot be fed back.
    """
    if KEY in provenance:
        scheme = Scheme.of_text(provenance[KEY])
    else:
        (spec, output) = next(iter(inputs.values())), next(iter(outputs.values()))
        one = len(inputs) == len(outputs) == 1 and spec.dtype == output.dtype == "float" and spec.time
        if not one or len(spec.shape) != 1 or len(output.shape) != 1 or output.shape[0] > spec.shape[0]:
            shapes = [", ".join(f"{name} {s}" for name, s in some.items()) for some in (inputs, outputs)]
            raise GraphError(
                f"output of the model must be what its input takes back, got {shapes[1]} for {shapes[0]}: "
                f"{_advice(inputs, outputs)}"
            )
        targets = output.shape[0]
        scheme = Scheme(targets=targets, covariates=tuple(f"x{i}" for i in range(1, spec.shape[0] - targets + 1)))
    scheme.check(inputs, outputs)
    return scheme


def _advice(inputs: Mapping[str, Spec], outputs: Mapping[str, Spec]) -> str:
    """Return how to say what a model holds that feeds no value back: steps ahead, where its shapes can be that."""
    width = next(iter(inputs.values())).shape
    steps = prod(next(iter(outputs.values())).shape)
    names = tuple(f"x{i}" for i in range(1, (width or (1,))[0]))
    told = either("say ", "say in Python, and save the model again: ")
    given, meant = "...", "what they hold"
    with contextlib.suppress(GraphError):
        Scheme(ahead=steps, covariates=names).check(inputs, outputs)
        more = "" if not names else f", covariates={names if len(names) <= FEW else '(...)'}"
        given, meant = f'"{POINT}", ahead={steps}{more}', f"if they are the next {steps} steps"
    if given == "...":
        return f"{told}{meant} with model.with_forecast(Scheme(...)), of fastgru.forecasting"
    return f"{meant}, {told}model.with_forecast(Scheme({given})), of fastgru.forecasting"


def check_given(
    scheme: Any, inputs: Mapping[str, Spec], outputs: Mapping[str, Spec], provenance: Mapping[str, str]
) -> None:
    """Raise TypeError or GraphError unless a scheme can be that of a model of these inputs and outputs."""
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be a fastgru.forecasting.Scheme, got {type(scheme).__name__}")
    scheme.check(inputs, outputs)
    if len(scheme.parameters) > 1 and scheme.distribution != QUANTILES and UNDONE in provenance.get("scaler", ""):
        raise GraphError(
            f"outputs must not be scaled back before they are known to be the parameters of {scheme.distribution}: "
            "call with_forecast first, then with_scaler"
        )


def scalers(provenance: Mapping[str, str], fitted: Mapping[str, Any], specs: Mapping[str, Spec]) -> dict[str, Any]:
    """Return what undoes the scaling of a single target for each parameter of its distribution.

    Parameters
    ----------
    fitted : mapping of str to Fitted
        Of outputs, as `Model.with_scaler` reads them; those with numbers for every column stay.

    Raises
    ------
    GraphError
        When counts would be shifted.
    """
    scheme = Scheme.of_text(provenance[KEY])
    row = DISTRIBUTIONS[scheme.distribution]
    if len(scheme.parameters) == 1 or scheme.distribution == QUANTILES or len(fitted) != 1:
        return dict(fitted)
    ((name, scaler),) = fitted.items()
    mean, scale = np.asarray(scaler.mean), np.asarray(scaler.scale)
    if mean.size != 1 or scale.size != 1:
        return dict(fitted)
    if row.counts and mean.item():
        raise GraphError(
            f"scaler of output {name!r} must not shift the counts of {scheme.distribution}, got mean {mean.item():g}"
        )
    shape, steps = specs[name].shape, prod(specs[name].shape) // len(row.parameters)
    means = np.tile([mean.item() if p in row.shifted else 0.0 for p in row.parameters], steps)
    scales = np.tile([scale.item() if p in row.stretched else 1.0 for p in row.parameters], steps)
    return {name: scaler._replace(mean=means.reshape(shape), scale=scales.reshape(shape))}
