"""The figures of docs/testing.md are those that the command counts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_has_the_figures_of_now():
    command = [sys.executable, "-m", "tests.figures", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_commands_of_the_page_are_there():
    page = (ROOT / "docs" / "testing.md").read_text()
    paths = [*re.findall(r"\btests/[a-z_0-9/]+\.(?:py|sh)\b", page), *re.findall(r"tests/live\b", page)]
    modules = [name.replace(".", "/") for name in re.findall(r"python -m (tests\.[a-z_]+)", page)]
    assert len(paths) > 5
    assert len(modules) > 3
    for path in [*paths, *modules]:
        assert (ROOT / path).exists() or (ROOT / f"{path}.py").exists(), path
