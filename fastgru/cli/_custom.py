"""``--custom``: functions for Keras layers of the user's own, out of modules of theirs."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .._names import nearest
from ..errors import ConvertError

HELP = (
    "Keras: a function for layers of your own, MyLayer=module:function, or module:name of a dict of them or of a "
    "function called as the class; modules of the current folder too. Repeat for each."
)


def read(texts: list[str] | None) -> dict[str, Callable[..., Any]] | None:
    """Import the functions of ``--custom``, by the names of classes or layers; None without any.

    Raises
    ------
    ConvertError
        When a text is of another form, a module cannot be imported, or a name in it is no function or dict of them.

    Examples
    --------
    >>> sorted(read(["Twice=operator:add", "math:floor"]))
    ['Twice', 'floor']
    """
    found: dict[str, Callable[..., Any]] = {}
    for text in texts or ():
        named, equals, place = text.rpartition("=")
        module, colon, attribute = place.partition(":")
        if not (module and colon and attribute) or (equals and not named):
            raise ConvertError(f"--custom must be module:function or MyLayer=module:function, got {text!r}")
        value = _attribute(_module(module, text), attribute, text)
        for name, function in _functions(named, value, text).items():
            if name in found:
                raise ConvertError(f"--custom must give one function for each name, got two for {name!r}")
            found[name] = function
    return found or None


def _functions(named: str, value: Any, text: str) -> Mapping[str, Callable[..., Any]]:
    """Return the functions that a value stands for, by name."""
    if isinstance(value, Mapping) and not named:
        wrong = [f"{k!r}: {type(v).__name__}" for k, v in value.items() if not (isinstance(k, str) and callable(v))]
        if wrong:
            raise ConvertError(f"dict of --custom {text} must be of names and functions, got {', '.join(wrong[:3])}")
        return value
    if not callable(value):
        expected = "a function" if named else "a function or a dict of functions"
        raise ConvertError(f"--custom {text} must name {expected}, got {type(value).__name__}")
    name = named or getattr(value, "__name__", "")
    if not name:
        raise ConvertError(f"--custom must say which class {text} is for: MyLayer={text}")
    return {name: value}


def _module(name: str, text: str) -> Any:
    """Import a module of the environment or of the current folder."""
    try:
        with _current_folder():
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the code of a module may raise
        if (
            isinstance(error, ModuleNotFoundError)
            and error.name is not None
            and f"{name}.".startswith(f"{error.name}.")
        ):
            raise ConvertError(
                f"module of --custom {text} must be in the current folder or installed, got none named {error.name!r}"
            ) from error
        raise ConvertError(
            f"module of --custom {text} must import without an error, got {type(error).__name__}: {error}"
        ) from error


@contextmanager
def _current_folder() -> Iterator[None]:
    """With modules of the current folder ahead of others, as when Python runs one."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _attribute(module: Any, path: str, text: str) -> Any:
    """Return what a dotted name in a module stands for."""
    value = module
    for word in path.split("."):
        if not hasattr(value, word):
            known = nearest(word, [name for name in dir(value) if not name.startswith("_")])
            raise ConvertError(f"name in --custom {text} must be one of {known}, got {word!r}")
        value = getattr(value, word)
    return value
