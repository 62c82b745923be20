"""The networks of a transducer, each a model or a function: the predictor, which reads labels, and the joiner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_array
from ..engine import Stream
from ..engine.search import first_above
from ..running import Running
from . import given
from .given import Doubles

Read = tuple[Any, Any]  # what a predictor gives for the labels so far, and its state behind them


class Stateless:
    """A predictor that sees the last labels alone, for `transducer_greedy` and `transducer_beam`.

    Parameters
    ----------
    function : callable
        ``function(labels)`` returns the output, any array, for the last `context` labels, (context,) int64. In the
        place of labels before the first it finds the `start` of the transducer, the last of which is repeated.
    context : int

    Examples
    --------
    >>> bigram = Stateless(lambda labels: np.eye(3)[labels[-1]], context=1)
    >>> output, state = bigram(2, None)
    >>> output
    array([0., 0., 1.])
    """

    def __init__(self, function: Callable[[NDArray[np.int64]], Any], context: int) -> None:
        if not callable(function):
            raise TypeError(f"function must be callable, got {type(function).__name__}")
        self.function, self.context = function, given.whole(context, "context", 1, given.MOST_WIDTH)

    def __call__(self, label: int, state: tuple[int, ...] | None) -> tuple[Any, tuple[int, ...]]:
        """Return the output behind one more label, and the labels that the next one needs."""
        before = (label,) * self.context if state is None else state
        labels = (*before, label)[-self.context :]
        return self.function(np.array(labels, np.int64)), labels


class Predictor(Protocol):
    """The network that reads labels."""

    one: Callable[..., Any]  # of a function its output and state behind (label, state); of a model its stream's step

    def begin(self, size: int | None) -> Read:
        """Return what it gives before any label but the start; `size` classes, where they are known."""

    def many(self, labels: list[int], states: list[Any]) -> list[Read]:
        """Return what it gives behind each state and label; the states stay."""


class ModelPredictor:
    """A model of ids, such as an Embedding and an LSTM, run as streams."""

    def __init__(self, model: Running, start: tuple[int, ...]) -> None:
        spec = _only(model.inputs, "predictor", "input of labels")
        if spec.dtype != "int" and spec.shape != ():
            raise ValueError(f"predictor must read labels, integer ids of shape (B, T), got a model of {spec}")
        self.shape = _only(model.outputs, "predictor", "output").shape
        self.model, self.start = model, start
        self.stream = model.stream()
        self.streams: dict[int, Stream] = {}
        self.one = self.stream.step

    def begin(self, size: int | None) -> Read:
        most = max(*self.start, (size or 1) - 1)
        try:
            self.stream.step(most)  # shows whether there is an id for it
        except ValueError as error:
            raise _unread([most]) from error
        self.stream.reset()
        for label in self.start:
            output = self.stream.step(label)
        return output, self.stream.state

    def many(self, labels: list[int], states: list[Any]) -> list[Read]:
        stream = self.streams.get(len(labels))
        if stream is None:
            stream = self.streams[len(labels)] = self.model.stream(batch=len(labels))
        shared = {key for key, array in stream.state.items() if np.shape(array) == np.shape(states[0][key])}
        stream.state = {
            key: states[0][key] if key in shared else np.stack([state[key] for state in states]) for key in states[0]
        }
        try:
            outputs, state = stream.step(np.array(labels, np.int64)), stream.state
        except ValueError as error:
            raise _unread(labels) from error
        rows = [{key: array if key in shared else array[i] for key, array in state.items()} for i in range(len(labels))]
        return list(zip(outputs, rows, strict=True))


class FunctionPredictor:
    """``function(label, state)`` returns the output and the next state; the first state is None."""

    def __init__(self, function: Callable[[int, Any], Read], start: tuple[int, ...]) -> None:
        self.function, self.start = function, start

    def begin(self, size: int | None) -> Read:
        read: Read = (None, None)
        for label in self.start:
            read = self.one(label, read[1])
        return read

    def one(self, label: int, state: Any) -> Read:
        found = self.function(label, state)
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(f"predictor must return a pair of its output and its state, got {type(found).__name__}")
        return found

    def many(self, labels: list[int], states: list[Any]) -> list[Read]:
        return [self.one(label, state) for label, state in zip(labels, states, strict=True)]


class Joiner:
    """The network that gives logits of an encoder's frame and a predictor's output; `size` classes, once known."""

    def __init__(self, joiner: Any) -> None:
        self.model = joiner if isinstance(joiner, Running) else None
        self.size: int | None = None
        self.frame: tuple[int, ...] | None = None  # of the encoder
        self.read: tuple[int, ...] | None = None  # of the predictor
        if self.model is not None:
            inputs, outputs = self.model.inputs, self.model.outputs
            if len(inputs) != 2:
                names = ", ".join(map(repr, inputs))
                raise ValueError(f"joiner must have two inputs, the encoder's frame and the predictor's, got {names}")
            self.frame, self.read = (spec.shape for spec in inputs.values())
            self.size = _only(outputs, "joiner", "output").shape[-1]
            self.stream = self.model.stream()
            if self.stream.state:
                raise ValueError(f"joiner must have no state, got {', '.join(self.stream.state)}")
            self.streams: dict[int, Stream] = {}
        self.function = joiner
        self.one: Callable[..., Any] = self.given if self.model is None else self.stream.step

    def many(self, frame: NDArray[Any], reads: list[Any]) -> Doubles:
        """Return logits (n, V) of one frame and several outputs of the predictor.

        Raises
        ------
        ValueError
            When one of them is NaN or infinity.
        """
        if self.model is None:
            logits = np.stack([self.given(frame, read) for read in reads])
        else:
            stream = self.streams.get(len(reads))
            if stream is None:
                stream = self.streams[len(reads)] = self.model.stream(batch=len(reads))
            logits = stream.step((np.broadcast_to(frame, (len(reads), *frame.shape)), np.stack(reads)))
        found: Doubles = np.array(logits, np.float64, order="C")
        if first_above(found, given.MOST_FINITE) < found.size:
            raise not_numbers()
        return found

    def given(self, frame: NDArray[Any], read: Any) -> Doubles:
        """Return the logits of a function, checked."""
        array = as_array(self.function(frame, read), "output of joiner")
        if array.dtype.kind not in "fiu":
            raise TypeError(f"joiner must return real numbers, got {array.dtype}")
        if array.ndim != 1 or array.size != (array.size if self.size is None else self.size) or not array.size:
            expected = "(V,)," if self.size is None else f"({self.size},), as before,"
            raise ValueError(f"joiner must return logits of shape {expected} got {array.shape}")
        self.size = array.size
        return np.asarray(array, np.float64)


def not_numbers() -> ValueError:
    """Return the error of logits that are none."""
    return ValueError("joiner must return logits, or log-probabilities, below infinity, got NaN or infinity")


def predictor_of(predictor: Any, start: Sequence[int]) -> ModelPredictor | FunctionPredictor:
    """Return a predictor in the form that the search calls.

    Raises
    ------
    ValueError, TypeError
        When it is none.
    """
    if isinstance(predictor, Running):
        return ModelPredictor(predictor, tuple(start))
    if not callable(predictor):
        raise TypeError(f"predictor must be a model or a function of a label and a state, got {_kind(predictor)}")
    return FunctionPredictor(predictor, tuple(start))


def joiner_of(joiner: Any) -> Joiner:
    """The same of a joiner."""
    if not isinstance(joiner, Running) and not callable(joiner):
        raise TypeError(
            f"joiner must be a model or a function of a frame and the predictor's output, got {_kind(joiner)}"
        )
    return Joiner(joiner)


def _unread(labels: list[int]) -> ValueError:
    return ValueError(f"predictor must have an id for every class and label of start, got none for {max(labels)}")


def _kind(x: Any) -> str:
    return "None" if x is None else type(x).__name__


def _only(specs: dict[str, Any], who: str, what: str) -> Any:
    if len(specs) != 1:
        raise ValueError(f"{who} must have one {what}, got {', '.join(map(repr, specs))}")
    (spec,) = specs.values()
    return spec
