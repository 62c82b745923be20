"""The README's training examples: 1, 2, 3, 4, 5 and then 6, in PyTorch and in Keras."""

from __future__ import annotations

import pytest
from test_readme import blocks, execute


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_the_first_example_predicts_six(framework, tmp_path, monkeypatch, capsys):
    pytest.importorskip(framework)
    monkeypatch.chdir(tmp_path)
    (block,) = (b for b in blocks() if f"import {framework}" in b)
    execute(block, {"__name__": "example"})
    assert float(capsys.readouterr().out.split()[-1]) == pytest.approx(6, abs=0.5)
