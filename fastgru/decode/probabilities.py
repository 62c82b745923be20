"""Logits made into log-probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import given
from .given import Doubles


def log_softmax(logits: Any) -> Doubles:
    """Return the log-probabilities of logits: x less log(sum(exp(x))) over the last axis, in double.

    Parameters
    ----------
    logits : (V,), (T, V) or (B, T, V) array

    Raises
    ------
    ValueError, TypeError
        When they are no real numbers below infinity.

    Examples
    --------
    >>> log_softmax([0.0, 0.0]).round(4)
    array([-0.6931, -0.6931])
    """
    array = given.numbers(logits, "logits", {1: "(V,)", 2: "(T, V)", 3: "(B, T, V)"})
    x = given.doubles(array, "logits", given.MOST_FINITE)
    sums = np.logaddexp.reduce(x, axis=-1, keepdims=True)
    found: Doubles = x - np.where(np.isneginf(sums), 0.0, sums)
    return found
