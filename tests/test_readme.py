"""The README's Python blocks run, in order, in one namespace; those that train need their framework (tests/live)."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import fastgru

README = Path(__file__).resolve().parents[1] / "README.md"
FRAMEWORKS = ("import torch", "import keras")


def blocks() -> list[str]:
    """The Python code blocks of the README."""
    return re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)


def execute(code: str, namespace: dict[str, object]) -> None:
    exec(compile(code, str(README), "exec"), namespace)


def test_blocks_without_frameworks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(Path(fastgru.__file__).parent / "data" / "sunspots.pt", tmp_path)
    plain = [b for b in blocks() if not any(f in b for f in FRAMEWORKS)]
    assert len(plain) >= 5
    namespace: dict[str, object] = {}
    for block in plain:
        execute(block, namespace)
    assert "gru" in capsys.readouterr().out


def test_the_commands_for_a_fresh_machine_are_single_lines():
    lines = [line for line in README.read_text().splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert any("fastgru demo" in line for line in lines)
    assert any("pytest" in line for line in lines)
