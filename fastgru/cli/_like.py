"""``--like``: a layer that a weights-only file does not describe, as one argument of the command line."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from .. import layers
from .._names import nearest
from ..errors import ConvertError
from ..graph import Bidirectional, Described, Like, Op, like

HELP = (
    "A layer of a weights-only file, in order; repeat for each: 'LSTM name=rnn_1 layout=cudnn', "
    "'GRU reset_after=false', 'Bidirectional(GRU) merge=sum'. Values are JSON or plain words."
)
LAYERS: dict[str, type[Any]] = {
    name: cls
    for name in layers.__all__
    if isinstance(cls := getattr(layers, name), type) and issubclass(cls, Op | Described | Bidirectional)
}


def parse(text: str) -> Like:
    """The `Like` that `text` describes.

    Raises
    ------
    ConvertError, GraphError
        When the layer or an attribute is unknown, or a word is not ``key=value``.

    Examples
    --------
    >>> parse("LSTM name=rnn_1 layout=cudnn").layout
    'cudnn'
    >>> parse("Bidirectional(GRU reset_after=false) merge=sum").inner.attributes
    {'reset_after': False}
    """
    wrapped = re.fullmatch(r"\s*Bidirectional\s*\((.*)\)(.*)", text, re.DOTALL)
    if wrapped:
        return like(Bidirectional, inner=parse(wrapped[1]), **_options(wrapped[2], text))
    name, _, rest = text.strip().partition(" ")
    if name not in LAYERS:
        raise ConvertError(f"layer of --like must be one of {nearest(name, LAYERS)}, got {name!r} in {text!r}")
    return like(LAYERS[name], **_options(rest, text))


def _options(words: str, text: str) -> dict[str, Any]:
    """The ``key=value`` words as keyword arguments."""
    try:
        pairs = [word.partition("=") for word in shlex.split(words)]
    except ValueError as error:
        raise ConvertError(f"quotes of --like must be closed, got {text!r}") from error
    options: dict[str, Any] = {}
    for key, equals, value in pairs:
        if not (equals and key.isidentifier()) or key in options or key in ("op", "inner"):
            word = key + equals + value
            raise ConvertError(f"word of --like must be key=value, each key once, got {word!r} in {text!r}")
        options[key] = _value(value)
    return options


def _value(text: str) -> Any:
    """`text` as JSON where it is JSON, else as it stands."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
