"""The inputs of a model: their shapes, which of them are ids or masks, and where their time is."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

from ...errors import ConvertError, GraphError
from ...graph import Spec
from .cells import RECURRENT
from .layers import unwrapped
from .masks import is_mask
from .program import HIDE, SHOW, Program, Source
from .rows import Row
from .values import MAX_ELEMENTS, Layer, shortened

INPUT_DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float16", "float32", "float64", "bool")
INPUT = Row(
    lambda *a: [], "batch_shape batch_input_shape shape dtype", "optional",
    {"sparse": (False, None), "ragged": (False, None), "type_spec": (None,), "dtype": (None, *INPUT_DTYPES)},
)  # fmt: skip
# Layers that pass ids on as they are.
MOVES = ("Reshape", "Flatten", "Permute", "RepeatVector", "Dropout", "Identity", "Concatenate", HIDE, SHOW)


def shape_of(layer: Layer) -> tuple[int | None, ...]:
    """The shape of an input without its batch."""
    shape = next((layer.config[k] for k in ("batch_shape", "batch_input_shape") if layer.config.get(k)), None)
    good = isinstance(shape, list | tuple) and 1 <= len(shape) <= 6
    if not good or not all(n is None or (isinstance(n, int) and not isinstance(n, bool)) for n in shape or ()):
        expected = "[batch, ...] of numbers or null"
        raise ConvertError(f"shape of input {layer.name!r} must be {expected}, got {shortened(shape)}")
    return tuple(shape[1:]) if shape else ()


class Input(NamedTuple):
    """An input: ids where an Embedding reads it, a state where a recurrent layer starts from it.

    Time is the first axis of ids and masks, and of two or more axes unless they are of a state.
    """

    layer: Layer
    shape: tuple[int | None, ...]
    embedded: bool
    masks: bool = False
    state: bool = False

    def spec(self, *, whole: bool) -> Spec:
        """Return the spec of the graph's input, with time as an axis of the frame if `whole`."""
        declared, shape = self.layer.config.get("dtype"), self.shape
        integers = isinstance(declared, str) and "int" in declared and not self.state
        ids = declared != "bool" and (self.embedded or integers)
        stepwise = ids or self.embedded or self.masks
        sequence = shape[:1] == (None,) or (not whole and (len(shape) > 1 or stepwise))
        time = bool(shape) and sequence and not self.state
        frame = shape[1:] if time else shape
        wrong = [n for n in frame if n is None or n < 1]
        if wrong:
            name = self.layer.name
            why = "it is a state, which has no time" if self.state else "only its first axis, time, may be open"
            raise ConvertError(
                f"features of input {name!r} must be a positive number, got {wrong[0]!r} in {self.shape}: {why}"
            )
        try:
            spec = Spec(
                tuple(n for n in frame if n is not None),
                time,
                "bool" if declared == "bool" else "int" if ids else "float",
            )
        except GraphError as error:
            raise ConvertError(f"shape of input {self.layer.name!r}: {error}") from error
        if prod(spec.shape) > MAX_ELEMENTS:
            raise ConvertError(
                f"shape of input {self.layer.name!r} must have at most {MAX_ELEMENTS} elements, got {self.shape}"
            )
        return spec


def id_steps(work: Program) -> set[int]:
    """The steps whose outputs an Embedding reads, itself or through layers that only move numbers."""
    found: set[int] = set()
    for number, step in reversed(list(enumerate(work.steps))):
        if unwrapped(step.layer).class_name == "Embedding" or (step.layer.class_name in MOVES and number in found):
            found.update(o.step for o in step.operands if isinstance(o, Source))
    return found


def mask_steps(work: Program) -> set[int]:
    """The steps whose outputs layers take as masks, themselves or through operations on masks."""
    found: set[int] = set()
    for number, step in reversed(list(enumerate(work.steps))):
        found.update(o.step for o in sources(step.options.get("mask")))
        if number in found and is_mask(step.layer):
            found.update(o.step for o in step.operands if isinstance(o, Source))
    return found


def state_steps(work: Program) -> set[int]:
    """The steps whose outputs recurrent layers start from."""
    recurrent = [s for s in work.steps if s.layer.class_name in (*RECURRENT, "Bidirectional")]
    return {o.step for s in recurrent for o in sources([s.operands[1:], s.options.get("initial_state")])}


def sources(tree: Any) -> Iterator[Source]:
    """Yield all sources in nested lists."""
    if isinstance(tree, Source):
        yield tree
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from sources(item)
