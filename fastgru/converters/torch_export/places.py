"""Where in a module a call stands and an error arises, and what its owner calls it: for messages."""

from __future__ import annotations

import functools
import re
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from ..damage import line_of
from .counting import is_own

# Operators of ATen that PyTorch's own code calls for a function of another name.
INTERNAL = {
    "col2im": "fold", "im2col": "unfold", "_cdist_forward": "cdist", "_euclidean_dist": "cdist",
    "_unsafe_view": "reshape", "native_layer_norm": "layer_norm", "native_group_norm": "group_norm",
    "native_batch_norm": "batch_norm", "_native_batch_norm_legit_no_training": "batch_norm",
    "native_dropout": "dropout",
    "_fft_r2c": "fft.rfft", "_fft_c2r": "fft.irfft", "_fft_c2c": "fft.fft", "_to_copy": "to", "convolution": "conv1d",
    "_scaled_dot_product_flash_attention_for_cpu": "scaled_dot_product_attention",
    **{f"upsample_{kind}": "interpolate" for kind in (
        "nearest1d", "nearest2d", "nearest3d", "_nearest_exact1d", "linear1d", "bilinear2d", "trilinear3d", "bicubic2d",
    )},
    **{f"_upsample_{kind}": "interpolate" for kind in ("nearest_exact1d", "nearest_exact2d", "bilinear2d_aa")},
    **{f"_{name}": name for name in ("softmax", "log_softmax", "adaptive_avg_pool2d", "weight_norm")},
    **{f"{name}_with_indices": name for name in ("max_pool1d", "max_pool2d", "max_pool3d")},
}  # fmt: skip
ROOMS: dict[str, Any] = {"torch": torch, "torch.nn.functional": functional, "torch.Tensor": torch.Tensor}


@functools.cache
def public(name: str) -> str:
    """Return the public name of a function of PyTorch, by its last part; empty where there is none.

    Examples
    --------
    >>> public("cumsum"), public("col2im"), public("relu_"), public("_unsafe_index_put")
    ('torch.cumsum', 'torch.nn.functional.fold', 'torch.relu_', '')
    """
    *rooms, last = INTERNAL.get(name, name).split(".")
    if last.startswith("_"):
        return ""
    if rooms:
        return ".".join(("torch", *rooms, last))
    found = (room for room, owner in ROOMS.items() if callable(getattr(owner, last, None)))
    return next((f"{room}.{last}" for room in found), "")


def written_as(node: fx.Node) -> str:
    """Return the function of PyTorch that a module's own code calls where a traced call stands; empty if unknown."""
    kind, _, name = (node.meta.get("torch_fn") or ("", ""))[1].partition(".")
    if not name or name.startswith("_"):
        return ""
    if kind.startswith("method"):
        return f"torch.Tensor.{name}"
    return public(name)


def path_of(node: fx.Node) -> tuple[str, str]:
    """Return the path and class of the innermost module that makes a call; empty for the module itself."""
    stack = [entry for entry in (node.meta.get("nn_module_stack") or {}).values() if entry[0] != entry[1]]
    return (str(stack[-1][0]), str(stack[-1][1])) if stack else ("", "")


def name_of(node: fx.Node) -> str:
    """The path of the torch.nn layer that makes the call, else the exporter's name behind the path of its module."""
    path, cls = path_of(node)
    if path and ("torch.nn.modules." in cls or "torch.ao." in cls):
        return path
    return f"{path}.{node.name}" if path else node.name


def shown(node: fx.Node) -> str:
    """A call for a message: the layer or function that its owner wrote, behind the path of its module, and the line."""
    name, place = name_of(node), place_of(node)
    function = written_as(node).rpartition(".")[2]
    if function and not node.name.startswith(function.strip("_")):
        name = name.removesuffix(node.name) + function if name.endswith(node.name) else name
    return f"{name!r}{f' ({place})' * bool(place)}"


def place_of(node: fx.Node) -> str:
    """The line of the module's own code that makes the call."""
    found = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [(file.replace("\\", "/"), line) for file, line in found if is_own(file)]
    return f"line {own[-1][1]} of {own[-1][0].rpartition('/')[2]}" if own else ""


def place_in(error: BaseException) -> str:
    """Where in the module's own code an error arose, in brackets behind a blank; empty if it tells of no forward."""
    trace, found = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if trace.tb_frame.f_code.co_name == "forward" and is_own(file):
            found = f" (line {trace.tb_lineno} of {file.replace(chr(92), '/').rpartition('/')[2]})"
        trace = trace.tb_next
    return found


def raised(error: BaseException) -> str:
    """What was raised, and where in the module's own code."""
    text = line_of(error)
    kind = type(error).__name__
    return f"{kind if text == kind else f'{kind}: {text}'}{place_in(error)}"
