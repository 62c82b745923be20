"""Layers from arrays under the names PyTorch gives them; live modules and state_dicts both end here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ...errors import ConvertError, listed
from ...graph import (
    GRU,
    LSTM,
    RNN,
    BatchNorm,
    Bidirectional,
    Conv,
    ConvTranspose,
    Dense,
    Embedding,
    LayerNorm,
    Recurrent,
    TimeConv,
)

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Layers = list[tuple[str, "Recurrent | Bidirectional"]]

# weight_hh has G*H rows: how many gates say which cell.
CELLS: dict[int, type[Recurrent]] = {1: RNN, 3: GRU, 4: LSTM}
GATES = {cell: gates for gates, cell in CELLS.items()}

_ARGUMENTS = {  # the stem of an array's name -> argument of `from_torch`
    "weight_ih": "w_ih",
    "weight_hh": "w_hh",
    "bias_ih": "b_ih",
    "bias_hh": "b_hh",
    "weight_hr": "w_hr",
}
_STACKED = re.compile(rf"({'|'.join(_ARGUMENTS)})_l(0|[1-9]\d{{0,5}})(_reverse)?")


class Place(NamedTuple):
    """Where in a stack a cell sits."""

    layer: int
    reverse: bool

    def __str__(self) -> str:
        return f"_l{self.layer}" + "_reverse" * self.reverse


def split_stack(arrays: Arrays) -> dict[Place, dict[str, Array]] | None:
    """The arrays of each cell of a stack by stem, or None where one name is not of a stack.

    Arrays without ``_l0`` (``weight_ih`` and so on, of a ``torch.nn.GRUCell``) are a stack of one.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.zeros((3, 1))
    >>> {str(place): list(cell) for place, cell in split_stack({"weight_ih_l0": w, "weight_hh_l0": w}).items()}
    {'_l0': ['weight_ih', 'weight_hh']}
    """
    if arrays and all(name in _ARGUMENTS for name in arrays):
        return {Place(0, False): dict(arrays)}
    cells: dict[Place, dict[str, Array]] = {}
    for name, array in arrays.items():
        match = _STACKED.fullmatch(name)
        if match is None:
            return None
        cells.setdefault(Place(int(match[2]), bool(match[3])), {})[match[1]] = array
    return cells or None


def stack_problems(cells: Mapping[Place, Arrays]) -> list[str]:
    """What is missing in a stack: layers, directions, weights."""
    layers = 1 + max(place.layer for place in cells)
    if layers > len(cells):
        return [f"layers must be numbered from 0 without a gap, got {', '.join(map(str, cells))}"]
    directions = sorted({place.reverse for place in cells})
    expected = [Place(k, reverse) for k in range(layers) for reverse in directions]
    problems = [f"cell {place} must be there beside the others, got none" for place in expected if place not in cells]
    for place, cell in cells.items():
        for stem in ("weight_ih", "weight_hh"):
            if stem not in cell:
                problems.append(f"{stem}{place} must be there, got only {', '.join(cell)}")
            elif cell[stem].ndim != 2 or cell[stem].size == 0:
                problems.append(f"{stem}{place} must be a matrix that is not empty, got shape {cell[stem].shape}")
        if len({"bias_ih", "bias_hh"} & cell.keys()) == 1:
            problems.append(f"bias_ih{place} and bias_hh{place} must both be there or neither, got one")
    return problems


def count_gates(cell: Arrays) -> float:
    """Rows of the weights for each unit: 1 (RNN), 3 (GRU), 4 (LSTM), or no such number."""
    units = cell["weight_hr" if "weight_hr" in cell else "weight_hh"].shape[-1]
    return float(cell["weight_ih"].shape[0] / units) if units else 0.0


def find_cell(cells: Mapping[Place, Arrays]) -> type[Recurrent]:
    """The class of a complete stack, from its shapes.

    Raises
    ------
    ConvertError
        When the shapes are those of none of `CELLS`, or not the same for all cells.
    """
    ratios = {place: count_gates(cell) for place, cell in cells.items()}
    if len(set(ratios.values())) > 1:
        raise ConvertError(f"cells of a stack must be of one kind, got rows per unit {list(ratios.values())}")
    ratio = next(iter(ratios.values()))
    if ratio not in CELLS:
        raise ConvertError(f"rows per unit must be 1 (RNN), 3 (GRU) or 4 (LSTM), got {ratio:g}")
    return CELLS[int(ratio)]


def build_stack(
    op: type[Recurrent],
    arrays: Arrays,
    *,
    attributes: Mapping[str, Any] | None = None,
    last: Mapping[str, Any] | None = None,
    merge: str | None = "concat",
) -> Layers:
    """The layers of a ``torch.nn.RNN``, ``GRU`` or ``LSTM`` (or of a cell), each with the end of its name.

    Parameters
    ----------
    op : type
        `RNN`, `GRU` or `LSTM`.
    arrays : mapping of str to array
        ``weight_ih_l0 (G*H, I)``, ``weight_hh_l0 (G*H, R)``, ``bias_ih_l0``, ``bias_hh_l0 (G*H,)``,
        ``weight_hr_l0 (R, H)``, ``weight_ih_l0_reverse`` and so on.
    attributes : mapping, optional
        Of every layer.
    last : mapping, optional
        Of the last layer only.
    merge : str or None
        How the two directions of the last layer are merged; those below are concatenated.

    Returns
    -------
    list of (suffix, layer)
        The suffix is ``""`` for a stack of one, else ``".l0"``, ``".l1"``.

    Raises
    ------
    ConvertError
        When arrays are missing or those of another cell.
    GraphError
        When shapes do not fit each other.
    """
    cells = split_stack(arrays)
    problems = ["arrays must be named like those of torch.nn.GRU"] if cells is None else stack_problems(cells)
    if problems or cells is None:
        raise ConvertError(listed(problems))
    found = find_cell(cells)
    if found is not op:
        raise ConvertError(
            f"rows per unit must be {GATES[op]} for {op.__name__}, got {GATES[found]}, which is {found.__name__}"
        )
    count = 1 + max(place.layer for place in cells)
    layers: Layers = []
    for k in range(count):
        extra = {**(attributes or {}), **((last or {}) if k == count - 1 else {})}
        ways = [_build_cell(op, cells[place], extra) for place in (Place(k, False), Place(k, True)) if place in cells]
        merged = merge if k == count - 1 else "concat"
        layer = Bidirectional(*ways, merge=merged) if len(ways) == 2 else ways[0]
        layers.append((f".l{k}" if count > 1 else "", layer))
    return layers


def _build_cell(op: type[Recurrent], cell: Arrays, attributes: Mapping[str, Any]) -> Recurrent:
    build: Any = op
    layer: Recurrent = build.from_torch(**{_ARGUMENTS[stem]: array for stem, array in cell.items()}, **attributes)
    return layer


def build_dense(arrays: Arrays, attributes: Mapping[str, Any]) -> Dense:
    """``torch.nn.Linear``: weight (O, I), bias (O,)."""
    return Dense(arrays["weight"], arrays.get("bias"), **attributes)


def build_embedding(arrays: Arrays, attributes: Mapping[str, Any]) -> Embedding:
    """``torch.nn.Embedding``: weight (V, E)."""
    return Embedding(arrays["weight"], **attributes)


def build_layer_norm(arrays: Arrays, attributes: Mapping[str, Any]) -> LayerNorm:
    """``torch.nn.LayerNorm`` over one axis: weight (F,), bias (F,)."""
    return LayerNorm(arrays["weight"], arrays.get("bias"), **attributes)


def build_batch_norm(arrays: Arrays, attributes: Mapping[str, Any]) -> BatchNorm:
    """``torch.nn.BatchNorm1d``: running_mean, running_var, weight, bias (F,)."""
    return BatchNorm(
        arrays["running_mean"], arrays["running_var"], arrays.get("weight"), arrays.get("bias"), **attributes
    )


def build_time_conv(arrays: Arrays, attributes: Mapping[str, Any]) -> TimeConv:
    """``torch.nn.Conv1d`` over time: weight (O, C / groups, K), bias (O,)."""
    return TimeConv(arrays["weight"], arrays.get("bias"), **attributes)


def build_conv(arrays: Arrays, attributes: Mapping[str, Any]) -> Conv:
    """``torch.nn.Conv1d``, ``Conv2d`` or ``Conv3d`` of each frame: weight (O, C / groups, *kernel), bias (O,)."""
    return Conv(arrays["weight"], arrays.get("bias"), **attributes)


def build_conv_transpose(arrays: Arrays, attributes: Mapping[str, Any]) -> ConvTranspose:
    """``torch.nn.ConvTranspose1d`` to ``ConvTranspose3d`` of each frame: weight (C, O / groups, *kernel), bias (O,)."""
    return ConvTranspose(arrays["weight"], arrays.get("bias"), **attributes)
