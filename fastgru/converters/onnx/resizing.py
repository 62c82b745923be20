"""Resize and Upsample: every axis by itself, as the linear map that onnx's reference makes of its unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from ...errors import ConvertError
from ...graph import Dense, Gather
from ..tensors.values import Array, Tensor
from .call import Call, Translator

LARGEST = 2**20  # elements of one axis's map: it is made by a reference that is written for clarity


POLICIES = {"stretch": max, "not_larger": min, "not_smaller": max}


def resize(call: Call) -> Tensor:
    """Resize by constant scales or sizes."""
    x = call.tensor(0)
    old = call.opset < 11  # scales alone, and one way to count coordinates
    scales = call.optional(1 if old else 2, "scales")
    sizes = None if old else call.optional(3, "sizes")
    names = ("antialias", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "mode", "nearest_mode")
    options = {n: v for n in names if (v := call.attr(n)) is not None}
    if options.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise ConvertError("coordinate_transformation_mode must not be 'tf_crop_and_resize', got it")
    call.attr("extrapolation_value")  # of that mode alone
    if old:
        options |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    axes = call.axes(call.attr("axes") or range(x.rank), x.rank)
    policy = call.attr("keep_aspect_ratio_policy", "stretch")
    if policy not in POLICIES:
        raise ConvertError(f"keep_aspect_ratio_policy must be one of {', '.join(POLICIES)}, got {policy!r}")
    if sizes is not None and sizes.size == len(axes) and policy != "stretch":
        own = np.array([x.spec.shape[x.frame_axis(a)] for a in axes])
        scale = POLICIES[policy]((sizes / own).tolist())
        sizes = np.floor(scale * own + 0.5).astype(np.int64)
    return _resized(call, x, axes, scales, sizes, options)


def upsample(call: Call) -> Tensor:
    """Upsample, which Resize replaced."""
    x = call.tensor(0)
    scales = np.asarray(call.attr("scales"), np.float32) if call.opset < 9 else call.array(1, "scales")
    options = {"mode": call.attr("mode", "nearest"), "coordinate_transformation_mode": "asymmetric",
               "nearest_mode": "floor"}  # fmt: skip
    return _resized(call, x, range(x.rank), scales, None, options)


def _resized(
    call: Call, x: Tensor, axes: Sequence[int], scales: Array | None, sizes: Array | None, options: dict[str, Any]
) -> Tensor:
    given = scales if scales is not None and scales.size else sizes
    if given is None or given.size != len(axes):
        raise ConvertError(f"scales or sizes must have {len(axes)} entries, got {given}")
    for axis, value in zip(axes, given.reshape(-1), strict=True):
        if given is scales and value == 1:
            continue
        frame = x.frame_axis(axis)
        n = x.spec.shape[frame]
        if given is scales:
            matrix = _matrix(n, np.array([value, 1], np.float32), None, options)
        else:
            matrix = _matrix(n, None, np.array([value, n], np.int64), options)
        x = _mapped(call, x, frame, matrix)
    return x


def _matrix(n: int, scales: Array | None, sizes: Array | None, options: dict[str, Any]) -> Array:
    """The map of one axis of n elements, (M, n)."""
    given = sizes if scales is None else scales
    assert given is not None
    m = int(given[0] if scales is None else n * given[0])
    if not 0 < m * n <= LARGEST:
        raise ConvertError(f"axis must have at most {LARGEST} elements times those it is made of, got {m} from {n}")
    names = ["x", "", "", "given"] if scales is None else ["x", "", "given"]
    return _run(helper.make_node("Resize", names, ["y"], **options), {"x": np.eye(n, dtype=np.float32), "given": given})


def _run(node: NodeProto, inputs: dict[str, Array]) -> Array:
    infos = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in inputs.items()
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "resize", infos, outputs)
    try:
        (y,) = ReferenceEvaluator(graph, opsets={"": 19}).run(None, inputs)
    except Exception as error:  # whatever the reference raises on attributes that do not fit
        raise ConvertError(f"attributes must be those of a Resize, got {type(error).__name__}: {error}") from error
    return np.asarray(y, dtype=np.float32)


def _mapped(call: Call, x: Tensor, frame: int, matrix: Array) -> Tensor:
    """`matrix` applied along a frame axis: a Gather where it only picks."""
    if np.all((matrix == 0) | (matrix == 1)) and np.all(matrix.sum(axis=1) == 1):
        y = call.add(Gather(frame), x.value, call.constant(matrix.argmax(axis=1), "int"))
        return call.result(y, x.axes, x.elem)
    rest = [i for i in range(len(x.spec.shape)) if i != frame]
    y = call.add(Dense(matrix), call.transpose(x.value, [*rest, frame]))
    last = len(rest)
    return call.result(call.transpose(y, [*range(frame), last, *range(frame, last)]), x.axes, x.elem)


OPERATORS: dict[str, Translator] = {"Resize": resize, "Upsample": upsample}
