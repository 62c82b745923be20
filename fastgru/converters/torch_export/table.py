"""The ATen operators that the importer translates: one table a file, joined here."""

from __future__ import annotations

import re

from . import (
    activations,
    choices,
    elementwise,
    indexing,
    joins,
    norms,
    pools,
    products,
    recurrent,
    reductions,
    spectral,
    stft,
    views,
    windows,
)
from .call import Handler

TABLE: dict[str, Handler] = {
    name: handler
    for module in (
        activations, choices, elementwise, indexing,
        joins, norms, pools, products, recurrent,
        reductions, spectral, stft, views, windows,
    )
    for name, handler in module.TABLE.items()
}  # fmt: skip

# What operators' names match -> the file of this package that would hold another one like them; the first that fits.
FAMILIES = {
    "pools": "pool|upsample|interpolate|grid_sample",
    "windows": "conv|fold",
    "recurrent": "gru|lstm|rnn",
    "norms": "norm",
    "stft": "stft",
    "spectral": "fft|complex|polar|angle",
    "products": "mm$|matmul|bilinear|einsum|linear|attention|dot$|cdist|outer",
    "indexing": "index|gather|scatter|embedding|take|arange|full|zeros|ones|tri[lu]|one_hot|eye|put",
    "joins": "pad|cat$|stack|split|slice|chunk|narrow",
    "reductions": "sum|mean|prod|max|min|sort|topk|kthvalue|median|var|std|cum|count|any$|all$",
    "activations": "soft|sigmoid|tanh|relu|elu$|shrink|dropout",
    "views": "view|shape|permute|transpose|squeeze|expand|repeat|diagonal|stride",
    "choices": "where|mask|logical|bitwise|eq|isin|close",
}


def find(target: str) -> Handler | None:
    """The translation of ``"namespace::name.overload"``."""
    space, _, full = target.partition("::")
    if space != "aten":
        return TABLE.get(target.partition(".")[0])
    name, _, overload = full.partition(".")
    return TABLE.get(f"{name}.{overload or 'default'}") or TABLE.get(name)


def file_for(target: str) -> str:
    """The file of the package that would hold the translation of an operator."""
    name = target.partition("::")[2].partition(".")[0]
    family = next((f for f, pattern in FAMILIES.items() if re.search(pattern, name)), "elementwise")
    return f"fastgru/converters/torch_export/{family}.py"
