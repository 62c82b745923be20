"""The recurrent cells as graph ops: RNN, GRU and LSTM with all their variants, from every layout of their weights."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..errors import GraphError
from . import dialects
from .activations import Activation
from .op import check_shape, param
from .precision import Array
from .recurrent import Recurrent, directions


class RNN(Recurrent):
    """Simple (Elman) recurrence: h' = act(W x + b + U h + c).

    Parameters
    ----------
    activation : str or Activation
        act, a name of `fastgru.graph.ACTIVATIONS` or one with its parameters.

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
        """Build from the arrays of ``torch.nn.RNN``: w_ih (H, I), w_hh (H, H), biases (H,)."""
        return cls(**dialects.from_torch("rnn", w_ih, w_hh, b_ih, b_hh), **attributes)

    @classmethod
    def from_keras(cls, kernel: Any, recurrent_kernel: Any, bias: Any = None, **attributes: Any) -> RNN:
        """Build from the arrays of ``keras.layers.SimpleRNN``: (I, H), (H, H), (H,)."""
        return cls(**dialects.from_keras("rnn", kernel, recurrent_kernel, bias), **attributes)

    @classmethod
    def from_onnx(cls, W: Any, R: Any, B: Any = None, *, direction: str = "forward", **attributes: Any) -> Any:
        """Build from the inputs of ONNX ``RNN``: W (D, H, I), R (D, H, H), B (D, 2H).

        Returns a `Bidirectional` (concat) when `direction` is ``"bidirectional"``.
        """

        def build(a: dict[str, Any], reverse: bool) -> RNN:
            return cls(**dialects.from_onnx("rnn", a["W"], a["R"], a["B"]), reverse=reverse, **attributes)

        return directions(cls, build, direction, {"W": W, "R": R, "B": B})

    @classmethod
    def from_gates(cls, candidate: Any, *, order: str = "hx", **attributes: Any) -> RNN:
        """Build from one (W, b) over the concatenation ``[h, x]`` (or ``[x, h]``)."""
        return cls(**dialects.from_gates([("candidate", candidate)], order), **attributes)


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), gates r, z, n and optionally o.

    r, z[, o] = s(W x + b + U h + c);
    n = act(W_n x + b_n + r * (U_n h + c_n)) with `reset_after`, else
    n = act(W_n x + b_n + U_n (r * h) + c_n);
    h' = z h + (1 - z) n when `update_keeps` is ``"state"``, (1 - z) h + z n when ``"candidate"``.
    With `output_gate` the output is y = o * output_activation(h'), else y = h'.

    Parameters
    ----------
    reset_after : bool
        Apply the reset gate after the recurrent product (PyTorch, Keras), else to the state before it (textbooks).
    output_gate : bool
        True if the weights hold a fourth gate, o.
    update_keeps : {"state", "candidate"}
        What h' is where z is 1.
    gate_activation, activation, output_activation : str or Activation
        s of the gates, act of the candidate, and the function of h' in the output.

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
        used = (self.gate_activation, self.activation)
        return (*used, self.output_activation) if self.output_gate else used

    def cell_problems(self) -> list[str]:
        found = super().cell_problems()
        if self.update_keeps not in ("state", "candidate"):
            found.append(f"update_keeps must be 'state' or 'candidate', got {self.update_keeps!r}")
        return found

    @classmethod
    def from_torch(cls, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, **attributes: Any) -> GRU:
        """Build from the arrays of ``torch.nn.GRU``: w_ih (3H, I), w_hh (3H, H), biases (3H,), gates r, z, n."""
        return cls(**dialects.from_torch("gru", w_ih, w_hh, b_ih, b_hh), **attributes)

    @classmethod
    def from_keras(
        cls, kernel: Any, recurrent_kernel: Any, bias: Any = None, *, reset_after: bool = True, **attributes: Any
    ) -> GRU:
        """Build from the arrays of ``keras.layers.GRU``: (I, 3H), (H, 3H), bias (2, 3H) or (3H,), gates z, r, h."""
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
        """Build from the inputs of ONNX ``GRU``: W (D, 3H, I), R (D, 3H, H), B (D, 6H), gates z, r, h.

        Returns a `Bidirectional` (concat) when `direction` is ``"bidirectional"``.
        """
        if linear_before_reset not in (0, 1):
            raise GraphError(f"linear_before_reset must be 0 or 1, got {linear_before_reset!r}")

        def build(a: dict[str, Any], reverse: bool) -> GRU:
            fields = dialects.from_onnx("gru", a["W"], a["R"], a["B"])
            return cls(**fields, reset_after=bool(linear_before_reset), reverse=reverse, **attributes)

        return directions(cls, build, direction, {"W": W, "R": R, "B": B})

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
        """Build from one (W, b) for each gate, W (H, H+I) over ``[h, x]`` (`order` "hx") or ``[x, h]`` ("xh").

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


class LSTM(Recurrent):
    """Long short-term memory, gates i, f, g, o (Hochreiter & Schmidhuber 1997; peepholes Gers 2000).

    i, f, o = s(W x + b + U h + c [+ p * c_state]); g = act(...); c' = f c + i g;
    m = o * output_activation(c'); h' = P m with `projection` (R, H), else h' = m.
    Peepholes: i and f see c, o sees c'. With `coupled` (CIFG, ONNX input_forget) f = 1 - i and the
    weights hold three gates i, g, o.

    Parameters
    ----------
    peephole : (3, H) array, optional
        p of i, f and o.
    projection : (R, H) array, optional
        P, which makes the output and the state h R numbers.
    initial_c : (H,) array, optional
        Initial cell state where none is given; zeros when omitted.
    coupled : bool
        True if the weights have no forget gate.
    gate_activation, activation, output_activation : str or Activation
        s of the gates, act of the candidate g, and the function of c' in the output.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> LSTM(rng.normal(size=(16, 3)), rng.normal(size=(16, 4))).states()
    {'h': 4, 'c': 4}
    """

    kind: ClassVar[str] = "lstm"
    matrices: ClassVar[tuple[str, ...]] = ("weight_x", "weight_h", "projection")
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

    def carried(self) -> dict[str, int]:
        return {"h": self.output_size, "c": self.hidden_size}

    @classmethod
    def from_torch(
        cls, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, *, w_hr: Any = None, **attributes: Any
    ) -> LSTM:
        """Build from the arrays of ``torch.nn.LSTM``: (4H, I), (4H, R), (4H,), (4H,); w_hr (R, H) with proj_size."""
        return cls(**dialects.from_torch("lstm", w_ih, w_hh, b_ih, b_hh), projection=w_hr, **attributes)

    @classmethod
    def from_keras(cls, kernel: Any, recurrent_kernel: Any, bias: Any = None, **attributes: Any) -> LSTM:
        """Build from the arrays of ``keras.layers.LSTM``: (I, 4H), (H, 4H), (4H,), gates i, f, c, o."""
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
        """Build from the inputs of ONNX ``LSTM``: W (D, 4H, I), R (D, 4H, H), B (D, 8H), P (D, 3H), gates i, o, f, c.

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

        return directions(cls, build, direction, {"W": W, "R": R, "B": B, "P": P})

    @classmethod
    def from_gates(
        cls, *, input: Any, forget: Any = None, candidate: Any, output: Any, order: str = "hx", **attributes: Any
    ) -> LSTM:
        """Build from one (W, b) for each gate, W (H, H+I); without `forget` the gates are coupled, f = 1 - i."""
        named = [("input", input), ("forget", forget), ("candidate", candidate), ("output", output)]
        gates = [(name, pair) for name, pair in named if not (name == "forget" and pair is None)]
        return cls(**dialects.from_gates(gates, order), coupled=forget is None, **attributes)
