"""What a decoder starts from: the outputs and final states of an encoder, and the inputs beside its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_array
from .._hints import either
from .._names import nearest
from .network import Network
from .prompts import checked_ids
from .sources import Context

if TYPE_CHECKING:
    from ..running import Running

Array = NDArray[Any]
Found = dict[str, list[Array]]  # by the names of outputs and states, a value for each sequence


def context(
    network: Network, encoder: Any, encoder_input: Any, states: Any, threads: int | None
) -> tuple[Context, int, bool]:
    """Return what rows start from, how many there are of it, and whether that is one without a list around it.

    There are 0 where the model has nothing but its prompt.

    Parameters
    ----------
    encoder, encoder_input, states
        As `Model.generate` takes them.

    Raises
    ------
    ValueError, TypeError
    """
    if encoder is None:
        if states is not None:
            raise ValueError("states must come with an encoder, whose outputs they name, got no encoder")
        if encoder_input is None:
            if network.others:
                others = nearest(None, network.others)
                raise ValueError(
                    either(
                        f"encoder_input must hold the model's other inputs, {others}, got none",
                        f"model must have one input, that of the prompt, got {others}, too: generate in Python, where "
                        "Model.generate takes encoder_input=",
                    )
                )
            return Context({}, {}), 0, True
        inputs, single = _other_inputs(network, encoder_input)
        return Context({}, inputs), len(next(iter(inputs.values()))), single
    if not hasattr(encoder, "_signature"):
        raise TypeError(f"encoder must be a model of fastgru, got {type(encoder).__name__}")
    if encoder_input is None:
        raise ValueError("encoder_input must hold what the encoder reads, got none")
    wanted = _wanted(network, encoder, states)
    columns, single = _rows_of(encoder, encoder_input, list(encoder.inputs))
    found, count = _encoded(encoder, columns, threads)
    return _connected(network, wanted, found), count, single


def _state_shapes(model: Running) -> dict[str, tuple[int, ...]]:
    """Return the shape of each state of a row, as `Stream.state` has them: without steps kept and last outputs."""
    return {key: shape for key, _, name, shape in model._plan.states if name in ("h", "c", "")}


def _wanted(network: Network, encoder: Running, states: Any) -> dict[str, str]:
    """Return the output or state of the encoder for each state and other input of the decoder.

    Checked by their shapes, before the encoder runs.
    """
    own = _state_shapes(network.model)
    takes = {**own, **{name: network.model.inputs[name].shape for name in network.others}}
    timed = {name for name, spec in encoder.outputs.items() if spec.time}
    gives = {name: spec.shape for name, spec in encoder.outputs.items()}
    gives.update((key, shape) for key, shape in _state_shapes(encoder).items() if key not in gives)
    if states is not None:
        if not isinstance(states, Mapping):
            raise TypeError(
                "states must be a mapping of the decoder's states and inputs to the encoder's outputs and states, got "
                f"{type(states).__name__}"
            )
        wanted = {str(key): str(name) for key, name in states.items()}
    else:
        wanted = _matched(own, takes, encoder, gives, timed)
    for key, name in wanted.items():
        if key not in takes:
            raise ValueError(f"key of states must be one of {nearest(key, takes)}, got {key!r}")
        if name not in gives:
            raise ValueError(f"states[{key!r}] must be one of the encoder's {nearest(name, gives)}, got {name!r}")
        steps = name in timed
        takes_steps = key in network.others and network.model.inputs[key].time
        if takes[key] != gives[name] or steps != takes_steps:
            raise ValueError(
                f"{key!r} of the decoder must be given {_shown(takes[key], takes_steps)}, got {name!r} of the encoder, "
                f"{_shown(gives[name], steps)}"
            )
    missing = [name for name in network.others if name not in wanted]
    if missing:
        raise ValueError(f"states must name the encoder's output for input {missing[0]!r} of the decoder, got none")
    return wanted


def _matched(
    own: Mapping[str, Any], takes: Mapping[str, Any], encoder: Running, gives: Mapping[str, Any], timed: set[str]
) -> dict[str, str]:
    """Pair what a decoder takes with what an encoder gives where one order alone is meant: the encoder's outputs
    without time, or its final states, as many as those of the decoder and of their shapes."""
    for wanted in (takes, own):
        for names in ([n for n in encoder.outputs if n not in timed], list(_state_shapes(encoder))):
            if wanted and [gives[n] for n in names] == list(wanted.values()):
                return dict(zip(wanted, names, strict=True))
    raise ValueError(
        f"states must say which of the encoder's outputs and states ({_listed(gives, timed)}) the decoder's "
        f"({_listed(takes, set())}) start from, as a mapping such as {{{next(iter(takes), 'gru.h')!r}: "
        f"{next(iter(gives))!r}}}: their shapes do not pair one by one"
    )


def _encoded(encoder: Running, columns: Found, threads: int | None) -> tuple[Found, int]:
    """Run an encoder over sequences, those of one length together; returns its outputs and final states."""
    specs = encoder.inputs
    count = len(next(iter(columns.values())))
    kinds = [tuple(len(columns[name][i]) if spec.time else 0 for name, spec in specs.items()) for i in range(count)]
    found: Found = {}
    for kind in sorted(set(kinds)):
        rows = [i for i, own in enumerate(kinds) if own == kind]
        x = {name: np.stack([columns[name][i] for i in rows]) for name in specs}
        y, final = encoder(x if len(specs) > 1 else next(iter(x.values())), return_state=True, threads=threads)
        outputs = dict(zip(encoder.outputs, y if isinstance(y, tuple) else (y,), strict=True))
        for name, array in {**final, **outputs}.items():
            values = found.setdefault(name, [np.empty(0)] * count)
            for i, row in zip(rows, array, strict=True):
                values[i] = row
    return found, count


def _connected(network: Network, wanted: Mapping[str, str], found: Found) -> Context:
    inputs: dict[str, Sequence[Array]] = {}
    states: dict[str, Array] = {}
    for key, name in wanted.items():
        if key in network.others:
            inputs[key] = found[name]
        else:
            states[key] = np.stack(found[name])
    return Context(states, inputs)


def _other_inputs(network: Network, given: Any) -> tuple[Found, bool]:
    """Return the inputs beside the prompt, a value for each row, and whether one was given without a list."""
    if not network.others:
        raise ValueError(
            f"encoder_input must be omitted for a model with one input, {network.name!r}, and no encoder, got some: "
            "give the encoder, too"
        )
    return _rows_of(network.model, given, network.others)


def _rows_of(model: Running, given: Any, names: Sequence[str]) -> tuple[Found, bool]:
    """Return sequences or frames of inputs, a list of rows for each, and whether one was given without a list."""
    title = "encoder_input"
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise ValueError(f"{title} must have the inputs {nearest(None, names)}, got {nearest(None, given)}")
        columns = dict(given)
    elif len(names) > 1:
        if not isinstance(given, tuple) or len(given) != len(names):
            raise ValueError(f"{title} must be a mapping of the inputs {nearest(None, names)}, got {_kind(given)}")
        columns = dict(zip(names, given, strict=True))
    else:
        columns = {names[0]: given}
    read = {
        name: _rows(model, name, columns[name], f"{title}[{name!r}]" if len(names) > 1 else title) for name in names
    }
    found = {name: rows for name, (rows, _) in read.items()}
    counts = {name: len(rows) for name, rows in found.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"{title} must have as many rows for each input, got {counts}")
    return found, all(single for _, single in read.values())


def _rows(model: Running, name: str, given: Any, title: str) -> tuple[list[Array], bool]:
    """Return the rows of one input: a sequence, or a list or batch of them; and whether it was one alone."""
    spec = model.inputs[name]
    axes = spec.time + len(spec.shape)
    if isinstance(given, list | tuple) and given and all(np.ndim(_first(item)) for item in given):
        items = [as_array(item, f"{title}[{i}]") for i, item in enumerate(given)]
        single = items[0].ndim != axes
        items = [as_array(given, title)] if single else items
    else:
        array = as_array(given, title)
        single = array.ndim <= axes
        items = [array] if single else list(array)
    if not items:
        raise ValueError(f"{title} must have at least one row, got none")
    for i, item in enumerate(items):
        _check_row(model, name, item, title if single else f"{title}[{i}]")
    return items, single


def _check_row(model: Running, name: str, item: Array, title: str) -> None:
    """Raise ValueError unless an array is a sequence, or a frame, of an input."""
    spec = model.inputs[name]
    if spec.time and item.ndim and not len(item):
        raise ValueError(f"{title} must have at least one step, got none")
    ids = spec.dtype == "int"
    fits = item.ndim == spec.time + len(spec.shape) and item.shape[int(spec.time) :] == spec.shape
    if not fits or item.dtype.kind not in ("iu" if ids else "fiub"):
        expected = _shown(spec.shape, spec.time)
        kind = "integer ids" if ids else "numbers"
        raise ValueError(f"{title} must be {kind} of shape {expected}, got {item.dtype} of shape {item.shape}")
    if ids:
        checked_ids(item.ravel(), model._plan.bound(name), title)
    elif not np.isfinite(item).all():
        raise ValueError(f"{title} must be finite numbers, got NaN or infinity")


def _first(item: Any) -> Any:
    return item if not isinstance(item, list | tuple) else np.empty(len(item))


def _kind(given: Any) -> str:
    return f"{len(given)} arrays" if isinstance(given, tuple) else type(given).__name__


def _shown(shape: tuple[int, ...], time: bool) -> str:
    axes = ["T"] * time + [str(n) for n in shape]
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def _listed(shapes: Mapping[str, tuple[int, ...]], timed: set[str]) -> str:
    return ", ".join(f"{name} {_shown(shape, name in timed)}" for name, shape in shapes.items()) or "none"
