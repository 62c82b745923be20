"""The layers around recurrences as graph ops: Dense, Embedding, norms, activations, masks and merges."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np

from ..errors import GraphError
from . import affine
from .activations import CODES, SOFTMAX, Activation
from .fields import integer
from .op import REST, Op, check_shape, features, one_float_row, param
from .precision import Array
from .spec import ANY, FLOAT, INT, NUMBER, Spec, check_axis, joint_dtype, joint_shape, joint_time, shown, take, whole


class Dense(Op):
    """y = activation(W x + b) along the last axis; W is (O, I), as in ``torch.nn.Linear``.

    Parameters
    ----------
    weight, bias, activation
    precision : {"float32", "float16", "bfloat16", "int8", "int8_affine"}
    input_scale : float, optional
        Of int8_affine: x is rounded to codes 0..255 of this scale and `input_zero`, their zero point, as
        ``activation="fake_quantize"`` rounds it. When omitted each row has a scale and a zero point of its own.
    input_zero : int

    Examples
    --------
    >>> import numpy as np
    >>> Dense(np.ones((2, 3)), activation="softmax").input_spec()
    Spec(shape=(3,), time=True, dtype='float')
    """

    kind: ClassVar[str] = "dense"
    matrices: ClassVar[tuple[str, ...]] = ("weight",)
    weight: Array = param("O", "I")
    bias: Array | None = param("O", optional=True)
    activation: Activation = "linear"  # type: ignore[assignment]
    precision: str = "float32"
    input_scale: float | None = None
    input_zero: int = integer(0, CODES - 1, default=0)

    def problems(self) -> list[str]:
        found: list[str] = []
        check_shape(found, "bias", self.bias, self.weight.shape[:1])
        if self.input_scale is None:
            return found
        if self.precision != "int8_affine":
            found.append(f"precision must be int8_affine with an input_scale, got {self.precision!r}")
        if not affine.is_scale(self.input_scale):
            found.append(f"input_scale must be within 2**-100 and 2**100, got {self.input_scale!r}")
        return found

    def operand(self, x: Array) -> Array:
        if self.input_scale is None:
            return super().operand(x)
        return affine.codes(x, *np.array([[self.input_scale], [self.input_zero]], dtype=np.float32))

    def in_precision(self, precision: str) -> dict[str, Any]:
        fixed: dict[str, Any] = {} if precision == self.precision else {"input_scale": None, "input_zero": 0}
        return super().in_precision(precision) | fixed

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x = features(inputs, self.weight.shape[1])
        return (Spec((*x.shape[:-1], self.weight.shape[0]), x.time),)

    def input_spec(self) -> Spec:
        return Spec(self.weight.shape[1:])

    def macs_for(self, inputs: tuple[Spec, ...]) -> int:
        return self.macs() * prod(inputs[0].shape[:-1])


class Embedding(Op):
    """Row lookup: integer ids of any frame to frame + (E,). Ids outside [0, V) are an error when the model runs."""

    kind: ClassVar[str] = "embedding"
    matrices: ClassVar[tuple[str, ...]] = ("weight",)
    weight: Array = param("V", "E")
    precision: str = "float32"

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (ids,) = take(inputs, INT)
        return (Spec((*ids.shape, self.weight.shape[1]), ids.time),)

    def input_spec(self) -> Spec:
        return Spec((), dtype="int")

    def macs(self) -> int:
        return 0


class LayerNorm(Op):
    """(x - mean) / sqrt(var + eps) * scale + shift over the last axis (Ba et al., arXiv:1607.06450)."""

    kind: ClassVar[str] = "layer_norm"
    scale: Array = param("F")
    shift: Array | None = param("F", optional=True)
    eps: float = 1e-5

    def problems(self) -> list[str]:
        found = [] if self.eps >= 0 else [f"eps must not be negative, got {self.eps!r}"]
        check_shape(found, "shift", self.shift, self.scale.shape)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (features(inputs, self.scale.shape[0]),)

    def input_spec(self) -> Spec:
        return Spec(self.scale.shape)


class BatchNorm(Op):
    """Inference batch norm per feature of the last axis: (x - mean) / sqrt(variance + eps) * scale + shift."""

    kind: ClassVar[str] = "batch_norm"
    mean: Array = param("F")
    variance: Array = param("F")
    scale: Array | None = param("F", optional=True)
    shift: Array | None = param("F", optional=True)
    eps: float = 1e-5

    def problems(self) -> list[str]:
        found = [] if self.eps >= 0 else [f"eps must not be negative, got {self.eps!r}"]
        total = self.variance.astype(np.float64) + self.eps
        if not (total > 0).all():
            found.append(f"variance + eps must be positive, got {float(total.min())!r}")
        for name in ("variance", "scale", "shift"):
            check_shape(found, name, getattr(self, name), self.mean.shape)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (features(inputs, self.mean.shape[0]),)

    def input_spec(self) -> Spec:
        return Spec(self.mean.shape)


class Scaler(Op):
    """(x - mean) / scale, as scalers fitted beside a network compute it.

    Passes leave it alone, unlike BatchNorm: folded into weights, a mean far from zero would cancel in their products.
    Here it is subtracted first, so float32 loses no more than the rounding of the input.

    Parameters
    ----------
    mean, scale : arrays that broadcast to the frame
        No scale is zero.

    Examples
    --------
    >>> import numpy as np
    >>> Scaler(np.array([1e6, 0.0]), np.array([2.0, 4.0])).input_spec()
    Spec(shape=(2,), time=True, dtype='float')
    """

    kind: ClassVar[str] = "scaler"
    mean: Array = param(REST)
    scale: Array = param(REST)

    def problems(self) -> list[str]:
        found: list[str] = []
        largest = np.finfo(np.float32).max
        if not (np.abs(self.mean) <= largest).all():
            found.append("mean must be finite in float32, got a larger number")
        if not ((np.abs(self.scale) >= 1 / largest) & (np.abs(self.scale) <= largest)).all():
            found.append("scale must be finite in float32 and not zero, as must be 1 / scale, got another number")
        try:
            np.broadcast_shapes(self.mean.shape, self.scale.shape)
        except ValueError:
            found.append(f"mean and scale must broadcast, got shapes {self.mean.shape} and {self.scale.shape}")
        return found

    def _shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.mean.shape, self.scale.shape)

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, FLOAT)
        if joint_shape([x.shape, self._shape()]) != x.shape:
            raise GraphError(f"input must have a frame that {self._shape()} broadcasts to, got {x}")
        return (x,)

    def input_spec(self) -> Spec | None:
        shape = self._shape()
        return Spec(shape) if prod(shape) > 1 else None


class Activate(Op):
    """An activation on its own; softmax runs over the last axis."""

    kind: ClassVar[str] = "activate"
    activation: Activation = "linear"  # type: ignore[assignment]

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (features(inputs),) if self.activation.name == SOFTMAX else take(inputs, FLOAT)


class Dropout(Op):
    """Does nothing at inference; kept so that the summary shows the source's layers."""

    kind: ClassVar[str] = "dropout"
    rate: float = 0.5

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        if len(inputs) != 1:
            raise GraphError(f"number of inputs must be 1, got {len(inputs)}")
        return inputs


class Mask(Op):
    """Which steps count: true where any feature (or the id) differs from `value`. (B, T) bool."""

    kind: ClassVar[str] = "mask"
    value: float = 0.0

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        if len(inputs) != 1 or not inputs[0].time or inputs[0].dtype == "bool" or len(inputs[0].shape) > 1:
            raise GraphError(f"input must be rows or ids with a time axis, got {', '.join(map(str, inputs))}")
        return (Spec((), True, "bool"),)


class ApplyMask(Op):
    """Zero the rows that a mask excludes: (x, mask) to x."""

    kind: ClassVar[str] = "apply_mask"

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        if len(inputs) != 2:
            raise GraphError(f"number of inputs must be 2 (x, mask), got {len(inputs)}")
        return (one_float_row(self, inputs, masked=True),)


class Reverse(Op):
    """Flip the time axis (Keras ``go_backwards`` returns its sequence so): x, or (x, lengths).

    With lengths, (B,) int, the first so many steps of each row are flipped, and those behind them stay (ONNX's
    ReverseSequence).
    """

    kind: ClassVar[str] = "reverse"
    blocker: ClassVar[str] = "turns time round: its first output is the last step; give whole sequences"

    @property
    def stepwise(self) -> bool:
        return False

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x, *lengths = take(inputs, FLOAT, INT) if len(inputs) == 2 else take(inputs, FLOAT)
        if lengths and lengths[0] != Spec((), False, "int"):
            raise GraphError(f"lengths must be (B,) int, got {lengths[0]}")
        return (whole(x),)


class Concat(Op):
    """Join one or more inputs along a frame axis; a negative `axis` counts from the last."""

    kind: ClassVar[str] = "concat"
    axis: int = -1

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        dtype, rank = joint_dtype(inputs, ANY), len(inputs[0].shape)
        axis = self.axis + rank if self.axis < 0 else self.axis
        check_axis(axis, rank)
        others = {(len(x.shape), *x.shape[:axis], *x.shape[axis + 1 :]) for x in inputs}
        if len(others) > 1:
            raise GraphError(f"inputs must have one shape but for axis {axis}, got {shown(inputs)}")
        first, size = inputs[0].shape, sum(x.shape[axis] for x in inputs)
        return (Spec((*first[:axis], size, *first[axis + 1 :]), joint_time(inputs), dtype),)


class _Elementwise(Op):
    dtypes: ClassVar[tuple[str, ...]] = NUMBER

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        dtype = joint_dtype(inputs, self.dtypes)
        return (Spec(joint_shape([x.shape for x in inputs]), joint_time(inputs), dtype),)


class Add(_Elementwise):
    """Sum of one or more inputs whose frames broadcast."""

    kind: ClassVar[str] = "add"


class Multiply(_Elementwise):
    """Product of one or more inputs whose frames broadcast."""

    kind: ClassVar[str] = "multiply"


class Average(_Elementwise):
    """Mean of one or more float inputs whose frames broadcast."""

    kind: ClassVar[str] = "average"
    dtypes: ClassVar[tuple[str, ...]] = FLOAT
