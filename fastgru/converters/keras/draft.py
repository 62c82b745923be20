"""The ops of one layer, built as those of the other sources are, and named after the layer once they are complete."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...errors import ConvertError
from ..program.builder import Builder
from ..program.emit import Emitter
from ..program.sizes import BATCH
from ..program.steps import STEPS
from ..program.values import Axis, Tensor, symbols_of
from ..program.views import in_order
from .values import MAX_ELEMENTS, AcrossTime, Context, Value


class Draft(Builder):
    """A graph of one layer's ops, on values of the model; `finish` adds what its results need to the model.

    Parameters
    ----------
    name : str
        Of the layer: the node of a result is called so, those before it ``name.kind``.
    ctx : Context
        The model.
    part : str
        The part of the layer that the result is, where more follows: its node is ``name.part``.
    """

    def __init__(self, name: str, ctx: Context, part: str = "") -> None:
        self.name, self.ctx, self.part = name, ctx, part
        self.emit = Emitter()
        self._values: dict[str, Value] = {}  # of the model, by their names here

    def read(self, x: Value) -> Tensor:
        """Return a value of the model with the axes that Keras counts: batch, time unless it is hidden, frame."""
        name = next((own for own, value in self._values.items() if value.name == x.name), None)
        if name is None:
            if prod(x.frame) > MAX_ELEMENTS:
                raise ConvertError(
                    f"features of layer {self.name!r} must be at most {MAX_ELEMENTS}, got shape {tuple(x.frame)}"
                )
            name = self.emit.input(self.emit.unique(x.name), x.spec)
            self._values[name] = x
        axes: list[Axis] = [(BATCH,), *[(STEPS,)] * x.timed, *((i,) for i in range(len(x.frame)))]
        return self.result(name, axes)

    def finish(self, y: Tensor, mask: Value | None = None) -> Value:
        """Add what a result consists of to the model, and return the result as a value of it."""
        if y.axes[:1] != ((BATCH,),):
            raise ConvertError(f"layer {self.name!r} must keep the batch in front, got a result {y}")
        if len(symbols_of(y.axes)) > 1 and not y.is_time(1):
            raise AcrossTime(f"layer {self.name!r} must keep time behind the batch, got a result {y}")
        value = in_order(self, y).value
        needed, feedback = self.emit.needed([value], self.emit.feedback), self.emit.feedback
        for node in self.emit.order:
            if node.name in needed and node.outputs[0] not in self._values:
                own = f"{self.name}.{self.part}" if self.part else self.name
                name = own if value in node.outputs else f"{own}.{node.op.kind}"
                inputs = [self._values[v] for v in node.inputs]
                made = self.ctx.add_many(node.op, *inputs, name=name)
                self._values.update(zip(node.outputs, made, strict=True))
        known = {own: model.name for own, model in self._values.items()}
        self.ctx.emit.feedback.update((known[state], known[v]) for state, v in feedback.items() if state in known)
        return self._values[value].masked(mask)


def axes_in(x: Value, axes: Sequence[int]) -> list[int]:
    """Axes of the frame, or -1 for time, as axes of the tensor that `Draft.read` returns."""
    return [1 if axis < 0 else axis + 1 + x.timed for axis in axes]
