"""A Graph from the arrays of a PyTorch state_dict: what names and shapes say, and `like` for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from ..._hints import named
from ..._names import nearest
from ...errors import ConvertError, GraphError, listed
from ...graph import GRU, LSTM, RNN, Bidirectional, Described, Graph, Like, Recurrent
from ..assembly import Part, assemble
from ..partial import CALLER, left_out, warn_unused
from . import layers as torch_layers
from .forms import FORMS, WITHOUT_ARRAYS, axes_of, shapes_of
from .groups import PREFIXES, Weights, find_weights, group_arrays
from .guesses import Groups, assumed, infer, said, suggest
from .layers import Arrays

Named = list[tuple[str, Any]]


class Built(NamedTuple):
    """The graph of weights.

    Attributes
    ----------
    graph : Graph
    notes : dict of str to str
        What the provenance says of them: what was assumed, and which were left alone.
    unused : dict of str to list of str
        Layers that no item of ``like`` takes, and their arrays.
    groups : dict of str to dict of str to array
        All layers, by their paths.
    """

    graph: Graph
    notes: dict[str, str]
    unused: dict[str, list[str]]
    groups: Groups

    def warn(self, source: str) -> None:
        """Warn of layers that are unused; for helpers that importers call."""
        left = {(path or name): len(names) if path else 1 for path, names in self.unused.items() for name in names}
        warn_unused(
            source, left, self.groups.keys() - self.unused.keys(), sum(map(len, self.groups.values())), CALLER + 2
        )


def import_state_dict(
    arrays: Mapping[str, Any],
    like: Sequence[Like] | None,
    *,
    what: str,
    ordered: bool = True,
    key: str | None = None,
    ignore: Sequence[str] = (),
) -> Graph:
    """The layers that the arrays of a state_dict belong to.

    Without `like`, every layer is found from the names and shapes of its arrays and they run one after the other in the
    order of the file: recurrent stacks and cells (rows per unit: LSTM 4, GRU 3), Linear (with a bias),
    BatchNorm1d, LayerNorm. A state_dict does not hold activations between layers, which output is used
    (every step or the last), or ``eps`` of a norm (1e-5, PyTorch's default, is taken): where the model
    has other ones, `like` must say so. What names and shapes leave open is an error that shows the
    `like` to write.

    Parameters
    ----------
    arrays : mapping of str to array
        A state_dict, or a checkpoint that holds one: see `fastgru.converters.torch.groups.find_weights`.
    like : sequence of Like, optional
        The whole network in an order in which it can run: each reads the one before it, or those that it names as
        `inputs`. One with a name takes the arrays under that name, one without takes the next in the file; when all
        that take arrays have names, the rest of the file is left alone. ``like(GRU)`` stands for all layers of a
        stack; ``return_sequences`` and ``merge`` are of the last one, other attributes of all. It covers both
        directions of a bidirectional stack, with or without ``Bidirectional``. Classes that have no arrays, such as
        `Activate`, `Reshape` or `Pool`, take none.
    what : str
        The source, for error messages.
    ordered : bool
        Whether the order of `arrays` is that of the file's layers. When not, several layers
        must all be named in `like`.
    key, ignore
        As for `find_weights`.

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
    return build(find_weights(arrays, what, key=key, ignore=ignore), like, what, ordered).graph


def build(weights: Weights, like: Sequence[Like] | None, what: str, ordered: bool = True) -> Built:
    """Build the graph of weights, by `like` or by their names and shapes."""
    unused: dict[str, list[str]] = {}
    groups = group_arrays(weights.arrays, what)
    notes = dict(weights.notes)
    if like is None:
        plan, problems = infer(groups, ordered)
        if taken := assumed(groups):
            notes["assumed"] = taken
    else:
        plan, problems, unused = _match(groups, like, ordered, weights.aliases)
        if unused:
            notes["unused"] = nearest("", chain.from_iterable(unused.values()))
    parts: list[Part] = []
    for item, path in plan:
        try:
            layers = _build(item, path, groups.get(path, {}) if _takes(item, path, groups) else {})
        except (ConvertError, GraphError) as error:
            problems.append(f"{said(path)}: {error}")
            continue
        title = item.name or path or None
        for k, (name, layer) in enumerate(layers):
            last = title if k == len(layers) - 1 and title != name else None
            parts.append(Part(layer, name or None, None if k else item.inputs, last))
    if problems:
        raise ConvertError(f"{what}: {listed(problems)}")
    try:
        return Built(assemble(parts), notes, unused, groups)
    except GraphError as error:
        order = ", ".join(part.name or type(part.layer).__name__ for part in parts)
        raise ConvertError(f"{what}: layers must fit each other in the order {order}: {error}") from error
    except ConvertError as error:
        raise ConvertError(f"{what}: {error}") from error


def _takes(item: Like, path: str, groups: Groups) -> bool:
    """Return True if an item takes the arrays under a path: those of the layer that it names, whatever it says."""
    named_there = issubclass(item.op, Described) and item.name is not None and path in groups
    return item.takes_arrays() or named_there


# With like ---------------------------------------------------------------------------------------


def _match(
    groups: Groups, like: Sequence[Like], ordered: bool, aliases: Mapping[str, str]
) -> tuple[list[tuple[Like, str]], list[str], dict[str, list[str]]]:
    """Each Like with the path of its arrays, what does not match, and the arrays that are left alone, by layer."""
    plan: list[tuple[Like, str]] = []
    problems: list[str] = []
    paths = {item.name: _path(item.name, groups, aliases) for item in like if item.name is not None}
    taking = [item for item in like if _takes(item, paths[item.name] if item.name is not None else "", groups)]
    paths = {item.name: paths[item.name] for item in taking if item.name is not None}
    free = [path for path in groups if path not in paths.values()]
    used: set[str] = set()
    like_ = named("like")
    for item in like:
        if item not in taking:
            plan.append((item, item.name or ""))
            continue
        if item.name is None and not ordered and len(groups) > 1:
            problems.append(f"{item} in {like_} must have a name, got none for a file that does not keep the order")
            continue
        if item.name is None and not free:
            problems.append(f"{item} in {like_} must have arrays in the file, got none left")
            continue
        path = free.pop(0) if item.name is None else paths[item.name]
        if path not in groups or path in used:
            state = "taken twice" if path in used else f"not one of {nearest(path, map(repr, groups))}"
            problems.append(f"name in {like_} must be a layer of the file, got {item.name or path!r}, {state}")
            continue
        used.add(path)
        plan.append((item, path))
    unused = {path: [f"{path}.{leaf}".lstrip(".") for leaf in groups[path]] for path in groups if path not in used}
    left = list(chain.from_iterable(unused.values()))
    if left and (problems or any(item.name is None for item in taking)):
        first = [left[0].rpartition(".")[0] or left[0]]
        problems.append(
            f"every array must belong to a layer of {like_}, or be left out by {left_out(first)}, got left over "
            f"{', '.join(left[:6])}{f', ... ({len(left)} in all)' * (len(left) > 6)}"
        )
    return plan, [*problems, suggest(groups)] if problems else [], unused


def _path(name: str, groups: Groups, aliases: Mapping[str, str]) -> str:
    """The path of a layer by its name in the file, with or without the prefixes there."""
    if name in groups:
        return name
    bare = ".".join(part for part in name.split(".") if part not in PREFIXES)
    return next((aliases[n] for n in (name, bare) if aliases.get(n) in groups), name)


def _build(item: Like, path: str, group: Arrays) -> Named:
    """The layers of one Like with their names."""
    if item.layout is not None:
        raise ConvertError(f"layout must be omitted for arrays from PyTorch, got {item.layout!r}")
    if not item.takes_arrays() and not issubclass(item.op, Described):
        try:
            return [(path, item.op(**item.attributes))]
        except TypeError as error:
            raise ConvertError(f"{item} in {named('like')} must say all that the class needs, got {error}") from error
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
    if not form.fits(dict(axes_of(group))):
        raise ConvertError(f"arrays of {item.op.__name__} must be {form}, got {shapes_of(group)}")
    return [(path, form.build(group, item.attributes))]


def _build_stack(inner: Like, path: str, group: Arrays, merge: str | None) -> Named:
    attributes = dict(inner.attributes)
    if inner.op is RNN and "activation" not in attributes:
        raise ConvertError(f'activation of RNN must be said in {named("like")}, "tanh" or "relu", got none')
    if attributes.pop("reverse", False):
        raise ConvertError(
            f"reverse must be left to the names of the arrays (..._reverse), got reverse in {named('like')}"
        )
    last = {k: attributes.pop(k) for k in ("return_sequences",) if k in attributes}
    layers = torch_layers.build_stack(inner.op, group, attributes=attributes, last=last, merge=merge)
    stem = path or inner.op.kind
    return [(stem + suffix, layer) for suffix, layer in layers]
