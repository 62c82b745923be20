"""Make fastgru/data/pulse.{pt,npz}: train the demo's forecaster in PyTorch and fit what it is compared with.

The series is an optical pulse recording of 11 minutes, ``data3.csv`` in HeartPy's wheel (Paul van Gent, MIT licence).
It is cut by time: the first 60 % train, the next 20 % choose settings, and the last 20 % are read by ``--test`` alone.

    python tests/data/make_demo.py --search   # train with every row of SEARCH, print the validation scores
    python tests/data/make_demo.py            # train with CHOSEN, fit the rivals, write both files
    python tests/data/make_demo.py --test     # the scores of what was written, on the last 20 %
    python tests/data/make_demo.py --draw     # the picture of what was written: docs/pictures/pulse-{light,dark}.svg

Needs torch and heartpy's files (``pip install --no-deps heartpy==1.2.7``). Seeds are fixed.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from fastgru.cli import _pulse, _pulse_plot, demo

ROOT = Path(__file__).resolve().parents[2]
DATA, PICTURES = ROOT / "fastgru" / "data", ROOT / "docs" / "pictures"
AVERAGED = 4  # samples of 100.4 Hz that make one of 25.1 Hz
TRAINING, VALIDATION = 0.6, 0.8  # where each part ends
STRIDE = _pulse.HORIZON // 2  # samples between the origins that settings are chosen on
ORDERS, RIDGES = (13, 25, 50, 75, 100), (0.0, 1.0, 100.0, 10000.0)
SEED, BATCH, NOISE, DECAY, EXTRA = 1, 32, 0.03, 0.01, 32  # EXTRA: steps of a training window beyond context and horizon


class Settings(NamedTuple):
    """Choices made on the validation part."""

    hidden: int
    steps: int
    stretch: float  # windows are this much slower or faster at most
    vary: float  # deviation of what they are scaled and moved by


SEARCH = (Settings(48, 1500, 0.0, 0.1), Settings(48, 1500, 0.12, 0.1))
CHOSEN = SEARCH[0]


class Forecaster(torch.nn.Module):
    """The next `HORIZON` samples after each one: x (B, T, 1) to (B, T, HORIZON)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(1, hidden, batch_first=True)
        self.dense = torch.nn.Linear(hidden, _pulse.HORIZON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(self.gru(x)[0])


def read_samples() -> np.ndarray:
    """The recording's samples at 100.4 Hz; the package is found without being imported."""
    spec = find_spec("heartpy")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("heartpy must be installed: pip install --no-deps heartpy==1.2.7")
    with open(Path(spec.submodule_search_locations[0]) / "data" / "data3.csv", newline="") as file:
        samples = np.array([int(row["hr"]) for row in csv.DictReader(file)], dtype=np.int16)
    return samples[: len(samples) // AVERAGED * AVERAGED]


def summed(samples: np.ndarray) -> np.ndarray:
    """Sums of `AVERAGED` consecutive samples, (T,) int16."""
    return samples.reshape(-1, AVERAGED).sum(axis=1, dtype=np.int16)


def stretched(samples: torch.Tensor, stretch: float, generator: torch.Generator) -> torch.Tensor:
    """Cut random windows (BATCH, T) of a series as `summed` makes it, each from a pulse a little slower or faster.

    A window of a rate r sums `AVERAGED` * r samples to one, parts of samples at its ends included, from wherever it
    starts: sums between two places are differences of the running total, which is linear within a sample.
    """
    total = torch.nn.functional.pad(samples.cumsum(0), (1, 0))
    length = _pulse.CONTEXT + EXTRA + _pulse.HORIZON
    rate = 1 + stretch * (2 * torch.rand(BATCH, 1, generator=generator, dtype=torch.float64) - 1)
    room = len(samples) - AVERAGED * rate * length
    start = torch.rand(BATCH, 1, generator=generator, dtype=torch.float64) * room
    places = start + AVERAGED * rate * torch.arange(length + 1)
    before = places.long().clamp(max=len(samples) - 1)
    running = total[before] + (places - before) * (total[before + 1] - total[before])
    return (running.diff(dim=1) / rate).float()


def train(
    samples: np.ndarray, mean: float, scale: float, settings: Settings, check: tuple[np.ndarray, np.ndarray]
) -> Forecaster:
    """Fit the next second after every sample of random windows of `samples` (T,), by mean absolute error.

    Windows start anywhere, with a state of zero; the first half of a context does not count. Each is stretched in
    time, scaled and moved a little, for pulses of other rates and heights, and what is shown of it has noise.
    """
    torch.manual_seed(SEED)
    model = Forecaster(settings.hidden)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    generator = torch.Generator().manual_seed(SEED)
    normalised = torch.tensor((samples - mean / AVERAGED) / scale)
    for step in range(1, settings.steps + 1):
        batch = stretched(normalised, settings.stretch, generator)
        batch = batch * (1 + settings.vary * torch.randn(BATCH, 1)) + settings.vary * torch.randn(BATCH, 1)
        shown = batch[:, : -_pulse.HORIZON]
        ahead = batch.unfold(1, _pulse.HORIZON, 1)[:, 1:]
        y = model((shown + NOISE * torch.randn_like(shown))[..., None])
        loss = (y - ahead)[:, _pulse.CONTEXT // 2 :].abs().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 125 == 0:
            print(f"  step {step}: training {loss:.4f}, validation {_error(model, *check):.4f}", flush=True)
    return model.eval()


def _error(model: Forecaster, contexts: np.ndarray, futures: np.ndarray) -> float:
    with torch.no_grad():
        y = model(torch.tensor(contexts, dtype=torch.float32)[..., None])[:, -1].numpy()
    return float(np.abs(y - futures).mean())


def linear_forecasters(z: np.ndarray) -> dict[str, np.ndarray]:
    """Every linear autoregression: weights (CONTEXT + 1, HORIZON), the last row constant, fitted to `z` (T,)."""
    contexts, futures = _pulse.windows(z, 1)
    found = {}
    for order, ridge in itertools.product(ORDERS, RIDGES):
        design = np.c_[contexts[:, -order:], np.ones(len(contexts))]
        squares = np.linalg.solve(design.T @ design + ridge * np.eye(order + 1), design.T @ futures)
        setting = f"order {order}, ridge {ridge:g}"
        found[f"direct, squares, {setting}"] = _full(squares)
        found[f"recursive, squares, {setting}"] = _full(_unrolled(squares[:, 0]))
        if ridge in RIDGES[1::2]:
            absolute = np.stack([_least_absolute(design, futures[:, h], squares[:, h], ridge)
                                 for h in range(_pulse.HORIZON)], axis=1)  # fmt: skip
            found[f"direct, absolute errors, {setting}"] = _full(absolute)
    return found


def _least_absolute(design: np.ndarray, target: np.ndarray, start: np.ndarray, ridge: float) -> np.ndarray:
    """Weights of least absolute error, by iteratively reweighted least squares."""
    weights = start
    for _ in range(20):
        scaled = design / np.maximum(np.abs(design @ weights - target), 1e-3)[:, None]
        weights = np.linalg.solve(scaled.T @ design + ridge * np.eye(design.shape[1]), scaled.T @ target)
    return weights


def _unrolled(one: np.ndarray) -> np.ndarray:
    """Weights of each step ahead of an autoregression `one` (order + 1,) that is fed its own forecasts."""
    order = len(one) - 1
    rows = [np.eye(order + 1)[i] for i in range(order)]
    constant = np.eye(order + 1)[order]
    for _ in range(_pulse.HORIZON):
        rows.append(np.tensordot(one[:order], np.stack(rows[-order:]), 1) + one[order] * constant)
    return np.stack(rows[order:], axis=1)


def _full(weights: np.ndarray) -> np.ndarray:
    """`weights` with zeros for the samples before its order."""
    return np.pad(weights, ((_pulse.CONTEXT + 1 - len(weights), 0), (0, 0)))


def repeat_own(contexts: np.ndarray) -> np.ndarray:
    """Forecast (N, HORIZON) that repeats each context's own period: the lag of least absolute difference."""
    lags = range(8, _pulse.CONTEXT // 2 + 1)
    differences = np.stack([np.abs(contexts[:, lag:] - contexts[:, :-lag]).mean(axis=1) for lag in lags])
    own = lags[0] + differences.argmin(axis=0)[:, None]
    places = _pulse.CONTEXT - own + np.arange(_pulse.HORIZON) % own
    return np.take_along_axis(contexts, places, axis=1)


class Parts(NamedTuple):
    """The recording, cut by time, and what it is normalised by."""

    samples: np.ndarray  # at 100.4 Hz, of the training part
    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    mean: float
    scale: float

    def normal(self, series: np.ndarray) -> np.ndarray:
        """Return a part as the forecasters take it."""
        return (series - self.mean) / self.scale

    def checked(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the contexts and futures that settings are chosen on."""
        return _pulse.windows(self.normal(self.validation), STRIDE)


def read_parts() -> Parts:
    """Read the recording and cut it."""
    samples = read_samples()
    series = summed(samples)
    training, validation, test = np.split(series, [int(TRAINING * len(series)), int(VALIDATION * len(series))])
    mean, scale = float(training.mean()), float(training.std())
    return Parts(samples[: AVERAGED * len(training)], training, validation, test, mean, scale)


def choose(parts: Parts) -> tuple[np.ndarray, int]:
    """The linear weights and the fixed period with the least error on the validation part; print the best few."""
    contexts, futures = parts.checked()
    design = np.c_[contexts, np.ones(len(contexts))]
    fitted = linear_forecasters(parts.normal(parts.training))
    errors = {name: float(np.abs(design @ w - futures).mean()) for name, w in fitted.items()}
    for name in sorted(errors, key=errors.__getitem__)[:5]:
        print(f"  linear: {name}: {errors[name]:.4f}")
    best_recursive = min((name for name in errors if name.startswith("recursive")), key=errors.__getitem__)
    print(f"  linear: {best_recursive}: {errors[best_recursive]:.4f}")
    periods = {p: float(np.abs(_pulse.repeat(contexts, p) - futures).mean()) for p in range(2, _pulse.CONTEXT)}
    period = min(periods, key=periods.__getitem__)
    print(f"  seasonal: period {period}: {periods[period]:.4f}")
    own = float(np.abs(repeat_own(contexts) - futures).mean())
    print(f"  seasonal: each context's own period: {own:.4f}")
    print(f"  persistence: {np.abs(contexts[:, -1:] - futures).mean():.4f}", flush=True)
    return fitted[min(errors, key=errors.__getitem__)], period


def write(parts: Parts) -> None:
    """Train with `CHOSEN`, fit the rivals, and write both files."""
    linear, period = choose(parts)
    contexts, futures = parts.checked()
    model = train(parts.samples, parts.mean, parts.scale, CHOSEN, (contexts, futures))
    with torch.no_grad():
        output = model(torch.tensor(contexts[:1], dtype=torch.float32)[..., None])[0].numpy()
    torch.save(model.state_dict(), DATA / "pulse.pt")
    np.savez_compressed(
        DATA / "pulse.npz", validation=parts.validation, test=parts.test, mean=parts.mean, scale=parts.scale,
        linear=linear.astype(np.float32), period=period, torch_output=output, torch_version=torch.__version__,
    )  # fmt: skip


def draw(folder: Path) -> None:
    """Write the demo's picture as pulse-light.svg and pulse-dark.svg."""
    typical, scores, _ = demo.evaluate(_pulse.load_model(), _pulse.load_series())
    for name, theme in {"light": _pulse_plot.LIGHT, "dark": _pulse_plot.DARK}.items():
        (folder / f"pulse-{name}.svg").write_bytes(_pulse_plot.draw(typical, scores, "svg", theme))


def main() -> None:
    """Search, write or test as asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--search", action="store_true", help="print the validation scores of all settings")
    asked.add_argument("--test", action="store_true", help="print the scores on the test part of what was written")
    asked.add_argument("--draw", action="store_true", help="draw what was written, for light and for dark pages")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.test:
        _, scores, words = demo.evaluate(_pulse.load_model(), _pulse.load_series())
        print(*words, *(f"{one.name}: {one.error:.2f}, GRU closer at {one.beaten:.0%}" for one in scores), sep="\n")
        return
    if args.draw:
        draw(PICTURES)
        return
    parts = read_parts()
    if not args.search:
        write(parts)
        return
    choose(parts)
    for settings in SEARCH:
        print(settings, flush=True)
        train(parts.samples, parts.mean, parts.scale, settings, parts.checked())


if __name__ == "__main__":
    main()
