"""Weights that hooks, parametrizations and masks compute, folded from state_dicts: PyTorch's own weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402

from fastgru.converters.torch.folding import fold  # noqa: E402
from fastgru.errors import ConvertError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's, of its older functions


def pruned(module: Any, *names: str, amount: float = 0.5) -> None:
    for name in names or ("weight",):
        prune.l1_unstructured(module, name, amount)


LAYERS = {
    "linear": (lambda: nn.Linear(5, 4), (2, 5)),
    "square": (lambda: nn.Linear(4, 4), (2, 4)),
    "conv": (lambda: nn.Conv1d(5, 4, 3), (2, 5, 9)),
    "one channel": (lambda: nn.Conv2d(3, 1, 3), (1, 3, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose1d(5, 4, 3), (2, 5, 9)),
    "transposed square": (lambda: nn.ConvTranspose1d(4, 4, 3), (2, 4, 9)),
}
CHANGES = {
    "weight_norm": nn.utils.weight_norm,
    "weight_norm of all": lambda m: nn.utils.weight_norm(m, dim=None),
    "weight_norm of columns": lambda m: nn.utils.weight_norm(m, dim=1),
    "parametrized weight_norm": parametrizations.weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
    "parametrized spectral_norm": parametrizations.spectral_norm,
    "pruned": pruned,
    "pruned twice": lambda m: (pruned(m), pruned(m, "weight", "bias")),
    "directions pruned": lambda m: (nn.utils.weight_norm(m), pruned(m, "weight_v", amount=0.2), pruned(m, "weight_g")),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("layer", LAYERS)
def test_weights_are_those_that_pytorch_computes(layer: str, change: str) -> None:
    torch.manual_seed(0)
    make, shape = LAYERS[layer]
    module: Any = make()
    CHANGES[change](module)
    module(torch.randn(shape))  # in training, where the vectors of a spectral norm follow the weight
    module.eval()(torch.randn(shape))
    folded = fold({f"a.{name}": tensor.numpy() for name, tensor in module.state_dict().items()})
    assert sorted(folded) == ["a.bias", "a.weight"]
    for name, array in folded.items():
        expected = getattr(module, name.removeprefix("a.")).detach().numpy()
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", [nn.GRU, nn.LSTM, nn.RNN])
def test_weights_of_recurrent_layers(cls: Any) -> None:
    torch.manual_seed(0)
    module = cls(3, 4, 2, bidirectional=True)
    nn.utils.weight_norm(module, "weight_hh_l0")
    parametrizations.weight_norm(module, "weight_ih_l1")
    parametrizations.spectral_norm(module, "weight_ih_l0_reverse")
    pruned(module, "weight_ih_l0", "bias_hh_l1_reverse")
    module.eval()(torch.randn(5, 2, 3))
    folded = fold({name: tensor.numpy() for name, tensor in module.state_dict().items()})
    assert sorted(folded) == sorted(cls(3, 4, 2, bidirectional=True).state_dict())
    for name, array in folded.items():
        np.testing.assert_allclose(array, getattr(module, name).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_other_parametrizations_are_refused_with_what_to_do() -> None:
    module = nn.Sequential(nn.Linear(4, 4))
    parametrizations.orthogonal(module[0])
    with pytest.raises(ConvertError) as caught:
        fold({name: tensor.numpy() for name, tensor in module.state_dict().items()})
    assert str(caught.value) == (
        "parametrization of weight in layer '0' must be weight_norm or spectral_norm, got "
        "0.parametrizations.weight.original: compute it before you save the weights: "
        "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"
    )
