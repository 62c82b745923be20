"""What forward returns beside tensors, what it raises, and which example is guessed: noted, or told in plain words."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastgru
from fastgru.errors import ConvertError

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
Forward = Callable[[Any, Any], Any]
X = (2, 17, 3)


@dataclass
class Result:
    """Of a class that PyTorch does not know."""

    y: Any
    tag: Any = None


class Pair(NamedTuple):
    y: Any
    tag: Any


class Mode(enum.Enum):
    CLASSES = 1


class Net(nn.Module):
    def __init__(self, forward: Forward, **layers: Any) -> None:
        super().__init__()
        self.call = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Any) -> Any:
        return self.call(self, x)


def net(forward: Forward) -> Net:
    torch.manual_seed(3)
    return Net(forward, gru=nn.GRU(3, 4, batch_first=True), fc=nn.Linear(3, 2)).eval()


RETURNED: dict[str, tuple[Forward, list[str], dict[str, str]]] = {
    "text": (lambda m, x: (m.gru(x)[0], "label"), ["gru"], {"1": "'label'"}),
    "the name of the input": (lambda m, x: (m.gru(x)[0], "x"), ["gru"], {"1": "'x'"}),
    "the name of a call": (lambda m, x: ("getitem", m.gru(x)[0]), ["gru"], {"0": "'getitem'"}),
    "none": (lambda m, x: (m.gru(x)[0], None), ["gru"], {"1": "None"}),
    "numbers": (lambda m, x: (1, 2.5, True, m.gru(x)[0]), ["gru"], {"0": "1", "1": "2.5", "2": "True"}),
    "sizes": (
        lambda m, x: (m.gru(x)[0], x.shape[1], 7), ["gru"], {"1": "a number that follows from sizes", "2": "7"},
    ),
    "dicts": (
        lambda m, x: {"y": m.gru(x)[0], "name": "n", "more": {"k": 3, "z": (None, m.fc(x))}}, ["y", "more.z.1"],
        {"name": "'n'", "more.k": "3", "more.z.0": "None"},
    ),
    "dataclasses": (
        lambda m, x: {"a": Result(m.gru(x)[0], Result(m.fc(x), 4))}, ["a.y", "a.tag.y"], {"a.tag.tag": "4"},
    ),
    "named tuple": (lambda m, x: Pair(m.gru(x)[0], "t"), ["y"], {"tag": "'t'"}),
    "others": (
        lambda m, x: (m.gru(x)[0], Mode.CLASSES, torch.float32), ["gru"],
        {"1": "'Mode.CLASSES'", "2": "'torch.float32'"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("traced", ["torch.fx", "torch.export"])
@pytest.mark.parametrize("name", RETURNED)
def test_results_beside_tensors_are_noted(name: str, traced: str) -> None:
    forward, outputs, left = RETURNED[name]
    module = net(forward if traced == "torch.fx" else lambda m, x: forward(m, torch.where(x > 0, x, x * 0.5)))
    model = fastgru.convert(module)
    told = model.provenance["notes"]
    assert told == "; ".join(f"output {n!r} is left out: it is no tensor, but {what}" for n, what in left.items())
    assert [*model.outputs] == outputs
    x = torch.randn(*X)
    with torch.no_grad():
        leaves = _tensors(module(x))
    made = model(x.numpy())
    for got, wanted in zip(made if isinstance(made, tuple) else (made,), leaves, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5)


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, Result):
        value = [value.y, value.tag]
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, tuple | list):
        return [y for v in value for y in _tensors(v)]
    return [value] if isinstance(value, torch.Tensor) else []


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_script_leaves_them_out_too() -> None:
    class Labelled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, str, int]:
            return self.fc(x), "x", 4

    model = fastgru.convert(torch.jit.script(Labelled()), example_inputs=torch.zeros(X))
    assert model.provenance["notes"].startswith("output '1' is left out: it is no tensor, but 'x'; output '2'")


NO_RESULT: dict[str, tuple[Forward, str]] = {
    "text alone": (lambda m, x: "label", "forward must return a tensor, got 'label'"),
    "nothing": (lambda m, x: None, "forward must return a tensor, got None"),
    "an object": (lambda m, x: (m.gru(x)[0], m), "dicts and dataclasses, got a Net as output '1'"),
    "NumPy": (lambda m, x: m.gru(x)[0].numpy(), "got a ndarray as output '0': return the tensor that it is made of"),
    "a set": (lambda m, x: {m.gru(x)[0]}, "dicts and dataclasses, got a set as output '0'"),
}


@pytest.mark.parametrize("name", NO_RESULT)
def test_other_results_are_refused(name: str) -> None:
    forward, message = NO_RESULT[name]
    with pytest.raises(ConvertError) as caught:
        fastgru.convert(net(forward), example_inputs=torch.zeros(X))
    assert message in str(caught.value)


# What forward raises ------------------------------------------------------------------------------


class Untrained(Exception):
    """One of the user's own."""


class Raises(nn.Module):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.gru, self.error = nn.GRU(3, 4, batch_first=True), error

    def forward(self, x: Any) -> Any:
        y = self.gru(x)[0]
        if self.error is not None:
            raise self.error
        return y


ERRORS = (
    ZeroDivisionError("division by zero"), Untrained("train it first"), KeyError("k"), StopIteration(),
    AssertionError("shape"), OSError("gone"), NotImplementedError(),
)  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("given", [False, True], ids=["guessed", "given"])
def test_what_forward_raises_is_told(error: Exception, given: bool) -> None:
    options = {"example_inputs": torch.zeros(X)} if given else {}
    with pytest.raises(ConvertError) as caught:
        fastgru.convert(Raises(error), **options)
    told = str(caught.value)
    assert type(error).__name__ in told
    assert "of test_torch_results.py)" in told
    assert ("mend it or give others" if given else "such as example_inputs={'x': ") in told


def test_an_item_that_is_not_there() -> None:
    with pytest.raises(ConvertError, match="IndexError: tuple index out of range"):
        fastgru.convert(net(lambda m, x: m.gru(x)[5]))


# The example that is guessed ------------------------------------------------------------------------


def test_the_layer_that_is_called_first_says_the_sizes() -> None:
    others = {f"unused{i}": nn.Linear(7 + i, 3) for i in range(12)}
    module = Net(lambda m, x: torch.where(m.gru(x)[0] > 0, 1.0, 0.0), **others, gru=nn.GRU(4, 5, batch_first=True))
    model = fastgru.convert(module)
    assert "x (B, T, 4) in PyTorch" in model.provenance["layout"]
    assert "notes" not in model.provenance


def test_a_layer_that_is_not_called_is_noted() -> None:
    model = fastgru.convert(Net(lambda m, x: torch.tanh(x), unused=nn.Linear(7, 3)))
    told = "traced with x of shape (2, 13, 7), guessed from layer 'unused' (Linear), which forward does not call"
    assert model.provenance["notes"] == told


def test_the_guess_and_how_to_give_another_are_told() -> None:
    layers = {"unused": nn.Linear(7, 3), "fc": nn.Linear(6, 5), "gru": nn.GRU(4, 5, batch_first=True)}
    with pytest.raises(ConvertError) as caught:
        fastgru.convert(Net(lambda m, x: m.gru(m.fc(x))[0], **layers))
    assert "forward does not run on x of shape (2, 13, 6), guessed from layer 'fc' (Linear): Runtime" in str(
        caught.value
    )
    assert "node 'gru' (GRU): input must have 4 features, got 5" in str(caught.value)
    with pytest.raises(ConvertError) as caught:
        fastgru.convert(Net(lambda m, x: torch.digamma(m.gru(x)[0]), unused=nn.Linear(7, 3), gru=nn.GRU(4, 5)))
    assert str(caught.value).endswith(
        "It was traced with x of shape (13, 2, 4), guessed from layer 'gru' (GRU). If forward takes something else, "
        "give it by example_inputs={'x': torch.zeros(50, 2, 4)}, and what its axes are by axes={'x': ('T', 'B', None)}"
    )


# Names of functions ---------------------------------------------------------------------------------

CALLED: dict[str, tuple[Forward, str]] = {
    "fold": (
        lambda m, x: F.fold(x.transpose(1, 2), (1, x.shape[1] + 2), (1, 3)),
        "got torch.nn.functional.fold at 'head.fold' (line ",
    ),
    "cdist": (lambda m, x: torch.cdist(x, x, p=3.0), "got torch.cdist at 'head.cdist' (line "),
    "lgamma": (lambda m, x: x.lgamma(), "got torch.Tensor.lgamma at 'head.lgamma' (line "),
    "cond": (lambda m, x: torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,)), "got torch.cond at 'head.cond"),
}


@pytest.mark.parametrize("name", CALLED)
def test_functions_have_their_public_names(name: str) -> None:
    forward, message = CALLED[name]
    with pytest.raises(ConvertError) as caught:
        fastgru.convert(Net(lambda m, x: m.head(x), head=Net(forward)), example_inputs=torch.zeros(X))
    assert message in str(caught.value)
    assert "aten" not in str(caught.value)
