"""``python -m fastgru.recipes.textgen "Can someone"``: text in the manner of what textgenrnn was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from .. import Model, convert
from ..cli import _show
from ..cli._options import real, whole
from ..errors import DataError
from ..generation import Beam, Choice, Forbid, Greedy, Sample, Vocabulary
from ..layers import LSTM, Concat, Dense, Embedding, Multiply, TimeReduce, TimeSoftmax, like
from . import _weights
from ._terminal import start

PACKAGE = _weights.Package(
    "textgenrnn", "2.0.0", "c2b6f1c201c76d5a6021079e95a8db499bbe15d9f3448d33cb51c0cd496c86f8",
    {"textgenrnn-2.0.0/textgenrnn/textgenrnn_weights.hdf5": 1_874_468,
     "textgenrnn-2.0.0/textgenrnn/textgenrnn_vocab.json": 5_079},
)  # fmt: skip
LAYERS = [
    like(Embedding, name="embedding"),
    like(LSTM, name="rnn_1", layout="cudnn"),
    like(LSTM, name="rnn_2", layout="cudnn"),
    like(Concat, name="all", inputs=["embedding", "rnn_1", "rnn_2"]),
    like(Dense, name="attention"),
    like(TimeSoftmax, name="weights"),
    like(Multiply, inputs=["all", "weights"]),
    like(TimeReduce, function="sum"),
    like(Dense, name="output", activation="softmax"),
]
WINDOW = 40  # ids that the network sees, with zeros before those of a short text
META, PADDING = "<s>", 0  # begins and ends a text; no character


def load(path: Path | None = None) -> Model:
    """The network, (40,) ids to (465,) probabilities of the next one, from textgenrnn_weights.hdf5."""
    return convert(path or _weights.fetch(PACKAGE) / "textgenrnn_weights.hdf5", like=LAYERS)


def load_vocabulary(path: Path | None = None) -> Vocabulary:
    """Ids of characters, from textgenrnn_vocab.json.

    Raises
    ------
    DataError
        When the file is another.
    """
    path = path or _weights.fetch(PACKAGE) / "textgenrnn_vocab.json"
    vocabulary = Vocabulary.read(path)
    if META not in vocabulary:
        raise DataError(f"{path}: vocabulary must map characters, {META!r} among them, to ids, got another object")
    return vocabulary


def prompt_of(vocabulary: Vocabulary, text: str) -> np.ndarray:
    """The ids of how a text begins; unknown characters are padding."""
    return np.array([vocabulary.ids.get(character, PADDING) for character in (META, *text)])


def options(model: Model, vocabulary: Vocabulary, last: Choice) -> dict[str, Any]:
    """What `Model.generate` is told for this network: its window, and ids that are no characters."""
    count = next(iter(model.outputs.values())).shape[0]
    nothing = Forbid([i for i in range(count) if i not in vocabulary.tokens])
    return {"choose": [nothing, last], "stop": vocabulary[META], "window": WINDOW, "pad": PADDING}


def continuation(
    model: Model, vocabulary: Vocabulary, prompt: str, length: int, temperature: float = 0.0, seed: int = 0
) -> Iterator[str]:
    """Up to `length` further characters: the most likely ones at temperature 0, else drawn by their probabilities."""
    last = Sample(temperature) if temperature else Greedy()
    ids = prompt_of(vocabulary, prompt)
    for i in model.generate(ids, length, seed=seed, iterate=True, **options(model, vocabulary, last)):
        if i != vocabulary[META]:
            yield vocabulary.tokens[i]


def search(model: Model, vocabulary: Vocabulary, prompt: str, length: int, beam: Beam) -> list[tuple[float, str]]:
    """The most probable continuations that a beam finds, with the logarithms of their probabilities, the best first."""
    ids = prompt_of(vocabulary, prompt)
    found, log_p = model.generate(ids, length, return_scores=True, **options(model, vocabulary, beam))
    several = beam.n_best > 1
    rows = zip(found if several else [found], log_p if several else [log_p], strict=True)
    return [(float(p.sum()), vocabulary.decode(own[own != vocabulary[META]])) for own, p in rows]


def main(
    prompt: Annotated[str, typer.Argument(help="How the text begins.")] = "",
    length: Annotated[
        int, typer.Option(parser=whole("--length", 1), metavar="N", help="Most characters to add.")
    ] = 300,
    temperature: Annotated[
        float,
        typer.Option(
            parser=real("--temperature", 0),
            metavar="X",
            help="0: the likeliest characters, which soon repeat; 1: as trained.",
        ),
    ] = 0.5,
    seed: Annotated[int, typer.Option(parser=whole("--seed", 0), metavar="N", help="Of what is drawn.")] = 0,
    beam: Annotated[
        int | None,
        typer.Option(
            parser=whole("--beam", 1),
            metavar="N",
            help="Search for the most probable texts in the place of drawing one, N wide, and print all N.",
        ),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="textgenrnn_weights.hdf5, its vocabulary beside it.")] = None,
) -> None:
    """Print a text that goes on from a prompt, as it is made."""
    vocabulary = load_vocabulary(model.with_name("textgenrnn_vocab.json") if model else None)
    network, console = load(model), _show.stdout()
    if beam is not None:
        for log_p, text in search(network, vocabulary, prompt, length, Beam(beam, n_best=beam)):
            console.print(f"{log_p:8.3f}  {prompt}{text}")
        return
    console.print(prompt, end="")
    for character in continuation(network, vocabulary, prompt, length, temperature, seed):
        console.print(character, end="")
    console.print()


if __name__ == "__main__":
    start(main)
