"""Weights that dynamic quantization packed, in a state_dict: codes with their scales, under names of their own.

``torch.save`` writes what a packed weight unpacks to: tensors and numbers in an object of class ``torch.ScriptObject``,
which are read without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ...errors import ConvertError
from ...graph import Graph
from .layers import Array
from .rebuilt import Quantized, Unknown

CELL = re.compile(r"(?:(.*)\.)?_all_weight_values\.(\d+)\.param")  # of a stack, in the order of layers and directions
LINEAR = re.compile(r"(?:(.*)\.)?_packed_params\.(_packed_params|_packed_weight)")
CELL_ALONE = re.compile(r"(?:(.*)\.)?_packed_weight_(ih|hh)")
BESIDE = ("scale", "zero_point", "_packed_params.dtype")  # of a Linear or Embedding: of its output, not of its weights
REMEDY = "load it into the quantized module, module.load_state_dict(...), and convert the module"
FLOAT_REMEDY = "save the state_dict of the float module, and quantize what is imported (precision='int8')"
PRECISIONS = {"quantized_dynamic": "int8", "quantized_fp16": "float16"}


class Unpacked(NamedTuple):
    """A state_dict with arrays under the names of float layers, and the precision of each layer that was packed."""

    arrays: Mapping[Any, Any]
    precisions: dict[str, str]


def unpacked(nested: Mapping[Any, Any], what: str) -> Unpacked:
    """Return a state_dict with the weights of its quantized layers as those of the layers that they were.

    Raises
    ------
    ConvertError
        When layers were quantized by calibration, or their weights do not tell of which layer they are.
    """
    if not any(isinstance(v, Quantized) or (isinstance(n, str) and is_packed(n)) for n, v in nested.items()):
        return Unpacked(nested, {})
    found: dict[Any, Any] = {}
    precisions: dict[str, str] = {}
    stacks: dict[str, list[dict[str, Array]]] = {}
    beside: set[str] = set()
    for name, value in nested.items():
        text = name if isinstance(name, str) else ""
        if match := CELL.fullmatch(text):
            path = match[1] or ""
            found.setdefault(("stack", path), None)  # the place of its arrays
            cell, precisions[path] = _cell(value, f"{text!r} of {what}")
            stacks.setdefault(path, []).append(cell)
        elif match := LINEAR.fullmatch(text):
            path = match[1] or ""
            own = value if type(value) is tuple else (value, None)
            _put(found, path, {"weight": own[0], "bias": own[1] if len(own) > 1 else None}, f"{text!r} of {what}")
            if match[2] == "_packed_params":
                precisions[path] = "int8" if isinstance(own[0], Quantized) else "float16"
            beside |= {_joined(path, end) for end in BESIDE}
        elif match := CELL_ALONE.fullmatch(text):
            path = match[1] or ""
            weight, bias = _linear(value, f"{text!r} of {what}")
            _put(found, path, {f"weight_{match[2]}": weight, f"bias_{match[2]}": bias}, f"{text!r} of {what}")
            precisions[path] = "int8" if isinstance(weight, Quantized) else "float16"
        else:
            found[name] = value
    _check_calibrated(found, beside, what)
    result: dict[Any, Any] = {}
    for name, value in found.items():
        if type(name) is tuple and name[:1] == ("stack",):
            result |= _stack(name[1], stacks[name[1]], what)
        elif name not in beside:
            result[name] = value.numbers() if isinstance(value, Quantized) else value
    return Unpacked(result, precisions)


def is_packed(name: str) -> bool:
    """Return True for the name of a packed weight."""
    return any(pattern.fullmatch(name) for pattern in (CELL, LINEAR, CELL_ALONE))


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _put(found: dict[Any, Any], path: str, arrays: Mapping[str, Any], what: str) -> None:
    for name, value in arrays.items():
        if value is not None:
            found[_joined(path, name)] = value if isinstance(value, Quantized) else _array(value, what)


def _array(value: Any, what: str) -> Array:
    if isinstance(value, Quantized):
        return value.numbers()
    if not isinstance(value, np.ndarray):
        raise ConvertError(f"{what} must hold the tensors of packed weights, got another object: {REMEDY}")
    return value


def _check_calibrated(found: Mapping[Any, Any], beside: set[str], what: str) -> None:
    """Raise where a scale or zero point is one of activations: that of dynamic quantization is 1 and 0."""
    for name, value in found.items():
        end = name.rpartition(".")[2] if isinstance(name, str) else ""
        if end not in BESIDE or not isinstance(value, np.ndarray) or value.size != 1:
            continue
        path = name.rpartition(".")[0]
        coded = isinstance(found.get(_joined(path, "weight")), Quantized)
        if (name in beside and value.item() != (end == "scale")) or (name not in beside and coded):
            raise ConvertError(
                f"layer {path!r} of {what} must be a float one, or one of torch.ao.quantization.quantize_dynamic, got "
                f"one that was quantized by calibration ({end} {value.item():g} of its outputs): {FLOAT_REMEDY}"
            )


def _state(value: Any) -> tuple[Any, ...]:
    """What a packed weight unpacks to: (what it is made of, the name of its class)."""
    state: Any = value.state if isinstance(value, Unknown) else None
    inner = state[0] if type(state) is tuple and state else None
    return inner if type(inner) is tuple else ()


def _two(value: Any) -> bool:
    return type(value) is list and len(value) == 2


def _linear(value: Any, what: str) -> tuple[Any, Any]:
    """The weight and bias of a packed product."""
    pair = _state(value)
    if len(pair) != 2:
        raise ConvertError(f"{what} must hold a weight and a bias, got {value!r} without them: {REMEDY}")
    return pair


def _cell(value: Any, what: str) -> tuple[dict[str, Array], str]:
    """The arrays of one layer and direction of a stack, and their precision."""
    inner = _state(value)
    kind = inner[0] if len(inner) == 5 and type(inner[0]) is str else ""
    if kind not in PRECISIONS or not _two(inner[4]):
        raise ConvertError(f"{what} must hold the packed weights of a quantized LSTM or GRU, got {value!r}: {REMEDY}")
    tensors, products = inner[1], inner[4]
    arrays: dict[str, Any] = {}
    for end, product in zip(("ih", "hh"), products, strict=True):
        weight, bias = _linear(product, what)
        arrays |= {f"weight_{end}": weight, f"bias_{end}": bias}
    if _two(tensors):
        arrays |= {"bias_ih": tensors[0], "bias_hh": tensors[1]}
    found = {name: _array(a, what) for name, a in arrays.items() if a is not None}
    if any(found[name].ndim != 2 if name in found else True for name in ("weight_ih", "weight_hh")):
        raise ConvertError(f"{what} must hold two matrices, got {', '.join(str(a.shape) for a in found.values())}")
    return found, PRECISIONS[kind]


def _stack(path: str, cells: list[dict[str, Array]], what: str) -> dict[str, Array]:
    """The arrays of a stack by the names of its layers and directions."""
    inputs = [cell["weight_ih"].shape[-1] for cell in cells]
    hidden = cells[0]["weight_hh"].shape[-1]
    count = len(cells)
    ways = [
        n for n in (1, 2)
        if count % n == 0 and inputs == [*inputs[:1] * n, *[n * hidden] * (count - n)]
    ]  # fmt: skip
    if len(ways) != 1:
        raise ConvertError(
            f"layer {path!r} of {what} must be of one direction or two, got weights that fit "
            f"{'two layers as well as two directions' if ways else 'neither'} ({count} cells of {hidden} units, inputs "
            f"{', '.join(map(str, inputs))}): {REMEDY}"
        )
    found: dict[str, Array] = {}
    for i, cell in enumerate(cells):
        end = f"_l{i // ways[0]}" + "_reverse" * (i % ways[0])
        found |= {_joined(path, name + end): array for name, array in cell.items()}
    return found


def nodes_of(graph: Graph, layers: Mapping[str, str]) -> dict[str, str]:
    """Return the nodes that layers became, to what is said of the layers."""
    return {
        node.name: value
        for node in graph.nodes
        for path, value in layers.items()
        if node.op.matrices and (node.name == path or node.name.startswith((f"{path}.", f"{path}_")))
    }
