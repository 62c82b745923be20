"""Linear forms: what the gates of a cell are made of, and the weights of a layer from those of its gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..graph import Activation, Recurrent
from ..graph.activations import F64
from .algebra import Algebra, Key, Sum, total
from .elements import Ids


class Match(NamedTuple):
    """A cell that was recognised.

    Attributes
    ----------
    op : Recurrent
        The layer, without what it starts from.
    x : array
        The elements that it reads.
    y : array
        The elements that are its output.
    states : dict of str to str
        The value of the State node of each of its states.
    """

    op: Recurrent
    x: Ids
    y: Ids
    states: dict[str, str]


class Form(NamedTuple):
    """The sum of products of a matrix (N, K) and a vector (K elements), a bias (N,) and what is left."""

    products: list[tuple[F64, Ids]]
    bias: F64
    rest: Sum


class Gate(NamedTuple):
    """An activation and the form it takes."""

    activation: Activation
    form: Form


def form_of(algebra: Algebra, expanded: Sum, size: int) -> Form:
    """The form of a sum."""
    products: list[tuple[F64, Ids]] = []
    bias, rest = np.zeros(size), dict(expanded)
    for term, factor in expanded.items():
        found = algebra.product(term[0]) if len(term) == 1 else None
        if not term:
            bias = bias + factor
        elif found is not None:
            products.append((found.weight * factor[:, None], found.inputs))
            bias = bias + found.bias * factor
        else:
            continue
        del rest[term]
    return Form(products, bias, rest)


def gate_of(algebra: Algebra, key: Key, stops: Sequence[Key]) -> Gate | None:
    """The gate that gives a vector."""
    found = algebra.activated(key)
    if found is None:
        return None
    activation, ids = found
    return Gate(activation, form_of(algebra, algebra.expand(ids, stops), ids.size))


def without(expanded: Sum, factor: Key) -> Sum | None:
    """The sum of which `expanded` is `factor` times; None where it is not."""
    found: list[Sum] = []
    for term, value in expanded.items():
        if factor not in term:
            return None
        left = list(term)
        left.remove(factor)
        found.append({tuple(left): value})
    return total(*found)


class Columns(NamedTuple):
    """A form's matrix of h (N, R), its bias (N,), and its columns (N,) for all other elements."""

    weight_h: F64
    bias: F64
    others: dict[int, F64]


class Weights(NamedTuple):
    """Matrices of gates (G*H, I) and (G*H, R), their bias (G*H,), and the elements that the first multiplies."""

    weight_x: F64
    weight_h: F64
    bias: F64
    x: Ids


def columns_of(algebra: Algebra, form: Form, h: Ids) -> Columns:
    """The columns of a form in which the elements `h` stand for the state."""
    found = Columns(np.zeros((form.bias.size, h.size)), form.bias.copy(), {})
    at = {int(i): j for j, i in enumerate(h)}
    for matrix, inputs in form.products:
        known = _known(algebra, inputs)
        for k, i in enumerate(inputs.tolist()):
            if i in at:
                found.weight_h[:, at[i]] += matrix[:, k]
            elif i in known:
                found.bias[:] += matrix[:, k] * known[i]
            else:
                found.others[i] = found.others.get(i, 0.0) + matrix[:, k]
    return found


def weights_of(algebra: Algebra, gates: Sequence[tuple[Form, Ids]]) -> Weights | None:
    """The weights of gates, each with the elements that stand for h in it; None where they read nothing else."""
    found = [columns_of(algebra, form, h) for form, h in gates]
    x = list(dict.fromkeys(i for columns in found for i in columns.others))
    if not x or min(x) < 0:
        return None
    weight_x = [np.stack([c.others.get(i, np.zeros(c.bias.size)) for i in x], axis=1) for c in found]
    weight_h, bias = np.concatenate([c.weight_h for c in found]), np.concatenate([c.bias for c in found])
    return Weights(np.concatenate(weight_x), weight_h, bias, np.array(x))


def _known(algebra: Algebra, inputs: Ids) -> dict[int, float]:
    """The values of those elements that are constants'."""
    elements, found = algebra.elements, dict[int, float]()
    owners = elements.owners(inputs)
    for number in np.unique(owners[inputs >= 0]):
        name = elements.owner_name(int(number))
        array = elements.constant(name)
        if array is not None:
            first, flat = elements.flat(name)[0], array.reshape(-1)
            found.update((int(i), float(flat[i - first])) for i in inputs[owners == number])
    return found


def narrow(array: F64) -> Any:
    """`array` as float32 where that holds every number of it."""
    with np.errstate(over="ignore"):  # what overflows is not equal
        single = array.astype(np.float32)
    return single if np.array_equal(single, array) else array


def fields(weights: Weights) -> dict[str, Any]:
    """The weights as fields of a recurrent op."""
    bias = narrow(weights.bias) if weights.bias.any() else None
    return {"weight_x": narrow(weights.weight_x), "weight_h": narrow(weights.weight_h), "bias": bias}
