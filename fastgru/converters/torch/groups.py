"""The arrays of a checkpoint: out of their wrappings, and grouped by the layer they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import ConvertError
from .layers import Array, Arrays

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which checkpoints keep a state_dict
PREFIXES = ("module.", "_orig_mod.")  # put before every name by DataParallel and by torch.compile
MOST_PREFIXES = 8  # one within the other
IGNORED = ("num_batches_tracked",)  # a counter of training


def unwrap(nested: Any, what: str) -> dict[str, Array]:
    """The state_dict in a checkpoint, without a prefix that all names share.

    Examples
    --------
    >>> import numpy as np
    >>> list(unwrap({"epoch": 3, "state_dict": {"module.fc.weight": np.ones((1, 2))}}, "example"))
    ['fc.weight']
    """
    for _ in range(len(WRAPPERS) + 1):
        if not isinstance(nested, Mapping) or not nested:
            got = "an empty one" if isinstance(nested, Mapping) else type(nested).__name__
            raise ConvertError(f"{what} must hold a state_dict, got {got}")
        wrapped = [key for key in WRAPPERS if isinstance(nested.get(key), Mapping)]
        if not wrapped:
            break
        if len(wrapped) > 1:
            raise ConvertError(f"{what} must hold one state_dict, got one under each of {', '.join(wrapped)}")
        nested = nested[wrapped[0]]
    others = [repr(key) for key, a in nested.items() if not (isinstance(key, str) and isinstance(a, np.ndarray))]
    if others:
        raise ConvertError(
            f"{what} must hold only arrays, or a state_dict under one of {', '.join(WRAPPERS)}, "
            f"got something else under {', '.join(others[:8])}"
        )
    names = dict(nested)
    for _ in range(MOST_PREFIXES):
        prefix = next((p for p in PREFIXES if all(n.startswith(p) for n in names)), None)
        if prefix is None:
            break
        names = {name.removeprefix(prefix): array for name, array in names.items()}
    return names


def group_arrays(arrays: Arrays, what: str) -> dict[str, dict[str, Array]]:
    """Arrays by module path, then by their own name, in the file's order; training's counters are dropped."""
    groups: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        path, _, leaf = name.rpartition(".")
        if leaf not in IGNORED:
            groups.setdefault(path, {})[leaf] = array
    if not groups:
        raise ConvertError(f"{what} must hold the weights of at least one layer, got none")
    return groups
