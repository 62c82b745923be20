"""Elementwise nodes that scale and shift by constants: what they do, as two arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..graph import Activate, Add, BatchNorm, Binary, Multiply, Node, Unary
from ..graph.activations import F64
from ..reference import f64
from .elements import Elements


class Affine(NamedTuple):
    """x * scale + shift; both broadcast to the frame of the value x."""

    x: str
    scale: F64
    shift: F64


def affine_of(elements: Elements, node: Node) -> Affine | None:
    """What a node does, if it scales and shifts each element of one value, and changes no frame."""
    rule = RULES.get(type(node.op))
    found = rule(elements, node) if rule else None
    specs = elements.graph.specs
    if found is None or specs[found.x] != specs[node.outputs[0]] or specs[found.x].dtype != "float":
        return None
    return found if np.isfinite(found.scale).all() and np.isfinite(found.shift).all() else None


def _operands(elements: Elements, node: Node) -> tuple[str, list[F64]] | None:
    """The one input that is not constant, and the others."""
    arrays = {v: elements.constant(v) for v in node.inputs}
    values = [v for v in node.inputs if arrays[v] is None]
    return (values[0], [f64(a) for v in node.inputs if (a := arrays[v]) is not None]) if len(values) == 1 else None


def _add(elements: Elements, node: Node) -> Affine | None:
    found = _operands(elements, node)
    return Affine(found[0], np.ones(()), f64(sum(found[1][1:], found[1][0]))) if found and found[1] else None


def _multiply(elements: Elements, node: Node) -> Affine | None:
    found = _operands(elements, node)
    if found is None or not found[1]:
        return None
    scale = np.ones(())
    for array in found[1]:
        scale = scale * array
    return Affine(found[0], scale, np.zeros(()))


def _binary(elements: Elements, node: Node) -> Affine | None:
    found, function = _operands(elements, node), node.op.function  # type: ignore[attr-defined]
    if found is None or not found[1]:
        return None
    x, (array,) = found
    first = x == node.inputs[0]
    if function == "sub":
        return Affine(x, np.ones(()), -array) if first else Affine(x, -np.ones(()), array)
    with np.errstate(divide="ignore"):
        return Affine(x, 1.0 / array, np.zeros(())) if function == "div" and first else None


def _batch_norm(elements: Elements, node: Node) -> Affine:
    op: Any = node.op
    scale = f64(op.scale, np.ones(op.mean.shape)) / np.sqrt(f64(op.variance) + op.eps)
    return Affine(node.inputs[0], scale, f64(op.shift, np.zeros(op.mean.shape)) - f64(op.mean) * scale)


def _activate(elements: Elements, node: Node) -> Affine | None:
    activation = node.op.activation  # type: ignore[attr-defined]
    alpha, beta = map(f64, activation.parameters)
    return Affine(node.inputs[0], alpha, beta) if activation.name == "affine" else None


def _unary(elements: Elements, node: Node) -> Affine | None:
    negative = node.op.function == "neg"  # type: ignore[attr-defined]
    return Affine(node.inputs[0], -np.ones(()), np.zeros(())) if negative else None


RULES: Mapping[type[Any], Callable[[Elements, Node], Affine | None]] = {
    Add: _add,
    Multiply: _multiply,
    Binary: _binary,
    BatchNorm: _batch_norm,
    Activate: _activate,
    Unary: _unary,
}
