"""The checks on what a caller gives to a model: extents of the inputs, states, and which steps count."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import as_array

if TYPE_CHECKING:
    from .engine import Plan

RAGGED = (
    "give model.predict(x) sequences of unequal length, or pad them to one length and give the steps of each as lengths"
)


def extent(plan: Plan, x: Any, *, only_rows: bool) -> tuple[int | None, int | None]:
    """Return the rows and steps of the first input with time; None for an axis that is not there.

    Parameters
    ----------
    only_rows : bool
        Whether no input has time: a row of the inputs may then come alone.

    Raises
    ------
    ValueError, TypeError
        When the first input with time has another number of axes, or no rows and no steps.
    """
    first, name = 0, "x"
    if len(plan.inputs) > 1 or isinstance(x, Mapping):
        timed = [i for i, v in enumerate(plan.inputs) if plan.sizes[v][1]]
        first = timed[0] if timed else 0
        name = f"x[{plan.names[plan.inputs[first]]!r}]"
        given = x
        if isinstance(x, Mapping):
            x = x.get(plan.names[plan.inputs[first]])
        else:
            x = x[first] if isinstance(x, tuple | list) and len(x) > first else None
        if x is None:
            names = ", ".join(repr(plan.names[v]) for v in plan.inputs)
            got = list(given) if isinstance(given, Mapping) else type(given).__name__
            raise ValueError(f"x must be a tuple or a mapping of the inputs {names}, got {got}")
    if x is None or isinstance(x, str | bytes):
        raise TypeError(f"{name} must be an array of numbers, got {x if x is None else repr(x[:40])}")
    shape, value = x.shape if isinstance(x, np.ndarray) else as_array(x, name, ragged=RAGGED).shape, plan.inputs[first]
    rank = 0 if plan.sizes[value][0] == 0 else len(plan.shapes[value])
    ranks = [rank] * only_rows + [rank + 1, rank + 2]
    frame = tuple(plan.shapes[value][:rank])
    if len(shape) not in ranks or (only_rows and len(shape) == rank + 1 and shape[1:] != frame):
        axes = [frame, ("B", *frame)] if only_rows else [("T", *frame), ("B", "T", *frame)]
        expected = " or ".join(f"({', '.join(map(str, each))})" for each in axes)
        raise ValueError(f"{name} must have shape {expected}, got {shape}{_axes_told(expected)}")
    if len(shape) == rank + 2 and shape[:2] == (0, 0):
        raise ValueError(f"{name} must have at least one step, got shape {shape}")
    if len(shape) == rank:
        return None, None
    return (None, shape[0]) if len(shape) == rank + 1 else (shape[0], shape[1])


def several_given(count: int, inputs: Collection[str]) -> TypeError:
    """Return the error of a call with several positional arguments."""
    if len(inputs) > 1:
        names = ", ".join(map(repr, inputs))
        together = f"({', '.join(inputs)})" if all(map(str.isidentifier, inputs)) else "them as one tuple"
        return TypeError(
            f"x must be a tuple or a mapping of the inputs {names}, got {count} arguments: give {together}"
        )
    (name,) = inputs
    return TypeError(
        f"x must be the model's one input {name!r}, got {count} arguments: name the others, such as state=, or give "
        "model.predict a list of sequences"
    )


def longest(plan: Plan, x: Any, batch: int | None, steps: int, *, counts: bool) -> int:
    """Return the most steps of any input, where inputs may have numbers of their own; `steps` is that of the first.

    Parameters
    ----------
    counts : bool
        Whether lengths or a mask were given, which count the steps of all inputs alike.

    Raises
    ------
    ValueError
        When they were, and the inputs differ.
    """
    names = [plan.names[v] for v in plan.inputs]
    given = x if isinstance(x, Mapping) else dict(zip(names, x, strict=False))
    axis = 0 if batch is None else 1
    found = {
        name: np.shape(given[name])[axis]
        for name, v in zip(names, plan.inputs, strict=True)
        if plan.sizes[v][1] and name in given and np.ndim(given[name]) > axis
    }
    if counts and len(set(found.values())) > 1:
        raise ValueError(
            f"lengths and mask must be omitted where inputs have different numbers of steps, got {found}: call the "
            "model with rows of one length"
        )
    return max(found.values(), default=steps)


def _axes_told(expected: str) -> str:
    """Explain the letters of a shape: what each counts."""
    told = [f"{letter} counts {what}" for letter, what in (("T", "steps"), ("B", "sequences")) if letter in expected]
    return f" ({', '.join(told)})"


def one_row(x: Any) -> Any:
    """Return zeros in the place of inputs without rows: a row of each.

    Raises
    ------
    ValueError
        When only some of the inputs have none.
    """
    several = isinstance(x, tuple | list | Mapping)
    given = dict(x) if isinstance(x, Mapping) else dict(enumerate(x if several else (x,)))
    arrays = {name: as_array(array, "x") for name, array in given.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if any(shape[:1] != (0,) for shape in shapes.values()):
        raise ValueError(f"inputs must have one number of rows, got shapes {', '.join(map(str, shapes.values()))}")
    rows = {name: np.zeros((1, *array.shape[1:]), array.dtype) for name, array in arrays.items()}
    return rows if isinstance(x, Mapping) else tuple(rows.values()) if several else rows[0]


def check_alike(given: Mapping[Any, Any], expected: Mapping[Any, Any], name: str) -> None:
    """Raise ValueError unless arrays have the keys and shapes that are expected."""
    shapes = [{key: getattr(array, "shape", None) for key, array in some.items()} for some in (expected, given)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{name} must have arrays of shapes {shapes[0]}, got {shapes[1]}")


def as_state(state: Any) -> dict[str, Any]:
    if not isinstance(state, Mapping):
        raise TypeError(f"state must be a dict of arrays, got {type(state).__name__}")
    return dict(state)


def lengths_apart(x: Any, lengths: Any, name: str, inputs: Collection[str]) -> tuple[Any, Any]:
    """Part inputs from the lengths beside them: those of that name in a mapping, or the last of a tuple.

    Raises
    ------
    ValueError
        When a mapping has other names, or lengths are given twice.
    """
    if isinstance(x, Mapping):
        if not set(inputs) <= set(x) <= {*inputs, name}:
            expected = ", ".join(map(repr, inputs))
            raise ValueError(f"x must have the inputs {expected}, and {name!r} for lengths if any, got {list(x)}")
        given = x.get(name)
        x = {key: value for key, value in x.items() if key != name}
    elif isinstance(x, tuple) and len(x) == len(inputs) + 1 and np.ndim(x[0]) > 1 and np.ndim(x[-1]) < 2:
        x, given = (x[:-1] if len(inputs) > 1 else x[0]), x[-1]
    else:
        return x, lengths
    if lengths is not None and given is not None:
        raise ValueError(f"lengths must be given once, got them as {name!r} in x, too")
    return x, lengths if given is None else given


def counted_steps(lengths: Any, mask: Any, batch: int | None, steps: int) -> Any:
    """`lengths` or `mask` as a (B, T) bool array, or None where every step counts."""
    if lengths is None and mask is None:
        return None
    if lengths is not None and mask is not None:
        raise ValueError("lengths must be omitted when mask is given, got both")
    rows = 1 if batch is None else batch
    if lengths is not None:
        return np.arange(steps) < checked_lengths(lengths, batch, steps).reshape(rows, 1)
    array = as_array(mask, "mask")
    expected = (steps,) if batch is None else (batch, steps)
    if array.shape != expected or array.dtype != bool:
        raise ValueError(f"mask must be bool of shape {expected}, got {array.dtype} of shape {array.shape}")
    return array.reshape(rows, steps)


def check_counted(whole: tuple[str, str] | None) -> None:
    """Raise ValueError where steps that do not count would have a part in the whole: a node folds or turns round all.

    Layers that look at some steps around each see what stands behind a row's length, as they do in the frameworks; a
    sequence that is turned round or folded is another one.
    """
    if whole is not None:
        name, kind = whole
        raise ValueError(
            f"lengths and mask must be omitted where all steps of a row are turned round or folded, as by {name!r} "
            f"({kind}): give model.predict a list of sequences, or call the model with rows of one length"
        )


def checked_lengths(lengths: Any, batch: int | None, steps: int) -> NDArray[Any]:
    """Return `lengths` as an array, (B,) or of one number; ValueError unless each is an integer in 0..`steps`."""
    array = as_array(lengths, "lengths")
    expected = () if batch is None else (batch,)
    if batch is None and array.shape:
        raise ValueError(f"lengths must be one integer for an input without a batch axis, got shape {array.shape}")
    if array.shape != expected or array.dtype.kind not in "iu":
        raise ValueError(f"lengths must be integers of shape {expected}, got {array.dtype} of shape {array.shape}")
    if array.size and (array.min() < 0 or array.max() > steps):
        raise ValueError(f"lengths must lie in 0..{steps}, got {array.min() if array.min() < 0 else array.max()}")
    return array
