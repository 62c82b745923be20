"""What generation starts from and ends at: prompts, stops, seeds, all checked before anything runs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_array
from .._hints import named
from .choices import is_whole
from .network import Feed, Network

Array = NDArray[Any]
SEEDS = 2**64


class Prompts(NamedTuple):
    """Prompts, as ids where they are given as such, and as inputs of the model."""

    single: bool  # one was given, without a list around it
    ids: list[NDArray[np.int64]]  # empty ones where inputs were given
    inputs: list[Array]  # (T, *frame)

    def repeated(self, count: int) -> Prompts:
        """Return one prompt as many times, for encoder inputs of so many rows."""
        return Prompts(False, self.ids * count, self.inputs * count)


def prompts(given: Any, network: Network, feed: Feed, size: int | None) -> Prompts:
    """Return what `Model.generate` was given as its prompt.

    Parameters
    ----------
    size : int or None
        V, of ids chosen among; None where values are fed back.

    Raises
    ------
    ValueError, TypeError
        Naming the prompt of several.
    """
    axes = 1 + len(feed.frame)
    single, items = _items(given, axes, takes_ids=size is not None)
    ids, inputs = [], []
    for i, item in enumerate(items):
        title = "prompt" if single else f"prompt[{i}]"
        array = as_array(item, title)
        if array.ndim and not len(array):
            raise ValueError(f"{title} must have at least one step, got none")
        if size is not None and array.ndim == 1 and array.dtype.kind in "iu":
            found = checked_ids(array, network.bound if network.ids and feed.function is None else size, title)
            ids.append(found)
            inputs.append(found if network.ids and feed.plain else feed(found))
        else:
            inputs.append(_checked_inputs(array, network, feed, size, title))
            ids.append(np.empty(0, np.int64))
    return Prompts(single, ids, inputs)


def _items(given: Any, axes: int, *, takes_ids: bool) -> tuple[bool, list[Any]]:
    """Return whether one prompt was given alone, and the prompts."""
    if given is None or isinstance(given, str | bytes):
        got = "none" if given is None else f"{str(given)[:20]!r}: make ids of a text, by Vocabulary.encode"
        raise TypeError(f"prompt must be ids or inputs of the model, got {got}")
    if isinstance(given, np.ndarray) or hasattr(given, "__array__"):
        array = as_array(given, "prompt")
        least = 1 if takes_ids and array.dtype.kind in "iu" and array.ndim <= 2 else axes
        return (True, [array]) if array.ndim <= least else (False, list(array))
    if not isinstance(given, Iterable):
        return True, [given]
    items = list(given)
    if not items:
        raise ValueError("prompt must have at least one step, got none")
    if takes_ids and all(np.ndim(item) == 0 for item in items):
        return True, [items]
    depths = {_depth(item) for item in items}
    return (True, [items]) if depths == {axes - 1} and axes > 1 else (False, items)


def _depth(item: Any) -> int:
    """Return the axes of an array or of a list that may be ragged."""
    depth = 0
    while isinstance(item, list | tuple):
        depth += 1
        if not item:
            break
        item = item[0]
    return depth + int(np.ndim(item) if not isinstance(item, list | tuple) else 0)


def checked_ids(array: Array, bound: int | None, title: str) -> NDArray[np.int64]:
    """Return ids (T,) below a bound, ValueError where others are among them."""
    ids = array.astype(np.int64)
    most = np.iinfo(np.int64).max if bound is None else bound
    wrong = np.flatnonzero((ids < 0) | (ids >= most))
    if wrong.size:
        at = int(wrong[0])
        raise ValueError(f"{title} must have ids in 0..{most - 1}, got {array[at]} at index {at}")
    return ids


def _checked_inputs(array: Array, network: Network, feed: Feed, size: int | None, title: str) -> Array:
    """Return a prompt of inputs of the model."""
    expected = ", ".join(["T", *map(str, feed.frame)])
    ids = "integer ids of shape (T,)"
    if network.ids:
        raise ValueError(f"{title} must be {ids}, got {array.dtype} of shape {array.shape}")
    if array.ndim != 1 + len(feed.frame) or array.shape[1:] != feed.frame or array.dtype.kind not in "fiub":
        also = f" or {ids}" if size is not None else ""
        raise ValueError(
            f"{title} must be numbers of shape ({expected}){also}, got {array.dtype} of shape {array.shape}"
        )
    inputs = np.ascontiguousarray(array, network.plan.dtype)
    if not np.isfinite(inputs).all():
        raise ValueError(f"{title} must be finite numbers, got NaN or infinity at step {_first_wrong(inputs)}")
    return inputs


def _first_wrong(inputs: Array) -> int:
    return int(np.flatnonzero(~np.isfinite(inputs.reshape(len(inputs), -1)).all(axis=1))[0])


# Stops -------------------------------------------------------------------------------------------


def stops(given: Any, size: int) -> list[tuple[int, ...]]:
    """Return the sequences of ids that end a row.

    Raises
    ------
    ValueError, TypeError
    """
    if given is None:
        return []
    expected = f"{named('stop')} must be an id, or a list of ids and of sequences of ids"
    if is_whole(given):
        given = [given]
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TypeError(f"{expected}, got {given!r}")
    found: list[tuple[int, ...]] = []
    for item in given:
        if is_whole(item):
            found.append((int(item),))
            continue
        if isinstance(item, str | bytes) or not isinstance(item, Iterable):
            raise TypeError(f"{expected}, got {item!r}")
        ids = tuple(item)
        if not ids or not all(map(is_whole, ids)):
            raise ValueError(f"{expected}, got {item!r} in it")
        found.append(tuple(map(int, ids)))
    wrong = next((i for ids in found for i in ids if not 0 <= i < size), None)
    if wrong is not None:
        raise ValueError(f"{named('stop')} must have ids in 0..{size - 1}, got {wrong}")
    return list(dict.fromkeys(found))


# Seeds -------------------------------------------------------------------------------------------


def row_keys(seed: Any, count: int, n: int) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Return the keys and places of the random numbers of `n` rows for each of `count` prompts.

    One seed counts the prompts; a seed for each draws for it as if it were alone.
    """
    samples = np.tile(np.arange(n, dtype=np.uint32), count)
    numbers = np.repeat(np.arange(count, dtype=np.uint32), n)
    if seed is None:
        seed = int.from_bytes(os.urandom(8), "little")
    if is_whole(seed):
        seeds = [seed] * count
    else:
        array = as_array(seed, "seed")
        seeds = array.tolist() if array.ndim == 1 and array.dtype.kind in "iu" else [None]
        numbers[:] = 0
        if len(seeds) != count and None not in seeds:
            raise ValueError(f"seed must be one integer, or one for each of {count} prompts, got {len(seeds)}")
    if not all(is_whole(s) and 0 <= s < SEEDS for s in seeds):
        raise ValueError(f"seed must be an integer from 0 to 2**64 - 1, or a list of such, got {seed!r}")
    keys = np.repeat(np.array([int(s) for s in seeds], np.uint64), n)
    return keys, np.ascontiguousarray(np.stack([samples, numbers], axis=1))
