"""``python -m fastgru.recipes.g2p "some words"``: how English words are spoken, by the network of g2p_en.

The package looks words up in a dictionary first; this is what it does for all others.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from .. import Model
from ..cli import _arrays, _show
from ..cli._options import whole
from ..errors import DataError
from ..generation import Beam
from ..layers import GRU, Dense, Embedding
from . import _weights
from ._terminal import start

PACKAGE = _weights.Package(
    "g2p-en", "2.1.0", "2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
    {"g2p_en/checkpoint20.npz": 3_342_298},
)  # fmt: skip
GRAPHEMES = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
SPOKEN = """
    AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1 EH2 ER0 ER1 ER2 EY0 EY1
    EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW UW0 UW1 UW2
    V W Y Z ZH
"""
PHONEMES = ["<pad>", "<unk>", "<s>", "</s>", *SPOKEN.split()]
START, STOP, MOST_STEPS = 2, 3, 20
ARRAYS = ("enc_emb", "dec_emb", "fc_w", "fc_b", *(f"{a}_{b}" for a in ("enc", "dec") for b in
          ("w_ih", "w_hh", "b_ih", "b_hh")))  # fmt: skip


def load(path: Path | None = None) -> tuple[Model, Model]:
    """The encoder (ids of letters to its last state) and the decoder (id of a phoneme to logits of the next)."""
    path = path or _weights.fetch(PACKAGE) / "checkpoint20.npz"
    expected = f"a .npz file of {', '.join(ARRAYS)}"
    with _arrays.whole(f"{path}: weights", expected), np.load(path, allow_pickle=False) as file:
        a = {name: file[name] for name in ARRAYS}
    encoder, decoder = (
        GRU.from_torch(*(a[f"{side}_{name}"] for name in ("w_ih", "w_hh", "b_ih", "b_hh")), return_sequences=whole)
        for side, whole in (("enc", False), ("dec", True))
    )
    head = Dense(a["fc_w"], a["fc_b"])
    return Model([Embedding(a["enc_emb"]), encoder]), Model([Embedding(a["dec_emb"]), decoder, head])


def letters(word: str) -> np.ndarray:
    """The ids of a word's letters, as the encoder takes them."""
    known = [GRAPHEMES.index(letter) if letter in GRAPHEMES else 1 for letter in word]
    return np.array([*known, GRAPHEMES.index("</s>")])


def pronounce(word: str, encoder: Model, decoder: Model) -> list[str]:
    """The phonemes of a word: its letters encoded, then each most likely phoneme fed back."""
    ids = decoder.generate([START], MOST_STEPS, stop=STOP, encoder=encoder, encoder_input=letters(word))
    return phonemes(ids)


def search(words: list[str], encoder: Model, decoder: Model, beam: Beam) -> list[list[tuple[float, list[str]]]]:
    """The most probable pronunciations of each word, with the logarithms of their probabilities, the best first."""
    found, log_p = decoder.generate(
        [[START]], MOST_STEPS, choose=beam, stop=STOP, encoder=encoder, encoder_input=[letters(word) for word in words],
        return_scores=True,
    )  # fmt: skip
    several = beam.n_best > 1
    return [
        [(float(p.sum()), phonemes(ids)) for ids, p in zip(*((a, b) if several else ([a], [b])), strict=True)]
        for a, b in zip(found, log_p, strict=True)
    ]


def phonemes(ids: np.ndarray) -> list[str]:
    """The phonemes of ids, without the one that stops."""
    return [PHONEMES[i] for i in ids if i != STOP]


def words_of(text: str) -> list[str]:
    """The words of a text in small letters without accents.

    Raises
    ------
    DataError
        When there are none, or characters that have no letters.

    Examples
    --------
    >>> words_of("Zo\u00eb's well-known GRU!")
    ["zoe's", 'well-known', 'gru']
    """
    text = unicodedata.normalize("NFD", text.replace("\u2019", "'"))
    plain = "".join(c for c in text if unicodedata.category(c) != "Mn").lower()
    left = re.findall(r"[^\sa-z.,;:?!\"()'-]+", plain)
    words = re.findall(r"[a-z]+(?:['-][a-z]+)*", plain)
    if left or not words:
        got = ", ".join(map(repr, left[:5])) or repr(text)
        raise DataError(f"text must be of words in the letters a to z, got {got}")
    return words


def main(
    text: Annotated[str, typer.Argument(help="Words to speak.")],
    beam: Annotated[
        int | None,
        typer.Option(
            parser=whole("--beam", 1, len(PHONEMES)),
            metavar="N",
            help="Search for the most probable pronunciations, N wide, in the place of the likeliest phoneme each.",
        ),
    ] = None,
    n_best: Annotated[
        int, typer.Option(parser=whole("--n-best", 1, len(PHONEMES)), metavar="N", help="Of --beam: how many to print.")
    ] = 1,
    model: Annotated[Path | None, typer.Option(help="checkpoint20.npz of g2p_en.")] = None,
) -> None:
    """Print the phonemes of words (ARPAbet; digits are stress)."""
    words = words_of(text)
    if n_best > (beam or 1):
        raise DataError(f"--n-best must be at most --beam, {beam or 'which is not given'}, got {n_best}")
    encoder, decoder = load(model)
    if beam is not None:
        table = Table("word", "phonemes", "log p")
        for word, found in zip(words, search(words, encoder, decoder, Beam(beam, n_best)), strict=True):
            for log_p, spoken in found:
                table.add_row(word, " ".join(spoken), f"{log_p:.3f}")
        _show.stdout().print(table)
        return
    table = Table("word", "phonemes")
    for word in words:
        table.add_row(word, " ".join(pronounce(word, encoder, decoder)))
    _show.stdout().print(table)


if __name__ == "__main__":
    start(main)
