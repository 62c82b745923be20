"""``python -m fastgru.recipes.textgen "Can someone"``: text in the manner of what textgenrnn was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from .. import Model, convert
from ..cli import _show
from ..cli._options import real, whole
from ..errors import DataError
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
META = "<s>"  # begins and ends a text


def load(path: Path | None = None) -> Model:
    """The network, (40,) ids to (465,) probabilities of the next one, from textgenrnn_weights.hdf5."""
    return convert(path or _weights.fetch(PACKAGE) / "textgenrnn_weights.hdf5", like=LAYERS)


def load_vocabulary(path: Path | None = None) -> dict[str, int]:
    """Ids of characters, from textgenrnn_vocab.json.

    Raises
    ------
    DataError
        When the file is another.
    """
    path = path or _weights.fetch(PACKAGE) / "textgenrnn_vocab.json"
    try:
        ids = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: vocabulary must be JSON, got another: {error}") from error
    if not isinstance(ids, dict) or not all(isinstance(i, int) for i in ids.values()) or META not in ids:
        raise DataError(f"{path}: vocabulary must map characters, {META!r} among them, to ids, got another object")
    return ids


def window_of(text: list[str], ids: dict[str, int]) -> np.ndarray:
    """The last characters as the network takes them, (40,); unknown ones are zeros."""
    known = [ids.get(character, 0) for character in text[-WINDOW:]]
    return np.array([0] * (WINDOW - len(known)) + known)


def continuation(
    model: Model, ids: dict[str, int], prompt: str, length: int, temperature: float = 0.0, seed: int = 0
) -> Iterator[str]:
    """Up to `length` further characters: the most likely ones at temperature 0, else drawn by their probabilities."""
    characters, random = {i: c for c, i in ids.items()}, np.random.default_rng(seed)
    text = [META, *prompt]
    for _ in range(length):
        p = np.asarray(model(window_of(text, ids)), np.float64)
        p[[i for i in range(len(p)) if i not in characters]] = 0  # id 0 is the padding
        if temperature:
            p = np.exp(np.log(np.maximum(p / p.max(), 1e-300)) / temperature)
        chosen = characters[int(random.choice(len(p), p=p / p.sum()) if temperature else p.argmax())]
        if chosen == META:
            return
        text.append(chosen)
        yield chosen


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
    model: Annotated[Path | None, typer.Option(help="textgenrnn_weights.hdf5, its vocabulary beside it.")] = None,
) -> None:
    """Print a text that goes on from a prompt, as it is made."""
    ids = load_vocabulary(model.with_name("textgenrnn_vocab.json") if model else None)
    network, console = load(model), _show.stdout()
    console.print(prompt, end="")
    for character in continuation(network, ids, prompt, length, temperature, seed):
        console.print(character, end="")
    console.print()


if __name__ == "__main__":
    start(main)
