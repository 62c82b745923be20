"""States that a model takes and returns: which input belongs to which output, and whose they become."""

from __future__ import annotations

import re
from collections.abc import Mapping

from onnx import GraphProto, NodeProto

from ..._hints import option
from ...errors import ConvertError, listed
from ..program.emit import Emitter
from ..program.held import Held, pairs_given
from .axes import Declared
from .reading import DEEPEST

# Words by which a name tells that its value is carried from call to call.
CARRIED = {
    "h", "c", "hx", "cx", "state", "states", "hidden", "cell", "cache", "caches", "mem", "memory", "past", "buffer",
    "buf", "ctx", "context", "rnn", "lstm", "gru", "hist", "history",
}  # fmt: skip
BEFORE = {"in", "input", "inputs", "old", "prev", "previous", "past", "last", "0", "init", "initial", "cur"}
AFTER = {"out", "output", "outputs", "new", "next", "present", "n", "final", "updated", "t"}


def pair(
    inputs: Mapping[str, Declared], outputs: Mapping[str, Declared], given: Mapping[str, str] | None
) -> dict[str, str]:
    """Input to output for every state: `given`, or found by name, where both have one shape as far as it is fixed.

    Raises
    ------
    ConvertError
        Listing what `given` gets wrong.
    """
    if given is not None:
        return pairs_given(inputs, list(outputs), given)
    found: dict[str, str] = {}
    for name, value in inputs.items():
        likely = [o for o, other in outputs.items() if _stem(name, BEFORE) & _stem(o, AFTER) and _fits(value, other)]
        if len(likely) == 1 and likely[0] not in found.values():
            found[name] = likely[0]
    return found if len(found) < len(inputs) else {}


# Operators that only arrange the elements of their first input anew.
VIEWS = {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Cast"}


def completed(pairs: Mapping[str, str], graph: GraphProto) -> dict[str, str]:
    """Pairs, with those of the other states of recurrences that have some already.

    Names may tell of one of two states alone, such as ``h0`` beside ``m0``; the node that carries both tells of both.
    """
    if not pairs:
        return {}
    inputs, outputs = {v.name for v in graph.input}, {v.name for v in graph.output}
    makers = {o: node for node in graph.node for o in node.output if o}
    found = dict(pairs)
    ends = {value: name for name in outputs for value in _moved_from(name, makers)}
    for node in graph.node:
        own = [(_moved_from(a, makers)[-1], ends.get(b, "")) for a, b in _carried(node) if a and b]
        whole = [(a, b) for a, b in own if a in inputs and b]
        if len(whole) == len(own) and any(found.get(a) == b for a, b in whole):
            free = [(a, b) for a, b in whole if a not in found and b not in found.values()]
            found.update(free)
    return found if len(found) < len(inputs) else dict(pairs)


def _carried(node: NodeProto) -> list[tuple[str, str]]:
    """Return what each state of a recurrent node starts from, and where it ends."""
    given = list(node.input)
    if node.op_type in ("GRU", "RNN", "LSTM"):
        padded, made = [*given, *[""] * 8], [*node.output, *[""] * 3]
        return [(padded[5], made[1]), *([(padded[6], made[2])] if node.op_type == "LSTM" else [])]
    if node.op_type == "Loop":
        return list(zip(given[2:], node.output, strict=False))
    if node.op_type == "Scan":
        count = next((int(a.i) for a in node.attribute if a.name == "num_scan_inputs"), 0)
        return list(zip(given[: len(given) - count], node.output, strict=False))
    return []


def _moved_from(value: str, makers: Mapping[str, NodeProto]) -> list[str]:
    """A value, and what it is a view of."""
    found = [value]
    while (node := makers.get(found[-1])) is not None and node.op_type in VIEWS and node.input and len(found) < DEEPEST:
        found.append(node.input[0])
    return found


def _words(name: str) -> list[str]:
    parted = re.sub(r"([a-z])([A-Z])", r"\1_\2", name)
    words = [w for w in re.split(r"[^A-Za-z0-9]+", parted.lower()) if w]
    return [part for word in words for part in _split(word)]


def _split(word: str) -> list[str]:
    """``hn`` and ``h0`` as two words."""
    match = re.fullmatch(r"(h|c|state)(n|0)", word)
    return list(match.groups()) if match else [word]


def _stem(name: str, ends: set[str]) -> set[tuple[str, ...]]:
    """Return a name without the words that say before or after; nothing when it does not tell of a state."""
    words = _words(name)
    if not CARRIED.intersection(words) and not any(w.rstrip("0123456789") in CARRIED for w in words):
        return set()
    return {tuple(w for w in words if w not in ends) or tuple(words)}


def _fits(a: Declared, b: Declared) -> bool:
    """Return True if the declared shapes can be one."""
    if a.elem != b.elem or a.dims is None or b.dims is None:
        return a.elem == b.elem
    return len(a.dims) == len(b.dims) and all(
        m == n for m, n in zip(a.dims, b.dims, strict=True) if isinstance(m, int) and isinstance(n, int)
    )


# States of recurrences over time --------------------------------------------------------------------


class StatesApart(ConvertError):
    """A state over time is none that a layer can hold; it may lie in a State node."""


def absorb(emit: Emitter, pairs: Mapping[str, tuple[str, str]]) -> None:
    """Check that states (input to its value and the next one's) are just those of recurrences over time.

    Raises
    ------
    StatesApart
        When one is not.
    """
    held = Held(emit, (value for value, _ in pairs.values()))
    problems = held.problems
    for name, (value, following) in pairs.items() if not problems else ():
        try:
            if not held.comes_back(value, following):
                problems.append(
                    f"state {name!r} must start one layer alone, and return every element to its place, got more "
                    "layers or another order"
                )
        except ConvertError as error:
            problems.append(
                f"state {name!r} must be that of layers over time, where there is a time axis (fix its size by "
                f"{option('shapes')} to step instead): {error}"
            )
    if problems:
        raise StatesApart(listed(problems))
