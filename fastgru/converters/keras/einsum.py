"""EinsumDense: any sum of products of a frame's axes with a kernel's."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from string import ascii_letters
from typing import NamedTuple

from ...errors import ConvertError
from ...graph import Add, Dense, MatMul, Reduce, Reshape, Transpose
from .activations import apply
from .rows import LORA, Row, one, take
from .values import AcrossTime, Array, Context, Layer, Value, shortened


class Equation(NamedTuple):
    """The letters of an input's, the kernel's and the output's axes, batch and time left out."""

    x: str
    kernel: str
    y: str


def _equation(layer: Layer, x: Value) -> Equation:
    """What the layer's equation says for this input."""
    text = str(layer.get("equation")).replace(" ", "")
    left, arrow, y = text.partition("->")
    terms = left.split(",")
    bare = [term.replace("...", "", 1) for term in (*terms, y)]
    plain = all(term.isalpha() and len(set(term)) == len(term) for term in bare)
    if not arrow or len(terms) != 2 or "..." in terms[1] or not plain:
        raise ConvertError(f"equation of {layer} must be of an input and a kernel without repeats, got {text!r}")
    free = (c for c in ascii_letters if c not in text)
    rest = "".join(next(free) for _ in range(x.rank - len(bare[0]))) if "..." in terms[0] else ""
    given, result = terms[0].replace("...", rest), y.replace("...", rest)
    known = set(result) <= {*given, *terms[1]} and set(terms[1]) <= {*given, *result}
    if len(given) != x.rank or not known or ("..." in y) > ("..." in terms[0]):
        raise ConvertError(f"equation of {layer} must fit the {x.rank} axes of its input, got {text!r}")
    lead = 1 + x.timed
    if given[:1] in terms[1] or result[:1] != given[:1]:
        raise ConvertError(f"equation of {layer} must keep the batch in front, got {text!r}")
    if given[:lead] != result[:lead] or set(given[:lead]) & set(terms[1]):
        raise AcrossTime(f"equation of {layer} must keep time behind the batch, got {text!r}")
    return Equation(given[lead:], terms[1], result[lead:])


def einsum_dense(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """A product with the kernel, then the bias and the activation."""
    x, axes = one(layer, inputs), layer.config.get("bias_axes")
    if axes is not None and not isinstance(axes, str):
        raise ConvertError(f"bias_axes of {layer} must be letters or null, got {shortened(axes)}")
    kernel, *bias = take(layer, arrays, "kernel", *["bias"] * bool(axes))
    letters = _equation(layer, x)
    if kernel.ndim != len(letters.kernel):
        raise ConvertError(f"kernel of {layer} must have {len(letters.kernel)} axes, got shape {kernel.shape}")
    sizes = {**dict(zip(letters.x, x.frame, strict=True)), **dict(zip(letters.kernel, kernel.shape, strict=True))}
    if any(sizes[c] != n for c, n in zip(letters.x, x.frame, strict=True)):
        raise ConvertError(f"kernel of {layer} must fit the input {x.spec}, got shape {kernel.shape}")
    y = _product(layer, x, kernel, letters, sizes, ctx)
    if bias:
        if not set(axes or "") <= set(letters.y):
            raise ConvertError(f"bias_axes of {layer} must be axes of the output behind time, got {axes!r}")
        shape = tuple(sizes[c] if c in (axes or "") else 1 for c in letters.y)
        if bias[0].size != prod(shape):
            raise ConvertError(f"bias of {layer} must have {prod(shape)} elements, got shape {bias[0].shape}")
        y = ctx.add(Add(), y, ctx.constant(bias[0].reshape(shape), name=f"{layer.name}.bias"), name=f"{layer.name}.add")
    return [apply(layer, y, ctx)]


def _product(layer: Layer, x: Value, kernel: Array, letters: Equation, sizes: dict[str, int], ctx: Context) -> Value:
    """The sum over what the output lacks, its axes in the output's order."""
    own, k, y = letters
    gone = [i for i, c in enumerate(own) if c not in k + y]
    if gone:
        x = ctx.add(Reduce("sum", tuple(gone), keepdims=False), x, name=f"{layer.name}.sum")
        own = "".join(c for c in own if c in k + y)
    both, summed = ([c for c in k if c in own and (c in y) == kept] for kept in (True, False))
    rows, free = [c for c in own if c not in k], [c for c in k if c not in own]
    m, n, units = (prod(sizes[c] for c in group) for group in (rows, summed, free))
    x = _moved(layer, x, own, both + rows + summed, ctx)
    kernel = kernel.transpose([k.index(c) for c in both + summed + free])
    if both:
        count = prod(sizes[c] for c in both)
        x = ctx.add(Reshape((count, m, n)), x, name=f"{layer.name}.rows")
        fixed = ctx.constant(kernel.reshape(count, n, units), name=f"{layer.name}.kernel")
        z = ctx.add(MatMul(), x, fixed, name=f"{layer.name}.product")
    else:
        x = ctx.add(Reshape((m, n)), x, name=f"{layer.name}.rows") if x.frame[-1:] != (n,) else x
        z = ctx.add(Dense(kernel.reshape(n, units).T), x, name=f"{layer.name}.product")
    order = both + rows + free
    if z.frame != (shape := tuple(sizes[c] for c in order)):
        z = ctx.add(Reshape(shape), z, name=f"{layer.name}.axes")
    return _moved(layer, z, order, y, ctx)


def _moved(layer: Layer, x: Value, axes: Sequence[str], wanted: Sequence[str], ctx: Context) -> Value:
    """The frame's axes in another order."""
    if list(axes) == list(wanted):
        return x
    return ctx.add(Transpose(tuple(axes.index(c) for c in wanted)), x, name=f"{layer.name}.order")


ROWS = {
    "EinsumDense": Row(
        einsum_dense, "equation bias_axes activation", "output_shape",
        {**LORA, "gptq_unpacked_column_size": (None,)},
    )
}  # fmt: skip
