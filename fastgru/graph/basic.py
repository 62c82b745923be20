"""The layers around recurrences as graph ops: Dense, Embedding, norms, activations, masks and merges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import GraphError
from .activations import Activation
from .op import Op, Spec, check_shape, one_float_row, param
from .precision import Array


@dataclass(frozen=True, eq=False, repr=False)
class Dense(Op):
    """y = activation(W x + b) on every row; W is (O, I), as in ``torch.nn.Linear``.

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

    def problems(self) -> list[str]:
        found: list[str] = []
        check_shape(found, "bias", self.bias, self.weight.shape[:1])
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x = one_float_row(self, inputs, self.weight.shape[1])
        return (Spec(self.weight.shape[:1], x.time),)

    def input_spec(self) -> Spec:
        return Spec(self.weight.shape[1:])


@dataclass(frozen=True, eq=False, repr=False)
class Embedding(Op):
    """Row lookup: integer ids (B, T) to (B, T, E). Ids outside [0, V) are an error when the model runs."""

    kind: ClassVar[str] = "embedding"
    matrices: ClassVar[tuple[str, ...]] = ("weight",)
    weight: Array = param("V", "E")
    precision: str = "float32"

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        if len(inputs) != 1 or inputs[0].dtype != "int" or inputs[0].shape:
            raise GraphError(f"input must be integer ids (B, T), got {', '.join(map(str, inputs))}")
        return (Spec(self.weight.shape[1:], inputs[0].time),)

    def input_spec(self) -> Spec:
        return Spec((), dtype="int")

    def macs(self) -> int:
        return 0


@dataclass(frozen=True, eq=False, repr=False)
class LayerNorm(Op):
    """(x - mean) / sqrt(var + eps) * scale + shift over the features (Ba et al., arXiv:1607.06450)."""

    kind: ClassVar[str] = "layer_norm"
    scale: Array = param("F")
    shift: Array | None = param("F", optional=True)
    eps: float = 1e-5

    def problems(self) -> list[str]:
        found = [] if self.eps >= 0 else [f"eps must not be negative, got {self.eps!r}"]
        check_shape(found, "shift", self.shift, self.scale.shape)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (one_float_row(self, inputs, self.scale.shape[0]),)

    def input_spec(self) -> Spec:
        return Spec(self.scale.shape)


@dataclass(frozen=True, eq=False, repr=False)
class BatchNorm(Op):
    """Inference batch norm per feature: (x - mean) / sqrt(variance + eps) * scale + shift."""

    kind: ClassVar[str] = "batch_norm"
    mean: Array = param("F")
    variance: Array = param("F")
    scale: Array | None = param("F", optional=True)
    shift: Array | None = param("F", optional=True)
    eps: float = 1e-5

    def problems(self) -> list[str]:
        found = [] if self.eps >= 0 else [f"eps must not be negative, got {self.eps!r}"]
        if not (self.variance + self.eps > 0).all():
            found.append(f"variance + eps must be positive, got {float((self.variance + self.eps).min())!r}")
        for name in ("variance", "scale", "shift"):
            check_shape(found, name, getattr(self, name), self.mean.shape)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (one_float_row(self, inputs, self.mean.shape[0]),)

    def input_spec(self) -> Spec:
        return Spec(self.mean.shape)


@dataclass(frozen=True, eq=False, repr=False)
class Activate(Op):
    """An activation on its own; softmax runs over the features."""

    kind: ClassVar[str] = "activate"
    activation: Activation = "linear"  # type: ignore[assignment]

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (one_float_row(self, inputs),)


@dataclass(frozen=True, eq=False, repr=False)
class Dropout(Op):
    """Does nothing at inference; kept so that the summary shows the source's layers."""

    kind: ClassVar[str] = "dropout"
    rate: float = 0.5

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        if len(inputs) != 1:
            raise GraphError(f"number of inputs must be 1, got {len(inputs)}")
        return inputs


@dataclass(frozen=True, eq=False, repr=False)
class Mask(Op):
    """Which steps count: true where any feature (or the id) differs from `value`. (B, T) bool."""

    kind: ClassVar[str] = "mask"
    value: float = 0.0

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        if len(inputs) != 1 or not inputs[0].time or inputs[0].dtype == "bool" or len(inputs[0].shape) > 1:
            raise GraphError(f"input must be rows or ids with a time axis, got {', '.join(map(str, inputs))}")
        return (Spec((), True, "bool"),)


@dataclass(frozen=True, eq=False, repr=False)
class ApplyMask(Op):
    """Zero the rows that a mask excludes: (x, mask) to x."""

    kind: ClassVar[str] = "apply_mask"

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        if len(inputs) != 2:
            raise GraphError(f"number of inputs must be 2 (x, mask), got {len(inputs)}")
        return (one_float_row(self, inputs, masked=True),)


@dataclass(frozen=True, eq=False, repr=False)
class Reverse(Op):
    """Flip the time axis (Keras ``go_backwards`` returns its sequence so)."""

    kind: ClassVar[str] = "reverse"
    streamable: ClassVar[bool] = False

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x = one_float_row(self, inputs)
        if not x.time:
            raise GraphError(f"input must have a time axis, got {x}")
        return (x,)


@dataclass(frozen=True, eq=False, repr=False)
class Concat(Op):
    """Join the features of two or more inputs."""

    kind: ClassVar[str] = "concat"

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        first = _alike(self, inputs)
        return (Spec((sum(x.shape[0] for x in inputs),), first.time),)


@dataclass(frozen=True, eq=False, repr=False)
class _Elementwise(Op):
    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        first = _alike(self, inputs)
        if len({x.shape for x in inputs}) > 1:
            raise GraphError(f"inputs must have one size, got {', '.join(str(x.shape[0]) for x in inputs)}")
        return (first,)


@dataclass(frozen=True, eq=False, repr=False)
class Add(_Elementwise):
    """Sum of two or more inputs of one size."""

    kind: ClassVar[str] = "add"


@dataclass(frozen=True, eq=False, repr=False)
class Multiply(_Elementwise):
    """Product of two or more inputs of one size."""

    kind: ClassVar[str] = "multiply"


@dataclass(frozen=True, eq=False, repr=False)
class Average(_Elementwise):
    """Mean of two or more inputs of one size."""

    kind: ClassVar[str] = "average"


def _alike(op: Op, inputs: tuple[Spec, ...]) -> Spec:
    """The first of two or more float rows that agree in having time."""
    if len(inputs) < 2:
        raise GraphError(f"number of inputs must be at least 2, got {len(inputs)}")
    rows = [one_float_row(op, (x,)) for x in inputs]
    if len({x.time for x in rows}) > 1:
        raise GraphError(f"inputs must all have a time axis or none, got {', '.join(map(str, inputs))}")
    return rows[0]
