"""N-gram models in the ARPA format, as KenLM and SRILM write them, as scorers of words."""

from __future__ import annotations

import gzip
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import FileFormatError

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)")
GRAM = re.compile(r"(\S+)[ \t]+(.+)")  # log10 of the probability; words, and log10 of the weight of backing off if any
BLANKS = re.compile(r"[ \t]+")


class NGram:
    """An n-gram model with back-off (Katz 1987): a `scorer` for `ctc_beam`.

    Parameters
    ----------
    path : str or path
        An ARPA file, ``.arpa`` or ``.arpa.gz``.

    Attributes
    ----------
    order : int
        n: a word is scored after the n - 1 words before it.

    Raises
    ------
    FileFormatError
        When the file is no whole ARPA file, naming the line.
    OSError
        When it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._grams: dict[tuple[str, ...], tuple[float, float]] = {}
        name = Path(path)
        opened = gzip.open if name.suffix == ".gz" else open
        try:
            with opened(name, "rt", encoding="utf-8") as file:
                self._read(file, name.name)
        except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
            raise FileFormatError(f"{name.name} must be an ARPA file in UTF-8: {error}") from error

    def _read(self, file: Iterator[str], name: str) -> None:
        lines = ((i, line.strip()) for i, line in enumerate(file, 1) if line.strip())
        if not any(line == "\\data\\" for _, line in lines):
            raise FileFormatError(f"{name} must be an ARPA file, got none: no line is \\data\\")
        counts: list[int] = []
        i, line = 0, ""
        for i, line in lines:
            if not (found := COUNT.fullmatch(line)):
                break
            if int(found[1]) != len(counts) + 1:
                raise FileFormatError(f"{name}, line {i}: n-grams must be counted from 1 on, got {line!r:.60}")
            counts.append(int(found[2]))
        for size, count in enumerate(counts, 1):
            _expect(line, f"\\{size}-grams:", name, i)
            i, line = next(lines, (i, "the end of the file"))
            for left in range(count, 0, -1):
                if not (found := GRAM.fullmatch(line)) or len(words := BLANKS.split(found[2])) not in (size, size + 1):
                    raise FileFormatError(f"{name}, line {i}: {left} more {size}-grams must follow, got {line!r:.60}")
                try:
                    rest = float(words.pop()) if len(words) > size else 0.0
                    self._grams[tuple(words)] = (float(found[1]), rest)
                except ValueError as error:
                    raise FileFormatError(f"{name}, line {i}: {size}-gram must have numbers: {error}") from error
                i, line = next(lines, (i, "the end of the file"))
        _expect(line, "\\end\\", name, i)
        self.order = len(counts)

    def __call__(self, words: tuple[str, ...], word: str) -> float:
        """Return the natural logarithm of the probability of a word after others, the first of which begin the text.

        A word that the model does not know is ``<unk>``, which has no probability where the model has none of it.
        """
        before = (BEGIN, *words)[-(self.order - 1) :] if self.order > 1 else ()
        gram = tuple(each if (each,) in self._grams else UNKNOWN for each in (*before, word))
        total = 0.0
        while gram not in self._grams:
            if len(gram) == 1:
                return -math.inf
            total += self._grams.get(gram[:-1], (0.0, 0.0))[1]
            gram = gram[1:]
        return (total + self._grams[gram][0]) * math.log(10)

    def end(self, words: tuple[str, ...]) -> float:
        """Return the same of the end of the text; 0 where the model knows none."""
        return self(words, END) if (END,) in self._grams else 0.0


def _expect(line: str, expected: str, name: str, number: int) -> None:
    if line != expected:
        raise FileFormatError(f"{name}, line {number}: must be {expected}, got {line!r:.60}")
