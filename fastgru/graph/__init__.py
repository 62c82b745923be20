"""The Graph: what a network is, independent of frameworks and of kernels.

Importers build it, passes rewrite it, the float64 reference defines it, the engine packs it. Every op
is a frozen dataclass of attributes and read-only NumPy weights in canonical gate order; `OPS` is the
table that the file format and the engine's lowering read.
"""

from . import dialects
from .activations import ACTIVATIONS, SOFTMAX, TIERS, Activation
from .attention import TimeAttention
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
    Scaler,
)
from .cells import GRU, LSTM, RNN
from .convolution import Conv, ConvTranspose, Pool
from .described import Described, GroupNorm, InstanceNorm, PReLU
from .elementwise import BINARY, UNARY, Binary, Cast, Unary, Where
from .framing import Framing, OverlapAdd
from .gather import Gather, OneHot
from .graph import MERGE_OPS, Graph, GraphBuilder, Node, StateSlot, chain
from .like import Like, like
from .op import Op, precision_of
from .precision import PRECISIONS
from .product import MatMul
from .recurrent import Bidirectional, Recurrent, tier_of
from .reduction import REDUCTIONS, ArgReduce, CumSum, Reduce, Softmax, TopK
from .shape import Expand, Pad, Reshape, Slice, Tile, Transpose
from .spec import Spec
from .spectral import IRFFT, RFFT
from .steps import TimeSlice, TimeStep
from .temporal import (
    TIME_REDUCTIONS,
    Temporal,
    TimeConv,
    TimePad,
    TimePool,
    TimeReduce,
    TimeSoftmax,
)
from .tensor import Constant, State

OPS: dict[str, type[Op]] = {
    op.kind: op
    for op in (
        RNN, GRU, LSTM, Dense, Embedding, LayerNorm, BatchNorm, Activate, Dropout,
        Mask, ApplyMask, Reverse, Concat, Add, Multiply, Average, Scaler,
        Constant, State, Unary, Binary, Where, Cast, Softmax, Reduce, ArgReduce, TopK, CumSum,
        Reshape, Transpose, Slice, Pad, Expand, Tile, Gather, OneHot, MatMul, Conv, ConvTranspose, Pool,
        TimeConv, TimePool, TimePad, TimeReduce, TimeSoftmax, TimeAttention, TimeSlice, TimeStep, Framing, OverlapAdd,
        RFFT, IRFFT,
    )
}  # fmt: skip

__all__ = [
    "ACTIVATIONS", "BINARY", "GRU", "IRFFT", "LSTM", "MERGE_OPS", "OPS", "PRECISIONS", "REDUCTIONS", "RFFT", "RNN",
    "SOFTMAX", "TIERS", "TIME_REDUCTIONS", "UNARY", "Activate", "Activation", "Add", "ApplyMask", "ArgReduce",
    "Average", "BatchNorm", "Bidirectional", "Binary", "Cast", "Concat", "Constant", "Conv", "ConvTranspose",
    "CumSum", "Dense", "Described", "Dropout", "Embedding", "Expand", "Framing", "Gather", "Graph", "GraphBuilder",
    "GroupNorm", "InstanceNorm", "LayerNorm", "Like", "Mask", "MatMul", "Multiply", "Node", "OneHot", "Op",
    "OverlapAdd", "PReLU", "Pad", "Pool", "Recurrent", "Reduce", "Reshape", "Reverse", "Scaler", "Slice", "Softmax",
    "Spec", "State", "StateSlot", "Temporal", "Tile", "TimeAttention", "TimeConv", "TimePad", "TimePool", "TimeReduce",
    "TimeSlice", "TimeSoftmax", "TimeStep", "TopK", "Transpose", "Unary", "Where", "chain", "dialects", "like",
    "precision_of", "tier_of",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__
