"""Real trained networks through the engine: g2p_en's encoder and decoder, with argmax fed back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastgru import Model
from fastgru.converters import to_graph
from fastgru.layers import GRU, Dense, Embedding

# The package's tables (g2p_en 2.1.0, g2p.py): ids of graphemes and phonemes.
GRAPHEMES = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
VOICED = """
    AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1 EH2 ER0 ER1 ER2
    EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH UH0 UH1 UH2 UW
    UW0 UW1 UW2 V W Y Z ZH
"""
PHONEMES = ["<pad>", "<unk>", "<s>", "</s>", *VOICED.split()]
MOST_STEPS, START, STOP = 20, 2, 3


def g2p_models(folder: Path, **options: str) -> tuple[Model, Model]:
    """The encoder (ids to last state) and the decoder (id to logits) from the package's own arrays."""
    a = np.load(folder / "g2p_en" / "checkpoint20.npz")
    enc = GRU.from_torch(a["enc_w_ih"], a["enc_w_hh"], a["enc_b_ih"], a["enc_b_hh"], return_sequences=False)
    dec = GRU.from_torch(a["dec_w_ih"], a["dec_w_hh"], a["dec_b_ih"], a["dec_b_hh"])
    return (
        Model([Embedding(a["enc_emb"]), enc], **options),
        Model([Embedding(a["dec_emb"]), dec, Dense(a["fc_w"], a["fc_b"])], **options),
    )


def pronounce(word: str, encoder: Model, decoder: Model) -> list[str]:
    """Encode the letters, then decode greedily from the encoder's last state."""
    ids = [GRAPHEMES.index(letter) for letter in word] + [GRAPHEMES.index("</s>")]
    stream = decoder.stream()
    stream.state = {"gru.h": encoder(np.array(ids))}
    phonemes, current = [], START
    for _ in range(MOST_STEPS):
        current = int(stream.step(current).argmax())
        if current == STOP:
            break
        phonemes.append(PHONEMES[current])
    return phonemes


@pytest.mark.parametrize("options", [{}, {"gemm": "blas"}, {"dtype": "float64"}], ids=str)
def test_g2p_pronounces_all_fifteen_words(real_models, options, isa):
    encoder, decoder = g2p_models(real_models, isa=isa, **options)
    want = json.loads((real_models / "g2p_en" / "reference_pronunciations.json").read_text())
    assert len(want) == 15
    assert {word: pronounce(word, encoder, decoder) for word in want} == want


def test_g2p_encoder_states(real_models):
    """Against PyTorch's own float32 states: no further from a float64 run than twice PyTorch's error."""
    encoder, _ = g2p_models(real_models)
    exact, _ = g2p_models(real_models, dtype="float64")
    reference = np.load(real_models / "g2p_en" / "reference_enc.npz")
    words = [str(word) for word in reference["words"]]
    assert len(words) == 15
    for word, state in zip(words, reference["enc_last"], strict=True):
        ids = [GRAPHEMES.index(letter) for letter in word] + [GRAPHEMES.index("</s>")]
        want = exact(np.array(ids))
        own = np.abs(np.ravel(state) - want).max()
        assert own <= 5e-6
        assert np.abs(encoder(np.array(ids)) - want).max() <= max(2e-6, 2 * own)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8"])
def test_g2p_pronounces_all_fifteen_words_in_every_precision(real_models, precision, isa):
    """With int8, the decoder's GRU stays in float32: rounded, its weights alone change one word of the fifteen."""
    encoder, decoder = g2p_models(real_models)
    layers = ["embedding", "dense"] if precision == "int8" else None
    graphs = encoder.quantize(precision).graph, decoder.quantize(precision, layers=layers).graph
    models = [Model(graph, isa=isa) for graph in graphs]
    want = json.loads((real_models / "g2p_en" / "reference_pronunciations.json").read_text())
    assert {word: pronounce(word, *models) for word in want} == want


@pytest.mark.parametrize(("precision", "limit"), [("float16", 2e-3), ("int8", 3e-2)])
@pytest.mark.parametrize("name", ["beguiling-drafter-2018-08-30", "somnolent-hogwash-2018-09-01"])
def test_rnnoise_keeps_to_the_error_it_is_allowed(real_models, name, precision, limit):
    """Its voice detector amplifies rounding (0.13 with int8 throughout): max_error finds the layers to leave alone."""
    folder = real_models / "rnnoise_nu" / name
    reference = np.load(folder / "reference.npz")
    model = Model(to_graph(folder / "weights.hdf5").graph)
    steps = slice(200)  # the float64 reference measures every layer's part of the error: seconds, not minutes
    features = reference["features"][steps].astype(np.float32)
    smaller = model.quantize(precision, calibration=features, max_error=limit)
    changed = {n.name for n in smaller.graph.nodes if n.op.matrices and n.op.precision == precision}
    assert {"noise_gru", "denoise_gru"} <= changed
    for y, want in zip(smaller(features), (reference["gains"], reference["vad"]), strict=True):
        assert np.abs(y - want[steps]).max() <= limit
