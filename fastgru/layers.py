"""The layers a model is made of by hand, from NumPy arrays.

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
    LSTM,
    RNN,
    Activate,
    Activation,
    Add,
    ApplyMask,
    Average,
    BatchNorm,
    Bidirectional,
    Concat,
    Dense,
    Dropout,
    Embedding,
    LayerNorm,
    Mask,
    Multiply,
    Reverse,
    like,
)

__all__ = [
    "GRU", "LSTM", "RNN", "Activate", "Activation", "Add", "ApplyMask", "Average", "BatchNorm",
    "Bidirectional", "Concat", "Dense", "Dropout", "Embedding", "LayerNorm", "Mask", "Multiply", "Reverse", "like",
]  # fmt: skip
