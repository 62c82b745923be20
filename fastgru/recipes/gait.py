"""``python -m fastgru.recipes.gait test.csv``: where in the gait cycle a leg is, from the angle of the hip.

The network of ao-compensation-model. A recording has a line every 10 ms, with columns Hip_x (rad) and Hip_vel (rad/s).
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from .. import Model, convert
from ..cli import _arrays, _show
from ..cli._options import whole
from ..errors import DataError
from . import _graphs, _weights
from ._terminal import ruler, start, strip

NAME = "2026_03_26_21_56_0.0534"
PACKAGE = _weights.Package(
    "ao-compensation-model", "0.1.6", "48366bda0922a066519b8f41ed41109a66b0bb510fbe0632d1d3614f49437aa6",
    {f"ao_compensation_model/model/{NAME}/gru_model.keras": 73_692,
     "ao_compensation_model/dataset/test/test.csv": 343_975},
)  # fmt: skip
COLUMNS = ("Hip_x", "Hip_vel")
CENTRE, SCALE = (0.21172767, -0.0401952), (0.60460822, 2.08950286)  # scaler.pkl beside the network
WINDOW, SECONDS = 200, 0.01  # steps that the network was trained on, and what a step lasts
WIDTH, LINES = 72, 20


def load(path: Path | None = None) -> Model:
    """The network: (T, 2) scaled angles and velocities to sine and cosine of the phase, of each step or the last."""
    path = path or _weights.fetch(PACKAGE) / "gru_model.keras"
    model = convert(path)
    _graphs.expect(model.graph, [(2,)], [(2,)], f"{path}: network")
    return model


def read(path: Path) -> np.ndarray:
    """The columns of a recording, scaled: (T, 2) float32.

    Raises
    ------
    DataError
        Naming line and column.
    """
    rows = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            lines = csv.DictReader(file, delimiter=";")
            missing = [name for name in COLUMNS if name not in (lines.fieldnames or [])]
            if missing:
                raise DataError(f"{path}: columns must have {', '.join(missing)}, got {lines.fieldnames}")
            for line in lines:
                rows.append([_number(line[name], f"{path}: line {lines.line_num}, {name}") for name in COLUMNS])
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: recording must be CSV, got another file: {error}") from error
    if len(rows) < WINDOW:
        raise DataError(f"{path}: recording must have {WINDOW} lines or more, got {len(rows)}")
    return ((np.array(rows) - CENTRE) / SCALE).astype(np.float32)


def _number(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = np.nan
    if not abs(value) < 1e6:
        raise DataError(f"{where} must be a finite number below a million, got {str(text)[:40]!r}")
    return value


def phase_of(y: np.ndarray) -> np.ndarray:
    """Sine and cosine (..., 2) as an angle in -pi..pi."""
    angle: np.ndarray = np.arctan2(y[..., 0], y[..., 1])
    return angle


def main(
    recording: Annotated[Path | None, typer.Argument(help="CSV with columns; the package's test.csv.")] = None,
    model: Annotated[Path | None, typer.Option(help="gru_model.keras.")] = None,
    every: Annotated[
        int, typer.Option(parser=whole("--every", 1), metavar="N", help="Steps from one window to the next.")
    ] = 20,
    stream: Annotated[bool, typer.Option(help="Step by step instead, with all the past in the state.")] = False,
    out: Annotated[str | None, typer.Option(help="Where to write seconds and phases: .csv or .npy.")] = None,
) -> None:
    """Print the gait phase over a recording, at the end of windows of 2 s."""
    x, network = read(recording or _weights.fetch(PACKAGE) / "test.csv"), load(model)
    write, ends = _arrays.writer(out) if out else None, np.arange(WINDOW - 1, len(x), every)
    if stream:
        live = network.stream()
        phases = phase_of(np.stack([live.step(frame) for frame in x]))[ends]
    else:
        y = network(np.stack([x[end + 1 - WINDOW : end + 1] for end in ends]))
        phases = phase_of(y if y.ndim == 2 else y[:, -1])
    if out and write:
        _arrays.write(out, write({"phase": np.stack([ends * SECONDS, phases], axis=1)}))
    show(ends * SECONDS, phases)


def show(seconds: np.ndarray, phases: np.ndarray) -> None:
    """Some of the phases as a table, all of them as a line."""
    console, table, share = _show.stdout(), Table("seconds", "phase", ""), phases / (2 * np.pi) + 0.5
    for i in np.linspace(0, len(phases) - 1, min(LINES, len(phases))).astype(int):
        table.add_row(f"{seconds[i]:.2f}", f"{np.degrees(phases[i]):+.0f}°", " " * round(float(share[i]) * 30) + "●")
    console.print(table)
    drawn = strip(share[-WIDTH:], WIDTH)
    console.print(f"{len(phases)} phases; the last {len(drawn)}, from -180° to 180°, over")
    console.print(drawn, ruler(float(seconds[-1] - seconds[-len(drawn)]), len(drawn)), sep="\n")


if __name__ == "__main__":
    start(main)
