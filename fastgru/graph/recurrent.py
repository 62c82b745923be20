"""The base of the recurrent cells as graph ops, and Bidirectional."""

from __future__ import annotations

from dataclasses import fields
from math import prod
from typing import Any, ClassVar

from .._arrays import as_array
from .._names import counted
from ..errors import GraphError, listed
from . import dialects
from .activations import Activation
from .fields import distinct
from .op import Op, check_shape, no_softmax, one_float_row, param
from .precision import Array
from .spec import FLOAT, INT, Spec, joint_time, take

MASK_OUTPUTS = ("zero", "carry")
MERGES = ("concat", "sum", "mul", "ave", None)


class Recurrent(Op):
    """Base of the three cells. ``x: (B, T, I)`` in; ``(B, T, R)`` or the last step ``(B, R)`` out.

    With `scan` the recurrence runs along the first axis of each frame and keeps nothing between frames:
    ``x: (S, N, I)`` in, then an input for each of `operands`; ``y: (S, N, R)``, the final h (N, R) and, of an LSTM,
    the final c (N, H) out.

    Parameters
    ----------
    weight_x : (G*H, I) array
        Input weights, gates in canonical (PyTorch) order.
    weight_h : (G*H, R) array
        Recurrent weights; R is H, or the projection size of an LSTM that has one.
    bias, bias_h : (G*H,) array, optional
        Input and recurrent bias.
    initial_h : (R,) array, optional
        Initial hidden state where none is given (learned); zeros when omitted.
    return_sequences : bool
        True returns the output of every step, False that of the last valid step.
    reverse : bool
        Run from the last (valid) step to the first; outputs stay at their steps' places.
    mask_output : {"zero", "carry"}
        The output at masked steps: zeros (PyTorch, ONNX), or the last valid output (Keras).
    clip : float, optional
        Pre-activations are clipped to [-clip, clip] (ONNX).
    precision : {"float32", "float16", "bfloat16", "int8", "int8_affine"}
        Of the weight matrices; see `fastgru.graph.precision`.
    scan : bool
        Run along a frame axis, not along time.
    operands : tuple of str
        With `scan`, which further inputs there are, in their order: ``"initial_h"`` (N, R), ``"initial_c"`` (N, H),
        ``"lengths"`` (N,) int. At and after its length a row's outputs are zero and its state stays; `reverse`
        starts at its last valid step.
    """

    matrices: ClassVar[tuple[str, ...]] = ("weight_x", "weight_h")
    weight_x: Array = param("G*H", "I")
    weight_h: Array = param("G*H", "R")
    bias: Array | None = param("G*H", optional=True)
    bias_h: Array | None = param("G*H", optional=True)
    initial_h: Array | None = param("R", optional=True)
    return_sequences: bool = True
    reverse: bool = False
    mask_output: str = "zero"
    clip: float | None = None
    precision: str = "float32"
    scan: bool = False
    operands: tuple[str, ...] = ()

    @property
    def cell(self) -> str:
        """Key of `dialects.CANONICAL`: which gates the weights hold."""
        return self.kind

    @property
    def gates(self) -> int:
        """G, the number of gate blocks in the weights."""
        return len(dialects.CANONICAL[self.cell])

    @property
    def input_size(self) -> int:
        """I, the number of input features."""
        return int(self.weight_x.shape[1])

    @property
    def hidden_size(self) -> int:
        """H, the number of units."""
        return int(self.weight_x.shape[0]) // self.gates

    @property
    def output_size(self) -> int:
        """R, features of the output and of the state h."""
        return int(self.weight_h.shape[1])

    @property
    def blocker(self) -> str:  # type: ignore[override]
        """Why frames cannot be fed one at a time: time runs backwards."""
        if self.scan or not self.reverse:
            return ""
        return "runs backwards from the last step; give whole sequences, or cut them into overlapping ones"

    @property
    def stepwise(self) -> bool:
        return self.scan or (self.return_sequences and not self.reverse)

    def gate_activations(self) -> tuple[Activation, ...]:
        """The activations that the cell's formula uses, in its order: of gates, candidate, output."""
        raise NotImplementedError

    def in_tier(self, tier: str) -> dict[str, Activation]:
        """The fields that differ when the activations are of a tier of `fastgru.graph.activations.TIERS`."""
        used = self.gate_activations()
        return {n: a.in_tier(tier) for n, a in self._activations().items() if a in used and a.in_tier(tier) != a}

    def _activations(self) -> dict[str, Activation]:
        return {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Activation)}

    def problems(self) -> list[str]:
        found: list[str] = []
        rows, gates = self.weight_x.shape[0], self.gates
        if rows % gates:
            found.append(f"weight_x must have a multiple of {gates} rows, got {self.weight_x.shape}")
            return found
        if self.weight_h.shape[0] != rows:
            found.append(f"weight_h must have {rows} rows like weight_x, got {self.weight_h.shape}")
        for name in ("bias", "bias_h"):
            check_shape(found, name, getattr(self, name), (rows,))
        check_shape(found, "initial_h", self.initial_h, (self.output_size,))
        if self.mask_output not in MASK_OUTPUTS:
            found.append(f"mask_output must be one of {', '.join(MASK_OUTPUTS)}, got {self.mask_output!r}")
        if self.clip is not None and not self.clip > 0:
            found.append(f"clip must be positive, got {self.clip!r}")
        for activation in self._activations().values():
            no_softmax(found, "activation of a gate", activation)
        return found + self._scan_problems() + self.cell_problems()

    def _scan_problems(self) -> list[str]:
        """What is wrong with `operands`, and with what only time has."""
        if not self.scan:
            return [f"operands must be empty without scan, got {self.operands}"] if self.operands else []
        found: list[str] = []
        names = (*(f"initial_{state}" for state in self.carried()), "lengths")
        distinct(found, operands=self.operands)
        for name in self.operands:
            if name not in names:
                found.append(f"operand must be one of {', '.join(names)}, got {name!r}")
            elif getattr(self, name, None) is not None:
                found.append(f"{name} must be an array or an operand, got both")
        if not self.return_sequences:
            found.append("return_sequences must be True with scan, got False")
        if self.mask_output != "zero":
            found.append(f"mask_output must be 'zero' with scan, got {self.mask_output!r}")
        return found

    def cell_problems(self) -> list[str]:
        """What only this cell demands."""
        if self.output_size != self.hidden_size:
            return [f"weight_h must have {self.hidden_size} columns, got {self.weight_h.shape}"]
        return []

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        if self.scan:
            return self._infer_scan(inputs)
        x = one_float_row(self, inputs, self.input_size, masked=True)
        if not x.time:
            raise GraphError(f"input must have a time axis, got {x}")
        return (Spec((self.output_size,), time=self.return_sequences),)

    def _infer_scan(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x, *given = take(inputs, FLOAT, *(INT if name == "lengths" else FLOAT for name in self.operands))
        if len(x.shape) != 3 or x.shape[2] != self.input_size:
            raise GraphError(f"input must have a frame of shape (S, N, {self.input_size}), got {x}")
        steps, rows, _ = x.shape
        shapes = {f"initial_{state}": (rows, size) for state, size in self.carried().items()}
        for name, operand in zip(self.operands, given, strict=True):
            if operand.shape != shapes.get(name, (rows,)):
                raise GraphError(f"{name} must have a frame of shape {shapes.get(name, (rows,))}, got {operand}")
        time = joint_time(inputs)
        return tuple(Spec(shape, time) for shape in ((steps, rows, self.output_size), *shapes.values()))

    def input_spec(self) -> Spec | None:
        return None if self.scan else Spec((self.input_size,))

    def carried(self) -> dict[str, int]:
        """What one step hands to the next, per row: name to size."""
        return {"h": self.output_size}

    def states(self) -> dict[str, int]:
        return {} if self.scan else self.carried()

    def macs_for(self, inputs: tuple[Spec, ...]) -> int:
        return self.macs() * (prod(inputs[0].shape[:2]) if self.scan else 1)


def tier_of(op: Op) -> str:
    """The tier of a recurrent layer's activations, several where they differ; empty where they are in none.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import RNN
    >>> tier_of(RNN(np.ones((2, 3)), np.ones((2, 2))))
    'exact'
    """
    gates = op.gate_activations() if isinstance(op, Recurrent) else ()
    return "+".join(sorted({a.tier for a in gates} - {""}))


class Bidirectional:
    """Two recurrent layers over the same input, one forwards and one backwards, and how they are merged.

    A builder, not an op: in the graph it is two recurrent nodes and a merging node.

    Parameters
    ----------
    forward, backward : Recurrent
        `backward` is made to run in reverse when it does not already.
    merge : {"concat", "sum", "mul", "ave", None}
        None keeps both outputs apart: the model then has two outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import RNN
    >>> one = RNN(np.ones((2, 3)), np.ones((2, 2)))
    >>> Bidirectional(one, one, merge="sum").backward.reverse
    True
    """

    def __init__(self, forward: Recurrent, backward: Recurrent, *, merge: str | None = "concat") -> None:
        problems = []
        for name, layer in (("forward", forward), ("backward", backward)):
            if not isinstance(layer, Recurrent):
                problems.append(f"{name} must be a recurrent layer, got {type(layer).__name__}")
        if merge not in MERGES:
            problems.append(f"merge must be one of {', '.join(map(str, MERGES))}, got {merge!r}")
        if not problems:
            if forward.scan or backward.scan:
                problems.append("scan must be False in both directions, got True")
            if forward.reverse:
                problems.append("forward must have reverse=False, got True")
            for name in ("input_size", "return_sequences"):
                a, b = getattr(forward, name), getattr(backward, name)
                if a != b:
                    problems.append(f"{name} must be the same in both directions, got {a} and {b}")
            if merge in ("sum", "mul", "ave") and forward.output_size != backward.output_size:
                problems.append(
                    f"output sizes must be equal to merge by {merge!r}, "
                    f"got {forward.output_size} and {backward.output_size}"
                )
        if problems:
            raise GraphError(f"Bidirectional: {listed(problems)}")
        self.forward = forward
        self.backward = backward if backward.reverse else backward.replace(reverse=True)
        self.merge = merge

    def input_spec(self) -> Spec | None:
        """The spec of the input, from the forward layer."""
        return self.forward.input_spec()

    def __repr__(self) -> str:
        return f"Bidirectional({self.forward!r}, {self.backward!r}, merge={self.merge!r})"


def directions(cls: type[Any], build: Any, direction: str, arrays: dict[str, Any]) -> Any:
    """One layer per ONNX direction: `arrays` have a leading (directions,) axis, which is removed."""
    count = {"forward": 1, "reverse": 1, "bidirectional": 2}.get(direction)
    if count is None:
        raise GraphError(f"direction must be 'forward', 'reverse' or 'bidirectional', got {direction!r}")
    given = {name: None if a is None else as_array(a, name) for name, a in arrays.items()}
    problems = [
        f"{name} must have {counted(count, 'direction')} on its first axis, got shape {a.shape}"
        for name, a in given.items()
        if a is not None and (a.ndim == 0 or a.shape[0] != count)
    ]
    if problems:
        raise GraphError(f"{cls.__name__}.from_onnx: {listed(problems)}")
    layers = [
        build({n: None if a is None else a[i] for n, a in given.items()}, reverse)
        for i, reverse in enumerate([direction == "reverse", True][:count])
    ]
    return Bidirectional(*layers) if count == 2 else layers[0]
