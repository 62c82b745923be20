"""Keras's attention layers, of queries, keys and values that may each be steps of the model's time or of a frame."""

from __future__ import annotations

from math import prod, sqrt

from ...errors import ConvertError
from ..program.attention import added, attend, dot_scores, every, near
from ..program.pairs import Causal, Scores
from ..program.products import Operand, gemm, matmul
from ..program.reductions import reduced
from ..program.sizes import product
from ..program.values import Tensor
from ..program.views import reshaped, with_ones
from .draft import Draft
from .masking import kept, known_mask
from .rows import Row, shaped, take
from .values import Array, Context, Layer, Value, shortened

MASKED = -1e9  # keras/src/layers/attention/attention.py: what is added to the scores of masked values
CALL = "mask use_causal_mask return_attention_scores"


def _sequences(layer: Layer, inputs: list[Value]) -> list[Value]:
    """Query, value and key."""
    named = [layer.call[k] for k in ("query", "value", "key") if layer.call.get(k) is not None]
    given = [*inputs, *named]
    if not 2 <= len(given) <= 3 or not all(isinstance(x, Value) for x in given):
        raise ConvertError(f"{layer} must have inputs query, value and maybe key, got {len(given)}")
    found = [*given, given[1]][:3]
    for what, x in zip(("query", "value", "key"), found, strict=True):
        if x.rank < 3:
            raise ConvertError(f"{what} of {layer} must have steps and features, got {x.spec}")
    return found


def _flag(layer: Layer, key: str) -> bool:
    value = layer.call.get(key, False)
    if not isinstance(value, bool | None):
        raise ConvertError(f"{key} of {layer} must be true or false, got {shortened(value)}")
    return bool(value)


def _scores(layer: Layer, arrays: list[Array], query: Tensor, key: Tensor, b: Draft) -> Tensor | Scores:
    """Return the scores (B, Q, S) of keys (B, S, D) for queries (B, Q, D)."""
    additive = layer.class_name == "AdditiveAttention"
    scaled = layer.flag("use_scale", default=additive)
    mode = "concat" if additive else layer.one_of("score_mode", ("dot", "concat"), default="dot")
    names = [*["scale"] * scaled, *["concat_score_weight"] * (mode == "concat" and not additive)]
    own = dict(zip(names, take(layer, arrays, *names), strict=True))
    for name, array in own.items():
        shaped(layer, array, name, (int(query.size(2)),) if additive else ())
    scale = own.get("scale")
    if mode == "dot":
        return dot_scores(b, query, key, 1.0 if scale is None else float(scale))
    both = added(b, query, key)
    if not additive:
        y = b.activate(b.affine(both.value, 1.0 if scale is None else float(scale)), "tanh")
        total = reduced(b, b.like(both, y), [3], "sum", False)
        return b.like(total, b.affine(total.value, float(own["concat_score_weight"])))
    both = b.like(both, b.activate(both.value, "tanh"))
    return reduced(b, both, [3], "sum", False) if scale is None else matmul(b, both, scale)


def attention(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Attention and AdditiveAttention."""
    masks, b = [known_mask(layer, x) for x in inputs[:2]], Draft(layer.name, ctx)
    query, value, key = (b.read(x) for x in _sequences(layer, inputs))
    scores = _scores(layer, arrays, query, key, b)
    seen: list[Operand | Causal] = [with_ones(b, b.read(mask), [1]) for mask in masks[1:] if mask is not None]
    if _flag(layer, "use_causal_mask"):
        seen.append(near(query.size(1), value.size(1), after=0))
    y, weights = attend(b, scores, value, every(b, seen), least=MASKED)
    if masks and masks[0] is not None:
        y = kept(b, y, with_ones(b, b.read(masks[0]), [2]))
    return _outputs(layer, y, weights, b, masks[0] if masks else None)


def _outputs(layer: Layer, y: Tensor, weights: Tensor | Scores, b: Draft, mask: Value | None) -> list[Value]:
    """The result and, where the call asks for them, the weights."""
    found = [b.finish(y, mask)]
    if not _flag(layer, "return_attention_scores"):
        return found
    if isinstance(weights, Scores):
        raise weights.refused(f"output of {layer}")
    b.name = f"{layer.name}.weights"
    return [*found, b.finish(weights)]


def multi_head(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Attention by heads: kernels (D, N, H) of query, key and value, (N, H, E) of the output, each with a bias."""
    if any(known_mask(layer, x) is not None for x in inputs) or layer.call.get("attention_mask") is not None:
        raise ConvertError(
            f"{layer} must have no mask, got one: backends of Keras differ in what a masked query gives; leave out "
            "mask_zero or Masking in front of it, or use Attention"
        )
    b = Draft(layer.name, ctx)
    query, value, key = (b.read(x) for x in _sequences(layer, inputs))
    heads, width = layer.integer("num_heads"), layer.integer("key_dim")
    deep = width if layer.config.get("value_dim") is None else layer.integer("value_dim")
    parts = {"query": (query, width), "key": (key, width), "value": (value, deep)}
    names = [*parts, "output"]
    biased = layer.flag("use_bias")
    names = [n for what in names for n in (f"{what} kernel", *[f"{what} bias"] * biased)]
    own = dict(zip(names, take(layer, arrays, *names), strict=True))
    made = {what: _projected(layer, what, own, x, heads, size, b) for what, (x, size) in parts.items()}
    axes = _attention_axes(layer, query.rank)
    q, k, v = (_with_heads(b, made[what], axes) for what in ("query", "key", "value"))
    mask = _mask(layer, query, value, axes)
    y, weights = attend(b, dot_scores(b, q, k, 1 / sqrt(width)), v, mask, least=MASKED)
    steps = [[x.size(a) for a in axes] for x in (query, key)]
    rest = [query.size(i) for i in range(query.rank - 1) if i not in axes]
    y = reshaped(b, y, (*rest, heads, *steps[0], deep))
    if isinstance(weights, Tensor):
        weights = reshaped(b, weights, (*rest, heads, *steps[0], *steps[1]))
    order = [*(i for i in range(query.rank - 1) if i not in axes), query.rank - 1, *axes, query.rank]
    y = y.permuted([order.index(i) for i in range(len(order))])
    kernel = own["output kernel"]
    if kernel.ndim < 3 or kernel.shape[:2] != (heads, deep):
        raise ConvertError(f"output kernel of {layer} must have shape ({heads}, {deep}, features), got {kernel.shape}")
    lead, shape = y.sizes()[:-2], kernel.shape[2:]
    bias = shaped(layer, own["output bias"], "output bias", shape).reshape(-1) if biased else None
    flat = reshaped(b, y, (*lead, heads * deep))
    y = reshaped(b, gemm(b, flat, kernel.reshape(heads * deep, prod(shape)), bias), (*lead, *shape))
    return _outputs(layer, y, weights, b, None)


def _attention_axes(layer: Layer, rank: int) -> list[int]:
    """The axes that are attended over, of tensors of `rank` axes: all between batch and features if not given."""
    given = layer.config.get("attention_axes")
    axes = [given] if isinstance(given, int) else list(range(1, rank - 1)) if given is None else list(given)
    if not all(isinstance(a, int) and 0 < a % rank < rank - 1 for a in axes):
        raise ConvertError(f"attention_axes of {layer} must be between batch and features, got {shortened(given)}")
    return [a % rank for a in axes]


def _projected(layer: Layer, what: str, own: dict[str, Array], x: Tensor, heads: int, size: int, b: Draft) -> Tensor:
    """A product with a kernel (D, N, H)."""
    features = int(x.size(x.rank - 1))
    kernel = shaped(layer, own[f"{what} kernel"], f"{what} kernel", (features, heads, size))
    bias = own.get(f"{what} bias")
    flat = None if bias is None else shaped(layer, bias, f"{what} bias", (heads, size)).reshape(-1)
    y = gemm(b, x, kernel.reshape(features, heads * size), flat)
    return reshaped(b, y, (*x.sizes()[:-1], heads, size))


def _with_heads(b: Draft, x: Tensor, axes: list[int]) -> Tensor:
    """(B, ..., N, H) with the heads behind the batch axes, and those that are attended over as one behind them."""
    rest = [i for i in range(x.rank - 1) if i not in axes]
    moved = x.permuted([*rest, *axes, x.rank - 1])
    return reshaped(b, moved, (*moved.sizes()[: len(rest)], product(x.size(a) for a in axes), x.size(x.rank - 1)))


def _mask(layer: Layer, query: Tensor, value: Tensor, axes: list[int]) -> Array | Causal | None:
    """The keys that a causal mask lets be seen."""
    if not _flag(layer, "use_causal_mask"):
        return None
    if query.rank != 3 or axes != [1]:
        raise ConvertError(f"masks of {layer} must be over one axis of steps, got attention over axes {axes}")
    return near(query.size(1), value.size(1), after=0)


ATTENTION = Row(attention, "use_scale score_mode", "dropout", call=CALL)
ROWS = {
    "Attention": ATTENTION,
    "AdditiveAttention": ATTENTION,
    "MultiHeadAttention": Row(
        multi_head, "num_heads key_dim value_dim use_bias output_shape attention_axes", "dropout",
        {"use_gate": (False,), "sliding_window": (None,)}, call=f"{CALL} query value key attention_mask",
    ),
}  # fmt: skip
