"""Gate orders, transposes and bias layouts of every source: the only place that knows them.

Canonical form: ``weight_x`` (G*H, I) and ``weight_h`` (G*H, R), row-major, gates in PyTorch order
(GRU ``r z n``, LSTM ``i f g o``), one input and one recurrent bias, each (G*H,). The GRU with an
output gate appends ``o``; the LSTM with coupled input and forget gates (CIFG) drops ``f``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_array
from ..errors import GraphError

Array = NDArray[Any]

CANONICAL = {"rnn": "n", "gru": "rzn", "gru_output": "rzno", "lstm": "ifgo", "lstm_cifg": "igo"}
# cell -> source -> gate order. Keras: keras/src/layers/rnn/{gru,lstm}.py; ONNX: the operators' pages.
GATE_ORDER = {
    "rnn": {"torch": "n", "keras": "n", "onnx": "n"},
    "gru": {"torch": "rzn", "keras": "zrn", "onnx": "zrn"},
    "lstm": {"torch": "ifgo", "keras": "ifgo", "onnx": "iofg"},
}
PEEPHOLE_ORDER = {"onnx": "iof"}  # canonical: "ifo"


def reorder(array: Array, source: str, target: str, name: str = "array") -> Array:
    """Permute the gate blocks along axis 0 from order `source` to order `target`; `name` is for the error."""
    if not array.ndim or array.shape[0] % len(source):
        raise GraphError(
            f"{name}: first axis must be a multiple of {len(source)} gates ({source}), got shape {array.shape}"
        )
    blocks = dict(zip(source, np.split(np.asarray(array), len(source)), strict=True))
    return np.concatenate([blocks[gate] for gate in target])


def canonical(array: Array | None, cell: str, source: str, name: str) -> Array | None:
    """Return `array` with its gate blocks along axis 0 in canonical order; None stays None."""
    if array is None:
        return None
    return reorder(array, GATE_ORDER[cell][source], CANONICAL[cell], name)


def given(array: Any, name: str) -> Array | None:
    """An optional array as one, or an error that names it; None stays None."""
    return None if array is None else as_array(array, name)


def as_2d(name: str, array: Any) -> Array:
    """`array` as a matrix, or an error that names it."""
    matrix = as_array(array, name)
    if matrix.ndim != 2:
        raise GraphError(f"{name} must be a matrix, got shape {matrix.shape}")
    return matrix


def from_torch(cell: str, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> dict[str, Any]:
    """Canonical fields from ``weight_ih_l0 (G*H, I), weight_hh_l0 (G*H, R), bias_ih_l0, bias_hh_l0 (G*H,)``."""
    return {
        "weight_x": canonical(as_2d("w_ih", w_ih), cell, "torch", "w_ih"),
        "weight_h": canonical(as_2d("w_hh", w_hh), cell, "torch", "w_hh"),
        "bias": canonical(given(b_ih, "b_ih"), cell, "torch", "b_ih"),
        "bias_h": canonical(given(b_hh, "b_hh"), cell, "torch", "b_hh"),
    }


def from_keras(cell: str, kernel: Any, recurrent_kernel: Any, bias: Any) -> dict[str, Any]:
    """Canonical fields from Keras: kernels (I, G*H) and (R, G*H); bias (G*H,) or (2, G*H)."""
    b_x = b_h = None
    if bias is not None:
        bias = as_array(bias, "bias")
        if bias.ndim not in (1, 2) or (bias.ndim == 2 and bias.shape[0] != 2):
            raise GraphError(f"bias must have shape (G*H,) or (2, G*H), got {bias.shape}")
        b_x, b_h = (bias, None) if bias.ndim == 1 else bias
    return {
        "weight_x": canonical(as_2d("kernel", kernel).T, cell, "keras", "transposed kernel"),
        "weight_h": canonical(
            as_2d("recurrent_kernel", recurrent_kernel).T, cell, "keras", "transposed recurrent_kernel"
        ),
        "bias": canonical(b_x, cell, "keras", "bias"),
        "bias_h": canonical(b_h, cell, "keras", "bias"),
    }


def from_onnx(cell: str, w: Any, r: Any, b: Any) -> dict[str, Any]:
    """Canonical fields of one direction: W (G*H, I), R (G*H, H), B (2*G*H,) with Wb before Rb."""
    b_x = b_h = None
    w = as_2d("W", w)
    if b is not None:
        b = as_array(b, "B")
        if b.shape != (2 * w.shape[0],):
            raise GraphError(f"B must have shape ({2 * w.shape[0]},), got {b.shape}")
        b_x, b_h = np.split(b, 2)
    return {
        "weight_x": canonical(w, cell, "onnx", "W"),
        "weight_h": canonical(as_2d("R", r), cell, "onnx", "R"),
        "bias": canonical(b_x, cell, "onnx", "B"),
        "bias_h": canonical(b_h, cell, "onnx", "B"),
    }


def from_gates(gates: list[tuple[str, Any]], order: str) -> dict[str, Any]:
    """Canonical fields from one (W, b) a gate, W (H, H+I) over ``[h, x]`` or ``[x, h]``.

    The gates come in canonical order. b may be None, (H,), or a pair (input bias, recurrent bias).
    """
    if order not in ("hx", "xh"):
        raise GraphError(f"order must be 'hx' or 'xh', got {order!r}")
    w_x, w_h, b_x, b_h = [], [], [], []
    for name, pair in gates:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise GraphError(f"{name} must be a pair (W, b), got {type(pair).__name__}")
        w = as_2d(f"W of {name}", pair[0])
        h, k = w.shape
        if k <= h:
            raise GraphError(f"W of {name} must have shape (H, H+I) with I >= 1, got {w.shape}")
        split = np.split(w, [h if order == "hx" else k - h], axis=1)
        (u, v) = split if order == "hx" else split[::-1]
        bias = pair[1] if isinstance(pair[1], tuple) else (pair[1], None)
        b = [np.zeros(h, w.dtype) if part is None else as_array(part, f"bias of {name}") for part in bias]
        for what, part in zip(("bias", "recurrent bias"), b, strict=True):
            if part.shape != (h,):
                raise GraphError(f"{what} of {name} must have shape ({h},), got {part.shape}")
        w_h.append(u)
        w_x.append(v)
        b_x.append(b[0])
        b_h.append(b[1])
    if len({w.shape for w in w_x}) > 1:
        shapes = ", ".join(f"{name} {np.shape(pair[0])}" for name, pair in gates)
        raise GraphError(f"all gates must have W of one shape, got {shapes}")
    return {
        "weight_x": np.concatenate(w_x),
        "weight_h": np.concatenate(w_h),
        "bias": np.concatenate(b_x),
        "bias_h": np.concatenate(b_h),
    }


def uncudnn(kernel: Any, recurrent_kernel: Any, bias: Any, *, gates: int) -> tuple[Array, Array, Array]:
    """Keras layout from a legacy CuDNNLSTM (4 gates) or CuDNNGRU (3 gates) layer.

    cuDNN wants column-major blocks: each input block k of those layers means ``k.T.reshape(k.shape,
    order="F")``, each recurrent block its transpose, and both biases lie in one flat vector (keras 2,
    ``keras/engine/saving.py: _convert_rnn_weights``).

    Returns
    -------
    kernel (I, G*H), recurrent_kernel (H, G*H), bias (2, G*H)
    """
    kernel, recurrent = as_2d("kernel", kernel), as_2d("recurrent_kernel", recurrent_kernel)
    blocks = [k.T.reshape(k.shape, order="F") for k in np.split(kernel, gates, axis=1)]
    transposed = [r.T for r in np.split(recurrent, gates, axis=1)]
    return (
        np.concatenate(blocks, axis=1),
        np.concatenate(transposed, axis=1),
        as_array(bias, "bias").reshape(2, -1),
    )
