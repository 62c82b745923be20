"""The recurrent cells as graph ops: RNN, GRU and LSTM with all their variants, and Bidirectional."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import GraphError, listed
from . import dialects
from .activations import Activation
from .op import Array, Op, Spec, check_shape, no_softmax, one_float_row, param

MASK_OUTPUTS = ("zero", "carry")
MERGES = ("concat", "sum", "mul", "ave", None)


@dataclass(frozen=True, eq=False, repr=False)
class Recurrent(Op):
    """What the three cells share. ``x: (B, T, I)`` in; ``(B, T, R)`` or the last step ``(B, R)`` out.

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
        Whether every step's output is returned or only the last valid step's.
    reverse : bool
        Run from the last (valid) step to the first; outputs stay at their steps' places.
    mask_output : {"zero", "carry"}
        The output at masked steps: zeros (PyTorch, ONNX), or the last valid output (Keras).
    clip : float, optional
        Pre-activations are clipped to [-clip, clip] (ONNX).
    """

    weight_x: Array = param("G*H", "I")
    weight_h: Array = param("G*H", "R")
    bias: Array | None = param("G*H", optional=True)
    bias_h: Array | None = param("G*H", optional=True)
    initial_h: Array | None = param("R", optional=True)
    return_sequences: bool = True
    reverse: bool = False
    mask_output: str = "zero"
    clip: float | None = None

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
    def streamable(self) -> bool:  # type: ignore[override]
        """Whether frames can be fed one at a time: not when time runs backwards."""
        return not self.reverse

    def gate_activations(self) -> tuple[Activation, ...]:
        """The activations in the order in which the cell's formula uses them."""
        raise NotImplementedError

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
            found.append(f"mask_output must be one of {MASK_OUTPUTS}, got {self.mask_output!r}")
        if self.clip is not None and not self.clip > 0:
            found.append(f"clip must be positive, got {self.clip!r}")
        for name in ("reverse", "return_sequences"):
            if not isinstance(getattr(self, name), bool):
                found.append(f"{name} must be a bool, got {getattr(self, name)!r}")
        for activation in self.gate_activations():
            no_softmax(found, "activation of a gate", activation)
        return found + self.cell_problems()

    def cell_problems(self) -> list[str]:
        """What only this cell demands."""
        if self.output_size != self.hidden_size:
            return [f"weight_h must have {self.hidden_size} columns, got {self.weight_h.shape}"]
        return []

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x = one_float_row(self, inputs, self.input_size, masked=True)
        if not x.time:
            raise GraphError(f"input must have a time axis, got {x}")
        return (Spec((self.output_size,), time=self.return_sequences),)

    def input_spec(self) -> Spec:
        return Spec((self.input_size,))

    def states(self) -> dict[str, int]:
        return {"h": self.output_size}


def _directions(cls: type[Any], build: Any, direction: str, arrays: dict[str, Any]) -> Any:
    """One layer per ONNX direction: `arrays` have a leading (directions,) axis, which is removed."""
    count = {"forward": 1, "reverse": 1, "bidirectional": 2}.get(direction)
    if count is None:
        raise GraphError(f"direction must be 'forward', 'reverse' or 'bidirectional', got {direction!r}")
    problems = [
        f"{name} must have {count} direction(s) on its first axis, got shape {np.shape(a)}"
        for name, a in arrays.items()
        if a is not None and (np.ndim(a) == 0 or np.shape(a)[0] != count)
    ]
    if problems:
        raise GraphError(f"{cls.__name__}.from_onnx: {listed(problems)}")
    layers = [
        build({n: None if a is None else np.asarray(a)[i] for n, a in arrays.items()}, reverse)
        for i, reverse in enumerate([direction == "reverse", True][:count])
    ]
    return Bidirectional(*layers) if count == 2 else layers[0]


@dataclass(frozen=True, eq=False, repr=False)
class RNN(Recurrent):
    """Simple (Elman) recurrence: h' = act(W x + b + U h + c).

    Examples
    --------
    >>> RNN(np.ones((2, 3)), np.ones((2, 2)), activation="relu").output_size
    2
    """

    kind: ClassVar[str] = "rnn"
    activation: Activation = "tanh"  # type: ignore[assignment]

    def gate_activations(self) -> tuple[Activation, ...]:
        return (self.activation,)

    @classmethod
    def from_torch(cls, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, **attributes: Any) -> RNN:
        """From the arrays of ``torch.nn.RNN``: w_ih (H, I), w_hh (H, H), biases (H,)."""
        return cls(**dialects.from_torch("rnn", w_ih, w_hh, b_ih, b_hh), **attributes)

    @classmethod
    def from_keras(cls, kernel: Any, recurrent_kernel: Any, bias: Any = None, **attributes: Any) -> RNN:
        """From the arrays of ``keras.layers.SimpleRNN``: (I, H), (H, H), (H,)."""
        return cls(**dialects.from_keras("rnn", kernel, recurrent_kernel, bias), **attributes)

    @classmethod
    def from_onnx(cls, W: Any, R: Any, B: Any = None, *, direction: str = "forward", **attributes: Any) -> Any:
        """From the inputs of ONNX ``RNN``: W (D, H, I), R (D, H, H), B (D, 2H).

        Returns a `Bidirectional` (concat) when `direction` is ``"bidirectional"``.
        """

        def build(a: dict[str, Any], reverse: bool) -> RNN:
            return cls(**dialects.from_onnx("rnn", a["W"], a["R"], a["B"]), reverse=reverse, **attributes)

        return _directions(cls, build, direction, {"W": W, "R": R, "B": B})

    @classmethod
    def from_gates(cls, candidate: Any, *, order: str = "hx", **attributes: Any) -> RNN:
        """From one (W, b) over the concatenation ``[h, x]`` (or ``[x, h]``)."""
        return cls(**dialects.from_gates([("candidate", candidate)], order), **attributes)


@dataclass(frozen=True, eq=False, repr=False)
class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), gates r, z, n and optionally o.

    r, z[, o] = s(W x + b + U h + c);
    n = act(W_n x + b_n + r * (U_n h + c_n)) with `reset_after`, else
    n = act(W_n x + b_n + U_n (r * h) + c_n);
    h' = z h + (1 - z) n when `update_keeps` is ``"state"``, (1 - z) h + z n when ``"candidate"``.
    With `output_gate` the output is y = o * output_activation(h'), else y = h'.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> GRU(rng.normal(size=(12, 3)), rng.normal(size=(12, 4))).hidden_size
    4
    """

    kind: ClassVar[str] = "gru"
    reset_after: bool = True
    output_gate: bool = False
    update_keeps: str = "state"
    gate_activation: Activation = "sigmoid"  # type: ignore[assignment]
    activation: Activation = "tanh"  # type: ignore[assignment]
    output_activation: Activation = "tanh"  # type: ignore[assignment]

    @property
    def cell(self) -> str:
        return "gru_output" if self.output_gate else "gru"

    def gate_activations(self) -> tuple[Activation, ...]:
        return (self.gate_activation, self.activation, self.output_activation)

    def cell_problems(self) -> list[str]:
        found = super().cell_problems()
        if self.update_keeps not in ("state", "candidate"):
            found.append(f"update_keeps must be 'state' or 'candidate', got {self.update_keeps!r}")
        return found

    @classmethod
    def from_torch(cls, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, **attributes: Any) -> GRU:
        """From the arrays of ``torch.nn.GRU``: w_ih (3H, I), w_hh (3H, H), biases (3H,), gates r, z, n."""
        return cls(**dialects.from_torch("gru", w_ih, w_hh, b_ih, b_hh), **attributes)

    @classmethod
    def from_keras(
        cls, kernel: Any, recurrent_kernel: Any, bias: Any = None, *, reset_after: bool = True, **attributes: Any
    ) -> GRU:
        """From the arrays of ``keras.layers.GRU``: (I, 3H), (H, 3H), bias (2, 3H) or (3H,), gates z, r, h."""
        if bias is not None and (np.ndim(bias) == 2) != reset_after:
            expected = "(2, 3H)" if reset_after else "(3H,)"
            raise GraphError(f"bias must have shape {expected} with reset_after={reset_after}, got {np.shape(bias)}")
        fields = dialects.from_keras("gru", kernel, recurrent_kernel, bias)
        return cls(**fields, reset_after=reset_after, **attributes)

    @classmethod
    def from_onnx(
        cls,
        W: Any,
        R: Any,
        B: Any = None,
        *,
        linear_before_reset: int = 0,
        direction: str = "forward",
        **attributes: Any,
    ) -> Any:
        """From the inputs of ONNX ``GRU``: W (D, 3H, I), R (D, 3H, H), B (D, 6H), gates z, r, h.

        Returns a `Bidirectional` (concat) when `direction` is ``"bidirectional"``.
        """
        if linear_before_reset not in (0, 1):
            raise GraphError(f"linear_before_reset must be 0 or 1, got {linear_before_reset!r}")

        def build(a: dict[str, Any], reverse: bool) -> GRU:
            fields = dialects.from_onnx("gru", a["W"], a["R"], a["B"])
            return cls(**fields, reset_after=bool(linear_before_reset), reverse=reverse, **attributes)

        return _directions(cls, build, direction, {"W": W, "R": R, "B": B})

    @classmethod
    def from_gates(
        cls,
        *,
        update: Any,
        reset: Any,
        candidate: Any,
        output: Any = None,
        order: str = "hx",
        reset_after: bool = False,
        update_keeps: str = "candidate",
        **attributes: Any,
    ) -> GRU:
        """From one (W, b) a gate, W (H, H+I) over the concatenation ``[h, x]`` (`order` "hx") or ``[x, h]``.

        Parameters
        ----------
        update, reset, candidate : (W, b)
            b is (H,), None, or a pair (input bias, recurrent bias).
        output : (W, b), optional
            The output gate of the textbook form: y = o * tanh(h').
        update_keeps : {"candidate", "state"}
            ``"candidate"``: h' = (1-z) h + z n, the textbook form; ``"state"``: h' = z h + (1-z) n.
        """
        gates = [("reset", reset), ("update", update), ("candidate", candidate)]
        if output is not None:
            gates.append(("output", output))
        return cls(
            **dialects.from_gates(gates, order),
            reset_after=reset_after,
            update_keeps=update_keeps,
            output_gate=output is not None,
            **attributes,
        )


@dataclass(frozen=True, eq=False, repr=False)
class LSTM(Recurrent):
    """Long short-term memory, gates i, f, g, o (Hochreiter & Schmidhuber 1997; peepholes Gers 2000).

    i, f, o = s(W x + b + U h + c [+ p * c_state]); g = act(...); c' = f c + i g;
    m = o * output_activation(c'); h' = P m with `projection` (R, H), else h' = m.
    Peepholes: i and f see c, o sees c'. With `coupled` (CIFG, ONNX input_forget) f = 1 - i and the
    weights hold three gates i, g, o.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> LSTM(rng.normal(size=(16, 3)), rng.normal(size=(16, 4))).states()
    {'h': 4, 'c': 4}
    """

    kind: ClassVar[str] = "lstm"
    peephole: Array | None = param("3 (i, f, o)", "H", optional=True)
    projection: Array | None = param("R", "H", optional=True)
    initial_c: Array | None = param("H", optional=True)
    coupled: bool = False
    gate_activation: Activation = "sigmoid"  # type: ignore[assignment]
    activation: Activation = "tanh"  # type: ignore[assignment]
    output_activation: Activation = "tanh"  # type: ignore[assignment]

    @property
    def cell(self) -> str:
        return "lstm_cifg" if self.coupled else "lstm"

    def gate_activations(self) -> tuple[Activation, ...]:
        return (self.gate_activation, self.activation, self.output_activation)

    def cell_problems(self) -> list[str]:
        found = super().cell_problems() if self.projection is None else []
        check_shape(found, "projection", self.projection, (self.output_size, self.hidden_size))
        check_shape(found, "peephole", self.peephole, (3, self.hidden_size))
        check_shape(found, "initial_c", self.initial_c, (self.hidden_size,))
        return found

    def states(self) -> dict[str, int]:
        return {"h": self.output_size, "c": self.hidden_size}

    @classmethod
    def from_torch(
        cls, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, *, w_hr: Any = None, **attributes: Any
    ) -> LSTM:
        """From the arrays of ``torch.nn.LSTM``: (4H, I), (4H, R), (4H,), (4H,), and w_hr (R, H) with proj_size."""
        return cls(**dialects.from_torch("lstm", w_ih, w_hh, b_ih, b_hh), projection=w_hr, **attributes)

    @classmethod
    def from_keras(cls, kernel: Any, recurrent_kernel: Any, bias: Any = None, **attributes: Any) -> LSTM:
        """From the arrays of ``keras.layers.LSTM``: (I, 4H), (H, 4H), (4H,), gates i, f, c, o."""
        return cls(**dialects.from_keras("lstm", kernel, recurrent_kernel, bias), **attributes)

    @classmethod
    def from_onnx(
        cls,
        W: Any,
        R: Any,
        B: Any = None,
        *,
        P: Any = None,
        input_forget: int = 0,
        direction: str = "forward",
        **attributes: Any,
    ) -> Any:
        """From the inputs of ONNX ``LSTM``: W (D, 4H, I), R (D, 4H, H), B (D, 8H), P (D, 3H), gates i, o, f, c.

        Returns a `Bidirectional` (concat) when `direction` is ``"bidirectional"``.
        """
        if input_forget not in (0, 1):
            raise GraphError(f"input_forget must be 0 or 1, got {input_forget!r}")

        def build(a: dict[str, Any], reverse: bool) -> LSTM:
            fields = dialects.from_onnx("lstm", a["W"], a["R"], a["B"])
            if input_forget:
                full, kept = dialects.CANONICAL["lstm"], dialects.CANONICAL["lstm_cifg"]
                fields = {n: None if f is None else dialects.reorder(f, full, kept) for n, f in fields.items()}
            peephole = a["P"]
            if peephole is not None:
                peephole = dialects.reorder(peephole, dialects.PEEPHOLE_ORDER["onnx"], "ifo").reshape(3, -1)
            return cls(**fields, peephole=peephole, coupled=bool(input_forget), reverse=reverse, **attributes)

        return _directions(cls, build, direction, {"W": W, "R": R, "B": B, "P": P})

    @classmethod
    def from_gates(
        cls, *, input: Any, forget: Any = None, candidate: Any, output: Any, order: str = "hx", **attributes: Any
    ) -> LSTM:
        """From one (W, b) a gate, W (H, H+I); without `forget` the gates are coupled, f = 1 - i."""
        named = [("input", input), ("forget", forget), ("candidate", candidate), ("output", output)]
        gates = [(name, pair) for name, pair in named if not (name == "forget" and pair is None)]
        return cls(**dialects.from_gates(gates, order), coupled=forget is None, **attributes)


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
            problems.append(f"merge must be one of {MERGES}, got {merge!r}")
        if not problems:
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

    def input_spec(self) -> Spec:
        """The spec of the input, from the forward layer."""
        return self.forward.input_spec()

    def __repr__(self) -> str:
        return f"Bidirectional({self.forward!r}, {self.backward!r}, merge={self.merge!r})"
