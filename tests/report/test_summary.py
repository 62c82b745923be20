"""The summary: counts that can be checked by hand, and a table that lines up."""

from __future__ import annotations

import json

import numpy as np

from fastgru.graph import GRU, LSTM, Dense, Dropout, Embedding, chain
from fastgru.report.summary import Memory, Row, Totals, summarise

NEEDS = Memory(plan=0, stream=0, node=None)

EXPECTED = """\
input x (B, T) int; computes in float32
layer      kind       precision  output     parameters  bytes  MACs/step
------------------------------------------------------------------------
embedding  Embedding  int8       (B, T, 3)          21     49          0
gru        GRU        float32    (B, T, 4)          96    384         84
dropout    Dropout               (B, T, 4)           0      0          0
head       Dense      float16    (B, T, 2)          10     24          8
------------------------------------------------------------------------
total                                              127    457         92
state of one row: 16 bytes; memory: packed weights 0 bytes, a stream of one row 0 bytes"""


def make(dtype="float32", reduced=True):
    gru = GRU(np.ones((12, 3)), np.ones((12, 4)), np.ones(12))
    ids, head = ("int8", "float16") if reduced else ("float32", "float32")
    head = Dense(np.ones((2, 4)), np.ones(2), precision=head)
    layers = [Embedding(np.ones((7, 3)), precision=ids), gru, Dropout(), head]
    return summarise(chain(layers, names=[None, None, None, "head"]), dtype, NEEDS)


def test_the_table():
    assert str(make()) == EXPECTED
    assert repr(make()) == EXPECTED


def test_rows_and_totals():
    summary = make("float64", reduced=False)
    assert summary.rows[1] == Row("gru", "GRU", "float64", "(B, T, 4)", 96, 768, 84)
    assert summary.totals == Totals(127, 1016, 92, 32)


def test_bytes_follow_the_precision_of_the_matrices_alone():
    gru = GRU(np.ones((12, 3)), np.ones((12, 4)), np.ones(12), initial_h=np.ones(4))
    for precision, matrices in {"float32": 84 * 4, "float16": 84 * 2, "bfloat16": 84 * 2, "int8": 84 + 24 * 4}.items():
        row = summarise(chain([gru.replace(precision=precision)]), "float32", NEEDS).rows[0]
        assert (row.precision, row.bytes) == (precision, matrices + (12 + 4) * 4)


def test_large_numbers_are_grouped_and_the_last_step_has_no_time():
    lstm = LSTM(np.ones((4096, 512)), np.ones((4096, 1024)), return_sequences=False)
    text = str(summarise(chain([lstm]), "float32", NEEDS))
    assert "6,291,456" in text
    assert "(B, 1024)" in text
    assert "state of one row: 8,192 bytes" in text


def test_as_json():
    values = json.loads(json.dumps(make().as_dict()))
    assert values["totals"]["parameters"] == 127
    assert values["rows"][3]["name"] == "head"
