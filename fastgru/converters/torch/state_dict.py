"""A Graph from the arrays of a PyTorch state_dict: what names and shapes say, and `like` for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..._hints import like_item, like_option, named
from ..._names import nearest
from ...errors import ConvertError, GraphError, listed
from ...graph import (
    GRU,
    LSTM,
    RNN,
    Activate,
    BatchNorm,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Graph,
    LayerNorm,
    Like,
    Op,
    Recurrent,
    Reverse,
    chain,
)
from . import layers as torch_layers
from .groups import group_arrays, unwrap
from .layers import Array, Arrays

Named = list[tuple[str, Any]]


class Form(NamedTuple):
    """What a group of arrays must have, and what it may have, to be a layer."""

    needs: dict[str, int]  # name -> number of axes
    may: dict[str, int]
    build: Callable[[Arrays, Mapping[str, Any]], Op]


_VECTORS = {"weight": 1, "bias": 1}
FORMS: dict[type[Any], Form] = {
    Dense: Form({"weight": 2}, {"bias": 1}, torch_layers.build_dense),
    Embedding: Form({"weight": 2}, {}, torch_layers.build_embedding),
    LayerNorm: Form({"weight": 1}, {"bias": 1}, torch_layers.build_layer_norm),
    BatchNorm: Form({"running_mean": 1, "running_var": 1}, _VECTORS, torch_layers.build_batch_norm),
}
WITHOUT_ARRAYS = (Activate, Dropout, Reverse)
# Names and numbers of axes that leave no doubt (eps aside) -> the layer.
CERTAIN: dict[tuple[tuple[str, int], ...], type[Any]] = {
    (("bias", 1), ("weight", 2)): Dense,
    (("bias", 1), ("weight", 1)): LayerNorm,
    (("bias", 1), ("running_mean", 1), ("running_var", 1), ("weight", 1)): BatchNorm,
    (("running_mean", 1), ("running_var", 1)): BatchNorm,
}
# Names and numbers of axes that fit more than one layer -> what to write in `like`.
DOUBTFUL: dict[tuple[tuple[str, int], ...], tuple[str, ...]] = {
    (("weight", 2),): ("Embedding", "Dense"),
    (("weight", 1),): ("LayerNorm",),
}


def import_state_dict(
    arrays: Mapping[str, Any], like: Sequence[Like] | None, *, what: str, ordered: bool = True
) -> Graph:
    """The chain of layers that the arrays of a state_dict belong to.

    Without `like`, every layer is found from the names and shapes of its arrays and the chain runs in the
    order of the file: recurrent stacks and cells (rows per unit: LSTM 4, GRU 3), Linear (with a bias),
    BatchNorm1d, LayerNorm. A state_dict does not hold activations between layers, which output is used
    (every step or the last), or ``eps`` of a norm (1e-5, PyTorch's default, is taken): where the model
    has other ones, `like` must say so. What names and shapes leave open is an error that shows the
    `like` to write.

    Parameters
    ----------
    arrays : mapping of str to array
        A state_dict, or a mapping that holds one under ``"state_dict"``, ``"model_state_dict"`` or
        ``"model"``. A prefix ``"module."`` or ``"_orig_mod."`` that all names share is removed.
    like : sequence of Like, optional
        The whole chain in the order in which it runs. One with a name takes the arrays under that
        name, one without takes the next in the file. ``like(GRU)`` stands for all layers of a stack;
        ``return_sequences`` and ``merge`` are of the last one, other attributes of all. It covers both
        directions of a bidirectional stack, with or without ``Bidirectional``. `Activate`,
        `Dropout` and `Reverse` take no arrays.
    what : str
        The source, for error messages.
    ordered : bool
        Whether the order of `arrays` is that of the file's layers. When not, several layers
        must all be named in `like`.

    Raises
    ------
    ConvertError
        When arrays are left over or missing, or do not determine the layers.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.layers import GRU, Dense, like
    >>> arrays = {"gru.weight_ih_l0": np.ones((6, 3)), "gru.weight_hh_l0": np.ones((6, 2)),
    ...           "fc.weight": np.ones((1, 2)), "fc.bias": np.ones(1)}
    >>> import_state_dict(arrays, None, what="example")
    Graph([gru: GRU, fc: Dense])
    >>> chain = [like(GRU, name="gru", return_sequences=False), like(Dense, name="fc", activation="sigmoid")]
    >>> import_state_dict(arrays, chain, what="example").specs["fc"].time
    False
    """
    groups = group_arrays(unwrap(arrays, what), what)
    plan, problems = _infer(groups, ordered) if like is None else _match(groups, like, ordered)
    layers: Named = []
    for item, path in plan:
        try:
            layers += _build(item, path, groups.get(path, {}) if _takes_arrays(item) else {})
        except (ConvertError, GraphError) as error:
            problems.append(f"{_said(path)}: {error}")
    if problems:
        raise ConvertError(f"{what}: {listed(problems)}")
    try:
        return chain([layer for _, layer in layers], names=[name or None for name, _ in layers])
    except GraphError as error:
        raise ConvertError(f"{what}: layers must fit each other in the order {_order(layers)}: {error}") from error


def assumed(arrays: Mapping[str, Any], what: str) -> str:
    """Say what `import_state_dict` takes for granted without `like`, and the `like` to adapt; empty if nothing.

    Examples
    --------
    >>> import numpy as np
    >>> assumed({"fc.weight": np.ones((1, 2)), "fc.bias": np.ones(1)}, "example")
    "no activation follows a Dense layer; if not, say it with like=[like(Dense, name='fc', activation='relu')]"
    """
    recurrent, dense, items = False, False, []
    for path, group in group_arrays(unwrap(arrays, what), what).items():
        op, _, _ = _guess(group)
        name = {"name": path} if path else {}
        changes: dict[str, Any] = {}
        if op is Dense:
            dense, changes = True, {"activation": "relu"}
        elif op is not None and issubclass(op, Recurrent):
            recurrent, changes = True, {"return_sequences": False}
        items.append(like_item(op.__name__ if op else None, **name, **changes))
    taken = ["every recurrent layer returns all its steps"] * recurrent + [
        "no activation follows a Dense layer"
    ] * dense
    return f"{', '.join(taken)}; if not, say it with {like_option(items)}" if taken else ""


def _said(path: str) -> str:
    return f"layer {path!r}" if path else "the layer without a name"


def _order(layers: Named) -> str:
    return ", ".join(name or type(layer).__name__ for name, layer in layers)


def _axes(group: Arrays) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((name, array.ndim) for name, array in group.items()))


def _shapes(group: Arrays) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in group.items())


def _takes_arrays(item: Like) -> bool:
    return item.op not in WITHOUT_ARRAYS


# Without like ------------------------------------------------------------------------------------


def _guess(group: Arrays) -> tuple[type[Any] | None, tuple[str, ...], str]:
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
    axes = _axes(group)
    if axes in CERTAIN:
        return CERTAIN[axes], (CERTAIN[axes].__name__,), ""
    names = DOUBTFUL.get(axes, ())
    if names:
        return None, names, f"class must be said, {' or '.join(names)} or another, got {_shapes(group)}"
    return None, (), f"arrays must be those of a layer that fastgru knows, got {_shapes(group)}"


def _infer(groups: dict[str, dict[str, Array]], ordered: bool) -> tuple[list[tuple[Like, str]], list[str]]:
    """A Like for each group, and what could not be told, with the `like` to write."""
    plan: list[tuple[Like, str]] = []
    problems: list[str] = []
    for path, group in groups.items():
        try:
            op, _, problem = _guess(group)
        except ConvertError as error:
            op, problem = None, str(error)
        if op is None:
            problems.append(f"{_said(path)}: {problem}")
        else:
            plan.append((Like(op, path or None), path))
    if not ordered and len(groups) > 1:
        problems.append("order of the layers must be said, got a file that does not keep it")
    return plan, [*problems, _suggest(groups)] if problems else []


def _suggest(groups: dict[str, dict[str, Array]]) -> str:
    """The `like` that settles every doubt, as a line to copy."""
    items = []
    for path, group in groups.items():
        try:
            _, names, _ = _guess(group)
        except ConvertError:
            names = ()
        extra = {"name": path} if path else {}
        extra |= {"activation": "tanh"} if names == ("RNN",) else {}
        items.append(like_item(names[0] if names else None, **extra))
    return f"write the chain in the order in which it runs, for example {like_option(items)}"


# With like ---------------------------------------------------------------------------------------


def _match(
    groups: dict[str, dict[str, Array]], like: Sequence[Like], ordered: bool
) -> tuple[list[tuple[Like, str]], list[str]]:
    """Each Like with the path of its arrays, and what does not match."""
    plan: list[tuple[Like, str]] = []
    problems: list[str] = []
    titles = {item.name for item in like}
    free = [path for path in groups if path not in titles]
    used: set[str] = set()
    like_ = named("like")
    for item in like:
        if not _takes_arrays(item):
            plan.append((item, item.name or ""))
            continue
        if item.name is None and not ordered and len(groups) > 1:
            problems.append(f"{item} in {like_} must have a name, got none for a file that does not keep the order")
            continue
        if item.name is None and not free:
            problems.append(f"{item} in {like_} must have arrays in the file, got none left")
            continue
        path = free.pop(0) if item.name is None else item.name
        if path not in groups or path in used:
            state = "taken twice" if path in used else f"not one of {', '.join(map(repr, groups))}"
            problems.append(f"name in {like_} must be a layer of the file, got {path!r}, {state}")
            continue
        used.add(path)
        plan.append((item, path))
    left = [f"{path}.{leaf}".lstrip(".") for path in groups if path not in used for leaf in groups[path]]
    if left:
        problems.append(f"every array must belong to a layer of {like_}, got left over {', '.join(left)}")
    return plan, [*problems, _suggest(groups)] if problems else []


def _build(item: Like, path: str, group: Arrays) -> Named:
    """The layers of one Like with their names."""
    if item.layout is not None:
        raise ConvertError(f"layout must be None for arrays from PyTorch, got {item.layout!r}")
    if not _takes_arrays(item):
        return [(path, item.op(**item.attributes))]
    inner, merge = (item.inner or item), item.attributes.get("merge", "concat")
    if item.op is Bidirectional or issubclass(item.op, Recurrent):
        if item.op is Bidirectional and not any(name.endswith("_reverse") for name in group):
            raise ConvertError(f"Bidirectional must have arrays named ..._reverse, got {', '.join(group)}")
        return _build_stack(inner, path, group, merge)
    form = FORMS.get(item.op)
    if form is None:
        known = [op.__name__ for op in (RNN, GRU, LSTM, Bidirectional, *FORMS, *WITHOUT_ARRAYS)]
        raise ConvertError(
            f"class in {named('like')} must be one of {nearest(item.op.__name__, known)}, got {item.op.__name__}"
        )
    axes = dict(_axes(group))
    if any(axes.get(n) != d for n, d in form.needs.items()) or any(
        {**form.needs, **form.may}.get(n) != d for n, d in axes.items()
    ):
        expected = ", ".join(f"{n} ({d}-D)" for n, d in form.needs.items())
        optional = ", ".join(f"{n} ({d}-D)" for n, d in form.may.items()) or "nothing"
        name = item.op.__name__
        raise ConvertError(f"arrays of {name} must be {expected} and maybe {optional}, got {_shapes(group)}")
    return [(path, form.build(group, item.attributes))]


def _build_stack(inner: Like, path: str, group: Arrays, merge: str | None) -> Named:
    attributes = dict(inner.attributes)
    if inner.op is RNN and "activation" not in attributes:
        raise ConvertError(f'activation of RNN must be said in {named("like")}, "tanh" or "relu", got none')
    if attributes.pop("reverse", False):
        raise ConvertError("reverse must be left to the names of the arrays (..._reverse), got reverse=True")
    last = {k: attributes.pop(k) for k in ("return_sequences",) if k in attributes}
    layers = torch_layers.build_stack(inner.op, group, attributes=attributes, last=last, merge=merge)
    stem = path or inner.op.kind
    return [(stem + suffix, layer) for suffix, layer in layers]
