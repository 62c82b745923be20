"""The oracle of a whole-model file: Keras is imported, and loads the file, when it is first asked."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...errors import OracleError
from .. import LayerOutput
from .inside import Layers
from .oracle import Oracle
from .values import Array, HeldStates, Seen, Version

MAJOR = 3
BACKENDS = (
    "set the environment variable KERAS_BACKEND to torch, numpy or jax, whichever is installed, or install tensorflow"
)
# Where Keras keeps what a model at inference is made of: nothing else is imported on a file's word.
OWN = re.compile(
    r"keras(\.src)?(\.(layers|models|activations|initializers|regularizers|constraints|dtype_policies|ops)(\.\w+)*)?"
)
# Classes that run what a file holds: code, pickles, other files.
RUNNING = ("Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")


class FileOracle:
    """A file's own forward pass, by the Keras that is installed.

    Parameters
    ----------
    path : path
        A whole model, which has been imported.
    config : dict
        Its own config of the model.
    version : Version
        Of the Keras that wrote it.
    seen : sequence of Seen
        As for `Layers`.
    held : HeldStates
        Its inputs and outputs that layers hold.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: dict[str, Any],
        version: Version,
        seen: Sequence[Seen],
        held: HeldStates,
    ) -> None:
        self.path, self.config, self.version, self.seen = os.fspath(path), config, version, seen
        self.held = held
        self._loaded: Oracle | None = None

    def __call__(self, x: Any) -> tuple[Array, ...]:
        return self._asked(lambda oracle: oracle(x))

    @property
    def source(self) -> str:
        """The Keras that answers, once it has: not the one that wrote the file."""
        return "Keras" if self._loaded is None else f"Keras {self._loaded.keras.__version__}"

    def layers(self, x: Any) -> tuple[LayerOutput, ...]:
        """Return the values inside, as `Layers` does."""
        return self._asked(lambda oracle: Layers(oracle, self.seen)(x))

    def _asked(self, question: Callable[[Oracle], tuple[Any, ...]]) -> tuple[Any, ...]:
        """The answer of the loaded model.

        Raises
        ------
        OracleError
            When Keras is not there, does not load the file, or does not run it.
        """
        with _quiet():
            if self._loaded is None:
                self._loaded = self._load()
            try:
                return question(self._loaded)
            except Exception as error:  # whatever its backends raise
                raise OracleError(f"Keras does not run it: {_line(error)}") from error

    def _load(self) -> Oracle:
        if importlib.util.find_spec("keras") is None:
            raise OracleError("keras is not installed")
        if self.version.major != MAJOR:
            wrote = f"{self.version.major}.{self.version.minor}"
            raise OracleError(f"Keras {MAJOR} does not understand all that Keras {wrote} wrote as it was meant")
        foreign = _foreign(self.config)
        if foreign:
            raise OracleError(f"Keras would have to import or run what is not its own: {', '.join(foreign)}")
        try:
            keras = importlib.import_module("keras")
        except Exception as error:  # as of a backend that is not installed
            raise OracleError(f"keras cannot be imported: {_line(error)}; {BACKENDS}") from error
        if Version.of(keras.__version__).major != MAJOR:
            raise OracleError(f"the Keras that is installed must be {MAJOR}, got {keras.__version__}")
        try:
            model = keras.saving.load_model(self.path, compile=False, safe_mode=True)
            own = keras.saving.serialize_keras_object(model)
        except Exception as error:  # whatever a model that Keras no longer knows makes it raise
            raise OracleError(f"Keras does not load it: {_line(error)}") from error
        changed = next(_changed(self.config, own), None)
        if changed:  # Keras 3.15 takes the first of several axes in HDF5 files
            raise OracleError(f"Keras does not load it as it is: {changed}")
        return Oracle(keras, model, self.held)


def _foreign(config: dict[str, Any]) -> list[str]:
    """The classes in a config that are not Keras's own, or run what is in the file."""
    found: list[str] = []
    waiting = [value for key, value in config.items() if key != "compile_config"]  # which Keras is told to leave
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
            module, name = item.get("module"), item.get("class_name")
            if name in RUNNING or (isinstance(module, str) and not OWN.fullmatch(module)):
                found.append(f"{module}.{name}" if isinstance(module, str) else str(name))
        elif isinstance(item, list):
            waiting += item
    return sorted(set(found))[:8]


def _changed(written: Any, loaded: Any, where: str = "model") -> Iterator[str]:
    """Numbers, words and lists of numbers that a loaded model says otherwise than the config that it was made of."""
    first, second = (item.get("config") if isinstance(item, dict) else None for item in (written, loaded))
    if not isinstance(first, dict) or not isinstance(second, dict):
        return
    for key in first.keys() & second.keys():
        a, b = _plain(first[key]), _plain(second[key])
        if a is not None and b is not None and a != b:
            yield f"{key} of {where} is {b} for {a}"
        if key == "layers" and isinstance(first[key], list) and len(first[key]) == len(second[key]):
            for one, other in zip(first[key], second[key], strict=True):
                yield from _changed(one, other, repr(one["config"].get("name")) if isinstance(one, dict) else where)
        elif isinstance(first[key], dict):
            yield from _changed(first[key], second[key], f"{key} in {where}")


def _plain(value: Any) -> Any:
    """A number, a word or a list of more than one number; None for what is none of these."""
    if isinstance(value, list | tuple):
        numbers = [v for v in value if isinstance(v, int | float)]
        return None if len(numbers) < len(value) or not numbers else numbers[0] if len(numbers) == 1 else numbers
    return value if isinstance(value, bool | int | float | str) else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what Keras and its backends say while they load."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
