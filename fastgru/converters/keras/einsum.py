"""EinsumDense: any sum of products of a value's axes with a kernel's."""

from __future__ import annotations

from math import prod

from ...errors import ConvertError
from ...graph import Add
from ..program.products import einsum
from ..program.sizes import Dim
from ..program.views import joint
from .activations import apply
from .draft import Draft
from .rows import LORA, Row, one, take
from .values import Array, Context, Layer, Value, shortened


def einsum_dense(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """A product with the kernel, then the bias and the activation."""
    x, axes = one(layer, inputs), layer.config.get("bias_axes")
    if axes is not None and not isinstance(axes, str):
        raise ConvertError(f"bias_axes of {layer} must be letters or null, got {shortened(axes)}")
    kernel, *bias = take(layer, arrays, "kernel", *["bias"] * bool(axes))
    equation = str(layer.get("equation")).replace(" ", "")
    if "->" not in equation:
        raise ConvertError(f"equation of {layer} must have a result, got {equation!r}")
    b = Draft(layer.name, ctx, "product")
    y = einsum(b, equation, [b.read(x), kernel])
    for array in bias:
        letters = equation.partition("->")[2]
        letters = letters.replace("...", "." * (y.rank - len(letters) + 3))
        shape = [y.size(i) if c in (axes or "") else 1 for i, c in enumerate(letters)]
        sizes = [n for n in shape if not isinstance(n, Dim)]
        if len(sizes) < len(shape) or not set(axes or "") <= set(letters):
            raise ConvertError(f"bias_axes of {layer} must be axes of the output behind time, got {axes!r}")
        if array.size != prod(sizes):
            raise ConvertError(f"bias of {layer} must have {prod(sizes)} elements, got shape {array.shape}")
        y = joint(b, Add(), y, b.lift(array.reshape(sizes)))
    return [apply(layer, b.finish(y), ctx)]


ROWS = {
    "EinsumDense": Row(
        einsum_dense, "equation bias_axes activation", "output_shape",
        {**LORA, "gptq_unpacked_column_size": (None,)},
    )
}  # fmt: skip
