"""g2p_en: a word's letters through the encoder, then each most likely phoneme through the decoder until it stops."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from fastgru.recipes import g2p

from .network import MODELS, Array, Call, Network, Real, arrays

PATH = MODELS / "g2p_en" / "checkpoint20.npz"
MOST = g2p.MOST_STEPS
# Rounded to int8, the decoder's GRU pronounces one word of fifteen in another way: it stays in float32.
LAYERS = {"int8": ["embedding", "dense"], "int8_affine": ["embedding", "dense"]}


@dataclass
class Word:
    """The word that the next call pronounces: ids of its letters and of the end."""

    ids: Array

    def put(self, ids: Array) -> None:
        self.ids = ids


def words(streaming: bool) -> Real:
    """A word in, ids of its phonemes out, filled up with the end's to 20."""
    known = json.loads((PATH.parent / "reference_pronunciations.json").read_text())
    *rest, last = sorted(known, key=lambda word: word == "recurrent")  # which is what the clock sees: nine letters
    letters = [np.array([*map(g2p.GRAPHEMES.index, word), g2p.GRAPHEMES.index("</s>")]) for word in (*rest, last)]
    expected = np.array([padded([g2p.PHONEMES.index(p) for p in known[word]]) for word in (*rest, last)])
    word = Word(letters[-1])
    encoder, decoder = g2p.load(PATH)
    networks = [
        Network(encoder.graph, letters[-1], False),
        Network(decoder.graph, np.array(g2p.START), True, calls=len(known[last]) + 1),
    ]
    own = {"fastgru": lambda precision: _own(word, precision), "numpy": lambda precision: _numpy(word)}
    return Real(networks, letters, expected, word.put, None, own)


def padded(ids: list[int]) -> Array:
    """As many as there can be."""
    return np.array(ids + [g2p.STOP] * (MOST - len(ids)))


def _own(word: Word, precision: str) -> Call:
    """fastgru's call: the encoder on all letters, the decoder as a stream that begins in the encoder's state."""
    encoder, decoder = g2p.load(PATH)
    if precision != "float32":
        encoder, decoder = encoder.quantize(precision), decoder.quantize(precision, layers=LAYERS.get(precision))
    stream = decoder.stream()
    step = stream.step

    def call() -> Array:
        stream.state = {"gru.h": encoder(word.ids)}
        found, current = [], g2p.START
        for _ in range(MOST):
            current = int(step(current).argmax())
            if current == g2p.STOP:
                break
            found.append(current)
        return padded(found)

    return call


def _numpy(word: Word) -> Call:
    """The arithmetic of the package's own loop, product by product."""
    a = arrays("g2p_en", "checkpoint20.npz")

    def cell(side: str, x: Array, h: Array) -> Array:
        wx = np.matmul(x, a[f"{side}_w_ih"].T) + a[f"{side}_b_ih"]
        uh = np.matmul(h, a[f"{side}_w_hh"].T) + a[f"{side}_b_hh"]
        both = 2 * h.shape[-1]
        r, z = np.split(1 / (1 + np.exp(-(wx[:, :both] + uh[:, :both]))), 2, -1)
        n = np.tanh(wx[:, both:] + r * uh[:, both:])
        return np.asarray((1 - z) * n + z * h)

    def call() -> Array:
        letters = np.take(a["enc_emb"], word.ids[None], axis=0)
        h = np.zeros((1, a["enc_w_hh"].shape[1]), np.float32)
        for t in range(letters.shape[1]):
            h = cell("enc", letters[:, t], h)
        found, current = [], g2p.START
        for _ in range(MOST):
            h = cell("dec", np.take(a["dec_emb"], [current], axis=0), h)
            current = int((np.matmul(h, a["fc_w"].T) + a["fc_b"]).argmax())
            if current == g2p.STOP:
                break
            found.append(current)
        return padded(found)

    return call
