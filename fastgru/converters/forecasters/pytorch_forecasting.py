"""DeepAR of pytorch-forecasting, with what its data set knows of scales, categories and time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..._names import nearest
from ...errors import ConvertError
from ...forecasting import Scheme
from .. import Imported
from .heads import ids, imported, plain

TRANSFORMS = {None: "none", "relu": "relu", "softplus": "softplus", "log": "log", "log1p": "log1p"}
LOSSES = {"NormalDistributionLoss": "normal", "NegativeBinomialDistributionLoss": "negative_binomial"}
RELATIVE = "relative_time_idx"


class Network(nn.Module):
    """The layers of a DeepAR, over columns in the order of a scheme.

    Parameters
    ----------
    places : sequence of int
        For each of its reals the column of the input.
    center, scale : sequence of float
        What is taken away from each real and by what it is divided.
    back : (float, float)
        What undoes the scaling of the target, where it is the same for all series.
    behind : int
        Columns behind the covariates.
    scaled : bool
        True if each context has a scale of its own, whose two numbers are the last columns.
    """

    def __init__(
        self,
        model: Any,
        distribution: str,
        places: Sequence[int],
        center: Sequence[float],
        scale: Sequence[float],
        back: tuple[float, float],
        behind: int,
        *,
        scaled: bool,
    ) -> None:
        super().__init__()
        self.rnn, self.head = plain(model.rnn), model.distribution_projector
        self.tables = nn.ModuleList(model.embeddings[name] for name in model.categoricals)
        self.behind = behind
        self.distribution, self.places, self.back, self.scaled = distribution, list(places), back, scaled
        self.center: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("center", torch.tensor(list(center), dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(list(scale), dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> Any:
        """Return (B, T, 1) for each parameter."""
        first = x.shape[-1] - self.behind - len(self.tables)  # categories stand last of the covariates
        reals = torch.cat([x[..., k : k + 1] for k in self.places], dim=-1)
        parts = [(reals - self.center) / self.scale]
        parts += [table(ids(x[..., first + k], table.num_embeddings)) for k, table in enumerate(self.tables)]
        y, _ = self.rnn(torch.cat(parts, dim=-1))
        out = self.head(y)
        a, b = out[..., :1], F.softplus(out[..., 1:])
        center, scale = self.back
        if self.distribution == "normal":
            return a * scale + center, b * scale
        spread = x[..., -1:] if self.scaled else torch.full_like(x[..., :1], scale)
        return F.softplus(a) * scale, b / torch.sqrt(spread)


def import_deepar(model: Any, like: Any = None) -> Imported:
    """Import a trained ``DeepAR`` that was made from a data set.

    Raises
    ------
    ConvertError
        When it has several targets, lags of its target, or a loss or normalizer that is not known.
    """
    data = getattr(model, "dataset_parameters", None)
    if data is None:
        raise ConvertError("DeepAR must know its data set, got one without: make it with DeepAR.from_dataset")
    if not isinstance(data["target"], str):
        raise ConvertError(f"DeepAR must have one target, got {data['target']}")
    if model.hparams.target_lags:
        raise ConvertError(f"DeepAR must have no lags of its target, got {dict(model.hparams.target_lags)}")
    kind = type(model.loss).__name__
    if kind not in LOSSES:
        raise ConvertError(f"loss of DeepAR must be one of {nearest(kind, LOSSES)}, got {kind}")
    if "encoder_length" in model.reals:
        raise ConvertError(
            "DeepAR must have contexts of one length, got the length as an input: min_encoder_length below max"
        )
    normalizer, target = data["target_normalizer"], data["target"]
    scaling, back = _scaling(normalizer, LOSSES[kind])
    scalers: Mapping[str, Any] = data["scalers"]
    own = {f"{target}_center": "center", f"{target}_scale": "scale", RELATIVE: RELATIVE, target: target}
    reals = [name for name in model.reals if name not in own]
    scaled = scaling != "none"
    covariates = (*reals, *model.categoricals)
    places, center, scale = [], [], []
    relative = RELATIVE in model.reals
    columns = [target, *covariates, *([RELATIVE] if relative else []), f"{target}_center", f"{target}_scale"]
    for name in model.reals:
        if name in own and name.endswith(("_center", "_scale")) and not scaled:
            raise ConvertError(
                f"real {name!r} of DeepAR must be omitted where the scale is the same for all series, got it"
            )
        places.append(columns.index(name))
        mean, spread = back if name == target else _affine(name, scalers.get(name))
        if name == RELATIVE:
            mean, spread = 0.0, float(data["max_encoder_length"])
        center.append(mean)
        scale.append(spread)
    distribution = LOSSES[kind]
    static = [*(data["static_reals"] or ()), *(data["static_categoricals"] or ())]
    scheme = Scheme(
        distribution, covariates=covariates, static=tuple(name for name in covariates if name in static),
        calendar=("relative_time",) if relative else (),
        ids=(0,) * len(reals) + tuple(model.embeddings[name].num_embeddings for name in model.categoricals),
        scaling=scaling,
        scale_inputs=("center", "scale") if scaled else (), context=int(data["max_encoder_length"]),
        transform=TRANSFORMS[normalizer.transformation] if distribution == "normal" else "none",
        least_scale=torch.finfo(torch.float32).eps,
    )  # fmt: skip
    network = Network(
        model, distribution, places, center, scale, (0.0, 1.0) if scaled else back, relative + 2 * scaled, scaled=scaled
    )  # fmt: skip
    return imported(network, scheme, model, "pytorch-forecasting", like)


def _scaling(normalizer: Any, distribution: str) -> tuple[str, tuple[float, float]]:
    """Return the scaling of a scheme, and the numbers where it is the same for all series."""
    kind = type(normalizer).__name__
    try:
        known = normalizer.transformation in TRANSFORMS
    except TypeError:  # a dict of functions
        known = False
    counts = distribution == "negative_binomial"
    if not known or (counts and normalizer.transformation in ("log", "log1p")):
        allowed = "None, softplus or relu" if counts else "one of " + ", ".join(map(str, TRANSFORMS))
        raise ConvertError(
            f"transformation of the target's normalizer must be {allowed}, got {normalizer.transformation!r}"
        )
    if normalizer.method == "identity":
        return "none", (0.0, 1.0)
    if kind == "EncoderNormalizer":
        if normalizer.method != "standard" or normalizer.max_length is not None:
            got = f"method {normalizer.method!r} and max_length {normalizer.max_length}"
            raise ConvertError(f"EncoderNormalizer must be standard over all of the context, got {got}")
        found = _of_context(normalizer)
        if found == "mean" and not counts:
            raise ConvertError("EncoderNormalizer must have center=True but for counts, got False")
        return found, (0.0, 1.0)
    if kind == "GroupNormalizer" and not normalizer.groups:
        return "none", (float(normalizer.norm_["center"]), float(normalizer.norm_["scale"]))
    if kind == "TorchNormalizer":
        return "none", (float(normalizer.center_), float(normalizer.scale_))
    groups = f" of groups {', '.join(normalizer.groups)}" if kind == "GroupNormalizer" else ""
    raise ConvertError(
        "normalizer of the target must be an EncoderNormalizer, or a GroupNormalizer without groups, got "
        f"{kind}{groups}"
    )


def _of_context(normalizer: Any) -> str:
    """Return the scaling that a normalizer is, which without centre differs between releases: it is tried."""
    probe = copy.deepcopy(normalizer)
    probe.transformation = None
    probe.fit(torch.tensor([1.0, 2.0, 6.0]))
    center, scale = (float(n) for n in probe.get_parameters())
    for name, expected in {"sample": (3.0, 7**0.5), "spread": (0.0, 7**0.5), "mean": (0.0, 3.0)}.items():
        if abs(center - expected[0]) < 1e-5 and abs(scale - expected[1]) < 1e-5:
            return name
    raise ConvertError(f"EncoderNormalizer must be of a known kind, got {center} and {scale} for the values 1, 2 and 6")


def _affine(name: str, scaler: Any) -> tuple[float, float]:
    """Return what is taken away from a real and by what it is divided."""
    if scaler is None:
        return 0.0, 1.0
    kind = type(scaler).__name__
    if kind == "StandardScaler":
        return float(scaler.mean_[0]), float(scaler.scale_[0])
    if kind == "RobustScaler":
        return float(scaler.center_[0]), float(scaler.scale_[0])
    raise ConvertError(f"scaler of {name!r} must be a StandardScaler or RobustScaler, got {kind}")
