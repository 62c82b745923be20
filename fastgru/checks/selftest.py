"""The self-test: a small input and the output expected for it, kept with a model and replayed on demand.

The expected output is the source framework's own where it is at hand, else the float64 reference's. It is
made once, at import, where it also proves that the import computes what its source computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._hints import either
from ..errors import ConvertError, GraphError, OracleError, VerificationError
from ..graph import Graph, Spec
from .samples import Input, draw, each
from .tolerances import FLOORS, IMPORT_SLACK, NARROW, at_elements, outputs_of, tolerances

Array = NDArray[Any]
Oracle = Callable[[Any], tuple[Array, ...]]

SEED = 0
WHERE = ("fastgru.comparison.compare, or fastgru convert --trace,", "convert --trace")
REFERENCE_SOURCE = "fastgru float64 reference"
# Changes of the random input, tried in order until all outputs are finite.
CHANGES: tuple[Callable[[Array], Array], ...] = (
    lambda x: x, np.abs, lambda x: x / 2, lambda x: np.abs(x) / 8, lambda x: x / 64,
)  # fmt: skip


class Disagreement(ConvertError):
    """An import does not compute what its source does."""


@dataclass(frozen=True, eq=False)
class SelfTest:
    """An input and the outputs expected for it.

    Parameters
    ----------
    seed : int
        Of the generator that made `input`.
    input : (B, T, *frame) or (B, *frame) float32, int64 or bool array, or a dict of such arrays
        By name, where the graph has several inputs.
    outputs : tuple of float32 or float64 arrays
        In the order of the graph's outputs.
    source : str
        Who computed `outputs`, e.g. ``"torch 2.13.0"``.

    Examples
    --------
    >>> SelfTest(0, np.ones((2, 16, 3)), (np.ones((2, 4)),), "torch 2.13.0")
    SelfTest(input (2, 16, 3), outputs (2, 4) by torch 2.13.0)
    """

    seed: int
    input: Input
    outputs: tuple[Array, ...]
    source: str

    def __repr__(self) -> str:
        return f"SelfTest(input {self.shape}, outputs {', '.join(str(y.shape) for y in self.outputs)} by {self.source})"

    @property
    def shape(self) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
        """Of the input; by name where there are several."""
        return {n: a.shape for n, a in self.input.items()} if isinstance(self.input, dict) else self.input.shape


@dataclass(frozen=True)
class Report:
    """What a replay found.

    Attributes
    ----------
    errors, tolerances : tuple of float
        Largest absolute error of each output, and the largest allowed.
    source : str
        Who computed the expected outputs.
    places : tuple of str
        Where in each output the largest error is.
    """

    errors: tuple[float, ...]
    tolerances: tuple[float, ...]
    source: str
    places: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every output is within its tolerance; NaN never is."""
        return all(e <= t for e, t in zip(self.errors, self.tolerances, strict=True))

    @property
    def max_error(self) -> float:
        """The largest error of all outputs."""
        return float(np.max(self.errors))

    def __str__(self) -> str:
        rows = zip(self.errors, self.tolerances, self.places, strict=True)
        found = "; ".join(f"{e:.2g} (allowed {t:.2g}) at {place}" for e, t, place in rows)
        return f"{'ok' if self.ok else 'FAILED'}: max error {found}, against {self.source}"


class Runnable(Protocol):
    """What `replay` needs of a model."""

    @property
    def graph(self) -> Graph: ...
    @property
    def dtype(self) -> str: ...
    @property
    def self_test(self) -> SelfTest | None: ...
    def __call__(self, x: Any) -> Any: ...


# Making ------------------------------------------------------------------------------------------


def make(
    graph: Graph, oracle: Oracle | None, provenance: Mapping[str, str], *, dtype: str = "float32", steps: int = 0
) -> SelfTest:
    """Make the self-test of a graph, checking the import on the way.

    Parameters
    ----------
    graph : Graph
    oracle : callable or None
        The source framework's forward pass: input, a dict by name where there are several, to a tuple of arrays in
        the order of the outputs. Its attribute `source`, where it has one, is then `SelfTest.source`; where its
        attribute `apart` is true, it takes inputs with numbers of steps of their own; its attribute `precision`, where
        it has one, says in what it computes: the self-test then holds the reference's outputs;
        where `together` is true, it rounds operands of products with one scale for all steps of a row.
    provenance : mapping
        ``"framework"`` is that of an oracle without.
    dtype : {"float32", "float64"}
        What the model computes in: its outputs must be finite in that.
    steps : int, optional
        The only number of steps that the oracle takes.

    Raises
    ------
    Disagreement
        When the oracle and the float64 reference disagree: the import would be wrong. Also when an oracle's
        outputs have other shapes.
    ConvertError
        When an output is not finite.

    Examples
    --------
    >>> from fastgru.graph import RNN, chain
    >>> test = make(chain([RNN(np.ones((2, 3)), np.eye(2))]), None, {})
    >>> test.input.shape, test.outputs[0].shape, test.source
    ((2, 16, 3), (2, 16, 2), 'fastgru float64 reference')
    """
    x, expected = finite_input(graph, dtype, steps, apart=oracle is None or _takes_apart(oracle))
    for name, y in zip(graph.outputs, expected, strict=True):
        _check_finite(name, y, graph.specs[name], REFERENCE_SOURCE, dtype)
    if oracle is None:
        return SelfTest(SEED, x, expected, REFERENCE_SOURCE)
    return SelfTest(SEED, x, *_checked(graph, oracle, provenance, x, expected))


def check_others(graph: Graph, oracle: Oracle, provenance: Mapping[str, str], others: Mapping[int, str]) -> None:
    """Raise ConvertError unless an import is right for sequences of other numbers of steps, too.

    For sources that were looked at for some of them: what they do differently for others is found by running them.
    Numbers that the graph or the source itself refuses are left out; where numbers grow until they are not finite,
    fewer steps are tried.

    Parameters
    ----------
    others : mapping of int to str
        What the source must do, by the steps for which that is tried.
    """
    for steps, rule in others.items():
        if not _runs(graph, steps):
            continue
        apart = _takes_apart(oracle)
        x, expected = finite_input(graph, steps=steps, apart=apart)
        while steps > 1 and _runs(graph, steps // 2) and not all(_finite(y, "float32").all() for y in expected):
            steps //= 2
            x, expected = finite_input(graph, steps=steps, apart=apart)
        try:
            _checked(graph, oracle, provenance, x, expected)
        except ConvertError as error:
            raise type(error)(f"{rule}, but with {steps} steps {error}") from error
        except OracleError:
            continue


def _runs(graph: Graph, steps: int) -> bool:
    """Return True if a graph gives a step of every value for so many."""
    try:
        return min(graph.lengths(steps).values(), default=1) > 0
    except GraphError:
        return False


def _checked(
    graph: Graph, oracle: Oracle, provenance: Mapping[str, str], x: Input, expected: tuple[Array, ...]
) -> tuple[tuple[Array, ...], str]:
    """The outputs of an oracle and its name, if they are those of the reference.

    Where the oracle rounds operands by one scale for all steps, as the reference can do it, too, the outputs of the
    reference that rounds as the engine does are those to be expected.
    """
    outputs = tuple(_as_float(y) for y in oracle(copied(x)))
    source = source_of(oracle, provenance)
    _check_oracle(graph, outputs, expected, source)
    floors = [FLOORS[str(y.dtype)] for y in outputs]
    precision = str(getattr(oracle, "precision", "float32"))
    slack = 1.0 if precision in NARROW else IMPORT_SLACK
    together = _together(graph, x) if getattr(oracle, "together", False) else expected
    nearest = [
        min(pair, key=lambda y, got=got: float(np.abs(got - y).max()))  # type: ignore[misc]
        for got, *pair in zip(outputs, expected, together, strict=True)
    ]
    errors = [np.abs(got - wanted) for got, wanted in zip(outputs, nearest, strict=True)]
    allowed = [max(slack * t, r) for t, r in tolerances(graph, x, expected, floors, precision)]
    limits = _limits(errors, allowed, lambda: at_elements(graph, x, expected, floors, precision), slack)
    for name, got, wanted, error, limit in zip(graph.outputs, outputs, nearest, errors, limits, strict=True):
        where = _worst(error, limit)
        if not error[where] <= limit[where]:
            place = _place(where, graph.specs[name])
            raise Disagreement(
                f"output {name!r} of the import must equal {source} within {limit[where]:.2g}, got an error of "
                f"{error[where]:.3g} at {place}: {float(wanted[where]):.7g} for {float(got[where]):.7g} "
                f"({either(*WHERE)} shows in which layer; {_as_it_is()})"
            )
    own = precision in NARROW or together is not expected
    return (expected, REFERENCE_SOURCE) if own else (outputs, source)


def _together(graph: Graph, x: Input) -> tuple[Array, ...]:
    """The reference's outputs row by row, where all steps of a row share one scale."""
    batch = len(next(iter(x.values())) if isinstance(x, dict) else x)
    rows = [each(x, lambda _, a, i=i: a[i : i + 1]) for i in range(batch)]  # type: ignore[misc]
    parts = [outputs_of(graph, row, together=True) for row in rows]
    return tuple(np.concatenate(y) for y in zip(*parts, strict=True))


def _takes_apart(oracle: Oracle) -> bool:
    return bool(getattr(oracle, "apart", False))


def make_input(graph: Graph, steps: int = 0, *, apart: bool = False) -> Input:
    """The seeded input (2, T, *frame) of normal numbers or of ids within the vocabulary they index; 16 steps or more.

    With `steps` of just as many.

    A dict by name where the graph has several inputs; with `apart`, those that need not have one number of steps have
    several. Where the graph masks its input by value, the last steps of
    the last row hold that value.

    Raises
    ------
    ConvertError
        When no number of steps fits the graph.
    """
    return draw(graph, np.random.default_rng(SEED), exact=steps, apart=apart)


def finite_input(
    graph: Graph, dtype: str = "float32", steps: int = 0, *, apart: bool = False
) -> tuple[Input, tuple[Array, ...]]:
    """The input of the self-test and the reference's float64 outputs for it.

    That of `make_input`, or its magnitudes where outputs would not be finite (of a root or a logarithm, perhaps), or
    smaller numbers where outputs would be too large for `dtype`.
    """
    drawn = make_input(graph, steps, apart=apart)
    for change in CHANGES:
        x = each(drawn, lambda _, array, change=change: change(array) if array.dtype.kind == "f" else array)  # type: ignore[misc]
        expected = outputs_of(graph, x)
        if all(_finite(y, dtype).all() for y in expected):
            break
    return x, expected


def _finite(y: Array, dtype: str) -> NDArray[np.bool_]:
    """True where a number is finite in a dtype."""
    return np.asarray(np.abs(y) <= np.finfo(dtype).max)


def source_of(oracle: Oracle, provenance: Mapping[str, str]) -> str:
    """Who an oracle that has been called is."""
    return str(getattr(oracle, "source", provenance.get("framework", "source framework")))


def copied(x: Input) -> Input:
    """The input for a framework to do with as it likes."""
    return each(x, lambda _, array: array.copy())


def _check_oracle(graph: Graph, outputs: tuple[Array, ...], expected: tuple[Array, ...], source: str) -> None:
    """Raise ConvertError unless the oracle's outputs are as many, as large and as finite as expected."""
    if len(outputs) != len(expected):
        raise Disagreement(f"number of outputs of {source} must be {len(expected)}, got {len(outputs)}")
    for name, got, wanted in zip(graph.outputs, outputs, expected, strict=True):
        if got.shape != wanted.shape:
            raise Disagreement(f"output {name!r} of {source} must have shape {wanted.shape}, got {got.shape}")
        _check_finite(name, got, graph.specs[name], source, str(got.dtype))


def _check_finite(name: str, y: Array, spec: Spec, source: str, dtype: str) -> None:
    finite = _finite(y, dtype)
    if not finite.all():
        where = np.argwhere(~finite)[0]
        value, place = y[tuple(where)], _place(where, spec)
        kind = f"finite in {dtype}" if np.isfinite(value) else "finite"
        error = ConvertError if source == REFERENCE_SOURCE else Disagreement
        raise error(f"output {name!r} of {source} must be {kind}, got {value} at {place}")


def _limits(
    errors: list[Array], allowed: list[float], elements: Callable[[], list[Array]], slack: float
) -> list[Array]:
    """Return what is allowed at each element: the same for all; if an error is larger, its own response, too."""
    limits = [np.broadcast_to(limit, error.shape) for limit, error in zip(allowed, errors, strict=True)]
    if all(bool((error <= limit).all()) for error, limit in zip(errors, limits, strict=True)):
        return limits
    return [np.maximum(limit, slack * own) for limit, own in zip(limits, elements(), strict=True)]


def _worst(error: Array, limit: Array) -> tuple[int, ...]:
    """Return the place of the error that is largest for what is allowed there."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is infinite is the largest, too
        share = error / np.maximum(limit, np.finfo(np.float64).tiny)
    share = np.where(np.isnan(share), np.inf, share)
    return tuple(int(i) for i in np.unravel_index(int(share.argmax()), share.shape))


def _as_it_is() -> str:
    """Say how an import that only a check refuses can be had."""
    return f"{either('check=False', '--no-check')} imports it as it is"


def _place(where: Any, spec: Spec) -> str:
    """Where in an output, e.g. ``"row 0, step 3, feature 1"``."""
    rank = len(spec.shape)
    axes = ["row"] + ["step"] * spec.time + (["feature"] if rank == 1 else [f"axis {i}:" for i in range(rank)])
    return ", ".join(f"{axis} {int(i)}" for axis, i in zip(axes, where, strict=True))


def _as_float(y: Any) -> Array:
    array = np.asarray(y)
    return array if array.dtype == np.float64 else _as_dtype(array, "float32")


def _as_dtype(array: Array, dtype: str) -> Array:
    """Floats of another precision; those too large for it are infinite."""
    with np.errstate(over="ignore"):
        return array.astype(dtype)


# Replaying ---------------------------------------------------------------------------------------


def replay(model: Runnable) -> Report:
    """Run the model on its self-test's input and compare.

    Raises
    ------
    VerificationError
        When the model has no self-test, or its outputs have other shapes than the stored ones.
    """
    test, got = _run(model)
    try:
        exact = outputs_of(model.graph, test.input)
    except ValueError as error:
        raise VerificationError(f"input of the self-test must be one that the model takes, got: {error}") from error
    floors = [max(FLOORS[model.dtype], FLOORS[str(y.dtype)]) for y in test.outputs]
    with np.errstate(invalid="ignore"):  # of infinities the difference is NaN, which no tolerance allows
        own = [float(np.abs(y - e).max()) for y, e in zip(test.outputs, exact, strict=True)]
        errors = [np.abs(a - b) for a, b in zip(got, test.outputs, strict=True)]
    base = tolerances(model.graph, test.input, exact, floors)
    allowed = [max(t, r, 2 * min(o, IMPORT_SLACK * t)) for (t, r), o in zip(base, own, strict=True)]
    limits = _limits(errors, allowed, lambda: at_elements(model.graph, test.input, exact, floors), 1.0)
    worst = [_worst(e, limit) for e, limit in zip(errors, limits, strict=True)]
    return Report(
        errors=tuple(float(e[w]) for e, w in zip(errors, worst, strict=True)),
        tolerances=tuple(float(limit[w]) for limit, w in zip(limits, worst, strict=True)),
        source=test.source,
        places=tuple(
            f"{_place(where, model.graph.specs[name])} of {name!r}"
            for name, where in zip(model.graph.outputs, worst, strict=True)
        ),
    )


def _run(model: Runnable) -> tuple[SelfTest, list[Array]]:
    """The self-test of a model, and what the model gives for its input."""
    test = model.self_test
    if test is None:
        raise VerificationError("model must have a stored self-test, got none")
    try:
        result = model(each(test.input, lambda _, a: _as_dtype(a, model.dtype) if a.dtype.kind == "f" else a))
    except ValueError as error:
        raise VerificationError(f"input of the self-test must be one that the model takes, got: {error}") from error
    got = [_as_float(y) for y in (result if isinstance(result, tuple) else (result,))]
    shapes = [y.shape for y in got], [y.shape for y in test.outputs]
    if shapes[0] != shapes[1]:
        raise VerificationError(f"outputs of the model must have shapes {shapes[1]}, got {shapes[0]}")
    return test, got


def check_engine(model: Runnable) -> None:
    """Raise Disagreement unless the engine computes what the self-test of a model that is being imported says.

    Only where it is not within the floor of every output does the reference run again, to say what may be allowed.
    """
    test, got = _run(model)
    floors = [max(FLOORS[model.dtype], FLOORS[str(y.dtype)]) for y in test.outputs]
    with np.errstate(invalid="ignore"):
        near = all(
            np.abs(a - b).max(initial=0.0) <= floor * max(1.0, float(np.abs(b).max(initial=0.0)))
            for a, b, floor in zip(got, test.outputs, floors, strict=True)
        )
    if not near and not (report := replay(model)).ok:
        raise Disagreement(f"engine must compute what the graph does, please report it: {report} ({_as_it_is()})")


def verify(model: Runnable) -> Report:
    """`replay`, raising when an output is out of tolerance.

    Raises
    ------
    VerificationError
        Naming every output that is, or when there is no self-test.
    """
    report = replay(model)
    if not report.ok:
        rows = zip(model.graph.outputs, report.errors, report.tolerances, strict=True)
        wrong = [
            f"output {n!r} must be within {t:.2g} of {report.source}, got an error of {e:.3g}"
            for n, e, t in rows
            if not e <= t
        ]
        raise VerificationError("; ".join(wrong))
    return report
