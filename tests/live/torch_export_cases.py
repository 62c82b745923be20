"""Modules that only torch.export can walk: what each is, and the arguments it is imported with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Body(nn.Module):
    """Layers by name, and a forward given as a function of the module and its arguments."""

    def __init__(self, body: Callable[..., Any], **layers: Any) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.body = body


class One(Body):
    """Of one argument."""

    def forward(self, x: Any) -> Any:
        return self.body(self, x)


class WithState(Body):
    """Of an argument and a state, or a pair of states."""

    def forward(self, x: Any, h: Any) -> Any:
        return self.body(self, x, h)


class WithStates(Body):
    """Of an argument and both states of an LSTM."""

    def forward(self, x: Any, h: Any, c: Any) -> Any:
        return self.body(self, x, h, c)


class Two(Body):
    """Of two arguments that are no states."""

    def forward(self, x: Any, other: Any) -> Any:
        return self.body(self, x, other)


class WithLengths(Body):
    """Of padded sequences and their lengths."""

    def forward(self, x: Any, lengths: Any) -> Any:
        return self.body(self, x, lengths)


class Case(NamedTuple):
    """A module, its example arguments, and what the import makes of them.

    Attributes
    ----------
    build : callable
    examples : tensor, tuple or dict
    axes : str
        The layout that is found.
    given : dict
        Options of the import.
    streams : bool
        Whether the graph can be fed frame by frame.
    """

    build: Callable[[], nn.Module]
    examples: Callable[[], Any]
    axes: str
    given: Mapping[str, Any] = {}
    streams: bool = True


def _random(*shape: int) -> Callable[[], Any]:
    return lambda: torch.randn(*shape)


def _randoms(*shapes: tuple[int, ...]) -> Callable[[], Any]:
    return lambda: tuple(torch.randn(*shape) for shape in shapes)


def _ids(*shape: int) -> Callable[[], Any]:
    return lambda: torch.randint(0, 9, shape)


def _padded() -> tuple[Any, Any]:
    return torch.randn(2, 6, 4), torch.tensor([3, 6])


def gru(inputs: int, hidden: int, **options: Any) -> nn.GRU:
    """A batch-first GRU."""
    return nn.GRU(inputs, hidden, **{"batch_first": True, **options})


def lstm(inputs: int, hidden: int, **options: Any) -> nn.LSTM:
    """A batch-first LSTM."""
    return nn.LSTM(inputs, hidden, **{"batch_first": True, **options})


# Forwards that take more than a line ------------------------------------------------------------


def _conv1d_gru(m: Any, x: Any) -> Any:
    y = torch.relu_(m.norm(m.conv(x.transpose(1, 2)))).transpose(1, 2)
    return m.fc(m.drop(m.gru(y)[0]))


def _conv2d_gru(m: Any, x: Any) -> Any:
    y = m.pool(m.second(torch.relu(m.first(x))))
    b, c, t, f = y.shape
    return m.fc(m.gru(y.permute(0, 2, 1, 3).reshape(b, t, c * f))[0])


def _attention(m: Any, x: Any) -> Any:
    y, _ = m.gru(x)
    weights = torch.softmax(m.score(torch.tanh(m.hidden(y))), dim=1)
    return m.fc((weights * y).sum(1))


def _attention_product(m: Any, x: Any) -> Any:
    y, _ = m.gru(x)
    return torch.bmm(torch.softmax(m.score(y), 1).transpose(1, 2), y).squeeze(1)


def _attention_einsum(m: Any, x: Any) -> Any:
    y, _ = m.gru(x)
    return torch.einsum("btk,btf->bkf", torch.softmax(m.score(y), 1), y)


def _products(m: Any, x: Any) -> Any:
    y, _ = m.gru(x)
    kernel, square = m.both.weight, m.wide.weight[:, :4]
    return (
        m.both(y, x), torch.einsum("bti,oij,btj->bto", y, kernel, x),
        torch.einsum("bti,btj->bij", y, x), torch.einsum("...i,ki", x, square), torch.einsum("bt...,bt...->b", x, x),
        torch.einsum("kk,btk->bt", square[:4], x), torch.tensordot(x, kernel, ([2], [2])), torch.inner(x, square),
        torch.inner(y, kernel.transpose(1, 2)), torch.matmul(square, x.unsqueeze(-1)), x @ square[0],
        torch.outer(square[0], square[1]) @ x.unsqueeze(-1), torch.addmm(square[:, 0], x[:, -1], square.T, beta=0.5),
        torch.baddbmm(x[:, -1:, :1], x[:, -1:], x[:, -2:-1].transpose(1, 2), alpha=2.0),
    )  # fmt: skip


def _masked_attention(m: Any, x: Any) -> Any:
    q, k, v = _heads(m.fc(x))
    seen = (x[:, :, 0] > 0.5)[:, None, None]
    return (
        F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
        F.scaled_dot_product_attention(q, k, v, seen, enable_gqa=True),
        F.scaled_dot_product_attention(q, k, v, torch.where(seen, x[:, None, :, :6], -torch.inf), enable_gqa=True),
        F.scaled_dot_product_attention(q[:, :2], k, v, torch.ones(6, 6, dtype=torch.bool).tril(-1), scale=0.3),
        F.scaled_dot_product_attention(q, k, v, q @ q.transpose(2, 3), enable_gqa=True),
    )


def _heads(x: Any) -> Any:
    """Four heads of queries, two of keys and values."""
    q, k, v = x.unflatten(-1, (-1, 2)).transpose(1, 2).split([4, 1, 1], 1)
    return q, torch.cat([k, k * 0.5], 1), torch.cat([v, -v], 1)


def _indexed(m: Any, x: Any) -> Any:
    y = m.fc(x)
    wide = y.unsqueeze(-1) * x.unsqueeze(-2)
    largest = y.argmax(-1)
    return (
        y[..., [2, 0]],
        y[..., torch.tensor([[1, -1], [0, 0]])],
        y.gather(-1, torch.stack([largest, 3 - largest], -1)),
        wide[..., [0, 1, 3], [2, 0, 3]],
        wide[:, :, torch.tensor([[0], [2]]), torch.tensor([3, 1])],
        y[..., torch.tensor([True, False, True, False])],
        m.fc.weight[largest],
        wide.tril(1),
        wide.triu(-1),
        wide.gather(2, largest[..., None, None].expand(-1, -1, 1, 3)),
        wide.gather(2, largest[..., None, None].expand(-1, -1, 1, 4)),
        wide.gather(2, largest[..., None, None].expand(-1, -1, 2, 4)),
    )


def _scattered(m: Any, x: Any) -> Any:
    y, places = m.fc(x), torch.tensor([3, 1])
    z, w = y.clone(), y.clone()
    z[..., places] = x[..., :2]
    w[..., [0, 2]] = 0.5
    w[w < 0] = 0.0
    return (
        z,
        w,
        y.index_add(2, torch.tensor([0, 1, 1, 3]), x),
        y.index_add(2, places, x[..., 2:], alpha=2.0),
        y.index_copy(2, places, x[..., :2]),
        y.index_fill(2, places, -1.0),
    )


def _scattered_frames(m: Any, x: Any) -> Any:
    y, places = m.fc(x), torch.tensor([[0, 4, 0], [2, 0, 0]])
    return (
        y.scatter(0, places, x),
        y.scatter_add(0, places, x),
        y.scatter(1, torch.tensor([[2, 1]] * 5), 0.5),
        y.scatter(1, torch.tensor([[2, 1]] * 5), 1),
        y.scatter(0, places, x, reduce="multiply"),
        y.scatter(0, places, 0.5, reduce="add"),
        y.scatter_reduce(0, places, x, "amax"),
        y.scatter_reduce(1, places.T % 3, x[:3, :2], "sum"),
        y.scatter(-1, torch.tensor([[0, 2, 1]] * 2), x),
        x.take_along_dim(places[:, :1], 0),
        x.take_along_dim(places, 0),
        y[:, :1].take_along_dim(places, 0),
        y.index_put((torch.tensor([1, 3, 1]),), x[:3], accumulate=True),
        y.index_put((torch.tensor([1, -1]),), x[:2]),
        x.gather(0, places),
        x[places[0], places[1] % 3],
    )


def _translate(m: Any, x: Any, other: Any) -> Any:
    _, h = m.encoder(x)
    return m.fc(m.decoder(other, h)[0])


def _skip(m: Any, x: Any) -> Any:
    y, _ = m.gru(x)
    return m.norm(torch.cat([y, F.gelu(m.fc(y)), x], 2) + 1)


def _gru_loop(m: Any, x: Any) -> Any:
    h, outputs = x.new_zeros(x.shape[0], 5), []
    for t in range(x.shape[1]):
        h = m.cell(x[:, t], h)
        outputs.append(h)
    return torch.stack(outputs, 1)


def _lstm_loop(m: Any, x: Any) -> Any:
    state, outputs = None, []
    for t in range(x.shape[1]):
        state = m.cell(x[:, t], state)
        outputs.append(m.fc(state[0]))
    return torch.stack(outputs, 1)


def _bands(m: Any, x: Any) -> Any:
    b, t, f, c = x.shape
    y = m.intra(x.reshape(b * t, f, c))[0].reshape(b, t, f, 6)
    y = m.inter(y.transpose(1, 2).reshape(b * f, t, 6))[0]
    return y.reshape(b, f, t, 3).transpose(1, 2)


def _packed(m: Any, x: Any, lengths: Any) -> Any:
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return m.fc(nn.utils.rnn.pad_packed_sequence(m.gru(packed)[0], batch_first=True)[0])


def _packed_end(m: Any, x: Any, lengths: Any) -> Any:
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    _, (h, _) = m.lstm(packed)
    return m.fc(torch.cat([h[0], h[1]], -1))


def _masked_mean(m: Any, x: Any, lengths: Any) -> Any:
    y, _ = m.gru(x)
    mask = (torch.arange(x.shape[1])[None] < lengths[:, None]).unsqueeze(-1)
    return (y * mask).sum(1) / lengths[:, None].clamp(min=1), y.masked_fill(~mask, -1.0)


def _activations(m: Any, x: Any) -> Any:
    gated = F.glu(m.fc(x), -1) * F.hardswish(x) + F.mish(x) - F.selu(x) + F.celu(x, 2.0) + F.softplus(x, 2) + m.slope(x)
    return gated + F.relu6(x) + F.tanhshrink(x) + F.softshrink(x) + F.hardshrink(x) + F.logsigmoid(x) + F.hardtanh(x)


def _zeroed(m: Any, x: Any) -> Any:
    y = m.fc(x).clone()
    y[..., 1:3] = 0
    return y


def _recurrent_weights(m: Any, x: Any) -> Any:
    weight = torch.softmax(m.fc(x.mean(1)).view(-1, 4, 3), -1)
    return m.gru(torch.matmul(x, weight))[0]


def _hourglass(m: Any, x: Any) -> Any:
    """Down twice, a GRU, and up again, each with what went by it."""
    first = torch.relu(m.down(x))
    inner = m.gru(m.low(first).transpose(1, 2))[0].transpose(1, 2)
    return torch.tanh(m.up(m.high(inner) + first)) * x


def _images(m: Any, x: Any) -> Any:
    low = torch.relu(m.down(x))
    b, c, t, f = low.shape
    y = m.gru(low.transpose(1, 2).reshape(b, t, c * f))[0].reshape(b, t, c, f).transpose(1, 2)
    return m.up(torch.cat([low, y], 1)) - x


def _short_time(m: Any, x: Any) -> Any:
    """A mask of magnitudes by a GRU, and what is left added to the signal."""
    z = torch.stft(x, 16, 4, 16, torch.hann_window(16, dtype=x.dtype), return_complex=True, normalized=True)
    mask = torch.sigmoid(m.gru(z.abs().transpose(1, 2))[0]).transpose(1, 2)
    return x + torch.istft(z * mask, 16, 4, 16, torch.hann_window(16, dtype=x.dtype), normalized=True)


def _rows_up(m: Any, x: Any) -> Any:
    b, f, c, t = x.shape
    return m.up(x.reshape(b * f, c, t)).reshape(b, f, 3, 2 * t)


def _pools(m: Any, x: Any) -> Any:
    y = torch.cat([F.max_pool1d(x, 3, 2, 1), F.avg_pool1d(x, 3, 2, 1)], 1)
    return m.gru(y.transpose(1, 2))[0]


def _more_pools(m: Any, x: Any) -> Any:
    """Pools whose last window reaches beyond the padding, of spread elements, and of both axes at once."""
    z = x[:, None]
    return (
        F.max_pool1d(x, 3, 2, 1, ceil_mode=True),
        F.avg_pool1d(x, 3, 3, 1, ceil_mode=True),
        F.max_pool1d(x, 2, 3, 1, 2),
        F.avg_pool1d(x, 3, 2, 1, True, False),
        F.avg_pool2d(z, 3, 2, 1, True),
        F.avg_pool2d(z, (2, 3), 2, 1, False, False),
        F.avg_pool2d(z, 2, 2, 1, True, True, 3),
        F.max_pool2d(z, 3, (1, 2), 1, (2, 1), True),
    )


def _around(m: Any, x: Any) -> Any:
    """Padding of time and of channels, cut off at one end, by a number that is infinite, and of integers."""
    return (
        F.pad(x, (-2, 3, 1, -1)),
        F.pad(x, (1, -1), value=2.0),
        F.pad(x, (2, 1), value=float("-inf")).exp(),
        F.pad(x, (2, 1, 1, 2), value=float("inf")).neg().exp(),
        F.pad((x * 3).long(), (1, 2), value=7),
        F.pad(x[:, None], (1, 2, 1, 1), "reflect"),
        F.pad(x[:, None], (2, -1, 1, 1), "replicate"),
        F.pad(x[:, None], (0, 0, 1, 2), "circular"),
        x[..., 1:-1:2],
        x.flip(-1)[..., 2:],
    )


def _resized(m: Any, x: Any) -> Any:
    """Time and bands made longer and shorter."""
    z = x[:, None]
    return (
        F.interpolate(x, scale_factor=3),
        F.interpolate(x, scale_factor=2, mode="linear"),
        F.interpolate(z, scale_factor=(1.5, 2), mode="bilinear"),
        F.interpolate(z, scale_factor=(2, 3), mode="bicubic"),
        F.interpolate(x[..., None].permute(0, 3, 2, 1), scale_factor=(1, 2), mode="nearest-exact"),
    )


def _resized_bands(m: Any, x: Any) -> Any:
    """Other ways to make them so, of axes of fixed size."""
    z = x.unflatten(2, (3, 7))
    return (
        F.interpolate(z, (5, 4), mode="bilinear", align_corners=True),
        F.interpolate(z, (2, 9), mode="bicubic"),
        F.interpolate(z, (2, 3), mode="bilinear", antialias=True),
        F.interpolate(z, (2, 3), mode="bicubic", antialias=True),
        F.interpolate(z[:, :, None], (2, 2, 3), mode="trilinear"),
        F.interpolate(z, (2, 10)),
        F.interpolate(x, 11, mode="nearest-exact"),
        F.interpolate(x, scale_factor=1.3, mode="linear", align_corners=True),
        F.interpolate(x, scale_factor=0.4, mode="linear"),
    )


def _rows(m: Any, x: Any) -> Any:
    """Convolutions of the rows of a fixed axis, of single elements, and of as many steps as before."""
    b, _, t = x.shape
    y = m.wide(x.reshape(b, 2, 2, t).flatten(0, 1)).reshape(b, 2, 3, t)
    return y, m.one(x), F.conv1d(x, m.point, padding="same")


def _parts(m: Any, x: Any) -> Any:
    products = [a * b for a, b in zip(x.chunk(2, -1), m.fc(x).split([2, 2], -1), strict=True)]
    return torch.stack(products, 2).roll(1, -1).repeat(1, 1, 1, 2)


class Causal(nn.Module):
    """A convolution whose padding is cut off behind, as temporal convolutional networks have it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mix = nn.Conv1d(4, 6, 3, padding=4, dilation=2), nn.Conv1d(6, 4, 1)

    def forward(self, x: Any) -> Any:
        return self.mix(torch.relu(self.conv(x)[:, :, :-4])) + x


class Cached(nn.Module):
    """A convolution and a GRU that are run chunk by chunk, with what they carry as arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru = nn.Conv1d(4, 6, 3), gru(6, 5)

    def forward(self, x: Any, cache: Any, h: Any) -> Any:
        z = torch.cat([cache, x], 2)
        y, h = self.gru(torch.relu(self.conv(z)).transpose(1, 2), h)
        return y.transpose(1, 2), z[:, :, -2:], h


class Buffered(nn.Module):
    """The same for one row and step, carried in buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.cell = nn.Conv1d(4, 6, 3), nn.GRUCell(6, 5)
        self.register_buffer("cache", torch.zeros(1, 4, 2))
        self.register_buffer("h", torch.zeros(1, 5))

    def forward(self, x: Any) -> Any:
        z = torch.cat([self.cache, x], 2)
        self.cache.copy_(z[:, :, 1:])
        h = self.cell(torch.relu(self.conv(z))[:, :, 0], self.h)
        self.h.copy_(h)
        return h


class Learned(nn.Module):
    """A GRU with a scale and an initial state that are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = gru(4, 3)
        self.scale, self.start = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(1, 1, 3))

    def forward(self, x: Any) -> Any:
        y, _ = self.gru(x * self.scale, self.start.expand(-1, x.shape[0], -1).contiguous())
        return {"y": F.normalize(y, dim=-1), "best": x.argmax(-1), "most": x.max(-1)[0], "log": F.log_softmax(x, -1)}


BTF = "x (B, T, 4)"
FIXED = {"axes": {"x": ("B", None, None)}}
CASES: dict[str, Case] = {
    "conv1d and both directions": Case(
        lambda: One(_conv1d_gru, conv=nn.Conv1d(4, 8, 3, padding=1), norm=nn.BatchNorm1d(8), drop=nn.Dropout(0.3),
                    gru=gru(8, 6, num_layers=2, bidirectional=True), fc=nn.Linear(12, 3)),
        _random(2, 12, 4), BTF, streams=False),
    "conv2d": Case(
        lambda: One(_conv2d_gru, first=nn.Conv2d(1, 4, 3, (1, 2), 1), second=nn.Conv2d(4, 3, (5, 3), padding=(2, 1)),
                    pool=nn.MaxPool2d((1, 2)), gru=gru(9, 6), fc=nn.Linear(6, 2)),
        _random(2, 1, 17, 12), "x (B, 1, T, 12)"),
    "conv2d, time last": Case(
        lambda: One(lambda m, x: m.lstm(m.norm(m.conv(x)).flatten(1, 2).transpose(1, 2))[0],
                    conv=nn.Conv2d(2, 4, (3, 2)), norm=nn.BatchNorm2d(4), lstm=lstm(16, 5)),
        _random(2, 2, 6, 20), "x (B, 2, 6, T)"),
    "projections": Case(
        lambda: One(lambda m, x: F.silu(m.lstm(x)[0]), lstm=lstm(4, 8, num_layers=2, proj_size=3)),
        _random(2, 9, 4), BTF),
    "projections of both directions": Case(
        lambda: One(lambda m, x: F.silu(m.lstm(x)[0]), lstm=lstm(4, 8, num_layers=2, proj_size=3, bidirectional=True)),
        _random(2, 9, 4), BTF, streams=False),
    "time first": Case(
        lambda: One(lambda m, x: F.silu(m.rnn(x)[0]), rnn=nn.RNN(4, 8, 2, nonlinearity="relu")), _random(9, 2, 4),
        "x (T, B, 4)"),
    "no batch": Case(
        lambda: One(lambda m, x: m.gru(x)[0] * 2, gru=nn.GRU(4, 3)), _random(9, 4), "x (T, 4)",
        {"axes": {"x": ("T", None)}}),
    "state": Case(
        lambda: WithState(lambda m, x, h: (lambda y, end: (m.fc(y), end))(*m.gru(x, h)), gru=gru(4, 5, num_layers=2),
                          fc=nn.Linear(5, 3)),
        _randoms((2, 7, 4), (2, 2, 5)), "x (B, T, 4), h (2, B, 5)"),
    "states of an LSTM": Case(
        lambda: WithStates(lambda m, x, h, c: (lambda y, end: (m.fc(y), *end))(*m.lstm(x, (h, c))), lstm=lstm(4, 5),
                           fc=nn.Linear(5, 5)),
        _randoms((2, 7, 4), (1, 2, 5), (1, 2, 5)), "x (B, T, 4), h (1, B, 5), c (1, B, 5)"),
    "states in a tuple": Case(
        lambda: WithState(lambda m, x, h: m.lstm(x, h), lstm=lstm(4, 5, num_layers=2)),
        lambda: (torch.randn(2, 7, 4), (torch.randn(2, 2, 5), torch.randn(2, 2, 5))),
        "x (B, T, 4), h.0 (2, B, 5), h.1 (2, B, 5)"),
    "initial state that is no stream's": Case(
        lambda: WithState(lambda m, x, h: m.gru(x, h)[0], gru=gru(4, 5, num_layers=2)), _randoms((2, 7, 4), (2, 2, 5)),
        "x (B, T, 4), h (2, B, 5)"),
    "initial states of both directions": Case(
        lambda: WithState(lambda m, x, h: m.gru(x, h)[0], gru=gru(4, 5, bidirectional=True)),
        _randoms((2, 7, 4), (2, 2, 5)), "x (B, T, 4), h (2, B, 5)", {"states": {}}, streams=False),
    "all that an LSTM returns": Case(
        lambda: One(lambda m, x: m.lstm(x), lstm=lstm(4, 6, num_layers=2)), _random(2, 7, 4), BTF, {"states": {}}),
    "encoder": Case(
        lambda: One(lambda m, x: m.gru(m.words(x)), words=nn.Embedding(9, 4), gru=gru(4, 6, num_layers=2)), _ids(2, 7),
        "x (B, T)", {"states": {}}),
    "encoder and decoder": Case(
        lambda: Two(_translate, encoder=gru(4, 6), decoder=gru(3, 6), fc=nn.Linear(6, 2)),
        _randoms((2, 7, 4), (2, 7, 3)), "x (B, T, 4), other (B, T, 3)",
        streams=False),  # the decoder begins with the encoder's last state
    "two sequences": Case(
        lambda: Two(lambda m, x, y: m.fc(torch.cat([m.gru(x)[0], m.side(y)], -1)), gru=gru(4, 5), side=nn.Linear(3, 4),
                    fc=nn.Linear(9, 2)),
        _randoms((2, 7, 4), (2, 7, 3)), "x (B, T, 4), other (B, T, 3)"),
    "a sequence and a vector": Case(
        lambda: Two(lambda m, x, y: m.gru(torch.cat([x, m.side(y)[:, None].expand(-1, x.shape[1], -1)], -1))[0],
                    gru=gru(8, 5), side=nn.Linear(3, 4)),
        _randoms((2, 7, 4), (2, 3)), "x (B, T, 4), other (B, 3)"),
    "several outputs by name": Case(Learned, _random(2, 6, 4), BTF),
    "attention pooling": Case(
        lambda: One(_attention, gru=gru(4, 6, bidirectional=True), hidden=nn.Linear(12, 8), score=nn.Linear(8, 1),
                    fc=nn.Linear(12, 3)),
        _random(2, 7, 4), BTF, streams=False),
    "attention as a product": Case(
        lambda: One(_attention_product, gru=gru(4, 6), score=nn.Linear(6, 1)), _random(2, 7, 4), BTF, streams=False),
    "attention as a sum over letters": Case(
        lambda: One(_attention_einsum, gru=gru(4, 6), score=nn.Linear(6, 2)), _random(2, 7, 4), BTF, streams=False),
    "self-attention over features": Case(
        lambda: One(lambda m, x: m.attend(x, x, x, need_weights=False)[0],
                    attend=nn.MultiheadAttention(8, 2, batch_first=True)),
        _random(2, 6, 8), "x (B, 6, 8)", FIXED),
    "products": Case(
        lambda: One(_products, gru=gru(4, 6), both=nn.Bilinear(6, 4, 3), wide=nn.Linear(6, 5)),
        _random(2, 7, 4), BTF, streams=False),
    "attention with masks": Case(
        lambda: One(_masked_attention, fc=nn.Linear(8, 12)), _random(2, 6, 8), "x (B, 6, 8)", FIXED),
    "attention of steps to a memory": Case(
        lambda: One(lambda m, x: F.scaled_dot_product_attention(m.gru(x)[0], m.key.weight, m.value.weight)[..., :2],
                    gru=gru(4, 6), key=nn.Linear(6, 5), value=nn.Linear(3, 5)),
        _random(2, 7, 4), BTF),
    "elements by indices": Case(
        lambda: One(_indexed, fc=nn.Linear(4, 4)), _random(2, 7, 4), BTF),
    "elements that are written": Case(
        lambda: One(_scattered, fc=nn.Linear(4, 4)), _random(2, 7, 4), BTF),
    "written in a frame": Case(
        lambda: One(_scattered_frames, fc=nn.Linear(3, 3)), _random(5, 3), "x (5, 3)", {"axes": {"x": (None, None)}}),
    "computed weights": Case(
        lambda: One(_recurrent_weights, fc=nn.Linear(4, 12), gru=gru(3, 5)), _random(2, 7, 4), BTF, streams=False),
    "skip": Case(lambda: One(_skip, gru=gru(4, 6), fc=nn.Linear(6, 6), norm=nn.LayerNorm(16)), _random(2, 7, 4), BTF),
    "last step": Case(
        lambda: One(lambda m, x: m.fc(F.silu(m.gru(x)[0]))[:, -1], gru=gru(4, 6), fc=nn.Linear(6, 6)),
        _random(2, 7, 4), BTF),
    "last step of both directions": Case(
        lambda: One(lambda m, x: m.fc(m.gru(x)[0][:, -1]), gru=gru(4, 6, bidirectional=True), fc=nn.Linear(12, 6)),
        _random(2, 7, 4), BTF, streams=False),
    "single steps": Case(
        lambda: One(lambda m, x: m.gru(x)[0][:, 0] - m.gru(x)[0][:, -3] + x[:, 2, :3], gru=gru(4, 3)),
        _random(2, 7, 4), BTF),
    "a fixed number of steps": Case(
        lambda: One(lambda m, x: m.gru(x[:, 1:])[0][:, -5:].flip(1) + x.narrow(1, 1, 5)[:, :, :3] - x[:, -6:-1, 1:],
                    gru=gru(4, 3)), _random(2, 9, 4), BTF),
    "every third of the first steps": Case(
        lambda: One(lambda m, x: m.fc(x[:, 1:8:3].flatten(1)) + m.fc(x[:, -7::3].flatten(1)), fc=nn.Linear(12, 3)),
        _random(2, 9, 4), BTF),
    "differences between steps": Case(
        lambda: One(lambda m, x: m.gru(x[:, 2:] - x[:, :-2])[0], gru=gru(4, 3)), _random(2, 9, 4), BTF),
    "some steps": Case(
        lambda: One(lambda m, x: m.gru(x[:, 1:-2])[0][:, ::2], gru=gru(4, 3)), _random(2, 9, 4), BTF),
    "loop of a GRU cell": Case(lambda: One(_gru_loop, cell=nn.GRUCell(4, 5)), _random(2, 6, 4), BTF),
    "loop of an LSTM cell": Case(
        lambda: One(_lstm_loop, cell=nn.LSTMCell(4, 5), fc=nn.Linear(5, 2)), _random(2, 5, 4), BTF),
    "step of a GRU cell": Case(
        lambda: WithState(lambda m, x, h: (lambda new: (m.fc(new), new))(m.cell(x, h)), cell=nn.GRUCell(4, 5),
                          fc=nn.Linear(5, 2)),
        _randoms((2, 4), (2, 5)), "x (B, 4), h (B, 5)"),
    "step of an LSTM cell": Case(
        lambda: WithStates(lambda m, x, h, c: (lambda new: (m.fc(new[0]), *new))(m.cell(x, (h, c))),
                           cell=nn.LSTMCell(4, 5), fc=nn.Linear(5, 2)),
        _randoms((2, 4), (2, 5), (2, 5)), "x (B, 4), h (B, 5), c (B, 5)"),
    "step that reads the cell state": Case(
        lambda: WithStates(lambda m, x, h, c: (lambda new: (new[0] + new[1], *new))(m.cell(x, (h, c))),
                           cell=nn.LSTMCell(4, 5)),
        _randoms((2, 4), (2, 5), (2, 5)), "x (B, 4), h (B, 5), c (B, 5)"),
    "step whose input reads the old state": Case(
        lambda: WithState(lambda m, x, h: (lambda new: (m.fc(new), new))(m.cell(x + m.back(h), h)),
                          cell=nn.GRUCell(4, 5), back=nn.Linear(5, 4), fc=nn.Linear(5, 2)),
        _randoms((2, 4), (2, 5)), "x (B, 4), h (B, 5)"),
    "step of a layer whose input reads the old state": Case(
        lambda: WithStates(lambda m, x, h, c: (lambda y, new: (m.fc(y[0]), new[0][0], new[1][0]))(
            *m.lstm((x + m.back(h))[None], (h[None], c[None]))), lstm=nn.LSTM(4, 5), back=nn.Linear(5, 4),
            fc=nn.Linear(5, 2)),
        _randoms((2, 4), (2, 5), (2, 5)), "x (B, 4), h (B, 5), c (B, 5)"),
    "step of both directions": Case(
        lambda: WithState(lambda m, x, h: m.gru(x, h), gru=gru(4, 5, bidirectional=True)),
        _randoms((2, 1, 4), (2, 2, 5)), "x (B, 1, 4), h (2, B, 5)", {"axes": {"x": ("B", None, None)}}),
    "cache of a convolution": Case(
        Cached, lambda: (torch.randn(2, 4, 9), torch.zeros(2, 4, 2), torch.zeros(1, 2, 5)),
        "x (B, 4, T), cache (B, 4, 2), h (1, B, 5)"),
    "cache of a convolution, step by step": Case(
        Cached, lambda: (torch.randn(2, 4, 1), torch.zeros(2, 4, 2), torch.zeros(1, 2, 5)),
        "x (B, 4, 1), cache (B, 4, 2), h (1, B, 5)",
        {"axes": {"x": ("B", None, None), "cache": ("B", None, None), "h": (None, "B", None)}}),
    "buffers": Case(Buffered, _random(1, 4, 1), "x (1, 4, 1)", {"axes": {"x": (None, None, None)}}),
    "causal convolution": Case(Causal, _random(2, 4, 9), "x (B, 4, T)"),
    "padded convolution": Case(
        lambda: One(lambda m, x: m.conv(F.pad(x, (4, 0))), conv=nn.Conv1d(4, 6, 3, dilation=2)), _random(2, 4, 9),
        "x (B, 4, T)"),
    "strided convolution": Case(
        lambda: One(lambda m, x: m.gru(m.conv(x).transpose(1, 2))[0], conv=nn.Conv1d(4, 6, 4, 2, 1), gru=gru(6, 3)),
        _random(2, 4, 10), "x (B, 4, T)"),
    "transposed convolution": Case(
        lambda: One(lambda m, x: m.up(m.down(x)), down=nn.Conv2d(2, 3, (1, 3), (1, 2)),
                    up=nn.ConvTranspose2d(3, 2, (1, 3), (1, 2))),
        _random(2, 2, 7, 9), "x (B, 2, T, 9)"),
    "down and up with skips": Case(
        lambda: One(_hourglass, down=nn.Conv1d(4, 6, 4, 2, 1), low=nn.Conv1d(6, 8, 5, 3, 1), gru=gru(8, 6),
                    high=nn.ConvTranspose1d(6, 6, 5, 3, 1), up=nn.ConvTranspose1d(6, 4, 4, 2, 1)),
        _random(2, 4, 24), "x (B, 4, T)"),
    "down and up over both axes": Case(
        lambda: One(_images, down=nn.Conv2d(2, 4, (3, 3), (2, 2), (1, 1)), gru=gru(20, 20),
                    up=nn.ConvTranspose2d(8, 2, (3, 3), (2, 2), (1, 1), output_padding=(1, 0), groups=2)),
        _random(2, 2, 12, 9), "x (B, 2, T, 9)"),
    "transposed convolutions over time": Case(
        lambda: One(lambda m, x: (m.dilated(x), m.wide(x), m.sparse(x), m.alike(x),
                                  F.conv_transpose1d(x, m.alike.weight, None, 2)),
                    dilated=nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, groups=2, dilation=2),
                    wide=nn.ConvTranspose1d(4, 3, 7, 3),
                    sparse=nn.ConvTranspose1d(4, 4, 2, 5, groups=4), alike=nn.ConvTranspose1d(4, 2, 3, 1, 1)),
        _random(2, 4, 9), "x (B, 4, T)"),
    "bands up by themselves": Case(
        lambda: One(_rows_up, up=nn.ConvTranspose1d(4, 3, 4, 2, 1)), _random(2, 5, 4, 9), "x (B, 5, 4, T)",
        {"axes": {"x": ("B", None, None, "T")}}),
    "cut to the length of its input": Case(
        lambda: One(lambda m, x: m.up(m.down(x))[..., : x.shape[-1]] * 2, down=nn.Conv1d(4, 6, 2, 2),
                    up=nn.ConvTranspose1d(6, 4, 2, 2)),
        _random(2, 4, 12), "x (B, 4, T)"),
    "the largest in order": Case(
        lambda: One(lambda m, x: (*torch.topk(m.gru(x)[0], 3), *torch.topk(x.unsqueeze(2), 2, dim=3, largest=False),
                                  *x.sort(dim=2, descending=True), x.argsort(-1)), gru=gru(4, 5)),
        _random(2, 7, 4), "x (B, T, 4)"),
    "short-time transforms": Case(
        lambda: One(_short_time, gru=gru(9, 9)), _random(2, 64), "x (B, T)", {"axes": {"x": ("B", "T")}}),
    "other short-time transforms": Case(
        lambda: One(lambda m, x: (
            torch.view_as_real(torch.stft(x, 16, 5, 12, torch.hann_window(12), False, onesided=False,
                                          return_complex=True)),
            torch.stft(x, 9, 3, None, torch.ones(9), True, "constant", True, return_complex=True).abs(),
            torch.stft(x, 8, 2, return_complex=True, pad_mode="replicate", window=torch.ones(8)).abs())),
        _random(2, 40), "x (B, T)", {"axes": {"x": ("B", "T")}}),
    "mirrored and repeated ends": Case(
        lambda: One(lambda m, x: m.gru(m.conv(m.reflect(x)).transpose(1, 2))[0] + m.gru(m.conv(m.repeat(x)).mT)[0],
                    reflect=nn.ReflectionPad1d((3, 1)), repeat=nn.ReplicationPad1d(2), conv=nn.Conv1d(4, 4, 5),
                    gru=gru(4, 3)),
        _random(2, 4, 11), "x (B, 4, T)"),
    "pools over time": Case(
        lambda: One(_pools, gru=gru(8, 2)), _random(2, 4, 9), "x (B, 4, T)"),
    "pools with a rest over time": Case(
        lambda: One(_more_pools), _random(2, 4, 11), "x (B, 4, T)", {"axes": {"x": ("B", None, "T")}}),
    "padded and cut": Case(
        lambda: One(_around), _random(2, 4, 11), "x (B, 4, T)", {"axes": {"x": ("B", None, "T")}}, streams=False),
    "longer and shorter": Case(
        lambda: One(_resized), _random(2, 4, 11), "x (B, 4, T)", {"axes": {"x": ("B", None, "T")}}),
    "longer and shorter bands": Case(
        lambda: One(_resized_bands), _random(2, 6, 21), "x (B, T, 21)", {"axes": {"x": ("B", "T", None)}}),
    "convolutions of rows": Case(
        lambda: One(_rows, wide=nn.Conv1d(2, 3, 3, padding=1), one=nn.Conv1d(4, 5, 1),
                    point=nn.Parameter(torch.rand(6, 4, 4))),
        _random(2, 4, 9), "x (B, 4, T)"),
    "pools over both axes": Case(
        lambda: One(lambda m, x: m.gru(F.max_pool2d(m.conv(x), 2).transpose(1, 2).flatten(2))[0],
                    conv=nn.Conv2d(1, 3, 3, padding=1), gru=gru(12, 2)),
        _random(2, 1, 10, 9), "x (B, 1, T, 9)"),
    "pools to a size": Case(
        lambda: One(lambda m, x: m.gru(F.adaptive_avg_pool2d(m.conv(x), (None, 3)).transpose(1, 2).flatten(2))[0],
                    conv=nn.Conv2d(1, 3, 3, padding=1), gru=gru(9, 2)),
        _random(2, 1, 10, 9), "x (B, 1, T, 9)"),
    "pools with a rest": Case(
        lambda: One(lambda m, x: m.gru(F.max_pool2d(x, (1, 2), ceil_mode=True).transpose(1, 2).flatten(2))[0],
                    gru=gru(5, 2)),
        _random(2, 1, 10, 9), "x (B, 1, T, 9)"),
    "groups over time": Case(
        lambda: One(lambda m, x: m.gru(m.norm(m.conv(x)).transpose(1, 2))[0], conv=nn.Conv1d(4, 6, 3),
                    norm=nn.GroupNorm(2, 6), gru=gru(6, 3)),
        _random(2, 4, 9), "x (B, 4, T)", streams=False),
    "norms": Case(
        lambda: One(lambda m, x: (
            m.rms(x), m.layer(x.unflatten(2, (3, 2))), m.groups(x.transpose(1, 2)[:, :, None]),
            m.instance(x.transpose(1, 2)), F.layer_norm(x, (6,), torch.sigmoid(m.scale)),
            F.normalize(x, dim=1)),
            rms=nn.RMSNorm(6, eps=1e-6), layer=nn.LayerNorm((3, 2), bias=False), groups=nn.GroupNorm(3, 6),
            instance=nn.InstanceNorm1d(6, affine=True), scale=nn.Parameter(torch.rand(6))),
        _random(2, 7, 6), "x (B, T, 6)", streams=False),
    "squeeze and excite": Case(
        lambda: One(lambda m, x: m.gru((x * torch.sigmoid(m.fc(x.mean(2))).unsqueeze(2)).transpose(1, 2))[0],
                    fc=nn.Linear(4, 4), gru=gru(4, 2)),
        _random(2, 4, 10), "x (B, 4, T)", streams=False),
    "bands as rows": Case(
        lambda: One(_bands, intra=gru(4, 3, bidirectional=True), inter=lstm(6, 3)),
        _random(2, 7, 5, 4), "x (B, T, 5, 4)", {"axes": {"x": ("B", "T", None, None)}}),
    "pyramid": Case(
        lambda: One(lambda m, x: m.upper(m.lower(x)[0].reshape(x.shape[0], x.shape[1] // 2, 8))[0], lower=gru(4, 4),
                    upper=gru(8, 3)),
        _random(2, 8, 4), BTF),
    "positions": Case(
        lambda: One(lambda m, x: m.gru(m.words(x) + m.places(torch.arange(x.shape[1])))[0], words=nn.Embedding(9, 4),
                    places=nn.Embedding(50, 4), gru=gru(4, 3)),
        _ids(2, 6), "x (B, T)"),
    "packed": Case(
        lambda: WithLengths(_packed, gru=gru(4, 3, num_layers=2, bidirectional=True), fc=nn.Linear(6, 2)), _padded,
        "x (B, T, 4), lengths (B)", streams=False),
    "packed, final states": Case(
        lambda: WithLengths(_packed_end, lstm=lstm(4, 3, bidirectional=True), fc=nn.Linear(6, 2)), _padded,
        "x (B, T, 4), lengths (B)", streams=False),
    "mean of the valid steps": Case(
        lambda: WithLengths(_masked_mean, gru=gru(4, 3)), _padded, "x (B, T, 4), lengths (B)", streams=False),
    "frames and their spectrum": Case(
        lambda: One(lambda m, x: m.gru(torch.abs(torch.fft.rfft(x.unfold(1, 16, 8) * torch.hann_window(16))))[0],
                    gru=gru(9, 4)),
        _random(2, 80), "x (B, T)"),
    "complex mask": Case(
        lambda: One(lambda m, x: (lambda z, s: torch.fft.irfft(z * torch.complex(s[..., :9], s[..., 9:]), n=16))(
            torch.fft.rfft(x), m.gru(x)[0]), gru=gru(16, 18)),
        _random(2, 6, 16), "x (B, T, 16)"),
    "magnitude and phase": Case(
        lambda: One(lambda m, x: (lambda z: torch.fft.irfft(torch.polar(
            torch.abs(z) * torch.sigmoid(m.gru(torch.abs(z))[0]), torch.angle(z)), n=16))(torch.fft.rfft(x)),
            gru=gru(9, 9)),
        _random(2, 6, 16), "x (B, T, 16)"),
    "angles": Case(
        lambda: One(lambda m, x: (torch.atan(x), torch.atan2(x, m.fc(x)), torch.asin(torch.tanh(x)),
                                  torch.acos(torch.tanh(x)), torch.tan(x)), fc=nn.Linear(4, 4)),
        _random(2, 6, 4), BTF),
    "activations": Case(
        lambda: One(_activations, fc=nn.Linear(4, 8), slope=nn.PReLU()), _random(2, 6, 4), BTF),
    "functions": Case(
        lambda: One(lambda m, x: (
            torch.sinh(x), torch.cosh(x), torch.asinh(x), torch.acosh(x.abs() + 1.5), torch.atanh(torch.tanh(x)),
            torch.expm1(x), torch.log1p(x.abs()), torch.fmod(x, 0.7), torch.remainder(x, -0.7), x**3, x.abs() ** -0.5,
            F.elu(x, 0.7), F.threshold(x, 0.1, -2.0), F.hardshrink(x, 0.2), F.softshrink(x, 0.3),
            F.gelu(x, approximate="tanh"), F.hardtanh(x, -0.3, 0.4), torch.frac(x * 3), F.softplus(x, 2, 1.5),
            F.log_softmax(x, 1))),
        _random(2, 6, 4), BTF, {"axes": {"x": ("B", "T", None)}}, streams=False),
    "reductions": Case(
        lambda: One(lambda m, x: (m.gru(x)[0].std(-1), x.amax(1), x.sum((1, 2)), x.cumsum(1), torch.logsumexp(x, -1)),
                    gru=gru(4, 3)),
        _random(2, 6, 4), BTF, streams=False),
    "reductions over time": Case(
        lambda: One(lambda m, x: (
            torch.logsumexp(x, 1), torch.logsumexp(x, (1, 2), keepdim=True), x.norm(1, 1), x.abs().norm(1, (1, 2)),
            x.var((1, 2), unbiased=False), x.mean(1, keepdim=True) + x, (x > 0).sum(1), (x > 0).any(1), (x > 0).all(1),
            x.flatten(2).mean((1, 2)), x.unsqueeze(2).amin((1, 2)), x.cumsum(2))),
        _random(2, 6, 4), BTF, streams=False),
    "turned round": Case(
        lambda: One(lambda m, x: torch.cat([m.ahead(x)[0], m.back(x.flip(1))[0].flip(1)], -1),
                    ahead=gru(4, 3), back=gru(4, 3)),
        _random(2, 6, 4), BTF, streams=False),
    "parts": Case(
        lambda: One(_parts, fc=nn.Linear(4, 4)), _random(2, 6, 4), BTF),
    "written in place": Case(lambda: One(_zeroed, fc=nn.Linear(4, 4)), _random(2, 6, 4), BTF),
    "without gradients": Case(
        lambda: One(lambda m, x: m.fc(torch.no_grad()(lambda: m.gru(x)[0])()), gru=gru(4, 3), fc=nn.Linear(3, 3)),
        _random(2, 6, 4), BTF),
}  # fmt: skip
