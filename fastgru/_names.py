"""Names and numbers in messages: the few names nearest to the one that was given, counts of things; and free names."""

from __future__ import annotations

from collections.abc import Iterable

MOST = 6  # names that a message lists
LIKENESS = 0.6  # of difflib; half of the letters in the same order
SHOWN = 40  # characters of a name


def nearest(word: object, names: Iterable[object], most: int = MOST) -> str:
    """List names in a message about a name that does not exist: at most `most`, those nearest to it first.

    Parameters
    ----------
    word : object
        What was given; anything but a str is near to nothing.
    names : iterable
        The names that exist, listed in their order behind those that are like `word`.
    most : int
        Number of names to list; a longer list ends with how many there are.

    Examples
    --------
    >>> nearest("tahn", ["relu", "sigmoid", "tanh"])
    'tanh, relu, sigmoid'
    >>> nearest("lstm_7", [f"lstm_{i}" for i in range(20, 99)], most=2)
    'lstm_27, lstm_37, ... (79 in all)'
    >>> nearest("a", [])
    'none'
    """
    known = list(dict.fromkeys(map(str, names)))
    shown = [*_like(word, known, most), *known]
    more = f", ... ({len(known)} in all)" if len(known) > most else ""
    return ", ".join(name[:SHOWN] or "''" for name in list(dict.fromkeys(shown))[:most]) + more or "none"


def closest(word: str, names: Iterable[str]) -> str | None:
    """Return the name that is most like `word`, None where none is like it.

    Examples
    --------
    >>> closest("likes", ["key", "like"]), closest("likes", ["key"])
    ('like', None)
    """
    return next(iter(_like(word, list(names), 1)), None)


class FreeNames:
    """Give names that are not taken, and take them.

    Examples
    --------
    >>> names = FreeNames(["gru"])
    >>> names.free("gru"), names.free("gru"), names.free("lstm")
    ('gru_1', 'gru_2', 'lstm')
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken = set(taken)
        self._counts: dict[str, int] = {}  # of each stem: the last number that was tried

    def free(self, stem: str) -> str:
        """Return `stem`, or `stem` with the first free number behind it."""
        name = stem
        while name in self.taken:
            self._counts[stem] = self._counts.get(stem, 0) + 1
            name = f"{stem}_{self._counts[stem]}"
        self.taken.add(name)
        return name


def counted(count: int, what: str) -> str:
    """Return a number of things in words: ``1 column``, ``3 columns``.

    Examples
    --------
    >>> counted(1, "row"), counted(1000, "row")
    ('1 row', '1,000 rows')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _like(word: object, known: list[str], most: int) -> list[str]:
    """Return the names most like `word`, whatever their case; the first of equals first."""
    if not isinstance(word, str):
        return []
    import difflib  # of messages alone

    matcher = difflib.SequenceMatcher(b=word[:SHOWN].lower(), autojunk=False)
    scores: list[tuple[float, int]] = []
    for i, name in enumerate(known):
        matcher.set_seq1(name[:SHOWN].lower())
        if matcher.real_quick_ratio() >= LIKENESS and matcher.quick_ratio() >= LIKENESS:
            scores.append((-matcher.ratio(), i))
    return [known[i] for score, i in sorted(scores)[:most] if -score >= LIKENESS]
