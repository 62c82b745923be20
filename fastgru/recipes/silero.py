"""``python -m fastgru.recipes.silero speech.wav``: where a recording has speech, by Silero VAD."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.table import Table

from .. import Model
from ..cli import _show
from ..cli._options import real
from ..converters import to_graph
from ..graph import Framing, Graph, GraphBuilder, Reshape, Spec, TimePad
from ..passes import canonical
from . import _audio, _graphs, _plot, _weights
from ._terminal import ruler, start, strip

PACKAGE = _weights.Package(
    "silero-vad", "6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    {"silero_vad/data/silero_vad.onnx": 2_327_524},
)  # fmt: skip
CHUNKS = {16_000: (64, 512), 8_000: (32, 256)}  # rate to samples seen again, and new ones
PLAIN = "silero_vad_16k_sequence"  # the file without a choice of rates
MIN_SPEECH, MIN_SILENCE, PAD, HYSTERESIS, WIDTH = 0.25, 0.1, 0.03, 0.15, 72  # seconds; the package's defaults


class Segment(NamedTuple):
    """Samples of speech: from `start` to before `end`."""

    start: int
    end: int


def network(path: Path | None = None, rate: int = 16_000) -> Graph:
    """Chunks to the probability of speech in each: chunks of context + new samples, of new ones alone from ``.jit``."""
    path = path or _weights.fetch(PACKAGE) / "silero_vad.onnx"
    graph = canonical(to_graph(path, **_options(path, *CHUNKS[rate], rate)).graph)
    size, made = CHUNKS[rate][1] + (path.suffix != ".jit") * CHUNKS[rate][0], graph.specs[graph.outputs[0]].shape
    return _graphs.expect(graph, [(size,)], [made if np.prod(made) == 1 else (1,)], f"{path}: network")


def _options(path: Path, context: int, new: int, rate: int) -> dict[str, Any]:
    """What each of the package's files leaves open."""
    if path.suffix == ".jit":
        return {"fix": {"sr": rate}, "example_inputs": (np.zeros((1, new), np.float32),)}
    if path.stem == PLAIN:
        return {}
    return {"fix": {"sr": rate}, "shapes": {"input": (None, context + new)}, "axes": {"input": ("B", None)}}


def load(path: Path | None = None, rate: int = 16_000) -> Model:
    """Samples (T,) to the probabilities of speech (T // 512,), or of 256 at 8 kHz: 32 ms each."""
    b, listener, new = GraphBuilder(), network(path, rate), CHUNKS[rate][1]
    (size,) = next(iter(listener.inputs.values())).shape
    audio = b.add(TimePad(before=size - new), b.input("audio", Spec(())))
    (speech,), feedback = _graphs.insert(b, listener, b.add(Framing(size, new), audio))
    return Model(b.build(b.add(Reshape(()), speech), feedback=feedback))


def probabilities(model: Model, audio: _audio.Audio, rate: int = 16_000) -> np.ndarray:
    """Those of all of (T,), the last chunk filled up with zeros, a second at a time."""
    padded = np.pad(audio, (0, -len(audio) % CHUNKS[rate][1]))
    found: np.ndarray = _audio.through(model, padded[None], rate)[0]
    return found


def segments(speech: np.ndarray, length: int, rate: int = 16_000, threshold: float = 0.5) -> list[Segment]:
    """Where speech is in `length` samples: from `threshold` on until 0.1 s below it by 0.15, for at least 0.25 s."""
    low, new = max(threshold - HYSTERESIS, 0.01), CHUNKS[rate][1]
    found, begin, quiet = [], None, None
    for at, p in zip(range(0, len(speech) * new, new), speech, strict=True):
        if p >= threshold:
            begin, quiet = at if begin is None else begin, None
        elif begin is not None and p < low:
            quiet = at if quiet is None else quiet
            if at - quiet >= MIN_SILENCE * rate:
                found.append(Segment(begin, quiet))
                begin = quiet = None
    if begin is not None:
        found.append(Segment(begin, length))
    return _padded([s for s in found if s.end - s.start > MIN_SPEECH * rate], length, int(PAD * rate))


def _padded(found: list[Segment], length: int, most: int) -> list[Segment]:
    """Segments with up to `most` samples more at both ends; neighbours share what is between them."""
    between = [after.start - before.end for before, after in pairwise(found)]
    pads = [min(most, gap // 2) for gap in between]
    starts = [max(0, s.start - pad) for s, pad in zip(found, [most, *pads], strict=False)]
    ends = [min(length, s.end + pad) for s, pad in zip(found, [*pads, most], strict=False)]
    return [Segment(*pair) for pair in zip(starts, ends, strict=True)]


def main(
    recording: Annotated[Path, typer.Argument(help="WAV file.")],
    model: Annotated[Path | None, typer.Option(help="silero_vad .onnx or .jit.")] = None,
    threshold: Annotated[
        float,
        typer.Option(parser=real("--threshold", 0.01, 1), metavar="X", help="Probability at which speech begins."),
    ] = 0.5,
    plot: Annotated[Path | None, typer.Option(help="Where to draw the timeline: .png or .svg.")] = None,
) -> None:
    """Print the segments of speech in a recording and a timeline."""
    if plot:
        _plot.check(plot)
    audio = _audio.read(recording).mean(axis=0)  # of the channels
    speech = probabilities(load(model), audio)
    found = segments(speech, len(audio), threshold=threshold)
    seconds, console, table = len(audio) / _audio.RATE, _show.stdout(), Table("speech", "from", "to", "seconds")
    for i, (begin, end) in enumerate(found, 1):
        table.add_row(str(i), *(f"{n / _audio.RATE:.2f}" for n in (begin, end, end - begin)))
    console.print(table)
    drawn = strip(speech, WIDTH)
    console.print(f"probability of speech over {seconds:.2f} s", drawn, ruler(seconds, len(drawn)), sep="\n")
    if plot:
        _plot.timeline(plot, audio, {"speech": speech}, found)
        console.print(f"drew {plot}")


if __name__ == "__main__":
    start(main)
