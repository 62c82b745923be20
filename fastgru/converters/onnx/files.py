"""ONNX files: what only the onnx package can read is imported when there is one to read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._hints import either, named
from ...errors import ConvertError, require
from ...graph import Like
from .. import Imported


def import_onnx(
    path: str | os.PathLike[str],
    like: Sequence[Like] | None = None,
    *,
    fix: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
    axes: Mapping[str, Sequence[str | None]] | None = None,
    states: Mapping[str, str] | None = None,
) -> Imported:
    """Import a ``.onnx`` file.

    Parameters
    ----------
    path : path
    like : None
        The file describes itself.
    fix : mapping of input to value, optional
        Inputs that are settings, such as a sample rate: the model is imported for these values.
    shapes : mapping of input to sizes, optional
        Sizes that the file leaves open; None keeps what it says.
    axes : mapping of input to labels, optional
        Which axis is the batch ``"B"`` and which time ``"T"``, even where the file fixes their size; None for others.
    states : mapping of input to output, optional
        Which inputs carry on what outputs return; found by name where not given.

    Raises
    ------
    ConvertError
        Listing every operator, attribute and size that cannot be imported, with the nodes.
    """
    if like is not None:
        raise ConvertError(
            f"{named('like')} must be {either('None', 'omitted')} for an ONNX file, which describes itself, got "
            f"{len(like)} layers"
        )
    require("onnx", extra="onnx", purpose="importing ONNX files")
    from . import oracle
    from .reading import read
    from .translation import layouts_of, translate

    source = read(path)
    try:
        found = translate(source, fix=fix, shapes=shapes, axes=axes, states=states)
    except ConvertError as error:
        if type(error) is ConvertError:
            raise
        raise ConvertError(str(error)) from error  # of a class that only the importer and the back end know
    proto = source.proto
    provenance = {
        "framework": f"ONNX opset {source.opsets['']}",
        "producer": f"{proto.producer_name} {proto.producer_version}".strip() or "unknown",
        "source": Path(path).name,
    }
    if found.notes:
        provenance["notes"] = "; ".join(found.notes)
    if source.precision != "float32":
        provenance["precision"] = (
            f"{source.precision} in the file, float32 here; compared within rounding to the former"
        )
    if found.emit.lengths:
        provenance["lengths"] = ", ".join(found.emit.lengths)
    asked = oracle.oracles(path, source, found)
    steps = found.rolled.steps if found.rolled else 0
    return Imported(found.graph, provenance, *asked, steps=steps, layouts=layouts_of(found))
