"""``fastgru quantize``: a model with smaller weights or faster gates, and what that costs and saves."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import quantization
from ..checks import selftest
from ..errors import DataError
from ..graph import PRECISIONS, TIERS
from . import _arrays, _columns, _models, _progress, _show, bench
from ._columns import EVERYTHING, Wanted
from ._options import model_target, one_of, positive

if TYPE_CHECKING:
    from .. import Model


def quantize(
    model: Annotated[Path, typer.Argument(help="A .fgru file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .fgru file to write.")],
    precision: Annotated[
        str | None,
        typer.Option(
            help="Type to store weights in: float32, float16, bfloat16, int8, int8_affine. int8 when neither this nor "
            "--activations is given, else unchanged.",
        ),
    ] = None,
    activations: Annotated[
        str | None, typer.Option(help="Gates: fast (error below 2e-6) or exact (below 1.2e-7); unchanged by default.")
    ] = None,
    layers: Annotated[str | None, typer.Option(help="Layers to change, separated by commas (default all).")] = None,
    calibration: Annotated[
        str | None, typer.Option(help="Typical input, a file as for run (default: that of the self-test).")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns of the table of --calibration to feed, in order.")
    ] = None,
    separator: Annotated[str, typer.Option(help="Character between the cells of its CSV; tab for a tab.")] = ",",
    decimal: Annotated[str, typer.Option(help="Character before fractions in its CSV: . or a comma.")] = ".",
    max_error: Annotated[
        float | None,
        typer.Option(
            parser=positive("--max-error"),
            metavar="X",
            help="Largest error allowed at an output; layers that exceed it stay as they are, with a warning where all "
            "do.",
        ),
    ] = None,
) -> None:
    """Make the weights of a model smaller, or its gates faster; print errors, bytes and speed before and after."""
    if precision is None and activations is None:
        precision = "int8"
    one_of("--precision", precision, PRECISIONS)
    one_of("--activations", activations, TIERS)
    model_target(output)
    want = _columns.wanted(columns, separator=separator, decimal=decimal)
    if want != EVERYTHING and calibration is None:
        raise DataError("--calibration must be given with --columns, --separator and --decimal, got none")
    console, before = _show.stdout(), _models.whole(model, "quantize")
    with _progress.Shown("measuring") as status:
        x = _input(before, calibration, want)
        with _arrays.naming(str(model)):
            wanted = _names(before, layers, precision)
            quantization.check_tier(before.graph, wanted, activations)
            kept = wanted if max_error is None else quantization.within(before.graph, wanted, x, max_error, activations)
            on = (
                ""
                if max_error is None
                else f"{max_error:g} on {quantization.measured_on(x, given=calibration is not None)}"
            )
            after = before._quantized(kept, activations if kept else None, on)
        unchanged = after.graph is before.graph
        if unchanged:
            why = _why_unchanged(before, wanted, x, max_error, activations)
            warnings.warn(f"{why}; {output} is the model as it was", UserWarning, stacklevel=1)
        elif max_error is not None and calibration is None:
            quantization.warn_uncalibrated("--max-error", "give typical input by --calibration", stacklevel=1)
        found = quantization.report(before.graph, after.graph, x)
        status.update("timing")
        timings = {} if unchanged else bench.compare([before, after])
        status.update("replaying the self-test")
        replayed = selftest.verify(after)
        status.update("writing the file")
        after.save(output)
    console.print(_show.report(found))
    shapes = ", ".join(f"{n} {a.shape}" for n, a in x.items()) if isinstance(x, dict) else f"input {x.shape}"
    used = f"on {'the self-test' if calibration is None else calibration}, {shapes}"
    console.say(f"{found.outputs()}, {used}")
    if not unchanged and len(kept) < len(wanted):
        console.say(f"kept as they were: {', '.join(n for n in wanted if n not in kept)}")
    for what, (us, now) in timings.items():
        console.say(f"one {what}: median {us:.2f} us before, {now:.2f} us after ({after.isa})")
    console.say(f"self-test {replayed}")
    console.say(f"wrote {_show.sized(output)}; {_show.sized(model)}")


def _names(model: Model, layers: str | None, precision: str | None) -> dict[str, str]:
    """The precision of each layer of the comma-separated list."""
    named = None if layers is None else [name.strip() for name in layers.split(",")]
    return quantization.choose(model.graph, precision, named)


def _why_unchanged(
    model: Model, wanted: dict[str, str], x: Any, max_error: float | None, activations: str | None
) -> str:
    """Say that nothing was changed, and why: what is wanted is there already, or breaks the limit."""
    if max_error is not None and quantization.changes(model.graph, wanted, activations):
        return quantization.nothing_changed(model.graph, wanted, x, max_error, activations)
    gates = f" with {activations} gates" if activations else ""
    return f"nothing was changed: {', '.join(f'{n!r} is {p}{gates}' for n, p in wanted.items())} already"


def _input(model: Model, source: str | None, want: Wanted) -> Any:
    """The calibration input out of a file, else the self-test's, with a batch axis."""
    if source is None:
        test = model.self_test
        return quantization.calibration_input(model.graph, None if test is None else test.input)
    x = _arrays.read_inputs(source, model.graph.inputs, want)
    with _arrays.naming(source):
        return quantization.calibration_input(model.graph, x)
