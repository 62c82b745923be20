"""The precision in which a module computes that is imported in float32, and that it computes the same."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ...errors import ConvertError
from .. import Imported
from .oracle import evaluating
from .packed import nodes_of
from .prepared import HALVES, Prepared, cast, is_compiled, unwrapped

SAME = 1e-4  # how far outputs may move, of their size, where weights are computed once instead of at every call
SEED = 0


def told(prepared: Prepared, imported: Imported, examples: Any) -> Imported:
    """Return an import with the precision of its source in the provenance, and of the layers that were quantized.

    Raises
    ------
    ConvertError
        When the source does not compute with the weights that were taken for those that it computes.
    """
    if not (prepared.halves or prepared.layers or prepared.folded):
        return imported
    apart = _difference(prepared, examples)
    precision = prepared.precision()
    if apart is not None and not precision and apart > SAME:
        raise ConvertError(
            f"weights that hooks or parametrizations compute ({', '.join(prepared.folded)}) must be those that forward "
            f"takes, got outputs that differ by {apart:.2g} of their size: remove these first, such as by "
            "torch.nn.utils.remove_weight_norm, torch.nn.utils.prune.remove or "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )
    if not precision:
        return imported
    if apart is not None:
        precision += f"; PyTorch's own outputs for the example are {apart:.1g} of their size away from those in float32"
    nodes = nodes_of(imported.graph, prepared.layers)
    return imported._replace(provenance={**imported.provenance, "precision": precision}, precisions=nodes)


def _difference(prepared: Prepared, given: Any) -> float | None:
    """How far outputs of the source are from those of what is imported, of the largest; None where it does not run."""
    if given is None:
        from ..torch_export.examples import example_for

        try:
            given = example_for(prepared.module).example
        except ConvertError:
            return None
        if given.is_floating_point():
            own = (tensor.dtype for tensor in prepared.module.parameters() if tensor.is_floating_point())
            kind = next(own, torch.float32)
            given = torch.randn(given.shape, generator=torch.Generator().manual_seed(SEED), dtype=kind)
    if any(unwrapped(m) is not m or is_compiled(m) for m in prepared.source.modules()):
        return None  # which would take a minute to compile
    run = [_outputs(prepared.module, prepared.examples(given))]
    narrow = next((dtype for dtype, name in HALVES.items() if name in prepared.halves), None)
    for dtype in dict.fromkeys((None, narrow)):
        try:
            own = given if dtype is None else cast(given, partial(torch.Tensor.to, dtype=dtype))
            run.append(_outputs(prepared.source, own))
            break
        except Exception:  # whatever a module may raise for numbers of another precision
            continue
    else:
        return None
    pairs = [(a.double(), b.double()) for a, b in zip(*run, strict=False) if a.shape == b.shape and a.numel()]
    return max((float((a - b).abs().max() / max(a.abs().max(), 1e-30)) for a, b in pairs), default=None)


def _outputs(module: nn.Module, given: Any) -> list[torch.Tensor]:
    """The floating-point tensors that a module returns for arguments; it is left as it was."""
    from ..torch_export.results import opened
    from ..torch_export.source import restore, snapshot

    buffers = snapshot(module)
    try:
        with evaluating(module):
            if isinstance(given, dict):
                result = module(**given)
            else:
                result = module(*given) if isinstance(given, tuple | list) else module(given)
    finally:
        restore(module, buffers)
    leaves = pytree.tree_leaves(opened(result))
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]
