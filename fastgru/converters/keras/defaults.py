"""Defaults of old versions of Keras, for the attributes that `like` leaves out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..._hints import either
from ...graph import GRU, LSTM, Activation, Like
from .activations import HARD_SIGMOID_SLOPE
from .values import Version

GATED: tuple[type[Any], ...] = (LSTM, GRU)
GATE = "gate_activation"
# Keras 2.3 made sigmoid the default of gates, as TensorFlow 2.0 did, whose Keras calls itself 2.2.4-tf.
SIGMOID_SINCE = (2, 3)
EITHER = (2, 2)  # with TensorFlow: of its versions 1.13 to 1.15, and of 2.0 and 2.1


class Defaulted(NamedTuple):
    """The layers with what their Keras took by default, what to tell of it, and whether it is no default of today."""

    like: Sequence[Like] | None
    notes: tuple[str, ...] = ()
    assumed: bool = False


def with_defaults(like: Sequence[Like], wrote: Any) -> Defaulted:
    """Complete `like` with the defaults of the Keras that wrote the file.

    Parameters
    ----------
    like : sequence of Like
    wrote : str or None
        ``keras_version`` of the file.

    Examples
    --------
    >>> found = with_defaults([Like(LSTM)], "2.2.4")
    >>> found.like[0].attributes
    {'gate_activation': 'hard_sigmoid'}
    """
    version = Version.of(wrote) if isinstance(wrote, str) else None
    if version is None:
        return Defaulted(like)
    if version.major >= 3:
        return Defaulted([_with_slope(item) for item in like])
    silent = [item for item in like if _silent(item)]
    if not silent or (version.major, version.minor) >= SIGMOID_SINCE:
        return Defaulted(like)
    names = ", ".join(dict.fromkeys(str(item) for item in silent))
    say = either(f"like(..., {GATE}='{{}}')", f"{GATE}={{}}")
    if version.tensorflow and (version.major, version.minor) == EITHER:
        return Defaulted(
            like,
            (
                f"gates of {names} are taken to be sigmoid, the default of Keras {wrote} in TensorFlow 2; in "
                f"TensorFlow 1 it was hard_sigmoid: say {say.format('hard_sigmoid')} if it wrote the file",
            ),
        )
    told = (
        f"gates of {names} are hard_sigmoid, the default of Keras {wrote}: say {say.format('sigmoid')} if they were "
        "made with recurrent_activation='sigmoid'"
    )
    return Defaulted([_hard(item) if item in silent else item for item in like], (told,), assumed=True)


def _silent(item: Like) -> bool:
    """True if `like` does not say what the gates of a layer are; those of cuDNN are sigmoid."""
    if item.inner is not None:
        return _silent(item.inner)
    return item.op in GATED and item.layout != "cudnn" and GATE not in item.attributes


def _hard(item: Like) -> Like:
    if item.inner is not None:
        return dataclasses.replace(item, inner=_hard(item.inner))
    return dataclasses.replace(item, attributes={**item.attributes, GATE: "hard_sigmoid"})


def _with_slope(item: Like) -> Like:
    """The hard_sigmoid of Keras 3, which is another function than that of Keras 2, where `like` says that word."""
    if item.inner is not None:
        return dataclasses.replace(item, inner=_with_slope(item.inner))
    slope = Activation("hard_sigmoid", alpha=HARD_SIGMOID_SLOPE[3], beta=0.5)
    said = {key: slope if value == "hard_sigmoid" else value for key, value in item.attributes.items()}
    return dataclasses.replace(item, attributes=said)
