"""What the arrays of a state_dict say of its layers by themselves, and what to write in `like` for the rest."""

from __future__ import annotations

from typing import Any

from ..._hints import like_item, like_option
from ...errors import ConvertError, listed
from ...graph import RNN, Dense, LayerNorm, Like, Recurrent
from ..partial import left_out
from . import layers as torch_layers
from .forms import CERTAIN, DOUBTFUL, axes_of, shapes_of
from .layers import Array, Arrays

Groups = dict[str, dict[str, Array]]
MOST_SUGGESTED = 12  # layers of a chain to copy


def said(path: str) -> str:
    return f"layer {path!r}" if path else "the layer without a name"


def assumed(groups: Groups) -> str:
    """Say what is taken for granted without `like`, and the `like` to adapt; empty if nothing."""
    recurrent, dense, norm, items = False, False, False, []
    for path, group in groups.items():
        try:
            op, _, _ = _guess(group)
        except ConvertError:
            return ""
        name = {"name": path} if path else {}
        changes: dict[str, Any] = {}
        if op is Dense:
            dense, changes = True, {"activation": "relu"}
        elif op is LayerNorm:
            norm = True
        elif op is not None and issubclass(op, Recurrent):
            recurrent, changes = True, {"return_sequences": False}
        items.append(like_item(op.__name__ if op else None, **name, **changes))
    taken = ["every recurrent layer returns all its steps"] * recurrent + [
        "no activation follows a Dense layer"
    ] * dense
    taken += ["every norm with a weight and a bias alone is a LayerNorm, not a GroupNorm"] * norm
    return f"{', '.join(taken)}; if not, say it with {like_option(items)}" if taken else ""


def _guess(group: Arrays, path: str = "") -> tuple[type[Any] | None, tuple[str, ...], str]:
    """The layer of a group when certain, else what to write in `like` for it, and why."""
    cells = torch_layers.split_stack(group)
    if cells is not None:
        problems = torch_layers.stack_problems(cells)
        if problems:
            return None, (), listed(problems)
        op = torch_layers.find_cell(cells)
        if op is RNN:
            return None, ("RNN",), 'activation must be said, "tanh" or "relu", got arrays only'
        return op, (op.__name__,), ""
    axes = axes_of(group)
    if axes in CERTAIN:
        return CERTAIN[axes], (CERTAIN[axes].__name__,), ""
    names = DOUBTFUL.get(axes, ())
    if names:
        padding = ", with its padding and strides (before=, after=, ...)" if "Conv" in names else ""
        return None, names, f"class must be said, {' or '.join(names)} or another{padding}, got {shapes_of(group)}"
    return None, (), f"arrays must be those of a layer that fastgru knows, got {shapes_of(group)}{_leave(path, group)}"


def _leave(path: str, group: Arrays) -> str:
    """How to leave the arrays of a group out."""
    names = [path] if path else list(group)[:3]
    return f": leave them out by {left_out(names)}, or say what they are"


def infer(groups: Groups, ordered: bool) -> tuple[list[tuple[Like, str]], list[str]]:
    """A Like for each group, and what could not be told, with the `like` to write."""
    plan: list[tuple[Like, str]] = []
    problems: list[str] = []
    for path, group in groups.items():
        try:
            op, _, problem = _guess(group, path)
        except ConvertError as error:
            op, problem = None, str(error)
        if op is None:
            problems.append(f"{said(path)}: {problem}")
        else:
            plan.append((Like(op, path or None), path))
    if not ordered and len(groups) > 1:
        problems.append("order of the layers must be said, got a file that does not keep it")
    return plan, [*problems, suggest(groups)] if problems else []


def suggest(groups: Groups) -> str:
    """The `like` that settles every doubt, as a line to copy."""
    items = []
    for path, group in [*groups.items()][:MOST_SUGGESTED]:
        try:
            _, names, _ = _guess(group)
        except ConvertError:
            names = ()
        extra = {"name": path} if path else {}
        extra |= {"activation": "tanh"} if names == ("RNN",) else {}
        items.append(like_item(names[0] if names else None, **extra))
    if len(groups) > MOST_SUGGESTED:
        return f"write the chain of all {len(groups)} layers in the order in which it runs, begun {like_option(items)}"
    return f"write the chain in the order in which it runs, for example {like_option(items)}"
