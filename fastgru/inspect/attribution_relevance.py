"""Layer-wise relevance: which share of an output each input, bias and initial state has.

- Sums (Dense, convolutions, norms, means): each term gets its share of the sum, the epsilon rule of Bach et al. 2015
  (doi:10.1371/journal.pone.0130140, equation 60). A bias is a term, and keeps its share.
- Activations pass on what they get, softmax too.
- Products: a factor that is a gate (a sigmoid or a softmax, moved or subtracted from a constant) gets nothing, the
  signal all, as in Arras et al. 2017 (doi:10.18653/v1/W17-5221). So attention weights count as constants (Ali et al.
  2022, arXiv:2202.07304). Where no factor is a gate each gets an equal share, the Shapley value of a product.
- Layer norms count their spread as a constant (Ali et al. 2022, section 3.1), and so does a quotient its divisor.
- Maxima give all to the element they take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import graph as g
from ..errors import GraphError
from ..graph.activations import F64, SOFTMAX
from ..reference import FORMULAS, f64
from ..reference.tensor import ALIGNED, aligned
from .attribution_cells import step_back
from .gradients import ROWS
from .gradients_cells import StepBack, scan_back
from .gradients_tensor import Array, back_through, fitted

GATES = ("sigmoid", "hard_sigmoid", "fast_sigmoid", SOFTMAX)
MOVES = (
    g.Reshape, g.Transpose, g.Slice, g.Expand, g.Tile, g.Concat, g.Gather, g.Dropout, g.TimeSlice, g.TimeStep,
    g.Framing, g.Reverse, g.Pad, g.TimePad, g.ApplyMask, g.Where,
)  # fmt: skip
Rule = Callable[["Relevance", g.Node, Sequence[Array], Sequence[Array], Sequence[F64]], list[Any]]


class Relevance:
    """The rules of layer-wise relevance for one graph, and a book of what no input gets.

    Attributes
    ----------
    biases : dict of str to (B,) array
        By node: relevance of its biases, of constants, and of what it pads with.
    stabiliser : (B,) array
        What epsilon took.
    """

    def __init__(self, graph: g.Graph, batch: int, epsilon: float) -> None:
        self.epsilon, self.batch = epsilon, batch
        self.biases: dict[str, F64] = {}
        self.stabiliser = np.zeros(batch)
        self.carrying = _carrying(graph)
        self.gates = _gates(graph, self.carrying)
        self._linear: dict[str, g.Op] = {}

    def ratio(self, total: F64, relevance: F64) -> F64:
        """Return relevance over the sum (B, ...) that it is shared by, moved away from zero by epsilon."""
        away = np.where(total < 0, -self.epsilon, self.epsilon)
        divisor = total + away
        found = np.divide(relevance, divisor, out=np.zeros(divisor.shape), where=divisor != 0)
        lost = np.where(divisor != 0, found * away, relevance)
        self.stabiliser += np.broadcast_to(lost, divisor.shape).reshape(self.batch, -1).sum(axis=1)
        return found

    def own(self, name: str, relevance: F64) -> None:
        """Keep relevance (B, ...) that belongs to a node itself."""
        here = relevance.reshape(self.batch, -1).sum(axis=1)
        self.biases[name] = self.biases.get(name, 0.0) + here

    def node(self, node: g.Node, xs: Sequence[Array], ys: Sequence[Array], gs: Sequence[F64]) -> list[Any]:
        """Return the relevance of each input, None for those that are no floats."""
        rule = RULES.get(type(node.op))
        if rule is None:
            raise GraphError(f"node {node.name!r}: relevance has no rule for {type(node.op).__name__}")
        given = aligned(xs) if isinstance(node.op, ALIGNED) else xs
        found = rule(self, node, given, ys, gs)
        return [None if a is None else fitted(a, x.shape) for a, x in zip(found, xs, strict=True)]

    def cell(self, node: g.Node) -> StepBack:
        """Return one step back of a recurrent node."""
        return step_back(self, node)

    def plain(self, node: g.Node) -> g.Op:
        """Return the op of a node without its activation."""
        if node.name not in self._linear:
            op = node.op
            self._linear[node.name] = op.replace(activation="linear") if hasattr(op, "activation") else op
        return self._linear[node.name]


def _carrying(graph: g.Graph) -> set[str]:
    """Return the values that follow from float inputs or states; all others are constants of a row."""
    found = {name for name, spec in graph.inputs.items() if spec.dtype == "float"}
    for node in graph.nodes:
        if isinstance(node.op, g.State) or found.intersection(node.inputs):
            found.update(v for v in node.outputs if graph.specs[v].dtype == "float")
    return found


def _gates(graph: g.Graph, carrying: set[str]) -> set[str]:
    """Return the values that are gates."""
    found: set[str] = set()
    for node in graph.nodes:
        op, reads = node.op, [v for v in node.inputs if v in carrying]
        made = getattr(op, "activation", None) if not isinstance(op, g.Recurrent) else None
        moves = isinstance(op, MOVES) or (isinstance(op, g.Add) and len(reads) == 1)
        moves |= isinstance(op, g.Binary) and op.function == "sub" and len(reads) == 1
        moves |= isinstance(op, g.Unary) and op.function == "neg"
        makes = (made is not None and made.name in GATES) or isinstance(op, g.Softmax | g.TimeSoftmax)
        if makes or (moves and reads and found.issuperset(reads)):
            found.update(node.outputs)
    return found


# Rules ----------------------------------------------------------------------------------------------


def _linear(book: Relevance, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
    """Share among the terms of a sum, of which the op at zero is one."""
    op = book.plain(node)
    formula = FORMULAS[type(op)]
    ratio = book.ratio(formula(op, *xs), gs[0])
    at_zero = formula(op, *(np.zeros_like(x) for x in xs))
    if np.any(at_zero):
        book.own(node.name, ratio * at_zero)
    backs = ROWS[type(op)](op, xs, ys, [ratio])
    return [None if b is None else x * b for x, b in zip(xs, backs, strict=True)]


def _layer_norm(book: Relevance, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
    op: Any = node.op
    ratio = book.ratio(ys[0], gs[0])
    book.own(node.name, ratio * f64(op.shift))
    spread = np.sqrt(xs[0].var(axis=-1, keepdims=True) + op.eps)
    back = ratio * f64(op.scale) / spread
    return [xs[0] * (back - back.mean(axis=-1, keepdims=True))]


def _taken(book: Relevance, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
    """Give to the elements that were taken; what was added is the node's own."""
    backs = back_through(ROWS, node, xs, ys, gs)
    rest = sum(a.reshape(book.batch, -1).sum(axis=1) for a in gs if a.size)
    rest = rest - sum(a.reshape(book.batch, -1).sum(axis=1) for a in backs if a is not None)
    if isinstance(node.op, g.Pad | g.TimePad | g.Framing | g.ApplyMask):
        book.own(node.name, rest)
    return backs


def _passed(book: Relevance, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
    """Pass all on."""
    return [gs[0]]


def _kept(book: Relevance, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
    """Keep all: what is made of no float."""
    book.own(node.name, gs[0])
    return [None] * len(xs)


def _cast(book: Relevance, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
    return (_passed if xs[0].dtype.kind == "f" else _kept)(book, node, xs, ys, gs)


def _factors(book: Relevance, node: g.Node) -> list[bool]:
    """Return which factors of a product get relevance."""
    live = [v in book.carrying for v in node.inputs]
    signals = [v in book.carrying and v not in book.gates for v in node.inputs]
    return signals if any(signals) else live if any(live) else [True] * len(live)


def _multiply(book: Relevance, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
    chosen = _factors(book, node)
    return [gs[0] / sum(chosen) if own else None for own in chosen]


def _mat_mul(book: Relevance, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
    chosen = _factors(book, node)
    ratio = book.ratio(ys[0], gs[0])
    backs = back_through(ROWS, node, xs, ys, [ratio])
    return [x * b / sum(chosen) if own else None for x, b, own in zip(xs, backs, chosen, strict=True)]


def _time_attention(book: Relevance, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
    """Share among the values that were taken; the weights, which a softmax made, are a gate."""
    back = ROWS[g.TimeAttention](node.op, xs, ys, [book.ratio(ys[0], gs[0])])[2]
    return [None, None, xs[2] * back, *[None] * (len(xs) - 3)]


def _binary(book: Relevance, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
    function = node.op.function  # type: ignore[attr-defined]
    if function == "sub":
        return _linear(book, node, xs, ys, gs)
    if function in ("min", "max"):
        return ROWS[g.Binary](node.op, xs, ys, gs)
    if function in ("div", "pow"):  # the numerator, and the base, unless they are constants
        first = node.inputs[0] in book.carrying or node.inputs[1] not in book.carrying
        return [gs[0], None] if first else [None, gs[0]]
    raise GraphError(f"node {node.name!r}: relevance has no rule for Binary of function {function!r}")


# Functions of reductions whose sum is of other terms than the elements: those terms.
TERMS: dict[str, Callable[[F64], F64]] = {
    "l1": np.abs,
    "l2": np.square,
    "sum_square": np.square,
    "log_sum": lambda x: x,
    "log_sum_exp": lambda x: np.exp(x - np.where(np.isfinite(x.max()), x.max(), 0.0)),
}


def _folded(book: Relevance, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
    op: Any = node.op
    if op.function in ("sum", "mean"):
        return _linear(book, node, xs, ys, gs)
    if op.function in ("max", "min"):
        return _taken(book, node, xs, ys, gs)
    if op.function not in TERMS:
        raise GraphError(f"node {node.name!r}: relevance has no rule for {type(op).__name__} of {op.function!r}")
    axes = (1,) if isinstance(op, g.TimeReduce) else tuple(2 + i for i in op.axes)
    terms = TERMS[op.function](xs[0])
    back = gs[0] if isinstance(op, g.TimeReduce) or op.keepdims else np.expand_dims(gs[0], axes)
    return [terms * book.ratio(terms.sum(axis=axes, keepdims=True), back)]


def _pooled(book: Relevance, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
    rule = _taken if node.op.mode == "max" else _linear  # type: ignore[attr-defined]
    return rule(book, node, xs, ys, gs)


def _scan(book: Relevance, node: g.Node, xs: Any, ys: Any, gs: Any) -> list[Any]:
    op: Any = node.op
    backs, starts = scan_back(book.cell(node), op, xs[0], xs[1:], gs)
    for start in starts.values():
        book.own(node.name, start)
    return backs


RULES: dict[type[g.Op], Rule] = {
    **dict.fromkeys((g.RNN, g.GRU, g.LSTM), _scan),
    **dict.fromkeys(
        (g.Dense, g.Conv, g.ConvTranspose, g.TimeConv, g.BatchNorm, g.Scaler, g.Add, g.Average, g.CumSum, g.OverlapAdd,
         g.RFFT, g.IRFFT),
        _linear,
    ),
    **dict.fromkeys((*MOVES, g.TopK), _taken),
    **dict.fromkeys((g.Activate, g.Unary, g.Softmax, g.TimeSoftmax), _passed),
    **dict.fromkeys((g.Constant, g.Embedding, g.OneHot), _kept),
    **dict.fromkeys((g.Reduce, g.TimeReduce), _folded),
    **dict.fromkeys((g.Pool, g.TimePool), _pooled),
    g.LayerNorm: _layer_norm,
    g.Cast: _cast,
    g.Multiply: _multiply,
    g.MatMul: _mat_mul,
    g.TimeAttention: _time_attention,
    g.Binary: _binary,
}  # fmt: skip
