"""A live torch.nn.Module to a Graph: read by torch.fx where it is a chain of known layers, else by torch.export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..._hints import named
from ...errors import ConvertError
from ...graph import Like
from .. import Imported
from ..program.sizes import BATCH
from .precision import told
from .prepared import prepare


def import_module(
    module: nn.Module,
    like: Sequence[Like] | None = None,
    *,
    example_inputs: Any = None,
    axes: Mapping[str, Any] | None = None,
    states: Mapping[str, str] | None = None,
) -> Imported:
    """Import a live module: what it computes in eval mode.

    Any module that torch.export can trace is imported, see `fastgru.converters.torch_export.exported`: with
    `example_inputs`, or where there is one argument with an example that the module's first layer suggests.

    It is not asked where the forward is a chain or any directed graph of the layers and calls in
    `fastgru.converters.torch_export.chain`: nested modules, ``y, h = self.gru(x)``, ``y[:, -1]``, ``h[-1]``,
    ``torch.cat((h[-2], h[-1]), -1)``, residual sums, products and concatenations, transposes. Such a forward takes one
    tensor; further arguments may only be initial states, which start from zeros and are then the stream's. States in a
    returned tuple are left out: the engine keeps them. The graph is batch first whatever ``batch_first`` says, and
    always over time: a module that takes rows (B, I) runs on every step. A cell (``nn.GRUCell``) becomes a layer over
    time, and must be the whole module.

    Parameters
    ----------
    module : torch.nn.Module
        Left as it is.
    like : None
        A module describes itself.
    example_inputs, axes, states
        As for `fastgru.converters.torch_export.exported.import_exported`.

    Raises
    ------
    ConvertError
        Naming node, attribute and value of what cannot be imported.

    Examples
    --------
    >>> import numpy as np
    >>> imported = import_module(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.GRU(4, 2, batch_first=True)))
    >>> imported.graph
    Graph([0: Dense, 1: Activate, 2: GRU])
    >>> imported.oracle(np.zeros((1, 5, 3)))[0].shape
    (1, 5, 2)
    """
    if like is not None:
        raise ConvertError(
            f"{named('like')} must be None for a live module, which describes itself, got {len(like)} layers"
        )
    prepared = prepare(module)
    imported = _imported(prepared.module, prepared.examples(example_inputs), axes, states)
    return told(prepared, imported, example_inputs)


def _imported(module: nn.Module, example_inputs: Any, axes: Any, states: Any) -> Imported:
    """Import a module as a chain of layers, or through torch.export."""
    from ..torch_export.examples import example_for  # takes a moment to load, which files of weights need not wait for
    from ..torch_export.exported import import_chain, import_exported

    alone = not isinstance(example_inputs, Sequence | Mapping) or len(example_inputs) == 1
    refused: ConvertError | None = None
    if alone and axes is None and states is None:
        try:
            return import_chain(module, example_inputs)
        except ConvertError as error:
            refused = error
    if example_inputs is not None:
        return import_exported(module, example_inputs, axes, states)
    try:
        suggestion = example_for(module)
    except ConvertError as error:
        if refused is None or str(refused) == str(error):
            raise
        raise ConvertError(
            f"{error}\nOnly a chain of layers needs no example, and this is none: {refused}"
        ) from refused
    try:
        imported = suggestion.noted(import_exported(module, suggestion.example, axes, states))
        if axes is None:
            _require_open(imported, suggestion.steps)
    except ConvertError as error:
        raise ConvertError(
            f"{error}\nIt was traced with {suggestion}. If forward takes something else, give it by {suggestion.line()}"
        ) from error
    return imported


def _require_open(imported: Imported, steps: int) -> None:
    """Raise if a model is for the number of rows or steps alone that was chosen for its example."""
    for axes in imported.layouts.inputs.values() if imported.layouts else ():
        if axes is not None and (BATCH not in axes.sizes or steps in axes.sizes):
            raise ConvertError(
                f"forward must take any number of rows and steps where {named('example_inputs')} say none, got one "
                f"that can be imported for sizes {axes} alone"
            )
