"""Structure-aware fuzzers, one for each format: ``python -m tests.fuzz FORMAT --seconds N --seed S``.

A format is a row of `formats.FORMATS`. Mutants run in a forked process that lives on, limited in time and memory
(`worker`); the parent watches it, forks another when it dies, counts verdicts and keeps reproducers (`runner`).
"""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [folder for folder in (str(TESTS / "support"), str(TESTS)) if folder not in sys.path]
