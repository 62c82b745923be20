"""``python -m bench.written MODELS``: draw what textgenrnn writes and how g2p_en speaks into docs/pictures.

MODELS is a folder with ``textgenrnn`` and ``g2p_en``, as the recipes take their files.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from fastgru.generation import Beam, Greedy, Sample
from fastgru.recipes import g2p, textgen

from .pictures.style import FONT, LIGHT, PLAIN, THEMES, Theme, panel, save, sheet

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
PROMPT, LENGTH, SEED = "I am", 56, 3
WAYS = (("greedy", Greedy()), ("0.3", Sample(0.3)), ("0.7", Sample(0.7)), ("1.0", Sample(1.0)))
WORDS = (
    "activationist", "cython", "recurrent", "quokka", "anthropic", "gru", "phonemizer", "blorptastic", "tensorflowing",
    "zyzzyva", "hello", "kubernetes", "supercalifragilistic", "worldwide", "onomatopoeia",
)  # fmt: skip
WIDTH, SHOWN = 10, 3
HUES = {True: ("#d04e10", "#e9955f", "#f3cdb4"), False: ("#fb863e", "#b3622f", "#6b4027")}  # light and dark pages


def texts(folder: Path) -> list[tuple[str, str, Any]]:
    """Return each way to choose, the text that it writes and the probabilities of its characters."""
    model = textgen.load(folder / "textgenrnn_weights.hdf5")
    vocabulary = textgen.load_vocabulary(folder / "textgenrnn_vocab.json")
    rows = []
    for name, last in WAYS:
        ids, log_p = model.generate(
            textgen.prompt_of(vocabulary, PROMPT), LENGTH, seed=SEED, return_scores=True,
            **textgen.options(model, vocabulary, last),
        )  # fmt: skip
        kept = ids != vocabulary[textgen.META]
        rows.append((name, vocabulary.decode(ids[kept]), np.exp(log_p[kept])))
    return rows


def draw_texts(rows: list[tuple[str, str, Any]], theme: Theme) -> Any:
    """Draw characters above bars of their probabilities."""
    figure = sheet(
        theme, (8.3, 3.6), "What textgenrnn writes behind “I am”, greedily and at three temperatures",
        "Below each character, how probable the network alone held it.",
    )  # fmt: skip
    for i, (name, text, p) in enumerate(rows):
        axes = panel(figure, theme, (0.85, 2.35 - 0.72 * i, 7.3, 0.34))
        axes.grid(visible=False)
        axes.bar(np.arange(len(p)), p, width=0.8, color=HUES[theme is LIGHT][0])
        axes.set(xlim=(-0.6, LENGTH - 0.4), ylim=(0, 1), xticks=[], yticks=[])
        axes.spines["left"].set_visible(False)
        for at, character in enumerate(text):
            axes.text(at, 1.15, character, ha="center", va="bottom", color=theme.ink, fontsize=PLAIN)
        axes.text(-1.0, 0.6, name, ha="right", va="center", color=theme.muted, fontsize=PLAIN)
    return figure


def draw_words(found: list[list[tuple[float, list[str]]]], greedy: list[list[str]], theme: Theme) -> Any:
    """Draw the probabilities of the best pronunciations of each word, with the phonemes of the best."""
    figure = sheet(
        theme, (8.3, 5.3), "How g2p_en speaks 15 words: probabilities of the three best pronunciations",
        f"Of a beam of {WIDTH}. The phonemes are those of the best; greedy ones stand behind it where they differ.",
    )  # fmt: skip
    axes = panel(figure, theme, (1.55, 0.45, 6.6, 4.15))
    axes.grid(visible=False, axis="y")
    for i, best in enumerate(found):
        left = 0.0
        for (log_p, _), hue in zip(best[:SHOWN], HUES[theme is LIGHT], strict=True):
            axes.barh(-i, np.exp(log_p), left=left, height=0.42, color=hue)
            left += float(np.exp(log_p))
        told = " ".join(best[0][1])
        axes.text(0, -i + 0.27, told, va="bottom", color=theme.ink, fontsize=PLAIN - 2)
        if greedy[i] != best[0][1]:
            other = f"greedy: {' '.join(greedy[i])}"
            axes.text(1, -i + 0.27, other, va="bottom", ha="right", color=theme.muted, fontsize=PLAIN - 2)
    axes.set(xlim=(0, 1), ylim=(-len(WORDS) + 0.6, 0.85), xlabel="probability")
    axes.set_yticks(-np.arange(len(WORDS)), WORDS)
    axes.tick_params(axis="y", labelcolor=theme.ink, labelsize=PLAIN)
    return figure


def main(folder: Path) -> None:
    """Draw both pictures for light and dark pages, and print the words' table."""
    from matplotlib import rc_context

    rows = texts(folder / "textgenrnn")
    models = g2p.load(folder / "g2p_en" / "checkpoint20.npz")
    found = g2p.search(list(WORDS), *models, Beam(WIDTH, n_best=SHOWN))
    greedy = [g2p.pronounce(word, *models) for word in WORDS]
    for word, best, other in zip(WORDS, found, greedy, strict=True):
        print(f"{word:22}{np.exp(best[0][0]):6.3f}  {' '.join(best[0][1]):45} {' '.join(other)}")
    for name, text, _ in rows:
        print(f"{name:8}{text}")
    for theme in THEMES:
        with rc_context({"font.family": FONT}):
            drawn = {"textgen": draw_texts(rows, theme), "g2p": draw_words(found, greedy, theme)}
        for name, figure in drawn.items():
            save(figure, PICTURES, name, theme)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
