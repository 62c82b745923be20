"""Weights that PyTorch computes from others at each call, computed once: weight_norm, spectral_norm, pruning."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...errors import ConvertError
from .layers import Array

PARAMETRIZED = re.compile(r"(?:(.*)\.)?parametrizations\.([^.]+)\.(.+)")  # layer, weight, part
SAME_WAY = 0.5  # cosine of vectors that are taken for the same direction
REMEDY = "compute it before you save the weights: torch.nn.utils.parametrize.remove_parametrizations(layer, {name!r})"


class Rule(NamedTuple):
    """Arrays that stand for a weight: the ends of their names, what may be there beside them, and the weight."""

    ends: tuple[str, ...]
    weight: Callable[..., Array]


def normed(g: Array, v: Array) -> Array:
    """``weight_norm``: `v` of length `g` along all axes but that of `g`."""
    if g.ndim not in (0, v.ndim) or any(n not in (1, m) for n, m in zip(g.shape, v.shape[: g.ndim], strict=True)):
        raise ConvertError(f"magnitudes {g.shape} must fit directions {v.shape}")
    axes = tuple(i for i, n in enumerate(g.shape) if n == 1) if g.ndim else None
    length = np.sqrt(np.sum(np.square(v), axis=axes, keepdims=True)) if axes != () else np.abs(v)
    return v * (g / length)


def masked(original: Array, mask: Array) -> Array:
    """Pruning: zeros where the mask has them."""
    if original.shape != mask.shape:
        raise ConvertError(f"mask must have the shape {original.shape} of its weight, got {mask.shape}")
    return original * mask


def divided(original: Array, u: Array, v: Array) -> Array:
    """``spectral_norm``: the weight by its largest singular value, which belongs to the vectors `u` and `v`.

    The rows of the matrix are the first axis, or the second of a transposed convolution. Where a kernel has as many of
    both, `u` tells: training left it along the product of the matrix and `v`.
    """
    matrices = [np.moveaxis(original, axis, 0) for axis in range(2 if original.ndim > 2 else 1)]
    flat = [m.reshape(len(m), -1) for m in matrices if original.size and m.shape[0] == u.size]
    products = [m @ v.ravel() for m in flat if m.shape[1] == v.size]
    if not products:
        raise ConvertError(f"vectors of {u.size} and {v.size} must fit their weight {original.shape}")
    likeness = [abs(float(u.ravel() @ p)) / max(float(np.linalg.norm(p)), 1e-30) for p in products]
    second = len(products) > 1 and likeness[1] > max(likeness[0], SAME_WAY)
    return original / float(u.ravel() @ products[second])


# Names that old hooks make of `weight` -> the weight. A rule whose ends begin another's comes behind it.
HOOKS = (
    Rule(("_orig", "_mask"), masked),
    Rule(("_orig", "_u", "_v"), divided),
    Rule(("_g", "_v"), normed),
)
# The same below `parametrizations.weight.`, whose parts are numbered where there are several.
PARTS = (
    Rule(("original0", "original1"), normed),
    Rule(("original", "0._u", "0._v"), divided),
)


def fold(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of a state_dict with the weights that its parametrizations, hooks and masks compute.

    A weight comes where the first of its parts was. Norms may hold pruned parts, and the other way round.

    Raises
    ------
    ConvertError
        When parts do not fit each other, or are of a parametrization that a state_dict does not describe.

    Examples
    --------
    >>> import numpy as np
    >>> arrays = {"fc.bias": np.zeros(2), "fc.weight_g": np.ones((2, 1)), "fc.weight_v": np.full((2, 4), 3.0)}
    >>> {name: array.tolist() for name, array in fold(arrays).items()}
    {'fc.bias': [0.0, 0.0], 'fc.weight': [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]}
    """
    found = dict(arrays)
    changed = True
    while changed:  # a pruned part of a norm is folded before the norm
        changed = False
        for name in list(found):
            for stem, weight, rule in _rules(name):
                parts = [stem + end for end in rule.ends]
                if name in found and weight not in found and all(part in found for part in parts):
                    found = _replaced(found, parts, weight, rule)
                    changed = True
    left = next((name for name in found if PARAMETRIZED.fullmatch(name)), None)
    if left is not None and (match := PARAMETRIZED.fullmatch(left)):
        raise ConvertError(
            f"parametrization of {match[2]} in layer {match[1] or ''!r} must be weight_norm or spectral_norm, got "
            f"{left}: {REMEDY.format(name=match[2])}"
        )
    return found


def _rules(name: str) -> list[tuple[str, str, Rule]]:
    """What an array may be the first part of: the stem of the parts, the weight, and how it is made."""
    match = PARAMETRIZED.fullmatch(name)
    if match:
        layer = f"{match[1]}." if match[1] else ""
        stem = f"{layer}parametrizations.{match[2]}."
        return [(stem, layer + match[2], rule) for rule in PARTS if match[3] == rule.ends[0]]
    return [
        (stem, stem, rule) for rule in HOOKS if name.endswith(rule.ends[0]) and (stem := name[: -len(rule.ends[0])])
    ]


def _replaced(arrays: dict[str, Array], parts: list[str], weight: str, rule: Rule) -> dict[str, Array]:
    """The arrays with a weight in the place of its first part."""
    given = [arrays[part] for part in parts]
    kind = np.result_type(np.float32, *(a.dtype for a in given if a.dtype.kind == "f"))
    try:
        with np.errstate(all="ignore"):  # what is not finite is said of the weight
            made = rule.weight(*(a.astype(np.float64) for a in given)).astype(kind)
    except ConvertError as error:
        raise ConvertError(f"parts of {weight!r} ({', '.join(parts)}): {error}") from error
    if not np.isfinite(made).all() and all(np.isfinite(a).all() for a in given):
        raise ConvertError(f"parts of {weight!r} ({', '.join(parts)}) must give finite weights, got a norm of 0")
    first = next(name for name in arrays if name in parts)
    result: dict[str, Any] = {}
    for name, array in arrays.items():
        if name == first:
            result[weight] = made
        if name not in parts:
            result[name] = array
    return result
