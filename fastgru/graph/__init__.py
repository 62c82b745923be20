"""The Graph: what a network is, independent of frameworks and of kernels.

Importers build it, passes rewrite it, the float64 reference defines it, the engine packs it. Every op
is a frozen dataclass of attributes and read-only NumPy weights in canonical gate order; `OPS` is the
table that the file format and the engine's lowering read.
"""

from . import dialects
from .activations import ACTIVATIONS, SOFTMAX, Activation
from .basic import (
    Activate,
    Add,
    ApplyMask,
    Average,
    BatchNorm,
    Concat,
    Dense,
    Dropout,
    Embedding,
    LayerNorm,
    Mask,
    Multiply,
    Reverse,
)
from .cells import GRU, LSTM, RNN
from .graph import MERGE_OPS, Graph, GraphBuilder, Node, StateSlot, chain
from .like import Like, like
from .op import Op, Spec, precision_of
from .precision import PRECISIONS
from .recurrent import Bidirectional, Recurrent

OPS: dict[str, type[Op]] = {
    op.kind: op
    for op in (
        RNN, GRU, LSTM, Dense, Embedding, LayerNorm, BatchNorm, Activate, Dropout,
        Mask, ApplyMask, Reverse, Concat, Add, Multiply, Average,
    )
}  # fmt: skip

__all__ = [
    "ACTIVATIONS", "GRU", "LSTM", "MERGE_OPS", "OPS", "PRECISIONS", "RNN", "SOFTMAX", "Activate", "Activation", "Add",
    "ApplyMask", "Average", "BatchNorm", "Bidirectional", "Concat", "Dense", "Dropout", "Embedding", "Graph",
    "GraphBuilder", "LayerNorm", "Like", "Mask", "Multiply", "Node", "Op", "Recurrent", "Reverse", "Spec",
    "StateSlot", "chain", "dialects", "like", "precision_of",
]  # fmt: skip
