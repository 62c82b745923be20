"""Operators that arrange axes anew and move no element past another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from ...errors import ConvertError
from ..program.lengths import numbered
from ..program.padding import tiled
from ..program.sizes import Dim, Size, product
from ..program.values import Array, Tensor, plain
from ..program.views import expanded, reshaped, with_ones, without
from .call import Call, Translator


def shape(call: Call) -> Array:
    """Shape, or with opset 15 a part of it."""
    sizes = call.tensor(0).sizes()
    return plain(sizes[slice(call.attr("start", 0), call.attr("end"))])


def size(call: Call) -> Array:
    """Size."""
    total = product(call.tensor(0).sizes())
    return plain([total]).reshape(())


def _sizes(call: Call, index: int, what: str) -> list[Size]:
    """An input of sizes, some of which may be symbolic."""
    return [n if isinstance(n, Dim) else int(n) for n in call.array(index, what).reshape(-1)]


def transpose(call: Call) -> Tensor:
    """Transpose: a relabelling, until an op wants an order."""
    x = call.tensor(0)
    perm = call.attr("perm", list(range(x.rank))[::-1])
    if sorted(perm) != list(range(x.rank)):
        raise ConvertError(f"perm must be an order of {x.rank} axes, got {perm}")
    return x.permuted(perm)


def reshape(call: Call) -> Tensor:
    """Reshape; 0 copies a size unless ``allowzero`` is set."""
    x = call.tensor(0)
    target = _sizes(call, 1, "shape")
    zeros = [i for i, n in enumerate(target) if n == 0]
    allowed = call.attr("allowzero", 0)
    if zeros and (allowed or zeros[-1] >= x.rank):
        raise ConvertError(f"shape must have no axis of size 0, got {target}")
    wanted: list[Size] = [x.size(i) if n == 0 else n for i, n in enumerate(target)]
    wrong = [n for n in target if not isinstance(n, Dim) and n < -1]
    if wrong or target.count(-1) > 1:
        raise ConvertError(f"shape must have sizes and at most one -1, got {target}")
    return reshaped(call, x, wanted)


def flatten(call: Call) -> Tensor:
    """Flatten: all axes before one, and all from it on."""
    x = call.tensor(0)
    axis = call.attr("axis", 1)
    axis = axis if axis == x.rank else call.axis(axis, x.rank)
    sizes = x.sizes()
    return reshaped(call, x, (product(sizes[:axis]), product(sizes[axis:])))


def squeeze(call: Call) -> Tensor:
    """Squeeze: the given axes, or all of size 1."""
    x, axes = call.tensor(0), call.ints("axes", 1, 13)
    chosen = [i for i in range(x.rank) if x.size(i) == 1] if axes is None else call.axes(axes, x.rank)
    return without(call, x, chosen)


def unsqueeze(call: Call) -> Tensor:
    """Unsqueeze."""
    x, axes = call.tensor(0), call.ints("axes", 1, 13) or []
    return with_ones(call, x, call.axes(axes, x.rank + len(axes)))


def expand(call: Call) -> Tensor:
    """Expand; along batch or time an axis of size 1 only takes their label."""
    target = _sizes(call, 1, "shape")
    return expanded(call, call.tensor(0), target)


def constant_of_shape(call: Call) -> Tensor:
    """ConstantOfShape with a size that is only known when the model runs: the same for all of them."""
    value = np.asarray(call.attr("value", np.zeros(1, np.float32))).reshape(())
    target = _sizes(call, 0, "shape")
    return expanded(call, call.lift(value), target)


def numbers(call: Call) -> Tensor:
    """Range over the steps of time: from either end, in steps of any size."""
    ends = (call.array(i, name).astype(object).reshape(-1)[0] for i, name in enumerate(("start", "limit", "delta")))
    y = numbered(call, *ends)
    return replace(y, elem=TensorProto.INT64 if y.spec.dtype == "int" else TensorProto.FLOAT)


def tile(call: Call) -> Tensor:
    """Tile along axes of fixed size; a number of times that is not known yet only where there is one element."""
    x = call.tensor(0)
    counts = _sizes(call, 1, "repeats")
    if len(counts) != x.rank:
        raise ConvertError(f"repeats must have {x.rank} entries, got {len(counts)}")
    if any(isinstance(n, Dim) for n in counts):
        if any(n != 1 and x.size(i) != 1 for i, n in enumerate(counts)):
            raise ConvertError("repeats must be fixed for axes of more than one element, got a size of batch or time")
        return expanded(call, x, counts)
    return tiled(call, x, [int(n) for n in counts if not isinstance(n, Dim)])


def depth_to_space(call: Call) -> Tensor:
    """DepthToSpace: channels become blocks of pixels."""
    x, block = call.tensor(0), call.attr("blocksize")
    n, channels, height, width = _image(x)
    mode = _mode(call)
    depth = channels // (block * block)
    if mode == "DCR":
        y, perm = reshaped(call, x, (n, block, block, depth, height, width)), [0, 3, 4, 1, 5, 2]
    else:
        y, perm = reshaped(call, x, (n, depth, block, block, height, width)), [0, 1, 4, 2, 5, 3]
    return reshaped(call, y.permuted(perm), (n, depth, height * block, width * block))


def space_to_depth(call: Call) -> Tensor:
    """SpaceToDepth: blocks of pixels become channels."""
    x, block = call.tensor(0), call.attr("blocksize")
    n, channels, height, width = _image(x)
    mode = _mode(call)
    if height % block or width % block:
        raise ConvertError(f"blocksize must divide {height} and {width}, got {block}")
    y = reshaped(call, x, (n, channels, height // block, block, width // block, block)).permuted(
        [0, 3, 5, 1, 2, 4] if mode == "DCR" else [0, 1, 3, 5, 2, 4]
    )
    return reshaped(call, y, (n, channels * block * block, height // block, width // block))


def _mode(call: Call) -> str:
    """Return the order of a block's elements: blocks or channels first."""
    mode = str(call.attr("mode", "DCR"))
    if mode not in ("DCR", "CRD"):
        raise ConvertError(f"mode must be 'DCR' or 'CRD', got {mode!r}")
    return mode


def _image(x: Tensor) -> tuple[Size, int, int, int]:
    """Sizes of (N, C, H, W), the last three fixed."""
    if x.rank != 4:
        raise ConvertError(f"input must have 4 axes, got {x.rank}")
    c, h, w = (x.spec.shape[x.frame_axis(i)] for i in (1, 2, 3))
    return x.size(0), c, h, w


OPERATORS: dict[str, Translator] = {
    "Shape": shape,
    "Size": size,
    "Transpose": transpose,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Expand": expand,
    "ConstantOfShape": constant_of_shape,
    "Range": numbers,
    "Tile": tile,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
