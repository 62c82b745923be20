"""Train small forecasters of darts, GluonTS and pytorch-forecasting, and store them with their own forecasts.

    python tests/support/forecasters.py FOLDER [darts] [gluonts] [pytorch_forecasting]

It takes a minute for each library, which must be installed.

Each file FOLDER/NAME.npz has the contexts, what the library itself computes of them, teacher-forced and free, and each
FOLDER/NAME.fgru the model that fastgru converts.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HORIZON, SERIES, SAMPLES = 7, 5, 2000
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def seasonal(steps: int, series: int = SERIES, seed: int = 0, *, counts: bool = False) -> np.ndarray:
    """Series (B, T) of a weekly wave around levels of their own, positive."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(5, 60, size=(series, 1))
    wave = 1 + 0.4 * np.sin(2 * np.pi * (np.arange(steps) + rng.integers(0, 7, size=(series, 1))) / 7)
    y = level * wave * rng.gamma(30.0, 1 / 30, size=(series, steps))
    return rng.poisson(y).astype(float) if counts else y


def summed_up(paths: np.ndarray) -> dict[str, np.ndarray]:
    """What is stored of paths (B, samples, horizon): quantiles, mean and standard deviation; points as they are."""
    if paths.shape[1] == 1:
        return {"points": paths[:, 0]}
    quantiles = np.moveaxis(np.quantile(paths, LEVELS, axis=1), 0, -1)
    return {"quantiles": quantiles, "mean": paths.mean(axis=1), "spread": paths.std(axis=1)}


# darts -----------------------------------------------------------------------------------------------


def darts_models() -> Iterator[tuple[str, Any, dict[str, np.ndarray]]]:
    """Trained models by name, and for each its contexts, covariates, paths or points, and parameters one step ahead."""
    import pandas as pd
    from darts import TimeSeries
    from darts.models import BlockRNNModel, RNNModel
    from darts.utils.likelihood_models import torch as likelihoods

    quiet = {"pl_trainer_kwargs": {"accelerator": "cpu", "enable_progress_bar": False, "logger": False}}
    cases: dict[str, tuple[Any, dict[str, Any], Any, bool]] = {
        "rnn_point": (RNNModel, {"model": "GRU"}, None, False),
        "rnn_gaussian": (RNNModel, {"model": "LSTM", "n_rnn_layers": 2}, likelihoods.GaussianLikelihood(), True),
        "rnn_laplace": (RNNModel, {"model": "RNN"}, likelihoods.LaplaceLikelihood(), False),
        "rnn_poisson": (RNNModel, {"model": "GRU"}, likelihoods.PoissonLikelihood(), False),
        "rnn_negative_binomial": (RNNModel, {"model": "LSTM"}, likelihoods.NegativeBinomialLikelihood(), False),
        "block_point": (BlockRNNModel, {"model": "GRU", "output_chunk_length": 3}, None, True),
        "block_quantiles": (
            BlockRNNModel,
            {"model": "LSTM", "output_chunk_length": 4, "hidden_fc_sizes": [6]},
            likelihoods.QuantileRegression([0.1, 0.25, 0.5, 0.75, 0.9]),
            False,
        ),
    }
    steps = 70
    index = pd.date_range("2024-01-01", periods=steps + HORIZON + 1, freq="D")
    extra = np.sin(np.arange(steps + HORIZON + 1) / 5)[None, :, None] * np.ones((SERIES, 1, 2)) * [1.0, 0.3]
    for name, (kind, options, likelihood, covariates) in cases.items():
        y = seasonal(steps, counts="poisson" in name or "binomial" in name) / (
            1 if "poisson" in name or "bin" in name else 60
        )
        series = [TimeSeries.from_times_and_values(index[:steps], row[:, None].astype(np.float32)) for row in y]
        more = [
            TimeSeries.from_times_and_values(index, row.astype(np.float32), columns=["wave", "small"]) for row in extra
        ]
        given = {} if not covariates else {"future_covariates" if kind is RNNModel else "past_covariates": more}
        chunk = {"input_chunk_length": 14, "hidden_dim": 12, "batch_size": 32, "n_epochs": 2, "random_state": 1}
        if kind is RNNModel:
            chunk["training_length"] = 20
        model = kind(**chunk, **options, likelihood=likelihood, **quiet, optimizer_kwargs={"lr": 1e-2})
        model.fit(series, **given)
        many = SAMPLES if likelihood is not None else 1
        paths = model.predict(HORIZON, series=series, num_samples=many, **given)
        record = {
            "context": y.astype(np.float32),
            **summed_up(np.stack([p.all_values(copy=False)[:, 0].T for p in paths])),
        }
        if covariates:
            record["covariates"] = extra.astype(np.float32)[:, : steps + HORIZON]
        if likelihood is not None:
            least = model.predict(1, series=series, predict_likelihood_parameters=True, **given)
            record["parameters"] = np.stack([p.values(copy=False)[0] for p in least])
        yield f"darts_{name}", model, record


# GluonTS ---------------------------------------------------------------------------------------------


def gluonts_models() -> Iterator[tuple[str, Any, dict[str, np.ndarray]]]:
    """The same of GluonTS; ``rows`` and ``parameters`` are what its network reads and gives, teacher-forced."""
    import pandas as pd
    import torch
    from gluonts.dataset.common import ListDataset
    from gluonts.torch import distributions
    from gluonts.torch.model.deepar import DeepAREstimator

    cases: dict[str, dict[str, Any]] = {
        "student_t": {"freq": "D"},
        "normal_features": {
            "freq": "D", "distr_output": distributions.NormalOutput(), "num_feat_dynamic_real": 2,
            "num_feat_static_cat": 2, "cardinality": [3, 5], "num_feat_static_real": 1,
        },
        "negative_binomial": {"freq": "D", "distr_output": distributions.NegativeBinomialOutput()},
        "unscaled": {
            "freq": "h", "distr_output": distributions.LaplaceOutput(), "scaling": False, "lags_seq": [1, 2, 24],
        },
        "short": {"freq": "MS", "nonnegative_pred_samples": True},
    }  # fmt: skip
    for name, options in cases.items():
        torch.manual_seed(1)
        np.random.seed(1)
        freq = options.pop("freq")
        length = 9 if name == "short" else 130
        y = seasonal(length, counts=name == "negative_binomial")
        y = y / 60 if name == "unscaled" else y
        rng = np.random.default_rng(3)
        dynamic = rng.normal(size=(SERIES, 2, length + HORIZON))
        category, real = np.stack([np.arange(SERIES) % 3, np.arange(SERIES)], 1), rng.normal(size=(SERIES, 1))
        starts = pd.Period("2024-01-01", freq="M" if freq == "MS" else freq)
        entries = [
            {
                "target": row, "start": starts,
                **(
                    {"feat_dynamic_real": dynamic[i][:, :length], "feat_static_cat": category[i],
                     "feat_static_real": real[i]}
                    if "num_feat_dynamic_real" in options else {}
                ),
            }
            for i, row in enumerate(y)
        ]  # fmt: skip
        freq = "M" if freq == "MS" else freq
        estimator = DeepAREstimator(
            freq=freq, prediction_length=HORIZON, context_length=14, hidden_size=16, num_layers=2, batch_size=16,
            num_batches_per_epoch=150 if name == "student_t" else 8,  # which docs/forecasting.md draws
            lr=1e-2, num_parallel_samples=SAMPLES,
            trainer_kwargs={
                "max_epochs": 1, "enable_progress_bar": False, "logger": False, "accelerator": "cpu",
                "default_root_dir": tempfile.mkdtemp(),
            },
            **options,
        )  # fmt: skip
        predictor = estimator.train(ListDataset(entries, freq=freq))
        for i, entry in enumerate(entries):
            if "feat_dynamic_real" in entry:
                entry["feat_dynamic_real"] = dynamic[i]
        network = predictor.prediction_net.model
        rows: list[Any] = []
        hook = network.rnn.register_forward_hook(lambda _, x, out, rows=rows: rows.append((x[0], out[0])))
        forecasts = list(predictor.predict(ListDataset(entries, freq=freq)))
        hook.remove()
        x, out = rows[0]
        record = {
            "context": y, **summed_up(np.stack([f.samples for f in forecasts])), "rows": x.numpy(),
            "parameters": np.stack([p.detach().numpy() for p in network.param_proj(out)], axis=-1),
            "start": np.array(str(starts.to_timestamp().date())), "freq": np.array(freq),
        }  # fmt: skip
        if name == "normal_features":
            fixed = np.concatenate([category, real], axis=1)[:, None].repeat(length + HORIZON, axis=1)
            record["covariates"] = np.concatenate([fixed, dynamic.transpose(0, 2, 1)], axis=2)
        yield f"gluonts_{name}", predictor, record


# pytorch-forecasting ---------------------------------------------------------------------------------


def pytorch_forecasting_models() -> Iterator[tuple[str, Any, dict[str, np.ndarray]]]:
    """The same of pytorch-forecasting, whose reals and categories are the covariates."""
    import lightning.pytorch as lightning
    import pandas as pd
    import torch
    from pytorch_forecasting import DeepAR, TimeSeriesDataSet
    from pytorch_forecasting.data import EncoderNormalizer, GroupNormalizer, NaNLabelEncoder
    from pytorch_forecasting.metrics import NegativeBinomialDistributionLoss, NormalDistributionLoss

    cases: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "encoder": (EncoderNormalizer(), NormalDistributionLoss(), {"static_categoricals": ["shop"]}),
        "softplus": (
            EncoderNormalizer(transformation="softplus"), NormalDistributionLoss(),
            {"time_varying_known_reals": ["price"], "add_relative_time_idx": True, "cell_type": "GRU"},
        ),
        "group": (GroupNormalizer(groups=[]), NormalDistributionLoss(), {"time_varying_known_reals": ["time_idx"]}),
        "counts": (EncoderNormalizer(center=False), NegativeBinomialDistributionLoss(), {"static_reals": ["size"]}),
    }  # fmt: skip
    for name, (normalizer, loss, options) in cases.items():
        torch.manual_seed(2)
        np.random.seed(2)
        length = 80
        y = seasonal(length + HORIZON, counts=name == "counts", seed=4)
        rng = np.random.default_rng(5)
        price, size = rng.normal(3, 1, size=y.shape), rng.uniform(1, 9, size=(SERIES, 1)) + np.zeros(y.shape)
        steps = np.arange(y.shape[1]) + np.zeros((SERIES, 1))
        shop = np.arange(SERIES)[:, None] + np.zeros(y.shape)
        frame = pd.DataFrame({
            "y": y.ravel(), "price": price.ravel(), "size": size.ravel(), "time_idx": steps.ravel().astype(int),
            "shop": [f"s{int(i)}" for i in shop.ravel()],
        })  # fmt: skip
        cell = options.pop("cell_type", "LSTM")
        scales = name in ("encoder", "counts")
        data = TimeSeriesDataSet(
            frame[frame.time_idx < length], time_idx="time_idx", target="y", group_ids=["shop"],
            time_varying_unknown_reals=["y"], max_encoder_length=21, min_encoder_length=21,
            max_prediction_length=HORIZON, min_prediction_length=HORIZON, target_normalizer=normalizer,
            add_target_scales=scales,
            categorical_encoders={"shop": NaNLabelEncoder().fit(frame.shop)}, **options,
        )  # fmt: skip
        model = DeepAR.from_dataset(data, hidden_size=12, rnn_layers=2, cell_type=cell, loss=loss, learning_rate=1e-2)
        trainer = lightning.Trainer(
            max_epochs=1, limit_train_batches=6, enable_progress_bar=False, logger=False, accelerator="cpu",
            enable_checkpointing=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(model, data.to_dataloader(train=True, batch_size=16, num_workers=0))
        model = model.eval()
        later = TimeSeriesDataSet.from_dataset(data, frame, predict=True, stop_randomization=True)
        loader = later.to_dataloader(train=False, batch_size=SERIES, num_workers=0)
        x, _ = next(iter(loader))
        with torch.no_grad():
            forced = model(x)["prediction"].numpy()  # parameters of all steps, fed with what was
            torch.manual_seed(3)
            paths = model(x, n_samples=SAMPLES)["prediction"].numpy().transpose(0, 2, 1)
        order = later.decoded_index.shop.str[1:].astype(int).to_numpy()
        back = np.argsort(order)
        record = {
            "context": y[:, :length], "truth": y[:, length:], "parameters": forced[back], **summed_up(paths[back]),
        }  # fmt: skip
        known = {"encoder": shop, "softplus": price, "group": steps, "counts": size}[name]
        record["covariates"] = known[..., None]
        if name == "encoder":
            record["covariates"] = data.categorical_encoders["shop"].transform(frame.shop).reshape(y.shape)[..., None]
        yield f"pytorch_forecasting_{name}", model, record


MAKERS = {"darts": darts_models, "gluonts": gluonts_models, "pytorch_forecasting": pytorch_forecasting_models}


def main(folder: Path) -> None:
    """Train, convert and store all."""
    import fastgru

    folder.mkdir(parents=True, exist_ok=True)
    for maker in [MAKERS[name] for name in sys.argv[2:]] or MAKERS.values():
        for name, model, record in maker():
            converted = fastgru.convert(model)
            converted.save(folder / f"{name}.fgru")
            np.savez_compressed(folder / f"{name}.npz", **record)
            print(name, converted.provenance["forecast"])


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
