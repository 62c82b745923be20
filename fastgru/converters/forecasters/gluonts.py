"""DeepAR of GluonTS, on PyTorch: a predictor, or the network in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from ..._names import nearest
from ...errors import ConvertError
from ...forecasting import CALENDAR, Scheme
from .. import Imported
from .heads import ids, imported, plain

Tensors = Sequence[torch.Tensor]
EPSILON = torch.finfo(torch.float32).eps


class Head(NamedTuple):
    """A distribution of GluonTS: the name here, and the parameters made of those that its own map gives."""

    distribution: str
    parameters: Callable[..., tuple[torch.Tensor, ...]]


def _counts(total: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return total * torch.exp(logits), 1 / total


OUTPUTS = {
    "StudentTOutput": Head("student_t", lambda df, loc, scale: (df, loc, scale)),
    "NormalOutput": Head("normal", lambda loc, scale: (loc, scale)),
    "LaplaceOutput": Head("laplace", lambda loc, scale: (loc, scale)),
    "NegativeBinomialOutput": Head("negative_binomial", _counts),
    "PoissonOutput": Head("poisson", lambda rate: (rate,)),
}
SCALERS = {"MeanScaler": "mean", "NOPScaler": "none"}


class Network(nn.Module):
    """The layers of a DeepAR, over columns in the order of a scheme."""

    def __init__(self, model: Any, head: Head, used: tuple[int, int], calendar: int, *, scaled: bool) -> None:
        super().__init__()
        self.rnn, self.projections, self.embedders = plain(model.rnn), model.param_proj.proj, model.embedder._embedders
        self.domain, self.head = model.param_proj.domain_map, head
        self.lags, self.calendar, self.scaled = len(model.lags_seq), calendar, scaled
        self.categories, self.reals = used  # 0 where the model has a constant of its own in their place

    def forward(self, x: torch.Tensor) -> Any:
        """Return (B, T, 1) for each parameter."""
        at = self.lags
        parts = []
        for k, embedder in enumerate(self.embedders):
            column = x[..., at + k] if self.categories else torch.zeros_like(x[..., 0])
            parts.append(embedder(ids(column, embedder.num_embeddings)))
        at += self.categories
        parts.append(x[..., at : at + self.reals] if self.reals else torch.zeros_like(x[..., :1]))
        at += self.reals
        end = x.shape[-1] - self.scaled
        parts.append(x[..., end:] if self.scaled else torch.zeros_like(x[..., :1]))
        parts += [x[..., a:b] for a, b in ((end - self.calendar, end), (at, end - self.calendar)) if a < b]
        y, _ = self.rnn(torch.cat([x[..., : self.lags], *parts], dim=-1))
        found = self.head.parameters(*self.domain(*(project(y) for project in self.projections)))
        found = tuple(p[..., None] for p in found)
        return found if len(found) > 1 else found[0]


def import_predictor(predictor: Any, like: Any = None) -> Imported:
    """Import a ``PyTorchPredictor`` whose network is a DeepAR.

    Raises
    ------
    ConvertError
        When the network is another, or of a distribution, a scaler or features of time that are not known.
    """
    model = getattr(predictor.prediction_net, "model", predictor.prediction_net)
    if type(model).__name__ != "DeepARModel":
        raise ConvertError(f"network of the predictor must be a DeepARModel, got {type(model).__name__}")
    kind = type(model.distr_output).__name__
    if kind not in OUTPUTS:
        raise ConvertError(f"distribution of the network must be one of {nearest(kind, OUTPUTS)}, got {kind}")
    scaler = type(model.scaler).__name__
    if scaler not in SCALERS:
        raise ConvertError(f"scaler of the network must be one of {nearest(scaler, SCALERS)}, got {scaler}")
    scaling, head = SCALERS[scaler], OUTPUTS[kind]
    steps = list(_steps(predictor.input_transform))
    calendar = _calendar(steps)
    dynamic = model.num_feat_dynamic_real - len(calendar)
    fixed = {step.output_field for step in steps if type(step).__name__ == "SetField"}
    used = (
        0 if "feat_static_cat" in fixed else model.num_feat_static_cat,
        0 if "feat_static_real" in fixed else model.num_feat_static_real,
    )
    static = tuple(f"static_cat_{i}" for i in range(1, used[0] + 1)) + tuple(
        f"static_real_{i}" for i in range(1, used[1] + 1)
    )
    sizes = tuple(table.num_embeddings for table in model.embedder._embedders)
    scheme = Scheme(
        head.distribution, lags=tuple(int(lag) + 1 for lag in model.lags_seq),
        covariates=static + tuple(f"dynamic_real_{i}" for i in range(1, dynamic + 1)), static=static, calendar=calendar,
        ids=sizes + (0,) * (used[1] + dynamic) if used[0] else (),
        scaling=scaling, scale_inputs=("log_scale",) if scaling != "none" else (),
        least_scale=float(getattr(model.scaler, "minimum_scale", 1e-10)), context=int(model.context_length), pad=True,
        transform="nonnegative" if getattr(model, "nonnegative_pred_samples", False) else "none",
    )  # fmt: skip
    network = Network(model, head, used, len(calendar), scaled=scaling != "none")
    return imported(network, scheme, predictor, "gluonts", like)


def _steps(transform: Any) -> Any:
    """Yield the transformations in a chain."""
    for step in getattr(transform, "transformations", [transform]):
        if hasattr(step, "transformations"):
            yield from _steps(step)
        else:
            yield step


def _calendar(steps: Sequence[Any]) -> tuple[str, ...]:
    """Return the features of time that the predictor adds, in their order."""
    found: list[str] = []
    for step in steps:
        if type(step).__name__ == "AddTimeFeatures":
            for feature in step.date_features:
                name = getattr(feature, "__name__", type(feature).__name__)
                if name not in CALENDAR:
                    raise ConvertError(f"feature of time must be one of {nearest(name, CALENDAR)}, got {name}")
                found.append(name)
        elif type(step).__name__ == "AddAgeFeature":
            if not step.log_scale:
                raise ConvertError("age of the predictor must be of log_scale=True, got False")
            found.append("log_age")
    return tuple(found)
