"""Files of audio plugins: which format one is of is told by what it holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..._hints import either, named
from ...errors import ConvertError
from ...graph import Like
from .. import WEIGHTS_ONLY, Imported
from ..damage import naming
from . import nam, rtneural, trainer
from .fields import Fields, read_json, said

PLAYERS = "no package of Python that plays such files is known"


def import_plugin(
    path: str | os.PathLike[str], like: Sequence[Like] | None = None, *, ignore: Sequence[str] = ()
) -> Imported:
    """Import a model that an audio plugin plays, sample by sample: ``.json``, ``.aidax`` or ``.nam``.

    The formats are RTNeural's, with what AIDA-X adds; Neural Amp Modeler's; that of Automated-GuitarAmpModelling
    (Proteus, NeuralPi); and a state_dict of PyTorch as RTNeural's examples write it. The input is the sample, and
    behind it the knobs where the model has some.

    Parameters
    ----------
    path : path
    like : sequence of Like, optional
        For a state_dict: see `fastgru.converters.torch.state_dict.import_state_dict`. The others describe themselves.
    ignore : sequence of str
        Of a state_dict: see `fastgru.converters.torch.groups.find_weights`.

    Raises
    ------
    ConvertError
        Naming the field of the file that is not understood.
    """
    name = os.fspath(path)
    with naming(repr(name), "a model of an audio plugin"):
        file = Fields(read_json(path))
        kind = _kind(file)
        if like is not None and kind != "a state_dict":
            raise ConvertError(
                f"{named('like')} must be {either('None', 'omitted')} for a file of {kind}, which describes itself, "
                f"got {len(like)} layers"
            )
        if ignore and kind != "a state_dict":
            raise ConvertError(f"{named('ignore')} must be omitted for a file of {kind}, got {ignore!r}")
        provenance = {"framework": kind, "source": Path(path).name}
        if kind == "a state_dict":
            graph, told = trainer.read_state_dict(file, like, ignore, Path(path).name)
            return Imported(graph, {**provenance, **told, "framework": "PyTorch"}, missing=WEIGHTS_ONLY)
        graph, told = READERS[kind](file)
    return Imported(graph, {**provenance, **told}, missing=PLAYERS)


READERS = {
    "Neural Amp Modeler": nam.read,
    "RTNeural": rtneural.read,
    "Automated-GuitarAmpModelling": trainer.read,
}


def _kind(file: Fields) -> str:
    """Return the format of a file by the fields that only it has."""
    held = file.value
    if "architecture" in held and ("weights" in held or "config" in held):
        return "Neural Amp Modeler"
    if "model_data" in held and "state_dict" in held:
        return "Automated-GuitarAmpModelling"
    if "layers" in held:
        return "RTNeural"
    if held and all(isinstance(name, str) and _is_array(value) for name, value in held.items()):
        return "a state_dict"
    hint = ""
    if "class_name" in held and "config" in held:
        hint = ": it is the config of a Keras model, which holds no weights; save the model as .keras"
    shown = ", ".join(f"{k}: {said(v)}" for k, v in [*held.items()][:8]) or "nothing"
    raise ConvertError(
        "file must hold layers (RTNeural, AIDA-X), architecture and weights (Neural Amp Modeler), model_data and "
        f"state_dict (Automated-GuitarAmpModelling), or the arrays of a state_dict, got {shown[:300]}{hint}"
    )


def _is_array(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, int | float) and not isinstance(value, bool))
