"""Text as ids: the tokens of a vocabulary."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

SHOWN = 20  # characters of a text in a message


class Vocabulary:
    """Tokens and their ids: characters, pieces of words or words.

    Parameters
    ----------
    tokens : sequence of str, or mapping of str to int
        In the order of their ids from 0 on, or with their ids.
    unknown : str, optional
        The token for characters that belong to none; without it they are refused.

    Raises
    ------
    ValueError
        When two tokens have one id, or one is empty.

    Examples
    --------
    >>> vocabulary = Vocabulary(["<end>", "a", "b", "ab"])
    >>> vocabulary.encode("abba")
    array([3, 2, 1])
    >>> vocabulary.decode([3, 2, 1])
    'abba'
    """

    def __init__(self, tokens: Sequence[str] | Mapping[str, int], *, unknown: str | None = None) -> None:
        pairs = list(tokens.items()) if isinstance(tokens, Mapping) else [(t, i) for i, t in enumerate(tokens)]
        wrong = [
            pair for pair in pairs
            if not isinstance(pair[0], str) or isinstance(pair[1], bool) or not isinstance(pair[1], int) or pair[1] < 0
        ]  # fmt: skip
        if not pairs or wrong:
            got = f"{wrong[0][0]!r}: {wrong[0][1]!r}" if wrong else "none"
            raise ValueError(f"tokens must be texts, with ids from 0 on, got {got}")
        self.ids: dict[str, int] = {}
        self.tokens: dict[int, str] = {}
        for token, i in pairs:
            if i in self.tokens or token in self.ids:
                raise ValueError(f"tokens must have ids of their own, got {token!r} and {self.tokens.get(i, token)!r}")
            self.ids[token], self.tokens[i] = i, token
        if unknown is not None and unknown not in self.ids:
            raise ValueError(f"unknown must be a token, got {unknown!r}")
        self.unknown = unknown
        self._longest = max(map(len, self.ids))

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, unknown: str | None = None) -> Vocabulary:
        """Read a file: JSON with a list of tokens or an object of tokens and ids, else a token on each line.

        Raises
        ------
        DataError
            When the file holds neither.
        """
        name = os.fspath(path)
        try:
            text = Path(path).read_text(encoding="utf-8")
            found = json.loads(text) if Path(path).suffix.lower() == ".json" else text.split("\n")
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}: vocabulary must be JSON or lines of text in UTF-8, got {error}") from error
        if isinstance(found, list) and found and found[-1] == "":
            found.pop()  # behind the last line end
        if not isinstance(found, list | dict):
            raise DataError(f"{name}: vocabulary must be a list of tokens or an object of their ids, got another")
        try:
            return cls(found, unknown=unknown)
        except ValueError as error:
            raise DataError(f"{name}: {error}") from error

    def __len__(self) -> int:
        """One more than the highest id."""
        return max(self.tokens) + 1

    def __contains__(self, token: str) -> bool:
        return token in self.ids

    def __getitem__(self, token: str) -> int:
        return self.ids[token]

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the ids of a text: at each place the longest token that fits.

        Raises
        ------
        DataError
            When no token fits, and there is no `unknown` one.
        """
        found, at = [], 0
        while at < len(text):
            for size in range(min(self._longest, len(text) - at), 0, -1):
                if text[at : at + size] in self.ids:
                    break
            else:
                if self.unknown is None:
                    rest = text[at : at + SHOWN]
                    raise DataError(f"text must be made of tokens of the vocabulary, got {rest!r} at character {at}")
                found.append(self.ids[self.unknown])
                at += 1
                continue
            found.append(self.ids[text[at : at + size]])
            at += size
        return np.array(found, np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the tokens of ids, one behind the other; nothing in the place of ids that have none."""
        return "".join(self.tokens.get(int(i), "") for i in ids)
