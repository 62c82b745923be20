"""Options in messages: in Python's words, or in those of the command line where a command runs.

A converter says ``f"fix them with {option('shapes')}"`` and need not know who reads it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_in_command = ContextVar("in_command", default=False)
# Arguments of `fastgru.convert` and `Model.quantize` that the command line calls otherwise than --argument.
OTHERWISE = {"shapes": "--shape", "states": "--state", "example_inputs": "--example"}


@contextmanager
def command_line() -> Iterator[None]:
    """Let messages that are made in the block speak of the options of the command line."""
    token = _in_command.set(True)
    try:
        yield
    finally:
        _in_command.reset(token)


def either(python: str, command: str) -> str:
    """Return the one of two wordings that the reader understands."""
    return command if _in_command.get() else python


def named(argument: str) -> str:
    """Return the name of an argument in a sentence that speaks of it.

    Examples
    --------
    >>> named("states")
    'states'
    >>> with command_line():
    ...     named("states"), named("max_error")
    ('--state', '--max-error')
    """
    return either(argument, OTHERWISE.get(argument) or f"--{argument.replace('_', '-')}")


def option(argument: str) -> str:
    """Return an argument as what to write.

    Examples
    --------
    >>> option("shapes")
    'shapes='
    """
    return either(f"{argument}=", named(argument))


def given(argument: str, value: str) -> str:
    """Return an argument with its value, to copy.

    Examples
    --------
    >>> given("key", "generator")
    "key='generator'"
    >>> with command_line():
    ...     given("key", "the generator")
    "--key 'the generator'"
    """
    return either(f"{argument}={value!r}", f"{named(argument)} {shlex.quote(value)}")


def like_item(op: str | None, /, *, inner: str | None = None, **attributes: Any) -> str:
    """Return an item of ``like``; a class of None is left open.

    Examples
    --------
    >>> like_item("GRU", name="rnn", reset_after=False)
    "like(GRU, name='rnn', reset_after=False)"
    >>> with command_line():
    ...     like_item("GRU", name="rnn", reset_after=False), like_item("Bidirectional", inner=like_item("LSTM"))
    ('GRU name=rnn reset_after=false', 'Bidirectional(LSTM)')
    """
    if _in_command.get():
        words = [f"{key}={shlex.quote(_value(value))}" for key, value in attributes.items()]
        return " ".join([f"{op or '...'}({inner})" if inner else op or "...", *words])
    within = [f"inner={inner}"] if inner else []
    return f"like({', '.join([op or '...', *(f'{k}={v!r}' for k, v in attributes.items()), *within])})"


def _value(value: Any) -> str:
    """Return a value as ``--like`` takes it: a plain word where it reads as itself, else JSON."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        json.loads(value)
    except ValueError:
        return value
    return json.dumps(value)  # the name '1' is no number


def like_option(items: Sequence[str]) -> str:
    """Return the whole option ``like`` of items that `like_item` made, to copy.

    Examples
    --------
    >>> like_option([like_item("GRU"), like_item("Dense")])
    'like=[like(GRU), like(Dense)]'
    >>> with command_line():
    ...     like_option([like_item("GRU", name="rnn"), like_item("Dense")])
    "--like 'GRU name=rnn' --like Dense"
    """
    return either(f"like=[{', '.join(items)}]", " ".join(f"--like {shlex.quote(item)}" for item in items))


def labelled(axes: Any) -> str:
    """Return the labels of axes as they are given.

    Examples
    --------
    >>> labelled(("B", None))
    "('B', None)"
    >>> with command_line():
    ...     labelled(("B", None))
    'B,-'
    """
    if not isinstance(axes, tuple | list):
        return repr(axes)
    return either(repr(axes), ",".join("-" if label is None else str(label) for label in axes))
