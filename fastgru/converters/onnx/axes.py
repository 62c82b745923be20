"""Decides what the axes of a model's inputs are: the batch, time, or of fixed size."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from onnx import GraphProto, ValueInfoProto

from ..._hints import either, labelled, named, option
from ..._names import nearest
from ...errors import ConvertError, listed
from ..program.sizes import BATCH, TIME
from .call import dtype_of

# How exporters and people call them, in small letters and without separators.
NAMES: dict[str, str] = {
    **dict.fromkeys(("b", "n", "bs", "batch", "batches", "batchsize", "batchdim", "nbatch", "numbatch"), BATCH),
    **dict.fromkeys(
        ("t", "l", "s", "time", "times", "timestep", "timesteps", "numtimesteps", "timedim", "seq", "seqlen",
         "seqlength", "sequence", "sequencelen", "sequencelength", "len", "length", "frame", "frames", "numframes",
         "nframes", "step", "steps", "numsteps", "nsteps"), TIME),
}  # fmt: skip
MOST_CANDIDATES = 16
LABELS = (BATCH, TIME)

Layout = tuple[str | int, ...]  # of one input: "B", "T", or a fixed size, for each axis


@dataclass(frozen=True)
class Declared:
    """An input as the file declares it: fixed sizes, names of others, and None for those without either."""

    name: str
    elem: int
    dims: tuple[int | str | None, ...] | None

    @property
    def dtype(self) -> str:
        """The graph's kind of number."""
        return dtype_of(self.elem)


def declared_inputs(graph: GraphProto) -> dict[str, Declared]:
    """The inputs that are no initializers.

    Raises
    ------
    ConvertError
        When one is no tensor, or of no type or size that a graph can have.
    """
    fixed = {t.name for t in graph.initializer}
    found, problems = {}, []
    for value in graph.input:
        if value.name not in fixed:
            try:
                found[value.name] = declared(value)
            except ConvertError as error:
                problems.append(f"input {value.name!r}: {error}")
    if problems:
        raise ConvertError(listed(problems))
    return found


def declared(value: ValueInfoProto) -> Declared:
    """What the file says of an input or output."""
    if not value.type.HasField("tensor_type"):
        kind = value.type.WhichOneof("value")
        raise ConvertError(f"type must be a tensor, got {(kind or 'none').removesuffix('_type')}")
    tensor = value.type.tensor_type
    dtype_of(tensor.elem_type)
    if not tensor.HasField("shape"):
        return Declared(value.name, tensor.elem_type, None)
    dims = tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in tensor.shape.dim)
    if any(isinstance(d, int) and d < 0 for d in dims):
        raise ConvertError(f"sizes must be at least 0, got {list(dims)}")
    return Declared(value.name, tensor.elem_type, dims)


def candidates(
    inputs: Mapping[str, Declared],
    shapes: Mapping[str, Sequence[int | None]],
    axes: Mapping[str, Sequence[str | None]],
) -> tuple[list[dict[str, Layout]], list[str]]:
    """Layouts of all inputs that may be meant, the likeliest first; and what of them is a guess.

    Names of `NAMES`, `shapes` and `axes` decide; sizes that remain are taken for batch and time in every order, the
    batch before time first. Names of one letter are no more than a hint: N is a batch, a number of steps, or anything.

    Raises
    ------
    ConvertError
        Listing what `shapes` and `axes` get wrong, and every size that cannot be told without them.
    """
    known: dict[str, list[str | int | None]] = {}
    keys: dict[tuple[str, int], str] = {}  # of a size that is not told: its name, or its place
    named_as: dict[str, str] = {}  # what names say of these
    problems = [f"{named(what)} must name inputs ({nearest(n, inputs)}), got {n!r}" for what, given in
                (("shapes", shapes), ("axes", axes)) for n in given if n not in inputs]  # fmt: skip
    for name, value in inputs.items():
        try:
            dims = _with_axes(value, _with_shape(value, shapes.get(name)), axes.get(name))
        except ConvertError as error:
            problems.append(f"input {name!r}: {error}")
            continue
        known[name] = [_label(d) for d in dims]
        if 0 in known[name]:
            problems.append(
                f"sizes of input {name!r} must be at least 1 (or the input given by {option('fix')}), got {list(dims)}"
            )
        for i, (dim, label) in enumerate(zip(dims, known[name], strict=True)):
            if label is None:
                keys[name, i] = str(dim) if dim is not None else f"{name}[{i}]"
            elif isinstance(label, str) and not isinstance(dim, _Label) and len(str(dim)) == 1:
                keys[name, i] = str(dim)
                named_as[str(dim)] = label
    if problems:
        raise ConvertError(listed(problems))
    every = list(dict.fromkeys(keys.values()))
    guesses = [key for key in every if key not in named_as]
    if len(LABELS) ** len(every) > MOST_CANDIDATES:
        every = guesses  # names are then taken at their word
    keys = {place: key for place, key in keys.items() if key in every}
    open_ = {n: [None if (n, i) in keys else d for i, d in enumerate(labels)] for n, labels in known.items()}
    found = list(_assignments(open_, keys, every)) if len(LABELS) ** len(every) <= MOST_CANDIDATES else []
    if not found:
        raise ConvertError(listed(_open(known, keys)))
    return sorted(found, key=lambda layout: _unlikely(layout, keys, named_as)), guesses


def _unlikely(
    layout: Mapping[str, Layout], keys: Mapping[tuple[str, int], str], named_as: Mapping[str, str]
) -> tuple[int, int]:
    """Count the names that say otherwise, and the inputs that have another order than batch before time."""
    wrong = {key for (name, i), key in keys.items() if named_as.get(key, layout[name][i]) != layout[name][i]}
    turned = sum(
        labels.index(TIME) == 0 if TIME in labels else BATCH in labels and labels.index(BATCH) > 0
        for labels in layout.values()
    )
    return len(wrong), turned


def over_steps(
    layouts: Sequence[dict[str, Layout]], sequences: Sequence[tuple[str, int, int]], told: Collection[str]
) -> list[dict[str, Layout]]:
    """Layouts with time where recurrences run that the file has for a number of steps.

    Parameters
    ----------
    layouts : sequence of dict
        As the file and its names have them.
    sequences : sequence of (str, int, int)
        A value, an axis of it, and how many steps the file has of a recurrence over it.
    told : collection of str
        Inputs of which the caller said what the axes are.

    Returns
    -------
    layouts : list of dict
        The likeliest first.
    """
    found: list[dict[str, Layout]] = []
    for layout in layouts:
        direct = [(name, axis) for name, axis, _ in sequences if name in layout]
        timed = [_timed(layout, places, told) for places in ([direct] if direct else _places(layout, sequences))]
        for each in timed:
            if each is not None:
                found += [rows for rows in (_with_rows(each, layout, told), each) if rows not in found]
    return found


def _places(layout: Mapping[str, Layout], sequences: Sequence[tuple[str, int, int]]) -> Iterator[list[tuple[str, int]]]:
    """Return where time may be if recurrences run over what is computed: as told, over their steps, or elsewhere."""
    told = [(name, labels.index(TIME)) for name, labels in layout.items() if TIME in labels]
    if told:
        yield told
        return
    for count in dict.fromkeys(count for _, _, count in sequences):
        same = [(name, labels.index(count)) for name, labels in layout.items() if count in labels]
        if same:
            yield same
    for name, labels in layout.items():
        for axis, n in enumerate(labels):
            if isinstance(n, int) and n > 1:
                yield [(name, axis)]


def _timed(
    layout: Mapping[str, Layout], places: Sequence[tuple[str, int]], told: Collection[str]
) -> dict[str, Layout] | None:
    """A layout with time in these places; None where they are something else, or have no place."""
    new = {name: list(labels) for name, labels in layout.items()}
    for name, axis in places:
        if isinstance(new[name][axis], int) and name not in told:
            new[name][axis] = TIME
        elif new[name][axis] != TIME:
            return None
    if not places or any(labels.count(TIME) > 1 for labels in new.values()):
        return None
    return {name: tuple(labels) for name, labels in new.items()}


def _with_rows(timed: Mapping[str, Layout], before: Mapping[str, Layout], told: Collection[str]) -> dict[str, Layout]:
    """A layout in which the axis of fixed size beside time is the batch, and that of its size of other inputs.

    Nothing is lost where it is none: a layout in which rows are not apart has no translation.
    """
    new = dict(timed)
    sizes = set()
    for name, labels in timed.items():
        if (
            labels != before[name]
            and BATCH not in labels
            and name not in told
            and labels.index(TIME) < 2 <= len(labels)
        ):
            axis = 1 - labels.index(TIME)
            if len(labels) > 2 or axis == 0:
                sizes.add(labels[axis])
                new[name] = _labelled(labels, axis)
    for name, labels in timed.items():
        axis = len(labels) - 2  # (B, H), or (layers, B, H)
        if (
            new[name] == labels
            and BATCH not in labels
            and axis in (0, 1)
            and labels[axis] in sizes
            and name not in told
        ):
            new[name] = _labelled(labels, axis)
    return new


def _labelled(labels: Layout, axis: int) -> Layout:
    return (*labels[:axis], BATCH, *labels[axis + 1 :])


def _with_shape(value: Declared, shape: Sequence[Any] | None) -> list[Any]:
    """The declared sizes, those of `shape` in place of what is not fixed."""
    if shape is None:
        if value.dims is None:
            raise ConvertError(f"number of axes must be given by {option('shapes')}, got a model without it")
        return list(value.dims)
    if not isinstance(shape, Sequence):
        raise ConvertError(f"shape must be a sequence of sizes, got {shape!r}")
    own = value.dims or (None,) * len(shape)
    if len(shape) != len(own):
        raise ConvertError(f"shape must have {len(own)} entries for {list(own)}, got {tuple(shape)}")
    wrong = [
        (d, n) for d, n in zip(own, shape, strict=True)
        if n is not None and (not isinstance(n, int) or n < 1 or (isinstance(d, int) and d != n))
    ]  # fmt: skip
    if wrong:
        raise ConvertError(f"shape must fit {list(own)} with sizes of at least 1, got {tuple(shape)}")
    return [d if n is None else n for d, n in zip(own, shape, strict=True)]


class _Label(str):
    """A label that the caller gave, unlike a size's name."""

    __slots__ = ()


def _with_axes(value: Declared, dims: list[Any], axes: Sequence[str | None] | None) -> list[Any]:
    """The sizes with labels that the caller gave in their places."""
    if axes is None:
        return dims
    if not isinstance(axes, Sequence) or len(axes) != len(dims) or any(a not in (*LABELS, None) for a in axes):
        raise ConvertError(f"axes must be {len(dims)} of 'B', 'T' and {either('None', '-')}, got {labelled(axes)}")
    if any(axes.count(label) > 1 for label in LABELS):
        raise ConvertError(f"axes must have 'B' and 'T' once at most, got {labelled(tuple(axes))}")
    return [d if a is None else _Label(a) for d, a in zip(dims, axes, strict=True)]


def _label(dim: Any) -> str | int | None:
    """What a size is by itself: fixed, or labelled by its name."""
    if isinstance(dim, _Label):
        return str(dim)
    if isinstance(dim, int) or dim is None:
        return dim
    return NAMES.get("".join(c for c in str(dim).lower() if c.isalnum()))


def _assignments(
    known: Mapping[str, Sequence[str | int | None]], keys: Mapping[tuple[str, int], str], guesses: Sequence[str]
) -> Iterator[dict[str, Layout]]:
    """Every way to label what is not known with no label twice in one input."""
    for labels in product(LABELS, repeat=len(guesses)):
        chosen = dict(zip(guesses, labels, strict=True))
        layouts = {
            name: tuple(chosen[keys[name, i]] if d is None else d for i, d in enumerate(dims))
            for name, dims in known.items()
        }
        if all(layout.count(label) <= 1 for layout in layouts.values() for label in LABELS):
            yield layouts


def _open(known: Mapping[str, Sequence[str | int | None]], keys: Mapping[tuple[str, int], str]) -> list[str]:
    """What has to be given, for each input that leaves too much open."""
    found = []
    for name, dims in known.items():
        shown = ", ".join(str(keys.get((name, i), d)) for i, d in enumerate(dims))
        if any(d is None for d in dims) or any(list(dims).count(label) > 1 for label in LABELS):
            told = f"fixed by {option('shapes')} or told by {option('axes')}"
            first = iter(LABELS)
            such = tuple(next(first, None) if isinstance(d, str) or d is None else None for d in dims)
            found.append(
                f"sizes of input {name!r} must be {told}, got ({shown}): {asked({name: such})} tells batch and time, "
                "the others are to be fixed"
            )
    return found


def asked(layouts: Mapping[str, Sequence[str | int | None]]) -> str:
    """Return the option that gives these layouts: ``axes={'x': ('B', 'T', None)}``."""
    labels = {n: tuple(a if a in LABELS else None for a in layout) for n, layout in layouts.items()}
    words = (f"{named('axes')} {n}={labelled(own)}" for n, own in labels.items())
    return either(f"{option('axes')}{labels}", " ".join(words))


def layouts_shown(layouts: Mapping[str, Layout]) -> str:
    """Layouts for a report: ``x (B, T, 40)``."""
    return ", ".join(f"{name} ({', '.join(map(str, layout))})" for name, layout in layouts.items())
