"""The layers a model is made of by hand, from NumPy arrays; GroupNorm, InstanceNorm and PReLU are for `like` alone.

Examples
--------
>>> import numpy as np
>>> from fastgru.layers import GRU, Dense
>>> rng = np.random.default_rng(0)
>>> gru = GRU.from_torch(rng.normal(size=(12, 3)), rng.normal(size=(12, 4)))
>>> gru.output_size
4
"""

from .graph import (
    GRU,
    IRFFT,
    LSTM,
    RFFT,
    RNN,
    Activate,
    Activation,
    Add,
    ApplyMask,
    ArgReduce,
    Average,
    BatchNorm,
    Bidirectional,
    Cast,
    Concat,
    Conv,
    ConvTranspose,
    CumSum,
    Dense,
    Dropout,
    Embedding,
    Expand,
    Framing,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Mask,
    Multiply,
    OneHot,
    OverlapAdd,
    Pad,
    Pool,
    PReLU,
    Reduce,
    Reshape,
    Reverse,
    Scaler,
    Slice,
    Softmax,
    Tile,
    TimeAttention,
    TimeConv,
    TimePad,
    TimePool,
    TimeReduce,
    TimeSlice,
    TimeSoftmax,
    TimeStep,
    Transpose,
    Unary,
    like,
)

__all__ = [
    "GRU", "IRFFT", "LSTM", "RFFT", "RNN", "Activate", "Activation", "Add", "ApplyMask", "ArgReduce", "Average",
    "BatchNorm", "Bidirectional", "Cast", "Concat", "Conv", "ConvTranspose", "CumSum", "Dense", "Dropout",
    "Embedding", "Expand", "Framing", "GroupNorm", "InstanceNorm", "LayerNorm", "Mask", "Multiply", "OneHot",
    "OverlapAdd", "PReLU", "Pad", "Pool", "Reduce", "Reshape", "Reverse", "Scaler", "Slice", "Softmax", "Tile",
    "TimeAttention", "TimeConv", "TimePad", "TimePool", "TimeReduce", "TimeSlice", "TimeSoftmax", "TimeStep",
    "Transpose", "Unary", "like",
]  # fmt: skip
