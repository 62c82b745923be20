"""The summary: counts that can be checked by hand, and a table that lines up."""

from __future__ import annotations

import json

import numpy as np

from fastgru.graph import GRU, LSTM, Dense, Dropout, Embedding, chain
from fastgru.summary import Row, Totals, summarise

EXPECTED = """\
input x (B, T) int; computes in float32
layer      kind       output     parameters  bytes  MACs/step
-------------------------------------------------------------
embedding  Embedding  (B, T, 3)          21     84          0
gru        GRU        (B, T, 4)          96    384         84
dropout    Dropout    (B, T, 4)           0      0          0
head       Dense      (B, T, 2)          10     40          8
-------------------------------------------------------------
total                                   127    508         92
state of one row: 16 bytes"""


def make(dtype="float32"):
    gru = GRU(np.ones((12, 3)), np.ones((12, 4)), np.ones(12))
    layers = [Embedding(np.ones((7, 3))), gru, Dropout(), Dense(np.ones((2, 4)), np.ones(2))]
    return summarise(chain(layers, names=[None, None, None, "head"]), dtype)


def test_the_table():
    assert str(make()) == EXPECTED
    assert repr(make()) == EXPECTED


def test_rows_and_totals():
    summary = make("float64")
    assert summary.rows[1] == Row("gru", "GRU", "(B, T, 4)", 96, 768, 84)
    assert summary.totals == Totals(127, 1016, 92, 32)


def test_large_numbers_are_grouped_and_the_last_step_has_no_time():
    lstm = LSTM(np.ones((4096, 512)), np.ones((4096, 1024)), return_sequences=False)
    text = str(summarise(chain([lstm]), "float32"))
    assert "6,291,456" in text
    assert "(B, 1024)" in text
    assert "state of one row: 8,192 bytes" in text


def test_as_json():
    values = json.loads(json.dumps(make().as_dict()))
    assert values["totals"]["parameters"] == 127
    assert values["rows"][3]["name"] == "head"
