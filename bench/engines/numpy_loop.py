"""The plain NumPy loop: what one writes to be rid of a framework, in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgru.graph import GRU, LSTM, Concat, Dense, Embedding, Graph, Recurrent

from ..cases import F32, Problem, joined
from ..network import Call, Network
from . import Base, Run

LAYERS = (Recurrent, Dense, Embedding, Concat)
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: x,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
}


class Layer:
    """A recurrent layer over x (B, T, I), its state kept when `stateful`."""

    def __init__(self, op: Any, batch: int, stateful: bool) -> None:
        self.op, self.stateful = op, stateful
        self.w, self.u = op.weight_x.T, op.weight_h.T
        self.b, self.c = (0 if bias is None else bias for bias in (op.bias, op.bias_h))
        self.gate, self.act = ACTIVATIONS[op.gate_activation.name], ACTIVATIONS[op.activation.name]
        self.step = {GRU: self.gru, LSTM: self.lstm}[type(op)]
        self.zeros = np.zeros((2, batch, op.hidden_size), np.float32)
        self.state: Any = self.zeros

    def gru(self, wx: F32, state: Any) -> Any:
        h, n = state[0], self.op.hidden_size
        if self.op.reset_after:
            uh = h @ self.u + self.c
            rz = self.gate(wx[:, : 2 * n] + uh[:, : 2 * n])
            new = self.act(wx[:, 2 * n :] + rz[:, :n] * uh[:, 2 * n :])
        else:
            rz = self.gate(wx[:, : 2 * n] + h @ self.u[:, : 2 * n])
            new = self.act(wx[:, 2 * n :] + (rz[:, :n] * h) @ self.u[:, 2 * n :])
        return (new + rz[:, n:] * (h - new), h)

    def lstm(self, wx: F32, state: Any) -> Any:
        h, c = state
        n = self.op.hidden_size
        a = wx + h @ self.u
        i, f, o = self.gate(a[:, :n]), self.gate(a[:, n : 2 * n]), self.gate(a[:, 3 * n :])
        c = f * c + i * self.act(a[:, 2 * n : 3 * n])
        return (o * np.tanh(c), c)

    def __call__(self, x: F32, mask: Any) -> F32:
        folded = self.b if isinstance(self.op, GRU) and self.op.reset_after else self.b + self.c
        wx = x @ self.w + folded
        out = np.zeros((*x.shape[:2], self.op.hidden_size), np.float32)
        state, steps = self.state, range(x.shape[1])
        for t in reversed(steps) if self.op.reverse else steps:
            new = self.step(wx[:, t], state)
            if mask is None:
                state = new
                out[:, t] = new[0]
            else:
                valid = mask[:, t, None]
                state = tuple(np.where(valid, a, b) for a, b in zip(new, state, strict=True))
                out[:, t] = np.where(valid, new[0], 0)
        if self.stateful:
            self.state = state
        return out


class NumpyLoop(Base):
    """The graph node by node; products over all steps at once where they can be."""

    name = module = "numpy"

    def has(self, network: Network) -> bool:
        return all(isinstance(node.op, LAYERS) for node in network.graph.nodes)

    def generated(self, problem: Problem) -> Run:
        case, mask = problem.case, None
        if case.lengths is not None:
            mask = np.arange(problem.x.shape[1]) < np.array(case.lengths)[:, None]
        return Run(self._plan(problem.graph, problem.x, case.streaming, mask), joined)

    def network(self, network: Network) -> Call:
        frames = network.frames()
        x = frames[None, None] if network.streaming else frames[None]
        return self._plan(network.graph, x, network.streaming, None)

    def _plan(self, graph: Graph, x: Any, stateful: bool, mask: Any) -> Call:
        """A call that runs the graph's layers in order over x (B, T, I)."""
        functions = [self._function(node.op, len(x), stateful) for node in graph.nodes]
        plan = [(function, node.inputs, node.outputs[0]) for function, node in zip(functions, graph.nodes, strict=True)]
        (source,) = graph.inputs

        def call() -> Any:
            values = {source: x}
            for function, inputs, output in plan:
                values[output] = function(mask, *(values[name] for name in inputs))
            return tuple(values[name] for name in graph.outputs)

        return call

    @staticmethod
    def _function(op: Any, batch: int, stateful: bool) -> Callable[..., Any]:
        """`op` as a function of the mask and its inputs."""
        if isinstance(op, Recurrent):
            layer = Layer(op, batch, stateful)
            return lambda mask, x: layer(x, mask)
        if isinstance(op, Dense):
            weight, bias, activation = op.weight.T, op.bias, ACTIVATIONS[op.activation.name]
            return lambda mask, x: activation(x @ weight + (0 if bias is None else bias))
        if isinstance(op, Embedding):
            return lambda mask, ids: op.weight[ids]
        return lambda mask, *xs: np.concatenate(xs, axis=-1)  # Concat, the last of LAYERS


ENGINES = [NumpyLoop()]
