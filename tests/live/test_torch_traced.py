"""PyTorch modules without example inputs: fastgru makes one of the sizes that the module's layers say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru import ConvertError

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
examples = pytest.importorskip("fastgru.converters.torch_export.examples")


class Net(nn.Module):
    """Layers by name, and a forward given as a function."""

    def __init__(self, body: Callable[..., Any], **layers: Any) -> None:
        super().__init__()
        self.body = body
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Any, scale: float = 1.0) -> Any:
        return self.body(self, x)


class Several(Net):
    """The same of two arguments."""

    def forward(self, x: Any, h: Any) -> Any:
        return self.body(self, x) + h


def gru(size: int = 3, hidden: int = 4, **options: Any) -> Any:
    return nn.GRU(size, hidden, **{"batch_first": True, **options})


def looped(m: Any, x: Any) -> Any:
    h, out = x.new_zeros(x.shape[0], 4), []
    for t in range(x.shape[1]):
        h = m.cell(x[:, t], h)
        out.append(h)
    return torch.stack(out, 1)


def spectral(m: Any, x: Any) -> Any:
    window = torch.ones(512)
    spectrum = torch.stft(x, 512, 128, window=window, center=False, return_complex=True).abs()
    return m.gru(spectrum.transpose(1, 2))[0]


# A module, and the sizes that its example should have: None for steps that no size of the module comes near.
STEPS = None
MODULES: dict[str, tuple[Callable[[], Any], tuple[int | None, ...]]] = {
    "log_softmax": (
        lambda: Net(lambda m, x: F.log_softmax(m.fc(m.gru(x)[0]), -1), gru=gru(), fc=nn.Linear(4, 2)), (2, STEPS, 3),
    ),
    "module of a family": (lambda: nn.Sequential(nn.Linear(3, 4), nn.GELU()), (2, STEPS, 3)),
    "transposed": (lambda: Net(lambda m, x: m.gru(x)[0].transpose(1, 2), gru=gru()), (2, STEPS, 3)),
    "time first": (lambda: Net(lambda m, x: torch.cumsum(m.gru(x)[0], 0), gru=gru(batch_first=False)), (STEPS, 2, 3)),
    "convolution": (lambda: nn.Conv1d(3, 4, 2), (2, 3, STEPS)),
    "strided convolutions": (
        lambda: nn.Sequential(nn.Conv1d(1, 4, 400, 160), nn.ReLU(), nn.Conv1d(4, 4, 3)), (2, 1, examples.LONG),
    ),
    "wave": (lambda: Net(lambda m, x: m.conv(x.unsqueeze(1)), conv=nn.Conv1d(1, 4, 8, 4)), (2, STEPS)),
    "spectrum of a wave": (lambda: Net(spectral, gru=gru(257)), (2, examples.LONG)),
    "channels behind time": (
        lambda: Net(lambda m, x: m.conv(x.transpose(1, 2)).transpose(1, 2), conv=nn.Conv1d(3, 4, 2)), (2, STEPS, 3),
    ),
    "channels before time": (
        lambda: Net(lambda m, x: torch.exp(m.fc(x.transpose(1, 2))), fc=nn.Linear(3, 4)), (2, 3, STEPS),
    ),
    "ids": (
        lambda: Net(lambda m, x: m.gru(m.table(x))[0].mean(1), table=nn.Embedding(7, 3), gru=gru()), (2, STEPS),
    ),
    "loop": (lambda: Net(looped, cell=nn.GRUCell(3, 4)), (2, STEPS, 3)),
    "head first": (
        lambda: Net(lambda m, x: torch.exp(m.head(m.gru(x)[0])), head=nn.Linear(4, 2), gru=gru()), (2, STEPS, 3),
    ),
    "sizes that are the usual steps": (lambda: Net(lambda m, x: m.gru(x)[0].exp(), gru=gru(13, 11)), (2, STEPS, 13)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_the_example_is_of_the_sizes_that_layers_say(name: str) -> None:
    build, shape = MODULES[name]
    torch.manual_seed(0)
    module = build().train()
    suggestion = examples.example_for(module)
    example, steps = suggestion.example, suggestion.steps
    sizes = {n for tensor in module.parameters() for n in tensor.shape}
    assert tuple(example.shape) == tuple(steps if n is None else n for n in shape)
    assert steps == examples.LONG or sizes.isdisjoint((steps - 1, steps, steps + 1))
    made, given = fastgru.convert(module), fastgru.convert(module, example_inputs=example)
    assert module.training
    assert made.provenance == given.provenance
    assert str(made.graph) == str(given.graph)
    x = np.random.default_rng(0).normal(size=(600, 3)) if name != "ids" else np.arange(6)
    spec = next(iter(made.inputs.values()))
    x = x if name == "ids" else np.resize(x, (600, *spec.shape))
    for a, b in zip(outputs(made(x)), outputs(given(x)), strict=True):
        assert np.array_equal(a, b)


def outputs(y: Any) -> tuple[Any, ...]:
    return y if isinstance(y, tuple) else (y,)


def test_rows_without_time() -> None:
    module = Net(lambda m, x: F.log_softmax(m.fc(x.view(x.shape[0], 2, 3).flatten(1)), -1), fc=nn.Linear(6, 4))
    model = fastgru.convert(module)
    assert (
        model.provenance["layout"]
        == "input x (B, 6) in PyTorch and here; output log_softmax (B, 4) in PyTorch and here"
    )


def test_axes_and_states_are_for_made_examples_too() -> None:
    module = Net(lambda m, x: m.gru(x), gru=gru())
    assert "output h " not in fastgru.convert(module).provenance["layout"]
    model = fastgru.convert(module, states={})
    assert len(model.outputs) == 2
    module = Net(lambda m, x: m.gru(x)[0].exp(), gru=gru(batch_first=False))
    told = fastgru.convert(module, axes={"x": ("T", "B", None)})
    assert told.provenance["axes"] == "x (T, B, 3)"


NOT_KNOWN: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "several arguments": (
        lambda: Several(lambda m, x: m.gru(x)[0], gru=gru()),
        ["example_inputs must be given for Several, whose forward takes x and h: such as example_inputs={'x': ",
         "Only a chain of layers needs no example, and this is none: node 'add'"],
    ),
    "no layer": (
        lambda: Net(lambda m, x: x * 2),
        ["must be given for Net, whose forward calls no layer that says what it takes: such as example_inputs={'x': "],
    ),
    "a layer that does not fit": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2)),
        ["node '1' (Linear): input must have 5 features, got 4", "Sequential, whose forward does not run on input of "
         "shape (2, 13, 3), guessed from layer '0' (Linear): RuntimeError: mat1 and mat2"],
    ),
    "two dimensions": (lambda: nn.Conv2d(3, 4, 2), ["calls no layer that says what it takes"]),
    "steps that stay fixed": (
        lambda: Net(lambda m, x: torch.cat([m.gru(x)[0], m.gru(x)[0]], 1), gru=gru()),
        ["forward must take any number of rows and steps where example_inputs say none, got one that can be imported "
         "for sizes (B, 17, 3) alone", "traced with x of shape (2, 17, 3), guessed from layer 'gru' (GRU)"],
    ),
    "random": (
        lambda: Net(lambda m, x: F.dropout(m.gru(x)[0]), gru=gru()),
        ["training of dropout must be self.training, got True: outputs would be random", "give it by "],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_KNOWN)
def test_what_is_not_known_is_asked(name: str) -> None:
    build, parts = NOT_KNOWN[name]
    with pytest.raises(ConvertError) as caught:
        fastgru.convert(build())
    for part in parts:
        assert part in str(caught.value)


def test_a_module_is_left_as_it_was() -> None:
    module = Net(lambda m, x: F.log_softmax(m.norm(m.fc(x)), 1), fc=nn.Linear(3, 4), norm=nn.BatchNorm1d(4))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    examples.example_for(module)
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


class ByName(torch.nn.Module):
    """Layers called by the names of their arguments, as a chain's are by place."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.fc = torch.nn.GRU(6, 8, batch_first=True), torch.nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.fc(input=self.gru(input=x)[0])


def test_layers_take_their_arguments_by_name():
    module, x = ByName().eval(), torch.randn(2, 7, 6)
    with torch.no_grad():
        assert np.allclose(fastgru.convert(module)(x.numpy()), module(x).numpy(), atol=1e-6)


class OtherArguments(torch.nn.Module):
    """A layer with arguments that no chain has goes to torch.export, with the steps of its example."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.fc = torch.nn.MultiheadAttention(16, 4, batch_first=True), torch.nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        return self.fc(self.attend(x, x, x, need_weights=False)[0])


def test_a_layer_with_other_arguments_is_no_chain():
    module, x = OtherArguments().eval(), torch.randn(2, 10, 16)
    model = fastgru.convert(module, example_inputs=x[:1])
    with torch.no_grad():
        assert np.allclose(model(x.numpy()), module(x).numpy(), atol=1e-5)
