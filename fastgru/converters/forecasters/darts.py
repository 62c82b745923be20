"""Forecasters of darts: RNNModel, which goes on step by step, and BlockRNNModel, which gives blocks of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from ..._names import nearest
from ...errors import ConvertError
from ...forecasting import Scheme
from .. import Imported
from .heads import Columns, Recurrent, imported, plain

Tensors = Sequence[torch.Tensor]


class Head(NamedTuple):
    """A likelihood of darts: the distribution it is, and the parameters made of the columns of an output."""

    distribution: str
    parameters: Callable[[Tensors], tuple[torch.Tensor, ...]]


def _location(y: Tensors) -> tuple[torch.Tensor, ...]:
    return y[0], F.softplus(y[1])


def _counts(y: Tensors) -> tuple[torch.Tensor, ...]:
    return F.softplus(y[0]), F.softplus(y[1])


def _older_counts(y: Tensors) -> tuple[torch.Tensor, ...]:
    """As older releases sampled them: mu and alpha are not of the mean, which is ``1 / (alpha**2 * mu)``."""
    mu, alpha = _counts(y)
    return 1 / (alpha * alpha * mu), alpha


LIKELIHOODS = {
    "GaussianLikelihood": Head("normal", _location),
    "LaplaceLikelihood": Head("laplace", _location),
    "NegativeBinomialLikelihood": Head("negative_binomial", _counts),
    "PoissonLikelihood": Head("poisson", lambda y: (F.softplus(y[0]),)),
    "QuantileRegression": Head("quantiles", tuple),
}


def import_rnn(model: Any, like: Any = None) -> Imported:
    """Import a trained ``RNNModel`` of an RNN, GRU or LSTM.

    Raises
    ------
    ConvertError
        When it was not trained, is of a module of its own, or of a likelihood that is not known.
    """
    module, head, levels = _parts(model, ("rnn", "V"))
    covariates = _covariates(model, module.input_size - module.target_size, "future_covariate_series")
    scheme = Scheme(
        head.distribution, covariates=covariates, context=int(model.input_chunk_length), levels=levels,
        targets=module.target_size,
    )  # fmt: skip
    split = Columns(module.nr_params, head.parameters)
    return imported(Recurrent(plain(module.rnn), module.V, split), scheme, model, "darts", like)


def import_block(model: Any, like: Any = None) -> Imported:
    """Import a trained ``BlockRNNModel`` of an RNN, GRU or LSTM; raises as `import_rnn` does."""
    module, head, levels = _parts(model, ("rnn", "fc"))
    if getattr(model, "output_chunk_shift", 0):
        raise ConvertError(f"output_chunk_shift must be 0, got {model.output_chunk_shift}")
    if model.output_chunk_length > model.input_chunk_length:
        raise ConvertError(
            f"output_chunk_length must be at most input_chunk_length ({model.input_chunk_length}), got "
            f"{model.output_chunk_length}"
        )
    if getattr(module, "future_cov_dim", 0):
        raise ConvertError("BlockRNNModel must be trained without future_covariates, got some")
    covariates = _covariates(model, module.input_size - module.target_size, "past_covariate_series")
    scheme = Scheme(
        head.distribution, covariates=covariates, covariate_lag=1, context=int(model.input_chunk_length), levels=levels,
        targets=module.target_size, ahead=int(model.output_chunk_length), window=True,
    )  # fmt: skip
    split = Columns(module.nr_params, head.parameters)
    block = module.fc[-1].out_features > module.target_size * module.nr_params  # in older releases: of the last step
    return imported(Recurrent(plain(module.rnn), module.fc, split, last=block), scheme, model, "darts", like)


def _parts(model: Any, layers: Sequence[str]) -> tuple[Any, Head, tuple[float, ...]]:
    """Return the network of a model, the row of its likelihood, and the levels of its quantiles."""
    module, name = getattr(model, "model", None), type(model).__name__
    if module is None:
        raise ConvertError(f"{name} must be trained, got one without a network: call its fit first")
    if not all(hasattr(module, layer) for layer in layers) or not hasattr(module, "name"):
        raise ConvertError(
            f"network of {name} must be an RNN, GRU or LSTM, got {type(module).__name__}: convert the module itself"
        )
    if getattr(module, "use_reversible_instance_norm", False) or getattr(module, "rin", None) is not None:
        raise ConvertError(f"{name} must have use_reversible_instance_norm=False, got True")
    if getattr(getattr(model, "encoders", None), "encoding_available", False):
        raise ConvertError(f"{name} must have no add_encoders, got some: give what they make as covariates of its own")
    if getattr(model, "uses_static_covariates", False):
        raise ConvertError(f"{name} must use no static covariates, got some")
    likelihood = getattr(model, "likelihood", None)
    if likelihood is None:
        return module, Head("point", lambda y: (y[0],)), ()
    kind = type(likelihood).__name__
    if kind not in LIKELIHOODS:
        raise ConvertError(f"likelihood must be one of {nearest(kind, LIKELIHOODS)}, got {kind}")
    levels = tuple(float(q) for q in likelihood.quantiles) if kind == "QuantileRegression" else ()
    head = LIKELIHOODS[kind]
    if kind == "NegativeBinomialLikelihood":
        law = likelihood._distr_from_params((torch.tensor(3.0), torch.tensor(0.5)))
        head = head if abs(float(law.mean) - 3.0) < 1e-3 else head._replace(parameters=_older_counts)
    return module, head, levels


def _covariates(model: Any, count: int, attribute: str) -> tuple[str, ...]:
    """Return the names of the covariates: those of the series that it was trained with, where it is kept."""
    series = getattr(model, attribute, None)
    names = [] if series is None else [str(name) for name in series.components]
    return (
        tuple(names) if len(set(names)) == count == len(names) else tuple(f"covariate_{i}" for i in range(1, count + 1))
    )
