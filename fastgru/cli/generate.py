"""``fastgru generate``: text, ids or values that go on from a prompt."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from ..errors import DataError
from . import _arrays, _show
from ._options import one_of, positive, real, whole

if TYPE_CHECKING:
    from ..generation import Vocabulary
    from ..running import Running

DRAWN = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")  # of `Sample`
SEARCHED = ("n_best", "length_penalty", "min_steps")  # of `Beam`
KINDS = ("logits", "probabilities", "log_probabilities")


def generate(
    model: Annotated[str, typer.Argument(help="A .fgru file, or a compiled plan.")],
    prompt: Annotated[
        list[str],
        typer.Option(
            "-p",
            "--prompt",
            help="What to go on from: text with --vocabulary, else ids such as 5,2,9, or a .npy file; - for text on"
            " standard input. Several: once each.",
        ),
    ],
    steps: Annotated[
        int, typer.Option("-n", "--steps", parser=whole("--steps", 1), metavar="N", help="Most ids to add.")
    ] = 100,
    vocabulary: Annotated[
        Path | None,
        typer.Option(help="Tokens and their ids: .json with a list or an object, or a file with a token a line."),
    ] = None,
    unknown: Annotated[str | None, typer.Option(help="Token for characters of the prompt that have none.")] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="Text of tokens, or ids such as 3 or 7,3, that end the output. Several: once each."),
    ] = None,
    forbid: Annotated[list[str] | None, typer.Option(help="Tokens or ids never to choose. Several: once each.")] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            parser=positive("--temperature"), metavar="X", help="Draw ids: below 1 the likely ones more often."
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(parser=whole("--top-k", 1), metavar="N", help="Draw among the N likeliest ids.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(parser=real("--top-p", 0, 1), metavar="X", help="Draw among the likeliest that reach X together."),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(parser=real("--min-p", 0, 1), metavar="X", help="Draw among those of X times the likeliest's."),
    ] = None,
    repetition_penalty: Annotated[
        float | None,
        typer.Option(parser=positive("--repetition-penalty"), metavar="X", help="Above 1: fewer ids that were before."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(parser=whole("--seed", 0, 2**64 - 1), metavar="N", help="Of what is drawn.")
    ] = None,
    samples: Annotated[
        int, typer.Option(parser=whole("--samples", 1), metavar="N", help="Sequences to draw for each prompt.")
    ] = 1,
    beam: Annotated[
        int | None,
        typer.Option(parser=whole("--beam", 1), metavar="N", help="Search for the likeliest sequence, N wide."),
    ] = None,
    n_best: Annotated[
        int | None, typer.Option(parser=whole("--n-best", 1), metavar="N", help="Of --beam: sequences to print.")
    ] = None,
    length_penalty: Annotated[
        float | None,
        typer.Option(
            parser=real("--length-penalty", -30, 30), metavar="X", help="Of --beam: above 0 favours longer sequences."
        ),
    ] = None,
    min_steps: Annotated[
        int | None, typer.Option(parser=whole("--min-steps", 0), metavar="N", help="Of --beam: fewest ids.")
    ] = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="Print the logarithm of its probability in front of each sequence.")
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(parser=whole("--window", 1), metavar="N", help="Run over the last N ids, without a state."),
    ] = None,
    pad: Annotated[
        str | None, typer.Option(help="Token or id that fills the --window in front of a short prompt.")
    ] = None,
    one_hot: Annotated[
        bool, typer.Option("--one-hot", help="The model takes ids as vectors of zeros with a one.")
    ] = False,
    output_kind: Annotated[
        str | None, typer.Option(help="What the model outputs, where its end does not say: " + ", ".join(KINDS) + ".")
    ] = None,
) -> None:
    """Go on from a prompt: the likeliest id of each step, drawn ones, or the likeliest sequence.

    A text is printed as it is made, behind its prompt; ids and values a line for each sequence or step.
    """
    import fastgru
    from fastgru import generation

    given = {name: value for name, value in locals().items() if name in (*DRAWN, *SEARCHED) and value is not None}
    one_of("--output-kind", output_kind, KINDS)
    wrong = next((name for name in given if (name in DRAWN) == (beam is not None)), None)
    if wrong is not None and (beam is not None or wrong in SEARCHED):
        option = "--" + wrong.replace("_", "-")
        raise DataError(f"{option} must {'come without' if beam is not None else 'come with'} --beam, got it "
                        f"{'with' if beam is not None else 'without'}")  # fmt: skip
    if unknown is not None and vocabulary is None:
        raise DataError("--unknown must come with --vocabulary, got none")
    words = None if vocabulary is None else generation.Vocabulary.read(vocabulary, unknown=unknown)
    prompts = [_prompt(text, words) for text in prompt]
    try:
        last: generation.Choice | None = (
            generation.Beam(beam, **given) if beam is not None
            else generation.Sample(**given) if given or samples > 1 or seed is not None
            else None
        )  # fmt: skip
    except ValueError as error:
        raise DataError(str(error)) from error
    left = [generation.Forbid(_ids(text, words, "--forbid")) for text in forbid or ()]
    stops = [_ids(text, words, "--stop") for text in stop or ()]
    loaded = fastgru.load(model)
    vectors = not any(spec.dtype == "int" for spec in loaded.inputs.values()) and not one_hot
    if last is None and not vectors:
        last = generation.Greedy()
    options: dict[str, Any] = {
        "choose": [*left, last] if last is not None else None, "stop": stops or None, "seed": seed, "window": window,
        "pad": None if pad is None else _pad(pad, words), "feed": "one_hot" if one_hot else None,
        "output_kind": output_kind,
    }  # fmt: skip
    with _arrays.naming(model):
        if len(prompts) == 1 and samples == 1 and beam is None and not scores:
            _live(loaded, prompts[0], steps, options, words)
            return
        found = loaded.generate(prompts, steps, n=samples, return_scores=scores, **options)
    results, log_p = found if scores else (found, found)
    several = samples > 1 or (n_best or 1) > 1
    for ids, each, rows in zip(prompts, log_p, results, strict=True):
        for row, own in zip(rows if several else [rows], each if several else [each], strict=True):
            text = _line(ids, row, words, stops)
            _show.stdout().print(f"{own.sum():10.4f}  {text}" if scores else text)


def _live(model: Running, prompt: Any, steps: int, options: dict[str, Any], words: Vocabulary | None) -> None:
    """Print a sequence as it is made."""
    console, held = _show.stdout(), []
    stops = options["stop"] or []
    waits = max(map(len, stops), default=0)  # ids that may turn out to be a stop, which a text leaves out
    run = model.generate(prompt, steps, iterate=True, **options)
    if words is not None:
        for at, i in enumerate(run):
            if not at:
                console.print(words.decode(prompt), end="")
            held.append(i)
            if len(held) > waits:
                console.print(words.decode([held.pop(0)]), end="")
                sys.stdout.flush()
        console.print(words.decode(_without(held, stops)))
        return
    for at, chosen in enumerate(run):
        if np.ndim(chosen):
            console.print(",".join(f"{x:.9g}" for x in np.ravel(chosen)))
        else:
            console.print(f"{',' if at else ''}{chosen}", end="")
        sys.stdout.flush()
    if not np.ndim(chosen):
        console.print()


def _line(prompt: Any, ids: Any, words: Vocabulary | None, stops: Sequence[Sequence[int]]) -> str:
    """Return a sequence as a line: its text behind that of the prompt, or its ids or values."""
    if words is not None:
        return words.decode([*prompt, *_without(ids.tolist(), stops)]).replace("\n", "\\n")
    return ",".join(map(str, ids.tolist()))


def _without(ids: list[int], stops: Sequence[Sequence[int]]) -> list[int]:
    """Return ids without the stop that ends them."""
    found = next((stop for stop in stops if tuple(ids[-len(stop) :]) == tuple(stop)), ())
    return ids[: len(ids) - len(found)]


def _prompt(text: str, words: Vocabulary | None) -> Any:
    """Return a prompt as ids, or as the array of a file."""
    if text == "-":
        text = sys.stdin.read()
        text = text.removesuffix("\n")
    if words is not None:
        ids = words.encode(text)
        if not ids.size:
            raise DataError("--prompt must have at least one token, got an empty text")
        return ids
    if text.lower().endswith(".npy"):
        with _arrays.whole(f"{text}: prompt", "a .npy file of numbers"):
            return np.load(text, allow_pickle=False)
    return np.array(_ids(text, None, "--prompt"))


def _ids(text: str, words: Vocabulary | None, option: str) -> tuple[int, ...]:
    """Return the ids of a text, of a token, or of numbers with commas."""
    if words is not None and text:
        return tuple(words.encode(text).tolist())
    try:
        return tuple(int(word) for word in text.replace(",", " ").split() or [""])
    except ValueError:
        hint = "" if option == "--prompt" and text.lower().endswith(".npy") else "; text needs --vocabulary"
        raise DataError(f"{option} must be ids such as 5,2,9, got {text!r}{hint}") from None


def _pad(text: str, words: Vocabulary | None) -> int:
    """Return the id of --pad: a token, or a number where the vocabulary has no token of that name."""
    if words is not None and text in words:
        return words[text]
    try:
        return int(text)
    except ValueError:
        raise DataError(f"--pad must be one token or id, got {text!r}") from None
