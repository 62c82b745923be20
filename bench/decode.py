"""Decoders beside others: python -m bench.decode [--seconds N] [--path FOLDER]

Beside pyctcdecode (without a language model), pytorch-crf, and the networks of a transducer alone. Both sides run in
turns in one process; results are compared before the clock starts; times are medians of the thread's own.
FOLDER is where ``pip install --target FOLDER pyctcdecode`` and ``pip install --target FOLDER --no-deps pytorch-crf``
put them.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np

import fastgru
from fastgru import decode
from fastgru.graph import Add, GraphBuilder, Spec
from fastgru.layers import LSTM, Activate, Dense, Embedding

WIDTH, V = 16, 32
LETTERS = ["", *"abcdefghijklmnopqrstuvwxyz'", " ", "-", ".", ","][:V]


def beside(name: str, calls: dict[str, Callable[[], object]], seconds: float) -> None:
    """Time calls in turns and print their medians and quotients."""
    times: dict[str, list[float]] = {each: [] for each in calls}
    repeats = {}
    for each, call in calls.items():
        start = time.thread_time()
        call()
        repeats[each] = max(1, int(0.002 / (time.thread_time() - start)))
    end = time.thread_time() + seconds  # of this thread: others may have the core meanwhile
    while time.thread_time() < end or min(map(len, times.values())) < 7:
        for each, call in calls.items():
            start = time.thread_time()
            for _ in range(repeats[each]):
                call()
            times[each].append((time.thread_time() - start) / repeats[each])
    (_, ours), *others = ((each, median(found)) for each, found in times.items())
    for other, theirs in others:
        told = f"fastgru {ours * 1e6:10.1f} us   {other} {theirs * 1e6:10.1f} us"
        print(f"{name:34} {told}   {theirs / ours:8.2f}x", flush=True)


def posteriors(T: int, sharp: float, seed: int = 0) -> np.ndarray:
    """Log-probabilities as of a model that is more (large `sharp`) or less sure, blank in half of the frames."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(T, V))
    best = np.where(rng.random(T) < 0.5, 0, rng.integers(1, V, T))
    logits[np.arange(T), best] += sharp
    return (logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)).astype(np.float32)


def ctc(seconds: float) -> None:
    """Beam search without a language model, with pyctcdecode's pruning off and as it is when nothing is said."""
    import logging

    logging.disable(logging.WARNING)
    from pyctcdecode import build_ctcdecoder

    decoder = build_ctcdecoder(LETTERS)
    exact = {"beam_width": WIDTH, "token_min_logp": -1e9, "beam_prune_logp": -1e9}
    # With beams wide enough the scores agree. Narrow ones hold fewer labellings there: one for each last class apart.
    few = posteriors(3, 2.0)
    few[:, 7:] = -1e9
    few = decode.log_softmax(few).astype(np.float32)
    theirs = decoder.decode_beams(few, beam_width=1 << 11, token_min_logp=-1e6, beam_prune_logp=-1e9)
    for found, other in zip(decode.ctc_beam(few, 1 << 11, n_best=50), theirs, strict=False):
        assert abs(found.score - other[3]) < 1e-4
    for T, sharp in itertools.product((100, 200, 500), (2.0, 6.0)):
        x = posteriors(T, sharp)
        (ours,) = decode.ctc_beam(x, WIDTH, symbols=LETTERS)
        text, _, _, score, _ = decoder.decode_beams(x, **exact)[0]
        texts = "equal" if ours.text.strip() == text else "differ"
        agree = f"scores {ours.score:.4f} and {score:.4f}, texts {texts}"
        beside(
            f"CTC beam, T={T}, sharp={sharp:g}",
            {
                "fastgru": lambda x=x: decode.ctc_beam(x, WIDTH),
                "pyctcdecode unpruned": lambda x=x: decoder.decode_beams(x, **exact),
                "pyctcdecode pruning": lambda x=x: decoder.decode_beams(x, beam_width=WIDTH),
            },
            seconds,
        )
        print(f"    {agree}")


def crf(seconds: float) -> None:
    """Viterbi of one sequence."""
    import torch
    from torchcrf import CRF

    torch.set_num_threads(1)
    for T, K in ((20, 9), (50, 20), (200, 50)):
        torch.manual_seed(0)
        layer = CRF(K, batch_first=True)
        emissions = torch.randn(1, T, K)
        x = emissions.numpy()
        parts = [p.detach().numpy() for p in (layer.transitions, layer.start_transitions, layer.end_transitions)]
        (ours,) = decode.crf_viterbi(x, *parts)
        with torch.no_grad():
            (theirs,) = layer.decode(emissions)
            every = torch.ones(T, 1, dtype=torch.bool)
            score = float(layer._compute_score(emissions.transpose(0, 1), torch.tensor([theirs]).T, every))
        assert ours.labels.tolist() == theirs
        assert abs(ours.score - score) < 1e-3
        with torch.no_grad():
            beside(
                f"Viterbi, T={T}, K={K}",
                {
                    "fastgru": lambda x=x, p=parts: decode.crf_viterbi(x, *p),
                    "pytorch-crf": lambda e=emissions, c=layer: c.decode(e),
                },
                seconds,
            )


def transducer(seconds: float) -> None:
    """Greedy decoding beside the same calls of its networks without a decoder, in the same order."""
    rng = np.random.default_rng(0)
    for E, H in ((128, 128), (256, 320), (512, 512)):
        layers = [LSTM(rng.normal(size=(4 * E, n)) / 9, rng.normal(size=(4 * E, E)) / 16) for n in (80, E)]
        encoder = fastgru.Model(layers)
        lstm = LSTM(rng.normal(size=(4 * H, 64)) / 8, rng.normal(size=(4 * H, H)) / 16)
        predictor = fastgru.Model([Embedding(rng.normal(size=(V, 64))), lstm])
        b = GraphBuilder()
        frame = b.add(Dense(rng.normal(size=(H, E)) / 4), b.input("encoder", Spec((E,), time=False)))
        read = b.add(Dense(rng.normal(size=(H, H)) / 4), b.input("predictor", Spec((H,), time=False)))
        head = Dense(rng.normal(size=(V, H)) / 4, np.where(np.arange(V) == 0, 0.35 * H**0.5, 0.0))
        joiner = fastgru.Model(b.build(b.add(head, b.add(Activate("tanh"), b.add(Add(), frame, read)))))
        x = rng.normal(size=(200, 80)).astype(np.float32)
        decoder = decode.TransducerGreedy(predictor, joiner)
        steps, one, two = encoder.stream(), predictor.stream(), joiner.stream()

        def streamed(x=x, steps=steps, decoder=decoder):
            steps.reset()
            for row in x:
                decoder.push(steps.step(row))
            return decoder.finish()

        found, whole = streamed(), decode.transducer_greedy(encoder(x), predictor, joiner)
        assert np.array_equal(found.labels, whole.labels)
        given = [found.labels[found.frames == t].tolist() for t in range(len(x))]

        def alone(x=x, steps=steps, one=one, two=two, given=given, encoder=encoder, whole=False):
            steps.reset()
            one.reset()
            read = one.step(0)
            for row, labels in zip(encoder(x) if whole else x, given, strict=True):
                frame = row if whole else steps.step(row)
                two.step((frame, read))
                for label in labels:
                    read = one.step(label)
                    two.step((frame, read))

        title = f"transducer, E={E}, H={H}, {len(found.labels)} labels"
        beside(f"{title}, frame by frame", {"fastgru": streamed, "networks alone": alone}, seconds)
        offline = {
            "fastgru": lambda x=x, e=encoder, d=decoder: d._decode([e(x)]),
            "networks alone": lambda alone=alone: alone(whole=True),
        }
        beside(f"{title}, whole", offline, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of every comparison")
    parser.add_argument("--path", help="a folder with pyctcdecode and pytorch-crf")
    parser.add_argument("only", nargs="*", choices=["ctc", "crf", "transducer", []])
    given = parser.parse_args()
    if given.path:
        sys.path.append(given.path)
    for part in (ctc, crf, transducer):
        if not given.only or part.__name__ in given.only:
            part(given.seconds)


if __name__ == "__main__":
    main()
