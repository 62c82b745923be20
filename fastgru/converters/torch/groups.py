"""The weights in a checkpoint: where they are, under which names, and which belong to one layer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from ..._hints import either, given, named
from ..._names import nearest
from ...errors import ConvertError
from ..partial import check_ignore
from .folding import fold
from .layers import Array, Arrays
from .packed import is_packed, unpacked
from .rebuilt import Unknown

# Keys under which checkpoints keep the weights. Those of the last are averages of the others, where there are any.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "params", "weights", "ema")
AVERAGES = "ema"
PREFIXES = ("module", "model", "_orig_mod")  # before names by DataParallel, Lightning and torch.compile
IGNORED = ("num_batches_tracked", "n_averaged", "_extra_state")  # counters of training
NAMES = re.compile(r"(weight|bias|kernel|running_|in_proj|original)")  # how names of weights begin, behind the last dot
DEPTH = 6  # containers within each other that are looked into
SHOWN = 6  # names in a message
# What to do with a whole module in a file.
LOAD_IT = (
    "where its class is at hand, convert torch.load(path, weights_only=False), or save its weights by "
    "torch.save(model.state_dict(), path)"
)
EXPORT_IT = (
    "where its class is at hand, load it in Python and save it with torch.export first: "
    "torch.export.save(torch.export.export(model.eval(), (x,)), 'model.pt2'), where x is an input such as "
    "torch.zeros(1, 100, 40)"
)


class Weights(NamedTuple):
    """The arrays of a state_dict by name.

    Attributes
    ----------
    arrays : dict of str to array
    aliases : dict of str to str
        Other names of the same layers, such as those with the prefixes that the file has.
    notes : dict of str to str
        What the provenance of a model says of them: where they were, and what was left out.
    precisions: dict of str to str
        Layers whose weights are codes in the file, to the precision that they get.
    """

    arrays: dict[str, Array]
    aliases: dict[str, str]
    notes: dict[str, str]
    precisions: dict[str, str]


def find_weights(nested: Any, what: str, *, key: str | None = None, ignore: Sequence[str] = ()) -> Weights:
    """The weights in a checkpoint, out of their wrappings, without what `ignore` names, and computed where need be.

    Parameters
    ----------
    nested : mapping
        A state_dict, or a checkpoint that holds one; other objects beside the weights are left out.
    what : str
        The source, for error messages.
    key : str, optional
        Where the weights are, ``"generator"`` or ``"models.generator"``, where there are several.
    ignore : sequence of str
        Arrays or layers to leave out, ``"aux"`` or ``"loss.*"``.

    Examples
    --------
    >>> import numpy as np
    >>> list(find_weights({"epoch": 3, "state_dict": {"module.fc.weight": np.ones((1, 2))}}, "example").arrays)
    ['fc.weight']
    """
    if not isinstance(nested, Mapping):
        raise ConvertError(f"{what} must hold a state_dict, got {_described(nested)}")
    place: tuple[str, ...] = ()
    if key is not None:
        nested, place = _at(nested, key, what)
    inner, left = _search(nested, place, what)
    inner, coded = unpacked(inner, what)
    _refuse_other_numbers(inner, what)
    raw = {name: a for name, a in inner.items() if isinstance(name, str) and isinstance(a, np.ndarray)}
    if not raw:
        raise ConvertError(f"{what} must hold weights, arrays by name, {_got(inner)}")
    names, aliases = _plain(raw)
    kept = {n: a for n, a in names.items() if n.rpartition(".")[2] not in IGNORED}
    kept = _without(kept, ignore, what)
    try:
        arrays = fold(kept)
    except ConvertError as error:
        raise ConvertError(f"{what}: {error}") from error
    notes = {"weights": f"those under {left[0]}, not {', '.join(left[1:])}"} if left else {}
    precisions = {aliases.get(path, path): precision for path, precision in coded.items()}
    return Weights(arrays, aliases, notes, precisions)


# Where they are ----------------------------------------------------------------------------------


def _search(nested: Mapping[Any, Any], place: tuple[str, ...], what: str) -> tuple[Mapping[Any, Any], list[str]]:
    """The mapping of names to arrays within others; and its key before those of others that hold weights, too."""
    left: list[str] = []
    for _ in range(DEPTH):
        inside = {k: v for k, v in nested.items() if isinstance(k, str) and isinstance(v, Mapping) and _holds(v)}
        usual = [k for k in WRAPPERS if k in inside]
        own = [k for k, a in nested.items() if isinstance(k, str) and isinstance(a, np.ndarray)]
        if not usual and (not inside or any(map(_is_weight, own))):
            return nested, left
        chosen = usual or list(inside)
        if len(usual) > 1 and AVERAGES in usual:
            chosen = [k for k in usual if k != AVERAGES]
        if len(chosen) > 1 and not usual and all(_is_layer(inside[k]) for k in chosen):
            return {f"{k}.{n}": a for k, layer in inside.items() for n, a in layer.items()}, left
        if len(chosen) > 1:
            found = [".".join((*place, k)) for k in chosen]
            raise ConvertError(
                f"{what} must hold one state_dict, got one under each of {', '.join(map(repr, found[:SHOWN]))}: "
                f"say which by {given('key', found[0])}"
            )
        others = [".".join((*place, k)) for k in inside if k != chosen[0]]
        place = (*place, chosen[0])
        nested, left = inside[chosen[0]], [".".join(place), *others] if others else left
    return nested, left


def _holds(nested: Mapping[Any, Any]) -> bool:
    """Whether a mapping holds arrays that are named as weights are, itself or deeper."""
    seen, waiting = {id(nested)}, [nested]
    while waiting:
        inner = waiting.pop()
        for name, value in inner.items():
            if isinstance(name, str) and (is_packed(name) or (isinstance(value, np.ndarray) and _is_weight(name))):
                return True
            if isinstance(value, Mapping) and id(value) not in seen:
                seen.add(id(value))
                waiting.append(value)
    return False


def _is_weight(name: str) -> bool:
    return NAMES.match(name.rpartition(".")[2]) is not None


def _is_layer(nested: Mapping[Any, Any]) -> bool:
    """Whether a mapping holds the arrays of one layer, by names without a dot."""
    return all(isinstance(n, str) and "." not in n and isinstance(a, np.ndarray) for n, a in nested.items())


def _refuse_other_numbers(nested: Mapping[Any, Any], what: str) -> None:
    """Raise where weights are quantized, complex or sparse tensors."""
    for name, value in nested.items():
        if isinstance(name, str) and isinstance(value, Unknown) and value.name.startswith("torch") and _is_weight(name):
            raise ConvertError(f"{name!r} of {what} must be a dense tensor of real numbers, got {value.name}")


def _at(nested: Mapping[Any, Any], key: str, what: str) -> tuple[Mapping[Any, Any], tuple[str, ...]]:
    """The mapping under a key, or under keys with dots between."""
    if not isinstance(key, str):
        raise ConvertError(f"{named('key')} must be the name of a key, got {key!r}")
    inner: Any = nested
    for part in [key] if key in nested else key.split("."):
        known = [k for k, v in inner.items() if isinstance(k, str) and isinstance(v, Mapping)]
        if not known:
            raise ConvertError(f"{named('key')} must be omitted for {what}, which holds no dict by a key, got {key!r}")
        if part not in known:
            raise ConvertError(
                f"{named('key')} must be one that holds weights in {what} ({nearest(part, known)}), got {key!r}"
            )
        inner = inner[part]
    return inner, (key,)


def _got(nested: Mapping[Any, Any]) -> str:
    """What a checkpoint without weights holds, and what to do."""
    module = next(
        ((k, v) for k, v in [("", nested), *nested.items()] if isinstance(v, Unknown) and _is_module(v)), None
    )
    if module is not None:
        where, found = module
        cls = found.name.removeprefix("__main__.")
        return (
            f"got a whole module{f' under {where!r}' if where else ''} of class {cls}, whose code is not in the file: "
            f"{either(LOAD_IT, EXPORT_IT)}"
        )
    if not nested:
        return f"got {_described(nested)}" if isinstance(nested, Unknown) else "got an empty one"
    keys = [f"{str(k)[:40]!r} ({_described(v)})" for k, v in list(nested.items())[:SHOWN]]
    more = f", ... ({len(nested)} in all)" if len(nested) > SHOWN else ""
    return f"or a dict of them under {', '.join(WRAPPERS[:4])} or another key, got {', '.join(keys)}{more}"


def _is_module(found: Unknown) -> bool:
    return isinstance(found.state, Mapping) and "_parameters" in found.state


def _described(value: Any) -> str:
    """A value in words that are short."""
    if isinstance(value, Unknown):
        return f"an object of class {value.name}" if value.name[:1] != "a" or "." in value.name else value.name
    return f"array {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


# Under which names -------------------------------------------------------------------------------


def _plain(raw: Arrays) -> tuple[dict[str, Array], dict[str, str]]:
    """Arrays by names without prefixes, and other names of their layers."""
    shorter = {name: _shortened(name) for name in raw}
    counts: dict[str, int] = {}
    for short in shorter.values():
        counts[short] = counts.get(short, 0) + 1
    if any(n > 1 for n in counts.values()):  # prefixes that tell two models apart
        shorter = {name: name for name in raw}
    aliases: dict[str, str] = {}
    for name, short in shorter.items():
        layer = short.rpartition(".")[0]
        for other in _endings(name.rpartition(".")[0]):
            aliases.setdefault(other, layer)
    return {shorter[name]: a for name, a in raw.items()}, aliases


def _shortened(name: str) -> str:
    """A name without the prefixes before it, and without those of compiled modules within."""
    *path, leaf = [part for part in name.split(".") if part != "_orig_mod"]
    while path and path[0] in PREFIXES:
        del path[0]
    return ".".join([*path, leaf])


def _endings(path: str) -> Iterator[str]:
    """A path, and the same with fewer of the prefixes before it."""
    parts = path.split(".")
    yield path
    while parts and parts[0] in PREFIXES:
        del parts[0]
        yield ".".join(parts)
    yield ".".join(part for part in path.split(".") if part not in PREFIXES)


def _without(arrays: dict[str, Array], ignore: Sequence[str], what: str) -> dict[str, Array]:
    """The arrays but for those that are to be left out: by name, by layer, or by a pattern of either."""
    check_ignore(ignore)
    gone: set[str] = set()
    for pattern in ignore:
        plain = _shortened(pattern)
        found = {n for n in arrays for p in (pattern, plain) if fnmatchcase(n, p) or fnmatchcase(n, f"{p}.*")}
        if not found:
            known = dict.fromkeys([*arrays, *(n.rpartition(".")[0] for n in arrays if "." in n)])
            raise ConvertError(
                f"{named('ignore')} must name arrays or layers of {what} ({nearest(pattern, known)}), got {pattern!r}"
            )
        gone |= found
    return {name: array for name, array in arrays.items() if name not in gone}


def group_arrays(arrays: Arrays, what: str) -> dict[str, dict[str, Array]]:
    """Arrays by module path, then by their own name, in the file's order."""
    groups: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        path, _, leaf = name.rpartition(".")
        groups.setdefault(path, {})[leaf] = array
    if not groups:
        raise ConvertError(f"{what} must hold the weights of at least one layer, got none")
    return groups
