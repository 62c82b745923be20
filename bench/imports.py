"""The CPU time of imports, in a process that has loaded its frameworks and imported something before.

    python -m bench.imports                 networks made here (needs torch)
    python -m bench.imports FILE ...        and these files: .onnx, .keras, .h5, .pt; FILE,sr=16000 fixes an input

prints for each the CPU seconds of `fastgru.convert` on one core, the part of them that torch.export takes, and the
parameters and steps of the outcome. Every import is checked against its framework by the import itself.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import fastgru

from .machine import cores, leave_blas_alone, pinned

RUNS = 3  # the least of which is shown: other work on the machine adds to a time, and takes nothing away
Case = tuple[Any, dict[str, Any]]  # the source and the options of an import


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE")
    files = parser.parse_args(arguments).files
    leave_blas_alone()
    with pinned(cores()[-1:]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of frameworks, about themselves
        print(f"{'import':44s} {'CPU s':>7s} {'of it torch.export':>19s} {'parameters':>11s}")
        for name, make in networks().items():
            show(name, make)
        for path in files:
            show("/".join(path.rsplit("/", 2)[-2:]), lambda path=path: stored(path))


def show(name: str, make: Callable[[], Case]) -> None:
    """Print the row of one import, after it has been done once."""
    taken = []
    for _ in range(RUNS + 1):
        source, options = make()
        with exporting() as spent:
            begun = time.process_time()
            model = fastgru.convert(source, **options)
            taken.append((time.process_time() - begun, sum(spent)))
    whole, exported = min(taken[1:])
    print(f"{name:44s} {whole:7.2f} {exported:19.2f} {model.summary().totals.parameters:11,}", flush=True)


def stored(argument: str) -> Case:
    """Return the path and the fixed inputs of ``FILE,NAME=NUMBER,...``."""
    path, *fixed = argument.split(",")
    numbers = {name: int(number) for name, _, number in (each.partition("=") for each in fixed)}
    return path, {"fix": numbers} if numbers else {}


@contextmanager
def exporting() -> Iterator[list[float]]:
    """Collect the CPU seconds of every call of torch.export."""
    import torch

    spent: list[float] = []
    real = torch.export.export

    def timed(*args: Any, **options: Any) -> Any:
        begun = time.process_time()
        try:
            return real(*args, **options)
        finally:
            spent.append(time.process_time() - begun)

    torch.export.export = timed
    try:
        yield spent
    finally:
        torch.export.export = real


def networks() -> dict[str, Callable[[], Case]]:
    """Make the modules of the table, by what they are."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)

    class Denoiser(nn.Module):
        """A mask for the magnitudes of frames of 960 samples, every 480 of them."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("window", torch.hann_window(960))
            self.gru, self.mask = nn.GRU(481, 128, 2, batch_first=True), nn.Linear(128, 481)

        def forward(self, wave: torch.Tensor) -> torch.Tensor:
            spectrum = torch.stft(wave, 960, 480, window=self.window, return_complex=True)
            seen, _ = self.gru(spectrum.abs().transpose(1, 2))
            masked = spectrum * torch.sigmoid(self.mask(seen)).transpose(1, 2)
            return torch.istft(masked, 960, 480, window=self.window)

    class Loop(nn.Module):
        """A cell of PyTorch, called step by step."""

        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = nn.LSTMCell(32, 64), nn.Linear(64, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h, c = x.new_zeros(2, x.shape[0], 64)
            found = []
            for t in range(x.shape[1]):
                h, c = self.cell(x[:, t], (h, c))
                found.append(self.out(h))
            return torch.stack(found, 1)

    class Layers(nn.Module):
        """Three layers and a Linear one behind them."""

        def __init__(self) -> None:
            super().__init__()
            self.gru, self.out = nn.GRU(64, 128, 3, batch_first=True), nn.Linear(128, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.gru(x)[0])

    rows = torch.randn(1, 200, 64)
    return {
        "GRU of 3 layers, Linear": lambda: (Layers().eval(), {}),
        "STFT of 960 samples, GRU, inverse STFT": lambda: (
            Denoiser().eval(),
            {"example_inputs": torch.randn(1, 9600)},
        ),
        "loop over 200 steps of an LSTMCell": lambda: (Loop().eval(), {"example_inputs": rows[..., :32]}),
    }


if __name__ == "__main__":
    main()
