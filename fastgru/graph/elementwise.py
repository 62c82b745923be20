"""Ops on one element of each input at a time, whose frames broadcast."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from .fields import one_of
from .op import Op
from .spec import ANY, BOOL, FLOAT, NUMBER, Spec, joint_dtype, joint_shape, joint_time, take


class Signature(NamedTuple):
    """The dtypes a function takes, and the one it gives (None: what it took)."""

    dtypes: tuple[str, ...]
    result: str | None = None


UNARY: dict[str, Signature] = {
    **dict.fromkeys(("neg", "abs", "sign"), Signature(NUMBER)),
    **dict.fromkeys(("sqrt", "exp", "log", "reciprocal", "floor", "ceil", "round", "sin", "cos", "atan", "erf"),
                    Signature(FLOAT)),
    "not": Signature(BOOL),
    "isnan": Signature(FLOAT, "bool"),
}  # fmt: skip
BINARY: dict[str, Signature] = {
    **dict.fromkeys(("sub", "div", "pow", "min", "max", "mod"), Signature(NUMBER)),
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal"), Signature(NUMBER, "bool")),
    "atan2": Signature(FLOAT),
    "equal": Signature(ANY, "bool"),
    **dict.fromkeys(("and", "or", "xor"), Signature(BOOL)),
}


class Unary(Op):
    """A function of every element, one of `UNARY`. ``round`` rounds halves to even.

    Examples
    --------
    >>> Unary("isnan").infer((Spec((2, 3)),))
    (Spec(shape=(2, 3), time=True, dtype='bool'),)
    """

    kind: ClassVar[str] = "unary"
    function: str

    def problems(self) -> list[str]:
        found: list[str] = []
        one_of(found, "function", self.function, UNARY)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        row = UNARY[self.function]
        (x,) = take(inputs, row.dtypes)
        return (Spec(x.shape, x.time, row.result or x.dtype),)


class Binary(Op):
    """A function of two elements, one of `BINARY`.

    ``div`` of integers drops the fraction (ONNX), ``mod`` has the sign of the divisor (NumPy), ``pow`` of
    integers drops the fraction; ``atan2`` is the angle of (b, a), from -pi to pi.
    """

    kind: ClassVar[str] = "binary"
    function: str

    def problems(self) -> list[str]:
        found: list[str] = []
        one_of(found, "function", self.function, BINARY)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        row = BINARY[self.function]
        a, b = take(inputs, row.dtypes, row.dtypes)
        dtype = joint_dtype(inputs, row.dtypes)
        return (Spec(joint_shape([a.shape, b.shape]), joint_time(inputs), row.result or dtype),)


class Where(Op):
    """(condition, a, b): a where the condition holds, else b."""

    kind: ClassVar[str] = "where"

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        _, a, b = take(inputs, BOOL, ANY, ANY)
        return (Spec(joint_shape([x.shape for x in inputs]), joint_time(inputs), joint_dtype((a, b), ANY)),)


class Cast(Op):
    """Another kind of number. Floats become integers without their fraction, and bools unless they are zero."""

    kind: ClassVar[str] = "cast"
    to: str

    def problems(self) -> list[str]:
        found: list[str] = []
        one_of(found, "to", self.to, ANY)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, ANY)
        return (Spec(x.shape, x.time, self.to),)
