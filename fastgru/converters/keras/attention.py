"""Keras's attention layers, over keys and values that lie within a frame; queries may be steps of the model's time."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Dense, MatMul, Reshape
from ..tensors.values import room
from .formulas import Formula, act, add, affine, binary, emit, mul, reduce, reshape, softmax, transpose, where
from .masking import known_mask
from .rows import Row, shaped, take, untimed
from .values import Array, Context, Layer, Value, shortened

MASKED = 1e9  # keras/src/layers/attention/attention.py: what is taken off the scores of masked values
CALL = "mask use_causal_mask return_attention_scores"


def _sequences(layer: Layer, inputs: list[Value], ctx: Context) -> list[Value]:
    """Query (Q, D), value (S, V) and key (S, D); a query along the model's time has Q = 1."""
    named = [layer.call[k] for k in ("query", "value", "key") if layer.call.get(k) is not None]
    given = [*inputs, *named]
    if not 2 <= len(given) <= 3 or not all(isinstance(x, Value) for x in given):
        raise ConvertError(f"{layer} must have inputs query, value and maybe key, got {len(given)}")
    query, value, key = (*given, given[1])[:3]
    for x in (value, key):
        untimed(layer, x)
    if query.timed:
        query = ctx.add(Reshape((1, *query.frame)), query, name=f"{layer.name}.query", mask=query.mask)
    for what, x in (("query", query), ("value", value), ("key", key)):
        if len(x.frame) != 2:
            raise ConvertError(f"{what} of {layer} must have steps and features, got {x.spec}")
    return [query, value, key]


def _flag(layer: Layer, key: str) -> bool:
    value = layer.call.get(key, False)
    if not isinstance(value, bool | None):
        raise ConvertError(f"{key} of {layer} must be true or false, got {shortened(value)}")
    return bool(value)


def _causal(layer: Layer, query: Value, value: Value, ctx: Context) -> Value:
    """The mask (Q, S) of values no later than the query."""
    untimed(layer, query)
    room(query.frame[0], value.frame[0])
    keep = np.tril(np.ones((query.frame[0], value.frame[0]), dtype=bool))
    return ctx.constant(keep, name=f"{layer.name}.causal", dtype="bool")


def _scores(layer: Layer, arrays: list[Array], query: Value, key: Value, ctx: Context) -> Any:
    """How much each query (Q, D) asks for each key (S, D): (Q, S)."""
    scaled = layer.flag("use_scale", default=layer.class_name == "AdditiveAttention")
    additive = layer.class_name == "AdditiveAttention"
    mode = "concat" if additive else layer.one_of("score_mode", ("dot", "concat"), default="dot")
    weighted = mode == "concat" and not additive
    names = [*["scale"] * scaled, *["concat_score_weight"] * weighted]
    own = dict(zip(names, take(layer, arrays, *names), strict=True))
    for name, array in own.items():
        shaped(layer, array, name, query.frame[1:] if additive else ())
    scale = own.get("scale")
    if mode == "dot":
        product = Formula(MatMul(transpose_b=True), (query, key))
        return product if scale is None else affine(product, float(scale))
    (q, features), s = query.frame, key.frame[0]
    both: Any = add(reshape(query, (q, 1, features)), reshape(key, (1, s, features)))
    if additive:
        both = act("tanh", both)
        return reduce("sum", both if scale is None else mul(both, scale), (2,), keepdims=False)
    both = act("tanh", both if scale is None else affine(both, float(scale)))
    return affine(reduce("sum", both, (2,), keepdims=False), float(own["concat_score_weight"]))


def attention(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Attention and AdditiveAttention."""
    masks = [known_mask(layer, x) for x in inputs[:2]]
    timed = bool(inputs) and inputs[0].timed
    query, value, key = _sequences(layer, inputs, ctx)
    scores = _scores(layer, arrays, query, key, ctx)
    keep: Any = masks[1] if len(masks) > 1 else None
    if _flag(layer, "use_causal_mask"):
        causal = _causal(layer, query, value, ctx)
        keep = causal if keep is None else binary("and", causal, keep)
    if keep is not None:
        scores = emit(scores, ctx, f"{layer.name}.unmasked")
        scores = where(keep, scores, affine(scores, 1.0, -MASKED))
    raw = emit(scores, ctx, f"{layer.name}.scores")
    weights = emit(softmax(raw, 1), ctx, f"{layer.name}.weights")
    y: Any = Formula(MatMul(), (weights, value))
    shape = value.frame[1:] if timed else (query.frame[0], value.frame[1])
    y = reshape(y, shape) if timed else y
    if masks[0] is not None:
        y = where(reshape(masks[0], (*masks[0].frame, 1)), y, 0.0)
    return _outputs(layer, emit(y, ctx, layer.name, masks[0]), weights, ctx, timed=timed)


def _outputs(layer: Layer, y: Value, weights: Value, ctx: Context, *, timed: bool) -> list[Value]:
    """The result and, where the call asks for them, the weights."""
    if not _flag(layer, "return_attention_scores"):
        return [y]
    if timed:
        frame = (*weights.frame[:-2], weights.frame[-1])
        untimed(layer, y) if len(frame) > 1 else None
        weights = ctx.add(Reshape(frame), weights, name=f"{layer.name}.returned")
    return [y, weights]


def multi_head(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """MultiHeadAttention: kernels (D, N, H) of query, key and value, and (N, H, E) of the output, each with a bias."""
    if any(known_mask(layer, x) is not None for x in inputs) or layer.call.get("attention_mask") is not None:
        raise ConvertError(f"{layer} must have no mask, got one")
    if layer.config.get("attention_axes") not in (None, [1], 1):
        raise ConvertError(f"attention_axes of {layer} must be [1], got {layer.config['attention_axes']!r}")
    timed = bool(inputs) and inputs[0].timed
    query, value, key = _sequences(layer, inputs, ctx)
    heads, width = layer.integer("num_heads"), layer.integer("key_dim")
    deep = width if layer.config.get("value_dim") is None else layer.integer("value_dim")
    q, k, v, last = _projections(layer, arrays, (heads, width, deep), (query, key, value))
    split = [
        _split(layer, what, dense, x, heads, ctx)
        for what, dense, x in (("queries", q, query), ("keys", k, key), ("values", v, value))
    ]
    scores: Any = affine(Formula(MatMul(transpose_b=True), (split[0], split[1])), 1 / sqrt(width))
    if _flag(layer, "use_causal_mask"):
        scores = where(_causal(layer, query, value, ctx), scores, -MASKED)
    raw = emit(scores, ctx, f"{layer.name}.scores")
    weights = emit(softmax(raw, 2), ctx, f"{layer.name}.weights")
    joined = transpose(Formula(MatMul(), (weights, split[2])), (1, 0, 2))
    rows = reshape(joined, (query.frame[0], heads * deep))
    y = Formula(last, (reshape(rows, (heads * deep,)) if timed else rows,))
    return _outputs(layer, emit(y, ctx, layer.name), weights, ctx, timed=timed)


def _projections(
    layer: Layer, arrays: list[Array], sizes: tuple[int, int, int], inputs: tuple[Value, ...]
) -> list[Dense]:
    """The four products as ops on the last axis."""
    heads, width, deep = sizes
    biased = layer.flag("use_bias")
    names = [n for what in ("query", "key", "value", "output") for n in (f"{what} kernel", *[f"{what} bias"] * biased)]
    own = dict(zip(names, take(layer, arrays, *names), strict=True))
    found = []
    for what, x, size in zip(("query", "key", "value"), inputs, (width, width, deep), strict=True):
        kernel = shaped(layer, own[f"{what} kernel"], f"{what} kernel", (x.frame[1], heads, size))
        bias = shaped(layer, own[f"{what} bias"], f"{what} bias", (heads, size)).reshape(-1) if biased else None
        found.append(Dense(kernel.reshape(x.frame[1], heads * size).T, bias))
    kernel = own["output kernel"]
    if kernel.ndim != 3 or kernel.shape[:2] != (heads, deep):
        raise ConvertError(f"output kernel of {layer} must have shape ({heads}, {deep}, features), got {kernel.shape}")
    bias = shaped(layer, own["output bias"], "output bias", kernel.shape[2:]) if biased else None
    return [*found, Dense(kernel.reshape(heads * deep, kernel.shape[2]).T, bias)]


def _split(layer: Layer, what: str, dense: Dense, x: Value, heads: int, ctx: Context) -> Value:
    """The projection of (S, D) as (N, S, H)."""
    size = dense.weight.shape[0] // heads
    apart = reshape(Formula(dense, (x,)), (x.frame[0], heads, size))
    return emit(transpose(apart, (1, 0, 2)), ctx, f"{layer.name}.{what}")


ATTENTION = Row(attention, "use_scale score_mode", "dropout", call=CALL)
ROWS = {
    "Attention": ATTENTION,
    "AdditiveAttention": ATTENTION,
    "MultiHeadAttention": Row(
        multi_head, "num_heads key_dim value_dim use_bias output_shape attention_axes", "dropout",
        {"use_gate": (False,), "sliding_window": (None,)},
        call=f"{CALL} query value key attention_mask",
    ),
}  # fmt: skip
