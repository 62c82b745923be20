"""Like: a layer without its arrays, for files that hold weights but not the layers they belong to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .._hints import like_item
from .._names import nearest
from ..errors import GraphError
from .described import Described
from .op import Op
from .recurrent import MERGES, Bidirectional, Recurrent

LAYOUTS = (None, "cudnn")


@dataclass(frozen=True)
class Like:
    """What a weights-only file does not say about one layer. Made by `like`, never by hand.

    Attributes
    ----------
    op : type
        The layer's class: an `Op`, a `Described` layer, or `Bidirectional`.
    name : str or None
        The layer's name in the file; None takes the next layer in the file's order.
    layout : {None, "cudnn"}
        How the arrays are laid out when not as the source's usual ones.
    attributes : dict
        Keyword arguments of `op` that are not arrays.
    inner : Like or None
        The wrapped layer of a `Bidirectional`.
    inputs : tuple of str or None
        Names of what it reads; None reads the layer before it.
    """

    op: type[Any]
    name: str | None = None
    layout: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    inner: Like | None = None
    inputs: tuple[str, ...] | None = None

    def takes_arrays(self) -> bool:
        """Return True if layers of the class have arrays: more than attributes alone."""
        if issubclass(self.op, Described):
            return self.op.has_arrays(self.attributes)
        return self.op is Bidirectional or any("axes" in field.metadata for field in dataclasses.fields(self.op))

    def __str__(self) -> str:
        return self.op.__name__ + (f" {self.name!r}" if self.name else "")


def like(
    op: type[Any],
    *,
    name: str | None = None,
    layout: str | None = None,
    inputs: Sequence[str] | None = None,
    **attributes: Any,
) -> Like:
    """Describe a layer by its class and attributes; sizes come from the file's arrays.

    Parameters
    ----------
    op : type
        A class of `fastgru.layers`.
    name : str, optional
        The layer's name in the file, when the order of the file is not the order of the chain.
    layout : {None, "cudnn"}
        ``"cudnn"`` for the legacy CuDNNLSTM and CuDNNGRU layers of Keras 2.
    inputs : sequence of str, optional
        Names of the layers that it reads, ``"x"`` for the model's input; the layer before it when omitted.
    **attributes
        Attributes of the class, e.g. ``reset_after=False``; for `Bidirectional`, ``merge`` and
        ``inner``, a `Like`.

    Raises
    ------
    GraphError
        When an attribute is not one of the class's.

    Examples
    --------
    >>> from fastgru.layers import GRU, like
    >>> like(GRU, reset_after=False, activation="relu").attributes
    {'reset_after': False, 'activation': 'relu'}
    >>> from fastgru.layers import Concat
    >>> like(Concat, name="skip", inputs=["x", "gru"]).inputs
    ('x', 'gru')
    """
    if not (isinstance(op, type) and issubclass(op, Op | Described | Bidirectional)):
        raise GraphError(f"like must be given a class of fastgru.layers, got {op!r}")
    if inputs is not None and (isinstance(inputs, str) or not inputs or not all(isinstance(n, str) for n in inputs)):
        raise GraphError(f"inputs of {like_item(op.__name__)} must be a list of names, got {inputs!r}")
    if layout not in LAYOUTS:
        raise GraphError(f"layout must be one of {', '.join(map(str, LAYOUTS))}, got {layout!r}")
    if issubclass(op, Bidirectional):
        inner = attributes.pop("inner", None)
        if not (isinstance(inner, Like) and issubclass(inner.op, Recurrent)):
            raise GraphError(f"inner of like(Bidirectional) must be like() of a recurrent layer, got {inner!r}")
        allowed = ["merge"]
        if attributes.get("merge", "concat") not in MERGES:
            raise GraphError(f"merge must be one of {', '.join(map(str, MERGES))}, got {attributes['merge']!r}")
    else:
        inner = None
        allowed = [f.name for f in dataclasses.fields(op) if "axes" not in f.metadata]
    unknown = [k for k in attributes if k not in allowed]
    if unknown:
        raise GraphError(
            f"attribute of {like_item(op.__name__)} must be one of {nearest(unknown[0], allowed)}, "
            f"got {', '.join(map(repr, unknown))}"
        )
    return Like(op, name, layout, attributes, inner, None if inputs is None else tuple(inputs))
