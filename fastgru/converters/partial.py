"""Weights of a file that no item of `like` takes: the model is then a part of the network that was saved."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from .._hints import either, named, option
from .._names import counted, nearest
from ..errors import ConvertError

CALLER = 5  # frames from a warning of an importer to what called fastgru.convert


def left_out(names: Sequence[str]) -> str:
    """Return the option that leaves arrays or layers out, to copy.

    Examples
    --------
    >>> left_out(["aux", "loss.*"])
    "ignore=['aux', 'loss.*']"
    """
    return either(f"{option('ignore')}{[*names]!r}", " ".join(f"{option('ignore')} {shlex.quote(n)}" for n in names))


def warn_unused(source: str, unused: Mapping[str, int], used: Iterable[str], total: int, stacklevel: int) -> None:
    """Warn of layers whose arrays are not in the model.

    Parameters
    ----------
    source : str
        The file.
    unused : mapping of str to int
        Layers that nothing takes, and how many arrays each has; nothing is said where there are none.
    used : iterable of str
        The other layers.
    total : int
        Arrays of all layers.
    stacklevel : int
        As for `warnings.warn`.
    """
    if not unused:
        return
    tops = outermost(unused, list(used))
    count = sum(unused.values())
    warnings.warn(
        f"{source}: {count} of {counted(total, 'array')} {'is' if count == 1 else 'are'} unused, of "
        f"{nearest(None, tops)}: the model is only a part of what the file holds. Describe every layer in "
        f"{named('like')}, or say that this is meant: {left_out(tops)}",
        UserWarning,
        stacklevel=stacklevel,
    )


def without(names: Sequence[str], ignore: Sequence[str], what: str) -> list[str]:
    """Return the layers of a file but for those that `ignore` names, itself or by a pattern.

    Raises
    ------
    ConvertError
        When it is no list of names, or names no layer.
    """
    check_ignore(ignore)
    for pattern in ignore:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConvertError(
                f"{named('ignore')} must name layers of {what} ({nearest(pattern, names)}), got {pattern!r}"
            )
    return [name for name in names if not any(fnmatchcase(name, pattern) for pattern in ignore)]


def check_ignore(ignore: object) -> None:
    """Raise ConvertError unless the option is a list of names."""
    if not isinstance(ignore, Sequence) or isinstance(ignore, str) or not all(isinstance(n, str) for n in ignore):
        raise ConvertError(f"{named('ignore')} must be a list of names such as ['aux'], got {ignore!r}")


def outermost(paths: Iterable[str], others: Sequence[str]) -> list[str]:
    """Return the modules that hold these layers and none of the others, the largest.

    Examples
    --------
    >>> outermost(["decoder.rnn", "decoder.fc", "head.aux"], ["encoder.rnn", "head.fc"])
    ['decoder', 'head.aux']
    """
    found: dict[str, None] = {}
    for path in paths:
        parts = path.split(".")
        prefixes = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
        found[next((p for p in prefixes if not any(f"{o}.".startswith(f"{p}.") for o in others)), path)] = None
    return list(found)
